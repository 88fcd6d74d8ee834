import { randomUUID } from "node:crypto"
import * as OtelTracer from "@effect/opentelemetry/Tracer"
import type { CallbackHandler } from "@langfuse/langchain"
import { isDefaultExportSpan, LangfuseSpanProcessor } from "@langfuse/otel"
import { getLangfuseTracerProvider, setLangfuseTracerProvider } from "@langfuse/tracing"
import * as OtelApi from "@opentelemetry/api"
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks"
import { ExportResultCode } from "@opentelemetry/core"
import { resourceFromAttributes } from "@opentelemetry/resources"
import { AlwaysOnSampler } from "@opentelemetry/sdk-trace-base"
import { NodeTracerProvider } from "@opentelemetry/sdk-trace-node"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Tracer from "effect/Tracer"
import * as outcome from "../../observability/internal/outcome.js"
import * as Observation from "../../observability/Observation.js"
import * as Redaction from "../../observability/Redaction.js"
import { Delivery } from "./Delivery.js"
import * as http from "./http.js"
import { Inheritance } from "./inheritance.js"
import * as otlp from "./otlp.js"

/** The scope of Effect's spans. */
const scope = "holdfast"

/** @internal */
export interface Options extends http.Target {
  readonly trace: Observation.TraceOptions
  readonly maxBatch: number
  readonly intervalMillis: number
  readonly maxQueue: number
  readonly onProblem: (reason: string) => void
  readonly onRecovery: () => void
}

/**
 * What is left when nothing more can be delivered.
 *
 * @internal
 */
export interface Undelivered {
  readonly observations: number
  readonly scores: number
  readonly reason: string | undefined
}

/** @internal */
export interface Bridge {
  readonly tracer: Tracer.Tracer
  readonly score: (score: Observation.Score, span: Tracer.Span) => void
  readonly callbackHandler: () => Promise<CallbackHandler>
  /** Ends when all is delivered, when the server has refused often enough, or after the time. */
  readonly flush: (timeoutMillis: number) => Promise<void>
  /** Stops at once, and says what is left. */
  readonly close: () => Undelivered
}

const isTexts = (value: unknown): value is ReadonlyArray<string> =>
  Array.isArray(value) && value.every((item) => typeof item === "string")

/** The tracer's own spans keep OpenTelemetry's in a field. */
const isOtelSpan = (span: Tracer.Span): span is Tracer.Span & { readonly span: OtelApi.Span } => "span" in span

/** What Langfuse calls the kinds of a score. */
const scoreBody = (score: Observation.Score) =>
  typeof score.value === "boolean"
    ? { value: score.value ? 1 : 0, dataType: "BOOLEAN" }
    : typeof score.value === "number"
      ? { value: score.value, dataType: "NUMERIC" }
      : { value: Redaction.text(score.value), dataType: "CATEGORICAL" }

const ingestionErrors = (body: unknown): string | undefined => {
  if (typeof body !== "object" || body === null || !("errors" in body) || !Array.isArray(body.errors)) return undefined
  return body.errors.length === 0 ? undefined : Redaction.json(body.errors).slice(0, 200)
}

/** 1 MB a request, well below what Langfuse and proxies before it take. */
const maxBytes = 1_000_000

/**
 * All that needs the Langfuse and OpenTelemetry packages: loaded only when there are keys.
 *
 * @internal
 */
