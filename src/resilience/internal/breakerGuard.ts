/** A breaker: the machine, and the Effects around it. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as Stream from "effect/Stream"
import * as Observation from "../../observability/Observation.js"
import type { CircuitBreaker, Options, Snapshot, State, Transition, TypeId } from "../CircuitBreaker.js"
import * as Failure from "../Failure.js"
import { type Adopted, Machine } from "./breaker.js"
import { type CircuitBreakerOpenError, rejection } from "./breakerError.js"
import { defaultBreakMillis, runtimeOf, type Settings, settingsOf } from "./breakerSettings.js"
import * as numbers from "./numbers.js"

/** The type id is declared here, so that this module needs nothing of the public one when it runs. */
export const typeId: TypeId = Symbol.for("holdfast/CircuitBreaker") as TypeId

type AnyFiber = Fiber.RuntimeFiber<unknown, unknown>

export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** What others must know of a breaker that is shared with them. */
export interface Entry {
  readonly id: string
  readonly machine: Machine
  readonly settings: () => Settings
  /** Takes over what others have brought about, and tells of it, in one step of the program. */
  readonly adopt: (fiber: AnyFiber, other: Adopted, now: number, steps: number) => void
}

/** How a breaker is shared; absent for one of its own. */
export interface Sharing {
  /** It has moved by itself, or by hand. Does not wait. */
  readonly moved: (byHand: boolean, from: State) => void
  /**
   * Whether a probe may go: the name of its lease, nothing when it goes without one, or `false`. Never fails. Runs where nothing interrupts it but
   * in what is restored, so that no lease is granted to nobody.
   */
  readonly lease: (restore: Restore) => Effect.Effect<string | undefined | false>
  /** A probe has ended. Does not wait. */
  readonly settle: (lease: string, success: boolean) => void
}

const machines = new WeakMap<CircuitBreaker, Machine>()

/** {@link CircuitBreaker.snapshot} at once, of a breaker that was made here. */
export const inspect = (breaker: CircuitBreaker, clock: Clock.Clock): Snapshot | undefined => {
  const machine = machines.get(breaker)
  return machine === undefined ? undefined : snapshotOf(machine, clock)
}

const snapshotOf = (machine: Machine, clock: Clock.Clock): Snapshot => ({
  state: machine.state,
  failureCount: machine.failureCount(),
  // only an open circuit has a break that will end
  retryAfterMillis: machine.state === "open" ? machine.retryAfterMillis(numbers.monotonic(clock)) : 0
})

const clockOf = (fiber: AnyFiber): Clock.Clock => Context.unsafeGet(fiber.currentDefaultServices, Clock.Clock)

/** Its name and key as one text that no other name and key give. */
export const idOf = (name: string, key: string | undefined): string => JSON.stringify([name, key ?? null])

const observe = (transition: Transition): Effect.Effect<void> =>
  Observation.event("circuit_breaker_transition", {
    type: "event",
    level: transition.to === "closed" ? "DEFAULT" : "WARNING",
    statusMessage: `${transition.key === undefined ? transition.breaker : `${transition.breaker}/${transition.key}`}: ${transition.from} -> ${transition.to}`,
    metadata: { from: transition.from, to: transition.to, failure_count: transition.failureCount }
  })

const rejectionOf = (machine: Machine, now: number): CircuitBreakerOpenError => {
  const { key, name, state } = machine
  return rejection(
    name,
    key,
    // a state in which calls pass means that the probes are elsewhere
    state === "closed" || state === "disabled" ? "half-open" : state,
    machine.failureCount(),
    machine.retryAfterMillis(now)
  )
}

