/**
 * A LangChain chat model that answers by a script: texts, tokens, tool calls, and the faults that real ones have.
 *
 * `@langchain/core` is loaded when a model is made.
 *
 * @since 0.1.0
 */
import type { BaseChatModel } from "@langchain/core/language_models/chat_models"
import type { BaseMessage } from "@langchain/core/messages"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as numbers from "../resilience/internal/numbers.js"

/**
 * How long something takes, and what of an answer is there before.
 *
 * @since 0.1.0
 * @category models
 */
export interface Timing {
  /** How long until the first token, or the failure. Default 0. It passes on Effect's clock of where the model was made: a test's is virtual. */
  readonly latency?: Duration.DurationInput | undefined
  /** How long between two tokens. Default 0. */
  readonly tokenDelay?: Duration.DurationInput | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface ToolCall {
  readonly name: string
  readonly args: Readonly<Record<string, unknown>>
  /** Default: `call_1`, `call_2`, ... */
  readonly id?: string | undefined
}

/**
 * What a model does with one call.
 *
 * @since 0.1.0
 * @category models
 */
export interface Step {
  readonly _tag: "Answer" | "Failure" | "Hang"
  /** The text, as it is streamed; of a failure or a hang what comes before it. */
  readonly tokens: ReadonlyArray<string>
  readonly toolCalls: ReadonlyArray<ToolCall>
  readonly usage: { readonly input: number; readonly output: number } | undefined
  /** What a `Failure` throws. */
  readonly error: unknown
  readonly latencyMillis: number
  readonly tokenDelayMillis: number
}

/**
 * A call that was made.
 *
 * @since 0.1.0
 * @category models
 */
export interface Call {
  /** From 1. */
  readonly number: number
  readonly messages: ReadonlyArray<BaseMessage>
  /** The names of the tools that were bound. */
  readonly tools: ReadonlyArray<string>
  /** What else was said for the call, such as `stop`. */
  readonly options: Readonly<Record<string, unknown>>
  /** `aborted`: its signal ended it. */
  readonly outcome: "running" | "answered" | "failed" | "aborted"
  /** How many tokens have been handed out. */
  readonly tokens: number
}

/**
 * What a script holds for a call: a step, a text to answer with, or a function of the call that gives one of these.
 *
 * @since 0.1.0
 * @category models
 */
export type Scripted = string | Step | ((call: Call) => string | Step)

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * What a call beyond the script's end meets: `fail`, an error that says so; `last`, the last step again; `cycle`, the script from its beginning.
   * Default `fail`: a call too many is a mistake.
   */
  readonly atEnd?: "fail" | "last" | "cycle" | undefined
  /** The model's name, as observations show it. Default `test-model`. */
  readonly name?: string | undefined
}

/**
 * A LangChain chat model, and what it was asked.
 *
 * @since 0.1.0
 * @category models
 */
export type TestModel = BaseChatModel & {
  /** The calls in the order in which they came. */
  readonly calls: ReadonlyArray<Call>
  /** The most calls that were under way at once. */
  readonly mostAtOnce: number
}

/** Words with the spaces after them. */
const split = (text: string): ReadonlyArray<string> => text.match(/\S+\s*|^\s+/g) ?? []

const step = (tag: Step["_tag"], timing: Timing, more: Partial<Step>): Step => ({
  _tag: tag,
  tokens: [],
  toolCalls: [],
  usage: undefined,
  error: undefined,
  latencyMillis: numbers.millis("TestModel: latency", timing.latency ?? 0),
  tokenDelayMillis: numbers.millis("TestModel: tokenDelay", timing.tokenDelay ?? 0),
  ...more
})

/**
 * An answer; streamed, it comes word by word, or as the tokens that are given.
 *
 * @since 0.1.0
 * @category steps
 */
export const answer = (
  text: string | ReadonlyArray<string>,
  options: Timing & Pick<Partial<Step>, "usage"> = {}
): Step => step("Answer", options, { tokens: typeof text === "string" ? split(text) : text, usage: options.usage })

/**
 * An answer that asks for tools.
 *
 * @since 0.1.0
 * @category steps
 */
export const toolCalls = (
  calls: ToolCall | ReadonlyArray<ToolCall>,
  options: Timing & { readonly text?: string | undefined } & Pick<Partial<Step>, "usage"> = {}
): Step =>
  step("Answer", options, {
    tokens: split(options.text ?? ""),
    toolCalls: "name" in calls ? [calls] : calls,
    usage: options.usage
  })

/**
 * A failure: an HTTP status as a provider's client throws it, or anything else, thrown as it is. `after`: tokens that come before it.
 *
 * @since 0.1.0
 * @category steps
 */
export const failure = (
  error: number | Error | object,
  options: Timing & {
    readonly message?: string | undefined
    /** The header `retry-after`. */
    readonly retryAfter?: Duration.DurationInput | undefined
    readonly after?: string | ReadonlyArray<string> | undefined
  } = {}
): Step => {
  const { after = [], message, retryAfter } = options
  return step("Failure", options, {
    tokens: typeof after === "string" ? split(after) : after,
    error: typeof error === "number" ? statusError(error, message, retryAfter) : error
  })
}

const statusError = (status: number, message: string | undefined, retryAfter: Duration.DurationInput | undefined) =>
  Object.assign(new Error(message ?? `${status} injected by the script`), {
    name: "APIError",
    status,
    headers: retryAfter === undefined ? {} : { "retry-after": `${Duration.toSeconds(retryAfter)}` }
  })

/**
 * No answer, until the call is aborted. `after`: tokens that come before.
 *
 * @since 0.1.0
 * @category steps
 */
export const hang = (options: Timing & { readonly after?: string | ReadonlyArray<string> | undefined } = {}): Step => {
  const { after = [] } = options
  return step("Hang", options, { tokens: typeof after === "string" ? split(after) : after })
}

/** @internal */
export const toStep = (scripted: Scripted, call: Call): Step => {
  const plain = Predicate.isFunction(scripted) ? scripted(call) : scripted
  return typeof plain === "string" ? answer(plain) : plain
}

/**
 * A model that does what the script says, call by call. It takes tools, streams, obeys the call's signal, and tries nothing again by itself.
 *
 * @since 0.1.0
 * @category constructors
 * @throws `RangeError` when the script is empty.
 * @example
 * ```ts run
 * import { Effect } from "effect"
 * import { Agent, RetryPolicy } from "holdfast"
 * import { TestModel } from "holdfast/testing"
 *
 * const test = Effect.gen(function* () {
 *   const model = yield* TestModel.make([
 *     TestModel.failure(429, { retryAfter: "10 millis" }),
 *     TestModel.answer("It is fine.", { latency: "5 millis" })
 *   ])
 *   const agent = Agent.make("analyst", (question: string) =>
 *     Effect.tryPromise((signal) => model.invoke(question, { signal }))
 *   ).pipe(Agent.withRetry(RetryPolicy.make({ base: "1 millis" })))
 *   const { text } = yield* agent.invoke("How is it?")
 *   if (text !== "It is fine." || model.calls.length !== 2) throw new Error(text)
 * })
 *
 * await Effect.runPromise(test)
 * ```
 */
export const make = (script: ReadonlyArray<Scripted>, options: Options = {}): Effect.Effect<TestModel> => {
  if (script.length === 0) throw new RangeError("TestModel: the script needs at least one step")
  return Effect.flatMap(
    Effect.promise(() => import("./internal/chatModel.js")),
    (module) => Effect.map(Effect.runtime<never>(), (runtime) => new module.ScriptedModel(script, options, runtime))
  )
}
