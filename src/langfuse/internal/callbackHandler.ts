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

/**
 * Langfuse's handler, corrected: it runs in the caller's context instead of a background queue, so that what it makes stands under the span
 * that made the call; a pause, a jump and an interruption are no errors; tags of a run are added to those of the trace.
 *
 * @internal
 */
export class Handler extends CallbackHandler {
  override awaitHandlers = true
  private readonly tagsIn: (context: OtelApi.Context) => ReadonlyArray<string>

  constructor(tagsIn: (context: OtelApi.Context) => ReadonlyArray<string>) {
    super()
    this.tagsIn = tagsIn
  }

  override async handleChainStart(...args: Parameters<CallbackHandler["handleChainStart"]>): Promise<void> {
    const [, , , parentRunId, tags] = args
    const known = parentRunId !== undefined || tags?.length === 0 ? [] : this.tagsIn(OtelApi.context.active())
    if (known.length === 0) return super.handleChainStart(...args)
    return propagateAttributes({ tags: [...known] }, () => super.handleChainStart(...args))
  }

  override async handleChainError(error: unknown, runId: string): Promise<void> {
    this.failed(error, runId)
  }

  override async handleToolError(error: unknown, runId: string): Promise<void> {
    this.failed(error, runId)
  }

  override async handleRetrieverError(error: unknown, runId: string): Promise<void> {
    this.failed(error, runId)
  }

  override async handleLLMError(error: unknown, runId: string): Promise<void> {
    this.failed(error, runId)
    // the original keeps it for ever when a stream fails after its first token
    delete this["completionStartTimes"][runId]
  }

  private failed(error: unknown, runId: string): void {
    // private in the original's types, and the only way to end a run with a level of one's own; the dependency's version is pinned
    this["handleOtelSpanEnd"]({ runId, attributes: ending(error) })
  }
}
