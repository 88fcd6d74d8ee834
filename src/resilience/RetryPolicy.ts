/**
 * Try again, but only what is worth it, later each time, and never past the deadline.
 *
 * A policy is a value: which failures to repeat, how often, and a `Schedule` that says when.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import type * as Schedule from "effect/Schedule"
import * as Failure from "./Failure.js"
import * as loop from "./internal/attempts.js"
import * as delays from "./internal/backoff.js"
import * as limits from "./internal/limits.js"

/**
 * @since 0.1.0
 * @category symbols
 */
export const TypeId: unique symbol = Symbol.for("holdfast/RetryPolicy")

/**
 * @since 0.1.0
 * @category symbols
 */
export type TypeId = typeof TypeId

/**
 * When and what to try again.
 *
 * @since 0.1.0
 * @category models
 */
export interface RetryPolicy {
  readonly [TypeId]: TypeId
  /** The most tries of all, the first included, whatever fails: the largest of the limits below. */
  readonly maxAttempts: number
  /** The most tries that end in a failure whose class has no policy of its own. */
  readonly sharedAttempts: number
  /** Gives the pause before each further try, or ends the trying. Its input is the error. */
  readonly schedule: Schedule.Schedule<unknown, unknown>
  /** Whether a `Retry-After` is a lower bound of the pause. */
  readonly honourRetryAfter: boolean
  /** Which failures are worth another try. */
  readonly isRetryable: (failure: Failure.Failure, error: unknown) => boolean
  /** The classes of failures that are counted, and perhaps paused for, by themselves. */
  readonly byClass: ReadonlyMap<Failure.Class, ClassPolicy>
  /** Heard before each further try's pause. */
  readonly onRetry: ((record: AttemptRecord) => Effect.Effect<void>) | undefined
}

/**
 * What a class of failures has of its own.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClassPolicy {
  readonly maxAttempts: number
  /** Absent where the policy's own schedule is used. */
  readonly schedule: Schedule.Schedule<unknown, unknown> | undefined
}

/**
 * How far apart the tries are.
 *
 * @since 0.1.0
 * @category models
 */
export interface BackoffOptions {
  /** The pause after the first failure. Default 1 second. */
  readonly base?: Duration.DurationInput | undefined
  /** By what each further pause grows. Default 2. Not used by the decorrelated jitter. */
  readonly factor?: number | undefined
  /** The longest pause, jitter included; only a `Retry-After` may ask for more. Default 60 seconds. */
  readonly cap?: Duration.DurationInput | undefined
  /**
   * What keeps callers from coming back all at once. Two numbers: each pause is multiplied by a random number between them. `"full"`: anything
   * from nothing to the pause. `"decorrelated"`: anything from `base` to three times the pause before. Default 0.5 to 1.5; `false` for none.
   */
  readonly jitter?: readonly [min: number, max: number] | "full" | "decorrelated" | false | undefined
}

/**
 * How one class of failures is retried. What is absent is as in the policy around it.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClassOptions extends BackoffOptions {
  /** The most tries that end in this class, the first included. Default: the policy's. */
  readonly maxAttempts?: number | undefined
  /** Gives this class's pauses, instead of a backoff. */
  readonly schedule?: Schedule.Schedule<unknown, unknown> | undefined
}

/**
 * The plain way to say it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends BackoffOptions {
  /** The most tries, the first included. A whole number from 1. Default 3. */
  readonly maxAttempts?: number | undefined
  /** Whether a `Retry-After` is a lower bound of the pause. Default true. */
  readonly honourRetryAfter?: boolean | undefined
  /** Which failures are worth another try. Default {@link Failure.isRetryable}. */
  readonly isRetryable?: ((failure: Failure.Failure, error: unknown) => boolean) | undefined
  /**
   * Classes of failures with a limit and pauses of their own. Such a class is counted by itself, is worth another try whatever `isRetryable`
   * and the failure's `maxRetries` say, and may be tried more often than `maxAttempts`. `false`: never another try.
   */
  readonly byClass?: { readonly [C in Failure.Class]?: ClassOptions | false | undefined } | undefined
  /** Called before each further try's pause. */
  readonly onRetry?: ((record: AttemptRecord) => Effect.Effect<void>) | undefined
}

/**
 * What one failed try has been.
 *
 * @since 0.1.0
 * @category models
 */
