import { lookup } from "node:dns/promises"
import { readFileSync } from "node:fs"
import { createServer } from "node:net"
import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Redacted from "effect/Redacted"
import { sdkVersion } from "../../src/langfuse/internal/http.js"
import * as Langfuse from "../../src/langfuse/Langfuse.js"
import * as Observation from "../../src/observability/Observation.js"
import { runFile } from "../support/child.js"
import * as TestDatabases from "../support/databases.js"
import * as LangfuseServer from "../support/LangfuseServer.js"

const optionsOf = (server: { url: string; publicKey: string; secretKey: string }): Langfuse.Options => ({
  publicKey: server.publicKey,
  secretKey: Redacted.make(server.secretKey),
  baseUrl: server.url,
  outbox: false
})

/** Runs a program under a Langfuse layer; gives what was logged from warnings up, and how long it took. */
const run = <A, E>(program: Effect.Effect<A, E>, options: Langfuse.Options) =>
  Effect.gen(function* () {
    const lines: Array<string> = []
    const logger = Logger.make(({ logLevel, message }) => {
      lines.push(`${logLevel.label} ${String(message)}`)
    })
    const started = performance.now()
    const result = yield* program.pipe(
      Effect.provide(Langfuse.layerWith(options)),
      Effect.provide(Logger.replace(Logger.defaultLogger, logger))
    )
    return { lines, millis: performance.now() - started, result }
  })

const work = Observation.score({ name: "s", value: 1 }).pipe(Effect.as("the result"), Effect.withSpan("work"))

/** A port on which nobody listens. */
const closedPort = Effect.async<number>((resume) => {
  const server = createServer()
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 1)))
  })
})

