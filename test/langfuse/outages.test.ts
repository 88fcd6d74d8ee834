/**
 * Whatever becomes of Langfuse, of the outbox or of the keys: every observation that was made is there in the end, once by its id, or is named
 * as refused.
 */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it, layer as layered } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Langfuse from "../../src/langfuse/Langfuse.js"
import * as Observation from "../../src/observability/Observation.js"
import * as TestDatabases from "../support/databases.js"
import * as LangfuseServer from "../support/LangfuseServer.js"

type Made = Set<string>

/** Makes observations, each of which notes its id when it has ended. */
const make = (made: Made, count: number, name = "work", input?: string) =>
  Effect.forEach(
    Array.from({ length: count }),
    () =>
      Effect.currentSpan.pipe(
        Effect.tap(({ spanId, traceId }) => Effect.sync(() => made.add(`${traceId}/${spanId}`))),
        Effect.zipRight(input === undefined ? Effect.void : Observation.annotate({ input })),
        Effect.withSpan(name),
        Effect.orDie
      ),
    { discard: true }
  )

/** One life of a process: its warnings and what was said beside them. */
const life = <A, E>(
  server: LangfuseServer.LangfuseServer,
  program: Effect.Effect<A, E>,
  options: Partial<Langfuse.Options> = {},
  lines: Array<string> = []
) =>
  Effect.suspend(() => {
    const logger = Logger.make(({ logLevel, message }) => {
      if (LogLevel.greaterThanEqual(logLevel, LogLevel.Info)) lines.push(`${logLevel.label} ${String(message)}`)
    })
    return program.pipe(
      Effect.provide(
        Langfuse.layerWith({
          publicKey: server.publicKey,
          secretKey: Redacted.make(server.secretKey),
          baseUrl: server.url,
          flushInterval: "20 millis",
          retryInterval: "20 millis",
          ...options
        })
      ),
      Effect.provide(Logger.replace(Logger.defaultLogger, logger)),
      Effect.as(lines)
    )
  })

const ids = (server: LangfuseServer.LangfuseServer): Made =>
  new Set(server.observations().map(({ id, traceId }) => `${traceId}/${id}`))

const sameIds = (server: LangfuseServer.LangfuseServer, made: Made): void => {
  assert.deepStrictEqual([...ids(server)].sort(), [...made].sort())
  assert.deepStrictEqual(server.complaints(), [])
}

/** The next process, which makes nothing of its own. */
const nextLife = (server: LangfuseServer.LangfuseServer, made: Made, options: Partial<Langfuse.Options> = {}) =>
  life(server, server.arrived(made.size), options)

/** The names as they came, of those side by side one. */
const order = (server: LangfuseServer.LangfuseServer): ReadonlyArray<string> =>
  server
    .observations()
    .map(({ name }) => name)
    .filter((name, index, names) => name !== names[index - 1])

type Options = Partial<Langfuse.Options>

const [embedded, postgres] = TestDatabases.backends

/** Where the outbox is: in a folder of each test's own, or in the database that the tests share. */
const places: ReadonlyArray<readonly [string, Layer.Layer<never>, Effect.Effect<Options, never, Scope.Scope>]> = [
  [
    "a folder",
    Layer.empty,
    Effect.map(TestDatabases.temporaryFolder, (path) => ({ outbox: { folder: join(path, "outbox") } }))
  ],
  ["the database", Layer.map(embedded?.layer ?? Layer.die("no database"), (context) => context), Effect.succeed({})]
]

