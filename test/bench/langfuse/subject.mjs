// One measurement in a process of its own: `subject.mjs burst|latency|flush ours|official|untraced`, with URL, FOLDER. Prints one line of JSON.

import * as Effect from "effect/Effect"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Redacted from "effect/Redacted"

const [, , what, who] = process.argv
const { FOLDER: folder, URL: url } = process.env

const attributes = Object.fromEntries(
  Array.from({ length: 12 }, (_, n) => [`langfuse.observation.metadata.key_${n}`, `value ${n} of a span in a burst`])
)

/** `span()` makes and ends one span; `flush()` ends when all is delivered. */
const subjects = {
  ours: async () => {
    const { Langfuse } = await import("holdfast")
    const layer = Langfuse.layerWith({
      publicKey: "pk-lf-bench",
      secretKey: Redacted.make("sk-lf-bench"),
      baseUrl: url,
      flushTimeout: "60 seconds",
      outbox: { folder }
    })
    const runtime = ManagedRuntime.make(layer)
    const context = await runtime.runtime()
    const span = Effect.withSpan(Effect.void, "work", { attributes, captureStackTrace: false })
    return {
      runtime,
      span: () => runtime.runSync(span),
      flush: () => runtime.runPromise(Langfuse.flush),
      context
    }
  },
  official: async () => {
    const { LangfuseSpanProcessor } = await import("@langfuse/otel")
    const { NodeTracerProvider } = await import("@opentelemetry/sdk-trace-node")
    const processor = new LangfuseSpanProcessor({
      publicKey: "pk-lf-bench",
      secretKey: "sk-lf-bench",
      baseUrl: url,
      flushAt: 512,
      flushInterval: 1,
      timeout: 60,
      mediaUploadEnabled: false,
      shouldExportSpan: () => true
    })
    const provider = new NodeTracerProvider({ spanProcessors: [processor] })
    const tracer = provider.getTracer("bench")
    return {
      span: () => tracer.startSpan("work", { attributes }).end(),
      // "Concurrent export limit reached": beyond 30 requests at once it gives batches up
      flush: () => provider.forceFlush().catch(() => new Promise((resolve) => setTimeout(resolve, 3_000)))
    }
  },
  untraced: async () => ({ runtime: ManagedRuntime.make((await import("effect/Layer")).empty), flush: async () => {} })
}

const subject = await subjects[who]()

const measures = {
  burst: async () => {
    for (let n = 0; n < 100; n++) subject.span()
    await subject.flush()
    globalThis.gc()
    for (let n = 0; n < 49_900; n++) subject.span()
    await subject.flush()
    return { peak: process.resourceUsage().maxRSS }
  },
  latency: async () => {
    const millis = []
    const body = Effect.withSpan(Effect.sleep("1 millis"), "work", { attributes, captureStackTrace: false })
    const call = Effect.suspend(() => {
      const from = performance.now()
      return Effect.map(body, () => void millis.push(performance.now() - from))
    })
    const calls = (count) =>
      subject.runtime.runPromise(
        Effect.forEach(Array.from({ length: count }), () => call, { concurrency: 50, discard: true })
      )
    await calls(2_000)
    millis.length = 0
    await calls(50_000)
    millis.sort((a, b) => a - b)
    return { p50: millis[millis.length >> 1], p99: millis[Math.floor(millis.length * 0.99)] }
  },
  flush: async () => {
    const each = []
    for (let round = 0; round < 5; round++) {
      for (let n = 0; n < 5_000; n++) subject.span()
      const from = performance.now()
      const before = process.cpuUsage()
      await subject.flush()
      const { system, user } = process.cpuUsage(before)
      each.push({ millis: performance.now() - from, cpu: (system + user) / 1_000 })
    }
    each.sort((a, b) => a.millis - b.millis)
    return each[2]
  }
}

process.stdout.write(`${JSON.stringify(await measures[what]())}\n`)
process.exit(0)