describe("Langfuse: delivery", () => {
  it("says the version of the SDK that is installed", () => {
    const manifest = new URL("../../node_modules/@langfuse/otel/package.json", import.meta.url)
    assert.strictEqual(JSON.parse(readFileSync(manifest, "utf8")).version, sdkVersion)
  })

  it.scopedLive("says at the start that there is no such host, and which variable says so", () =>
    Effect.gen(function* () {
      const url = "http://langfuse.invalid"
      // as long as the answer that there is none takes, and the one that was asked for before
      const asked = Effect.promise(() => lookup("langfuse.invalid").catch(() => undefined)).pipe(Effect.delay(200))
      const { lines } = yield* run(asked, optionsOf({ url, publicKey: "pk", secretKey: "sk" }))
      const reason = "there is no host langfuse.invalid: look at LANGFUSE_BASE_URL"
      assert.deepStrictEqual(lines, [`WARN Langfuse at ${url} takes no observations: ${reason}`])
    })
  )

  it.effect("refuses an option that cannot be meant, with the variable's name where it has one", () =>
    Effect.gen(function* () {
      const wrong: ReadonlyArray<readonly [Langfuse.Options, string]> = [
        [{ flushAt: Number.NaN }, "LANGFUSE_FLUSH_AT"],
        [{ flushInterval: "2 hours" }, "LANGFUSE_FLUSH_INTERVAL"],
        [{ requestTimeout: 0 }, "LANGFUSE_TIMEOUT"],
        [{ maxQueue: 0 }, "maxQueue"],
        [{ maxBatchBytes: Number.NaN }, "maxBatchBytes"],
        [{ baseUrl: "cloud.langfuse.com" }, "LANGFUSE_BASE_URL"],
        [{ publicKey: "pk-lf-1" }, "LANGFUSE_SECRET_KEY"]
      ]
      for (const [options, setting] of wrong) {
        const error = yield* Effect.flip(Effect.provide(Effect.void, Langfuse.layerWith(options)))
        assert.strictEqual(error.setting, setting)
      }
    })
  )

  it.scopedLive("counts what becomes of observations and scores, as metrics", () =>
    Effect.gen(function* () {
      const figuresOf = (target: string) =>
        Effect.map(Metric.snapshot, (pairs) => {
          const found: Record<string, number> = {}
          for (const { metricKey, metricState } of pairs) {
            const tags = new Map(metricKey.tags.map(({ key, value }) => [key, value]))
            if (tags.get("target") !== target) continue
            const value = "count" in metricState ? metricState.count : "value" in metricState ? metricState.value : -1
            found[`${metricKey.name.replace("holdfast_delivery_", "")} ${tags.get("kind")}`] = Number(value)
          }
          return found
        })
      const named = (name: string) => Effect.withSpan(Observation.score({ name, value: 1 }), name)
      const taking = yield* LangfuseServer.make({ poison: (name) => name === "bad" })
      yield* run(Effect.all([named("a"), named("bad"), named("b")]), optionsOf(taking))
      assert.deepInclude(yield* figuresOf(taking.url), {
        "queued observations": 0,
        "sent observations": 2,
        "refused observations": 1,
        "queued scores": 0,
        "sent scores": 2,
        "refused scores": 1
      })

      const down = yield* LangfuseServer.make()
      down.behave({ status: 503 })
      const folder = yield* TestDatabases.temporaryFolder
      const program = Effect.zipRight(Effect.all([named("a"), named("b"), named("c")]), Effect.as(Langfuse.flush, 1))
      yield* run(program, { ...optionsOf(down), outbox: { folder }, maxQueue: 2 })
      const figures = yield* figuresOf(down.url)
      assert.deepInclude(figures, { "stored observations": 2, "lost observations": 1, "queued observations": 0 })
      assert.notProperty(figures, "refused observations")
    })
  )

  it.scopedLive("ends soon and warns once when nobody listens", () =>
    Effect.gen(function* () {
      const url = `http://127.0.0.1:${yield* closedPort}`
      const { lines, millis, result } = yield* run(work, optionsOf({ url, publicKey: "pk", secretKey: "sk" }))
      assert.strictEqual(result, "the result")
      assert.deepStrictEqual(lines, [`WARN 1 observation and 1 score did not reach Langfuse at ${url}: ECONNREFUSED`])
      assert.isBelow(millis, 15_000)
    })
  )

  it.scopedLive("leaves a server that hangs after the bound", () =>
    Effect.gen(function* () {
      const server = yield* LangfuseServer.make()
      server.behave("hang")
      const { lines, millis } = yield* run(work, { ...optionsOf(server), flushTimeout: "300 millis" })
      assert.deepStrictEqual(lines, [
        `WARN 1 observation and 1 score did not reach Langfuse at ${server.url}: no answer in time`
      ])
      assert.isAtLeast(millis, 290)
      assert.isBelow(millis, 2_000)
    })
  )

  it.scopedLive("delivers what was interrupted", () =>
    Effect.gen(function* () {
      const server = yield* LangfuseServer.make()
      const { result } = yield* run(Effect.void, optionsOf(server)).pipe(
        Effect.zipRight(
          run(
            Effect.exit(Effect.never.pipe(Effect.withSpan("waiting"), Effect.timeout("20 millis"))),
            optionsOf(server)
          )
        )
      )
      assert.strictEqual(result._tag, "Failure")
      const fiber = yield* Effect.fork(run(Effect.withSpan(Effect.never, "stopped"), optionsOf(server)))
      yield* Effect.sleep("100 millis")
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(
        server.observations().map((it) => [it.name, it.level, it.statusMessage]),
        [
          ["waiting", "WARNING", "interrupted"],
          ["stopped", "WARNING", "interrupted"]
        ]
      )
    })
  )

  it.scopedLive("keeps what the server could not take, says so, and delivers it once when it can again", () =>
    Effect.gen(function* () {
      const server = yield* LangfuseServer.make()
      server.behave({ status: 503 })
      const { lines } = yield* run(
        Effect.gen(function* () {
          yield* Effect.withSpan(Effect.void, "first")
          yield* Effect.sleep("200 millis")
          yield* Effect.withSpan(Effect.void, "second")
          server.behave("reset")
          yield* Effect.sleep("1200 millis")
          server.behave("take")
          yield* Effect.sleep("2500 millis")
          assert.strictEqual(server.observations().length, 2)
          yield* Effect.withSpan(Effect.void, "third")
        }),
        { ...optionsOf(server), flushInterval: "50 millis" }
      )
      assert.deepStrictEqual(
        server.observations().map((it) => it.name),
        ["first", "second", "third"]
      )
      assert.deepStrictEqual(lines, [
        `WARN Langfuse at ${server.url} takes no observations: HTTP 503`,
        `INFO Langfuse at ${server.url} takes observations again`
      ])
    })
  )

  it.scopedLive("names the variables to look at when the keys are refused", () =>
    Effect.gen(function* () {
      const server = yield* LangfuseServer.make()
      const { lines } = yield* run(work, { ...optionsOf(server), secretKey: Redacted.make("sk-lf-wrong-0000") })
      assert.deepStrictEqual(lines, [
        `WARN 1 observation and 1 score did not reach Langfuse at ${server.url}: HTTP 401: look at LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY and LANGFUSE_BASE_URL`
      ])
    })
  )

  it.scopedLive("delivers in batches no larger than asked, and on demand", () =>
    Effect.gen(function* () {
      const server = yield* LangfuseServer.make()
      yield* run(
        Effect.gen(function* () {
          yield* Effect.forEach(Array.from({ length: 25 }), () => Effect.withSpan(Effect.void, "one"))
          yield* Langfuse.flush
          assert.strictEqual(server.observations().length, 25)
        }),
        { ...optionsOf(server), flushAt: 10, flushInterval: "1 minute" }
      )
      assert.strictEqual(server.bodies().length, 3)
    })
  )
})

