import { existsSync } from "node:fs"
import { connect, createServer } from "node:net"
import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Database from "../../src/database/Database.js"
import * as Transaction from "../../src/database/Transaction.js"
import * as TestDatabases from "../support/databases.js"
import * as PostgresServer from "../support/postgresServer.js"
import * as Processes from "../support/processes.js"

const server = Effect.gen(function* () {
  const [backend] = TestDatabases.backends.filter((backend) => backend.name === "postgres")
  if (backend === undefined) return yield* Effect.dieMessage("no server")
  const database = yield* backend.create
  return { ...database, url: database.url ?? "" }
})

const sleep = (millis: number) => Effect.promise(() => new Promise((resolve) => setTimeout(resolve, millis)))

const layer = (url: string, options: Partial<Database.PostgresOptions> = {}) =>
  Database.layerPostgres({ url: Redacted.make(url), ...options })

const refusal = (url: string, options: Partial<Database.PostgresOptions> = {}) =>
  Effect.flip(Effect.scoped(Layer.build(layer(url, options))))

const backendPid = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => sql<{ pid: number }>`select pg_backend_pid() as pid`
).pipe(Effect.map(([row]) => row?.pid ?? -1))

/** Kills all connections of a database but the killer's own. From a fiber of its own: inside a transaction it would run on its connection. */
const terminate = (url: string) => Effect.promise(() => Effect.runPromise(terminateFrom(url)))

const terminateFrom = (url: string) =>
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => sql`select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and pid <> pg_backend_pid()`
  ).pipe(Effect.provide(layer(url, { maxConnections: 1 })))

describe("a connection that is killed", () => {
  it.scopedLive("while idle: the process lives, and the pool makes another", () =>
    Effect.gen(function* () {
      const { url } = yield* server
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const before = yield* backendPid
        yield* terminate(url)
        yield* sleep(50)
        assert.notStrictEqual(yield* Transaction.retryTransient(backendPid), before)
        assert.deepStrictEqual(yield* sql`select 1 as one`, [{ one: 1 }])
      }).pipe(Effect.provide(layer(url)))
    })
  )

  it.scopedLive("in a transaction: a SqlError worth another try, no defect, and nothing was written", () =>
    Effect.gen(function* () {
      const { url } = yield* server
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* sql`create table survived (n int)`
        const body = sql`insert into survived values (1)`.pipe(
          Effect.zipRight(terminate(url)),
          Effect.zipRight(sleep(20))
        )
        const between = yield* Effect.flip(sql.withTransaction(Effect.zipRight(body, sql`select 1`)))
        assert.isTrue(between instanceof SqlError && Transaction.isTransient(between), String(between))
        const atCommit = yield* Effect.flip(sql.withTransaction(body))
        assert.isTrue(atCommit instanceof SqlError && Transaction.isTransient(atCommit), String(atCommit))
        const own = yield* Effect.flip(sql.withTransaction(Effect.zipRight(body, Effect.fail("mine"))))
        assert.strictEqual(own, "mine")
        let tries = 0
        yield* sql
          .withTransaction(
            Effect.zipRight(
              Effect.suspend(() => (tries++ < 2 ? body : Effect.void)),
              sql`insert into survived values (2)`
            )
          )
          .pipe(Transaction.retryTransient())
        assert.deepStrictEqual(yield* sql`select n from survived`, [{ n: 2 }])
      }).pipe(Effect.provide(layer(url)))
    })
  )

  it.scopedLive("in a process of its own: it ends by itself when its work is done", () =>
    Effect.gen(function* () {
      const { env, url } = yield* server
      const process = yield* Processes.start(new URL("./fixtures/open.ts", import.meta.url), { args: ["hold"], env })
      yield* process.saw("open")
      yield* terminate(url)
      yield* sleep(100)
      yield* process.kill("SIGTERM")
      const exit = yield* process.exited
      assert.isNull(exit.signal)
      assert.strictEqual(process.output(), "open\n")
    })
  )
})

