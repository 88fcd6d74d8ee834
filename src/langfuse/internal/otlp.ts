import type { HrTime } from "@opentelemetry/api"
import type { ReadableSpan } from "@opentelemetry/sdk-trace-base"
import * as Predicate from "effect/Predicate"
import type * as Tracer from "effect/Tracer"
import * as Observation from "../../observability/Observation.js"
import * as Redaction from "../../observability/Redaction.js"
import type { Item, Waiting } from "./item.js"
import type { Outcome } from "./outcome.js"
import { appRoot } from "./sdkSpans.js"
import type { Finished } from "./span.js"

/** OTLP's AnyValue as JSON text, secrets cut out; nothing for what it cannot hold. */
const anyValue = (value: unknown): string | undefined => {
  if (typeof value === "string") return `{"stringValue":${JSON.stringify(Redaction.text(value))}}`
  if (typeof value === "boolean") return `{"boolValue":${value}}`
  if (typeof value === "number") {
    if (!Number.isFinite(value)) return `{"stringValue":"${value}"}`
    return Number.isSafeInteger(value) ? `{"intValue":${value}}` : `{"doubleValue":${value}}`
  }
  if (Array.isArray(value)) {
    return `{"arrayValue":{"values":[${value.flatMap((item) => anyValue(item) ?? []).join(",")}]}}`
  }
  return undefined
}

/** Where in the program it was, with paths of this machine: nobody's business elsewhere. */
const isLocation = (key: string): boolean => key.startsWith("code.") || key === "exception.stacktrace"

const maxKeys = 1_000
const keys = new Map<string, string | undefined>()

/** How an attribute of this name begins in JSON, or nothing if it is not sent. The names are few, and the same in every span. */
const beginning = (key: string): string | undefined => {
  if (keys.has(key)) return keys.get(key)
  const text = isLocation(key) ? undefined : `{"key":${JSON.stringify(key)},"value":`
  if (keys.size < maxKeys) keys.set(key, text)
  return text
}

/** One of OTLP's KeyValues, with the comma before it if it is not the first. */
const append = (list: string, key: string, value: unknown): string => {
  const begins = beginning(key)
  const text = begins === undefined ? undefined : anyValue(value)
  if (text === undefined) return list
  return list === "" ? `${begins}${text}}` : `${list},${begins}${text}}`
}

const nanos = ([seconds, rest]: HrTime): string => `${seconds}${String(rest).padStart(9, "0")}`

/** Level and status message are the ones that were said, not OpenTelemetry's reading of the exit. */
const statusOf = (level: unknown, message: unknown): string => {
  if (level !== "ERROR") return `{"code":0}`
  return typeof message === "string" ? `{"code":2,"message":${JSON.stringify(Redaction.text(message))}}` : `{"code":2}`
}

const groupOf = (resource: Readonly<Record<string, unknown>>, name: string, version?: string | undefined): string => {
  let attributes = ""
  for (const key in resource) attributes = append(attributes, key, resource[key])
  const scope = version === undefined ? { name } : { name, version }
  return `{"resource":{"attributes":[${attributes}],"droppedAttributesCount":0},"scope":${JSON.stringify(scope)}}`
}

/**
 * A finished span of OpenTelemetry's as OTLP JSON, secrets cut out. Span events (exceptions with their stacks) and links are not sent, for
 * Langfuse keeps neither.
 *
 * @internal
 */
export const encodeSpan = (span: ReadableSpan): Waiting => {
  const { spanId, traceFlags, traceId } = span.spanContext()
  const { attributes, instrumentationScope: scope, parentSpanContext } = span
  const { level, statusMessage } = Observation.Attribute
  let list = ""
  for (const key in attributes) list = append(list, key, attributes[key])
  const parent = parentSpanContext === undefined ? "" : `"parentSpanId":"${parentSpanContext.spanId}",`
  const json = `{"traceId":"${traceId}","spanId":"${spanId}",${parent}"name":${JSON.stringify(Redaction.text(span.name))},"kind":${span.kind + 1},"startTimeUnixNano":"${nanos(span.startTime)}","endTimeUnixNano":"${nanos(span.endTime)}","attributes":[${list}],"droppedAttributesCount":${span.droppedAttributesCount},"status":${statusOf(attributes[level], attributes[statusMessage])},"flags":${traceFlags & 0xff}}`
  return { group: groupOf(span.resource.attributes, scope.name, scope.version), json, size: json.length }
}

/** OTLP's numbers of the kinds. */
const kinds: Readonly<Record<Tracer.SpanKind, number>> = { internal: 1, server: 2, client: 3, producer: 4, consumer: 5 }

const encoded = new WeakMap<object, string>()

