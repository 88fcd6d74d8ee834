import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/TestClock"
import * as TestContext from "effect/TestContext"
import * as fc from "fast-check"
import { expectTypeOf } from "vitest"
import * as Trace from "../../../src/observability/Trace.js"
import * as Failure from "../../../src/resilience/Failure.js"
import * as RetryBudget from "../../../src/resilience/RetryBudget.js"
import * as RetryPolicy from "../../../src/resilience/RetryPolicy.js"
import * as Timeout from "../../../src/resilience/Timeout.js"
import { finish, permanent, signal, transient, tree } from "../support.js"

const limited = (retryAfter?: number) => Object.assign(new Error("slow down"), { status: 429, retryAfter })
const decode = () => new SyntaxError("no JSON")

/** When each try began, in milliseconds, and how it ended. */
const times = (fail: (attempt: number) => unknown, options: RetryPolicy.RetryPolicy | RetryPolicy.Options) =>
  Effect.gen(function* () {
    const began: Array<number> = []
    const start = yield* Clock.currentTimeMillis
    const run = (attempt: number) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        began.push(now - start)
        return Effect.fail(fail(attempt))
      })
    const policy = RetryPolicy.isRetryPolicy(options) ? options : RetryPolicy.make(options)
    yield* finish(Effect.exit(RetryPolicy.attempts(run, policy)))
    return began
  }).pipe(Effect.provide(RetryBudget.layerUnlimited))

const row =
  (...errors: ReadonlyArray<unknown>) =>
  (attempt: number) =>
    errors[attempt - 1] ?? new Error("past the row")

