/**
 * How long may it take? One attempt is bounded by a timeout, the whole of a call by a deadline, which everything called inside inherits.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import { dual } from "effect/Function"
import { globalValue } from "effect/GlobalValue"
import * as Schema from "effect/Schema"
import type * as Failure from "./Failure.js"

/**
 * No answer in time. `kind` says which bound ended it: that of one `attempt` (another may be in time) or the `deadline` of the whole call.
 *
 * @since 0.1.0
 * @category errors
 */
export class AgentTimeoutError extends Schema.TaggedError<AgentTimeoutError>("holdfast/AgentTimeoutError")(
  "AgentTimeoutError",
  {
    /** The agent's id, or the name given to the operator. */
    agent: Schema.String,
    kind: Schema.Literal("attempt", "deadline"),
    /** The bound, in milliseconds. */
    timeoutMillis: Schema.Number
  }
) {
  override get message(): string {
    const bound = this.kind === "attempt" ? "the timeout of one attempt" : "its deadline"
    return `"${this.agent}" gave no answer within ${Duration.format(Duration.millis(this.timeoutMillis))}, ${bound}`
  }

  /** An attempt may be repeated, a passed deadline may not. */
  get failure(): Failure.Failure {
    return { kind: this.kind === "attempt" ? "transient" : "permanent", reason: `${this.kind} timeout` }
  }
}

/**
 * The moment, in milliseconds of the Clock's monotonic time, by which the current fiber must be done; `Infinity` without a deadline.
 *
 * @since 0.1.0
 * @category deadline
 */
export const CurrentDeadline: FiberRef.FiberRef<number> = globalValue("holdfast/Timeout/CurrentDeadline", () =>
  FiberRef.unsafeMake(Number.POSITIVE_INFINITY)
)

/** Monotonic milliseconds: never steps back with the wall clock. */
const monotonicMillis: Effect.Effect<number> = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos) / 1e6)

/**
 * How many milliseconds are left until the deadline in force; `Infinity` without one, never below 0.
 *
 * @since 0.1.0
 * @category deadline
 */
export const remainingMillis: Effect.Effect<number> = Effect.flatMap(FiberRef.get(CurrentDeadline), (deadline) =>
  deadline === Number.POSITIVE_INFINITY
    ? Effect.succeed(deadline)
    : Effect.map(monotonicMillis, (now) => Math.max(0, deadline - now))
)

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The bound. */
  readonly duration: Duration.DurationInput
  /** Who is bounded: stands in the error. Default `effect`. */
  readonly agent?: string | undefined
  /**
   * Whether to wait for finalizers and uninterruptible parts of what timed out (default) or to answer at once and let them end in the
   * background.
   */
  readonly wait?: boolean | undefined
}

const optionsOf = (input: Options | Duration.DurationInput): Options =>
  typeof input === "object" && "duration" in input ? input : { duration: input as Duration.DurationInput }

const bounded = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  millis: number,
  wait: boolean,
  onTimeout: () => AgentTimeoutError
): Effect.Effect<A, E | AgentTimeoutError, R> =>
  Effect.timeoutFail(wait ? self : Effect.disconnect(self), { duration: millis, onTimeout })

/**
 * Bounds one attempt. When the deadline in force comes first, it is what ends the attempt, and the error says so.
 *
 * @since 0.1.0
 * @category operators
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Timeout } from "holdfast"
 *
 * const program = Effect.sleep("1 minute").pipe(Timeout.attempt({ duration: "2 seconds", agent: "technical" }))
 * // fails after 2 s with AgentTimeoutError
 * ```
 */
export const attempt: {
  (
    options: Options | Duration.DurationInput
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | AgentTimeoutError, R>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    options: Options | Duration.DurationInput
  ): Effect.Effect<A, E | AgentTimeoutError, R>
} = dual(
  2,
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    input: Options | Duration.DurationInput
  ): Effect.Effect<A, E | AgentTimeoutError, R> => {
    const options = optionsOf(input)
    const timeout = Duration.toMillis(options.duration)
    const agent = options.agent ?? "effect"
    return Effect.flatMap(remainingMillis, (remaining) =>
      bounded(self, Math.min(timeout, remaining), options.wait ?? true, () =>
        remaining < timeout
          ? new AgentTimeoutError({ agent, kind: "deadline", timeoutMillis: Math.round(remaining) })
          : new AgentTimeoutError({ agent, kind: "attempt", timeoutMillis: timeout })
      )
    )
  }
)

/**
 * Bounds a whole call with all its attempts and pauses. What is called inside inherits the deadline and never outlives it; a nested, later
 * deadline changes nothing.
 *
 * @since 0.1.0
 * @category operators
 */
export const deadline: {
  (
    options: Options | Duration.DurationInput
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | AgentTimeoutError, R>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    options: Options | Duration.DurationInput
  ): Effect.Effect<A, E | AgentTimeoutError, R>
} = dual(
  2,
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    input: Options | Duration.DurationInput
  ): Effect.Effect<A, E | AgentTimeoutError, R> => {
    const options = optionsOf(input)
    const own = Duration.toMillis(options.duration)
    const agent = options.agent ?? "effect"
    return Effect.flatMap(Effect.zip(monotonicMillis, FiberRef.get(CurrentDeadline)), ([now, outer]) => {
      const until = Math.min(outer, now + own)
      const millis = Math.max(0, until - now)
      return bounded(
        Effect.locally(self, CurrentDeadline, until),
        millis,
        options.wait ?? true,
        () => new AgentTimeoutError({ agent, kind: "deadline", timeoutMillis: Math.round(millis) })
      )
    })
  }
)
