import type { CallbackHandler } from "@langfuse/langchain"
import { getLangfuseTracerProvider, setLangfuseTracerProvider } from "@langfuse/tracing"
import * as Effect from "effect/Effect"
import type * as Tracer from "effect/Tracer"
import * as ErrorInfo from "../../observability/ErrorInfo.js"
import * as Privacy from "../../observability/internal/privacy.js"
import * as Observation from "../../observability/Observation.js"
import * as careful from "./careful.js"
import * as exporter from "./exporter.js"
import * as otlp from "./otlp.js"
import * as provider from "./provider.js"
import * as scores from "./scores.js"
import { SdkSpans, shaped } from "./sdkSpans.js"
import { BridgeSpan } from "./span.js"
import * as bridgeTracer from "./tracer.js"
import * as twins from "./twins.js"

/** The name of the service, and the scope of Effect's spans. */
const scope = "holdfast"

/** @internal */
export interface Options extends exporter.Options {
  readonly trace: Observation.TraceOptions
  /** Nothing where nothing was asked for: what is not asked for costs nothing. */
  readonly privacy: Privacy.Options | undefined
  /** From 0 to 1. */
  readonly sampleRate: number
  readonly joinOpenTelemetry: boolean
  readonly scores: ((score: Observation.Score) => Observation.Score | undefined) | undefined
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
    const privacy = options.privacy === undefined ? undefined : Privacy.make(options.privacy)
    const manner: otlp.Manner = { privacy, stacks: options.privacy?.stackTraces === true }
    const encode = otlp.encoder(resource, scope, manner)
    const said = Observation.traceAttributes(options.trace)
    const { sampler, samples } = provider.sampling(options.sampleRate)
    const sdkSpans = new SdkSpans({
      base: privacy === undefined ? said : shaped(privacy, said),
      privacy,
      joined: options.joinOpenTelemetry,
      samples,
      ended: (span) => out.observation(otlp.encodeSpan(span, manner))
    })
    // the SDK's own functions (`observe`, LangChain's handler) make their spans with it
    const sdkProvider = provider.make(resource, sampler, sdkSpans)
    setLangfuseTracerProvider(sdkProvider)

    let handler: Promise<CallbackHandler> | undefined
    /** What an application's function throws is no run's failure. */
    const scoreOf = (score: Observation.Score): Observation.Score | undefined => {
      if (options.scores === undefined) return score
      try {
        return options.scores(score)
      } catch (error) {
        options.warn(`The score "${score.name}" is sent as it is: ${ErrorInfo.line(ErrorInfo.make(error))}`)
        return score
      }
    }
    return {
      tracer: bridgeTracer.make(sdkSpans, (span) => out.observation(encode(span)), {
        spans: careful.spans(manner),
        twins: options.joinOpenTelemetry ? twins.make(scope) : undefined
      }),
      score: (score, span) => {
        const said = span.sampled ? scoreOf(score) : undefined
        if (said === undefined) return
        const trace = span instanceof BridgeSpan ? span.trace : {}
        out.score(scores.encode(said, span, trace, { environment: options.trace.environment, privacy }))
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
        if (getLangfuseTracerProvider() === sdkProvider) setLangfuseTracerProvider(null)
        void sdkSpans.shutdown()
        return out.close()
      }
    }
  })