describe("RetryPolicy: by class", () => {
  it.effect("each class has a limit of its own, all others share the policy's", () =>
    Effect.gen(function* () {
      const policy = { base: 0, byClass: { "rate-limited": { maxAttempts: 6 }, decode: { maxAttempts: 2 } } }
      assert.strictEqual(RetryPolicy.make(policy).maxAttempts, 6)
      assert.strictEqual((yield* times(limited, policy)).length, 6)
      assert.strictEqual((yield* times(decode, policy)).length, 2)
      assert.strictEqual((yield* times(() => transient(), policy)).length, 3)
      assert.strictEqual((yield* times(permanent, policy)).length, 1)
      const mixed = row(transient(), limited(), transient(), limited(), transient())
      assert.strictEqual((yield* times(mixed, policy)).length, 5)
      const all = row(limited(), limited(), limited(), limited(), transient(), transient(), transient())
      assert.strictEqual((yield* times(all, policy)).length, 6)
      const twice = row(decode(), limited(), decode())
      assert.strictEqual((yield* times(twice, policy)).length, 3)
    })
  )

  it.effect("an entry says that it is worth it, whatever else says no; false says that it is not", () =>
    Effect.gen(function* () {
      const tooLong = () => Object.assign(new Error("no"), { code: "context_length_exceeded" })
      assert.strictEqual((yield* times(tooLong, { base: 0, byClass: { "context-length": {} } })).length, 3)
      assert.strictEqual((yield* times(decode, { base: 0, byClass: { decode: { maxAttempts: 4 } } })).length, 4)
      const never = { base: 0, isRetryable: () => false, byClass: { overloaded: { maxAttempts: 2 } } }
      assert.strictEqual((yield* times(() => transient(), never)).length, 2)
      assert.strictEqual((yield* times(() => transient(), { base: 0, byClass: { overloaded: false } })).length, 1)
      assert.strictEqual((yield* times(() => transient(), { base: 0, byClass: { overloaded: undefined } })).length, 3)
      const cancelled = { base: 0, byClass: { cancelled: {}, "control-flow": {}, defect: {} } }
      assert.strictEqual((yield* times(signal, cancelled)).length, 1)
      assert.strictEqual((yield* times(() => new DOMException("stop", "AbortError"), cancelled)).length, 1)
    })
  )

  it.effect("a class has pauses of its own, from numbers or a schedule; what it does not say is the policy's", () =>
    Effect.gen(function* () {
      const policy: RetryPolicy.Options = {
        jitter: false,
        maxAttempts: 9,
        byClass: { "rate-limited": { base: "10 seconds", maxAttempts: 2 }, decode: { schedule: Schedule.spaced(5) } }
      }
      assert.deepStrictEqual(yield* times(limited, policy), [0, 10_000])
      // each schedule goes on from where it was
      const mixed = row(transient(), decode(), transient(), limited(), decode(), permanent())
      assert.deepStrictEqual(yield* times(mixed, policy), [0, 1000, 1005, 3005, 13_005, 13_010])
    })
  )

  it.effect("an entry serves a policy from a schedule too", () =>
    Effect.gen(function* () {
      const policy = RetryPolicy.fromSchedule(Schedule.spaced(100), {
        maxAttempts: 2,
        byClass: { "rate-limited": { maxAttempts: 3, base: 7, jitter: false } }
      })
      assert.deepStrictEqual(yield* times(() => limited(), policy), [0, 7, 21])
      assert.deepStrictEqual(yield* times(() => transient(), policy), [0, 100])
    })
  )

  it("refuses an entry that makes no sense", () => {
    assert.throws(() => RetryPolicy.make({ byClass: { decode: { maxAttempts: 0 } } }), /maxAttempts of decode/)
    assert.throws(() => RetryPolicy.make({ byClass: { decode: { base: -1 } } }), /base/)
  })

  it.effect("the presets", () =>
    Effect.gen(function* () {
      const count = (policy: RetryPolicy.RetryPolicy) =>
        Effect.map(
          Effect.forEach([limited, () => transient(), decode], (fail) => times(fail, policy)),
          (all) => all.map((began) => began.length)
        )
      assert.deepStrictEqual(yield* count(RetryPolicy.standard), [3, 3, 2])
      assert.deepStrictEqual(yield* count(RetryPolicy.quick), [3, 3, 2])
      assert.deepStrictEqual(yield* count(RetryPolicy.patient), [12, 8, 2])
      assert.deepStrictEqual(yield* count(RetryPolicy.model), [6, 5, 2])
      assert.deepStrictEqual(yield* count(RetryPolicy.none), [1, 1, 1])
      assert.deepStrictEqual(yield* times(decode, RetryPolicy.model), [0, 0])
    })
  )
})

describe("RetryPolicy: jitter", () => {
  const pauses = (options: RetryPolicy.BackoffOptions, seed: number, count: number) =>
    Effect.gen(function* () {
      const driver = yield* Schedule.driver(RetryPolicy.backoff(options))
      const all: Array<number> = []
      for (let n = 0; n < count; n++) {
        const pause = yield* driver.next(undefined)
        all.push(
          pause.value._tag === "Nanos"
            ? Number(pause.value.nanos) / 1e6
            : pause.value._tag === "Millis"
              ? pause.value.millis
              : Infinity
        )
      }
      return all
    }).pipe(
      Effect.withClock({ ...Clock.make(), sleep: () => Effect.void }),
      Effect.withRandom(Random.make(seed)),
      Effect.runPromise
    )

  it("full: anywhere up to what it has grown to, and the cap", () =>
    fc.assert(
      fc.asyncProperty(
        fc.integer(),
        fc.integer({ min: 1, max: 5000 }),
        fc.integer({ min: 1, max: 20_000 }),
        async (seed, base, cap) => {
          const all = await pauses({ base, cap, jitter: "full" }, seed, 6)
          all.forEach((pause, n) => {
            assert.isAtLeast(pause, 0)
            assert.isAtMost(pause, Math.min(cap, base * 2 ** n))
          })
          assert.isTrue(all.some((pause, n) => pause < Math.min(cap, base * 2 ** n) * 0.9))
        }
      ),
      { numRuns: 50 }
    ))

  it("decorrelated: between the base and three times the pause before, and at most the cap", () =>
    fc.assert(
      fc.asyncProperty(
        fc.integer(),
        fc.integer({ min: 1, max: 5000 }),
        fc.integer({ min: 1, max: 20_000 }),
        async (seed, base, cap) => {
          let before = base
          for (const pause of await pauses({ base, cap, jitter: "decorrelated" }, seed, 8)) {
            assert.isAtLeast(pause, Math.min(base, cap) - 1e-6)
            assert.isAtMost(pause, Math.min(cap, Math.max(base, before * 3)) + 1e-6)
            before = pause
          }
        }
      ),
      { numRuns: 50 }
    ))
})

