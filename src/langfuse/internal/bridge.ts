import { randomUUID } from "node:crypto"
import type { CallbackHandler } from "@langfuse/langchain"
import { getLangfuseTracerProvider, setLangfuseTracerProvider } from "@langfuse/tracing"
import * as OtelApi from "@opentelemetry/api"
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks"
import { resourceFromAttributes } from "@opentelemetry/resources"
import { AlwaysOnSampler } from "@opentelemetry/sdk-trace-base"
import { NodeTracerProvider } from "@opentelemetry/sdk-trace-node"
import * as Effect from "effect/Effect"
import type * as Tracer from "effect/Tracer"
import * as Observation from "../../observability/Observation.js"
import * as Redaction from "../../observability/Redaction.js"
import { Delivery } from "./Delivery.js"
import * as http from "./http.js"
import * as otlp from "./otlp.js"
import { SdkSpans } from "./sdkSpans.js"
import * as bridgeTracer from "./tracer.js"

/** The name of the service, and the scope of Effect's spans. */
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
  Effect.sync(() => {
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

    const resource = { "service.name": scope }
    const encode = otlp.encoder(resource, scope)
    const base = Observation.traceAttributes(options.trace)
    const sdkSpans = new SdkSpans(base, (span) => spans.offer(otlp.encodeSpan(span)))
    const provider = new NodeTracerProvider({
      resource: resourceFromAttributes(resource),
      // not what OTEL_TRACES_SAMPLER or an application's unsampled span says: a failure that is not seen is a bug
      sampler: new AlwaysOnSampler(),
      spanLimits: { attributeCountLimit: 512 },
      spanProcessors: [sdkSpans]
    })
    // once a process, and left there: an application that has set its own keeps it, and both do the same
    OtelApi.context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
    // the SDK's own functions (`observe`, LangChain's handler) make their spans with it; no global OpenTelemetry provider is touched
    setLangfuseTracerProvider(provider)

    let handler: Promise<CallbackHandler> | undefined
    return {
      tracer: bridgeTracer.make(sdkSpans, (span) => spans.offer(encode(span))),
      score: (score, span) => {
        if (!span.sampled) return
        const body = {
          id: randomUUID(),
          traceId: span.traceId,
          observationId: span.spanId,
          name: score.name,
          ...scoreBody(score),
          ...(score.comment === undefined ? {} : { comment: Redaction.text(score.comment) }),
          ...(options.trace.environment === undefined ? {} : { environment: options.trace.environment })
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
          ({ Handler }) => new Handler((context) => sdkSpans.tagsIn(context))
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
          await Promise.all([spans.flush(), scores.flush()])
        }
        await Promise.race([all(), bound]).finally(() => clearTimeout(timer))
      },
      close: () => {
        spans.close()
        scores.close()
        if (getLangfuseTracerProvider() === provider) setLangfuseTracerProvider(null)
        void sdkSpans.shutdown()
        return {
          observations: spans.undelivered,
          scores: scores.undelivered,
          reason: spans.reason ?? scores.reason
        }
      }
    }
  })