export interface AttemptRecord {
  /** From 1. */
  readonly attempt: number
  readonly errorType: string
  readonly message: string
  /** What was recognised in it. */
  readonly failure?: Failure.Failure | undefined
  /** The pause before the next try in milliseconds; absent when there is none. */
  readonly delayMillis?: number | undefined
  /** Why it was not tried again although the policy would have: the retry budget is used up, or the pause would outlast the deadline. */
  readonly denied?: "budget" | "deadline" | undefined
}

/**
 * Whether a value is a {@link RetryPolicy}.
 *
 * @since 0.1.0
 * @category guards
 */
export const isRetryPolicy = (value: unknown): value is RetryPolicy =>
  typeof value === "object" && value !== null && TypeId in value

/**
 * Exponential backoff as a Schedule: `base * factor^n`, at most the cap, times the jitter, and again at most the cap. With the decorrelated jitter
 * a random pause between `base` and three times the pause before, at most the cap.
 *
 * @since 0.1.0
 * @category schedules
 * @throws `RangeError` when a duration is negative or NaN, the factor is below 1, or the jitter is no pair of numbers from 0 up in order.
 */
export const backoff = (options: BackoffOptions = {}): Schedule.Schedule<Duration.Duration> => delays.backoff(options)

/**
 * A policy from plain options.
 *
 * @since 0.1.0
 * @category constructors
 * @throws `RangeError` when `maxAttempts` is no whole number from 1, or a number of the {@link backoff} makes no sense.
 * @example
 * ```ts
 * import { RetryPolicy } from "holdfast"
 *
 * const policy = RetryPolicy.make({ maxAttempts: 5, base: "200 millis", cap: "10 seconds" })
 * ```
 */
export const make = (options: Options = {}): RetryPolicy => fromParts(backoff(options), options)

/**
 * A policy from any Schedule: it gives the pauses, and ends the trying when it ends. `maxAttempts` bounds it too: 3 by default, `Infinity` for
 * no bound but the schedule's. The schedule's input is the error.
 *
 * @since 0.1.0
 * @category constructors
 * @throws `RangeError` when `maxAttempts` is neither `Infinity` nor a whole number from 1.
 * @example
 * ```ts
 * import { Schedule } from "effect"
 * import { RetryPolicy } from "holdfast"
 *
 * const policy = RetryPolicy.fromSchedule(Schedule.spaced("200 millis").pipe(Schedule.intersect(Schedule.recurs(4))), {
 *   maxAttempts: Number.POSITIVE_INFINITY
 * })
 * ```
 */
export const fromSchedule = (
  schedule: Schedule.Schedule<unknown, unknown>,
  options: Omit<Options, keyof BackoffOptions> = {}
): RetryPolicy => fromParts(schedule, options)

const fromParts = (schedule: Schedule.Schedule<unknown, unknown>, options: Options): RetryPolicy => ({
  [TypeId]: TypeId,
  ...limits.of(options),
  schedule,
  honourRetryAfter: options.honourRetryAfter ?? true,
  isRetryable: options.isRetryable ?? Failure.isRetryable,
  onRetry: options.onRetry
})

/**
 * One try and no more.
 *
 * @since 0.1.0
 * @category constructors
 */
export const none: RetryPolicy = make({ maxAttempts: 1 })

/**
 * What an agent has that is told nothing: 3 tries, 1 s and 2 s apart, times 0.5 to 1.5.
 *
 * @since 0.1.0
 * @category presets
 */
export const standard: RetryPolicy = make()

/**
 * For what somebody is waiting for: 3 tries within a second or so, full jitter.
 *
 * @since 0.1.0
 * @category presets
 */
export const quick: RetryPolicy = make({ base: "100 millis", cap: "1 second", jitter: "full" })

/**
 * For work that may take its time, such as a batch at night: 8 tries, decorrelated pauses from 2 s to 2 minutes; 12 where it is told to wait.
 *
 * @since 0.1.0
 * @category presets
 */
export const patient: RetryPolicy = make({
  maxAttempts: 8,
  base: "2 seconds",
  cap: "2 minutes",
  jitter: "decorrelated",
  byClass: { "rate-limited": { maxAttempts: 12 } }
})