describe("RetryPolicy: the hook and the history", () => {
  it.effect("the policy's hook and the call's are heard before each further try", () =>
    Effect.gen(function* () {
      const heard: Array<string> = []
      const hear = (who: string) => (record: RetryPolicy.AttemptRecord) =>
        Effect.sync(() => heard.push(`${who} ${record.attempt} ${record.delayMillis} ${record.failure?.reason}`))
      const policy = RetryPolicy.make({ jitter: false, maxAttempts: 2, onRetry: hear("policy") })
      yield* finish(Effect.exit(RetryPolicy.retry(Effect.fail(transient()), policy, { onRetry: hear("call") })))
      assert.deepStrictEqual(heard, ["policy 1 1000 http 503", "call 1 1000 http 503"])
    })
  )

  it.effect("the history is data, beside an answer and beside a failure", () =>
    Effect.gen(function* () {
      let tries = 0
      const third = Effect.suspend(() => (++tries < 3 ? Effect.fail(transient(tries)) : Effect.succeed("answer")))
      const ended = yield* finish(RetryPolicy.retryWithHistory(third, { jitter: false }))
      assert.isTrue(Exit.isSuccess(ended))
      if (Exit.isSuccess(ended)) {
        assert.deepStrictEqual(ended.value.exit, Exit.succeed("answer"))
        assert.strictEqual(ended.value.attempts, 3)
        assert.deepStrictEqual(
          ended.value.history.map(({ attempt, delayMillis, message }) => [attempt, message, delayMillis]),
          [
            [1, "transient 1", 1000],
            [2, "transient 2", 2000]
          ]
        )
      }
      const failures: Array<number> = []
      const none = yield* Effect.fail("no").pipe(
        RetryPolicy.retryWithHistory(RetryPolicy.none, {
          onFailure: ({ attempt }) => Effect.sync(() => failures.push(attempt))
        })
      )
      assert.deepStrictEqual(none.exit, Exit.fail("no"))
      assert.deepStrictEqual([none.attempts, none.history.length, failures], [1, 1, [1]])
    })
  )

  it.effect("an interruption of whoever waits ends it", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.fork(RetryPolicy.retryWithHistory(Effect.never, {}))
      yield* TestClock.adjust(1)
      assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
    })
  )

  it.effect("a pause that the deadline does not allow is said", () =>
    Effect.gen(function* () {
      yield* finish(
        Effect.exit(RetryPolicy.retry(Effect.fail(transient()), { jitter: false }).pipe(Timeout.deadline(500)))
      )
      const last = (yield* tree).at(-1)
      assert.strictEqual(
        last?.statusMessage,
        "Error: transient 0; not tried again: the pause would outlast the deadline"
      )
      assert.strictEqual(last?.metadata["retry_denied"], "deadline")
    }).pipe(Effect.provide(Trace.layerRecorder()))
  )

  it("has the types it says", () => {
    interface Service {
      readonly _: unique symbol
    }
    const effect: Effect.Effect<number, "no", Service> = Effect.fail("no")
    type Expected = Effect.Effect<RetryPolicy.Retried<number, "no">, never, Service>
    expectTypeOf(RetryPolicy.retryWithHistory(effect, {})).toEqualTypeOf<Expected>()
    expectTypeOf(effect.pipe(RetryPolicy.retryWithHistory({}))).toEqualTypeOf<Expected>()
  })
})

