/**
 * A PostgreSQL for one test: embedded, empty, and gone with the test. It is a real one (PGlite): the same SQL runs on a server.
 *
 * @since 0.1.0
 */
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { CheckpointError } from "../checkpoint/CheckpointError.js"
import type * as Checkpointer from "../checkpoint/Checkpointer.js"
import * as Database from "../database/Database.js"

/**
 * An empty database in memory. Each time the layer is built there is a new one: what a test writes no other sees. It takes a fraction of a second.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<SqlClient.SqlClient | Database.Info, Database.DatabaseError> = Layer.fresh(
  Database.layerEmbedded()
)

/**
 * The same with a LangGraph saver on it, its tables set up. Options are those of `Checkpointer.layer`. LangGraph's classes are loaded when it is built.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Checkpointer } from "holdfast/langgraph"
 * import { TestDatabase } from "holdfast/testing"
 *
 * const test = Effect.gen(function* () {
 *   const checkpointer = yield* Checkpointer.Checkpointer
 *   // compile({ checkpointer }), run, and look
 *   return yield* checkpointer.threads()
 * }).pipe(Effect.provide(TestDatabase.layerCheckpointer()))
 * ```
 */
export const layerCheckpointer = (
  options?: Checkpointer.Options
): Layer.Layer<
  Checkpointer.Checkpointer | SqlClient.SqlClient | Database.Info,
  Database.DatabaseError | CheckpointError
> =>
  Layer.unwrapEffect(
    Effect.map(
      Effect.promise(() => import("../checkpoint/Checkpointer.js")),
      (module) => module.layer(options)
    )
  ).pipe(Layer.provideMerge(layer), Layer.fresh)

/**
 * A database in a folder of its own, for what is to be opened more than once, or by another process.
 *
 * @since 0.1.0
 * @category models
 */
export interface Folder {
  readonly dataDir: string
  /** What a child process needs in its environment to open it with `Database.layer`. */
  readonly env: Readonly<Record<string, string>>
  /** Opens it here. One process at a time may. */
  readonly layer: Layer.Layer<SqlClient.SqlClient | Database.Info, Database.DatabaseError>
}

/**
 * A folder for a database, made when it is first opened and removed with the scope.
 *
 * @since 0.1.0
 * @category constructors
 */
export const folder: Effect.Effect<Folder, never, Scope.Scope> = Effect.map(
  Effect.acquireRelease(
    Effect.promise(() => mkdtemp(join(tmpdir(), "holdfast-database-"))),
    (folder) => Effect.promise(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }))
  ),
  (root) => {
    const dataDir = join(root, "data")
    return {
      dataDir,
      env: { DATABASE_URL: "", HOLDFAST_DATA_DIR: dataDir },
      layer: Layer.fresh(Database.layerEmbedded({ dataDir }))
    }
  }
)
