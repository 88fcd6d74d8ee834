/** A policy's tries, timed. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as RetryPolicy from "../../../src/resilience/RetryPolicy.js"
import type * as Timeout from "../../../src/resilience/Timeout.js"
import { finish } from "../support.js"

/** When each try began, in milliseconds, and how it all ended. */
export const times = <E>(
  fail: (attempt: number) => Effect.Effect<never, E>,
  policy: RetryPolicy.RetryPolicy | RetryPolicy.Options,
  around: <A, E2>(self: Effect.Effect<A, E2>) => Effect.Effect<A, E2 | Timeout.AgentTimeoutError> = (self) => self
) =>
  Effect.gen(function* () {
    const began: Array<number> = []
    const start = yield* Clock.currentTimeMillis
    const run = (attempt: number) =>
      Effect.zipRight(
        Effect.map(Clock.currentTimeMillis, (now) => began.push(now - start)),
        fail(attempt)
      )
    const exit = yield* finish(
      around(RetryPolicy.attempts(run, RetryPolicy.isRetryPolicy(policy) ? policy : RetryPolicy.make(policy)))
    )
    return { began, exit }
  })

export const always = (error: unknown) => () => Effect.fail(error)
