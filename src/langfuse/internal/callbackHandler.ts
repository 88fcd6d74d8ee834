import { CallbackHandler } from "@langfuse/langchain"
import { propagateAttributes } from "@langfuse/tracing"
import * as OtelApi from "@opentelemetry/api"
import * as Predicate from "effect/Predicate"
import * as ErrorInfo from "../../observability/ErrorInfo.js"
import * as Observation from "../../observability/Observation.js"

/** Whether a run ended because its fiber or its caller gave it up. */
const isAbort = (error: unknown): boolean =>
  Predicate.hasProperty(error, "name") &&
  (error.name === "AbortError" ||
    error.name === "ModelAbortError" ||
    (Predicate.hasProperty(error, "message") && error.message === "Aborted"))

const ending = (error: unknown): Pick<Observation.Options, "level" | "statusMessage"> => {
  if (ErrorInfo.isControlFlow(error)) return { level: "DEFAULT" }
  if (isAbort(error)) return { level: "WARNING", statusMessage: Observation.interrupted }
  return { level: "ERROR", statusMessage: ErrorInfo.line(ErrorInfo.make(error)) }
}

/** Runs at once, at most: more than that are runs that never end, such as streams that nobody read to the end. */
const maxRuns = 10_000

/**
 * Langfuse's handler, corrected: it runs in the caller's context instead of a background queue, so that what it makes stands under the span
 * that made the call; a pause, a jump and an interruption are no errors; tags of a run are added to those of the trace; a run of which it is told
 * twice, by the graph's callbacks and by the call's, is one; and nothing of a run is kept when it has ended, however it did.
 *
 * @internal
 */
export class Handler extends CallbackHandler {
  override awaitHandlers = true
  private readonly tagsIn: (context: OtelApi.Context) => ReadonlyArray<string>

  constructor(tagsIn: (context: OtelApi.Context) => ReadonlyArray<string>) {
    super()
    this.tagsIn = tagsIn
    // private in the original's types, and the only places where all its runs begin and end; the dependency's version is pinned
    const begin = this["startAndRegisterOtelSpan"].bind(this)
    this["startAndRegisterOtelSpan"] = (params: { readonly runId: string }) => {
      const runs = this["runMap"]
      const known = runs.get(params.runId)
      if (known !== undefined) return known
      for (const oldest of runs.size < maxRuns ? [] : runs.keys()) {
        this.end(oldest, { level: "WARNING", statusMessage: "it never ended" })
        break
      }
      return begin(params)
    }
    const end = this["handleOtelSpanEnd"].bind(this)
    this["handleOtelSpanEnd"] = (params: { readonly runId: string }) => {
      const { runId } = params
      if (this["runMap"].has(runId)) end(params)
      // the original keeps them for ever when a stream fails after its first token, or a prompt's chain calls no model
      delete this["completionStartTimes"][runId]
      this["promptToParentRunMap"].delete(runId)
    }
  }

  /** What is kept of runs that have not ended. */
  get kept(): number {
    return this["runMap"].size + Object.keys(this["completionStartTimes"]).length + this["promptToParentRunMap"].size
  }

  override async handleChainStart(...args: Parameters<CallbackHandler["handleChainStart"]>): Promise<void> {
    const [, , , parentRunId, tags] = args
    const known = parentRunId !== undefined || tags?.length === 0 ? [] : this.tagsIn(OtelApi.context.active())
    if (known.length === 0) return super.handleChainStart(...args)
    return propagateAttributes({ tags: [...known] }, () => super.handleChainStart(...args))
  }

  override async handleChainError(error: unknown, runId: string): Promise<void> {
    this.end(runId, ending(error))
  }

  override async handleToolError(error: unknown, runId: string): Promise<void> {
    this.end(runId, ending(error))
  }

  override async handleRetrieverError(error: unknown, runId: string): Promise<void> {
    this.end(runId, ending(error))
  }

  override async handleLLMError(error: unknown, runId: string): Promise<void> {
    this.end(runId, ending(error))
  }

  override async handleLLMEnd(...args: Parameters<CallbackHandler["handleLLMEnd"]>): Promise<void> {
    await super.handleLLMEnd(...args)
    // the original gives up on an answer that has nothing in it
    this.end(args[1], {})
  }

  private end(runId: string, attributes: Pick<Observation.Options, "level" | "statusMessage">): void {
    this["handleOtelSpanEnd"]({ runId, attributes })
  }
}
