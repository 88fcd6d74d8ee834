import type { Attributes, Context } from "@opentelemetry/api"
import type { ReadableSpan, Span, SpanProcessor } from "@opentelemetry/sdk-trace-base"
import * as Observation from "../../observability/Observation.js"

const { Attribute } = Observation

const traceKeys: ReadonlyArray<string> = [
  Attribute.traceName,
  Attribute.traceTags,
  Attribute.sessionId,
  Attribute.userId,
  Attribute.environment,
  Attribute.release,
  Attribute.version
]

const isTraceKey = (key: string): boolean => traceKeys.includes(key) || key.startsWith(Attribute.traceMetadata)

/** How many running spans are known at once; more than that are spans that never end, such as streams that nobody read to the end. */
const maxRunning = 10_000

/**
 * Gives each span the trace's attributes of its parent, as Langfuse's rows are one a span: those of the layer at the root, what `withTrace` or
 * an annotation said below it. So the spans that LangChain's callbacks make have them too, which no Effect annotation reaches.
 *
 * @internal
 */
export class Inheritance implements SpanProcessor {
  private readonly base: Attributes
  private readonly running = new Map<string, Span>()

  constructor(base: Attributes) {
    this.base = base
  }

  /** The tags that a running span has. */
  tagsOf(spanId: string): ReadonlyArray<string> {
    const tags = this.running.get(spanId)?.attributes[Attribute.traceTags]
    return Array.isArray(tags) ? tags.filter((tag) => typeof tag === "string") : []
  }

  onStart(span: Span, _context: Context): void {
    const parentId = span.parentSpanContext?.spanId
    const parent = parentId === undefined ? undefined : this.running.get(parentId)
    // LangChain's own run tags are the trace's too: Langfuse's processor has put them here before
    const own = span.attributes[Attribute.traceTags]
    for (const key in this.base) span.setAttribute(key, this.base[key] ?? "")
    for (const key in parent?.attributes) {
      const value = parent?.attributes[key]
      if (value !== undefined && isTraceKey(key)) span.setAttribute(key, value)
    }
    if (Array.isArray(own)) span.setAttribute(Attribute.traceTags, own)
    if (this.running.size >= maxRunning) {
      for (const oldest of this.running.keys()) {
        this.running.delete(oldest)
        break
      }
    }
    this.running.set(span.spanContext().spanId, span)
  }

  onEnd(span: ReadableSpan): void {
    this.running.delete(span.spanContext().spanId)
  }

  async forceFlush(): Promise<void> {}

  async shutdown(): Promise<void> {
    this.running.clear()
  }
}
