/** An embedded database: PGlite, in a folder or in memory. The driver is loaded only here. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { hostname } from "node:os"
import { dirname, join, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import * as Reactivity from "@effect/experimental/Reactivity"
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as ErrorInfo from "../../observability/ErrorInfo.js"
import { DatabaseError } from "../DatabaseError.js"
import * as Transaction from "../Transaction.js"
import * as FolderLock from "./folderLock.js"
import * as Values from "./pgliteValues.js"

/** How long a statement waits for the one connection before it fails. */
const turnMillis = 60_000

/** Inside the data folder: the cluster, the lock, and a mark that stands while the cluster is being made. */
const clusterName = "postgres"
const lockName = "lock"
const unfinishedName = "postgres.unfinished"

const unusable = (folder: string, what: string) => (cause: unknown) =>
  new DatabaseError({
    reason: "FolderUnusable",
    location: folder,
    message: `The data folder ${folder} ${what}: ${ErrorInfo.message(cause)}. Set HOLDFAST_DATA_DIR to another folder, or DATABASE_URL to a server.`,
    cause
  })

const inUse = (folder: string, holder: FolderLock.Holder | undefined): DatabaseError => {
  const file = join(folder, lockName)
  const advice = "End it, set HOLDFAST_DATA_DIR to another folder, or DATABASE_URL to a server that many can use"
  const message =
    holder === undefined
      ? `The data folder ${folder} is locked, but ${file} does not say by whom. Delete that file if no process uses the folder.`
      : holder.pid === process.pid && holder.host === hostname()
        ? `The data folder ${folder} is already open in this process (${holder.pid}). Share one Database layer instead of building it twice.`
        : holder.host === hostname()
          ? `The data folder ${folder} is in use by process ${holder.pid}. ${advice}.`
          : `The data folder ${folder} is in use by process ${holder.pid} on ${holder.host}. ${advice}. If that machine or container is gone, delete ${file}.`
  return new DatabaseError({
    reason: "FolderInUse",
    location: folder,
    message,
    ...(holder === undefined ? {} : { pid: holder.pid })
  })
}

/** Makes the folder and holds its lock until the scope closes. */
const hold = (folder: string): Effect.Effect<void, DatabaseError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.try({
      try: () => {
        mkdirSync(folder, { recursive: true })
        return FolderLock.acquire(folder, lockName)
      },
      catch: unusable(folder, "cannot be made or written")
    }).pipe(
      Effect.flatMap((lock) => ("release" in lock ? Effect.succeed(lock) : Effect.fail(inUse(folder, lock.holder))))
    ),
    (lock) => Effect.sync(lock.release)
  )

/**
 * An empty cluster of this version of PGlite, made when the package was built: to unpack it takes half as long as to make one. Nothing where the
 * sources run as they are.
 */
const template = (): { readonly loadDataDir: Blob } | undefined => {
  const driver = dirname(createRequire(import.meta.url).resolve("@electric-sql/pglite"))
  const { version } = JSON.parse(readFileSync(join(driver, "..", "package.json"), "utf8"))
  const file = fileURLToPath(new URL(`pglite-${version}.tar.gz`, import.meta.url))
  if (!existsSync(file)) return undefined
  return { loadDataDir: new Blob([readFileSync(file)], { type: "application/x-gzip" }) }
}

/** Opens the cluster, and makes it if there is none, or one whose making was cut short. */
const openPglite = async (folder: string | undefined) => {
  const { PGlite } = await import("@electric-sql/pglite")
  if (folder === undefined) return PGlite.create({ parsers: Values.parsers, ...template() })
  const cluster = join(folder, clusterName)
  const unfinished = join(folder, unfinishedName)
  const fresh = existsSync(unfinished) || !existsSync(join(cluster, "PG_VERSION"))
  if (fresh) {
    writeFileSync(unfinished, "")
    rmSync(cluster, { recursive: true, force: true })
  }
  const db = await PGlite.create(cluster, { parsers: Values.parsers, ...(fresh ? template() : undefined) })
  if (fresh) rmSync(unfinished)
  return db
}

/** A client over the folder, or over memory. All is closed and given back with the scope. */
export const open = (dataDir: string | undefined): Effect.Effect<SqlClient.SqlClient, DatabaseError, Scope.Scope> =>
  Effect.gen(function* () {
    const folder = dataDir === undefined ? undefined : resolve(dataDir)
    if (folder !== undefined) yield* hold(folder)
    const db = yield* Effect.acquireRelease(
      Effect.tryPromise({
        try: () => openPglite(folder),
        catch: unusable(folder ?? "memory", "cannot be opened as a database")
      }),
      (db) => Effect.ignore(Effect.promise(() => db.close()))
    )
    const { make } = yield* Effect.promise(() => import("./pgliteClient.js"))
    const client = yield* Effect.provide(make(db, { turnMillis }), Reactivity.layer)
    return Object.assign(client, { withTransaction: Transaction.runWith(client) })
  })
