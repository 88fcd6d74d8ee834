/**
 * Try again, but only what is worth it, later each time, and never past the deadline.
 *
 * A policy is a value: which failures to repeat, how often, and a `Schedule` that says when.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as ScheduleInterval from "effect/ScheduleInterval"
import * as ScheduleIntervals from "effect/ScheduleIntervals"
import * as ErrorInfo from "../observability/ErrorInfo.js"
import * as Observation from "../observability/Observation.js"
import * as Failure from "./Failure.js"
import * as numbers from "./internal/numbers.js"
import * as Timeout from "./Timeout.js"

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
  /** The most tries, the first included. */
  readonly maxAttempts: number
  /** Gives the pause before each further try, or ends the trying. Its input is the error. */
  readonly schedule: Schedule.Schedule<unknown, unknown>
  /** Whether a `Retry-After` is a lower bound of the pause. */
  readonly honourRetryAfter: boolean
  /** Which failures are worth another try. */
  readonly isRetryable: (failure: Failure.Failure, error: unknown) => boolean
}

/**
 * The plain way to say it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The most tries, the first included. A whole number from 1. Default 3. */
  readonly maxAttempts?: number | undefined
  /** The pause after the first failure. Default 1 second. */
  readonly base?: Duration.DurationInput | undefined
  /** By what each further pause grows. Default 2. */
  readonly factor?: number | undefined
  /** The longest pause, jitter included; only a `Retry-After` may ask for more. Default 60 seconds. */
  readonly cap?: Duration.DurationInput | undefined
  /** Each pause is multiplied by a random number between these, so that callers do not come back all at once. Default 0.5 to 1.5; `false` for none. */
  readonly jitter?: readonly [min: number, max: number] | false | undefined
  /** Whether a `Retry-After` is a lower bound of the pause. Default true. */
  readonly honourRetryAfter?: boolean | undefined
  /** Which failures are worth another try. Default {@link Failure.isRetryable}. */
  readonly isRetryable?: ((failure: Failure.Failure, error: unknown) => boolean) | undefined
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
  /** The pause before the next try in milliseconds; absent when there is none. */
  readonly delayMillis?: number | undefined
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
 * Exponential backoff as a Schedule: `base * factor^n`, at most the cap, times the jitter, and again at most the cap.
 *
 * @since 0.1.0
 * @category schedules
 * @throws `RangeError` when a duration is negative or NaN, the factor is below 1, or the jitter is no pair of numbers from 0 up in order.
 */
export const backoff = (
  options: Pick<Options, "base" | "factor" | "cap" | "jitter"> = {}
): Schedule.Schedule<Duration.Duration> => {
  const base = numbers.millis("RetryPolicy: base", options.base ?? "1 second")
  const cap = numbers.millis("RetryPolicy: cap", options.cap ?? "60 seconds")
  const factor = options.factor ?? 2
  if (!(factor >= 1 && factor < Infinity)) {
    throw new RangeError(`RetryPolicy: factor must be a number from 1 up, got ${factor}`)
  }
  const jitter = options.jitter ?? ([0.5, 1.5] as const)
  if (jitter !== false && !(jitter[0] >= 0 && jitter[0] <= jitter[1] && jitter[1] < Infinity)) {
    throw new RangeError(`RetryPolicy: jitter must be two numbers from 0 up in order, got ${jitter[0]} to ${jitter[1]}`)
  }
  return Schedule.makeWithState(0, (now, _input, n: number) =>
    Effect.map(jitter === false ? Effect.succeed(1) : Random.nextRange(jitter[0], jitter[1]), (spread) => {
      // capped before the jitter too, so that callers stay apart when the growth is far beyond the cap; and no 0 times Infinity
      const grown = base === 0 ? 0 : Math.min(cap, base * factor ** n, Number.MAX_VALUE)
      const millis = Math.min(cap, grown * spread)
      return [n + 1, Duration.millis(millis), ScheduleDecision.continueWith(ScheduleInterval.after(now + millis))]
    })
  )
}

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
export const make = (options: Options = {}): RetryPolicy => fromSchedule(backoff(options), options)

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
  options: Pick<Options, "maxAttempts" | "honourRetryAfter" | "isRetryable"> = {}
): RetryPolicy => {
  const chosen = options.maxAttempts ?? 3
  const maxAttempts = chosen === Infinity ? chosen : numbers.count("RetryPolicy: maxAttempts", chosen)
  return {
    [TypeId]: TypeId,
    maxAttempts,
    schedule,
    honourRetryAfter: options.honourRetryAfter ?? true,
    isRetryable: options.isRetryable ?? Failure.isRetryable
  }
}

/**
 * One try and no more.
 *
 * @since 0.1.0
 * @category constructors
 */
export const none: RetryPolicy = make({ maxAttempts: 1 })

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

/** The pause before the next try, from the policy's schedule; it keeps the schedule's state between failures. */
const makePauses = (policy: RetryPolicy) => {
  let state: unknown = policy.schedule.initial
  return (error: unknown): Effect.Effect<number | undefined> =>
    Effect.flatMap(Clock.currentTimeMillis, (now) =>
      Effect.map(policy.schedule.step(now, error, state), ([next, , decision]) => {
        state = next
        return ScheduleDecision.isDone(decision)
          ? undefined
          : Math.max(0, ScheduleIntervals.start(decision.intervals) - now)
      })
    )
}

