import type { HrTime } from "@opentelemetry/api"
import type { ReadableSpan } from "@opentelemetry/sdk-trace-base"
import * as Predicate from "effect/Predicate"
import type * as Tracer from "effect/Tracer"
import * as Privacy from "../../observability/internal/privacy.js"
import * as Observation from "../../observability/Observation.js"
import * as Redaction from "../../observability/Redaction.js"
import type { Item, Waiting } from "./item.js"
import type { Outcome } from "./outcome.js"
import { appRoot } from "./sdkSpans.js"
import type { Finished } from "./span.js"

/** What may be sent, beside what never is. */
export interface Manner {
  readonly privacy: Privacy.Privacy | undefined
  /** Whether stack traces and places in the program are. */
  readonly stacks: boolean
}

/** Of one text: secrets and, unless they are asked for, stack traces cut out, and no more of it than Langfuse takes. */
const cleaned = (value: string, stacks: boolean): string =>
  Redaction.bounded(Redaction.text(stacks ? value : Redaction.withoutStack(value)), Privacy.longest)

/** OTLP's AnyValue as JSON text, secrets cut out; nothing for what it cannot hold. */
const anyValue = (value: unknown, stacks: boolean): string | undefined => {
  if (typeof value === "string") return `{"stringValue":${JSON.stringify(cleaned(value, stacks))}}`
  if (typeof value === "boolean") return `{"boolValue":${value}}`
  if (typeof value === "number") {
    if (!Number.isFinite(value)) return `{"stringValue":"${value}"}`
    return Number.isSafeInteger(value) ? `{"intValue":${value}}` : `{"doubleValue":${value}}`
  }
  if (Array.isArray(value)) {
    return `{"arrayValue":{"values":[${value.flatMap((item) => anyValue(item, stacks) ?? []).join(",")}]}}`
  }
  return undefined
}

/** Where in the program it was, with paths of this machine: nobody's business elsewhere. */
const isLocation = (name: string): boolean => name.startsWith("code.") || name === "exception.stacktrace"

/** What is known of an attribute by its name. */
interface Key {
  /** How it begins in JSON. */
  readonly begins: string
  readonly isLocation: boolean
  readonly isSecret: boolean
}

const maxKeys = 1_000
const keys = new Map<string, Key>()

/** The names are few, and the same in every span. */
const keyOf = (name: string): Key => {
  const known = keys.get(name)
  if (known !== undefined) return known
  const key = {
    begins: `{"key":${JSON.stringify(Redaction.text(name))},"value":`,
    isLocation: isLocation(name),
    isSecret: Redaction.isSecretName(name.slice(name.lastIndexOf(".") + 1))
  }
  if (keys.size < maxKeys) keys.set(name, key)
  return key
}

const secret = `{"stringValue":"${Redaction.mark}"}`

/** One of OTLP's KeyValues, with the comma before it if it is not the first. */
const append = (list: string, name: string, value: unknown, stacks: boolean): string => {
  const key = keyOf(name)
  if (key.isLocation && !stacks) return list
  const text = key.isSecret && typeof value !== "boolean" ? secret : anyValue(value, stacks)
  if (text === undefined) return list
  return list === "" ? `${key.begins}${text}}` : `${list},${key.begins}${text}}`
}

const nanos = ([seconds, rest]: HrTime): string => `${seconds}${String(rest).padStart(9, "0")}`

/** Level and status message are the ones that were said, not OpenTelemetry's reading of the exit. */
const statusOf = (level: unknown, message: unknown, stacks: boolean): string => {
  if (level !== "ERROR") return `{"code":0}`
  return typeof message === "string" ? `{"code":2,"message":${JSON.stringify(cleaned(message, stacks))}}` : `{"code":2}`
}

const groupOf = (resource: Readonly<Record<string, unknown>>, name: string, version?: string | undefined): string => {
  let attributes = ""
  for (const key in resource) attributes = append(attributes, key, resource[key], false)
  const scope = version === undefined ? { name } : { name, version }
  return `{"resource":{"attributes":[${attributes}],"droppedAttributesCount":0},"scope":${JSON.stringify(scope)}}`
}

/**
 * A finished span of OpenTelemetry's as OTLP JSON, secrets cut out. Span events (exceptions with their stacks) and links are not sent, for
 * Langfuse keeps neither.
 *
 * @internal
 */
