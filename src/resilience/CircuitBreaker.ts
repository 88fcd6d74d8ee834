/**
 * Stop calling what does not answer. A breaker counts failures; past its rule's limit it opens and rejects every call at once, until after a
 * break a few probes may show that all is well again.
 *
 * The state machine is the classic one (Nygard, "Release It!", 2007): closed, open, half-open. The rule that opens it is a value of its own, see
 * {@link Rule}.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Observation from "../observability/Observation.js"
import * as Failure from "./Failure.js"

/**
 * @since 0.1.0
 * @category symbols
 */
export const TypeId: unique symbol = Symbol.for("holdfast/CircuitBreaker")

/**
 * @since 0.1.0
 * @category symbols
 */
export type TypeId = typeof TypeId

/**
 * @since 0.1.0
 * @category models
 */
export type State = "closed" | "open" | "half-open"

/**
 * The rejection of a call by a breaker that is open, or half-open with all its probes under way.
 *
 * @since 0.1.0
 * @category errors
 */
export class CircuitBreakerOpenError extends Schema.TaggedError<CircuitBreakerOpenError>(
  "holdfast/CircuitBreakerOpenError"
)("CircuitBreakerOpenError", {
  /** The breaker's name; an agent's breaker has the agent's id. */
  breaker: Schema.String,
  state: Schema.Literal("open", "half-open"),
  /** The failures that opened it. */
  failureCount: Schema.Number,
  /** Until a probe may be let through, in milliseconds; 0 while probes are under way. */
  retryAfterMillis: Schema.Number
}) {
  override get message(): string {
    return this.state === "open"
      ? `circuit breaker "${this.breaker}" is open after ${this.failureCount} failures; a probe is let through in ${Duration.format(Duration.millis(Math.ceil(this.retryAfterMillis)))}`
      : `circuit breaker "${this.breaker}" is half-open and all its probes are under way`
  }

  /** Not worth another try here: the retrying ends and the fallback takes over. */
  get failure(): Failure.Failure {
    return { kind: "permanent", reason: "circuit open" }
  }
}

/**
 * Decides when enough is enough. A rule keeps its own count and is asked after every counted call.
 *
 * @since 0.1.0
 * @category rules
 */
export interface Rule {
  /** A fresh count. */
  readonly start: () => {
    /** Takes in one result; true when the breaker must open. */
    readonly record: (success: boolean) => boolean
    /** The failures now counted. */
    readonly failureCount: () => number
  }
}

/**
 * Opens after so many failures in a row.
 *
 * @since 0.1.0
 * @category rules
 */
export const consecutive = (failures: number): Rule => ({
  start: () => {
    let count = 0
    return {
      record: (success) => {
        count = success ? 0 : count + 1
        return count >= failures
      },
      failureCount: () => count
    }
  }
})

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Opens after so many failures in a row. Default 5. Ignored where `rule` is given. */
  readonly failureThreshold?: number | undefined
  /** Another rule. */
  readonly rule?: Rule | undefined
  /** How long it stays open. Default 60 seconds. A longer `Retry-After` of the failure that opened it is honoured. */
  readonly resetAfter?: Duration.DurationInput | undefined
  /** The successes in a row that close it again from half-open. Default 2. */
  readonly successThreshold?: number | undefined
  /** How many probes may be under way at once while half-open. Default 1. */
  readonly halfOpenPermits?: number | undefined
  /** Sorts the errors. Default: the classifier in force, {@link Failure.CurrentClassifier}. */
  readonly classify?: Failure.Classifier | undefined
}

/**
 * A change of state.
 *
 * @since 0.1.0
 * @category models
 */