/**
 * Tries an effect that knows which try it is. Each try is an `attempt` observation with `attempt`, `max_attempts` and `delay_seconds` (the pause
 * that follows): a WARNING if it will be tried again, an ERROR if not.
 *
 * Ends with the last cause as it was. Interruption, control flow and defects are never repeated; a pause that would outlast the deadline in
 * force is not begun. A failure with `maxRetries` is repeated so often and no more, counted by its reason.
 *
 * @since 0.1.0
 * @category operators
 */
export const attempts = <A, E, R>(
  run: (attempt: number) => Effect.Effect<A, E, R>,
  policy: RetryPolicy,
  options: RetryOptions = {}
): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const pauseAfter = makePauses(policy)
    const spent = new Map<string, number>()
    /** What the failed try decided, for the loop around it. */
    let pause: number | undefined

    const isWorthIt = (failure: Failure.Failure, attempt: number, error: unknown): boolean => {
      if (attempt >= policy.maxAttempts || !Failure.isReal(failure) || !policy.isRetryable(failure, error)) return false
      if (failure.maxRetries === undefined) return true
      const before = spent.get(failure.reason) ?? 0
      spent.set(failure.reason, before + 1)
      return before < failure.maxRetries
    }

    const decide = (
      cause: Cause.Cause<E>,
      failure: Failure.Failure,
      attempt: number
    ): Effect.Effect<number | undefined> => {
      const error = Cause.failureOption(cause)
      if (error._tag === "None" || Option.isSome(Cause.dieOption(cause)) || !isWorthIt(failure, attempt, error.value)) {
        return Effect.succeed(undefined)
      }
      return Effect.flatMap(pauseAfter(error.value), (scheduled) => {
        if (scheduled === undefined) return Effect.succeed(undefined)
        const millis = policy.honourRetryAfter ? Math.max(scheduled, failure.retryAfterMillis ?? 0) : scheduled
        return Effect.map(Timeout.remainingMillis, (remaining) => (millis < remaining ? millis : undefined))
      })
    }

    const onCause = (cause: Cause.Cause<E>, attempt: number): Effect.Effect<never, E> =>
      Cause.isInterruptedOnly(cause)
        ? Effect.failCause(cause)
        : Effect.flatMap(Effect.zip(Effect.clock, classifierOf(options)), ([clock, classify]) => {
            const failure = Failure.fromCause(cause, classify, () => clock.unsafeCurrentTimeMillis())
            if (failure.kind === "control-flow") return Effect.failCause(cause)
            return Effect.flatMap(decide(cause, failure, attempt), (millis) => {
              pause = millis
              return Effect.zipRight(report(cause, attempt, millis), Effect.failCause(cause))
            })
          })

    const report = (cause: Cause.Cause<E>, attempt: number, delayMillis: number | undefined): Effect.Effect<void> => {
      const info = ErrorInfo.fromCause(cause)
      const record: AttemptRecord = {
        attempt,
        errorType: info.tag,
        message: info.message,
        ...(delayMillis === undefined ? {} : { delayMillis })
      }
      const metadata = {
        delay_seconds: delayMillis === undefined ? undefined : delayMillis / 1000,
        error_type: info.tag
      }
      return Effect.all(
        [
          Observation.annotate(
            delayMillis === undefined
              ? { metadata }
              : {
                  level: "WARNING",
                  statusMessage: `${ErrorInfo.line(info)}; next try in ${Duration.format(Duration.millis(Math.round(delayMillis)))}`,
                  metadata
                }
          ),
          options.onFailure?.(record) ?? Effect.void,
          delayMillis === undefined ? Effect.void : (options.onRetry?.(record) ?? Effect.void)
        ],
        { discard: true }
      )
    }

    const loop = (attempt: number): Effect.Effect<A, E, R> => {
      const observed: Effect.Effect<A, E, R> = Observation.span(
        Effect.catchAllCause(
          Effect.suspend(() => run(attempt)),
          (cause) => onCause(cause, attempt)
        ).pipe(Effect.onInterrupt(() => endedByDeadline)),
        "attempt",
        { metadata: { attempt, max_attempts: Number.isFinite(policy.maxAttempts) ? policy.maxAttempts : undefined } }
      ) as Effect.Effect<A, E, R> // the span only adds what it then provides: R is as it was
      return Effect.catchAllCause(observed, (cause) => {
        if (pause === undefined) return Effect.failCause(cause)
        const millis = pause
        pause = undefined
        return Effect.zipRight(Effect.sleep(millis), loop(attempt + 1))
      })
    }
    return loop(1)
  })

/** A deadline ends an attempt by interrupting it: unlike any other interruption, that is an error of the attempt. */
const endedByDeadline: Effect.Effect<void> = Effect.flatMap(Timeout.remainingMillis, (remaining) =>
  // a timer may fire a fraction of a millisecond early
  remaining < 1
    ? Observation.annotate({
        level: "ERROR",
        statusMessage: "ended by the deadline",
        metadata: { error_type: "AgentTimeoutError" }
      })
    : Effect.void
)

const classifierOf = (options: RetryOptions): Effect.Effect<Failure.Classifier> =>
  options.classify === undefined ? Failure.CurrentClassifier : Effect.succeed(options.classify)

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
