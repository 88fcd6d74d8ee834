/**
 * What the commands run on.
 *
 * @since 0.1.0
 */
import { readdirSync } from "node:fs"
import * as SqlClient from "@effect/sql/SqlClient"
import type * as SqlError from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as Layer from "effect/Layer"
import * as LogLevel from "effect/LogLevel"
import type * as Checkpointer from "../checkpoint/Checkpointer.js"
import * as Retention from "../checkpoint/Retention.js"
import * as Database from "../database/Database.js"
import * as Langfuse from "../langfuse/Langfuse.js"
import * as Logging from "../observability/Logging.js"
import * as Trace from "../observability/Trace.js"
import type { Settings } from "./Settings.js"

/**
 * Logs to standard error, with what libraries say to the console. The option `--log-level` wins over the environment.
 *
 * @since 0.1.0
 * @category layers
 */
export const logging = (settings: Settings): Layer.Layer<never> =>
  Layer.unwrapEffect(
    Effect.map(FiberRef.get(FiberRef.currentMinimumLogLevel), (asked) =>
      Logging.layerCaptureConsole.pipe(
        Layer.provideMerge(
          Logging.layer(
            asked.ordinal === LogLevel.Info.ordinal ? settings.logging : { ...settings.logging, level: asked }
          )
        )
      )
    )
  )

/**
 * The run's tree, and Langfuse where there are keys.
 *
 * @since 0.1.0
 * @category layers
 */
export const tracing = Trace.layerRecorder().pipe(Layer.provideMerge(Langfuse.layer))

/** LangGraph's classes are loaded while the database opens. */
const loadCheckpointer = Effect.promise(() => import("../checkpoint/Checkpointer.js"))

/** The database, while LangGraph's classes are loaded. */
const database = (settings: Settings) =>
  Layer.scopedContext(
    Effect.map(
      Effect.all([Database.make(settings.database), loadCheckpointer], { concurrency: "unbounded" }),
      ([context]) => context
    )
  )

/** Where checkpoints are kept; made if need be. What has been kept long enough goes meanwhile. */
const checkpoints = ({ checkpoints, sweeper }: Settings) =>
  Layer.scopedContext(
    Effect.flatMap(loadCheckpointer, (module) =>
      Effect.map(module.make(checkpoints), (checkpointer) => Context.make(module.Checkpointer, checkpointer))
    )
  ).pipe(Layer.merge(sweeper.ttl === undefined ? Layer.empty : Retention.layerSweeper(sweeper)))

/**
 * Storage and tracing for a run. Opening a database belongs to no run, so it is done under the tracer from outside. The database closes last:
 * what Langfuse does not take goes there.
 *
 * @since 0.1.0
 * @category layers
 */
export const running = (settings: Settings) =>
  Layer.unwrapEffect(
    Effect.map(Effect.tracer, (outside) =>
      Layer.scopedContext(Effect.withTracer(Layer.build(checkpoints(settings)), outside)).pipe(
        Layer.provideMerge(tracing),
        Layer.provideMerge(database(settings))
      )
    )
  )

const hasTables: Effect.Effect<boolean, SqlError.SqlError, SqlClient.SqlClient> = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) =>
    Effect.map(
      sql<{ readonly there: boolean }>`select to_regclass('checkpoints') is not null as there`,
      (rows) => rows[0]?.there === true
    )
)

/**
 * Whether a folder is missing or empty, so that opening a database there would make one.
 *
 * @since 0.1.0
 * @category guards
 */
export const isEmpty = (folder: string): boolean => {
  try {
    return readdirSync(folder).length === 0
  } catch (error) {
    // whatever else is wrong with it, the database says better
    return error instanceof Error && "code" in error && error.code === "ENOENT"
  }
}

/**
 * Runs an effect on the database where there are tables. Where there is no database folder or no table yet, the answer is `nothing`, and none is
 * made.
 *
 * @since 0.1.0
 * @category operators
 */
export const ifTables = <A, E, R, A2, E2, R2>(
  { database }: Settings,
  ask: Effect.Effect<A, E, R>,
  nothing: Effect.Effect<A2, E2, R2>
) =>
  Effect.gen(function* () {
    if (database.url === undefined && database.dataDir !== undefined && isEmpty(database.dataDir)) return yield* nothing
    const context = yield* Database.make(database)
    if (!(yield* Effect.provide(hasTables, context))) return yield* nothing
    return yield* Effect.provide(ask, context)
  }).pipe(Effect.scoped)

/**
 * Asks the checkpointer what is stored, see {@link ifTables}.
 *
 * @since 0.1.0
 * @category operators
 */
export const ifStored = <A, E, R, A2, E2, R2>(
  settings: Settings,
  ask: Effect.Effect<A, E, R | Checkpointer.Checkpointer>,
  nothing: Effect.Effect<A2, E2, R2>
) =>
  ifTables(
    settings,
    Effect.flatMap(loadCheckpointer, (module) =>
      Effect.provideServiceEffect(ask, module.Checkpointer, module.make(settings.checkpoints))
    ),
    nothing
  )