export interface Transition {
  readonly breaker: string
  readonly from: State
  readonly to: State
  /** The failures counted when it happened. */
  readonly failureCount: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Snapshot {
  readonly state: State
  readonly failureCount: number
  /** Until a probe may be let through, in milliseconds; 0 when not open. */
  readonly retryAfterMillis: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface CircuitBreaker {
  readonly [TypeId]: TypeId
  readonly name: string
  /** What it is now. */
  readonly snapshot: Effect.Effect<Snapshot>
  /** Every transition from now on, each once. */
  readonly changes: Stream.Stream<Transition>
  /** Closes it by hand and forgets what was counted. */
  readonly reset: Effect.Effect<void>
  /** Runs an effect under the breaker; see {@link protect}. */
  readonly protect: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | CircuitBreakerOpenError, R>
}

/**
 * Whether a value is a {@link CircuitBreaker}.
 *
 * @since 0.1.0
 * @category guards
 */
export const isCircuitBreaker = (value: unknown): value is CircuitBreaker =>
  typeof value === "object" && value !== null && TypeId in value

const count = (name: string, option: string, value: number | undefined, fallback: number): number => {
  const chosen = value ?? fallback
  if (Number.isInteger(chosen) && chosen >= 1) return chosen
  throw new RangeError(`circuit breaker "${name}": ${option} must be a whole number from 1, got ${chosen}`)
}

/**
 * The plain state machine. All times are monotonic milliseconds. A permit remembers the generation (the stay in one state) in which it was
 * given: what comes back from an earlier one moves nothing.
 */
class Machine {
  state: State = "closed"
  private generation = 0
  private openedAt = 0
  private breakMillis: number
  private probes = 0
  private successes = 0
  private counter: ReturnType<Rule["start"]>
  private openedWith = 0

  constructor(
    readonly name: string,
    private readonly rule: Rule,
    private readonly resetMillis: number,
    private readonly successThreshold: number,
    private readonly permits: number,
    private readonly onTransition: (transition: Transition) => void
  ) {
    this.counter = rule.start()
    this.breakMillis = resetMillis
  }

  failureCount(): number {
    return this.state === "closed" ? this.counter.failureCount() : this.openedWith
  }

  retryAfterMillis(now: number): number {
    return this.state === "open" ? Math.max(0, this.openedAt + this.breakMillis - now) : 0
  }

  /** The generation of the permit, or the rejection. */
  acquire(now: number): number | CircuitBreakerOpenError {
    if (this.state === "closed") return this.generation
    const retryAfterMillis = this.retryAfterMillis(now)
    if (this.state === "open" && retryAfterMillis === 0) this.move("half-open")
    if (this.state === "half-open" && this.probes < this.permits) {
      this.probes++
      return this.generation
    }
    return new CircuitBreakerOpenError({
      breaker: this.name,
      state: this.state === "open" ? "open" : "half-open",
      failureCount: this.openedWith,
      retryAfterMillis
    })
  }

  /** Takes the result of a permit in; `undefined` gives the permit back without one. */
  release(permit: number, success: boolean | undefined, now: number, retryAfterMillis = 0): void {
    if (permit !== this.generation) return
    if (this.state === "half-open") {
      this.probes--
      if (success === true && ++this.successes >= this.successThreshold) this.move("closed")
      else if (success === false) this.open(now, retryAfterMillis)
    } else if (success !== undefined && this.counter.record(success)) {
      this.openedWith = this.counter.failureCount()
      this.open(now, retryAfterMillis)
    }
  }

  reset(): void {
    if (this.state === "closed") this.counter = this.rule.start()
    else this.move("closed")
  }

  private open(now: number, retryAfterMillis: number): void {
    if (this.state === "half-open") this.openedWith++
    this.openedAt = now
    this.breakMillis = Math.max(this.resetMillis, retryAfterMillis)
    this.move("open")
  }

  private move(to: State): void {
    const transition = { breaker: this.name, from: this.state, to, failureCount: this.failureCount() }
    this.state = to
    this.generation++
    this.probes = 0
    this.successes = 0
    if (to === "closed") this.counter = this.rule.start()
    this.onTransition(transition)
  }
}

const now = (clock: Clock.Clock): number => Number(clock.unsafeCurrentTimeNanos()) / 1e6

/**
 * A breaker of its own, closed. One for each agent id comes from the {@link Registry}.
 *
 * @since 0.1.0
 * @category constructors
 * @throws `RangeError` when a threshold is no whole number from 1.
 */
export const make = (name: string, options: Options = {}): CircuitBreaker => {
  const subscribers = new Set<(transition: Transition) => void>()
  const pending: Array<Transition> = []
  const machine = new Machine(
    name,
    options.rule ?? consecutive(count(name, "failureThreshold", options.failureThreshold, 5)),
    Duration.toMillis(options.resetAfter ?? "60 seconds"),
    count(name, "successThreshold", options.successThreshold, 2),
    count(name, "halfOpenPermits", options.halfOpenPermits, 1),
    (transition) => {
      pending.push(transition)
      for (const subscriber of subscribers) subscriber(transition)
    }
  )

  /** What happened since the last look becomes child observations of whoever caused it. */
  const observeTransitions: Effect.Effect<void> = Effect.suspend(() =>
    pending.length === 0 ? Effect.void : Effect.forEach(pending.splice(0), observeTransition, { discard: true })
  )

  const settle = (permit: number, cause: Cause.Cause<unknown> | undefined): Effect.Effect<void> =>
    Effect.flatMap(
      Effect.zip(Effect.clock, options.classify ? Effect.succeed(options.classify) : Failure.CurrentClassifier),
      ([clock, classify]) => {
        if (cause === undefined) machine.release(permit, true, now(clock))
        else {
          const failure = Failure.fromCause(cause, classify)
          const counts = Failure.isRetryable(failure) || failure.reason === "defect"
          machine.release(permit, counts ? false : undefined, now(clock), failure.retryAfterMillis)
        }
        return observeTransitions
      }
    )

  return {
    [TypeId]: TypeId,
    name,
    snapshot: Effect.map(Effect.clock, (clock) => ({
      state: machine.state,
      failureCount: machine.failureCount(),
      retryAfterMillis: machine.retryAfterMillis(now(clock))
    })),
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
    reset: Effect.suspend(() => {
      machine.reset()
      return observeTransitions
    }),
    protect: <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | CircuitBreakerOpenError, R> =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(Effect.clock, (clock): Effect.Effect<A, E | CircuitBreakerOpenError, R> => {
          const permit = machine.acquire(now(clock))
          if (typeof permit !== "number") return Effect.fail(permit)
          return Effect.zipRight(
            observeTransitions,
            Effect.matchCauseEffect(restore(self), {
              onFailure: (cause) => Effect.zipRight(settle(permit, cause), Effect.failCause(cause)),
              onSuccess: (value) => Effect.as(settle(permit, undefined), value)
            })
          )
        })
      )
  }
}

const observeTransition = (transition: Transition): Effect.Effect<void> =>
  Observation.event("circuit_breaker_transition", {
    type: "event",
    level: transition.to === "closed" ? "DEFAULT" : "WARNING",
    statusMessage: `${transition.breaker}: ${transition.from} -> ${transition.to}`,
    metadata: { from: transition.from, to: transition.to, failure_count: transition.failureCount }
  })

/**
 * Runs an effect under a breaker. Transient and rate-limited failures and defects are counted; permanent ones, interruption and control flow
 * are not, and give their permit back.
 *
 * @since 0.1.0
 * @category operators
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { CircuitBreaker } from "holdfast"
 *
 * declare const ask: Effect.Effect<string, Error>
 *
 * const breaker = CircuitBreaker.make("prices", { failureThreshold: 3, resetAfter: "10 seconds" })
 * const program = ask.pipe(CircuitBreaker.protect(breaker))
 * ```
 */
export const protect: {
  (breaker: CircuitBreaker): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | CircuitBreakerOpenError, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, breaker: CircuitBreaker): Effect.Effect<A, E | CircuitBreakerOpenError, R>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, breaker: CircuitBreaker) => breaker.protect(self))

const makeRegistry = () => {
  const breakers = new Map<string, CircuitBreaker>()
  return {
    /** The breaker of that name; made with these options when it is asked for the first time. */
    get: (name: string, options?: Options): CircuitBreaker => {
      const existing = breakers.get(name)
      if (existing !== undefined) return existing
      const breaker = make(name, options)
      breakers.set(name, breaker)
      return breaker
    },
    /** All that were asked for. */
    all: (): ReadonlyArray<CircuitBreaker> => [...breakers.values()]
  }
}

/**
 * One breaker a name. The default serves the whole process; {@link layerRegistry} gives a program or a test its own.
 *
 * @since 0.1.0
 * @category services
 */
export class Registry extends Context.Reference<Registry>()("holdfast/CircuitBreaker/Registry", {
  defaultValue: makeRegistry
}) {}

/**
 * A registry with no breaker in it yet.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerRegistry: Layer.Layer<Registry> = Layer.sync(Registry, makeRegistry)
