/** What becomes of statements when the network, the server or its address does not hold. */
import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Database from "../../src/database/Database.js"
import * as Transaction from "../../src/database/Transaction.js"
import * as TestDatabases from "../support/databases.js"
import * as FaultProxy from "../support/faultProxy.js"

const server = Effect.gen(function* () {
  const [backend] = TestDatabases.backends.filter((backend) => backend.name === "postgres")
  if (backend === undefined) return yield* Effect.dieMessage("no server")
  const database = yield* backend.create
  return database.url ?? ""
})

const layer = (url: string, options: Partial<Database.PostgresOptions> = {}) =>
  Database.layerPostgres({ url: Redacted.make(url), ...options })

const proxy = (options: FaultProxy.Options) =>
  Effect.acquireRelease(
    Effect.promise(() => FaultProxy.start(options)),
    (proxy) => Effect.promise(proxy.close)
  )

/** Faults for the statements to come, in order; `set` begins anew. */
const script = () => {
  let faults: Array<FaultProxy.Fault | undefined> = []
  return {
    decide: () => faults.shift(),
    set: (...next: ReadonlyArray<FaultProxy.Fault | undefined>) => {
      faults = [...next]
    }
  }
}

const pid = Effect.flatMap(SqlClient.SqlClient, (sql) => sql<{ pid: number }>`select pg_backend_pid() as pid`).pipe(
  Effect.map(([row]) => row?.pid)
)

describe("a server that falls silent", () => {
  for (const fault of ["swallow", "deaf"] as const) {
    it.scopedLive(`${fault}: the statement fails, worth another try, and the connection is used no more`, () =>
      Effect.gen(function* () {
        const url = yield* server
        const { decide, set } = script()
        const through = yield* proxy({ url, decide })
        yield* Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          yield* sql`create table said (n int)`
          const before = yield* pid
          set(fault)
          const error = yield* Effect.flip(sql`insert into said values (1)`)
          assert.isTrue(error instanceof SqlError && Transaction.isTransient(error), String(error.cause))
          assert.isTrue(Transaction.mayHaveHappened(error))
          assert.match(String(error.cause), /silent for \d+ ms and is not at work/)
          assert.notStrictEqual(yield* pid, before)
          assert.lengthOf(yield* sql`select n from said`, fault === "deaf" ? 1 : 0)
          // in a transaction: no defect, and the whole can be tried again
          set(undefined, fault)
          const insert = sql`insert into said values (2)`
          yield* Transaction.retryTransient(sql.withTransaction(insert))
          assert.lengthOf(yield* sql`select n from said where n = 2`, 1)
        }).pipe(Effect.provide(layer(through.url, { silenceTimeout: "100 millis", maxConnections: 1 })))
      })
    )
  }

  it.scopedLive("one that works on a long statement is left alone", () =>
    Effect.gen(function* () {
      const url = yield* server
      const through = yield* proxy({ url })
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        assert.deepStrictEqual(yield* sql`select pg_sleep(1)::text as slept`, [{ slept: "" }])
      }).pipe(Effect.provide(layer(through.url, { silenceTimeout: "50 millis" })))
      assert.isAbove(through.accepted(), 3, "it was asked again and again")
    })
  )

  it.scopedLive("behind a pooler, which cannot be asked, the statement timeout decides", () =>
    Effect.gen(function* () {
      const url = yield* server
      // by its text: those that ask after the first one may still be under way
      const decide = (statement: Buffer) => (statement.includes("select 'no answer'") ? "swallow" : undefined)
      const through = yield* proxy({ url, decide, ownProcessIds: true })
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* sql`select pg_sleep(0.3)`
        const error = yield* Effect.flip(sql`select 'no answer'`)
        assert.match(String(error.cause), /silent for \d+ ms/)
      }).pipe(Effect.provide(layer(through.url, { silenceTimeout: "50 millis", statementTimeout: "500 millis" })))
    })
  )

  it.scopedLive("whoever is interrupted meanwhile leaves no connection behind that hangs", () =>
    Effect.gen(function* () {
      const url = yield* server
      const { decide, set } = script()
      const through = yield* proxy({ url, decide })
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const before = yield* pid
        const begun = through.statements()
        set("swallow")
        const waiting = yield* Effect.fork(sql`select 1`)
        yield* Effect.repeat(Effect.sync(through.statements), {
          until: (statements) => statements > begun,
          schedule: Schedule.spaced("5 millis")
        })
        yield* Fiber.interrupt(waiting)
        assert.notInclude(yield* Effect.all([pid, pid], { concurrency: 2 }), before)
      }).pipe(Effect.provide(layer(through.url, { silenceTimeout: 0, maxConnections: 2 })))
    })
  )
})

