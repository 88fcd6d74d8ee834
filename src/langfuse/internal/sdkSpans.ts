import { getLangfuseTraceIdFromBaggage, getPropagatedAttributesFromContext } from "@langfuse/core"
import { isDefaultExportSpan } from "@langfuse/otel"
import * as OtelApi from "@opentelemetry/api"
import type { ReadableSpan, Span, SpanProcessor } from "@opentelemetry/sdk-trace-base"
import * as Observation from "../../observability/Observation.js"
import * as otelContext from "./otelContext.js"
import { isTraceAttribute, type TraceAttributes } from "./span.js"

/** The mark of a span above which Langfuse gets none. */
export const appRoot = "langfuse.internal.is_app_root"

/** How many running spans are known at once; more than that are spans that never end, such as streams that nobody read to the end. */
const maxRunning = 10_000

const traceAttributesOf = (attributes: Readonly<Record<string, unknown>>): TraceAttributes =>
  Object.fromEntries(Object.entries(attributes).filter(([key]) => isTraceAttribute(key)))

/**
 * OpenTelemetry's spans that go to Langfuse too: those of LangChain's callbacks and of Langfuse's SDK. Each gets the trace's attributes of its
 * parent, as Langfuse's rows are one a span: those of the layer at the root, what `withTrace` or an annotation said below it, what
 * `propagateAttributes` of Langfuse's SDK has put into the context.
 *
 * @internal
 */
export class SdkSpans implements SpanProcessor {
  private readonly base: TraceAttributes
  private readonly ended: (span: ReadableSpan) => void
  private readonly running = new Map<string, Span>()

  constructor(base: TraceAttributes, ended: (span: ReadableSpan) => void) {
    this.base = base
    this.ended = ended
  }

  /** Whether a span is one of these and runs. */
  sends(spanId: string): boolean {
    return this.running.has(spanId)
  }

  /** What a context says of the trace. */
  inherited(context: OtelApi.Context): TraceAttributes {
    if (context === OtelApi.ROOT_CONTEXT) return this.base
    const active = otelContext.spanOf(context)
    const parent = this.running.get(OtelApi.trace.getSpanContext(context)?.spanId ?? "")
    const above = active?.trace ?? (parent === undefined ? {} : traceAttributesOf(parent.attributes))
    return { ...this.base, ...above, ...getPropagatedAttributesFromContext(context) }
  }

  /** The tags that the trace of a context has. */
  tagsIn(context: OtelApi.Context): ReadonlyArray<string> {
    const tags = this.inherited(context)[Observation.Attribute.traceTags]
    return Array.isArray(tags) ? tags.filter((tag) => typeof tag === "string") : []
  }

  onStart(span: Span, context: OtelApi.Context): void {
    // trace attributes are texts, numbers, booleans and lists of texts: all that an OpenTelemetry attribute can be
    span.setAttributes(this.inherited(context) as OtelApi.Attributes)
    const { spanId, traceId } = span.spanContext()
    const parentId = span.parentSpanContext?.spanId
    const hasParent = parentId !== undefined && (otelContext.spanOf(context) !== undefined || this.sends(parentId))
    if (!hasParent && getLangfuseTraceIdFromBaggage(context) !== traceId) span.setAttribute(appRoot, true)
    if (this.running.size >= maxRunning) {
      for (const oldest of this.running.keys()) {
        this.running.delete(oldest)
        break
      }
    }
    this.running.set(spanId, span)
  }

  onEnd(span: ReadableSpan): void {
    this.running.delete(span.spanContext().spanId)
    if (isDefaultExportSpan(span)) this.ended(span)
  }

  async forceFlush(): Promise<void> {}

  async shutdown(): Promise<void> {
    this.running.clear()
  }
}