for (const [place, layer, optionsOf] of places) {
  describe(`with an outbox in ${place}`, () => {
    layered(layer, { excludeTestServices: true })((it) => {
      it.scoped("Langfuse is down for the whole run: the next process delivers all, in order", () =>
        Effect.gen(function* () {
          const server = yield* LangfuseServer.make()
          const options = yield* optionsOf
          const made: Made = new Set()
          yield* server.down
          const lines = yield* life(
            server,
            Effect.forEach([0, 1, 2, 3], (n) =>
              Effect.zipRight(make(made, 250, `part ${n}`), Effect.sleep("30 millis"))
            ),
            options
          )
          assert.strictEqual(lines.length, 2)
          assert.strictEqual(lines[0], `WARN Langfuse at ${server.url} takes no observations: ECONNREFUSED`)
          assert.include(
            lines[1],
            `WARN 1000 observations did not reach Langfuse at ${server.url}: ECONNREFUSED; they wait in`
          )
          yield* server.up
          assert.deepStrictEqual(yield* nextLife(server, made, options), [])
          sameIds(server, made)
          assert.strictEqual(server.observations().length, 1000)
          assert.deepStrictEqual(order(server), ["part 0", "part 1", "part 2", "part 3"])
        })
      )

      it.scoped("Langfuse comes back in the middle of the run: nothing overtakes what waits", () =>
        Effect.gen(function* () {
          const server = yield* LangfuseServer.make()
          const made: Made = new Set()
          const said: Array<string> = []
          yield* server.down
          const lines = yield* life(
            server,
            Effect.gen(function* () {
              yield* make(made, 300, "1")
              yield* Effect.repeat(Effect.sleep("10 millis"), { until: () => said.length > 0 })
              yield* make(made, 300, "2")
              yield* server.up
              yield* make(made, 300, "3")
              yield* server.arrived(900)
            }),
            yield* optionsOf,
            said
          )
          assert.deepStrictEqual(lines, [
            `WARN Langfuse at ${server.url} takes no observations: ECONNREFUSED`,
            `INFO Langfuse at ${server.url} takes observations again`
          ])
          sameIds(server, made)
          assert.deepStrictEqual(order(server), ["1", "2", "3"])
        })
      )

      it.scoped("Langfuse is down at the end of the run", () =>
        Effect.gen(function* () {
          const server = yield* LangfuseServer.make()
          const options = yield* optionsOf
          const made: Made = new Set()
          yield* life(
            server,
            Effect.gen(function* () {
              yield* make(made, 100)
              yield* server.arrived(100)
              yield* server.down
              yield* Observation.score({ name: "s", value: 1 }).pipe(Effect.zipRight(make(made, 50)))
            }),
            options
          )
          yield* server.up
          yield* nextLife(server, made, options)
          sameIds(server, made)
        })
      )

      it.scoped("Langfuse flaps: takes, fails, breaks, cuts, takes without saying so", () =>
        Effect.gen(function* () {
          const server = yield* LangfuseServer.make()
          const options = yield* optionsOf
          const made: Made = new Set()
          const turns = ["take", { status: 503 }, "reset", "cut", "lose", { status: 408 }, { status: 500 }] as const
          server.behave((request) => turns[request % turns.length] ?? "take")
          yield* life(
            server,
            Effect.forEach(Array.from({ length: 10 }), () =>
              Effect.zipRight(make(made, 40, "work", "x".repeat(500)), Effect.sleep("15 millis"))
            ),
            options
          )
          server.behave("take")
          yield* nextLife(server, made, options)
          sameIds(server, made)
        })
      )

      it.scoped("Langfuse asks for a pause: none comes sooner", () =>
        Effect.gen(function* () {
          const server = yield* LangfuseServer.make()
          const made: Made = new Set()
          let asked = 0
          let again = 0
          server.behave((request) => {
            if (request === 0) asked = performance.now()
            else if (again === 0) again = performance.now()
            return request === 0 ? { status: 429, retryAfter: "1" } : "take"
          })
          yield* life(server, Effect.zipRight(make(made, 10), server.arrived(10)), yield* optionsOf)
          assert.isAtLeast(again - asked, 990)
          sameIds(server, made)
        })
      )

      it.scoped("requests above the server's limit are halved; what is too large alone is named", () =>
        Effect.gen(function* () {
          const server = yield* LangfuseServer.make({ maxBytes: 30_000 })
          const options = yield* optionsOf
          const made: Made = new Set()
          const giant: Made = new Set()
          const lines = yield* life(
            server,
            Effect.all([
              make(made, 100, "work", "x".repeat(700)),
              make(giant, 1, "giant", "y".repeat(40_000)),
              make(made, 50)
            ]),
            options
          )
          sameIds(server, made)
          assert.strictEqual(lines.length, 1)
          assert.strictEqual(
            lines[0],
            `WARN Langfuse at ${server.url} refused the observation "giant" (${[...giant][0]}): HTTP 413 {"message":"too large"}; it is set aside in the outbox`
          )
        })
      )

      it.scoped("one bad observation in 1,000 is set aside and named, and a bad score", () =>
        Effect.gen(function* () {
          const server = yield* LangfuseServer.make({ poison: (name) => name === "bad" })
          const made: Made = new Set()
          const bad: Made = new Set()
          const lines = yield* life(
            server,
            Effect.gen(function* () {
              yield* make(made, 400)
              yield* make(bad, 1, "bad")
              yield* make(made, 599)
              const score = Effect.all([
                Observation.score({ name: "good", value: 1 }),
                Observation.score({ name: "bad", value: 2 }),
                Observation.score({ name: "good", value: 3 })
              ])
              yield* Effect.withSpan(score, "scored")
            }),
            yield* optionsOf
          )
          const scored = server.observations().find(({ name }) => name === "scored")
          sameIds(server, new Set([...made, `${scored?.traceId}/${scored?.id}`]))
          assert.deepStrictEqual(
            server.scores().map(({ value }) => value),
            [1, 3]
          )
          assert.strictEqual(lines.length, 2)
          assert.include(lines.join("\n"), `refused the observation "bad" (${[...bad][0]}): HTTP 400`)
          assert.match(lines.join("\n"), /refused the score "bad" \([0-9a-f-]{36}\): HTTP 400/)
          // by halves, and not one by one
          assert.isBelow(server.requests(), 40)
        })
      )

      it.scoped("many bad ones side by side take no good one with them", () =>
        Effect.gen(function* () {
          const server = yield* LangfuseServer.make({ poison: (name) => name === "bad" })
          const made: Made = new Set()
          const lines = yield* life(server, Effect.all([make(new Set(), 18, "bad"), make(made, 100)]), yield* optionsOf)
          sameIds(server, made)
          // ten by name, and where the others are
          assert.strictEqual(lines.length, 11)
          assert.include(lines.at(-1), "holdfast doctor")
        })
      )

      it.scoped("Langfuse hangs until the end, and beyond the bound", () =>
        Effect.gen(function* () {
          const server = yield* LangfuseServer.make()
          const options = yield* optionsOf
          const made: Made = new Set()
          server.behave("hang")
          yield* life(server, make(made, 600), { ...options, flushTimeout: "200 millis" })
          server.behave("take")
          yield* nextLife(server, made, options)
          sameIds(server, made)
        })
      )

      it.scoped("the connection breaks in the middle of a body", () =>
        Effect.gen(function* () {
          const server = yield* LangfuseServer.make()
          const made: Made = new Set()
          server.behave((request) => (request < 2 ? "cut" : "take"))
          yield* life(
            server,
            Effect.zipRight(make(made, 300, "work", "x".repeat(2_000)), server.arrived(300)),
            yield* optionsOf
          )
          sameIds(server, made)
        })
      )

      for (const wrong of ["publicKey", "secretKey"] as const) {
        it.scoped(`a wrong key, then the right one: ${wrong}`, () =>
          Effect.gen(function* () {
            const server = yield* LangfuseServer.make()
            const options = yield* optionsOf
            const made: Made = new Set()
            const keys =
              wrong === "publicKey" ? { publicKey: "pk-lf-wrong" } : { secretKey: Redacted.make("sk-lf-wrong-0000") }
            const lines = yield* life(server, make(made, 20), { ...options, ...keys })
            assert.include(
              lines.at(-1),
              "HTTP 401: look at LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY and LANGFUSE_BASE_URL; they wait in"
            )
            assert.strictEqual(server.observations().length, 0)
            yield* nextLife(server, made, options)
            assert.deepStrictEqual(ids(server), made)
          })
        )
      }
    })
  })
}

