import type { CallbackHandler } from "@langfuse/langchain"
import { getLangfuseTracerProvider, setLangfuseTracerProvider } from "@langfuse/tracing"
import { resourceFromAttributes } from "@opentelemetry/resources"
import { AlwaysOnSampler } from "@opentelemetry/sdk-trace-base"
import { NodeTracerProvider } from "@opentelemetry/sdk-trace-node"
import * as Effect from "effect/Effect"
import type * as Tracer from "effect/Tracer"
import * as Observation from "../../observability/Observation.js"
import * as exporter from "./exporter.js"
import * as otlp from "./otlp.js"
import * as scores from "./scores.js"
import { SdkSpans } from "./sdkSpans.js"
import * as bridgeTracer from "./tracer.js"

/** The name of the service, and the scope of Effect's spans. */
const scope = "holdfast"

/** @internal */
export interface Options extends exporter.Options {
  readonly trace: Observation.TraceOptions
}

/** @internal */
export interface Bridge {
  readonly tracer: Tracer.Tracer
  readonly score: (score: Observation.Score, span: Tracer.Span) => void
  readonly callbackHandler: () => Promise<CallbackHandler>
  /** Ends when all is delivered or in the outbox, or after the time. */
  readonly flush: (timeoutMillis: number) => Promise<void>
  /** Stops at once, and says what did not arrive, a line a target. */
  readonly close: () => Promise<ReadonlyArray<string>>
}

/**
 * All that needs the Langfuse and OpenTelemetry packages: loaded only when there are keys.
 *
 * @internal
 */
export const make = (options: Options): Effect.Effect<Bridge> =>
  Effect.sync(() => {
    const out = exporter.make(options)
    const resource = { "service.name": scope }
    const encode = otlp.encoder(resource, scope)
    const base = Observation.traceAttributes(options.trace)
    const sdkSpans = new SdkSpans(base, (span) => out.observation(otlp.encodeSpan(span)))
    const provider = new NodeTracerProvider({
      resource: resourceFromAttributes(resource),
      // not what OTEL_TRACES_SAMPLER or an application's unsampled span says: a failure that is not seen is a bug
      sampler: new AlwaysOnSampler(),
      spanLimits: { attributeCountLimit: 512 },
      spanProcessors: [sdkSpans]
    })
    // the SDK's own functions (`observe`, LangChain's handler) make their spans with it; no global OpenTelemetry provider is touched
    setLangfuseTracerProvider(provider)

    let handler: Promise<CallbackHandler> | undefined
    return {
      tracer: bridgeTracer.make(sdkSpans, (span) => out.observation(encode(span))),
      score: (score, span) => {
        if (span.sampled) out.score(scores.encode(score, span, options.trace.environment))
      },
      callbackHandler: () => {
        handler ??= import("./callbackHandler.js").then(
          ({ Handler }) => new Handler((context) => sdkSpans.tagsIn(context))
        )
        return handler
      },
      flush: async (timeoutMillis) => {
        // a call that was interrupted a moment ago says so to its handler in a moment
        await new Promise((resolve) => setImmediate(resolve))
        await out.flush(timeoutMillis)
      },
      close: () => {
        if (getLangfuseTracerProvider() === provider) setLangfuseTracerProvider(null)
        void sdkSpans.shutdown()
        return out.close()
      }
    }
  })
