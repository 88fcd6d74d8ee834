import { getLangfuseTraceIdFromBaggage, getPropagatedAttributesFromContext } from "@langfuse/core"
import { isDefaultExportSpan } from "@langfuse/otel"
import * as OtelApi from "@opentelemetry/api"
import type { ReadableSpan, Span, SpanProcessor } from "@opentelemetry/sdk-trace-base"
import type * as Privacy from "../../observability/internal/privacy.js"
import * as Observation from "../../observability/Observation.js"
import * as otelContext from "./otelContext.js"
import { isTraceAttribute, type TraceAttributes } from "./span.js"

/** The mark of a span above which Langfuse gets none. */
export const appRoot = "langfuse.internal.is_app_root"

/** How many running spans are known at once; more than that are spans that never end, such as streams that nobody read to the end. */
const maxRunning = 10_000

const traceAttributesOf = (attributes: Readonly<Record<string, unknown>>): TraceAttributes =>
  Object.fromEntries(Object.entries(attributes).filter(([key]) => isTraceAttribute(key)))

/** @internal */
export interface Options {
  /** What the layer says of every trace. */
  readonly base: TraceAttributes
  readonly privacy: Privacy.Privacy | undefined
  /** Whether a span of the application's own is a parent. */
  readonly joined: boolean
  /** Whether the spans of a trace are sent. */
  readonly samples: (traceId: string) => boolean
  readonly ended: (span: ReadableSpan) => void
}

/**
 * Attributes of which only what may be is said.
 *
 * @internal
 */
export const shaped = (privacy: Privacy.Privacy, attributes: TraceAttributes): TraceAttributes => {
  const out: Record<string, unknown> = {}
  for (const name in attributes) {
    const value = privacy.attribute(name, attributes[name])
    if (value !== undefined) out[name] = value
  }
  return out
}

/**
 * OpenTelemetry's spans that go to Langfuse too: those of LangChain's callbacks and of Langfuse's SDK. Each gets the trace's attributes of its
 * parent, as Langfuse's rows are one a span: those of the layer at the root, what `withTrace` or an annotation said below it, what
 * `propagateAttributes` of Langfuse's SDK has put into the context.
 *
 * @internal
 */
export class SdkSpans implements SpanProcessor {
  private readonly options: Options
  private readonly running = new Map<string, Span>()

  constructor(options: Options) {
    this.options = options
  }

  samples(traceId: string): boolean {
    return this.options.samples(traceId)
  }

  propagated(context: OtelApi.Context): TraceAttributes {
    const said = getPropagatedAttributesFromContext(context)
    const { privacy } = this.options
    return privacy === undefined ? said : shaped(privacy, said)
  }

  /**
   * The span under which what is begun in a context stands: one of ours or of these, the nearest around an application's own. That itself is none,
   * unless the application's tracing is joined. One that came from elsewhere was put there to be continued.
   */
  parentIn(context: OtelApi.Context): OtelApi.Span | undefined {
    const active = OtelApi.trace.getSpan(context)
    if (active === undefined || otelContext.spanOf(context) !== undefined) return active
    const spanContext = active.spanContext()
    if (this.sends(spanContext.spanId)) return active
    const ours = otelContext.around(context)
    if (ours !== undefined && active.isRecording()) return ours
    return (this.options.joined || !active.isRecording()) && OtelApi.isSpanContextValid(spanContext)
      ? active
      : undefined
  }

  /** Whether a span is one of these and runs. */
  sends(spanId: string): boolean {
    return this.running.has(spanId)
  }

  /** What a context says of the trace. */
  inherited(context: OtelApi.Context): TraceAttributes {
    const { base } = this.options
    if (context === OtelApi.ROOT_CONTEXT) return base
    const outer = this.parentIn(context)
    const parent = this.running.get(outer?.spanContext().spanId ?? "")
    const ours = otelContext.bridgeSpanOf(outer)
    const above = ours?.trace ?? (parent === undefined ? {} : traceAttributesOf(parent.attributes))
    return { ...base, ...above, ...this.propagated(context) }
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
    if (isDefaultExportSpan(span)) this.options.ended(span)
  }

  async forceFlush(): Promise<void> {}

  async shutdown(): Promise<void> {
    this.running.clear()
  }
}