describe("without an outbox that works", () => {
  it.scopedLive("a folder that takes nothing: all waits in memory, and is delivered when Langfuse is back", () =>
    Effect.gen(function* () {
      const server = yield* LangfuseServer.make()
      const path = join(yield* TestDatabases.temporaryFolder, "outbox")
      writeFileSync(path, "a file, where a folder should be")
      const made: Made = new Set()
      yield* server.down
      const lines = yield* life(
        server,
        Effect.gen(function* () {
          yield* make(made, 1_200)
          yield* Effect.sleep("100 millis")
          yield* server.up
          yield* server.arrived(1_200)
        }),
        { outbox: { folder: path } }
      )
      sameIds(server, made)
      assert.strictEqual(
        lines.filter((line) => line.includes("cannot be used, what waits is kept in memory")).length,
        1
      )
    })
  )

  it.scopedLive("a database that goes: the same", () =>
    Effect.gen(function* () {
      const server = yield* LangfuseServer.make()
      const database = yield* (postgres ?? assert.fail("no server")).create
      const made: Made = new Set()
      const lines = yield* Effect.gen(function* () {
        yield* Effect.flatMap(SqlClient.SqlClient, (sql) => sql`select 1`)
        return yield* life(
          server,
          Effect.gen(function* () {
            yield* make(made, 10)
            yield* server.arrived(10)
            yield* Effect.withTracerEnabled(TestDatabases.drop(database), false)
            yield* server.down
            yield* make(made, 600)
            yield* Effect.sleep("100 millis")
            yield* server.up
            yield* server.arrived(610)
          })
        )
      }).pipe(Effect.provide(database.layer))
      sameIds(server, made)
      assert.strictEqual(
        lines.filter((line) => line.includes("cannot be used, what waits is kept in memory")).length,
        1
      )
    })
  )

  it.scopedLive("what is lost in the end is counted", () =>
    Effect.gen(function* () {
      const server = yield* LangfuseServer.make()
      yield* server.down
      const lines = yield* life(server, make(new Set(), 30), { outbox: false, maxQueue: 20 })
      assert.deepStrictEqual(lines, [
        "WARN Observations are lost: more than 20 wait in memory",
        `WARN 30 observations did not reach Langfuse at ${server.url}: ECONNREFUSED`
      ])
    })
  )
})

