import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/TestClock"
import * as Trace from "../../../src/observability/Trace.js"
import * as RetryPolicy from "../../../src/resilience/RetryPolicy.js"
import * as Timeout from "../../../src/resilience/Timeout.js"
import { finish, signal, transient, tree } from "../support.js"
import { always, times } from "./support.js"

describe("RetryPolicy: bounds", () => {
  it.effect("an interruption during the pause returns at once", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.fork(RetryPolicy.retry(Effect.fail(transient()), { jitter: false, base: "1 minute" }))
      yield* TestClock.adjust("10 seconds")
      assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
      assert.strictEqual(yield* Clock.currentTimeMillis, 10_000)
    })
  )

  it.effect("a pause that would outlast the deadline is not begun: the last error comes at once", () =>
    Effect.gen(function* () {
      const policy = { maxAttempts: 9, jitter: false } as const
      const within = (duration: number) => times(always(transient()), policy, Timeout.deadline(duration))
      const ends = (exit: Exit.Exit<unknown, unknown>) => Exit.isFailure(exit) && String(Cause.squash(exit.cause))
      const six = yield* within(6000)
      assert.deepStrictEqual(six.began, [0, 1000, 3000])
      assert.strictEqual(ends(six.exit), "Error: transient 0")
      assert.deepStrictEqual((yield* within(7000)).began, [0, 1000, 3000])
      assert.deepStrictEqual((yield* within(7001)).began, [0, 1000, 3000, 7000])
    })
  )

  it.effect("a jittered pause under a deadline ends on no whole nanosecond, and nothing dies", () =>
    Effect.gen(function* () {
      for (const seed of [1, 2, 3, 4, 5]) {
        const { exit } = yield* times(
          always(transient()),
          { maxAttempts: 9, base: 333.333 },
          Timeout.deadline("1 minute")
        ).pipe(Effect.withRandom(Random.make(seed)))
        assert.isTrue(Exit.isFailure(exit) && Cause.isFailType(exit.cause))
      }
    })
  )

  it.effect("hooks hear of each failure, and of each further try", () =>
    Effect.gen(function* () {
      const failures: Array<RetryPolicy.AttemptRecord> = []
      const retries: Array<RetryPolicy.AttemptRecord> = []
      yield* finish(
        RetryPolicy.attempts((n) => Effect.fail(transient(n)), RetryPolicy.make({ jitter: false }), {
          onFailure: (record) => Effect.sync(() => failures.push(record)),
          onRetry: (record) => Effect.sync(() => retries.push(record))
        })
      )
      const record = (attempt: number, delayMillis?: number) => ({
        attempt,
        errorType: "Error",
        message: `transient ${attempt}`,
        failure: { kind: "transient", reason: "http 503" } as const,
        ...(delayMillis === undefined ? {} : { delayMillis })
      })
      assert.deepStrictEqual(failures, [record(1, 1000), record(2, 2000), record(3)])
      assert.deepStrictEqual(retries, [record(1, 1000), record(2, 2000)])
    })
  )

  it("refuses numbers that make no sense, by name", () => {
    const wrong: ReadonlyArray<readonly [options: RetryPolicy.Options, message: RegExp]> = [
      [{ maxAttempts: 0 }, /maxAttempts must be a whole number from 1, got 0/],
      [{ maxAttempts: 1.5 }, /maxAttempts/],
      [{ maxAttempts: Number.NaN }, /maxAttempts/],
      [{ base: -1 }, /base must be a duration from 0 up, got -1/],
      [{ base: Number.NaN }, /base/],
      [{ base: "-1 seconds" }, /base/],
      [{ cap: -1 }, /cap/],
      [{ factor: 0.5 }, /factor must be a number from 1 up, got 0.5/],
      [{ factor: Number.NaN }, /factor/],
      [{ factor: Number.POSITIVE_INFINITY }, /factor/],
      [{ jitter: [-1, 1] }, /jitter must be two numbers from 0 up in order, got -1 to 1/],
      [{ jitter: [2, 1] }, /jitter/],
      [{ jitter: [0, Number.NaN] }, /jitter/],
      [{ jitter: [0, Number.POSITIVE_INFINITY] }, /jitter/]
    ]
    for (const [options, message] of wrong) assert.throws(() => RetryPolicy.make(options), message)
    assert.throws(() => RetryPolicy.fromSchedule(Schedule.forever, { maxAttempts: -1 }), RangeError)
    assert.strictEqual(
      RetryPolicy.make({ maxAttempts: Number.POSITIVE_INFINITY }).maxAttempts,
      Number.POSITIVE_INFINITY
    )
    assert.isTrue(RetryPolicy.isRetryPolicy(RetryPolicy.none))
    assert.isFalse(RetryPolicy.isRetryPolicy({}))
  })
})

describe("RetryPolicy: what is seen", () => {
  it.effect("an attempt a try: WARNING while it goes on, ERROR at the end", () =>
    Effect.gen(function* () {
      yield* finish(
        RetryPolicy.retry(Effect.fail(transient(7)), { jitter: false, maxAttempts: 2 }).pipe(Effect.withSpan("root"))
      )
      const attempt = { name: "attempt", under: "root", type: "span", scores: {} } as const
      assert.deepStrictEqual((yield* tree).slice(1), [
        {
          ...attempt,
          level: "WARNING",
          statusMessage: "Error: transient 7; next try in 1s",
          metadata: { attempt: 1, max_attempts: 2, delay_seconds: 1, error_type: "Error" }
        },
        {
          ...attempt,
          level: "ERROR",
          statusMessage: "Error: transient 7",
          metadata: { attempt: 2, max_attempts: 2, error_type: "Error" }
        }
      ])
    }).pipe(Effect.provide(Trace.layerRecorder()))
  )

  it.effect("control flow is no error, an interruption a warning, a deadline an error", () =>
    Effect.gen(function* () {
      yield* finish(RetryPolicy.retry(Effect.fail(signal()), {}))
      yield* finish(RetryPolicy.retry(Effect.interrupt, {}))
      yield* finish(RetryPolicy.retry(Effect.never, {}).pipe(Timeout.deadline("1 second")))
      assert.deepStrictEqual(
        (yield* tree).map(({ level, metadata, statusMessage }) => [level, statusMessage, metadata["error_type"]]),
        [
          ["DEFAULT", undefined, undefined],
          ["WARNING", "interrupted", undefined],
          ["ERROR", "ended by the deadline", "AgentTimeoutError"]
        ]
      )
    }).pipe(Effect.provide(Trace.layerRecorder()))
  )
})
