/** Three processes on one Postgres: what one finds out all know, and what one cannot give back all get back. */

import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Redacted from "effect/Redacted"
import * as Ref from "effect/Ref"
import * as Database from "../../src/database/Database.js"
import * as CircuitBreakerSql from "../../src/resilience/CircuitBreaker/Sql.js"
import * as CircuitBreaker from "../../src/resilience/CircuitBreaker.js"
import * as TestDatabases from "../support/databases.js"
import * as PostgresServer from "../support/postgresServer.js"
import * as processes from "../support/processes.js"
import { transient } from "./support.js"

const postgres = TestDatabases.backends.find(({ name }) => name === "postgres")

type Order = "ok" | "fail" | "hang" | "many" | "finish" | "state" | "open" | "watch" | "reset" | "load" | "count"

const started = (env: Readonly<Record<string, string>>, permits: number) =>
  Effect.gen(function* () {
    const file = new URL("./fixtures/fleet.ts", import.meta.url)
    const child = yield* processes.start(file, { env: { ...env, PERMITS: String(permits) } })
    yield* child.saw("listens on")
    const port = /listens on (\d+);/.exec(child.output())?.[1]
    const order = (what: Order) =>
      Effect.promise((signal) => fetch(`http://127.0.0.1:${port}/${what}`, { signal }).then((answer) => answer.text()))
    return { ...child, order, moved: (from: string, to: string) => child.saw(`moved ${from} ${to};`) }
  })

const threeOn = (env: Readonly<Record<string, string>>, permits: number) => {
  const one = started(env, permits)
  return Effect.all([one, one, one], { concurrency: 3 })
}

const three = (permits: number, resetAfter = 300) =>
  Effect.gen(function* () {
    assert(postgres !== undefined)
    const { env } = yield* postgres.create
    return yield* threeOn({ ...env, RESET_AFTER: String(resetAfter) }, permits)
  })

/** A server that may be stopped without taking anything from other tests. */
const ownServer = Effect.acquireRelease(
  Effect.promise(() => PostgresServer.start()),
  (server) => Effect.promise(() => server.stop())
)

/** Waits for what must come in a moment, and says what did not. */
const soon = <A, E, R>(what: string, effect: Effect.Effect<A, E, R>) =>
  Effect.timeoutFail(effect, { duration: "20 seconds", onTimeout: () => new Error(`never saw: ${what}`) })

/** Asks again until the answer is there. */
const until = (order: Effect.Effect<string>, wanted: string) =>
  Effect.repeat(Effect.delay(order, "20 millis"), { until: (answer) => answer === wanted })

