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
  spanContext(): OtelApi.SpanContext {
    const { spanId, traceId } = this.span
    return { spanId, traceId, traceFlags: OtelApi.TraceFlags.SAMPLED }
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
    return this.around.setValue(spanKey, this.getValue(spanKey)).setValue(key, value)
  }
  deleteValue(key: symbol): OtelApi.Context {
    return key === spanKey
      ? this.around.deleteValue(key)
      : this.around.setValue(spanKey, this.getValue(spanKey)).deleteValue(key)
  }
}

/** The span of ours that a context stands in at once, if it does. */
export const spanOf = (context: OtelApi.Context): BridgeSpan | undefined => {
  const active = OtelApi.trace.getSpan(context)
  return active instanceof SpanView ? active.span : undefined
}

/** A context for what runs in a span that came from elsewhere. */
export const external = (around: OtelApi.Context, { sampled, spanId, traceId }: Tracer.AnySpan): OtelApi.Context =>
  OtelApi.trace.setSpanContext(around, {
    spanId,
    traceId,
    traceFlags: sampled ? OtelApi.TraceFlags.SAMPLED : OtelApi.TraceFlags.NONE
  })

/** A span of OpenTelemetry's as a parent of Effect's. */
export const parentOf = (
  { spanId, traceFlags, traceId }: OtelApi.SpanContext,
  context: Context.Context<never>
): Tracer.ExternalSpan =>
  Tracer.externalSpan({ spanId, traceId, sampled: (traceFlags & OtelApi.TraceFlags.SAMPLED) !== 0, context })
