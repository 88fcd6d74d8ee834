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
import * as Failure from "./Failure.js"

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
 * are. `onFailed` hears, after each way that failed, of all that have.
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
  onFailed: (failed: ReadonlyArray<FailedWay>) => Effect.Effect<void> = () => Effect.void
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
    return Effect.catchAllCause(way.effect, (cause) => {
      if (!Failure.isReal(Failure.fromCause(cause, controlFlowOnly))) {
        // a signal to LangGraph or an interruption: not ours to type, it passes through as it is
        return Effect.failCause(cause as Cause.Cause<never>)
      }
      // the error itself, without the span that Effect ties to what fails inside one
      const all = [...failed, { agent: way.name, error: Cause.originalError(Cause.squash(cause)) }]
      return Effect.zipRight(onFailed(all), from(index + 1, all))
    })
  }
  return from(0, []) as Answer
}

/** An aborted call is a failure of that way; only a signal of LangGraph's passes. */
const controlFlowOnly = (error: unknown): Failure.Failure =>
  ErrorInfo.isControlFlow(error)
    ? { kind: "control-flow", reason: ErrorInfo.tag(error) }
    : { kind: "permanent", reason: "failed" }

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
