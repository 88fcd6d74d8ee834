import { randomBytes } from "node:crypto"
import type * as OtelApi from "@opentelemetry/api"
import type * as Context from "effect/Context"
import type * as Exit from "effect/Exit"
import * as Inspectable from "effect/Inspectable"
import type * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Tracer from "effect/Tracer"
import type * as observed from "../../observability/internal/observed.js"
import * as outcome from "../../observability/internal/outcome.js"
import * as Observation from "../../observability/Observation.js"
import * as Redaction from "../../observability/Redaction.js"
import { SpanContext } from "./otelContext.js"

/**
 * What is said of a span: attributes that many spans have in common, and after them its own, name and value in turn. A name said again counts
 * from then on.
 */
export interface Attributes {
  readonly common: Readonly<Record<string, unknown>>
  readonly own: ReadonlyArray<unknown>
}

const none: Readonly<Record<string, unknown>> = {}

/** All that is said of a span, each name once. */
export const attributeMap = ({ common, own }: Attributes): Map<string, unknown> => {
  const all = new Map(Object.entries(common))
  for (let index = 0; index < own.length; index += 2) all.set(own[index] as string, own[index + 1]) // a name stands at every even place
  return all
}

/** What is said of a trace, by attribute name. Shared by spans, and so never changed: see {@link BridgeSpan.attribute}. */
export type TraceAttributes = Readonly<Record<string, unknown>>

/**
 * What is sent of a span that has ended, and all that its queue holds: a span holds its exit, and with it whole results.
 *
 * @internal
 */
export interface Finished extends Attributes {
  readonly name: string
  readonly traceId: string
  readonly spanId: string
  readonly parentId: string | undefined
  readonly kind: Tracer.SpanKind
  /** Nanoseconds since the epoch. */
  readonly startTime: bigint
  readonly endTime: bigint
  readonly trace: TraceAttributes
  /** Whether Langfuse gets no span above it. */
  readonly isRoot: boolean
}

/** 4,096 random bytes at a time: a call of the generator costs more than the bytes. */
let pool = ""
let used = 0

/** A random number in hexadecimal, as W3C's trace context wants it: not all zeros. */
export const randomId = (digits: 16 | 32): string => {
  if (used + digits > pool.length) {
    pool = randomBytes(4_096).toString("hex")
    used = 0
  }
  const id = pool.slice(used, used + digits)
  used += digits
  return /[^0]/.test(id) ? id : randomId(digits)
}

const traceNames: ReadonlySet<string> = new Set([
  Observation.Attribute.traceName,
  Observation.Attribute.traceTags,
  Observation.Attribute.sessionId,
  Observation.Attribute.userId,
  Observation.Attribute.environment,
  Observation.Attribute.release,
  Observation.Attribute.version
])

/** Whether an attribute speaks of the whole trace, and so stands on each of its spans. Most speak of the observation. */
export const isTraceAttribute = (key: string): boolean =>
  !key.startsWith("langfuse.observation.") &&
  (traceNames.has(key) || key.startsWith(Observation.Attribute.traceMetadata))

const isTexts = (value: unknown): value is ReadonlyArray<string> =>
  Array.isArray(value) && value.every((item) => typeof item === "string")

/** An attribute's value as it can be sent, taken when it is said: what is changed later was not meant. */
export const settled = (value: unknown): unknown => {
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") return value
  if (isTexts(value)) return value.slice()
  return typeof value === "object" && value !== null && !Redacted.isRedacted(value)
    ? Redaction.json(value)
    : Inspectable.toStringUnknown(value)
}

/**
 * An Effect span on its way to Langfuse. Plain fields, one object: what OpenTelemetry wants to know of it is made when it asks.
 *
 * @internal
 */
export class BridgeSpan implements Tracer.Span, observed.Bulk {
  readonly _tag = "Span"
  private common = none
  private readonly own: Array<unknown> = []
  /** Whether it is sent: as the trace is, whole or not at all. */
  readonly sampled: boolean
  readonly spanId: string
  readonly traceId: string
  readonly name: string
  readonly parent: Option.Option<Tracer.AnySpan>
  readonly context: Context.Context<never>
  links: ReadonlyArray<Tracer.SpanLink>
  readonly kind: Tracer.SpanKind
  status: Tracer.SpanStatus
  /** The trace's attributes: its parent's, and what was said here. */
  trace: TraceAttributes
  /** OpenTelemetry's context as it was where the span began; without the span. */
  readonly around: OtelApi.Context
  private readonly isRoot: boolean
  private readonly ended: (span: Finished) => void
  private inside: SpanContext | undefined

  constructor(
    traceId: string,
    spanId: string,
    sampled: boolean,
    name: string,
    parent: Option.Option<Tracer.AnySpan>,
    context: Context.Context<never>,
    links: ReadonlyArray<Tracer.SpanLink>,
    kind: Tracer.SpanKind,
    startTime: bigint,
    trace: TraceAttributes,
    around: OtelApi.Context,
    isRoot: boolean,
    ended: (span: Finished) => void
  ) {
    this.traceId = traceId
    this.spanId = spanId
    this.sampled = sampled
    this.name = name
    this.parent = parent
    this.context = context
    this.links = links
    this.kind = kind
    this.status = { _tag: "Started", startTime }
    this.trace = trace
    this.around = around
    this.isRoot = isRoot
    this.ended = ended
  }

  /** OpenTelemetry's context for what runs in this span: made once, so that to be in it already is to be seen at a glance. */
  get otelContext(): OtelApi.Context {
    this.inside ??= new SpanContext(this.around, this)
    return this.inside
  }

  /** Made when it is asked for: a map for every span is most of what a span would weigh. */
  get attributes(): ReadonlyMap<string, unknown> {
    return attributeMap({ common: this.common, own: this.own })
  }

  say(attributes: Readonly<Record<string, unknown>>): void {
    if (this.common === none && this.own.length === 0) this.common = attributes
    else for (const key in attributes) this.attribute(key, attributes[key])
  }

  attribute(key: string, value: unknown): void {
    if (this.status._tag === "Ended") return
    const plain = settled(value)
    this.own.push(key, plain)
    // the parent's record is its own
    if (isTraceAttribute(key)) this.trace = { ...this.trace, [key]: plain }
  }

  /** Langfuse keeps no events of a span: what must be seen is an observation. */
  event(): void {}

  addLinks(links: ReadonlyArray<Tracer.SpanLink>): void {
    this.links = [...this.links, ...links]
  }

  end(endTime: bigint, exit: Exit.Exit<unknown, unknown>): void {
    if (this.status._tag === "Ended") return
    if (exit._tag === "Failure") outcome.say(this, exit)
    const { startTime } = this.status
    this.status = { _tag: "Ended", startTime, endTime, exit }
    if (!this.sampled) return
    this.ended({
      name: this.name,
      traceId: this.traceId,
      spanId: this.spanId,
      parentId: this.parent._tag === "Some" ? this.parent.value.spanId : undefined,
      kind: this.kind,
      startTime,
      endTime,
      common: this.common,
      own: this.own,
      trace: this.trace,
      isRoot: this.isRoot
    })
  }
}
