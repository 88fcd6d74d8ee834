import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Database from "../../src/database/Database.js"
import type { DatabaseError } from "../../src/database/DatabaseError.js"
import * as Migrations from "../../src/database/Migrations.js"
import * as TestDatabases from "../support/databases.js"
import * as Processes from "../support/processes.js"

const statement = (text: string) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(text))

const migration = (id: number, name: string, text: string): Migrations.Migration => ({ id, name, up: statement(text) })

const ids = (done: ReadonlyArray<Migrations.Migration>) => done.map((migration) => migration.id)

/** The error of migrations that must fail as such. */
const failure = (effect: ReturnType<typeof Migrations.run>) =>
  effect.pipe(
    Effect.flip,
    Effect.filterOrDie(
      (error): error is DatabaseError => error._tag === "DatabaseError",
      (error) => error
    )
  )

for (const backend of TestDatabases.backends) {
  describe(backend.name, () => {
    it.layer(backend.layer)((it) => {
      it.effect("runs each once, in order, and later ones later", () =>
        Effect.gen(function* () {
          const first = [
            migration(1, "a", "create table once (n int)"),
            migration(2, "b", "insert into once values (1)")
          ]
          const third = migration(3, "c", "insert into once values (2)")
          assert.deepStrictEqual(ids(yield* Migrations.run("once", first)), [1, 2])
          assert.deepStrictEqual(ids(yield* Migrations.run("once", first)), [])
          assert.deepStrictEqual(ids(yield* Migrations.run("once", [...first, third])), [3])
          assert.deepStrictEqual(ids(yield* Migrations.run("once", first)), [])
          const sql = yield* SqlClient.SqlClient
          assert.deepStrictEqual(yield* sql`select n from once order by n`.values, [[1], [2]])
        })
      )

      it.effect("runs one that was merged late, between two that ran", () =>
        Effect.gen(function* () {
          const [a, b, c] = [1, 2, 3].map((id) => migration(id, `m${id}`, "select 1"))
          if (a === undefined || b === undefined || c === undefined) return
          yield* Migrations.run("late", [a, c])
          assert.deepStrictEqual(ids(yield* Migrations.run("late", [a, b, c])), [2])
        })
      )

      it.effect("keeps modules and schemas apart", () =>
        Effect.gen(function* () {
          const list = [migration(1, "a", "select 1")]
          const schema = 'odd "Name".x'
          assert.deepStrictEqual(ids(yield* Migrations.run("one", list)), [1])
          assert.deepStrictEqual(ids(yield* Migrations.run("two", list)), [1])
          assert.deepStrictEqual(ids(yield* Migrations.run("one", list, { schema })), [1])
          assert.deepStrictEqual(ids(yield* Migrations.run("one", list, { schema })), [])
        })
      )

      it.effect("undoes the one that fails, keeps those before, and names it", () =>
        Effect.gen(function* () {
          const good = migration(1, "good", "create table good (n int)")
          const bad = migration(2, "bad", "create table bad (n int); select 1 / 0")
          const error = yield* failure(Migrations.run("failing", [good, bad]))
          assert.strictEqual(error.reason, "MigrationFailed")
          assert.strictEqual(
            error.message,
            'Migration 2 "bad" of "failing" failed and was rolled back: division by zero'
          )
          const sql = yield* SqlClient.SqlClient
          const tables = yield* sql`select to_regclass('good') is null as good, to_regclass('bad') is null as bad`
          assert.deepStrictEqual(tables, [{ good: false, bad: true }])
          const mended = migration(2, "bad", "create table bad (n int)")
          assert.deepStrictEqual(ids(yield* Migrations.run("failing", [good, mended])), [2])
        })
      )

      it.effect("refuses another list under the same name, and one out of order", () =>
        Effect.gen(function* () {
          yield* Migrations.run("renamed", [migration(1, "before", "select 1")])
          const renamed = yield* failure(Migrations.run("renamed", [migration(1, "after", "select 1")]))
          assert.include(renamed.message, 'number 1 is "before" in this database and "after" in this program')
          const list = [migration(2, "b", "select 1"), migration(1, "a", "select 1")]
          assert.include((yield* failure(Migrations.run("unordered", list))).message, "id 1 comes after 2")
          assert.include((yield* failure(Migrations.run("zero", [migration(0, "z", "select 1")]))).message, "id 0")
        })
      )

      it.effect("runs once among fibers that begin together", () =>
        Effect.gen(function* () {
          const list = [1, 2, 3].map((id) => migration(id, `m${id}`, `create table fibers_${id} (n int)`))
          const runs = yield* Effect.replicateEffect(Migrations.run("fibers", list), 8, { concurrency: "unbounded" })
          assert.deepStrictEqual(runs.flatMap(ids).sort(), [1, 2, 3])
        })
      )
    })
  })
}