/**
 * For a hosted model: 3 tries; 6 where it limits the rate, 5 where it is overloaded, 2 where its answer does not decode, and that at once. Full
 * jitter from 500 ms up to 60 s.
 *
 * @since 0.1.0
 * @category presets
 */
export const model: RetryPolicy = make({
  base: "500 millis",
  jitter: "full",
  byClass: {
    "rate-limited": { maxAttempts: 6, base: "1 second" },
    overloaded: { maxAttempts: 5, base: "2 seconds" },
    decode: { maxAttempts: 2, base: 0 }
  }
})

/**
 * What surrounds the tries: who asks, and who is told.
 *
 * @since 0.1.0
 * @category models
 */
export interface RetryOptions {
  /** Sorts the errors. Default: the one in force, {@link Failure.CurrentClassifier}. */
  readonly classify?: Failure.Classifier | undefined
  /** Called before each further try's pause. */
  readonly onRetry?: ((record: AttemptRecord) => Effect.Effect<void>) | undefined
  /** Called after each failed try, the last one included. */
  readonly onFailure?: ((record: AttemptRecord) => Effect.Effect<void>) | undefined
}

/**
 * Tries an effect that knows which try it is. Each try is an `attempt` observation with `attempt`, `max_attempts` and `delay_seconds` (the pause
 * that follows): a WARNING if it will be tried again, an ERROR if not.
 *
 * A try that is not repeated because the retry budget (`RetryBudget`) or the deadline does not allow it says so in `retry_denied`.
 *
 * Ends with the last cause as it was. Interruption, control flow and defects are never repeated; a pause that would outlast the deadline in
 * force is not begun. A failure with `maxRetries` is repeated so often and no more, counted by its reason.
 *
 * @since 0.1.0
 * @category operators
 */
export const attempts: <A, E, R>(
  run: (attempt: number) => Effect.Effect<A, E, R>,
  policy: RetryPolicy,
  options?: RetryOptions
) => Effect.Effect<A, E, R> = loop.attempts

/**
 * Tries an effect again as a policy (or its plain options) says. See {@link attempts}.
 *
 * @since 0.1.0
 * @category operators
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { RetryPolicy } from "holdfast"
 *
 * declare const ask: Effect.Effect<string, Error>
 *
 * const program = ask.pipe(RetryPolicy.retry({ maxAttempts: 5, base: "200 millis" }))
 * ```
 */
export const retry: {
  (
    policy: RetryPolicy | Options,
    options?: RetryOptions
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, policy: RetryPolicy | Options, options?: RetryOptions): Effect.Effect<A, E, R>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(self: Effect.Effect<A, E, R>, policy: RetryPolicy | Options, options?: RetryOptions) =>
    attempts(() => self, isRetryPolicy(policy) ? policy : make(policy), options)
)

/**
 * How a call that was tried again ended, and what its failed tries have been.
 *
 * @since 0.1.0
 * @category models
 */
export interface Retried<out A, out E> {
  readonly exit: Exit.Exit<A, E>
  /** The tries that were begun. */
  readonly attempts: number
  /** Each failed try, in order. */
  readonly history: ReadonlyArray<AttemptRecord>
}

/**
 * {@link retry} with its history as data. It does not fail: the `exit` holds the answer or the last cause. An interruption of whoever waits
 * still ends it.
 *
 * @since 0.1.0
 * @category operators
 */
export const retryWithHistory: {
  (
    policy: RetryPolicy | Options,
    options?: RetryOptions
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<Retried<A, E>, never, R>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    policy: RetryPolicy | Options,
    options?: RetryOptions
  ): Effect.Effect<Retried<A, E>, never, R>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(self: Effect.Effect<A, E, R>, policy: RetryPolicy | Options, options: RetryOptions = {}) =>
    Effect.suspend(() => {
      const history: Array<AttemptRecord> = []
      let tried = 0
      const run = (attempt: number) => {
        tried = attempt
        return self
      }
      const onFailure = (record: AttemptRecord) =>
        Effect.zipRight(
          Effect.sync(() => history.push(record)),
          options.onFailure?.(record) ?? Effect.void
        )
      const retried = attempts(run, isRetryPolicy(policy) ? policy : make(policy), { ...options, onFailure })
      return Effect.map(Effect.exit(retried), (exit): Retried<A, E> => ({ exit, attempts: tried, history }))
    })
)