describe("RetryPolicy: any policy", () => {
  const error = fc.oneof(
    fc.constant(() => transient()),
    fc.constant(decode),
    fc.constant(permanent),
    fc.integer({ min: 0, max: 20 }).map((seconds) => () => limited(seconds))
  )

  it(
    "tries within its bounds, ends within the deadline, pauses no less than Retry-After, and stops at once",
    () =>
      fc.assert(
        fc.asyncProperty(
          fc.record({
            maxAttempts: fc.integer({ min: 1, max: 5 }),
            base: fc.integer({ min: 0, max: 3000 }),
            cap: fc.integer({ min: 0, max: 10_000 }),
            jitter: fc.constantFrom<RetryPolicy.Options["jitter"]>(false, "full", "decorrelated", [0.5, 1.5]),
            limitedAttempts: fc.option(fc.integer({ min: 1, max: 7 }), { nil: undefined })
          }),
          fc.array(fc.tuple(fc.integer({ min: 0, max: 2000 }), error), { minLength: 12, maxLength: 12 }),
          fc.integer({ min: 1, max: 30_000 }),
          fc.option(fc.integer({ min: 1, max: 30_000 }), { nil: undefined }),
          fc.integer(),
          ({ limitedAttempts, ...options }, row, deadline, interruptAt, seed) =>
            Effect.runPromise(
              Effect.gen(function* () {
                const policy = RetryPolicy.make({
                  ...options,
                  byClass: limitedAttempts === undefined ? {} : { "rate-limited": { maxAttempts: limitedAttempts } }
                })
                const tries: Array<{ readonly began: number; ended: number; error: unknown }> = []
                const start = yield* Clock.currentTimeMillis
                const now = Effect.map(Clock.currentTimeMillis, (time) => time - start)
                const run = (attempt: number) =>
                  Effect.gen(function* () {
                    const [millis, make] = row[attempt - 1] ?? [0, permanent]
                    const own: (typeof tries)[number] = { began: yield* now, ended: Infinity, error: make() }
                    tries.push(own)
                    yield* Effect.sleep(millis)
                    own.ended = yield* now
                    return yield* Effect.fail(own.error)
                  })
                let endedAt = Infinity
                const whole = RetryPolicy.attempts(run, policy).pipe(
                  Timeout.deadline(deadline),
                  Effect.onExit(() =>
                    Effect.map(now, (time) => {
                      endedAt = time
                    })
                  )
                )
                const fiber = yield* Effect.fork(whole)
                if (interruptAt !== undefined) {
                  yield* TestClock.adjust(interruptAt)
                  yield* Fiber.interrupt(fiber)
                  assert.isAtMost(endedAt, interruptAt)
                }
                yield* TestClock.adjust("1 hour")
                yield* Fiber.await(fiber)

                assert.isAtMost(tries.length, Math.max(options.maxAttempts, limitedAttempts ?? 1))
                // the clock of a test goes on in steps of a fraction
                assert.isAtMost(endedAt, deadline + 1)
                tries.forEach((each, index) => {
                  const next = tries[index + 1]
                  if (next === undefined) return
                  const failure = Failure.classify(each.error)
                  assert.isTrue(Failure.isRetryable(failure))
                  assert.isAtLeast(next.began - each.ended, (failure.retryAfterMillis ?? 0) - 1e-6)
                  assert.isAtMost(next.began - each.ended, Math.max(options.cap, failure.retryAfterMillis ?? 0) + 1e-6)
                })
                const byDecode = tries.filter((each) => each.error instanceof SyntaxError).length
                assert.isAtMost(byDecode, 2)
              }).pipe(
                Effect.provide(RetryBudget.layerUnlimited),
                Effect.withRandom(Random.make(seed)),
                Effect.provide(TestContext.TestContext)
              )
            )
        ),
        { numRuns: 120 }
      ),
    120_000
  )
})