describe("a server at another address", () => {
  it.scopedLive("of several hosts the next is taken when one goes", () =>
    Effect.gen(function* () {
      const url = yield* server
      const first = yield* proxy({ url })
      const second = yield* proxy({ url })
      const both = url
        .replace(/@?127\.0\.0\.1:\d+/, `@127.0.0.1:${first.port},127.0.0.1:${second.port}`)
        .replace("@@", "@")
      yield* Effect.gen(function* () {
        const info = yield* Database.Info
        assert.include(info.location, `127.0.0.1:${first.port},127.0.0.1:${second.port}/`)
        yield* pid
        assert.strictEqual(second.accepted(), 0)
        yield* Effect.promise(first.down)
        yield* Transaction.retryTransient(pid)
        assert.isAbove(second.accepted(), 0)
        yield* Effect.promise(second.down)
        yield* Effect.promise(first.up)
        yield* Transaction.retryTransient(pid)
      }).pipe(Effect.provide(layer(both)))
    })
  )

  it.scopedLive("a standby is passed over, unless any will do", () =>
    Effect.gen(function* () {
      const url = yield* server
      const standby = yield* proxy({ url, parameters: { default_transaction_read_only: "on" } })
      const primary = yield* proxy({ url })
      const hosts = `@127.0.0.1:${standby.port},127.0.0.1:${primary.port}`
      const both = url.replace(/@?127\.0\.0\.1:\d+/, hosts).replace("@@", "@")
      const readOnly = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`show transaction_read_only`.values)
      assert.deepStrictEqual(yield* Effect.provide(readOnly, layer(both)), [["off"]])
      assert.isAbove(standby.accepted(), 0)
      const any = layer(`${both}?target_session_attrs=any`)
      assert.deepStrictEqual(yield* Effect.provide(readOnly, any), [["on"]])
      const error = yield* Effect.flip(Effect.provide(pid, layer(`${both}?target_session_attrs=standby`)))
      assert.include(String(error), "its target_session_attrs is none of any, read-write, primary")
      const alone = layer(`${standby.url}?target_session_attrs=primary`, { connectAttempts: 1 })
      assert.include(String(yield* Effect.flip(Effect.provide(pid, alone))), "the server is a standby")
    })
  )

  it.scopedLive("what has become a standby is left for its successor", () =>
    Effect.gen(function* () {
      const url = yield* server
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* sql`create table moved (n int)`
        const before = yield* pid
        yield* sql`set default_transaction_read_only = on`
        yield* Transaction.retryTransient(sql`insert into moved values (1)`)
        assert.notStrictEqual(yield* pid, before)
        assert.lengthOf(yield* sql`select n from moved`, 1)
      }).pipe(Effect.provide(layer(url, { maxConnections: 1 })))
    })
  )
})

describe("limits of the server's", () => {
  it.scopedLive("a statement that waits for a lock is given up, and is worth another try", () =>
    Effect.gen(function* () {
      const url = yield* server
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* sql`create table locked (n int)`
        const [held, release] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
        const holder = yield* sql`lock table locked`.pipe(
          Effect.zipRight(Deferred.succeed(held, undefined)),
          Effect.zipRight(Deferred.await(release)),
          sql.withTransaction,
          Effect.fork
        )
        yield* Deferred.await(held)
        const error = yield* Effect.flip(sql`insert into locked values (1)`)
        assert.strictEqual(Transaction.code(error), "55P03")
        assert.isTrue(Transaction.isTransient(error) && !Transaction.mayHaveHappened(error))
        yield* Deferred.succeed(release, undefined)
        yield* Fiber.join(holder)
      }).pipe(Effect.provide(layer(url, { lockTimeout: "50 millis" })))
      const shown = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`show lock_timeout`.values)
      assert.deepStrictEqual(yield* Effect.provide(shown, layer(url)), [["10s"]])
      assert.deepStrictEqual(yield* Effect.provide(shown, layer(url, { lockTimeout: 0 })), [["0"]])
    })
  )
})
