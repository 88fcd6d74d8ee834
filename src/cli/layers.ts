/**
 * What the commands run on, from the environment.
 *
 * @since 0.1.0
 */
import { existsSync } from "node:fs"
import * as SqlClient from "@effect/sql/SqlClient"
import type * as SqlError from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as Layer from "effect/Layer"
import * as Checkpointer from "../checkpoint/Checkpointer.js"
import * as Database from "../database/Database.js"
import * as Langfuse from "../langfuse/Langfuse.js"
import { fromConfigError } from "../observability/ConfigurationError.js"
import * as Logging from "../observability/Logging.js"
import * as Trace from "../observability/Trace.js"

/**
 * Logs to standard error, with what libraries say to the console.
 *
 * @since 0.1.0
 * @category layers
 */
export const logging = Logging.layerCaptureConsole.pipe(Layer.provideMerge(Logging.layerEnvironment))

/**
 * The run's tree, and Langfuse where there are keys.
 *
 * @since 0.1.0
 * @category layers
 */
export const tracing = Trace.layerRecorder().pipe(Layer.provideMerge(Langfuse.layer))

/** Opening a database belongs to no run: its spans would be traces of their own. */
const untraced = Layer.locally(FiberRef.currentTracerEnabled, false)

/**
 * Where checkpoints are kept; made if need be.
 *
 * @since 0.1.0
 * @category layers
 */
export const storage = Checkpointer.layer().pipe(Layer.provideMerge(Database.layer), untraced)

const hasTables: Effect.Effect<boolean, SqlError.SqlError, SqlClient.SqlClient> = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) =>
    Effect.map(
      sql<{ readonly there: boolean }>`select to_regclass('checkpoints') is not null as there`,
      (rows) => rows[0]?.there === true
    )
)

/**
 * Asks what is stored, and makes nothing for it: where there is no database folder or no table yet, the answer is `nothing`.
 *
 * @since 0.1.0
 * @category operators
 */
export const ifStored = <A, E, R, A2, E2>(ask: Effect.Effect<A, E, R>, nothing: Effect.Effect<A2, E2>) =>
  Effect.gen(function* () {
    const { dataDir, url } = yield* Effect.mapError(Database.config, (error) => fromConfigError(error))
    if (url === undefined && dataDir !== undefined && !existsSync(dataDir)) return yield* nothing
    const stored = Effect.if(hasTables, {
      onTrue: () => Effect.provide(ask, untraced(Checkpointer.layer())),
      onFalse: () => nothing
    })
    return yield* Effect.provide(stored, untraced(Database.layer))
  })
