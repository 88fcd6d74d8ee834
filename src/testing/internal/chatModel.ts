/** The chat model itself: loads LangChain. */
import type { CallbackManagerForLLMRun } from "@langchain/core/callbacks/manager"
import type { BaseLanguageModelInput } from "@langchain/core/language_models/base"
import {
  BaseChatModel,
  type BaseChatModelCallOptions,
  type BindToolsInput
} from "@langchain/core/language_models/chat_models"
import { AIMessage, AIMessageChunk, type BaseMessage } from "@langchain/core/messages"
import { ChatGenerationChunk, type ChatResult } from "@langchain/core/outputs"
import type { Runnable } from "@langchain/core/runnables"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Runtime from "effect/Runtime"
import * as TestModel from "../TestModel.js"

interface CallOptions extends BaseChatModelCallOptions {
  readonly tools?: ReadonlyArray<unknown>
}

type Mutable = { -readonly [Key in keyof TestModel.Call]: TestModel.Call[Key] }

/** A tool's name: LangChain's own, or as OpenAI writes it. */
const toolName = (tool: unknown): string => {
  const inner = Predicate.hasProperty(tool, "function") ? tool.function : tool
  return Predicate.hasProperty(inner, "name") ? String(inner.name) : "tool"
}

const aborted = (signal: AbortSignal | undefined): Error => {
  const reason: unknown = signal?.reason
  return reason instanceof Error ? reason : new DOMException("The call was aborted", "AbortError")
}

export class ScriptedModel extends BaseChatModel<CallOptions, AIMessageChunk> {
  readonly calls: Array<TestModel.Call> = []
  mostAtOnce = 0
  // biome-ignore lint/correctness/noUnusedPrivateClassMembers: it is read by destructuring
  private readonly script: ReadonlyArray<TestModel.Scripted>
  private readonly atEnd: NonNullable<TestModel.Options["atEnd"]>
  private readonly runtime: Runtime.Runtime<never>
  readonly model: string
  private atOnce = 0

  static override lc_name(): string {
    return "TestModel"
  }

  constructor(script: ReadonlyArray<TestModel.Scripted>, options: TestModel.Options, runtime: Runtime.Runtime<never>) {
    super({})
    this.script = script
    this.atEnd = options.atEnd ?? "fail"
    this.model = options.name ?? "test-model"
    this.runtime = runtime
  }

  override _llmType(): string {
    return "holdfast-test"
  }

  override _combineLLMOutput(): Record<string, unknown> {
    return {}
  }

  override invocationParams(options?: this["ParsedCallOptions"]): Record<string, unknown> {
    return { model: this.model, ...(options?.tools === undefined ? {} : { tools: options.tools }) }
  }

  override bindTools(
    tools: Array<BindToolsInput>,
    options?: Partial<CallOptions>
  ): Runnable<BaseLanguageModelInput, AIMessageChunk, CallOptions> {
    return this.withConfig({ ...options, tools })
  }

  private stepOf(call: TestModel.Call): TestModel.Step {
    const { atEnd, script } = this
    const index = call.number - 1
    const scripted =
      script[index] ??
      (atEnd === "last" ? script[script.length - 1] : atEnd === "cycle" ? script[index % script.length] : undefined)
    if (scripted === undefined) {
      const error = new Error(
        `TestModel: call ${call.number}, but the script ends after ${script.length}; lengthen it, or say atEnd: "last"`
      )
      return TestModel.failure(Object.assign(error, { status: 400 }))
    }
    return TestModel.toStep(scripted, call)
  }

  private sleep(millis: number, signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted === true) return Promise.reject(aborted(signal))
    if (millis === 0) return Promise.resolve()
    return Runtime.runPromise(this.runtime)(Effect.sleep(millis), signal === undefined ? {} : { signal }).catch(
      (error: unknown) => {
        throw signal?.aborted === true ? aborted(signal) : error
      }
    )
  }

  private never(signal: AbortSignal | undefined): Promise<never> {
    return new Promise((_, reject) => {
      if (signal?.aborted === true) reject(aborted(signal))
      else signal?.addEventListener("abort", () => reject(aborted(signal)), { once: true })
    })
  }

  /** The chunks of one call, as they come. */
  private async *chunks(messages: ReadonlyArray<BaseMessage>, options: this["ParsedCallOptions"]) {
    const { signal, tools = [], ...rest } = options
    const call: Mutable = {
      number: this.calls.length + 1,
      messages: [...messages],
      tools: tools.map(toolName),
      options: rest,
      outcome: "running",
      tokens: 0
    }
    this.calls.push(call)
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.atOnce)
    try {
      const step = this.stepOf(call)
      await this.sleep(step.latencyMillis, signal)
      for (const token of step.tokens) {
        if (call.tokens > 0) await this.sleep(step.tokenDelayMillis, signal)
        call.tokens++
        yield new AIMessageChunk({ content: token })
      }
      if (step._tag === "Failure") throw step.error
      if (step._tag === "Hang") await this.never(signal)
      yield this.last(step)
      call.outcome = "answered"
    } catch (error) {
      call.outcome = signal?.aborted === true ? "aborted" : "failed"
      throw error
    } finally {
      // whoever leaves a stream before its end has given it up
      if (call.outcome === "running") call.outcome = "aborted"
      this.atOnce--
    }
  }

  /** What stands at the end of an answer. */
  private last({ toolCalls, usage }: TestModel.Step): AIMessageChunk {
    const chunk = new AIMessageChunk({
      content: "",
      tool_call_chunks: toolCalls.map(({ args, id, name }, index) => ({
        type: "tool_call_chunk" as const,
        name,
        args: JSON.stringify(args),
        id: id ?? `call_${index + 1}`,
        index
      })),
      response_metadata: { model_name: this.model, finish_reason: toolCalls.length > 0 ? "tool_calls" : "stop" }
    })
    if (usage !== undefined) {
      const { input, output } = usage
      // the class's default type parameter knows of no usage
      Object.assign(chunk, {
        usage_metadata: { input_tokens: input, output_tokens: output, total_tokens: input + output }
      })
    }
    return chunk
  }

  override async _generate(messages: Array<BaseMessage>, options: this["ParsedCallOptions"]): Promise<ChatResult> {
    let all: AIMessageChunk | undefined
    for await (const chunk of this.chunks(messages, options)) all = all === undefined ? chunk : all.concat(chunk)
    const whole = all ?? new AIMessageChunk({ content: "" })
    const message = new AIMessage({
      content: whole.content,
      tool_calls: whole.tool_calls ?? [],
      response_metadata: whole.response_metadata,
      ...(whole.usage_metadata === undefined ? {} : { usage_metadata: whole.usage_metadata })
    })
    return { generations: [{ text: whole.text, message }] }
  }

  override async *_streamResponseChunks(
    messages: Array<BaseMessage>,
    options: this["ParsedCallOptions"],
    runManager?: CallbackManagerForLLMRun
  ): AsyncGenerator<ChatGenerationChunk> {
    for await (const message of this.chunks(messages, options)) {
      const chunk = new ChatGenerationChunk({ message, text: message.text })
      yield chunk
      if (message.text !== "") {
        await runManager?.handleLLMNewToken(message.text, undefined, undefined, undefined, undefined, { chunk })
      }
    }
  }
}
