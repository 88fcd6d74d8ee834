/**
 * Stop calling what does not answer. A breaker counts failures; past its rule's limit it opens and rejects every call at once, until after a
 * break a few probes may show that all is well again.
 *
 * The state machine is the classic one (Nygard, "Release It!", 2007): closed, open, half-open; and three states that a person brings about. The
 * rule that opens it is a value of its own, see {@link Rule}.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import type * as Schedule from "effect/Schedule"
import type * as Stream from "effect/Stream"
import type { Rule } from "./CircuitBreaker/Rule.js"
import { Store } from "./CircuitBreaker/Store.js"
import type * as Failure from "./Failure.js"
import { CircuitBreakerOpenError } from "./internal/breakerError.js"
import * as guard from "./internal/breakerGuard.js"
import * as sharing from "./internal/breakerSharing.js"

export * from "./CircuitBreaker/Rule.js"
export * from "./CircuitBreaker/Store.js"
export {
  /**
   * The rejection of a call by a breaker that is open, half-open with all its probes under way, isolated or forced open.
   *
   * @since 0.1.0
   * @category errors
   */
  CircuitBreakerOpenError
}

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
 * - `closed`: calls pass, and are counted
 * - `open`: calls are rejected until the break is over
 * - `half-open`: a bounded number of probes pass, all other calls are rejected
 * - `isolated`: by hand; calls are rejected until it is released, then it is closed
 * - `forced-open`: by hand; calls are rejected until it is released, then it is half-open
 * - `disabled`: by hand; calls pass and are counted, and nothing opens it
 *
 * @since 0.1.0
 * @category models
 */
export type State = "closed" | "open" | "half-open" | "isolated" | "forced-open" | "disabled"

/**
 * What is known when a breaker opens: what the length of its break may depend on.
 *
 * @since 0.1.0
 * @category models
 */
