import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { hostname } from "node:os"
import { join } from "node:path"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Database from "../../src/database/Database.js"
import * as Transaction from "../../src/database/Transaction.js"
import * as TestDatabases from "../support/databases.js"
import * as Processes from "../support/processes.js"

const fixture = (name: string) => new URL(`./fixtures/${name}.ts`, import.meta.url)

const embedded = Effect.gen(function* () {
  const [backend] = TestDatabases.backends.filter((backend) => backend.name === "embedded")
  if (backend === undefined) return yield* Effect.dieMessage("no embedded backend")
  const database = yield* backend.create
  return { ...database, dataDir: database.dataDir ?? "" }
})

/** The error with which a folder does not open. */
const refusal = (dataDir: string) => Effect.flip(Effect.scoped(Layer.build(Database.layerEmbedded({ dataDir }))))

const lockOf = (dataDir: string) => join(dataDir, "lock")

const rows = Effect.flatMap(SqlClient.SqlClient, (sql) => sql<{ n: number }>`select n from written order by n`)

describe("one process a folder", () => {
  it.scopedLive("names the process that has it, and opens when that has ended at a signal", () =>
    Effect.gen(function* () {
      const { dataDir, env, layer } = yield* embedded
      const holder = yield* Processes.start(fixture("open"), { args: ["hold"], env })
      yield* holder.saw("open")
      const error = yield* refusal(dataDir)
      assert.strictEqual(error.reason, "FolderInUse")
      assert.strictEqual(error.pid, holder.pid)
      assert.include(error.message, `The data folder ${dataDir} is in use by process ${holder.pid}.`)
      assert.include(error.message, "HOLDFAST_DATA_DIR")

      const second = yield* Processes.start(fixture("open"), { env })
      assert.strictEqual((yield* second.exited).code, 1)
      assert.include(second.output(), `DatabaseError: The data folder ${dataDir} is in use by process ${holder.pid}.`)

      yield* holder.kill("SIGTERM")
      yield* holder.exited
      assert.isFalse(existsSync(lockOf(dataDir)), "a clean end gives the lock back")
      assert.deepStrictEqual(yield* Effect.provide(rows, layer), [])
    })
  )

  it.scopedLive("says so when this process has it open already, and harms nothing", () =>
    Effect.gen(function* () {
      const { dataDir, layer } = yield* embedded
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* sql`create table mine (n int)`
        const error = yield* refusal(dataDir)
        assert.strictEqual(error.pid, process.pid)
        assert.include(error.message, "already open in this process")
        yield* sql`insert into mine values (1)`
        assert.deepStrictEqual(yield* sql`select n from mine`, [{ n: 1 }])
      }).pipe(Effect.provide(layer))
      assert.deepStrictEqual(readdirSync(dataDir), ["postgres"])
    })
  )

  it.scopedLive("has every acknowledged row after SIGKILL, and takes the folder over", () =>
    Effect.gen(function* () {
      const { dataDir, env, layer } = yield* embedded
      for (const row of ["wrote 20.", "wrote 40."]) {
        const writer = yield* Processes.start(fixture("open"), { args: [row === "wrote 20." ? "write" : "hold"], env })
        yield* writer.saw(row === "wrote 20." ? row : "open")
        yield* writer.kill("SIGKILL")
        yield* writer.exited
        assert.isTrue(existsSync(lockOf(dataDir)))
        const acknowledged = [...writer.output().matchAll(/wrote (\d+)\./g)].map(([, n]) => Number(n))
        const found = (yield* Effect.provide(rows, layer)).map((row) => row.n)
        assert.isTrue(
          acknowledged.every((n) => found.includes(n)),
          `${acknowledged.length} of ${found.length}`
        )
        assert.isTrue(found.length >= 20)
      }
    })
  )

  it.scopedLive("takes over from a pid that another process has by now, not from another machine", () =>
    Effect.gen(function* () {
      const { dataDir, layer } = yield* embedded
      const holder = { token: "t", pid: process.ppid, host: hostname(), started: "another time" }
      writeFileSync(lockOf(dataDir), JSON.stringify(holder))
      yield* Effect.provide(Effect.void, layer)

      writeFileSync(lockOf(dataDir), JSON.stringify({ ...holder, host: "elsewhere" }))
      const elsewhere = yield* refusal(dataDir)
      assert.include(elsewhere.message, `by process ${process.ppid} on elsewhere`)
      assert.include(elsewhere.message, `delete ${lockOf(dataDir)}`)

      writeFileSync(lockOf(dataDir), "")
      const nobody = yield* refusal(dataDir)
      assert.strictEqual(nobody.reason, "FolderInUse")
      assert.include(nobody.message, "does not say by whom")
    })
  )

  it.scopedLive("goes on taking over when processes die while many contend", () =>
    Effect.gen(function* () {
      const folder = yield* TestDatabases.temporaryFolder
      const dead = { token: "dead", pid: 2 ** 22 + 1, host: hostname() }
      writeFileSync(lockOf(folder), JSON.stringify(dead))
      // an heir that died on the way
      writeFileSync(join(folder, "dead.heir"), JSON.stringify({ ...dead, token: "deader" }))
      const processes = yield* Effect.forEach(["", "dies", "", "dies", ""], (how) =>
        Processes.start(fixture("lock"), { args: [folder, how] })
      )
      yield* Effect.forEach(processes, (process) => process.exited)
      for (const process of processes) assert.match(process.output(), /^ready\nheld\n$/)
      for (const name of readdirSync(folder)) assert.notMatch(name, /claim|heir/)
    })
  )
})