const postgres = TestDatabases.backends.filter((backend) => backend.name === "postgres")

for (const backend of postgres) {
  it.scopedLive("runs once among processes that begin together on an empty database", () =>
    Effect.gen(function* () {
      const { env } = yield* backend.create
      const file = new URL("./fixtures/migrate.ts", import.meta.url)
      const processes = yield* Effect.replicateEffect(Processes.start(file, { env }), 5)
      const exits = yield* Effect.forEach(processes, (process) => process.exited)
      const output = processes.map((process) => process.output()).join("")
      assert.deepStrictEqual(
        exits.map((exit) => exit.code),
        [0, 0, 0, 0, 0],
        output
      )
      const ran = [...output.matchAll(/ran ([\d,]*);/g)].flatMap(([, list = ""]) => list.split(",").filter(Boolean))
      assert.deepStrictEqual(ran.sort(), ["1", "2", "3"])
    })
  )

  it.scopedLive("sees what another process made while it waited for its turn", () =>
    Effect.gen(function* () {
      const { layer, url = "" } = yield* backend.create
      const inside = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const create = statement("create table slow (n int)")
      const list = (up: Migrations.Migration["up"]) => [{ id: 1, name: "slow", up }]
      const held = Deferred.succeed(inside, undefined).pipe(
        Effect.zipRight(Deferred.await(go)),
        Effect.zipRight(create)
      )
      const first = yield* Migrations.run("slow", list(held), { schema: "app" }).pipe(
        Effect.provide(layer),
        Effect.fork
      )
      yield* Deferred.await(inside)
      // one connection, so that the look before the lock and the one after it share the server's caches
      const second = yield* Migrations.run("slow", list(create), { schema: "app" }).pipe(
        Effect.provide(Database.layerPostgres({ url: Redacted.make(url), maxConnections: 1 })),
        Effect.fork
      )
      const waits = statement("select 1 from pg_locks where locktype = 'advisory' and not granted")
      yield* waits.pipe(
        Effect.filterOrFail((rows) => rows.length === 1),
        Effect.retry({ times: 200, schedule: Schedule.spaced("50 millis") }),
        Effect.provide(layer)
      )
      yield* Deferred.succeed(go, undefined)
      const runs = yield* Fiber.join(Fiber.zip(first, second))
      assert.deepStrictEqual(runs.flatMap(ids), [1])
    })
  )

  it.scoped("needs no right to create anything when all is there", () =>
    Effect.gen(function* () {
      const { url = "", layer } = yield* backend.create
      const role = `reader_${process.pid}`
      const list = [migration(1, "a", "create table granted (n int)")]
      yield* Effect.acquireRelease(
        statement(`create role ${role} login; grant usage on schema app to ${role};
          grant select on all tables in schema app to ${role}`).pipe(
          Effect.zipRight(Effect.void),
          (grant) => Effect.zipRight(Migrations.run("granted", list, { schema: "app" }), grant),
          Effect.provide(layer),
          Effect.orDie
        ),
        () => statement(`drop owned by ${role}; drop role ${role}`).pipe(Effect.provide(layer), Effect.orDie)
      )
      const address = new URL(url)
      address.username = role
      const asReader = Database.layerPostgres({ url: Redacted.make(address.toString()) })
      const done = yield* Migrations.run("granted", list, { schema: "app" }).pipe(Effect.provide(asReader))
      assert.deepStrictEqual(ids(done), [])
      const more = [...list, migration(2, "b", "create table refused (n int)")]
      const error = yield* failure(Migrations.run("granted", more, { schema: "app" })).pipe(Effect.provide(asReader))
      assert.include(error.message, "permission denied")
    })
  )
}
