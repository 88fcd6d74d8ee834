import type { HrTime } from "@opentelemetry/api"
import type { ReadableSpan } from "@opentelemetry/sdk-trace-base"
import * as Observation from "../../observability/Observation.js"
import * as Redaction from "../../observability/Redaction.js"
import type { Item } from "./Delivery.js"

type AnyValue =
  | { readonly stringValue: string }
  | { readonly boolValue: boolean }
  | { readonly intValue: number }
  | { readonly doubleValue: number }
  | { readonly arrayValue: { readonly values: ReadonlyArray<AnyValue> } }

interface KeyValue {
  readonly key: string
  readonly value: AnyValue
}

const anyValue = (value: unknown): AnyValue | undefined => {
  if (typeof value === "string") return { stringValue: Redaction.text(value) }
  if (typeof value === "boolean") return { boolValue: value }
  if (typeof value === "number" && !Number.isFinite(value)) return { stringValue: String(value) }
  if (typeof value === "number") return Number.isSafeInteger(value) ? { intValue: value } : { doubleValue: value }
  if (Array.isArray(value)) return { arrayValue: { values: value.flatMap((item) => anyValue(item) ?? []) } }
  return undefined
}

/** Where in the program it was, with paths of this machine: nobody's business elsewhere. */
const isLocation = (key: string): boolean => key.startsWith("code.") || key === "exception.stacktrace"

const keyValues = (attributes: Readonly<Record<string, unknown>>): ReadonlyArray<KeyValue> => {
  const out: Array<KeyValue> = []
  for (const key in attributes) {
    if (isLocation(key)) continue
    const value = anyValue(attributes[key])
    if (value !== undefined) out.push({ key, value })
  }
  return out
}

const nanos = ([seconds, rest]: HrTime): string => `${seconds}${String(rest).padStart(9, "0")}`

const unset = 0
const error = 2

/**
 * A finished span as OTLP JSON, secrets cut out. Level and status message are the ones that were said, not OpenTelemetry's reading of the exit;
 * span events (exceptions with their stacks) and links are not sent, for Langfuse keeps neither.
 *
 * @internal
 */
export const encodeSpan = (span: ReadableSpan): Item => {
  const { spanId, traceFlags, traceId } = span.spanContext()
  const { attributes } = span
  const failed = attributes[Observation.Attribute.level] === "ERROR"
  const message = attributes[Observation.Attribute.statusMessage]
  const scope = span.instrumentationScope
  return {
    group: JSON.stringify({
      resource: { attributes: keyValues(span.resource.attributes), droppedAttributesCount: 0 },
      scope: { name: scope.name, ...(scope.version === undefined ? {} : { version: scope.version }) }
    }),
    json: JSON.stringify({
      traceId,
      spanId,
      ...(span.parentSpanContext === undefined ? {} : { parentSpanId: span.parentSpanContext.spanId }),
      name: Redaction.text(span.name),
      kind: span.kind + 1,
      startTimeUnixNano: nanos(span.startTime),
      endTimeUnixNano: nanos(span.endTime),
      attributes: keyValues(attributes),
      droppedAttributesCount: span.droppedAttributesCount,
      status: failed
        ? { code: error, ...(typeof message === "string" ? { message: Redaction.text(message) } : {}) }
        : { code: unset },
      flags: traceFlags & 0xff
    })
  }
}

/**
 * The request that carries spans of one group.
 *
 * @internal
 */
export const requestBody = (items: ReadonlyArray<Item>): string => {
  const { resource, scope } = JSON.parse(items[0]?.group ?? "{}")
  const spans = items.map((item) => item.json).join(",")
  return `{"resourceSpans":[{"resource":${JSON.stringify(resource)},"scopeSpans":[{"scope":${JSON.stringify(scope)},"spans":[${spans}]}]}]}`
}
