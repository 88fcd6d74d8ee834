import * as OtelApi from "@opentelemetry/api"
import * as Context from "effect/Context"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import * as otelContext from "./otelContext.js"
import { SpanContext } from "./otelContext.js"
import { BridgeSpan, type Finished, randomId, type TraceAttributes } from "./span.js"
import type { Twins } from "./twins.js"

/** The span under which others are made: one that wants no children hands them to its parent. */
const propagating = (span: Tracer.AnySpan | undefined): Tracer.AnySpan | undefined =>
  span === undefined || !Context.get(span.context, Tracer.DisablePropagation)
    ? span
    : span._tag === "Span"
      ? propagating(Option.getOrUndefined(span.parent))
      : undefined

/** What is known of OpenTelemetry's spans that go where ours go. */
export interface Sdk {
  /** What a context of OpenTelemetry's says of the trace. */
  readonly inherited: (context: OtelApi.Context) => TraceAttributes
  /** Whether a span is one of those. */
  readonly sends: (spanId: string) => boolean
  /** The span of a context under which what is begun there stands: not the application's own, unless it is joined. */
  readonly parentIn: (context: OtelApi.Context) => OtelApi.Span | undefined
  /** What Langfuse's `propagateAttributes` has put into a context. */
  readonly propagated: (context: OtelApi.Context) => TraceAttributes
  /** Whether the spans of a trace are sent. */
  readonly samples: (traceId: string) => boolean
}

/** @internal */
export interface Options {
  /** What a span is, if not a plain {@link BridgeSpan}. */
  readonly spans?: typeof BridgeSpan | undefined
  /** The application's own tracing, if it is joined. */
  readonly twins?: Twins | undefined
}

/**
 * A tracer whose spans are plain objects, handed on when they end. The code that they enclose finds them as OpenTelemetry's active span, so
 * that what LangChain and Langfuse's SDK make stands under them.
 *
 * Written for its cost: Effect asks `context` at every step of a fiber. As long as that step is in the right context already, which is so but for
 * the first after a change, nothing is done.
 *
 * @internal
 */
export const make = (sdk: Sdk, ended: (span: Finished) => void, options: Options = {}): Tracer.Tracer => {
  const Made = options.spans ?? BridgeSpan
  const { twins } = options
  const contexts = otelContext.contexts()
  return Tracer.make({
    span(name, given, context, links, startTime, kind, settings) {
      const active = contexts.active()
      const above = given._tag === "Some" ? given.value : undefined
      if (above instanceof BridgeSpan) {
        const isOurs = active instanceof SpanContext
        const trace = isOurs ? above.trace : { ...above.trace, ...sdk.propagated(active) }
        const around = isOurs ? active.around : active
        const { sampled, traceId } = above
        if (twins !== undefined) {
          const twin = twins.begin(name, kind, startTime, twins.inside(above, around))
          const id = twin?.spanContext().spanId ?? randomId(16)
          const made = new Made(
            traceId,
            id,
            sampled,
            name,
            given,
            context,
            links,
            kind,
            startTime,
            trace,
            around,
            false,
            ended
          )
          return twins.tie(made, twin)
        }
        const id = randomId(16)
        return new Made(traceId, id, sampled, name, given, context, links, kind, startTime, trace, around, false, ended)
      }
      const joins = settings?.root !== true && above === undefined
      const outer = joins ? sdk.parentIn(active)?.spanContext() : undefined
      const parent = outer === undefined ? given : Option.some(otelContext.parentOf(outer, context))
      const isRoot = parent._tag === "None" || !sdk.sends(parent.value.spanId)
      const trace = sdk.inherited(joins ? active : OtelApi.ROOT_CONTEXT)
      const twin = twins?.begin(name, kind, startTime, twins.under(active, parent))
      const known = twin?.spanContext()
      const traceId = parent._tag === "Some" ? parent.value.traceId : (known?.traceId ?? randomId(32))
      const id = known?.spanId ?? randomId(16)
      const sampled = sdk.samples(traceId)
      const made = new Made(
        traceId,
        id,
        sampled,
        name,
        parent,
        context,
        links,
        kind,
        startTime,
        trace,
        active,
        isRoot,
        ended
      )
      return twins === undefined ? made : twins.tie(made, twin)
    },
    context(execution, fiber) {
      const span = fiber.currentSpan
      const active = contexts.active()
      if (span === undefined) {
        // what was waited for in a span that has ended comes back in its context
        const open = otelContext.open(active)
        return open === active ? execution() : contexts.run(open, execution)
      }
      if (span instanceof BridgeSpan) {
        const wanted = span.otelContext
        return active === wanted ? execution() : contexts.run(wanted, execution)
      }
      const current = propagating(span)
      if (current === undefined) return execution()
      const wanted = current instanceof BridgeSpan ? current.otelContext : otelContext.external(active, current)
      return contexts.run(wanted, execution)
    }
  })
}