describe("CircuitBreaker on one Postgres", () => {
  it.scopedLive(
    "an opening is seen in all; a process that is killed gives its probe's permit back",
    () =>
      Effect.gen(function* () {
        const [a, b, c] = yield* three(1)
        for (let i = 0; i < 3; i++) assert.strictEqual(yield* a.order("fail"), "failed")
        assert.strictEqual(yield* a.order("state"), "open")
        yield* soon("an opening elsewhere", Effect.all([b.moved("closed", "open"), c.moved("closed", "open")]))

        // one holds the only permit there is
        const hanging = yield* Effect.fork(
          Effect.repeat(b.order("hang"), { until: (answer) => answer !== "open" && answer !== "half-open" })
        )
        yield* soon("a probe", b.saw("hanging;"))
        for (const { order } of [a, c]) assert.include(["open", "half-open"], yield* order("ok"))
        yield* Fiber.interruptFork(hanging)
        yield* b.kill("SIGKILL")
        assert.strictEqual((yield* b.exited).signal, "SIGKILL")

        assert.strictEqual(yield* soon("a permit that came back", until(a.order("ok"), "answer")), "answer")
        yield* soon("a closing", Effect.all([a.moved("half-open", "closed"), c.moved("half-open", "closed")]))
        assert.strictEqual(yield* c.order("ok"), "answer")
        for (const { output } of [a, c]) {
          const moves = [...output().matchAll(/moved (.*);/g)].map(([, move]) => move)
          assert.deepStrictEqual(moves, ["closed open", "open half-open", "half-open closed"])
        }
      }),
    120_000
  )

  it.scopedLive(
    "sixty calls at once in three processes are two probes",
    () =>
      Effect.gen(function* () {
        const [a, b, c] = yield* three(2)
        for (let i = 0; i < 3; i++) yield* c.order("fail")
        yield* soon("an opening elsewhere", Effect.all([a.moved("closed", "open"), b.moved("closed", "open")]))
        yield* Effect.sleep("400 millis")
        const all = yield* Effect.forEach([a, b, c], ({ order }) => order("many"), { concurrency: 3 })
        assert.strictEqual(
          all.map(Number).reduce((sum, each) => sum + each, 0),
          2
        )
        yield* Effect.forEach([a, b, c], ({ order }) => order("finish"))
        yield* soon(
          "a closing",
          Effect.forEach([a, b, c], ({ order }) => until(order("state"), "closed"), { concurrency: 3 })
        )
      }),
    120_000
  )

  it.scopedLive(
    "an opening in one rejects in all within a second",
    () =>
      Effect.gen(function* () {
        const [a, b, c] = yield* three(1, 60_000)
        const took: Array<number> = []
        for (let n = 0; n < 7; n++) {
          const watching = yield* Effect.fork(Effect.all([b.order("watch"), c.order("watch")], { concurrency: 2 }))
          const opened = Number(yield* a.order("open"))
          const rejected = yield* soon("a rejection elsewhere", Fiber.join(watching))
          took.push(Math.max(...rejected.map(Number)) - opened)
          yield* a.order("reset")
          yield* soon(
            "a closing",
            Effect.forEach([b, c], ({ order }) => until(order("state"), "closed"), { concurrency: 2 })
          )
        }
        // the middle one of seven: one of them alone would say how busy the machine was just then
        took.sort((one, other) => one - other)
        assert.isAtMost(took[3] ?? Number.NaN, 1000, `milliseconds: ${took.join(", ")}`)
      }),
    120_000
  )

  it.scopedLive(
    "one process killed, the server restarted under load: no call is lost, each goes on by itself and says so, and then they share again",
    () =>
      Effect.gen(function* () {
        const server = yield* ownServer
        const [a, b, c] = yield* threeOn({ DATABASE_URL: server.url }, 1)
        type Process = typeof a
        const count = ({ order }: Process) =>
          Effect.map(order("count"), (text): { readonly calls: number; readonly lost: number } => JSON.parse(text))
        const said = ({ output }: Process, what: string, times: number) =>
          Effect.repeat(
            Effect.delay(
              Effect.sync(() => output().split(what).length - 1),
              "20 millis"
            ),
            { until: (seen) => seen >= times }
          )
        const moved = (process: Process, times: number) => said(process, "moved closed open;", times)
        yield* Effect.forEach([a, b, c], ({ order }) => order("load"))
        yield* a.order("open")
        yield* soon("an opening elsewhere", Effect.all([moved(b, 1), moved(c, 1)]))
        yield* a.order("reset")
        yield* soon("a closing", Effect.all([b.moved("open", "closed"), c.moved("open", "closed")]))

        yield* c.kill("SIGKILL")
        assert.strictEqual((yield* c.exited).signal, "SIGKILL")

        for (const [index, immediate] of [false, true].entries()) {
          const times = index + 1
          yield* Effect.promise(() => server.halt({ immediate }))
          yield* soon(
            "that they go on by themselves",
            Effect.forEach([a, b], (each) => said(each, "go by what this process knows", times))
          )
          // what one finds out meanwhile only it knows
          yield* a.order("open")
          assert.strictEqual(yield* a.order("state"), "open")
          assert.strictEqual(yield* b.order("ok"), "answer")
          const before = yield* Effect.forEach([a, b], count)
          yield* soon(
            "calls that go on",
            Effect.forEach([a, b], (each, n) =>
              Effect.repeat(Effect.delay(count(each), "20 millis"), {
                until: ({ calls }) => calls >= (before[n]?.calls ?? 0) + 200
              })
            )
          )
          assert.strictEqual(yield* b.order("state"), "closed")

          yield* Effect.promise(() => server.resume())
          yield* soon("the opening elsewhere", moved(b, times + 1))
          yield* soon(
            "that they share again",
            Effect.forEach([a, b], (each) => said(each, "share their state again", times))
          )
          yield* soon("a probe", until(b.order("ok"), "answer"))
          yield* soon(
            "a closing",
            Effect.forEach([a, b], ({ order }) => until(order("state"), "closed"))
          )
        }
        for (const { calls, lost } of yield* Effect.forEach([a, b], count)) {
          assert.isAbove(calls, 400)
          assert.strictEqual(lost, 0)
        }
      }),
    180_000
  )

  it.scopedLive(
    "connections that are killed under load fail no call",
    () =>
      Effect.gen(function* () {
        assert(postgres !== undefined)
        const database = yield* postgres.create
        const store = CircuitBreakerSql.layerStoreSql().pipe(Layer.provide(Layer.fresh(database.layer)))
        const registry = yield* Effect.provide(
          CircuitBreaker.Registry,
          yield* Layer.build(CircuitBreaker.layerRegistryShared({ pollInterval: 10 }).pipe(Layer.provide(store)))
        )
        const steady = registry.get("steady")
        const flapping = registry.get("flapping", { failureThreshold: 1, successThreshold: 1, resetAfter: 5 })
        const calls = yield* Ref.make(0)
        // a closed breaker's call never leaves the fiber's own step, whatever the store does
        const load = Effect.repeatN(
          Effect.zipRight(
            Effect.sync(() => assert.strictEqual(Effect.runSync(steady.protect(Effect.succeed(1))), 1)),
            Effect.zipRight(
              Ref.update(calls, (count) => count + 1),
              Effect.sleep("2 millis")
            )
          ),
          400
        )
        const turmoil = Effect.repeatN(
          Effect.gen(function* () {
            const exit = yield* Effect.either(flapping.protect(Effect.fail(transient())))
            assert(exit._tag === "Left")
            yield* Effect.sleep("8 millis")
            yield* Effect.ignore(flapping.protect(Effect.succeed(1)))
          }),
          60
        )
        const kills = Effect.flatMap(SqlClient.SqlClient, (sql) =>
          Effect.repeatN(
            Effect.zipLeft(
              sql`select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid()`,
              Effect.sleep("15 millis")
            ),
            40
          )
        ).pipe(Effect.provide(Layer.fresh(database.layer)))
        yield* Effect.all([load, turmoil, kills], { concurrency: 3 })
        assert.strictEqual(yield* Ref.get(calls), 401)
        // and it shares again
        const other = yield* Effect.provide(
          CircuitBreaker.Registry,
          yield* Layer.build(Layer.fresh(CircuitBreaker.layerRegistryShared()).pipe(Layer.provide(store)))
        )
        yield* steady.isolate
        const seen = Effect.repeat(Effect.delay(other.get("steady").state, "20 millis"), {
          until: (state) => state === "isolated"
        })
        yield* soon("an isolation elsewhere", seen)
      }).pipe(Logger.withMinimumLogLevel(LogLevel.None)),
    120_000
  )

  it.scopedLive(
    "while the database is away each goes on by itself; when it is back all know what one found out",
    () =>
      Effect.gen(function* () {
        assert(postgres !== undefined)
        const database = yield* postgres.create
        const name = new URL(database.url ?? "").pathname.slice(1)
        const server = yield* TestDatabases.serverUrl
        const administer = (statement: string) =>
          Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(statement)).pipe(
            Effect.provide(Database.layerPostgres({ url: Redacted.make(server), maxConnections: 1 }))
          )
        const registry = Effect.gen(function* () {
          const store = CircuitBreakerSql.layerStoreSql().pipe(Layer.provide(Layer.fresh(database.layer)))
          const shared = Layer.fresh(CircuitBreaker.layerRegistryShared()).pipe(Layer.provide(Layer.fresh(store)))
          const own = yield* Effect.provide(CircuitBreaker.Registry, yield* Layer.build(shared))
          return own.get("model", { failureThreshold: 1, resetAfter: "1 hour" })
        })
        const [a, b] = yield* Effect.all([registry, registry])
        const becomes = (breaker: CircuitBreaker.CircuitBreaker, wanted: CircuitBreaker.State) =>
          Effect.repeat(Effect.delay(breaker.state, "20 millis"), { until: (state) => state === wanted })
        yield* a.isolate
        yield* soon("an isolation elsewhere", becomes(b, "isolated"))
        yield* a.release
        yield* soon("a release elsewhere", becomes(b, "closed"))

        yield* administer(`alter database ${name} with allow_connections false`)
        yield* administer(`select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name}'`)
        for (const breaker of [a, b]) {
          for (let i = 0; i < 50; i++) assert.strictEqual(Effect.runSync(breaker.protect(Effect.succeed(i))), i)
        }
        yield* Effect.exit(a.protect(Effect.fail(transient())))
        assert.strictEqual((yield* Effect.flip(a.protect(Effect.void)))._tag, "CircuitBreakerOpenError")
        yield* Effect.sleep("600 millis")
        assert.deepStrictEqual([yield* a.state, yield* b.state], ["open", "closed"])

        yield* administer(`alter database ${name} with allow_connections true`)
        yield* soon("the opening elsewhere", becomes(b, "open"))
      }).pipe(Logger.withMinimumLogLevel(LogLevel.None)),
    120_000
  )
})