describe("limits", () => {
  it.scopedLive("the server cancels a statement that takes too long", () =>
    Effect.gen(function* () {
      const { url } = yield* server
      const slow = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`select pg_sleep(10)`)
      const error = yield* Effect.flip(Effect.provide(slow, layer(url, { statementTimeout: "100 millis" })))
      assert.strictEqual(Transaction.code(error), "57014")
      const shown = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`show statement_timeout`.values)
      assert.deepStrictEqual(yield* Effect.provide(shown, layer(url)), [["1min"]])
      assert.deepStrictEqual(yield* Effect.provide(shown, layer(url, { statementTimeout: 0 })), [["0"]])
      const own = `${url}?statement_timeout=2000`
      assert.deepStrictEqual(yield* Effect.provide(shown, layer(own)), [["2s"]])
    })
  )

  it.scopedLive("a pooler that takes no statement timeout is used without", () =>
    Effect.gen(function* () {
      const { url } = yield* server
      const address = new URL(url)
      const target = Number(address.port)
      // what PgBouncer does: it refuses the parameter, and passes all else through
      const pooler = createServer((client) => {
        client.on("error", () => {})
        client.once("data", (startup) => {
          if (startup.includes("statement_timeout")) {
            const fields = "SFATAL\0C08P01\0Munsupported startup parameter: statement_timeout\0\0"
            const head = Buffer.from([0x45, 0, 0, 0, fields.length + 4])
            client.end(Buffer.concat([head, Buffer.from(fields)]))
            return
          }
          const upstream = connect(target, "127.0.0.1")
          upstream.on("error", () => client.destroy())
          upstream.write(startup)
          client.pipe(upstream)
          upstream.pipe(client)
        })
      })
      yield* Effect.promise(() => new Promise<void>((resolve) => pooler.listen(0, "127.0.0.1", resolve)))
      const own = pooler.address()
      address.port = String(typeof own === "object" ? own?.port : "")
      assert.isAbove(yield* Effect.provide(backendPid, layer(address.toString())), 0)
      pooler.close()
    })
  )

  it.scopedLive("an exhausted pool fails in time", () =>
    Effect.gen(function* () {
      const { url } = yield* server
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const holder = yield* Effect.fork(sql.withTransaction(sleep(1500)))
        yield* sleep(50)
        const error = yield* Effect.flip(sql`select 1`)
        assert.isTrue(Transaction.isTransient(error), String(error.cause))
        yield* Fiber.join(holder)
      }).pipe(Effect.provide(layer(url, { maxConnections: 1, connectTimeout: "300 millis" })))
    })
  )
})

describe("a server that cannot be had", () => {
  it.live("unreachable: says where without the password, and what to do", () =>
    Effect.gen(function* () {
      const error = yield* refusal("postgres://user:s3cr3t-pw@127.0.0.1:1/db", { connectAttempts: 2 })
      assert.isTrue(error._tag === "DatabaseError" && error.reason === "Unreachable")
      assert.strictEqual(
        error.message,
        "The database at postgres://user@127.0.0.1:1/db cannot be reached (2 attempts; the last: connect ECONNREFUSED 127.0.0.1:1). Start it, or correct its URL."
      )
      assert.notInclude(Cause.pretty(Cause.fail(error)) + JSON.stringify(error), "s3cr3t")
    })
  )

  it.live("silent: gives up in time", () =>
    Effect.gen(function* () {
      const silent = createServer(() => {})
      yield* Effect.promise(() => new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve)))
      const address = silent.address()
      const port = typeof address === "object" ? address?.port : undefined
      const started = performance.now()
      const error = yield* refusal(`postgres://u@127.0.0.1:${port}/db`, { connectAttempts: 2, connectTimeout: 200 })
      assert.isTrue(error._tag === "DatabaseError" && error.reason === "Unreachable", String(error))
      assert.isBelow(performance.now() - started, 3000)
      silent.close()
    })
  )

  it.scopedLive("no such database: refused at once", () =>
    Effect.gen(function* () {
      const { url } = yield* server
      const error = yield* refusal(`${url}_not`)
      assert.isTrue(error._tag === "DatabaseError" && error.reason === "Refused", String(error))
      assert.match(error.message, /refused the connection: database ".*_not" does not exist\. Correct the user/)
    })
  )

  const malformed: ReadonlyArray<readonly [string, string]> = [
    ["localhost", "it is no URL"],
    ["mysql://u:s3cr3t@h/db", "it begins with mysql: where postgres: belongs"],
    ["postgres://u:s3c/r3t@h/db", "it is no URL"],
    ["postgres://u:12/s3cr3t@h/db", "must be percent-encoded"],
    ["postgres://u:12#s3cr3t@h/db", "must be percent-encoded"],
    ["postgres://u:12?s3cr3t@h/db", "must be percent-encoded"],
    ["postgres://u:s3cr3t%zz@h/db", "it is no URL"],
    ["postgres://u:s3cr3t@h:99999/db", "it is no URL"]
  ]
  for (const [url, problem] of malformed) {
    it.effect(`malformed: ${url}`, () =>
      Effect.gen(function* () {
        const provider = ConfigProvider.fromMap(new Map([["DATABASE_URL", url]]))
        const build = Effect.scoped(Layer.build(Database.layer)).pipe(Effect.withConfigProvider(provider))
        const error = yield* Effect.flip(build)
        assert.strictEqual(error._tag, "ConfigurationError")
        assert.include(error.message, problem)
        assert.match(error.message, /^DATABASE_URL cannot be used: .* It takes a URL such as postgres:/)
        assert.notInclude(error.message + JSON.stringify(error), "s3c")
      })
    )
  }
})