/** @throws `RangeError` when a number makes no sense. */
export const make = (name: string, options: Options, connect?: (entry: Entry) => Sharing): CircuitBreaker => {
  const { key } = options
  const label = key === undefined ? name : `${name}/${key}`
  let chosen = options
  let settings = settingsOf(label, options)
  const machine = new Machine(name, key, settings)
  const subscribers = new Set<(transition: Transition) => void>()
  let sharing: Sharing | undefined

  /**
   * Asked in the same step of the program as the machine: a move is told to all at once, and seen under whoever caused it. Not as an effect to be
   * run next: whoever is interrupted before that would take it with him.
   */
  const announce = (fiber: AnyFiber, by: "itself" | "hand" | "others" = "itself"): void => {
    const moved = machine.take()
    if (moved === undefined) return
    for (const subscriber of subscribers) subscriber(moved)
    if (by !== "others") sharing?.moved(by === "hand", moved.from)
    Runtime.runFork(runtimeOf(fiber))(observe(moved))
  }

  /** Takes a result in. A break that cannot be worked out is one of the default length, and the mistake is what comes back. */
  const release = (
    fiber: AnyFiber,
    permit: number,
    success: boolean | undefined,
    began: number,
    now: number,
    failure?: Failure.Failure
  ): Effect.Effect<never> | undefined => {
    if (!machine.release(permit, success, now - began, now)) {
      announce(fiber)
      return undefined
    }
    let pause = defaultBreakMillis
    let mistake: Effect.Effect<never> | undefined
    try {
      const opening = {
        breaker: name,
        key,
        openings: machine.openings + 1,
        failureCount: machine.failureCount(),
        failure
      }
      pause = settings.pause(opening, fiber, clockOf(fiber))
    } catch (error) {
      mistake = Effect.die(error)
    }
    // asked anew: a rule that does not look at the time gets none
    machine.open(numbers.monotonic(clockOf(fiber)), Math.max(pause, failure?.retryAfterMillis ?? 0))
    announce(fiber)
    return mistake
  }

  const succeeded = <A>(fiber: AnyFiber, permit: number, began: number, value: A): Effect.Effect<A> => {
    const now = settings.timed ? numbers.monotonic(clockOf(fiber)) : 0
    return release(fiber, permit, true, began, now) ?? Exit.succeed(value)
  }

  const failed = <E>(
    fiber: AnyFiber,
    permit: number,
    began: number,
    cause: Cause.Cause<E>
  ): Effect.Effect<never, E> => {
    const clock = clockOf(fiber)
    const classify = settings.classify ?? Context.get(fiber.currentContext, Failure.CurrentClassifier)
    let success: boolean | undefined
    let failure: Failure.Failure | undefined
    let mistake: Effect.Effect<never> | undefined
    // a classifier that throws must not keep the permit
    try {
      failure = Failure.fromCause(cause, classify, () => clock.unsafeCurrentTimeMillis())
      const counts = Failure.isRetryable(failure) || (Failure.isReal(failure) && Option.isSome(Cause.dieOption(cause)))
      success = counts ? false : undefined
    } finally {
      mistake = release(fiber, permit, success, began, numbers.monotonic(clock), failure)
    }
    return mistake ?? Exit.failCause(cause)
  }

  /** Runs what has its permit, in a region that is not interruptible. */
  const probe = <A, E, R>(
    fiber: AnyFiber,
    self: Effect.Effect<A, E, R>,
    permit: number,
    lease: string | undefined
  ): Effect.Effect<A, E, R> => {
    const began = numbers.monotonic(clockOf(fiber))
    const settle = (moves: () => Effect.Effect<A, E>, good: boolean) => {
      const before = machine.successes
      try {
        return moves()
      } finally {
        // what was slow has not shown that all is well
        if (lease !== undefined) {
          sharing?.settle(lease, good && (machine.successes > before || machine.state === "closed"))
        }
      }
    }
    return Effect.matchCauseEffect(self, {
      onFailure: (cause) => settle(() => failed(fiber, permit, began, cause), false),
      onSuccess: (value) => settle(() => succeeded(fiber, permit, began, value), true)
    })
  }

  const reject = (now: number): Effect.Effect<never, CircuitBreakerOpenError> => Effect.fail(rejectionOf(machine, now))

  /** A call that may become a probe: from here on, whatever ends it gives its permit back. */
  const guarded = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | CircuitBreakerOpenError, R> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.withFiberRuntime((fiber): Effect.Effect<A, E | CircuitBreakerOpenError, R> => {
        const now = numbers.monotonic(clockOf(fiber))
        const permit = machine.acquire(now)
        announce(fiber)
        if (permit < 0) return reject(now)
        const body = restore(self)
        if (sharing === undefined || machine.state !== "half-open") return probe(fiber, body, permit, undefined)
        const asked = Effect.onInterrupt(sharing.lease(restore), () =>
          Effect.sync(() => machine.release(permit, undefined, 0, now))
        )
        return Effect.flatMap(asked, (lease): Effect.Effect<A, E | CircuitBreakerOpenError, R> => {
          if (lease !== false) return probe(fiber, body, machine.retake(permit), lease)
          machine.release(permit, undefined, 0, now)
          if (machine.state === "closed" || machine.state === "disabled") {
            return probe(fiber, body, machine.generation, undefined)
          }
          machine.rejected++
          return reject(numbers.monotonic(clockOf(fiber)))
        })
      })
    )

  const byHand = (act: () => void): Effect.Effect<void> =>
    Effect.withFiberRuntime((fiber) => {
      act()
      announce(fiber, "hand")
      return Effect.void
    })

  const breaker: CircuitBreaker = {
    [typeId]: typeId,
    name,
    key,
    state: Effect.sync(() => machine.state),
    snapshot: Effect.map(Effect.clock, (clock) => snapshotOf(machine, clock)),
    metrics: Effect.map(Effect.clock, (clock) => {
      const { calls, failures, slow } = machine.tally(numbers.monotonic(clock))
      return {
        calls,
        failures,
        slow,
        failureRatio: calls === 0 ? 0 : failures / calls,
        slowRatio: calls === 0 ? 0 : slow / calls,
        rejected: machine.rejected
      }
    }),
    changes: Stream.asyncPush<Transition>((emit) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          const subscriber = (transition: Transition) => void emit.single(transition)
          subscribers.add(subscriber)
          return subscriber
        }),
        (subscriber) => Effect.sync(() => subscribers.delete(subscriber))
      )
    ),
    reset: byHand(() => machine.reset()),
    isolate: byHand(() => machine.isolate()),
    forceOpen: byHand(() => machine.forceOpen()),
    disable: byHand(() => machine.disable()),
    release: byHand(() => machine.letGo()),
    reconfigure: (change) => {
      const counts = "rule" in change || "failureThreshold" in change
      const next: Options = { ...chosen, rule: counts ? undefined : settings.rule, ...change }
      const checked = settingsOf(label, next)
      return Effect.sync(() => {
        chosen = next
        settings = checked
        machine.configure(settings, !counts)
      })
    },
    // A closed breaker's call is not masked: an interruption counts for nothing, and there is no permit to give back.
    protect: <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | CircuitBreakerOpenError, R> =>
      Effect.withFiberRuntime((fiber): Effect.Effect<A, E | CircuitBreakerOpenError, R> => {
        const { generation, state } = machine
        if (state === "closed" || state === "disabled") {
          const began = settings.timed ? numbers.monotonic(clockOf(fiber)) : Number.NaN
          return Effect.matchCauseEffect(self, {
            onFailure: (cause) => failed(fiber, generation, began, cause),
            onSuccess: (value) => succeeded(fiber, generation, began, value)
          })
        }
        if (state === "half-open") return guarded(self)
        const now = numbers.monotonic(clockOf(fiber))
        if (state === "open" && machine.retryAfterMillis(now) === 0) return guarded(self)
        machine.rejected++
        return reject(now)
      })
  }
  machines.set(breaker, machine)
  sharing = connect?.({
    id: idOf(name, key),
    machine,
    settings: () => settings,
    adopt: (fiber, other, now, steps) => {
      machine.adopt(other, now, steps)
      announce(fiber, "others")
    }
  })
  return breaker
}
