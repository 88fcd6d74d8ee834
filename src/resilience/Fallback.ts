/**
 * When one way fails, take the next.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Schema from "effect/Schema"
import * as ErrorInfo from "../observability/ErrorInfo.js"
import * as Observation from "../observability/Observation.js"
import * as Failure from "./Failure.js"
import type * as StaleCache from "./StaleCache.js"

/**
 * Nothing in the chain worked. Carries every error, in the order in which they happened.
 *
 * @since 0.1.0
 * @category errors
 */
export class FallbackExhaustedError extends Schema.TaggedError<FallbackExhaustedError>(
  "holdfast/FallbackExhaustedError"
)("FallbackExhaustedError", {
  /** Whose chain it was. */
  agent: Schema.String,
  errors: Schema.Array(Schema.Struct({ agent: Schema.String, error: Schema.Unknown }))
}) {
  override get message(): string {
    const each = this.errors.map(({ agent, error }) => `${agent}: ${ErrorInfo.line(ErrorInfo.make(error))}`)
    return `"${this.agent}" and every fallback failed (${each.join("; ")})`
  }

  /** Worth another try when any of its errors is: then the whole chain may work later. */
  get failure(): Failure.Failure {
    const all = this.errors.map(({ error }) => Failure.classify(error))
    return all.some(Failure.isRetryable)
      ? { kind: "transient", reason: "fallbacks exhausted" }
      : { kind: "permanent", reason: "fallbacks exhausted" }
  }
}

/**
 * One way of a chain.
 *
 * @since 0.1.0
 * @category models
 */
export interface Way<out A, out E, out R> {
  /** Stands in the errors and in the trace. */
  readonly name: string
  readonly effect: Effect.Effect<A, E, R>
}

/**
 * One way that did not work.
 *
 * @since 0.1.0
 * @category models
 */
export interface FailedWay {
  readonly agent: string
  /** The failure, or the defect. */
  readonly error: unknown
}

/**
 * Takes each way in turn until one works. A defect is a failure of that way like any other; interruption and control flow end the chain as they
 * are. `onFailed` hears, after each way that failed, of all that have; without it, each way but the first is a `fallback` observation.
 *
 * @since 0.1.0
 * @category operators
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Fallback } from "holdfast"
 *
 * declare const askTheModel: Effect.Effect<string, Error>
 * declare const askTheSmallOne: Effect.Effect<string, Error>
 *
 * const program = Fallback.chain("answer", [
 *   { name: "model", effect: askTheModel },
 *   { name: "small model", effect: askTheSmallOne },
 *   { name: "template", effect: Effect.succeed("Please ask again later") }
 * ])
 * ```
 */
export const chain = <W extends Way<unknown, unknown, unknown>>(
  name: string,
  ways: ReadonlyArray<W>,
  onFailed?: (failed: ReadonlyArray<FailedWay>) => Effect.Effect<void>
): Effect.Effect<Effect.Effect.Success<W["effect"]>, FallbackExhaustedError, Effect.Effect.Context<W["effect"]>> => {
  // the ways are of different types; each gives what the union of them all gives
  type Answer = Effect.Effect<
    Effect.Effect.Success<W["effect"]>,
    FallbackExhaustedError,
    Effect.Effect.Context<W["effect"]>
  >
  const from = (
    index: number,
    failed: ReadonlyArray<FailedWay>
  ): Effect.Effect<unknown, FallbackExhaustedError, unknown> => {
    const way = ways[index]
    if (way === undefined) return Effect.fail(new FallbackExhaustedError({ agent: name, errors: failed }))
    const before = failed.at(-1)
    const effect =
      before === undefined || onFailed !== undefined
        ? way.effect
        : observed(way.effect, before.error, { chain: name, way: way.name, fallback_level: index })
    return Effect.catchAllCause(effect, (cause) => {
      if (!Failure.isReal(Failure.fromCause(cause, anyFailure))) {
        // a signal to LangGraph or an interruption: not ours to type, it passes through as it is
        return Effect.failCause(cause as Cause.Cause<never>)
      }
      // the error itself, without the span that Effect ties to what fails inside one
      const all = [...failed, { agent: way.name, error: Cause.originalError(Cause.squash(cause)) }]
      return Effect.zipRight(onFailed?.(all) ?? Effect.void, from(index + 1, all))
    })
  }
  return from(0, []) as Answer
}

