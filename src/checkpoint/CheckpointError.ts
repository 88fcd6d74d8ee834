/**
 * What can go wrong with a checkpoint.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("holdfast/CheckpointError")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * - `Invalid`: the call lacks what it needs, such as a thread id, or holds an id that Postgres cannot store
 * - `Unserializable`: a value cannot be stored as it is; nothing was written
 * - `Undecodable`: what is stored cannot be read back: damaged, or of another shape than asked for
 * - `Database`: the database did not answer or refused
 * - `Closed`: the layer that gave the checkpointer is closed
 *
 * @since 0.1.0
 * @category models
 */
export const Reason = Schema.Literal("Invalid", "Unserializable", "Undecodable", "Database", "Closed")

/**
 * @since 0.1.0
 * @category models
 */
export type Reason = typeof Reason.Type

/**
 * Whether something was written or deleted by an operation that failed: `no` is certain, with `unknown` the answer was lost. Reading the thread
 * tells; writing the same again does no harm.
 *
 * @since 0.2.0
 * @category models
 */
export const Written = Schema.Literal("no", "unknown")

/**
 * @since 0.2.0
 * @category models
 */
export type Written = typeof Written.Type

/**
 * A checkpoint that could not be written, read or deleted. The message names the thread and says what to do.
 *
 * @since 0.1.0
 * @category errors
 */
export class CheckpointError extends Schema.TaggedError<CheckpointError>("holdfast/CheckpointError")(
  "CheckpointError",
  {
    reason: Reason,
    /** What was being done, such as `put` or `getTuple`. */
    operation: Schema.String,
    /** The thread, or the workflow. */
    threadId: Schema.optional(Schema.String),
    message: Schema.String,
    /** Of an operation that writes or deletes; absent of one that reads. */
    written: Schema.optional(Written),
    cause: Schema.optional(Schema.Defect)
  }
) {
  /**
   * @since 0.1.0
   */
  readonly [TypeId]: typeof TypeId = TypeId
}

/**
 * Whether a value is a {@link CheckpointError}.
 *
 * @since 0.1.0
 * @category guards
 */
export const isCheckpointError = (u: unknown): u is CheckpointError => Predicate.hasProperty(u, TypeId)

/**
 * No checkpoint is stored under this thread or workflow (and phase).
 *
 * @since 0.1.0
 * @category errors
 */
export class CheckpointNotFoundError extends Schema.TaggedError<CheckpointNotFoundError>(
  "holdfast/CheckpointNotFoundError"
)("CheckpointNotFoundError", {
  /** The thread or the workflow that was asked for. */
  workflowId: Schema.String,
  /** The phase that was asked for; absent when any would have done. */
  phase: Schema.optional(Schema.String)
}) {
  override get message(): string {
    return this.phase === undefined
      ? `No checkpoint of "${this.workflowId}" is stored: check the id against the list of threads, or start it anew`
      : `No checkpoint of "${this.workflowId}" is stored for the phase "${this.phase}": check both names, or run the phase first`
  }
}

/**
 * Whether a value is a {@link CheckpointNotFoundError}.
 *
 * @since 0.1.0
 * @category guards
 */
export const isCheckpointNotFoundError = (u: unknown): u is CheckpointNotFoundError =>
  Predicate.isTagged(u, "CheckpointNotFoundError")
