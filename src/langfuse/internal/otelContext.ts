import * as OtelApi from "@opentelemetry/api"
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks"
import type * as Context from "effect/Context"
import * as Tracer from "effect/Tracer"
import type { BridgeSpan } from "./span.js"

/** Where OpenTelemetry keeps the active span in a context. It names the key to nobody, but asks for it. */
const spanKey: symbol = (() => {
  let key: symbol | undefined
  const asked: OtelApi.Context = {
    getValue: (name) => {
      key = name
      return undefined
    },
    setValue: () => asked,
    deleteValue: () => asked
  }
  OtelApi.trace.getSpan(asked)
  return key ?? OtelApi.createContextKey("OpenTelemetry Context Key SPAN")
})()

/** Where OpenTelemetry keeps its contexts. */
export interface Contexts {
  readonly active: () => OtelApi.Context
  readonly run: <A>(context: OtelApi.Context, execution: () => A) => A
}

class Manager extends AsyncLocalStorageContextManager implements Contexts {
  run<A>(context: OtelApi.Context, execution: () => A): A {
    // private in its types; `with` passes all through lists of arguments
    return this["_asyncLocalStorage"].run(context, execution)
  }
}

const applications: Contexts = {
  active: () => OtelApi.context.active(),
  run: (context, execution) => OtelApi.context.with(context, execution)
}

let manager: Manager | undefined

/**
 * A manager of ours, registered once a process and left there, or the one that the application has set before, which does the same. Ours is asked
 * directly: by way of the API a look at the active context costs four times as much, and Effect makes one at every step of a fiber.
 */
export const contexts = (): Contexts => {
  if (manager === undefined) {
    const made = new Manager().enable()
    if (OtelApi.context.setGlobalContextManager(made)) manager = made
  }
  return manager ?? applications
}

const flagsOf = (sampled: boolean): OtelApi.TraceFlags =>
  sampled ? OtelApi.TraceFlags.SAMPLED : OtelApi.TraceFlags.NONE

/** Where a context keeps the nearest span of ours, when one of somebody else's is active in it. */
const oursKey = OtelApi.createContextKey("holdfast span")

/** A span of ours as OpenTelemetry's code sees it: a parent for its own, and something to say attributes of. It ends when ours does. */
class SpanView implements OtelApi.Span {
  readonly span: BridgeSpan
  constructor(span: BridgeSpan) {
    this.span = span
  }
  /** As the SDK's own spans have it. */
  get attributes(): OtelApi.Attributes {
    return Object.fromEntries(this.span.attributes) as OtelApi.Attributes // a bridge span holds nothing else
  }
  /** As one from elsewhere: an application's own exporter must not wait for a span that it is never given. */
  spanContext(): OtelApi.SpanContext {
    const { sampled, spanId, traceId } = this.span
    return { spanId, traceId, traceFlags: flagsOf(sampled), isRemote: true }
  }
  setAttribute(key: string, value: OtelApi.AttributeValue): this {
    this.span.attribute(key, value)
    return this
  }
  setAttributes(attributes: OtelApi.Attributes): this {
    for (const key in attributes) this.span.attribute(key, attributes[key])
    return this
  }
  addEvent(): this {
    return this
  }
  addLink(): this {
    return this
  }
  addLinks(): this {
    return this
  }
  setStatus(): this {
    return this
  }
  updateName(): this {
    return this
  }
  recordException(): void {}
  end(): void {}
  isRecording(): boolean {
    return this.span.status._tag === "Started"
  }
}

/** A context with one of our spans in it: OpenTelemetry's own copies a map each time, and this is made for every span. */
export class SpanContext implements OtelApi.Context {
  readonly span: BridgeSpan
  /** What it stands in. */
  readonly around: OtelApi.Context
  private view: SpanView | undefined
  constructor(around: OtelApi.Context, span: BridgeSpan) {
    this.around = around
    this.span = span
  }
  getValue(key: symbol): unknown {
    if (key !== spanKey) return this.around.getValue(key)
    this.view ??= new SpanView(this.span)
    return this.view
  }
  setValue(key: symbol, value: unknown): OtelApi.Context {
    const view = this.getValue(spanKey)
    return this.around.setValue(spanKey, view).setValue(oursKey, view).setValue(key, value)
  }
  deleteValue(key: symbol): OtelApi.Context {
    return key === spanKey
      ? this.around.deleteValue(key)
      : this.around.setValue(spanKey, this.getValue(spanKey)).deleteValue(key)
  }
}

/** A context without the spans of ours that have ended. */
export const open = (context: OtelApi.Context): OtelApi.Context => {
  let current = context
  while (current instanceof SpanContext && current.span.status._tag === "Ended") current = current.around
  return current
}

/** The span of ours that a context stands in at once, if it does. */
export const spanOf = (context: OtelApi.Context): BridgeSpan | undefined => bridgeSpanOf(OtelApi.trace.getSpan(context))

/** The span of ours that one of OpenTelemetry's stands for, if it does. */
export const bridgeSpanOf = (span: OtelApi.Span | undefined): BridgeSpan | undefined =>
  span instanceof SpanView ? span.span : undefined

/** The nearest span of ours around somebody else's, as OpenTelemetry's code sees it. */
export const around = (context: OtelApi.Context): OtelApi.Span | undefined => {
  const ours = context.getValue(oursKey)
  return ours instanceof SpanView ? ours : undefined
}

/** A context for what runs in a span that came from elsewhere. */
export const external = (context: OtelApi.Context, { sampled, spanId, traceId }: Tracer.AnySpan): OtelApi.Context =>
  OtelApi.trace.setSpanContext(context, { spanId, traceId, traceFlags: flagsOf(sampled) })

/** A span of OpenTelemetry's as a parent of Effect's. */
export const parentOf = (
  { spanId, traceFlags, traceId }: OtelApi.SpanContext,
  context: Context.Context<never>
): Tracer.ExternalSpan =>
  Tracer.externalSpan({ spanId, traceId, sampled: (traceFlags & OtelApi.TraceFlags.SAMPLED) !== 0, context })
