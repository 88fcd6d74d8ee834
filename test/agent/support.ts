/** Agents that take their time, and swarms that are timed. */
import { assert } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/TestClock"
import * as Agent from "../../src/agent/Agent.js"
import * as Swarm from "../../src/agent/Swarm.js"
import * as CircuitBreaker from "../../src/resilience/CircuitBreaker.js"
import * as RetryBudget from "../../src/resilience/RetryBudget.js"
import { permanent } from "../resilience/support.js"

export const once: Agent.Policy = { retry: false, circuitBreaker: false, timeout: false }
export const own = Effect.provide([CircuitBreaker.layerRegistry, RetryBudget.layerUnlimited])

/** An agent that answers, or fails, after so many milliseconds; and whether it was interrupted. */
export const taking = (id: string, millis: number, succeeds = true) => {
  const seen = { began: 0, interrupted: 0 }
  const agent = Agent.make(
    id,
    (_: string) =>
      Effect.sync(() => seen.began++).pipe(
        Effect.zipRight(Effect.sleep(millis)),
        Effect.zipRight(succeeds ? Effect.succeed(id) : Effect.fail(permanent())),
        Effect.onInterrupt(() => Effect.sync(() => seen.interrupted++))
      ),
    once
  )
  return { agent, seen }
}

/** How it ended, and after how many milliseconds. */
export const timed = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const start = yield* Clock.currentTimeMillis
    const fiber = yield* Effect.fork(Effect.zip(Effect.exit(self), Clock.currentTimeMillis))
    yield* TestClock.adjust("1 hour")
    const [exit, end] = yield* Fiber.join(fiber)
    return [exit, end - start] as const
  })

export const criticalOf = (exit: Exit.Exit<unknown, unknown>): Swarm.CriticalDegradationError => {
  const error = Exit.isFailure(exit) ? Cause.originalError(Cause.squash(exit.cause)) : undefined
  assert.instanceOf(error, Swarm.CriticalDegradationError)
  return error
}