describe("a folder that cannot be used", () => {
  it.scopedLive("says why, and what to do", () =>
    Effect.gen(function* () {
      const file = join(yield* TestDatabases.temporaryFolder, "file")
      writeFileSync(file, "")
      const error = yield* refusal(file)
      assert.strictEqual(error.reason, "FolderUnusable")
      assert.include(error.message, `The data folder ${file} cannot be made or written: `)
      assert.include(error.message, "HOLDFAST_DATA_DIR")
    })
  )

  it.scopedLive("is not emptied when it holds a broken database, and its lock is given back", () =>
    Effect.gen(function* () {
      const { dataDir } = yield* embedded
      rmSync(join(dataDir, "postgres", "global"), { recursive: true })
      const error = yield* refusal(dataDir)
      assert.strictEqual(error.reason, "FolderUnusable")
      assert.include(error.message, "cannot be opened as a database")
      assert.deepStrictEqual(readdirSync(dataDir), ["postgres"])
      assert.strictEqual(readFileSync(join(dataDir, "postgres", "PG_VERSION"), "utf8").trim(), "18")
    })
  )

  it.scopedLive("is made anew when its making was cut short", () =>
    Effect.gen(function* () {
      const dataDir = join(yield* TestDatabases.temporaryFolder, "deep", "data")
      mkdirSync(join(dataDir, "postgres", "base"), { recursive: true })
      writeFileSync(join(dataDir, "postgres", "PG_VERSION"), "18\n")
      writeFileSync(join(dataDir, "postgres.unfinished"), "")
      const sum = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`select 1 + ${1}::int as two`)
      assert.deepStrictEqual(yield* Effect.provide(sum, Database.layerEmbedded({ dataDir })), [{ two: 2 }])
      assert.deepStrictEqual(readdirSync(dataDir), ["postgres"])
    })
  )
})

describe("the one connection", () => {
  it.layer(Database.layerEmbedded())((it) => {
    it.effect("is handed over in the order of asking", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const order: Array<string> = []
        const begun = yield* Deferred.make<void>()
        const go = yield* Deferred.make<void>()
        const first = yield* Effect.fork(
          sql.withTransaction(Effect.zipRight(Deferred.succeed(begun, undefined), Deferred.await(go)))
        )
        yield* Deferred.await(begun)
        const ask = (name: string, work: Effect.Effect<unknown, unknown>) =>
          Effect.fork(
            Effect.zipRight(
              work,
              Effect.sync(() => order.push(name))
            )
          ).pipe(Effect.tap(Effect.yieldNow()))
        const waiting = [
          yield* ask("read 1", sql`select 1`),
          yield* ask("write", sql.withTransaction(sql`create table ordered (n int)`)),
          yield* ask("read 2", sql`select 1`),
          yield* ask("read 3", sql`select 1`)
        ]
        yield* Deferred.succeed(go, undefined)
        yield* Fiber.join(first)
        yield* Fiber.joinAll(waiting)
        assert.deepStrictEqual(order, ["read 1", "write", "read 2", "read 3"])
      })
    )

    it.effect("never stays in a transaction that was begun by hand", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const error = yield* Effect.flip(sql.unsafe("begin; create table by_hand (n int)"))
        assert.include(String(error.cause), "rolled back")
        assert.deepStrictEqual(yield* sql`select to_regclass('by_hand') as found`, [{ found: null }])
        assert.isFalse(Transaction.isTransient(error))
      })
    )

    it.effect("is in memory without a folder", () =>
      Effect.map(Database.Info, (info) => assert.deepStrictEqual(info, { kind: "embedded", location: "memory" }))
    )
  })
})

describe("the module", () => {
  it.scopedLive("loads no driver until a layer is built, and only the one it needs", () =>
    Effect.gen(function* () {
      const log = join(yield* TestDatabases.temporaryFolder, "modules")
      const imported = yield* Processes.start(fixture("import"), { env: { MODULES_LOG: log } })
      assert.deepStrictEqual(yield* imported.exited, { code: 0, signal: null })
      const modules = readFileSync(log, "utf8")
      assert.include(modules, "src/database/Database.ts")
      assert.notMatch(modules, /node_modules\/(@effect\/sql-pg|pg|pg-pool|@electric-sql)\//)
    })
  )

  it.scopedLive("lets a process end by itself with code 0 when its work is done", () =>
    Effect.gen(function* () {
      for (const backend of TestDatabases.backends) {
        const { env } = yield* backend.create
        const process = yield* Processes.start(fixture("open"), { env })
        assert.deepStrictEqual(yield* process.exited, { code: 0, signal: null }, process.output())
      }
    })
  )
})