export interface Opening {
  readonly breaker: string
  readonly key: string | undefined
  /** How often it has opened since it was last closed: 1 the first time, one more with each failed probe. */
  readonly openings: number
  /** The failures now counted. */
  readonly failureCount: number
  /** The failure that opened it; absent when a slow success did. */
  readonly failure: Failure.Failure | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * The breaker's name, where something else would choose it: in a {@link Registry} it goes before the name that is asked for, so that agents
   * which give the same one share a breaker instead of having one an agent id each.
   */
  readonly name?: string | undefined
  /** Tells breakers of one name apart, such as the model of a provider. Default none. */
  readonly key?: string | undefined
  /** Opens after so many failures in a row. Default 5. Ignored where `rule` is given. */
  readonly failureThreshold?: number | undefined
  /** Another rule: {@link failureRatio}, {@link slowCallRatio}, {@link anyOf} of several, or one of your own. */
  readonly rule?: Rule | undefined
  /**
   * How long it stays open: a duration; a Schedule, whose pauses are taken one after the other with each opening and from the start again when
   * it was closed (one that ends keeps its last pause; its steps must not wait); or a function. Default 60 seconds. A longer `Retry-After` of
   * the failure that opened it is honoured.
   */
  readonly resetAfter?:
    | Duration.DurationInput
    | Schedule.Schedule<unknown, Opening>
    | ((opening: Opening) => Duration.DurationInput)
    | undefined
  /** The successes that close it again from half-open. Default 2. */
  readonly successThreshold?: number | undefined
  /** How many probes may be under way at once while half-open. Default 1. */
  readonly halfOpenPermits?: number | undefined
  /**
   * How long probes may stay undecided, since the last was let through, before a fresh round of probes is. What a probe of an earlier round
   * comes to counts no more. Default 60 seconds.
   */
  readonly halfOpenWait?: Duration.DurationInput | undefined
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
  /** Absent for a breaker without one. */
  readonly key?: string | undefined
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
 * Figures. All but `rejected` are of the rule's window; for a rule without one, since the breaker was last closed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Metrics {
  /** Calls that counted: permanent failures, interruptions and control flow do not. */
  readonly calls: number
  readonly failures: number
  /** Calls that took longer than the rule's bound; 0 where it has none. */
  readonly slow: number
  /** 0 to 1; 0 without a call. */
  readonly failureRatio: number
  /** 0 to 1; 0 without a call. */
  readonly slowRatio: number
  /** Calls rejected since the breaker was made. */
  readonly rejected: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface CircuitBreaker {
  readonly [TypeId]: TypeId
  readonly name: string
  readonly key: string | undefined
  /** What it is now. One that is open stays so until a call comes after its break. */
  readonly state: Effect.Effect<State>
  /** What it is now, with what a rejection would say. */
  readonly snapshot: Effect.Effect<Snapshot>
  readonly metrics: Effect.Effect<Metrics>
  /** Every transition from now on, each once. */
  readonly changes: Stream.Stream<Transition>
  /** Closes it by hand, whatever it is, and forgets what was counted; calls under way count no more. */
  readonly reset: Effect.Effect<void>
  /** Rejects every call until {@link CircuitBreaker.release} or `reset`: then it is closed. For a service that is taken away on purpose. */
  readonly isolate: Effect.Effect<void>
  /** Rejects every call until {@link CircuitBreaker.release}, after which probes must show that all is well, or `reset`. */
  readonly forceOpen: Effect.Effect<void>
  /** Lets every call through and only measures, until {@link CircuitBreaker.release} or `reset`. */
  readonly disable: Effect.Effect<void>
  /** Ends `isolate` and `disable` (it is closed) and `forceOpen` (it is half-open); else it does nothing. */
  readonly release: Effect.Effect<void>
  /**
   * Changes some options while it runs; the others stay. The state stays, a break under way keeps its length, and another `rule` or
   * `failureThreshold` starts a fresh count. Throws a `RangeError` when a number makes no sense.
   */
  readonly reconfigure: (change: Omit<Options, "name" | "key">) => Effect.Effect<void>
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
 * A breaker of its own, closed. Those that many share by name come from {@link get}; `options.name` says nothing here.
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
export const make = (name: string, options: Options = {}): CircuitBreaker => guard.make(name, options)

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

const makeRegistry = (connect?: (entry: guard.Entry) => guard.Sharing) => {
  const breakers = new Map<string, CircuitBreaker>()
  return {
    /**
     * The breaker of that name, or of the options' own, and of the options' key; made with these options when it is asked for the first time.
     * Later options change nothing: see `reconfigure`.
     */
    get: (name: string, options: Options = {}): CircuitBreaker => {
      const own = options.name ?? name
      const id = guard.idOf(own, options.key)
      const existing = breakers.get(id)
      if (existing !== undefined) return existing
      const breaker = guard.make(own, options, connect)
      breakers.set(id, breaker)
      return breaker
    },
    /** All that were asked for. */
    all: (): ReadonlyArray<CircuitBreaker> => [...breakers.values()]
  }
}

/**
 * One breaker a name and key. The default serves the whole process; {@link layerRegistry} gives a program or a test its own.
 *
 * @since 0.1.0
 * @category services
 */
export class Registry extends Context.Reference<Registry>()("holdfast/CircuitBreaker/Registry", {
  defaultValue: () => makeRegistry()
}) {}

/**
 * The breaker of a name, and of a key where the options have one, in the registry in force; made with these options when it is asked for the
 * first time.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { CircuitBreaker } from "holdfast"
 *
 * declare const ask: Effect.Effect<string, Error>
 *
 * // one a model: that one of a provider's models is overloaded says nothing of the others
 * const program = Effect.flatMap(CircuitBreaker.get("openai", { key: "gpt-5" }), (breaker) => breaker.protect(ask))
 * ```
 */
export const get = (name: string, options?: Options): Effect.Effect<CircuitBreaker> =>
  Effect.map(Registry, (registry) => registry.get(name, options))

/**
 * A registry with no breaker in it yet.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerRegistry: Layer.Layer<Registry> = Layer.sync(Registry, () => makeRegistry())

/**
 * @since 0.1.0
 * @category models
 */
export interface SharedOptions {
  /** How often the store is asked what others have done. Default 250 milliseconds. */
  readonly pollInterval?: Duration.DurationInput | undefined
  /** How long the store may take in the background before it counts as failing. Default 1 second. */
  readonly storeTimeout?: Duration.DurationInput | undefined
  /**
   * How long a call that may become a probe, and only such a one, waits for the store before it goes by what is known here. Default 100
   * milliseconds; while the store is failing no call waits at all.
   */
  readonly leaseTimeout?: Duration.DurationInput | undefined
}

/**
 * A registry whose breakers share their state with every other registry on the same {@link Store}: an opening in one is seen in all, and probes
 * are bounded across them. Only a change of state and a probe's permit reach the store. When it fails, each goes by what it knows itself, says
 * so once, and goes on sharing when the store is back.
 *
 * @since 0.1.0
 * @category layers
 * @throws `RangeError` when a duration makes no sense.
 * @example
 * ```ts
 * import { Layer, Redacted } from "effect"
 * import { CircuitBreaker, Database } from "holdfast"
 * import * as CircuitBreakerSql from "holdfast/CircuitBreakerSql"
 *
 * const layer = CircuitBreaker.layerRegistryShared().pipe(
 *   Layer.provide(CircuitBreakerSql.layerStoreSql()),
 *   Layer.provide(Database.layerPostgres({ url: Redacted.make("postgres://localhost/agents") }))
 * )
 * ```
 */
export const layerRegistryShared = (options: SharedOptions = {}): Layer.Layer<Registry, never, Store> => {
  const times = sharing.timesOf(options)
  return Layer.scoped(
    Registry,
    Effect.map(
      Effect.flatMap(Store, (store) => sharing.make(store, times)),
      makeRegistry
    )
  )
}
