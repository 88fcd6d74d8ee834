/**
 * No more at once than can be borne: a bounded number of calls run, a bounded number wait in line, and the rest are told so at once.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { dual } from "effect/Function"
import * as Schema from "effect/Schema"
import * as Observation from "../observability/Observation.js"
import type * as Failure from "./Failure.js"
import { Gate, type Waiter } from "./internal/gate.js"
import * as numbers from "./internal/numbers.js"

/**
 * @since 0.1.0
 * @category symbols
 */
export const TypeId: unique symbol = Symbol.for("holdfast/Bulkhead")

/**
 * @since 0.1.0
 * @category symbols
 */
export type TypeId = typeof TypeId

/**
 * A call that was not let in. `reason` says whether the line was full (`queue`) or its turn did not come in time (`wait`).
 *
 * @since 0.1.0
 * @category errors
 */
export class BulkheadFullError extends Schema.TaggedError<BulkheadFullError>("holdfast/BulkheadFullError")(
  "BulkheadFullError",
  {
    bulkhead: Schema.String,
    reason: Schema.Literal("queue", "wait"),
    /** How many run at once. */
    concurrency: Schema.Number,
    /** How many waited when it was rejected. */
    queued: Schema.Number
  }
) {
  override get message(): string {
    const why = this.reason === "queue" ? `${this.queued} wait` : "its turn did not come in time"
    return `bulkhead "${this.bulkhead}" is full: ${this.concurrency} run and ${why}`
  }

  /** It may be let in later. */
  get failure(): Failure.Failure {
    return { kind: "transient", reason: "bulkhead full" }
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How many may run at once. A whole number from 1. Default 10. */
  readonly concurrency?: number | undefined
  /** How many may wait, first come, first served. A whole number from 0, or `Infinity`. Default 100. */
  readonly queue?: number | undefined
  /** How long one may wait. Default: as long as its deadline. */
  readonly maxWait?: Duration.DurationInput | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Snapshot {
  readonly running: number
  readonly queued: number
}

/**
 * A bulkhead. It is a value: whoever shares it shares its bounds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Bulkhead {
  readonly [TypeId]: TypeId
  readonly name: string
  readonly concurrency: number
  readonly queue: number
  /** Runs an effect inside. A permit comes back however it ends, and no permit is lost on the way in. */
  readonly protect: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | BulkheadFullError, R>
  readonly snapshot: Effect.Effect<Snapshot>
}

/**
 * Whether a value is a {@link Bulkhead}.
 *
 * @since 0.1.0
 * @category guards
 */
export const isBulkhead = (value: unknown): value is Bulkhead =>
  typeof value === "object" && value !== null && TypeId in value

/**
 * A bulkhead.
 *
 * @since 0.1.0
 * @category constructors
 * @throws `RangeError` when a number or the wait makes no sense.
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Bulkhead } from "holdfast"
 *
 * declare const ask: Effect.Effect<string, Error>
 *
 * const bulkhead = Bulkhead.make("model", { concurrency: 4, queue: 20, maxWait: "5 seconds" })
 * const program = ask.pipe(Bulkhead.protect(bulkhead))
 * ```
 */
export const make = (name: string, options: Options = {}): Bulkhead => {
  const concurrency = numbers.count("Bulkhead: concurrency", options.concurrency ?? 10)
  const queue = options.queue ?? 100
  if (queue !== 0 && queue !== Infinity) numbers.count("Bulkhead: queue", queue)
  const maxWait = options.maxWait === undefined ? Infinity : numbers.millis("Bulkhead: maxWait", options.maxWait)
  const gate = new Gate(concurrency)

  const full = (reason: BulkheadFullError["reason"]) =>
    new BulkheadFullError({ bulkhead: name, reason, concurrency, queued: gate.queued })

  /** Ends the waiting when its time is over. */
  const timer = (waiter: Waiter) =>
    Effect.forkDaemon(
      Effect.interruptible(
        Effect.zipRight(
          Effect.sleep(maxWait),
          Effect.sync(() => gate.leave(waiter) && waiter.wake(full("wait")))
        )
      )
    )

  /** Called, as is what follows it, where nothing interrupts: only the waiting itself is interruptible. */
  const turn = (
    waiter: Waiter,
    restore: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  ): Effect.Effect<void, BulkheadFullError> => {
    const waiting = Effect.flatMap(
      restore(
        Effect.async<BulkheadFullError | undefined>((resume) => {
          waiter.onWake((rejection) => resume(Effect.succeed(rejection)))
        })
      ),
      (rejection) => (rejection === undefined ? Effect.void : Effect.fail(rejection))
    ).pipe(Effect.onError(() => Effect.sync(() => gate.abandon(waiter))))
    return maxWait === Infinity
      ? waiting
      : Effect.flatMap(timer(waiter), (fiber) => Effect.ensuring(waiting, Fiber.interruptFork(fiber)))
  }

  const queued = (
    restore: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  ): Effect.Effect<void, BulkheadFullError> =>
    Effect.flatMap(Effect.clock, (clock) => {
      const waiter = gate.enqueue()
      const began = numbers.monotonic(clock)
      return Effect.zipLeft(
        turn(waiter, restore),
        Effect.suspend(() =>
          Observation.annotate({
            metadata: { bulkhead: name, bulkhead_wait_seconds: (numbers.monotonic(clock) - began) / 1000 }
          })
        )
      )
    })

  const rejected = (error: BulkheadFullError) =>
    Observation.event("bulkhead_rejection", {
      level: "WARNING",
      statusMessage: error.message,
      metadata: { bulkhead: name, reason: error.reason, running: gate.running, queued: error.queued }
    })

  const release = Effect.sync(() => gate.release())

  return {
    [TypeId]: TypeId,
    name,
    concurrency,
    queue,
    protect: (self) =>
      Effect.uninterruptibleMask((restore) => {
        if (gate.enter()) return Effect.ensuring(restore(self), release)
        const entered = gate.queued >= queue || maxWait === 0 ? Effect.failSync(() => full("queue")) : queued(restore)
        return Effect.matchCauseEffect(entered, {
          onFailure: (cause) =>
            cause._tag === "Fail"
              ? Effect.zipRight(rejected(cause.error), Effect.failCause(cause))
              : Effect.failCause(cause),
          onSuccess: () => Effect.ensuring(restore(self), release)
        })
      }),
    snapshot: Effect.sync(() => ({ running: gate.running, queued: gate.queued }))
  }
}

/**
 * Runs an effect inside a bulkhead. A rejection is a `bulkhead_rejection` observation, a wait is told by `bulkhead_wait_seconds`.
 *
 * @since 0.1.0
 * @category operators
 */
export const protect: {
  (bulkhead: Bulkhead): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | BulkheadFullError, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, bulkhead: Bulkhead): Effect.Effect<A, E | BulkheadFullError, R>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, bulkhead: Bulkhead) => bulkhead.protect(self))
