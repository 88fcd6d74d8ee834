/** What is wrong between here and the server is said, with the setting to look at. */
import { createServer } from "node:http"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { diagnose, type Finding, type Options } from "../../src/langfuse/internal/diagnose.js"
import * as LangfuseServer from "../support/LangfuseServer.js"

const ask = (server: LangfuseServer.LangfuseServer, options: Partial<Options["langfuse"] & Options> = {}) =>
  Effect.map(
    Effect.promise(() =>
      diagnose({
        langfuse: {
          baseUrl: options.baseUrl ?? server.url,
          publicKey: options.publicKey ?? server.publicKey,
          secretKey: Redacted.make(server.secretKey)
        },
        otlp: options.otlp,
        timeoutMillis: 5_000,
        ...(options.regions === undefined ? {} : { regions: options.regions })
      })
    ),
    (findings) => Object.fromEntries(findings.map((finding) => [finding.check, finding]))
  )

const say = (finding: Finding | undefined): string => `${finding?.status}: ${finding?.message}`

describe("Langfuse.diagnose", () => {
  it.scopedLive("all is well", () =>
    Effect.gen(function* () {
      const server = yield* LangfuseServer.make()
      const found = yield* ask(server)
      assert.deepStrictEqual(Object.values(found).map(say), [
        `ok: ${server.url} answers, version 3.120.0`,
        "ok: agrees with the server's",
        'ok: of the project "test project"',
        `ok: ${server.url}/api/public/otel/v1/traces takes observations`
      ])
      assert.strictEqual(server.observations().length, 0)
    })
  )

  it.scopedLive("nobody is there", () =>
    Effect.gen(function* () {
      const server = yield* LangfuseServer.make()
      yield* server.down
      assert.strictEqual(
        say((yield* ask(server))["langfuse"]),
        `problem: ${server.url} cannot be reached: ECONNREFUSED`
      )
      assert.strictEqual(
        say((yield* ask(server, { baseUrl: "http://langfuse.invalid" }))["langfuse"]),
        "problem: http://langfuse.invalid cannot be reached: there is no host langfuse.invalid: look at LANGFUSE_BASE_URL"
      )
    })
  )

  it.scopedLive("somebody else is there", () =>
    Effect.gen(function* () {
      const server = yield* LangfuseServer.make()
      const other = yield* Effect.acquireRelease(
        Effect.async<{ url: string; close: () => void }>((resume) => {
          const http = createServer((_, response) => response.end("<html>It works!</html>"))
          http.listen(0, "127.0.0.1", () => {
            const address = http.address()
            const port = typeof address === "object" ? address?.port : 0
            resume(Effect.succeed({ url: `http://127.0.0.1:${port}`, close: () => http.close() }))
          })
        }),
        ({ close }) => Effect.sync(close)
      )
      assert.strictEqual(
        say((yield* ask(server, { baseUrl: other.url }))["langfuse"]),
        `problem: what answers at ${other.url} is no Langfuse (HTTP 200): look at LANGFUSE_BASE_URL`
      )
    })
  )

  it.scopedLive("keys that the server does not know, and those of another region", () =>
    Effect.gen(function* () {
      const [server, region] = yield* Effect.all([
        LangfuseServer.make(),
        LangfuseServer.make({ publicKey: "pk-lf-us" })
      ])
      assert.strictEqual(
        say((yield* ask(server, { publicKey: "pk-lf-wrong" }))["keys"]),
        "problem: refused (HTTP 401): look at LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY, and whether they are of this server (LANGFUSE_BASE_URL)"
      )
      const regions = [server.url, region.url]
      assert.strictEqual(
        say((yield* ask(server, { publicKey: "pk-lf-us", regions }))["keys"]),
        `problem: refused (HTTP 401): they are of another region: set LANGFUSE_BASE_URL=${region.url}`
      )
    })
  )

  it.scopedLive("a clock that is wrong", () =>
    Effect.gen(function* () {
      const behind = yield* LangfuseServer.make({ skewMillis: 3 * 3_600_000 })
      assert.strictEqual(
        say((yield* ask(behind))["clock"]),
        "problem: this machine's clock is 3 h behind the server's: observations stand at the wrong time. Set it, or let NTP do so"
      )
      const ahead = yield* LangfuseServer.make({ skewMillis: -600_000 })
      assert.match(say((yield* ask(ahead))["clock"]), /^problem: this machine's clock is 10 min ahead of the server's/)
    })
  )

  it.scopedLive("an OTLP endpoint that does not take what is sent", () =>
    Effect.gen(function* () {
      const server = yield* LangfuseServer.make()
      const otlp = { url: `${server.url}/api/public/otel/v1/traces`, headers: {} }
      assert.strictEqual(
        say((yield* ask(server, { otlp }))["otlp"]),
        `problem: ${otlp.url} takes none: HTTP 401: look at HOLDFAST_OTLP_HEADERS`
      )
    })
  )
})