export const encodeSpan = (span: ReadableSpan, { privacy, stacks }: Manner): Waiting => {
  const { spanId, traceFlags, traceId } = span.spanContext()
  const { instrumentationScope: scope, parentSpanContext } = span
  const { level, statusMessage } = Observation.Attribute
  const attributes: Record<string, unknown> = {}
  for (const name in span.attributes) {
    const value = privacy === undefined ? span.attributes[name] : privacy.attribute(name, span.attributes[name])
    if (value !== undefined) attributes[name] = value
  }
  const spanName = Redaction.text(privacy === undefined ? span.name : privacy.text(span.name))
  let list = ""
  for (const name in attributes) list = append(list, name, attributes[name], stacks)
  const parent = parentSpanContext === undefined ? "" : `"parentSpanId":"${parentSpanContext.spanId}",`
  const json = `{"traceId":"${traceId}","spanId":"${spanId}",${parent}"name":${JSON.stringify(spanName)},"kind":${span.kind + 1},"startTimeUnixNano":"${nanos(span.startTime)}","endTimeUnixNano":"${nanos(span.endTime)}","attributes":[${list}],"droppedAttributesCount":${span.droppedAttributesCount},"status":${statusOf(attributes[level], attributes[statusMessage], stacks)},"flags":${traceFlags & 0xff}}`
  return { group: groupOf(span.resource.attributes, scope.name, scope.version), json, size: json.length }
}

/** OTLP's numbers of the kinds. */
const kinds: Readonly<Record<Tracer.SpanKind, number>> = { internal: 1, server: 2, client: 3, producer: 4, consumer: 5 }

const encoded = { withStacks: new WeakMap<object, string>(), without: new WeakMap<object, string>() }

/** A record that many spans have in common, as KeyValues. */
const commonOf = (record: Readonly<Record<string, unknown>>, stacks: boolean): string => {
  const all = stacks ? encoded.withStacks : encoded.without
  const known = all.get(record)
  if (known !== undefined) return known
  let list = ""
  for (const key in record) list = append(list, key, record[key], stacks)
  all.set(record, list)
  return list
}

/** {@link encodeSpan} for a span of ours. */
const encodeFinished = (span: Finished, stacks: boolean): string => {
  const { common, own, trace } = span
  // each name once, the last word on it
  const said = new Map<string, unknown>()
  let isCommon = true
  for (let index = 0; index < own.length; index += 2) {
    const key = own[index] as string // a name stands at every even place
    said.set(key, own[index + 1])
    isCommon &&= !(key in common)
  }
  let list = span.isRoot ? append("", appRoot, true, stacks) : ""
  if (isCommon) {
    const shared = commonOf(common, stacks)
    list = list === "" || shared === "" ? list + shared : `${list},${shared}`
  } else {
    for (const key in common) if (!said.has(key)) list = append(list, key, common[key], stacks)
  }
  for (const key in trace) if (!said.has(key)) list = append(list, key, trace[key], stacks)
  for (const [key, value] of said) list = append(list, key, value, stacks)
  const saidOf = (key: string): unknown => (said.has(key) ? said.get(key) : common[key])
  const parent = span.parentId === undefined ? "" : `"parentSpanId":"${span.parentId}",`
  return `{"traceId":"${span.traceId}","spanId":"${span.spanId}",${parent}"name":${JSON.stringify(Redaction.text(span.name))},"kind":${kinds[span.kind]},"startTimeUnixNano":"${span.startTime}","endTimeUnixNano":"${span.endTime}","attributes":[${list}],"droppedAttributesCount":0,"status":${statusOf(saidOf(Observation.Attribute.level), saidOf(Observation.Attribute.statusMessage), stacks)},"flags":1}`
}

/** A span with nothing in it, and an attribute beside its text. */
const spanBytes = 500
const attributeBytes = 50

const sizeOf = ({ common, own }: Finished, stacks: boolean): number => {
  let size = spanBytes + commonOf(common, stacks).length
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
  private readonly stacks: boolean
  private text = ""
  constructor(group: string, span: Finished, stacks: boolean) {
    this.group = group
    this.span = span
    this.stacks = stacks
  }
  get size(): number {
    return this.span === undefined ? this.text.length : sizeOf(this.span, this.stacks)
  }
  get json(): string {
    if (this.span !== undefined) {
      this.text = encodeFinished(this.span, this.stacks)
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
export const encoder = (
  resource: Readonly<Record<string, unknown>>,
  scope: string,
  { stacks }: Manner
): ((span: Finished) => Waiting) => {
  const group = groupOf(resource, scope)
  return (span) => new FinishedItem(group, span, stacks)
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
