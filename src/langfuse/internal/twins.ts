import * as OtelApi from "@opentelemetry/api"
import type * as Exit from "effect/Exit"
import type * as Option from "effect/Option"
import type * as Tracer from "effect/Tracer"
import * as Observation from "../../observability/Observation.js"
import * as Redaction from "../../observability/Redaction.js"
import type { BridgeSpan } from "./span.js"

const kinds: Readonly<Record<Tracer.SpanKind, OtelApi.SpanKind>> = {
  internal: OtelApi.SpanKind.INTERNAL,
  server: OtelApi.SpanKind.SERVER,
  client: OtelApi.SpanKind.CLIENT,
  producer: OtelApi.SpanKind.PRODUCER,
  consumer: OtelApi.SpanKind.CONSUMER
}

const hrTime = (nanos: bigint): OtelApi.HrTime => [Number(nanos / 1_000_000_000n), Number(nanos % 1_000_000_000n)]

const attributesOf = (span: BridgeSpan): OtelApi.Attributes => {
  const out: OtelApi.Attributes = {}
  for (const [name, value] of [...Object.entries(span.trace), ...span.attributes]) {
    const isSecret = Redaction.isSecretName(name.slice(name.lastIndexOf(".") + 1))
    if (typeof value === "string") out[name] = isSecret ? Redaction.mark : Redaction.text(Redaction.withoutStack(value))
    else if (typeof value === "number" || typeof value === "boolean") out[name] = value
    else if (Array.isArray(value)) out[name] = value.map((item) => Redaction.text(String(item)))
  }
  return out
}

/**
 * Spans of the application's own OpenTelemetry, one beside each of ours and with its ids, so that both see one tree.
 *
 * @internal
 */
export interface Twins {
  /** Nothing where the application has no OpenTelemetry. */
  readonly begin: (
    name: string,
    kind: Tracer.SpanKind,
    startTime: bigint,
    context: OtelApi.Context
  ) => OtelApi.Span | undefined
  /** The context for a twin of a child. */
  readonly inside: (above: BridgeSpan, around: OtelApi.Context) => OtelApi.Context
  /** The context for a twin of a span that has none of ours above it. */
  readonly under: (active: OtelApi.Context, parent: Option.Option<Tracer.AnySpan>) => OtelApi.Context
  /** The twin ends with the span. */
  readonly tie: <A extends BridgeSpan>(span: A, twin: OtelApi.Span | undefined) => A
}

/** @internal */
export const make = (scope: string): Twins => {
  const twinOf = new WeakMap<BridgeSpan, OtelApi.Span>()
  return {
    begin: (name, kind, startTime, context) => {
      // asked each time: the application may set its provider later
      const tracer = OtelApi.trace.getTracer(scope)
      const options = { kind: kinds[kind], startTime: hrTime(startTime) }
      const twin = tracer.startSpan(Redaction.text(name), options, context)
      const parent = OtelApi.trace.getSpanContext(context)
      const { spanId } = twin.spanContext()
      return OtelApi.isValidSpanId(spanId) && spanId !== parent?.spanId ? twin : undefined
    },
    inside: (above, around) => {
      const twin = twinOf.get(above)
      return twin === undefined ? around : OtelApi.trace.setSpan(around, twin)
    },
    under: (active, parent) => {
      if (parent._tag === "None") return OtelApi.trace.deleteSpan(active)
      const { sampled, spanId, traceId } = parent.value
      if (OtelApi.trace.getSpanContext(active)?.spanId === spanId) return active
      const traceFlags = sampled ? OtelApi.TraceFlags.SAMPLED : OtelApi.TraceFlags.NONE
      return OtelApi.trace.setSpanContext(active, { spanId, traceId, traceFlags, isRemote: true })
    },
    tie: (span, twin) => {
      if (twin === undefined) return span
      twinOf.set(span, twin)
      const end = span.end.bind(span)
      span.end = (endTime: bigint, exit: Exit.Exit<unknown, unknown>): void => {
        const isFirst = span.status._tag === "Started"
        end(endTime, exit)
        if (!isFirst) return
        const message = span.attributes.get(Observation.Attribute.statusMessage)
        twin.setAttributes(attributesOf(span))
        if (span.attributes.get(Observation.Attribute.level) === "ERROR") {
          twin.setStatus({ code: OtelApi.SpanStatusCode.ERROR, message: Redaction.text(String(message ?? "")) })
        }
        twin.end(hrTime(endTime))
      }
      return span
    }
  }
}