describe("settings", () => {
  const read = (entries: Record<string, string>) =>
    Database.config.pipe(Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(entries)))))

  it.effect("an empty variable counts as one that is not set", () =>
    Effect.gen(function* () {
      const defaults = yield* read({})
      assert.strictEqual(defaults.dataDir, ".holdfast")
      assert.isUndefined(defaults.url)
      assert.deepStrictEqual(
        yield* read({ DATABASE_URL: " ", HOLDFAST_DATA_DIR: "", HOLDFAST_DATABASE_POOL_SIZE: "" }),
        defaults
      )
    })
  )

  const wrong: ReadonlyArray<readonly [string, string, string]> = [
    ["HOLDFAST_DATABASE_POOL_SIZE", "0", "a whole number above 0"],
    ["HOLDFAST_DATABASE_POOL_SIZE", "ten", "a whole number above 0"],
    ["HOLDFAST_DATABASE_CONNECT_ATTEMPTS", "1.5", "a whole number above 0"],
    ["HOLDFAST_DATABASE_CONNECT_TIMEOUT", "0", "a duration above 0, such as 5 seconds"],
    ["HOLDFAST_DATABASE_STATEMENT_TIMEOUT", "soon", "a duration, such as 60 seconds, or 0 for none"]
  ]
  for (const [name, value, takes] of wrong) {
    it.effect(`${name}=${value}`, () =>
      Effect.gen(function* () {
        const provider = ConfigProvider.fromMap(new Map([[name, value]]))
        const error = yield* Effect.flip(
          Effect.scoped(Layer.build(Database.layer)).pipe(Effect.withConfigProvider(provider))
        )
        assert.strictEqual(error.message, `${name} cannot be used: it is "${value}". It takes ${takes}.`)
      })
    )
  }
})

describe("the suite's own server", () => {
  it.live("starts from a copy of the binaries, and leaves nothing behind", () =>
    Effect.gen(function* () {
      const own = yield* Effect.promise(() => PostgresServer.start({ copy: true }))
      assert.isAbove(yield* Effect.provide(backendPid, layer(own.url)), 0)
      yield* Effect.promise(() => own.stop())
      const gone = yield* Effect.exit(Effect.provide(backendPid, layer(own.url, { connectAttempts: 1 })))
      assert.isTrue(Exit.isFailure(gone))
      assert.isFalse(existsSync(own.folder))
    })
  )

  it.scopedLive("ends with a run that is killed, and the next removes its folder", () =>
    Effect.gen(function* () {
      const run = yield* Processes.start(new URL("./fixtures/server.ts", import.meta.url))
      yield* run.saw("started")
      const [, url = "", folder = ""] = /started (\S+) (\S+)\n/.exec(run.output()) ?? []
      assert.isAbove(yield* Effect.provide(backendPid, layer(url)), 0)
      yield* run.kill("SIGKILL")
      yield* run.exited
      const unreachable = Effect.flip(Effect.provide(backendPid, layer(url, { connectAttempts: 1 })))
      yield* Effect.retry(unreachable, { times: 50, schedule: Schedule.spaced("100 millis") })
      yield* Effect.promise(() => PostgresServer.removeLeftovers())
      assert.isFalse(existsSync(folder))
    })
  )
})