describe("Langfuse, in a process of its own", () => {
  const file = new URL("./fixtures/run.ts", import.meta.url)
  const withHandler = '{"answer":42,"names":"root,child","handler":true}\n'
  const without = '{"answer":42,"names":"root,child","handler":false}\n'

  it.scopedLive("sends all before it ends", () =>
    Effect.gen(function* () {
      const server = yield* LangfuseServer.make()
      const env = { ...server.env, LANGFUSE_TRACING_ENVIRONMENT: "ci", LANGFUSE_RELEASE: "r1" }
      const { code, stderr, stdout } = yield* Effect.promise(() => runFile(file, env))
      assert.deepStrictEqual({ code, stderr, stdout }, { code: 0, stderr: "", stdout: withHandler })
      assert.deepStrictEqual(server.complaints(), [])
      assert.deepStrictEqual(
        LangfuseServer.tree(server.observations(), (it) => `${it.name} ${it.type} ${it.environment} ${it.release}`),
        [["root span ci r1", ["child agent ci r1"]]]
      )
      assert.strictEqual(server.scores().length, 1)
    })
  )

  it.live("gives the same result without keys, sends nothing, and says why once", () =>
    Effect.gen(function* () {
      const { code, stderr, stdout } = yield* Effect.promise(() => runFile(file, { LANGFUSE_PUBLIC_KEY: " " }))
      assert.strictEqual(code, 0)
      assert.strictEqual(stdout, without)
      assert.deepStrictEqual(
        stderr
          .trimEnd()
          .split("\n")
          .map((line) => JSON.parse(line).message),
        [
          "Langfuse is off: LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are not set",
          "LangChain is not traced: LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are not set"
        ]
      )
    })
  )

  it.scopedLive("ends within the bound when the server is down, with one warning", () =>
    Effect.gen(function* () {
      const url = `http://127.0.0.1:${yield* closedPort}`
      const folder = yield* TestDatabases.temporaryFolder
      const env = {
        LANGFUSE_BASE_URL: url,
        LANGFUSE_PUBLIC_KEY: "pk-lf-1",
        LANGFUSE_SECRET_KEY: "sk-lf-2",
        HOLDFAST_DATA_DIR: folder
      }
      const { code, millis, stderr, stdout } = yield* Effect.promise(() => runFile(file, env))
      assert.deepStrictEqual({ code, stdout }, { code: 0, stdout: withHandler })
      assert.strictEqual(stderr.trimEnd().split("\n").length, 1)
      const { level, message } = JSON.parse(stderr)
      assert.strictEqual(level, "WARN")
      assert.strictEqual(
        message,
        `2 observations and 1 score did not reach Langfuse at ${url}: ECONNREFUSED; they wait in the folder ${folder}/outbox, and the next process delivers them`
      )
      assert.isBelow(millis, 15_000)
    })
  )

  const keys = { LANGFUSE_PUBLIC_KEY: "pk-lf-1", LANGFUSE_SECRET_KEY: "sk-lf-very-secret-2" }
  const malformed: ReadonlyArray<readonly [Record<string, string>, string]> = [
    [
      { LANGFUSE_PUBLIC_KEY: "pk-lf-1" },
      "LANGFUSE_SECRET_KEY cannot be used: it is not set, and LANGFUSE_PUBLIC_KEY is. It takes the key that belongs to it, or neither of the two to run without Langfuse."
    ],
    [
      { LANGFUSE_SECRET_KEY: "sk-lf-very-secret-2" },
      "LANGFUSE_PUBLIC_KEY cannot be used: it is not set, and LANGFUSE_SECRET_KEY is. It takes the key that belongs to it, or neither of the two to run without Langfuse."
    ],
    [
      { ...keys, LANGFUSE_BASE_URL: "localhost:3000" },
      'LANGFUSE_BASE_URL cannot be used: it is "localhost:3000". It takes a URL such as https://cloud.langfuse.com.'
    ],
    [
      { ...keys, LANGFUSE_FLUSH_AT: "abc" },
      'LANGFUSE_FLUSH_AT cannot be used: it is "abc". It takes a whole number from 1 to 10000.'
    ],
    [
      { ...keys, LANGFUSE_TIMEOUT: "-1" },
      'LANGFUSE_TIMEOUT cannot be used: it is "-1". It takes a number of seconds above 0, at most 3600.'
    ],
    [
      { ...keys, LANGFUSE_TRACING_ENVIRONMENT: "Prod!" },
      'LANGFUSE_TRACING_ENVIRONMENT cannot be used: it is "Prod!". It takes at most 40 lower-case letters, digits, hyphens and underscores, not beginning with langfuse.'
    ]
  ]
  for (const [env, expected] of malformed) {
    it.effect(`names a malformed setting: ${Object.keys(env).at(-1)} of ${Object.keys(env).length}`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(Effect.provide(Effect.void, Langfuse.layer))
        assert.strictEqual(error.message, expected)
      }).pipe(Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(env)))))
    )
  }

  it.live("ends with a malformed setting before anything else", () =>
    Effect.gen(function* () {
      const { stderr, stdout } = yield* Effect.promise(() => runFile(file, { ...keys, LANGFUSE_BASE_URL: "ftp://x" }))
      assert.strictEqual(
        stderr,
        'LANGFUSE_BASE_URL cannot be used: it is "ftp://x". It takes a URL such as https://cloud.langfuse.com.\n'
      )
      assert.strictEqual(stdout, "")
    })
  )
})
