import * as OtelApi from "@opentelemetry/api"
import { resourceFromAttributes } from "@opentelemetry/resources"
import {
  AlwaysOnSampler,
  type Sampler,
  SamplingDecision,
  TraceIdRatioBasedSampler
} from "@opentelemetry/sdk-trace-base"
import { NodeTracerProvider } from "@opentelemetry/sdk-trace-node"
import type { SdkSpans } from "./sdkSpans.js"

/** Makes spans under what {@link SdkSpans.parentIn} says, which the tracer of the SDK would not ask. */
class IsolatedTracer implements OtelApi.Tracer {
  private readonly inner: OtelApi.Tracer
  private readonly sdkSpans: SdkSpans
  constructor(inner: OtelApi.Tracer, sdkSpans: SdkSpans) {
    this.inner = inner
    this.sdkSpans = sdkSpans
  }

  private contextOf(context: OtelApi.Context): OtelApi.Context {
    const parent = this.sdkSpans.parentIn(context)
    if (parent === undefined) return OtelApi.trace.deleteSpan(context)
    return parent === OtelApi.trace.getSpan(context) ? context : OtelApi.trace.setSpan(context, parent)
  }

  startSpan(name: string, options?: OtelApi.SpanOptions, context = OtelApi.context.active()): OtelApi.Span {
    return this.inner.startSpan(name, options, this.contextOf(context))
  }

  startActiveSpan<F extends (span: OtelApi.Span) => unknown>(
    name: string,
    ...rest: ReadonlyArray<unknown>
  ): ReturnType<F> {
    // the interface's three forms: with nothing, with options, with options and a context before the function, which is the last
    const run = rest.at(-1) as (span: OtelApi.Span) => ReturnType<F>
    const options = (rest.length > 1 ? rest[0] : undefined) as OtelApi.SpanOptions | undefined
    const context = (rest.length > 2 ? rest[1] : undefined) as OtelApi.Context | undefined
    const around = this.contextOf(context ?? OtelApi.context.active())
    const span = this.inner.startSpan(name, options, around)
    return OtelApi.context.with(OtelApi.trace.setSpan(around, span), run, undefined, span)
  }
}

/** @internal */
export interface Sampling {
  readonly samples: (traceId: string) => boolean
  readonly sampler: Sampler
}

/**
 * Whether a trace is sent: all of it, or nothing. By its id, as OpenTelemetry and Langfuse's own SDK do it, so that several processes decide alike.
 * Not by what OTEL_TRACES_SAMPLER or an application's unsampled span says: a failure that is not seen is a bug.
 *
 * @internal
 */
export const sampling = (rate: number): Sampling => {
  if (rate >= 1) return { samples: () => true, sampler: new AlwaysOnSampler() }
  const byRatio = new TraceIdRatioBasedSampler(rate)
  return {
    samples: (traceId) =>
      byRatio.shouldSample(OtelApi.ROOT_CONTEXT, traceId).decision === SamplingDecision.RECORD_AND_SAMPLED,
    sampler: byRatio
  }
}

/**
 * The provider with which Langfuse's SDK and LangChain's handler make their spans. No global OpenTelemetry provider is touched.
 *
 * @internal
 */
export const make = (
  resource: Readonly<Record<string, string>>,
  sampler: Sampler,
  sdkSpans: SdkSpans
): OtelApi.TracerProvider => {
  const provider = new NodeTracerProvider({
    resource: resourceFromAttributes(resource),
    sampler,
    spanLimits: { attributeCountLimit: 512 },
    spanProcessors: [sdkSpans]
  })
  return { getTracer: (...args) => new IsolatedTracer(provider.getTracer(...args), sdkSpans) }
}
