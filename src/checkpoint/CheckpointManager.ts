/**
 * Checkpoints of a workflow that is no graph: a program saves its state after each phase, and after a crash goes on behind the last one.
 *
 * They stand in the same tables as the checkpoints of graphs, one checkpoint a save: the workflow's id is its `thread_id`, its `checkpoint_ns`
 * is `holdfast:workflow`, the state is the channel `state`, and phase and version are in the metadata. A graph's thread may have the same id;
 * neither sees the other's checkpoints, but deleting the thread deletes both.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type { DatabaseError } from "../database/DatabaseError.js"
import { CheckpointError, CheckpointNotFoundError, StaleCheckpointError } from "./CheckpointError.js"
import type * as Encryption from "./Encryption.js"
import * as sealed from "./internal/sealed.js"
import * as store from "./internal/store.js"
import * as workflows from "./internal/workflows.js"

export {
  /**
   * @since 0.1.0
   * @category errors
   */
  CheckpointError,
  /**
   * @since 0.1.0
   * @category errors
   */
  CheckpointNotFoundError,
  /**
   * @since 0.1.0
   * @category errors
   */
  StaleCheckpointError
}

/**
 * A saved phase, without its state.
 *
 * @since 0.1.0
 * @category models
 */
export interface Entry {
  readonly workflowId: string
  readonly phase: string
  /** What {@link SaveOptions} said. */
  readonly version: string | undefined
  readonly checkpointId: string
  /** Counts a workflow's saves, from 0. */
  readonly step: number
  readonly time: Date
}

/**
 * A saved phase with its state.
 *
 * @since 0.1.0
 * @category models
 */
