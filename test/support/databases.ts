/**
 * Every database test runs on both databases:
 *
 * ```ts
 * for (const backend of TestDatabases.backends) {
 *   describe(backend.name, () => {
 *     it.layer(backend.layer)((it) => {          // one fresh, empty database for this block
 *       it.effect("...", () => Effect.flatMap(SqlClient.SqlClient, (sql) => sql`select 1`))
 *     })
 *     it.scoped("...", () => program.pipe(Effect.provide(backend.layer)))   // one for this test
 *   })
 * }
 * ```
 *
 * Child processes and reopening: `const db = yield* TestDatabases.TestDatabase` (or `yield* backend.create`, which opens nothing: an embedded
 * folder can be open only once). `db.env` is what a child's environment needs for `Database.layer` to find it, `db.layer` opens it here.
 * All is removed with the scope. An embedded database costs ~0.5 s, one on the server ~0.1 s (the first 1-2 s).
 */

import { execFile } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { mkdir, mkdtemp, rename, rm } from "node:fs/promises"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { inject } from "vitest"
import * as Database from "../../src/database/Database.js"

export interface TestDatabaseService {
  readonly kind: "embedded" | "postgres"
  /** For a child process: merge it over `process.env`. */
  readonly env: Readonly<Record<string, string>>
  /** `DATABASE_URL`, or `undefined` for an embedded one. */
  readonly url: string | undefined
  /** The data folder, or `undefined` for one on the server. */
  readonly dataDir: string | undefined
  /** Opens it in this process. */
  readonly layer: Layer.Layer<SqlClient.SqlClient | Database.Info>
}

/** The database that a test was given. */
export class TestDatabase extends Context.Tag("test/TestDatabase")<TestDatabase, TestDatabaseService>() {}

export interface Backend {
  readonly name: "embedded" | "postgres"
  /** A fresh, empty database that is not open yet. */
  readonly create: Effect.Effect<TestDatabaseService, never, Scope.Scope>
  /** A fresh, empty database, open. */
  readonly layer: Layer.Layer<SqlClient.SqlClient | Database.Info | TestDatabase>
}

/** A folder that is removed with the scope. */
export const temporaryFolder: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.promise(() => mkdtemp(join(tmpdir(), "holdfast-test-"))),
  (folder) => Effect.promise(() => rm(folder, { recursive: true, force: true }))
)

const cache = fileURLToPath(new URL("../../node_modules/.cache/holdfast-test/", import.meta.url))

const pgliteVersion = (): string => {
  const entry = createRequire(import.meta.url).resolve("@electric-sql/pglite")
  return JSON.parse(readFileSync(join(dirname(entry), "..", "package.json"), "utf8")).version
}

/** An empty data folder to copy, made once a version: making one takes seconds, copying it a tenth of one. */
const template = Effect.gen(function* () {
  const folder = join(cache, `data-dir-${pgliteVersion()}`)
  if (existsSync(folder)) return folder
  yield* Effect.promise(() => mkdir(cache, { recursive: true }))
  const making = yield* Effect.promise(() => mkdtemp(join(cache, "making-")))
  yield* Effect.void.pipe(Effect.provide(Database.layerEmbedded({ dataDir: making })), Effect.orDie)
  // whoever comes second throws theirs away
  yield* Effect.promise(() => rename(making, folder).catch(() => rm(making, { recursive: true, force: true })))
  return folder
})

const embedded: Effect.Effect<TestDatabaseService, never, Scope.Scope> = Effect.gen(function* () {
  const dataDir = join(yield* temporaryFolder, "data")
  const source = yield* template
  // a thousand small files: five times as fast as node's own `cp`
  yield* Effect.promise(() => promisify(execFile)("cp", ["-R", source, dataDir]))
  return {
    kind: "embedded",
    env: { DATABASE_URL: "", HOLDFAST_DATA_DIR: dataDir },
    url: undefined,
    dataDir,
    layer: Layer.orDie(Database.layerEmbedded({ dataDir }))
  }
})

/** The URL of the suite's server, as a superuser. */
export const serverUrl: Effect.Effect<string> = Effect.promise(async () => {
  const response = await fetch(inject("postgresBroker"))
  const body = await response.text()
  if (!response.ok) throw new Error(body)
  return body
})

let databases = 0

/** Runs one statement on the server. */
const administer = (url: string, statement: string) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(statement)).pipe(
    Effect.provide(
      Database.layerPostgres({ url: Redacted.make(url), maxConnections: 1, connectTimeout: "30 seconds" })
    ),
    Effect.orDie
  )

const postgres: Effect.Effect<TestDatabaseService, never, Scope.Scope> = Effect.gen(function* () {
  const server = yield* serverUrl
  const name = yield* Effect.acquireRelease(
    Effect.suspend(() => {
      const name = `holdfast_${process.pid}_${Date.now().toString(36)}_${databases++}`
      return Effect.as(administer(server, `create database ${name} template template0`), name)
    }),
    (name) => administer(server, `drop database if exists ${name} with (force)`)
  )
  const address = new URL(server)
  address.pathname = `/${name}`
  const url = address.toString()
  return {
    kind: "postgres",
    env: { DATABASE_URL: url },
    url,
    dataDir: undefined,
    layer: Layer.orDie(Database.layerPostgres({ url: Redacted.make(url) }))
  }
})

/** Takes a database on the server away under whoever uses it. */
export const drop = ({ url }: TestDatabaseService): Effect.Effect<void> =>
  Effect.flatMap(serverUrl, (server) =>
    Effect.asVoid(administer(server, `drop database if exists ${new URL(url ?? "").pathname.slice(1)} with (force)`))
  )

const backend = (name: Backend["name"], create: Backend["create"]): Backend => ({
  name,
  create,
  layer: Layer.unwrapScoped(
    Effect.map(create, (database) => Layer.merge(database.layer, Layer.succeed(TestDatabase, database)))
  )
})

export const backends: ReadonlyArray<Backend> = [backend("embedded", embedded), backend("postgres", postgres)]
