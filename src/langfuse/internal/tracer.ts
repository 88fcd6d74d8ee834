import { getPropagatedAttributesFromContext } from "@langfuse/core"
import * as OtelApi from "@opentelemetry/api"
import * as Context from "effect/Context"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import * as otelContext from "./otelContext.js"
import { SpanContext } from "./otelContext.js"
import { BridgeSpan, type Finished, type TraceAttributes } from "./span.js"

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
export const make = (sdk: Sdk, ended: (span: Finished) => void): Tracer.Tracer => {
  const contexts = otelContext.contexts()
  return Tracer.make({
    span(name, given, context, links, startTime, kind, options) {
      const active = contexts.active()
      const above = given._tag === "Some" ? given.value : undefined
      if (above instanceof BridgeSpan) {
        const isOurs = active instanceof SpanContext
        const trace = isOurs ? above.trace : { ...above.trace, ...getPropagatedAttributesFromContext(active) }
        const around = isOurs ? active.around : active
        return new BridgeSpan(name, given, context, links, kind, startTime, trace, around, false, ended)
      }
      const joins = options?.root !== true && above === undefined
      const outer = joins ? OtelApi.trace.getSpanContext(active) : undefined
      const parent = outer === undefined ? given : Option.some(otelContext.parentOf(outer, context))
      const isRoot = parent._tag === "None" || !sdk.sends(parent.value.spanId)
      const trace = sdk.inherited(joins ? active : OtelApi.ROOT_CONTEXT)
      return new BridgeSpan(name, parent, context, links, kind, startTime, trace, active, isRoot, ended)
    },
    context(execution, fiber) {
      const span = fiber.currentSpan
      if (span === undefined) return execution()
      const active = contexts.active()
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
