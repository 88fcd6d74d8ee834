/** The pauses of exponential backoff, in their kinds of jitter. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as ScheduleInterval from "effect/ScheduleInterval"
import type { BackoffOptions } from "../RetryPolicy.js"
import * as numbers from "./numbers.js"

/** By how much a decorrelated pause may outgrow the one before: the figure of AWS's "Exponential Backoff and Jitter". */
const spread = 3

const scheduleOf = <S>(
  initial: S,
  step: (state: S) => Effect.Effect<readonly [state: S, millis: number]>
): Schedule.Schedule<Duration.Duration> =>
  Schedule.makeWithState(initial, (now, _input, state: S) =>
    Effect.map(step(state), ([next, millis]) => [
      next,
      Duration.millis(millis),
      ScheduleDecision.continueWith(ScheduleInterval.after(now + millis))
    ])
  )

/** @throws `RangeError` when a number makes no sense. */
export const backoff = (options: BackoffOptions): Schedule.Schedule<Duration.Duration> => {
  const base = numbers.millis("RetryPolicy: base", options.base ?? "1 second")
  const cap = Math.min(numbers.millis("RetryPolicy: cap", options.cap ?? "60 seconds"), Number.MAX_VALUE)
  const factor = options.factor ?? 2
  if (!(factor >= 1 && factor < Infinity)) {
    throw new RangeError(`RetryPolicy: factor must be a number from 1 up, got ${factor}`)
  }
  const jitter = options.jitter ?? ([0.5, 1.5] as const)
  if (jitter === "decorrelated") {
    return scheduleOf(base, (before) =>
      Effect.map(Random.nextRange(base, Math.max(base, before * spread)), (drawn) => {
        const millis = Math.min(cap, drawn)
        return [millis, millis]
      })
    )
  }
  const range = jitter === "full" ? ([0, 1] as const) : jitter
  if (range !== false && !(range[0] >= 0 && range[0] <= range[1] && range[1] < Infinity)) {
    throw new RangeError(`RetryPolicy: jitter must be two numbers from 0 up in order, got ${range[0]} to ${range[1]}`)
  }
  return scheduleOf(0, (n) =>
    Effect.map(range === false ? Effect.succeed(1) : Random.nextRange(range[0], range[1]), (times) => {
      // capped before the jitter too, so that callers stay apart when the growth is far beyond the cap; and no 0 times Infinity
      const grown = base === 0 ? 0 : Math.min(cap, base * factor ** n)
      return [n + 1, Math.min(cap, grown * times)]
    })
  )
}