export const make = (options: Options): Effect.Effect<Bridge> =>
  Effect.gen(function* () {
    let failing = false
    const delivery = (send: ConstructorParameters<typeof Delivery>[0]["send"], maxBatch: number) =>
      new Delivery({
        send,
        maxBatch,
        maxBytes,
        maxQueue: options.maxQueue,
        intervalMillis: options.intervalMillis,
        // two queues, one server: what is said of it is said once
        onProblem: (reason) => {
          if (!failing) options.onProblem(reason)
          failing = true
        },
        onRecovery: () => {
          if (failing) options.onRecovery()
          failing = false
        }
      })
    const spans = delivery(
      (items, signal) => http.post(options, "/api/public/otel/v1/traces", otlp.requestBody(items), signal),
      options.maxBatch
    )
    const scores = delivery(
      (items, signal) =>
        http.post(
          options,
          "/api/public/ingestion",
          `{"batch":[${items.map((item) => item.json).join(",")}]}`,
          signal,
          ingestionErrors
        ),
      Math.min(options.maxBatch, 100)
    )

    const { environment, release, ...trace } = options.trace
    const inheritance = new Inheritance({
      // trace attributes are texts, numbers, booleans and lists of texts: all that an OpenTelemetry attribute can be
      ...(Observation.traceAttributes(trace) as OtelApi.Attributes)
    })
    const processor = new LangfuseSpanProcessor({
      publicKey: options.publicKey,
      secretKey: Redacted.value(options.secretKey),
      baseUrl: options.baseUrl,
      ...(environment === undefined ? {} : { environment }),
      ...(release === undefined ? {} : { release }),
      timeout: options.requestTimeoutMillis / 1000,
      // its uploader warns on the console of every metadata value that is a number
      mediaUploadEnabled: false,
      // decided by the scope: at the start of a span its attributes are not there yet
      shouldExportSpan: ({ otelSpan }) => otelSpan.instrumentationScope.name === scope || isDefaultExportSpan(otelSpan),
      // handed on at once: the queue that follows is ours, for the SDK's loses what comes beyond 2,048 spans and what a server refuses
      exportMode: "immediate",
      exporter: {
        export: (batch, done) => {
          for (const span of batch) spans.offer(otlp.encodeSpan(span))
          done({ code: ExportResultCode.SUCCESS })
        },
        forceFlush: () => spans.flush(),
        shutdown: async () => {}
      }
    })
    const provider = new NodeTracerProvider({
      resource: resourceFromAttributes({ "service.name": "holdfast" }),
      // not what OTEL_TRACES_SAMPLER or an application's unsampled span says: a failure that is not seen is a bug
      sampler: new AlwaysOnSampler(),
      spanLimits: { attributeCountLimit: 512 },
      // in this order: what a span has from its parent stands over what Langfuse's processor gives to all
      spanProcessors: [processor, inheritance]
    })
    // once a process, and left there: an application that has set its own keeps it, and both do the same
    OtelApi.context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
    // the SDK's own functions (`observe`, LangChain's handler) make their spans with it; no global OpenTelemetry provider is touched
    setLangfuseTracerProvider(provider)

    const tracer = yield* Effect.provideService(OtelTracer.make, OtelTracer.OtelTracer, provider.getTracer(scope))
    let handler: Promise<CallbackHandler> | undefined
    return {
      tracer: outcome.withOutcome(tracer, {
        started: () => {},
        annotated: (span, key, value) => {
          // Effect's bridge makes a text of a list, and tags are a list
          if (isTexts(value) && isOtelSpan(span)) span.span.setAttribute(key, [...value])
        },
        ended: () => {}
      }),
      score: (score, span) => {
        if (!span.sampled) return
        const body = {
          id: randomUUID(),
          traceId: span.traceId,
          observationId: span.spanId,
          name: score.name,
          ...scoreBody(score),
          ...(score.comment === undefined ? {} : { comment: Redaction.text(score.comment) }),
          ...(environment === undefined ? {} : { environment })
        }
        scores.offer({
          group: "scores",
          json: JSON.stringify({
            id: randomUUID(),
            type: "score-create",
            timestamp: new Date().toISOString(),
            body
          })
        })
      },
      callbackHandler: () => {
        handler ??= import("./callbackHandler.js").then(
          ({ Handler }) => new Handler((spanId) => inheritance.tagsOf(spanId))
        )
        return handler
      },
      flush: async (timeoutMillis) => {
        // a timer of the process's, not of Effect's clock: the bound holds in a finalizer, and under a test's clock
        let timer: NodeJS.Timeout | undefined
        const bound = new Promise<void>((resolve) => {
          timer = setTimeout(resolve, timeoutMillis)
        })
        const all = async (): Promise<void> => {
          // a call that was interrupted a moment ago says so to its handler in a moment
          await new Promise((resolve) => setImmediate(resolve))
          await Promise.all([provider.forceFlush(), scores.flush()])
        }
        await Promise.race([all(), bound]).finally(() => clearTimeout(timer))
      },
      close: () => {
        spans.close()
        scores.close()
        if (getLangfuseTracerProvider() === provider) setLangfuseTracerProvider(null)
        void inheritance.shutdown()
        return {
          observations: spans.undelivered,
          scores: scores.undelivered,
          reason: spans.reason ?? scores.reason
        }
      }
    }
  })
