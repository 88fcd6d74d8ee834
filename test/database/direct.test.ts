/** Statements that go straight to a connection. */
import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Database from "../../src/database/Database.js"
import * as Direct from "../../src/database/internal/direct.js"
import * as Transaction from "../../src/database/Transaction.js"
import * as TestDatabases from "../support/databases.js"

const [embedded, postgres] = TestDatabases.backends
if (embedded === undefined || postgres === undefined) throw new Error("there are two kinds of database")

const one = (url: string) =>
  Database.layerPostgres({ url: Redacted.make(url), maxConnections: 1, connectTimeout: "2 seconds" })

const way = Effect.map(SqlClient.SqlClient, (sql) => {
  const direct = Direct.of(sql)
  if (direct === undefined) throw new Error("a server has such a way")
  return (text: string, parameters: ReadonlyArray<Direct.Parameter> = []) =>
    Effect.async<Direct.Answer, SqlError>((resume) =>
      direct({ name: `test_${text}`.slice(0, 60), text }, parameters, (answer) =>
        resume(answer instanceof SqlError ? Effect.fail(answer) : Effect.succeed(answer))
      )
    )
})

describe("a statement that goes straight", () => {
  it.scoped("takes text, bytes, text as bytes and nothing, and answers in text, with the number of rows", () =>
    Effect.gen(function* () {
      const { url = "" } = yield* postgres.create
      yield* Effect.gen(function* () {
        const send = yield* way
        const text = "select $1::int + 1, $2::bytea, $3::bytea, $4::text, $5::text"
        for (const sign of ["", "a\u0000", "ä€😀", "x".repeat(100_000)]) {
          const bytes = Buffer.from(sign)
          const { count, rows } = yield* send(text, ["41", bytes, { text: sign }, null, sign.replaceAll("\0", "")])
          assert.strictEqual(count, 1)
          const hex = `\\x${bytes.toString("hex")}`
          assert.deepStrictEqual(rows, [["42", hex, hex, null, sign.replaceAll("\0", "")]])
        }
        yield* send("create table numbers (n int)")
        assert.strictEqual((yield* send("insert into numbers select generate_series(1, 7)")).count, 7)
        assert.strictEqual((yield* send("delete from numbers where n > $1", ["4"])).count, 3)
        assert.deepStrictEqual(yield* send("select n from numbers where n > $1", ["9"]), { rows: [], count: 0 })
      }).pipe(Effect.provide(one(url)))
    })
  )

  it.scoped("says how it failed, and the connection goes on", () =>
    Effect.gen(function* () {
      const { url = "" } = yield* postgres.create
      yield* Effect.gen(function* () {
        const send = yield* way
        const wrong = ["select nothing", "select 1 / $1::int"] as const
        for (const text of wrong) {
          const error = yield* Effect.flip(send(text, text === wrong[1] ? ["0"] : []))
          assert.match(String(Transaction.code(error)), /^(42703|22012)$/)
        }
        assert.deepStrictEqual((yield* send("select 1")).rows, [["1"]])
      }).pipe(Effect.provide(one(url)))
    })
  )

  it.scoped("keeps its connection from nobody else", () =>
    Effect.gen(function* () {
      const { url = "" } = yield* postgres.create
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const send = yield* way
        for (let round = 0; round < 3; round++) {
          const [{ rows }, own] = yield* Effect.all([send("select 1"), sql`select 2 as n`], { concurrency: 2 })
          assert.deepStrictEqual([rows, own], [[["1"]], [{ n: 2 }]])
          yield* sql.withTransaction(sql`select 3`)
        }
      }).pipe(Effect.provide(one(url)))
    })
  )

  it.scopedLive("takes another connection where that at rest was killed", () =>
    Effect.gen(function* () {
      const { url = "" } = yield* postgres.create
      yield* Effect.gen(function* () {
        const send = yield* way
        const pid = "select pg_backend_pid()"
        const [[before] = []] = (yield* send(pid)).rows
        assert.deepStrictEqual((yield* send(pid)).rows, [[before ?? ""]])
        yield* Effect.provide(
          Effect.flatMap(SqlClient.SqlClient, (sql) => sql`select pg_terminate_backend(${Number(before)}::int, 5000)`),
          one(url)
        )
        const [[after] = []] = (yield* Effect.retry(send(pid), { times: 1 })).rows
        assert.notStrictEqual(after, before)
      }).pipe(Effect.provide(one(url)))
    })
  )

  it.live("is refused when the database is closed", () =>
    Effect.gen(function* () {
      const made = yield* Scope.make()
      const { url = "" } = yield* Scope.extend(postgres.create, made)
      const scope = yield* Scope.make()
      const send = yield* Effect.flatMap(Layer.buildWithScope(one(url), scope), (context) =>
        Effect.provide(way, context)
      )
      yield* send("select 1")
      yield* Scope.close(scope, Exit.void)
      const error = yield* Effect.flip(send("select 1"))
      assert.isFalse(Transaction.mayHaveHappened(error))
      yield* Scope.close(made, Exit.void)
    })
  )

  it.layer(embedded.layer)((it) => {
    it.effect("is not had where there is one connection for all", () =>
      Effect.map(SqlClient.SqlClient, (sql) => assert.isUndefined(Direct.of(sql)))
    )
  })
})
