/**
 * Stop calling what does not answer. A breaker counts failures; past its rule's limit it opens and rejects every call at once, until after a
 * break a few probes may show that all is well again.
 *
 * The state machine is the classic one (Nygard, "Release It!", 2007): closed, open, half-open. The rule that opens it is a value of its own, see
 * {@link Rule}.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Observation from "../observability/Observation.js"
import * as Failure from "./Failure.js"
import { Machine } from "./internal/breaker.js"
import * as numbers from "./internal/numbers.js"

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
 * @throws `RangeError` when it is no whole number from 1.
 */
export const consecutive = (failures: number): Rule => {
  const threshold = numbers.count("CircuitBreaker.consecutive", failures)
  return {
    start: () => {
      let count = 0
      return {
        record: (success) => {
          count = success ? 0 : count + 1
          return count >= threshold
        },
        failureCount: () => count
      }
    }
  }
}

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
  /** Closes it by hand and forgets what was counted; calls under way count no more. */
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

/**
 * A breaker of its own, closed. One for each agent id comes from the {@link Registry}.
 *
 * @since 0.1.0
 * @category constructors
 * @throws `RangeError` when a threshold is no whole number from 1, or the break is negative or NaN.
 * @example
 * ```ts
 * import { CircuitBreaker } from "holdfast"
 *
 * const breaker = CircuitBreaker.make("prices", { failureThreshold: 3, resetAfter: "10 seconds" })
 * ```
 */
export const make = (name: string, options: Options = {}): CircuitBreaker => {
  const what = `circuit breaker "${name}": `
  const permits = numbers.count(`${what}halfOpenPermits`, options.halfOpenPermits ?? 1)
  const machine = new Machine(
    name,
    options.rule ?? consecutive(numbers.count(`${what}failureThreshold`, options.failureThreshold ?? 5)),
    numbers.millis(`${what}resetAfter`, options.resetAfter ?? "60 seconds"),
    numbers.count(`${what}successThreshold`, options.successThreshold ?? 2),
    permits
  )
  const subscribers = new Set<(transition: Transition) => void>()

  /** Asked in the same step of the program as the machine: a move is told to all at once, and seen under whoever caused it. */
  const announce = (): Effect.Effect<void> => {
    const moved = machine.take()
    if (moved === undefined) return Effect.void
    for (const subscriber of subscribers) subscriber(moved)
    return observeTransition(moved)
  }

  const succeeded = (permit: number, clock: Clock.Clock): Effect.Effect<void> => {
    machine.release(permit, true, numbers.monotonic(clock), 0)
    return announce()
  }

  const failed = (permit: number, clock: Clock.Clock, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
    Effect.flatMap(options.classify ? Effect.succeed(options.classify) : Failure.CurrentClassifier, (classify) => {
      // a classifier that throws must not keep the permit
      let success: boolean | undefined
      let retryAfterMillis = 0
      try {
        const failure = Failure.fromCause(cause, classify, () => clock.unsafeCurrentTimeMillis())
        const counts =
          Failure.isRetryable(failure) || (Failure.isReal(failure) && Option.isSome(Cause.dieOption(cause)))
        success = counts ? false : undefined
        retryAfterMillis = failure.retryAfterMillis ?? 0
      } finally {
        machine.release(permit, success, numbers.monotonic(clock), retryAfterMillis)
      }
      return announce()
    })

  return {
    [TypeId]: TypeId,
    name,
    snapshot: Effect.map(Effect.clock, (clock) => ({
      state: machine.state,
      failureCount: machine.failureCount(),
      retryAfterMillis: machine.retryAfterMillis(numbers.monotonic(clock))
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
      return announce()
    }),
    protect: <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | CircuitBreakerOpenError, R> =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(Effect.clock, (clock): Effect.Effect<A, E | CircuitBreakerOpenError, R> => {
          const now = numbers.monotonic(clock)
          const permit = machine.acquire(now)
          if (permit < 0) return Effect.fail(rejection(machine, now))
          return Effect.matchCauseEffect(Effect.zipRight(announce(), restore(self)), {
            onFailure: (cause) => Effect.zipRight(failed(permit, clock, cause), Effect.failCause(cause)),
            onSuccess: (value) => Effect.as(succeeded(permit, clock), value)
          })
        })
      )
  }
}

const rejection = (machine: Machine, now: number): CircuitBreakerOpenError =>
  new CircuitBreakerOpenError({
    breaker: machine.name,
    state: machine.state === "open" ? "open" : "half-open",
    failureCount: machine.failureCount(),
    retryAfterMillis: machine.retryAfterMillis(now)
  })

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
    /** The breaker of that name; made with these options when it is asked for the first time. Later options change nothing. */
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
