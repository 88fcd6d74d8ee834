/**
 * The vocabulary in which everything here reports: Langfuse's attributes, as annotations of the current Effect span. Nothing in this module
 * knows a backend. Without a tracer the same code runs and says nothing; with one (Langfuse's, OpenTelemetry's, a test's) it is all seen.
 *
 * @since 0.1.0
 */

import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import { dual, type LazyArg } from "effect/Function"
import * as HashMap from "effect/HashMap"
import type * as Tracer from "effect/Tracer"
import * as ErrorInfo from "./ErrorInfo.js"
import * as said from "./internal/attributes.js"
import * as runConfig from "./internal/runConfig.js"

/**
 * What kind of work an observation stands for, as Langfuse names them.
 *
 * @since 0.1.0
 * @category models
 */
export type ObservationType =
  | "span"
  | "generation"
  | "event"
  | "embedding"
  | "agent"
  | "tool"
  | "chain"
  | "retriever"
  | "guardrail"
  | "evaluator"

/**
 * How bad it is. `DEFAULT` is the level of what went well.
 *
 * @since 0.1.0
 * @category models
 */
export type Level = "DEBUG" | "DEFAULT" | "WARNING" | "ERROR"

/**
 * What can be said of an observation. Everything is optional; what is absent is not written.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly type?: ObservationType | undefined
  readonly level?: Level | undefined
  /** One line that says what happened. Redacted. */
  readonly statusMessage?: string | undefined
  /** Any value; becomes redacted JSON. */
  readonly input?: unknown
  /** Any value; becomes redacted JSON. */
  readonly output?: unknown
  /** Keys become `langfuse.observation.metadata.KEY`. */
  readonly metadata?: Readonly<Record<string, unknown>> | undefined
  /** The model's name; for generations. */
  readonly model?: string | undefined
  /** Tokens by kind, such as `{ input: 10, output: 20 }`. */
  readonly usage?: Readonly<Record<string, number>> | undefined
  /** US dollars by kind. */
  readonly cost?: Readonly<Record<string, number>> | undefined
  /** When the first token arrived. */
  readonly completionStartTime?: Date | undefined
  /** What the model was called with, such as `{ temperature: 0.2 }`; redacted. */
  readonly modelParameters?: Readonly<Record<string, unknown>> | undefined
}

/**
 * What stands on every observation of a trace.
 *
 * @since 0.1.0
 * @category models
 */
export interface TraceOptions {
  readonly name?: string | undefined
  readonly sessionId?: string | undefined
  readonly userId?: string | undefined
  readonly tags?: ReadonlyArray<string> | undefined
  readonly metadata?: Readonly<Record<string, unknown>> | undefined
  readonly environment?: string | undefined
  readonly release?: string | undefined
  readonly version?: string | undefined
}

/**
 * The attribute names that Langfuse reads.
 *
 * @since 0.1.0
 * @category attributes
 */
export const Attribute = said.Attribute

/**
 * The span attributes that say it.
 *
 * @since 0.1.0
 * @category attributes
 */
export const attributes: (options: Options) => Record<string, unknown> = said.attributes

/**
 * The status message of what was interrupted.
 *
 * @since 0.1.0
 * @category attributes
 */
export const interrupted = "interrupted"

/**
 * The level and message with which an observation ends: an error says its tag and message, an interruption is a warning, and control flow
 * (a LangGraph pause or jump) is neither.
 *
 * @since 0.1.0
 * @category attributes
 */
export const outcome = (exit: Exit.Exit<unknown, unknown>): Pick<Options, "level" | "statusMessage"> => {
  if (exit._tag === "Success") return {}
  if (Cause.isInterruptedOnly(exit.cause)) return { level: "WARNING", statusMessage: interrupted }
  if (ErrorInfo.isControlFlow(Cause.squash(exit.cause))) return { level: "DEFAULT" }
  return { level: "ERROR", statusMessage: ErrorInfo.line(ErrorInfo.fromCause(exit.cause)) }
}