export interface Saved<A> extends Entry {
  readonly state: A
  /** Seconds since it was saved, by Effect's Clock. */
  readonly ageSeconds: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface SaveOptions<A, I, R> {
  readonly workflowId: string
  /** The phase that is done, such as `collect`. Saved again, the newer state counts and the older one stays in the history. */
  readonly phase: string
  readonly state: A
  /** How the state is encoded. */
  readonly schema: Schema.Schema<A, I, R>
  /** The version of the program or of the state's format, given back when it is loaded. Default: none. */
  readonly version?: string | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface LoadOptions<A, I, R> {
  readonly workflowId: string
  /** Default: whichever phase was saved last. */
  readonly phase?: string | undefined
  /** How the state is decoded. */
  readonly schema: Schema.Schema<A, I, R>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * Stores a phase's state; when it succeeds the state is committed. Fails with {@link CheckpointError}: `Unserializable` when the schema
   * or the serializer refuses the state, and then nothing is written. An observation `save_checkpoint`.
   */
  readonly save: <A, I, R>(options: SaveOptions<A, I, R>) => Effect.Effect<Entry, CheckpointError, R>
  /**
   * As {@link Service.save}, but only if nothing has been saved since `last`: what `load`, `resume`, `history` or a save has given, or `undefined`
   * for a workflow that nobody has saved yet. Of any number of writers who follow the same save one succeeds, and the others fail with
   * {@link StaleCheckpointError}, which names what was saved in between.
   */
  readonly saveAfter: <A, I, R>(
    last: Pick<Entry, "checkpointId"> | undefined,
    options: SaveOptions<A, I, R>
  ) => Effect.Effect<Entry, CheckpointError | StaleCheckpointError, R>
  /** As {@link Service.load}, but nothing where there is no checkpoint. */
  readonly find: <A, I, R>(options: LoadOptions<A, I, R>) => Effect.Effect<Option.Option<Saved<A>>, CheckpointError, R>
  /**
   * The newest state of a phase. Fails with {@link CheckpointNotFoundError}, or with {@link CheckpointError}: `Undecodable` when what is
   * stored does not fit the schema. An observation `load_checkpoint`.
   */
  readonly load: <A, I, R>(
    options: LoadOptions<A, I, R>
  ) => Effect.Effect<Saved<A>, CheckpointError | CheckpointNotFoundError, R>
  /**
   * The phase that was saved last, with its state and age: where the workflow goes on. Fails as {@link Service.load}. An observation
   * `resume_from_checkpoint`.
   */
  readonly resume: <A, I, R>(
    workflowId: string,
    schema: Schema.Schema<A, I, R>
  ) => Effect.Effect<Saved<A>, CheckpointError | CheckpointNotFoundError, R>
  /** A workflow's saves, newest first, at most `limit` (default: 1,000). Fails with {@link CheckpointNotFoundError} when there is none. */
  readonly history: (
    workflowId: string,
    options?: { readonly limit?: number | undefined }
  ) => Effect.Effect<ReadonlyArray<Entry>, CheckpointError | CheckpointNotFoundError>
}

/**
 * @since 0.1.0
 * @category tags
 * @example
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { CheckpointManager } from "holdfast"
 *
 * const Progress = Schema.Struct({ rows: Schema.Number, until: Schema.Date })
 *
 * const program = Effect.gen(function* () {
 *   const checkpoints = yield* CheckpointManager.CheckpointManager
 *   const state = { rows: 120, until: new Date() }
 *   yield* checkpoints.save({ workflowId: "import-7", phase: "collect", state, schema: Progress })
 *   const { phase, state: again, ageSeconds } = yield* checkpoints.resume("import-7", Progress)
 *   yield* Effect.log(`going on after ${phase}, saved ${ageSeconds} s ago, with ${again.rows} rows`)
 * })
 * ```
 */
export class CheckpointManager extends Context.Tag("holdfast/CheckpointManager")<CheckpointManager, Service>() {}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The schema of the tables; made if it is missing. Default: `public`. */
  readonly schema?: string | undefined
  /** Whether states are compressed where it pays, and large ones stored as the difference to an earlier one. Default: `false`. */
  readonly compression?: boolean | undefined
  /** The keys under which states are stored, see `Encryption`; phase and version stay readable. Default: none, states are stored as they are. */
  readonly encryption?: Encryption.Encryption | undefined
}

/**
 * Sets the tables up, unless they stand, and gives the manager. Fails with `DatabaseError` when they cannot be set up.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options = {}
): Effect.Effect<Service, CheckpointError | DatabaseError, SqlClient.SqlClient> =>
  Effect.map(store.make(options.schema), (rows) => workflows.make(sealed.make(rows, options)))

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options = {}
): Layer.Layer<CheckpointManager, CheckpointError | DatabaseError, SqlClient.SqlClient> =>
  Layer.effect(CheckpointManager, make(options))

/**
 * @since 0.1.0
 * @category models
 */
export interface PhaseOptions<A, I, R> {
  readonly workflowId: string
  readonly phase: string
  readonly schema: Schema.Schema<A, I, R>
  readonly version?: string | undefined
}

/**
 * Runs an effect once in a workflow: its result is saved as the phase's state, and whoever runs the phase again, in this process or after a
 * crash in another, gets the stored result. An effect that fails or is interrupted is not saved, and runs again. A crash between its end and
 * the save makes it run again, too.
 *
 * @since 0.1.0
 * @category operators
 * @example
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { CheckpointManager } from "holdfast"
 *
 * const prices = Effect.succeed([101.5, 102.25]).pipe(
 *   CheckpointManager.phase({ workflowId: "report-1", phase: "prices", schema: Schema.Array(Schema.Number) })
 * )
 * ```
 */
export const phase: {
  <A, I, R2>(
    options: PhaseOptions<A, I, R2>
  ): <E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | CheckpointError, R | R2 | CheckpointManager>
  <A, E, R, I, R2>(
    self: Effect.Effect<A, E, R>,
    options: PhaseOptions<A, I, R2>
  ): Effect.Effect<A, E | CheckpointError, R | R2 | CheckpointManager>
} = dual(
  2,
  <A, E, R, I, R2>(
    self: Effect.Effect<A, E, R>,
    options: PhaseOptions<A, I, R2>
  ): Effect.Effect<A, E | CheckpointError, R | R2 | CheckpointManager> =>
    Effect.flatMap(CheckpointManager, (checkpoints) =>
      Effect.flatMap(checkpoints.find(options), (found) =>
        Option.isSome(found)
          ? Effect.succeed(found.value.state)
          : Effect.uninterruptibleMask((restore) =>
              Effect.tap(restore(self), (state) => checkpoints.save({ ...options, state }))
            )
      )
    )
)
