/** What the failed tries of one call have used up, and whether there is another. Made at the first failure, never on the way of a success. */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as ScheduleIntervals from "effect/ScheduleIntervals"
import * as Failure from "../Failure.js"
import * as RetryBudget from "../RetryBudget.js"
import type { ClassPolicy, RetryPolicy } from "../RetryPolicy.js"
import * as Timeout from "../Timeout.js"
import * as numbers from "./numbers.js"

/** A pause before the next try, or why there is none where the policy itself would have tried again. */
export type Verdict =
  | { readonly delayMillis: number; readonly denied?: undefined }
  | { readonly delayMillis?: undefined; readonly denied?: "budget" | "deadline" | undefined }

const no: Verdict = {}
const noBudget: Verdict = { denied: "budget" }
const noTime: Verdict = { denied: "deadline" }

export class Retries {
  /** Failures by class, where the policy counts a class by itself; all others under `undefined`. */
  private readonly failed = new Map<Failure.Class | undefined, number>()
  /** Failures that say how often they are worth another try, by reason. */
  private readonly spent = new Map<string, number>()
  private readonly states = new Map<Schedule.Schedule<unknown, unknown>, unknown>()

  constructor(private readonly policy: RetryPolicy) {}

  decide(
    cause: Cause.Cause<unknown>,
    failure: Failure.Failure,
    attempt: number,
    clock: Clock.Clock
  ): Effect.Effect<Verdict> {
    const error = Cause.failureOption(cause)
    if (error._tag === "None" || Option.isSome(Cause.dieOption(cause)) || !Failure.isReal(failure)) {
      return Effect.succeed(no)
    }
    const entry = this.policy.byClass.get(Failure.classOf(failure))
    if (!this.isWorthIt(failure, attempt, error.value, entry)) return Effect.succeed(no)
    return Effect.flatMap(this.pause(entry?.schedule ?? this.policy.schedule, error.value, clock), (scheduled) => {
      if (scheduled === undefined) return Effect.succeed(no)
      const millis = this.policy.honourRetryAfter ? Math.max(scheduled, failure.retryAfterMillis ?? 0) : scheduled
      return Effect.zipWith(RetryBudget.RetryBudget, Timeout.remainingMillis, (budget, remaining): Verdict => {
        if (millis >= remaining) return noTime
        // asked last: what is not used must not be taken out
        return budget.withdraw(numbers.monotonic(clock)) ? { delayMillis: millis } : noBudget
      })
    })
  }

  private isWorthIt(
    failure: Failure.Failure,
    attempt: number,
    error: unknown,
    entry: ClassPolicy | undefined
  ): boolean {
    const key = entry === undefined ? undefined : Failure.classOf(failure)
    const count = (this.failed.get(key) ?? 0) + 1
    this.failed.set(key, count)
    const limit = entry === undefined ? this.policy.sharedAttempts : entry.maxAttempts
    if (attempt >= this.policy.maxAttempts || count >= limit) return false
    // whoever gives a class a policy of its own has said that it is worth it
    if (entry !== undefined) return true
    if (!this.policy.isRetryable(failure, error)) return false
    if (failure.maxRetries === undefined) return true
    const before = this.spent.get(failure.reason) ?? 0
    this.spent.set(failure.reason, before + 1)
    return before < failure.maxRetries
  }

  /** The pause that a schedule gives; it keeps its state between failures. */
  private pause(
    schedule: Schedule.Schedule<unknown, unknown>,
    error: unknown,
    clock: Clock.Clock
  ): Effect.Effect<number | undefined> {
    const now = clock.unsafeCurrentTimeMillis()
    const state = this.states.has(schedule) ? this.states.get(schedule) : schedule.initial
    return Effect.map(schedule.step(now, error, state), ([next, , decision]) => {
      this.states.set(schedule, next)
      return ScheduleDecision.isDone(decision)
        ? undefined
        : Math.max(0, ScheduleIntervals.start(decision.intervals) - now)
    })
  }
}
