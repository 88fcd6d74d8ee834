import { assert, describe, it } from "@effect/vitest"
import { observe } from "@langfuse/tracing"
import * as OtelApi from "@opentelemetry/api"
import { InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base"
import { NodeTracerProvider } from "@opentelemetry/sdk-trace-node"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Langfuse from "../../src/langfuse/Langfuse.js"
import * as LangfuseServer from "../support/LangfuseServer.js"

describe("Langfuse beside an application's own OpenTelemetry", () => {
  it.scopedLive("sends none of the application's spans, and gives it none of ours", () =>
    Effect.gen(function* () {
      const exporter = new InMemorySpanExporter()
      const application = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
      application.register()
      const server = yield* LangfuseServer.make()
      const byLangfuse = observe(async () => "ok", { name: "observed" })
      yield* Effect.promise(() => byLangfuse()).pipe(
        Effect.tap(() => OtelApi.trace.getTracer("application").startSpan("theirs").end()),
        Effect.withSpan("ours"),
        Effect.provide(
          Langfuse.layerWith({
            publicKey: server.publicKey,
            secretKey: Redacted.make(server.secretKey),
            baseUrl: server.url
          })
        )
      )
      assert.deepStrictEqual(
        LangfuseServer.tree(server.observations(), (it) => it.name),
        [["ours", ["observed"]]]
      )
      assert.deepStrictEqual(
        exporter.getFinishedSpans().map((span) => span.name),
        ["theirs"]
      )
    })
  )
})
