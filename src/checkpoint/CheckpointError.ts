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
 * - `Key`: what is stored is encrypted with a key that is not given, or does not open it, or is plain where only encrypted values are read
 * - `Database`: the database did not answer or refused
 * - `Closed`: the layer that gave the checkpointer is closed
 *
 * @since 0.1.0
 * @category models
 */
export const Reason = Schema.Literal("Invalid", "Unserializable", "Undecodable", "Key", "Database", "Closed")

/**
 * @since 0.1.0
 * @category models
 */
export type Reason = typeof Reason.Type

/**
 * Whether something was written or deleted by an operation that failed: `no` is certain, with `unknown` the answer was lost. Reading the thread
 * tells; writing the same again does no harm.
 *
 * @since 0.1.0
 * @category models
 */
export const Written = Schema.Literal("no", "unknown")

/**
 * @since 0.1.0
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
    /** The id of the key that is missing or wrong; for `Key`. */
    keyId: Schema.optional(Schema.String),
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

/**
 * A thread is written by another run. One run at a time writes a thread: the second is refused when it begins, before a node has run.
 *
 * @since 0.1.0
 * @category errors
 */
export class ThreadBusyError extends Schema.TaggedError<ThreadBusyError>("holdfast/ThreadBusyError")(
  "ThreadBusyError",
  {
    threadId: Schema.String,
    /** What was refused: `getTuple` for the beginning of a run, else a write. */
    operation: Schema.String,
    /**
     * - `held`: another run has the thread. What was asked for was not begun, and may be asked again when that one has ended.
     * - `lost`: this run had the thread and has it no more: it was paused for longer than its lease, or the thread was deleted under it. What it
     *   wrote before is stored; this write is not.
     */
    reason: Schema.Literal("held", "lost"),
    /** The process whose run has the thread, such as `process 4711 on host-3`; absent when the thread was deleted. */
    holder: Schema.optional(Schema.String),
    /** Since when that run has it. */
    since: Schema.optional(Schema.ValidDateFromSelf),
    /** When the lease ends unless it is renewed, which a live process does. */
    expires: Schema.optional(Schema.ValidDateFromSelf)
  }
) {
  /** Kind and reason, for the operators that retry: worth another try while another run holds the thread, not once this one has lost it. */
  get failure() {
    return this.reason === "held"
      ? ({ kind: "transient", reason: "thread busy" } as const)
      : ({ kind: "permanent", reason: "thread lost" } as const)
  }
  override get message(): string {
    const refused = `The ${this.operation} on thread "${this.threadId}" was refused`
    if (this.reason === "lost" && this.holder === undefined) {
      return `${refused}: the thread was deleted while this run was writing it. Run it again from its input`
    }
    const since = this.since === undefined ? "" : ` since ${this.since.toISOString()}`
    const until = this.expires === undefined ? "" : `, until ${this.expires.toISOString()} unless it renews its lease`
    return this.reason === "held"
      ? `${refused}: a run of ${this.holder ?? "another process"} has it${since}${until}. Wait until that run has ended and try again, let runs wait (waitForThread), or use a thread of its own`
      : `${refused}: this run was paused for longer than its lease, and a run of ${this.holder} has the thread${since}. What this run wrote before stands; go on from the thread's newest checkpoint when that run has ended`
  }
}

/**
 * Whether a value is a {@link ThreadBusyError}.
 *
 * @since 0.1.0
 * @category guards
 */
export const isThreadBusyError = (u: unknown): u is ThreadBusyError => Predicate.isTagged(u, "ThreadBusyError")

/**
 * Somebody else has saved the workflow since the save that this one was to follow. Nothing was written.
 *
 * @since 0.1.0
 * @category errors
 */
export class StaleCheckpointError extends Schema.TaggedError<StaleCheckpointError>("holdfast/StaleCheckpointError")(
  "StaleCheckpointError",
  {
    workflowId: Schema.String,
    /** The phase that was to be saved. */
    phase: Schema.String,
    /** The save it was to follow; absent when it was to be the workflow's first. */
    expected: Schema.optional(Schema.String),
    /** The workflow's newest save, its phase and its time; absent when there is none (any more). */
    found: Schema.optional(Schema.String),
    foundPhase: Schema.optional(Schema.String),
    foundTime: Schema.optional(Schema.ValidDateFromSelf)
  }
) {
  override get message(): string {
    const refused = `The phase "${this.phase}" of "${this.workflowId}" was not saved`
    const newest =
      this.found === undefined
        ? "the workflow's saves are gone"
        : `"${this.foundPhase}" was saved by another at ${this.foundTime?.toISOString()}`
    return `${refused}: ${newest}. Load it again, and decide anew what to save`
  }
}

/**
 * Whether a value is a {@link StaleCheckpointError}.
 *
 * @since 0.1.0
 * @category guards
 */
export const isStaleCheckpointError = (u: unknown): u is StaleCheckpointError =>
  Predicate.isTagged(u, "StaleCheckpointError")