describe("compression", () => {
  for (const [gzip, expected] of [
    ["take", ["gzip", "gzip"]],
    [415, ["gzip", "identity", "identity"]],
    [400, ["gzip", "identity", "identity"]]
  ] as const) {
    it.scopedLive(`a server that answers gzip with ${gzip}`, () =>
      Effect.gen(function* () {
        const server = yield* LangfuseServer.make({ gzip })
        const made: Made = new Set()
        yield* life(
          server,
          Effect.gen(function* () {
            yield* make(made, 50)
            yield* server.arrived(50)
            yield* make(made, 50)
            yield* server.arrived(100)
          }),
          { compression: "gzip", outbox: false }
        )
        sameIds(server, made)
        assert.deepStrictEqual(server.encodings(), expected)
      })
    )
  }

  it.scopedLive("none on the way to the same machine, unless asked", () =>
    Effect.gen(function* () {
      const server = yield* LangfuseServer.make()
      yield* life(server, make(new Set(), 50), { outbox: false })
      assert.deepStrictEqual(server.encodings(), ["identity"])
    })
  )
})

describe("a second target", () => {
  it.scopedLive("has a queue and an outbox of its own", () =>
    Effect.gen(function* () {
      const [server, other] = yield* Effect.all([LangfuseServer.make(), LangfuseServer.make()])
      const path = yield* TestDatabases.temporaryFolder
      const made: Made = new Set()
      const options: Options = {
        outbox: { folder: path },
        otlp: {
          endpoint: `${other.url}/api/public/otel/v1/traces`,
          headers: {
            authorization: Redacted.make(`Basic ${btoa(`${other.publicKey}:${other.secretKey}`)}`),
            "x-langfuse-public-key": Redacted.make(other.publicKey)
          }
        }
      }
      yield* server.down
      yield* life(server, make(made, 100), options)
      sameIds(other, made)
      yield* server.up
      yield* other.down
      yield* life(server, Effect.zipRight(make(made, 20), server.arrived(120)), options)
      sameIds(server, made)
      yield* other.up
      yield* life(server, other.arrived(120), { ...options, publicKey: undefined, secretKey: undefined })
      sameIds(other, made)
      assert.strictEqual(server.observations().length, 120)
    })
  )
})