/** A record that many spans have in common, as KeyValues. */
const commonOf = (record: Readonly<Record<string, unknown>>): string => {
  const known = encoded.get(record)
  if (known !== undefined) return known
  let list = ""
  for (const key in record) list = append(list, key, record[key])
  encoded.set(record, list)
  return list
}

/** {@link encodeSpan} for a span of ours. */
const encodeFinished = (span: Finished): string => {
  const { common, own, trace } = span
  // each name once, the last word on it
  const said = new Map<string, unknown>()
  let isCommon = true
  for (let index = 0; index < own.length; index += 2) {
    const key = own[index] as string // a name stands at every even place
    said.set(key, own[index + 1])
    isCommon &&= !(key in common)
  }
  let list = span.isRoot ? append("", appRoot, true) : ""
  if (isCommon) {
    const shared = commonOf(common)
    list = list === "" || shared === "" ? list + shared : `${list},${shared}`
  } else {
    for (const key in common) if (!said.has(key)) list = append(list, key, common[key])
  }
  for (const key in trace) if (!said.has(key)) list = append(list, key, trace[key])
  for (const [key, value] of said) list = append(list, key, value)
  const saidOf = (key: string): unknown => (said.has(key) ? said.get(key) : common[key])
  const parent = span.parentId === undefined ? "" : `"parentSpanId":"${span.parentId}",`
  return `{"traceId":"${span.traceId}","spanId":"${span.spanId}",${parent}"name":${JSON.stringify(Redaction.text(span.name))},"kind":${kinds[span.kind]},"startTimeUnixNano":"${span.startTime}","endTimeUnixNano":"${span.endTime}","attributes":[${list}],"droppedAttributesCount":0,"status":${statusOf(saidOf(Observation.Attribute.level), saidOf(Observation.Attribute.statusMessage))},"flags":1}`
}

/** A span with nothing in it, and an attribute beside its text. */
const spanBytes = 500
const attributeBytes = 50

const sizeOf = ({ common, own }: Finished): number => {
  let size = spanBytes + commonOf(common).length
  for (let index = 1; index < own.length; index += 2) {
    const value = own[index]
    size += typeof value === "string" ? attributeBytes + value.length : attributeBytes
  }
  return size
}

/** A finished span of ours in the queue: its JSON is made when it is sent, not in the call that it tells of. */
class FinishedItem implements Waiting {
  readonly group: string
  private span: Finished | undefined
  private text = ""
  constructor(group: string, span: Finished) {
    this.group = group
    this.span = span
  }
  get size(): number {
    return this.span === undefined ? this.text.length : sizeOf(this.span)
  }
  get json(): string {
    if (this.span !== undefined) {
      this.text = encodeFinished(this.span)
      this.span = undefined
    }
    return this.text
  }
}

/**
 * Makes items of finished spans of ours, which share a resource and a scope.
 *
 * @internal
 */
export const encoder = (resource: Readonly<Record<string, unknown>>, scope: string): ((span: Finished) => Waiting) => {
  const group = groupOf(resource, scope)
  return (span) => new FinishedItem(group, span)
}

/** @internal */
export const describe = (item: Item): { readonly id: string; readonly name: string } => {
  const { name, spanId, traceId } = JSON.parse(item.json)
  return { id: `${traceId}/${spanId}`, name: String(name) }
}

/**
 * The request that carries spans, those of one group side by side.
 *
 * @internal
 */
export const requestBody = (items: ReadonlyArray<Item>): string => {
  const groups = new Map<string, Array<string>>()
  for (const { group, json } of items) {
    const spans = groups.get(group)
    if (spans === undefined) groups.set(group, [json])
    else spans.push(json)
  }
  const resourceSpans = Array.from(groups, ([group, spans]) => {
    const { resource, scope } = JSON.parse(group)
    return `{"resource":${JSON.stringify(resource)},"scopeSpans":[{"scope":${JSON.stringify(scope)},"spans":[${spans.join(",")}]}]}`
  })
  return `{"resourceSpans":[${resourceSpans.join(",")}]}`
}

/**
 * What an answer that took the request says of single spans: how many it did not take, and not which. By the protocol they are not sent again.
 *
 * @internal
 */
export const partialSuccess = (body: unknown): Outcome => {
  const partial = Predicate.hasProperty(body, "partialSuccess") ? body.partialSuccess : undefined
  const rejected = Predicate.hasProperty(partial, "rejectedSpans") ? Number(partial.rejectedSpans) : 0
  if (!(rejected > 0)) return { _tag: "Taken" }
  const message = Predicate.hasProperty(partial, "errorMessage") ? String(partial.errorMessage) : ""
  return { _tag: "Rejected", items: rejected, reason: Redaction.text(message) || "it did not say why" }
}