/**
 * Says something of the current observation. Without one it does nothing.
 *
 * @since 0.1.0
 * @category operators
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Observation } from "holdfast"
 *
 * const program = Effect.succeed(42).pipe(
 *   Effect.tap((answer) => Observation.annotate({ output: answer, metadata: { certain: true } })),
 *   Observation.span("deep_thought", { type: "tool" })
 * )
 * ```
 */
export const annotate = (options: Options | LazyArg<Options>): Effect.Effect<void> =>
  Effect.withFiberRuntime((fiber) => {
    const span = fiber.currentSpan
    if (span === undefined || span._tag !== "Span") return Effect.void
    const all = attributes(typeof options === "function" ? options() : options)
    for (const name in all) span.attribute(name, all[name])
    return Effect.void
  })

/**
 * Makes an effect an observation: a child of the current one that lasts as long as the effect. How it ends is set by the tracer, see
 * {@link outcome}; a level given here or by {@link annotate} stays.
 *
 * @since 0.1.0
 * @category operators
 */
export const span: {
  (
    name: string,
    options?: Options
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, Exclude<R, Tracer.ParentSpan>>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    name: string,
    options?: Options
  ): Effect.Effect<A, E, Exclude<R, Tracer.ParentSpan>>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(self: Effect.Effect<A, E, R>, name: string, options: Options = {}) =>
    Effect.withSpan(self, name, { attributes: attributes(options), captureStackTrace: false })
)

/**
 * A moment as an observation of its own: Langfuse stores no span events, so what must be seen is a child of no length.
 *
 * @since 0.1.0
 * @category operators
 */
export const event = (name: string, options: Options = {}): Effect.Effect<void> =>
  span(Effect.void, name, { type: "event", ...options })

/**
 * What can be said of a generation: all that can be said of an observation, and what is known only from the answer.
 *
 * @since 0.1.0
 * @category models
 */
export interface GenerationOptions<A> extends Omit<Options, "type"> {
  /** Reads from the answer what it says: output, usage, cost, the model that really answered. */
  readonly answered?: ((answer: A) => Options) | undefined
}

/**
 * Makes the call of a model an observation of type `generation`. What LangChain calls is one already, with `Langfuse.callbackHandler`.
 *
 * @since 0.1.0
 * @category operators
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Observation } from "holdfast"
 *
 * declare const complete: (prompt: string) => Promise<{ text: string; tokens: { prompt: number; completion: number } }>
 *
 * const ask = (prompt: string) =>
 *   Effect.tryPromise(() => complete(prompt)).pipe(
 *     Observation.generation("ask", {
 *       model: "gpt-4o-mini",
 *       modelParameters: { temperature: 0.2 },
 *       input: prompt,
 *       answered: ({ text, tokens }) => ({
 *         output: text,
 *         usage: { input: tokens.prompt, output: tokens.completion },
 *         cost: { input: tokens.prompt * 15e-8, output: tokens.completion * 6e-7 }
 *       })
 *     })
 *   )
 * ```
 */
export const generation: {
  <A>(
    name: string,
    options?: GenerationOptions<NoInfer<A>>
  ): <E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, Exclude<R, Tracer.ParentSpan>>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    name: string,
    options?: GenerationOptions<NoInfer<A>>
  ): Effect.Effect<A, E, Exclude<R, Tracer.ParentSpan>>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(self: Effect.Effect<A, E, R>, name: string, options: GenerationOptions<A> = {}) => {
    const { answered, ...known } = options
    const observed = answered === undefined ? self : Effect.tap(self, (answer) => annotate(answered(answer)))
    return span(observed, name, { ...known, type: "generation" })
  }
)

/**
 * Says of the current generation that its first token has arrived, now.
 *
 * @since 0.1.0
 * @category operators
 */
export const completionStarted: Effect.Effect<void> = Effect.flatMap(Effect.clock, (clock) =>
  // the time that the span itself goes by, which the wall clock's milliseconds drift away from
  annotate({ completionStartTime: new Date(Number(clock.unsafeCurrentTimeNanos() / 1_000_000n)) })
)

