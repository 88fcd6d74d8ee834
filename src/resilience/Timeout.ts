/**
 * How long may it take? One attempt is bounded by a timeout, the whole of a call by a deadline, which everything called inside inherits.
 *
 * @since 0.1.0
 */

import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import { dual } from "effect/Function"
import { globalValue } from "effect/GlobalValue"
import * as Schema from "effect/Schema"
import type * as Failure from "./Failure.js"
import * as numbers from "./internal/numbers.js"
import { clockOf, within } from "./internal/within.js"

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
    /** The bound, in milliseconds; for an attempt that a deadline ended, what was left of it. */
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

/**
 * How many milliseconds are left until the deadline in force; `Infinity` without one, never below 0.
 *
 * @since 0.1.0
 * @category deadline
 */
export const remainingMillis: Effect.Effect<number> = Effect.withFiberRuntime((fiber) =>
  Exit.succeed(remainingOf(fiber))
)

const remainingOf = (fiber: Fiber.RuntimeFiber<unknown, unknown>): number => {
  const deadline = fiber.getFiberRef(CurrentDeadline)
  return deadline === Number.POSITIVE_INFINITY ? deadline : Math.max(0, deadline - numbers.monotonic(clockOf(fiber)))
}

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

interface Bound {
  readonly agent: string
  readonly wait: boolean
  readonly millis: number
}

const isOptions = (input: Options | Duration.DurationInput): input is Options =>
  typeof input === "object" && "duration" in input

const boundOf = (what: string, input: Options | Duration.DurationInput): Bound => {
  const options: Options = isOptions(input) ? input : { duration: input }
  return {
    agent: options.agent ?? "effect",
    wait: options.wait ?? true,
    millis: numbers.millis(what, options.duration)
  }
}

/**
 * Bounds one attempt. When the deadline in force comes first, it is what ends the attempt, and the error says so.
 *
 * @since 0.1.0
 * @category operators
 * @throws `RangeError` when the duration is negative or NaN.
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
    const { agent, millis, wait } = boundOf("Timeout.attempt: duration", input)
    return Effect.withFiberRuntime<A, E | AgentTimeoutError, R>((fiber) => {
      const remaining = remainingOf(fiber)
      return within(fiber, self, Math.min(millis, remaining), wait, () =>
        remaining < millis
          ? new AgentTimeoutError({ agent, kind: "deadline", timeoutMillis: Math.round(remaining) })
          : new AgentTimeoutError({ agent, kind: "attempt", timeoutMillis: millis })
      )
    })
  }
)

/**
 * Bounds a whole call with all its attempts and pauses. What is called inside inherits the deadline and never outlives it; a nested, later
 * deadline changes nothing.
 *
 * @since 0.1.0
 * @category operators
 * @throws `RangeError` when the duration is negative or NaN.
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { RetryPolicy, Timeout } from "holdfast"
 *
 * declare const ask: Effect.Effect<string, Error>
 *
 * const program = ask.pipe(
 *   Timeout.attempt("5 seconds"),
 *   RetryPolicy.retry({ maxAttempts: 10 }),
 *   Timeout.deadline({ duration: "20 seconds", agent: "technical" })
 * )
 * ```
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
    const { agent, millis: own, wait } = boundOf("Timeout.deadline: duration", input)
    return Effect.withFiberRuntime<A, E | AgentTimeoutError, R>((fiber) => {
      const outer = fiber.getFiberRef(CurrentDeadline)
      const now = numbers.monotonic(clockOf(fiber))
      const until = Math.min(outer, now + own)
      const left = outer < now + own ? Math.max(0, outer - now) : own
      return within(
        fiber,
        Effect.locally(self, CurrentDeadline, until),
        left,
        wait,
        () => new AgentTimeoutError({ agent, kind: "deadline", timeoutMillis: Math.round(left) })
      )
    })
  }
)
