import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as Database from "../../src/database/Database.js"
import * as Transaction from "../../src/database/Transaction.js"
import * as TestDatabases from "../support/databases.js"

const sqlClient = SqlClient.SqlClient

for (const backend of TestDatabases.backends) {
  describe(backend.name, () => {
    it.layer(backend.layer)((it) => {
      it.effect("says which database it is, without a password", () =>
        Effect.gen(function* () {
          const info = yield* Database.Info
          const database = yield* TestDatabases.TestDatabase
          assert.strictEqual(info.kind, backend.name)
          assert.strictEqual(info.location, database.url ?? database.dataDir)
        })
      )

      it.effect("reads and writes every kind of value alike", () =>
        Effect.gen(function* () {
          const sql = yield* sqlClient
          const bytes = Buffer.from([0, 1, 127, 128, 255])
          const instant = new Date("2026-02-03T04:05:06.789Z")
          const json = { a: [1, { b: null }], text: 'quote " and \\ and {', big: 1e21 }
          yield* sql`create table kinds (
            small int2, whole int4, big int8, real float8, exact numeric, yes bool, words text, id uuid, js json, jsb jsonb, bytes bytea,
            instant timestamptz, local timestamp, day date, nothing text,
            ints int4[], bigs int8[], texts text[], grid int4[][], blobs bytea[], bools bool[])`
          yield* sql`insert into kinds values (
            ${7}, ${-8}, ${9007199254740993n}, ${0.1}, ${"12345678901234567890.5"}, ${true}, ${"ünï\n'x' \\"},
            ${"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}, ${JSON.stringify(json)}, ${JSON.stringify(json)}, ${bytes},
            ${instant}, ${instant}, ${"2026-02-03"}, ${null},
            ${[1, 2]}, ${[1n, 2n]}, ${['a "b"', "c,d", "", "NULL", "e\\f", null]}, ${[[1], [2]]}, ${[bytes]}, ${[true, false]})`
          const [row] = yield* sql`select * from kinds`
          assert.deepStrictEqual(row, {
            small: 7,
            whole: -8,
            big: "9007199254740993",
            real: 0.1,
            exact: "12345678901234567890.5",
            yes: true,
            words: "ünï\n'x' \\",
            id: "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            js: json,
            jsb: json,
            bytes,
            instant,
            local: instant,
            day: new Date(2026, 1, 3),
            nothing: null,
            ints: [1, 2],
            bigs: ["1", "2"],
            texts: ['a "b"', "c,d", "", "NULL", "e\\f", null],
            grid: [[1], [2]],
            blobs: [bytes],
            bools: [true, false]
          })
        })
      )

      it.effect("takes an object for jsonb and a Uint8Array for bytea, large and empty", () =>
        Effect.gen(function* () {
          const sql = yield* sqlClient
          const large = Buffer.alloc(300_000, 0xab)
          yield* sql`create table given (n int, js jsonb, bytes bytea)`
          yield* sql`insert into given values (1, ${{ a: "b" } as never}, ${new Uint8Array(large)}), (2, null, ${Buffer.alloc(0)})`
          const rows = yield* sql<{ js: unknown; bytes: Buffer }>`select js, bytes from given order by n`
          assert.deepStrictEqual(rows[0]?.js, { a: "b" })
          assert.isTrue(rows[0]?.bytes.equals(large))
          assert.strictEqual(rows[1]?.bytes.length, 0)
        })
      )

      it.effect("compiles the helpers: insert, in, update, returning", () =>
        Effect.gen(function* () {
          const sql = yield* sqlClient
          yield* sql`create table helped (id int primary key, name text)`
          const inserted = yield* sql`insert into helped ${sql
            .insert([
              { id: 1, name: "a" },
              { id: 2, name: "b" },
              { id: 3, name: "c" }
            ])
            .returning("id")}`
          assert.deepStrictEqual(inserted, [{ id: 1 }, { id: 2 }, { id: 3 }])
          yield* sql`update helped set ${sql.update({ name: "z" })} where ${sql.in("id", [1, 3])}`
          assert.deepStrictEqual(yield* sql`select name from helped order by id`.values, [["z"], ["b"], ["z"]])
        })
      )

      it.effect("counts the rows that a raw statement changed", () =>
        Effect.gen(function* () {
          const sql = yield* sqlClient
          yield* sql`create table raw (n int)`
          const inserted = yield* sql`insert into raw select generate_series(1, ${5}::int)`.raw
          const read = yield* sql`select n from raw where n > ${3}`.raw
          assert.include(inserted, { rowCount: 5, command: "INSERT" })
          assert.include(read, { rowCount: 2, command: "SELECT" })
        })
      )

      it.effect("runs several statements without parameters at once", () =>
        Effect.gen(function* () {
          const sql = yield* sqlClient
          const lists = yield* sql.unsafe(
            "create table many (n int); insert into many values (1), (2); select n from many"
          )
          assert.deepStrictEqual(lists, [[], [], [{ n: 1 }, { n: 2 }]] as never)
        })
      )

      it.effect("streams", () =>
        Effect.gen(function* () {
          const sql = yield* sqlClient
          const rows = yield* Stream.runCollect(sql<{ n: number }>`select generate_series(1, ${1000}::int) as n`.stream)
          assert.strictEqual(Chunk.size(rows), 1000)
          assert.deepStrictEqual(Chunk.unsafeLast(rows), { n: 1000 })
          const error = yield* Effect.flip(Stream.runDrain(sql`select 1 / ${0}::int`.stream))
          assert.strictEqual(Transaction.code(error), "22012")
        })
      )

      it.effect("fails with SqlError and the SQLSTATE", () =>
        Effect.gen(function* () {
          const sql = yield* sqlClient
          yield* sql`create table once (id int primary key)`
          yield* sql`insert into once values (1)`
          const error = yield* Effect.flip(sql`insert into once values (1)`)
          assert.instanceOf(error, SqlError)
          assert.strictEqual(Transaction.code(error), "23505")
          assert.isFalse(Transaction.isTransient(error))
        })
      )

      it.effect("commits, rolls back, and rolls back to a savepoint alone", () =>
        Effect.gen(function* () {
          const sql = yield* sqlClient
          yield* sql`create table kept (n int)`
          const insert = (n: number) => sql`insert into kept values (${n})`
          yield* sql.withTransaction(Effect.zipRight(insert(1), insert(2)))
          const failed = yield* Effect.exit(sql.withTransaction(Effect.zipRight(insert(3), Effect.fail("no"))))
          assert.deepStrictEqual(failed, Exit.fail("no"))
          yield* sql.withTransaction(
            Effect.zipRight(
              insert(4),
              Effect.ignore(sql.withTransaction(Effect.zipRight(insert(5), sql`select 1 / 0`)))
            )
          )
          assert.deepStrictEqual(yield* sql`select n from kept order by n`.values, [[1], [2], [4]])
        })
      )

      it.effect("makes a commit that fails a SqlError, not a defect", () =>
        Effect.gen(function* () {
          const sql = yield* sqlClient
          yield* sql`create table parent (id int primary key)`
          yield* sql`create table child (id int references parent deferrable initially deferred)`
          const error = yield* Effect.flip(sql.withTransaction(sql`insert into child values (1)`))
          assert.instanceOf(error, SqlError)
          assert.strictEqual(Transaction.code(error), "23503")
          assert.deepStrictEqual(yield* sql`select * from child`, [])
        })
      )

      it.effect("loses no update of 40 concurrent transactions", () =>
        Effect.gen(function* () {
          const sql = yield* sqlClient
          yield* sql`create table counter (n int)`
          yield* sql`insert into counter values (0)`
          const increment = Effect.gen(function* () {
            const [row] = yield* sql<{ n: number }>`select n from counter for update`
            yield* Effect.yieldNow()
            yield* sql`update counter set n = ${(row?.n ?? Number.NaN) + 1}`
          })
          yield* Effect.replicateEffect(sql.withTransaction(increment), 40, { concurrency: "unbounded" })
          assert.deepStrictEqual(yield* sql`select n from counter`, [{ n: 40 }])
        })
      )

      it.effect("keeps other fibers' statements out of a transaction", () =>
        Effect.gen(function* () {
          const sql = yield* sqlClient
          yield* sql`create table apart (who text)`
          const begun = yield* Deferred.make<void>()
          const transaction = yield* sql
            .withTransaction(
              sql`insert into apart values ('inside')`.pipe(
                Effect.zipRight(Deferred.succeed(begun, undefined)),
                Effect.zipRight(Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 50)))),
                Effect.zipRight(Effect.fail("rolled back"))
              )
            )
            .pipe(Effect.fork)
          yield* Deferred.await(begun)
          yield* sql`insert into apart values ('outside')`
          yield* Fiber.await(transaction)
          assert.deepStrictEqual(yield* sql`select who from apart`, [{ who: "outside" }])
        })
      )

      it.effect("rolls back what is interrupted, and goes on", () =>
        Effect.gen(function* () {
          const sql = yield* sqlClient
          yield* sql`create table cut (n int)`
          const begun = yield* Deferred.make<void>()
          const fiber = yield* sql
            .withTransaction(
              sql`insert into cut values (1)`.pipe(
                Effect.zipRight(Deferred.succeed(begun, undefined)),
                Effect.zipRight(Effect.never)
              )
            )
            .pipe(Effect.fork)
          yield* Deferred.await(begun)
          const waiting = yield* Effect.fork(sql.withTransaction(sql`insert into cut values (2)`))
          yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 20)))
          yield* Fiber.interrupt(waiting)
          const exit = yield* Fiber.interrupt(fiber)
          assert.isTrue(Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause))
          yield* sql`insert into cut values (3)`
          const rows = yield* sql<{ n: number }>`select n from cut where n <> 2`
          assert.deepStrictEqual(rows, [{ n: 3 }])
        })
      )

      it.scoped("lets one connection be reserved for ever, transactions on it included", () =>
        Effect.gen(function* () {
          const sql = yield* sqlClient
          yield* sql`create table reserved (n int)`
          const connection = yield* sql.reserve
          const run = (statement: string) => connection.executeUnprepared(statement, [], undefined)
          yield* run("insert into reserved values (1)")
          yield* sql.withTransaction(sql`insert into reserved values (2)`)
          yield* run("begin")
          yield* run("insert into reserved values (3)")
          yield* run("rollback")
          yield* sql`insert into reserved values (4)`
          assert.deepStrictEqual(yield* sql`select n from reserved order by n`.values, [[1], [2], [4]])
        })
      )

      it.effect("ends what a reserved connection left open", () =>
        Effect.gen(function* () {
          const sql = yield* sqlClient
          yield* sql`create table left_open (n int)`
          yield* Effect.scoped(
            Effect.gen(function* () {
              const connection = yield* sql.reserve
              yield* connection.executeUnprepared("begin; insert into left_open values (1)", [], undefined)
              if (backend.name === "postgres") yield* connection.executeUnprepared("rollback", [], undefined)
            })
          )
          assert.deepStrictEqual(yield* sql`select n from left_open`, [])
        })
      )
    })

    it.scoped("has after closing and opening what it had before", () =>
      Effect.gen(function* () {
        const database = yield* backend.create
        const write = Effect.flatMap(sqlClient, (sql) =>
          sql`create table lasting (n int)`.pipe(Effect.zipRight(sql`insert into lasting values (1)`))
        )
        const read = Effect.flatMap(sqlClient, (sql) => sql`select n from lasting`)
        yield* Effect.provide(write, database.layer)
        assert.deepStrictEqual(yield* Effect.provide(read, database.layer), [{ n: 1 }])
      })
    )
  })
}
