/** LangChain's callbacks as spans, without any SDK: each run of a model, chain, tool or retriever is one under the span in which it was called. */
import type { CallbackHandler } from "@langfuse/langchain"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Runtime from "effect/Runtime"
import type * as Tracer from "effect/Tracer"
import * as ErrorInfo from "../../observability/ErrorInfo.js"
import * as Observation from "../../observability/Observation.js"

/** The last part of `{ id: ["langchain", "chat_models", "ChatOpenAI"] }`, which is what a run is called that has no name. */
const className = (serialized: unknown): string => {
  const id = Predicate.hasProperty(serialized, "id") && Array.isArray(serialized.id) ? serialized.id.at(-1) : undefined
  return typeof id === "string" ? id : "run"
}

const field = (value: unknown, ...path: ReadonlyArray<string>): unknown =>
  path.reduce<unknown>((inner, key) => (Predicate.hasProperty(inner, key) ? inner[key] : undefined), value)

/** A message as Langfuse shows it. */
const message = (value: unknown): unknown => {
  const type =
    Predicate.hasProperty(value, "getType") && Predicate.isFunction(value.getType) ? value.getType() : undefined
  if (typeof type !== "string") return value
  const role = { human: "user", ai: "assistant" }[type] ?? type
  const calls = field(value, "tool_calls")
  return {
    role,
    content: field(value, "content"),
    ...(Array.isArray(calls) && calls.length > 0 ? { tool_calls: calls } : {})
  }
}

const answer = (result: unknown): Observation.Options => {
  const generation = field(field(result, "generations"), "0", "0")
  const usage = field(generation, "message", "usage_metadata")
  const counts = {
    input: field(usage, "input_tokens"),
    output: field(usage, "output_tokens"),
    total: field(usage, "total_tokens")
  }
  const known = Object.entries(counts).filter((pair): pair is [string, number] => typeof pair[1] === "number")
  return {
    output: message(field(generation, "message") ?? field(generation, "text")),
    ...(known.length === 0 ? {} : { usage: Object.fromEntries(known) })
  }
}

/** A handler for what is called here. */
export const make: Effect.Effect<CallbackHandler> = Effect.gen(function* () {
  const runtime = yield* Effect.runtime<never>()
  const clock = yield* Effect.clock
  const here = Option.getOrUndefined(yield* Effect.option(Effect.currentParentSpan))
  const runs = new Map<string, Tracer.Span>()

  const start = (runId: string, parentRunId: string | undefined, name: string, options: Observation.Options): void => {
    const parent = (parentRunId === undefined ? undefined : runs.get(parentRunId)) ?? here
    const span = Runtime.runSync(
      runtime,
      Effect.makeSpan(name, {
        attributes: Observation.attributes(options),
        captureStackTrace: false,
        ...(parent === undefined ? { root: true } : { parent })
      })
    )
    runs.set(runId, span)
  }
  const say = (span: Tracer.Span, options: Observation.Options): void => {
    for (const [key, value] of Object.entries(Observation.attributes(options))) span.attribute(key, value)
  }
  const end = (runId: string, options: Observation.Options): void => {
    const span = runs.get(runId)
    if (span === undefined) return
    runs.delete(runId)
    say(span, options)
    span.end(clock.unsafeCurrentTimeNanos(), Exit.void)
  }
  const fail = (error: unknown, runId: string): void => {
    const isAbort = Predicate.hasProperty(error, "name") && /^(Model)?AbortError$/.test(String(error.name))
    end(
      runId,
      ErrorInfo.isControlFlow(error)
        ? {}
        : isAbort
          ? { level: "WARNING", statusMessage: Observation.interrupted }
          : { level: "ERROR", statusMessage: ErrorInfo.line(ErrorInfo.make(error)) }
    )
  }
  const begun = (
    type: Observation.ObservationType,
    serialized: unknown,
    input: unknown,
    name?: string,
    extra?: unknown
  ) => {
    const model = field(extra, "invocation_params", "model") ?? field(extra, "invocation_params", "model_name")
    return {
      name: name ?? className(serialized),
      options: { type, input, ...(typeof model === "string" ? { model } : {}) } satisfies Observation.Options
    }
  }

  const handler = {
    name: "holdfast_test_langfuse",
    awaitHandlers: true,
    handleChatModelStart: (
      llm: unknown,
      messages: ReadonlyArray<ReadonlyArray<unknown>>,
      runId: string,
      parentRunId?: string,
      extra?: unknown,
      _tags?: unknown,
      _metadata?: unknown,
      name?: string
    ) => {
      const run = begun("generation", llm, messages.flat().map(message), name, extra)
      start(runId, parentRunId, run.name, run.options)
    },
    handleLLMStart: (
      llm: unknown,
      prompts: unknown,
      runId: string,
      parentRunId?: string,
      extra?: unknown,
      _tags?: unknown,
      _metadata?: unknown,
      name?: string
    ) => {
      const run = begun("generation", llm, prompts, name, extra)
      start(runId, parentRunId, run.name, run.options)
    },
    handleLLMNewToken: (_token: string, _at: unknown, runId: string) => {
      const span = runs.get(runId)
      if (span === undefined || span.attributes.has(Observation.Attribute.completionStartTime)) return
      say(span, { completionStartTime: new Date(clock.unsafeCurrentTimeMillis()) })
    },
    handleLLMEnd: (result: unknown, runId: string) => end(runId, answer(result)),
    handleLLMError: fail,
    handleChainStart: (
      chain: unknown,
      inputs: unknown,
      runId: string,
      _type?: unknown,
      _tags?: unknown,
      _metadata?: unknown,
      name?: string,
      parentRunId?: string
    ) => {
      const run = begun("chain", chain, inputs, name)
      start(runId, parentRunId, run.name, run.options)
    },
    handleChainEnd: (outputs: unknown, runId: string) => end(runId, { output: outputs }),
    handleChainError: fail,
    handleToolStart: (
      tool: unknown,
      input: unknown,
      runId: string,
      parentRunId?: string,
      _tags?: unknown,
      _metadata?: unknown,
      name?: string
    ) => {
      const run = begun("tool", tool, input, name)
      start(runId, parentRunId, run.name, run.options)
    },
    handleToolEnd: (output: unknown, runId: string) => end(runId, { output }),
    handleToolError: fail,
    handleRetrieverStart: (
      retriever: unknown,
      query: unknown,
      runId: string,
      parentRunId?: string,
      _tags?: unknown,
      _metadata?: unknown,
      name?: string
    ) => {
      const run = begun("retriever", retriever, query, name)
      start(runId, parentRunId, run.name, run.options)
    },
    handleRetrieverEnd: (output: unknown, runId: string) => end(runId, { output }),
    handleRetrieverError: fail
  }
  // LangChain takes any object with a name and handlers; the type is that of Langfuse's class, whose place it takes
  return handler as unknown as CallbackHandler
})