/** What is done instead, as an observation that says instead of what: a WARNING when it gives an answer. */
const observed = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  error: unknown,
  metadata: Readonly<Record<string, unknown>>
): Effect.Effect<A, E, R> => {
  const info = ErrorInfo.make(error)
  const statusMessage = `instead of ${ErrorInfo.line(info)}`
  return Observation.span(
    Effect.tap(effect, () => Observation.annotate({ level: "WARNING", statusMessage })),
    "fallback",
    { metadata: { error_type: info.tag, ...metadata } }
  ) as Effect.Effect<A, E, R> // the span only adds what it then provides: R is as it was
}

/** An aborted call is a failure of that way; only a signal of LangGraph's, about which nobody is asked, passes. */
const anyFailure = (): Failure.Failure => ({ kind: "permanent", reason: "failed" })

/**
 * Another effect when the first fails or dies. The same as a {@link chain} of two.
 *
 * @since 0.1.0
 * @category operators
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Fallback } from "holdfast"
 *
 * declare const ask: Effect.Effect<string, Error>
 *
 * const program = ask.pipe(Fallback.orElse(() => Effect.succeed("no answer"), "greeter"))
 * ```
 */
export const orElse: {
  <A2, E2, R2>(
    that: () => Effect.Effect<A2, E2, R2>,
    name?: string
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A | A2, FallbackExhaustedError, R | R2>
  <A, E, R, A2, E2, R2>(
    self: Effect.Effect<A, E, R>,
    that: () => Effect.Effect<A2, E2, R2>,
    name?: string
  ): Effect.Effect<A | A2, FallbackExhaustedError, R | R2>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R, A2, E2, R2>(
    self: Effect.Effect<A, E, R>,
    that: () => Effect.Effect<A2, E2, R2>,
    name = "effect"
  ): Effect.Effect<A | A2, FallbackExhaustedError, R | R2> =>
    chain<Way<A, E, R> | Way<A2, E2, R2>>(name, [
      { name: "primary", effect: self },
      { name: "fallback_1", effect: Effect.suspend(that) }
    ])
)

/**
 * A value when an effect fails or dies.
 *
 * @since 0.1.0
 * @category operators
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Fallback } from "holdfast"
 *
 * declare const ask: Effect.Effect<string, Error>
 *
 * const program: Effect.Effect<string> = ask.pipe(Fallback.orValue(() => "no answer"))
 * ```
 */
export const orValue: {
  <B>(value: () => B, name?: string): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A | B, never, R>
  <A, E, R, B>(self: Effect.Effect<A, E, R>, value: () => B, name?: string): Effect.Effect<A | B, never, R>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R, B>(self: Effect.Effect<A, E, R>, value: () => B, name = "effect"): Effect.Effect<A | B, never, R> =>
    instead(self, (error) => observed(Effect.sync(value), error, { chain: name, way: "value" }))
)

/** Another effect for what is a failure; interruption and control flow pass as they are, as no type of error. */
const instead = <A, E, R, A2, E2, R2>(
  self: Effect.Effect<A, E, R>,
  that: (error: unknown, cause: Cause.Cause<E>) => Effect.Effect<A2, E2, R2>
): Effect.Effect<A | A2, E2, R | R2> =>
  Effect.catchAllCause(self, (cause) =>
    Failure.isReal(Failure.fromCause(cause, anyFailure))
      ? that(Cause.originalError(Cause.squash(cause)), cause)
      : Effect.failCause(cause as Cause.Cause<never>)
  )

/**
 * Which failures: a class, several, or whatever a function says. The error is `unknown`, because a classifier may have looked inside it.
 *
 * @since 0.1.0
 * @category models
 */
export type Selection =
  | Failure.Class
  | ReadonlyArray<Failure.Class>
  | ((failure: Failure.Failure, error: unknown) => boolean)

const selects = (selection: Selection, failure: Failure.Failure, error: unknown): boolean => {
  if (typeof selection === "function") return selection(failure, error)
  const failureClass = Failure.classOf(failure)
  return typeof selection === "string" ? selection === failureClass : selection.includes(failureClass)
}

/**
 * What to do instead, given what was recognised in the failure and the error itself.
 *
 * @since 0.1.0
 * @category models
 */
export type Alternative<A, E, R> = (failure: Failure.Failure, error: unknown) => Effect.Effect<A, E, R>

/**
 * Another effect for failures of some classes only; all others pass as they are. Failures are sorted by the classifier in force. What is done
 * instead is a `fallback` observation.
 *
 * @since 0.1.0
 * @category by class
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Fallback } from "holdfast"
 *
 * declare const ask: Effect.Effect<string, Error>
 * declare const askElsewhere: Effect.Effect<string, Error>
 *
 * const program = ask.pipe(Fallback.when(["overloaded", "server-error"], () => askElsewhere))
 * ```
 */
export const when: {
  <A2, E2, R2>(
    selection: Selection,
    that: Alternative<A2, E2, R2>
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A | A2, E | E2, R | R2>
  <A, E, R, A2, E2, R2>(
    self: Effect.Effect<A, E, R>,
    selection: Selection,
    that: Alternative<A2, E2, R2>
  ): Effect.Effect<A | A2, E | E2, R | R2>
} = dual(
  3,
  <A, E, R, A2, E2, R2>(
    self: Effect.Effect<A, E, R>,
    selection: Selection,
    that: Alternative<A2, E2, R2>
  ): Effect.Effect<A | A2, E | E2, R | R2> =>
    instead(self, (error, cause) =>
      Effect.flatMap(
        Effect.zip(Effect.clock, Failure.CurrentClassifier),
        ([clock, classifier]): Effect.Effect<A2, E | E2, R2> => {
          const failure = Failure.fromCause(cause, classifier, () => clock.unsafeCurrentTimeMillis())
          if (!selects(selection, failure, error)) return Effect.failCause(cause)
          const alternative = Effect.suspend(() => that(failure, error))
          return observed(alternative, error, { error_class: Failure.classOf(failure), reason: failure.reason })
        }
      )
    )
)

/** One of {@link when} for a single class. */
interface OnClass {
  <A2, E2, R2>(
    that: Alternative<A2, E2, R2>
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A | A2, E | E2, R | R2>
  <A, E, R, A2, E2, R2>(
    self: Effect.Effect<A, E, R>,
    that: Alternative<A2, E2, R2>
  ): Effect.Effect<A | A2, E | E2, R | R2>
}

const onClass = (failureClass: Failure.Class): OnClass =>
  dual(2, <A, E, R, A2, E2, R2>(self: Effect.Effect<A, E, R>, that: Alternative<A2, E2, R2>) =>
    when(self, failureClass, that)
  )

/**
 * When the prompt is too long: a model with a longer context, or a shorter prompt.
 *
 * @since 0.1.0
 * @category by class
 */
export const onContextLength: OnClass = onClass("context-length")

/**
 * When a content filter refused: another model, or a plain answer.
 *
 * @since 0.1.0
 * @category by class
 */
export const onContentFilter: OnClass = onClass("content-filter")

/**
 * When the rate is limited, by the other side or by `RateLimit`: another provider.
 *
 * @since 0.1.0
 * @category by class
 */
export const onRateLimit: OnClass = onClass("rate-limited")

/**
 * When there was no answer in time: an attempt's timeout, a deadline, 408, 504, a socket's timeout.
 *
 * @since 0.1.0
 * @category by class
 */
export const onTimeout: OnClass = onClass("timeout")

/**
 * When a circuit breaker rejected the call.
 *
 * @since 0.1.0
 * @category by class
 */
export const onCircuitOpen: OnClass = onClass("circuit-open")

/**
 * The last good answer when an effect fails or dies, if there is one that is not too old: see {@link StaleCache.make}. Put it outermost, around
 * all else that might give a fresh one. Good answers are kept under the key, failures never are. Without an old answer the failure passes as it is.
 *
 * The result says how old it is, and so does the `fallback` observation, in `age_seconds`.
 *
 * @since 0.1.0
 * @category operators
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Fallback, StaleCache } from "holdfast"
 *
 * declare const price: (symbol: string) => Effect.Effect<number, Error>
 *
 * const prices = StaleCache.make<number>({ maxAge: "15 minutes" })
 * const lastKnown = (symbol: string) => price(symbol).pipe(Fallback.orStale(prices, symbol))
 * ```
 */
export const orStale: {
  <A>(
    cache: StaleCache.StaleCache<A>,
    key: string
  ): <E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<StaleCache.Answer<A>, E, R>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    cache: StaleCache.StaleCache<A>,
    key: string
  ): Effect.Effect<StaleCache.Answer<A>, E, R>
} = dual(
  3,
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    cache: StaleCache.StaleCache<A>,
    key: string
  ): Effect.Effect<StaleCache.Answer<A>, E, R> =>
    Effect.flatMap(self, (value) => Effect.as(cache.set(key, value), { value, stale: false, ageMillis: 0 })).pipe(
      (kept) =>
        instead(kept, (error, cause) =>
          Effect.flatMap(cache.get(key), (answer) =>
            answer === undefined
              ? Effect.failCause(cause)
              : observed(Effect.succeed(answer), error, { way: "stale", age_seconds: answer.ageMillis / 1000 })
          )
        )
    )
)
