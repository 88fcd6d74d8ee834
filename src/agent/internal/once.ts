/** A side effect that is done once: its result is kept, and who comes again gets the record. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as ErrorInfo from "../../observability/ErrorInfo.js"
import * as observed from "../../observability/internal/observed.js"
import * as Observation from "../../observability/Observation.js"

/**
 * - `NoRecord`: there is nowhere to keep a record: not in a node of a graph, or its graph has no checkpointer. Nothing was done.
 * - `Unreadable`: whether there is a record could not be found out, or it does not decode. Nothing was done.
 * - `Unrecorded`: it was done, and its result could not be kept. Another try within the same node keeps it without doing it again.
 *
 * @since 0.1.0
 * @category errors
 */
export class OnceError extends Schema.TaggedError<OnceError>("holdfast/OnceError")("OnceError", {
  reason: Schema.Literal("NoRecord", "Unreadable", "Unrecorded"),
  /** What the effect is called. */
  key: Schema.String,
  /** The key that was, or would have been, handed to it. */
  idempotencyKey: Schema.optional(Schema.String),
  cause: Schema.optional(Schema.Defect)
}) {
  /** Kind and reason, for the operators that retry. What a database said decides over the others. */
  get failure() {
    return this.reason === "NoRecord" ? ({ kind: "permanent", reason: "no record of once" } as const) : undefined
  }
  override get message(): string {
    const why = this.cause === undefined ? "" : `: ${ErrorInfo.line(ErrorInfo.make(this.cause))}`
    const undone = "and nothing was done"
    return this.reason === "NoRecord"
      ? `Agent.once("${this.key}") has nowhere to keep its record, ${undone}: run it in a node made by Graph.node or Graph.protect, of a graph with a checkpointer and a thread_id`
      : this.reason === "Unreadable"
        ? `Agent.once("${this.key}") could not read its record, ${undone}${why}`
        : `Agent.once("${this.key}") was done, and its result could not be kept${why}. If it is done again, then with the same idempotency key ${this.idempotencyKey}`
  }
}

/**
 * The place of one record.
 *
 * @since 0.1.0
 * @category once
 */
export interface Slot {
  /** The same for every try of the same work, also after a crash. */
  readonly idempotencyKey: string
  /** The result, if it was done already. */
  readonly found: Option.Option<unknown>
  readonly record: (result: unknown) => Effect.Effect<void, OnceError>
}

/**
 * Where records are kept. A node of a graph provides one over its checkpointer.
 *
 * @since 0.1.0
 * @category once
 */
export interface Recorder {
  /** Looks a record up; whoever else asks for the same waits until `use` has ended. */
  readonly open: <A, E, R>(
    key: string,
    use: (slot: Slot) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | OnceError, R>
}

/**
 * The recorder in force; none outside a graph's node.
 *
 * @since 0.1.0
 * @category once
 */
export class CurrentRecorder extends Context.Reference<CurrentRecorder>()("holdfast/Agent/CurrentRecorder", {
  defaultValue: (): Recorder | undefined => undefined
}) {}

/**
 * @since 0.1.0
 * @category once
 */
export interface OnceOptions<A, I, R> {
  /** How the result is written and read back. Without it the checkpointer's serializer must be able to, and what is read back is not checked. */
  readonly schema?: Schema.Schema<A, I, R> | undefined
}

type Doing<A, E, R> = Effect.Effect<A, E, R> | ((idempotencyKey: string) => Effect.Effect<A, E, R>)

/**
 * Does a side effect once: its result is recorded with the graph's thread, and a node that is tried again, or resumed after a pause or a crash, gets
 * the record instead of doing it again. A failure is not recorded. `key` names the effect within one execution of a node; what the effect is
 * about belongs into it, such as `charge-${orderId}`.
 *
 * A crash between the effect's end and its record leaves open whether it was done, and the next try does it again: with the same idempotency key, which
 * the other side should be given.
 *
 * @since 0.1.0
 * @category once
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Agent } from "holdfast"
 *
 * declare const charge: (order: string, options: { idempotencyKey: string }) => Promise<{ receipt: string }>
 *
 * const pay = (order: string) =>
 *   Agent.once(`charge-${order}`, (idempotencyKey) => Effect.tryPromise(() => charge(order, { idempotencyKey })))
 * ```
 */
export const once: {
  <A, I, RS, E, R>(
    key: string,
    effect: Doing<A, E, R>,
    options: OnceOptions<A, I, RS> & { readonly schema: Schema.Schema<A, I, RS> }
  ): Effect.Effect<A, E | OnceError, R | RS>
  <A, E, R>(key: string, effect: Doing<A, E, R>): Effect.Effect<A, E | OnceError, R>
} = <A, E, R, I = unknown, RS = never>(
  key: string,
  effect: Doing<A, E, R>,
  { schema }: OnceOptions<A, I, RS> = {}
): Effect.Effect<A, E | OnceError, R | RS> =>
  Effect.flatMap(CurrentRecorder, (recorder) => {
    if (recorder === undefined) return new OnceError({ reason: "NoRecord", key })
    const unreadable = (idempotencyKey: string) => (cause: unknown) =>
      new OnceError({ reason: "Unreadable", key, idempotencyKey, cause })
    const work = recorder.open(key, ({ found, idempotencyKey, record }) => {
      const replayed = Option.isSome(found)
      const said = Observation.annotate({ metadata: { key, idempotency_key: idempotencyKey, replayed } })
      if (replayed) {
        const value =
          schema === undefined
            ? Effect.succeed(found.value as A) // what an earlier try has recorded
            : Effect.mapError(Schema.decodeUnknown(schema)(found.value), unreadable(idempotencyKey))
        return Effect.zipRight(said, value)
      }
      // a tag of a service is an effect and a function
      const doing = Effect.isEffect(effect) ? effect : Effect.suspend(() => effect(idempotencyKey))
      const encode = (value: A): Effect.Effect<unknown, OnceError, RS> =>
        schema === undefined
          ? Effect.succeed(value)
          : Effect.mapError(
              Schema.encode(schema)(value),
              (cause) => new OnceError({ reason: "Unrecorded", key, idempotencyKey, cause })
            )
      // from its end to its record nobody may come between
      const done = Effect.uninterruptibleMask((restore) =>
        Effect.tap(restore(doing), (value) => Effect.flatMap(encode(value), record))
      )
      return Effect.zipRight(said, done)
    })
    return observed.span(work, "once", () => ({ metadata: { key } }))
  })