/**
 * Puts the trace's attributes on every observation made inside.
 *
 * @since 0.1.0
 * @category operators
 */
export const withTrace: {
  (options: TraceOptions): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, options: TraceOptions): Effect.Effect<A, E, R>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, options: TraceOptions) =>
  Effect.annotateSpans(self, traceAttributes(options))
)

/**
 * Puts on every observation made inside what a LangGraph or LangChain config says of the trace: `langfuse_user_id`, `langfuse_session_id`,
 * `langfuse_tags` and `langfuse_trace_name` in `configurable` or `metadata` (or `langfuseUserId`, ... as Langfuse's handler for JavaScript has
 * them). The session is the thread (`configurable.thread_id`), unless the config or a `withTrace` around says another.
 *
 * @since 0.1.0
 * @category operators
 */
export const withConfig: {
  (config: unknown): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, config: unknown): Effect.Effect<A, E, R>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, config: unknown) =>
  Effect.withFiberRuntime<A, E, R>((fiber) => {
    const annotations = fiber.getFiberRef(FiberRef.currentTracerSpanAnnotations)
    const options = runConfig.traceOf(config, HashMap.has(annotations, Attribute.sessionId))
    return options === undefined ? self : withTrace(self, options)
  })
)

/**
 * The span attributes that say it of a whole trace.
 *
 * @since 0.1.0
 * @category attributes
 */
export const traceAttributes: (options: TraceOptions) => Record<string, unknown> = said.traceAttributes

/**
 * A figure about an observation.
 *
 * @since 0.1.0
 * @category scores
 */
export interface Score {
  /** Stable name, such as `retry_attempts`. */
  readonly name: string
  /** A number, a category, or a boolean. */
  readonly value: number | string | boolean
  /** What is scored. Default the observation. A session that the trace does not name is its trace. */
  readonly on?: "observation" | "trace" | "session" | undefined
  readonly comment?: string | undefined
  /** Any JSON; redacted. */
  readonly metadata?: Readonly<Record<string, unknown>> | undefined
  /** The score configuration in Langfuse by which it is checked. */
  readonly configId?: string | undefined
  /** What makes a later score of the same id replace this one. Default a new one. */
  readonly id?: string | undefined
}

/**
 * Where scores go. The default drops them; a tracing layer provides its own.
 *
 * @since 0.1.0
 * @category scores
 */
export class ScoreSink extends Context.Reference<ScoreSink>()("holdfast/Observation/ScoreSink", {
  defaultValue: (): { readonly emit: (score: Score, span: Tracer.Span) => void } => ({ emit: () => {} })
}) {}

/**
 * Scores the current observation. Without one, or without a {@link ScoreSink}, it does nothing. Never fails.
 *
 * @since 0.1.0
 * @category scores
 */
export const score = (score: Score): Effect.Effect<void> =>
  Effect.withFiberRuntime((fiber) => {
    const span = fiber.currentSpan
    return span === undefined || span._tag !== "Span"
      ? Effect.void
      : Effect.map(ScoreSink, (sink) => sink.emit(score, span))
  })

/**
 * Scores the current observation by what an effect answers.
 *
 * @since 0.1.0
 * @category scores
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Observation } from "holdfast"
 *
 * declare const answer: Effect.Effect<{ readonly text: string; readonly sources: ReadonlyArray<string> }>
 *
 * const scored = answer.pipe(
 *   Observation.scored(({ sources, text }) => [
 *     { name: "sources", value: sources.length },
 *     { name: "empty", value: text === "", on: "trace" }
 *   ]),
 *   Observation.span("answer")
 * )
 * ```
 */
export const scored: {
  <A>(
    scores: (answer: NoInfer<A>) => ReadonlyArray<Score>
  ): <E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, scores: (answer: NoInfer<A>) => ReadonlyArray<Score>): Effect.Effect<A, E, R>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, scores: (answer: A) => ReadonlyArray<Score>) =>
  Effect.tap(self, (answer) => Effect.forEach(scores(answer), score, { discard: true }))
)
