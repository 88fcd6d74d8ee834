import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/TestClock"
import * as fc from "fast-check"
import { expectTypeOf } from "vitest"
import * as Trace from "../../src/observability/Trace.js"
import * as Failure from "../../src/resilience/Failure.js"
import * as RetryBudget from "../../src/resilience/RetryBudget.js"
import * as RetryPolicy from "../../src/resilience/RetryPolicy.js"
import * as Timeout from "../../src/resilience/Timeout.js"
import { finish, permanent, signal, transient, tree } from "./support.js"

/** When each try began, in milliseconds, and how it all ended. */
const times = <E>(
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

const always = (error: unknown) => () => Effect.fail(error)

describe("RetryPolicy: when", () => {
  it.effect("three attempts, 1 s and 2 s apart, without jitter", () =>
    Effect.gen(function* () {
      const { began, exit } = yield* times((n) => Effect.fail(transient(n)), { jitter: false })
      assert.deepStrictEqual(began, [0, 1000, 3000])
      assert.strictEqual(Exit.isFailure(exit) && String(Cause.squash(exit.cause)), "Error: transient 3")
    })
  )

  it.effect("grows by the factor up to the cap", () =>
    Effect.gen(function* () {
      const policy = { maxAttempts: 6, base: "100 millis", factor: 3, cap: "2 seconds", jitter: false } as const
      assert.deepStrictEqual((yield* times(always(transient()), policy)).began, [0, 100, 400, 1300, 3300, 5300])
    })
  )

  it.effect("a base of 0 never pauses, however far it grows", () =>
    Effect.gen(function* () {
      const policy = { maxAttempts: 1100, base: 0, factor: 10 }
      const { began } = yield* times(always(transient()), policy)
      assert.strictEqual(began.length, 1100)
      assert.isTrue(began.every((time) => time === 0))
    }).pipe(Effect.provide(RetryBudget.layerUnlimited))
  )

  it.effect("jitter keeps each pause between its bounds and below the cap, for every seed", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(
          fc.integer(),
          fc.integer({ min: 1, max: 5000 }),
          fc.integer({ min: 1, max: 4 }),
          fc.integer({ min: 1, max: 20_000 }),
          fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.double({ min: 1, max: 3, noNaN: true })),
          async (seed, base, factor, cap, jitter) => {
            const driver = await Effect.runPromise(Schedule.driver(RetryPolicy.backoff({ base, factor, cap, jitter })))
            for (let n = 0; n < 6; n++) {
              const pause = await Effect.runPromise(
                driver.next(undefined).pipe(Effect.withClock(instant), Effect.withRandom(Random.make(seed + n)))
              )
              const grown = Math.min(cap, base * factor ** n)
              const millis = Number(pause.value._tag === "Millis" ? pause.value.millis : 0)
              const exact = pause.value._tag === "Nanos" ? Number(pause.value.nanos) / 1e6 : millis
              assert.isAtLeast(exact, grown * jitter[0] - 1e-6)
              assert.isAtMost(exact, Math.min(cap, grown * jitter[1]) + 1e-6)
            }
          }
        ),
        { numRuns: 50 }
      )
    )
  )

  it.effect("callers far beyond the cap stay apart", () =>
    Effect.gen(function* () {
      const pauses = new Set<number>()
      for (const seed of [1, 2, 3, 4, 5, 6, 7, 8]) {
        const { began } = yield* times(always(transient()), {
          maxAttempts: 12,
          base: "1 second",
          cap: "2 seconds"
        }).pipe(Effect.withRandom(Random.make(seed)))
        pauses.add((began[11] ?? 0) - (began[10] ?? 0))
      }
      assert.isAbove(pauses.size, 2)
    })
  )

  it.effect("Retry-After is a lower bound, also beyond the cap", () =>
    Effect.gen(function* () {
      const policy = { base: "1 second", cap: "3 seconds", jitter: false } as const
      const asking = (retryAfter: number) => always(Object.assign(new Error(), { status: 429, retryAfter }))
      assert.deepStrictEqual((yield* times(asking(0.1), policy)).began, [0, 1000, 3000])
      assert.deepStrictEqual((yield* times(asking(90), policy)).began, [0, 90_000, 180_000])
      assert.deepStrictEqual((yield* times(asking(90), { ...policy, honourRetryAfter: false })).began, [0, 1000, 3000])
    })
  )

  it.effect("a Retry-After date is read against Effect's clock", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(Date.parse("Wed, 21 Oct 2026 07:28:00 GMT"))
      const error = Object.assign(new Error(), {
        status: 429,
        headers: { "retry-after": "Wed, 21 Oct 2026 07:28:20 GMT" }
      })
      const { began } = yield* times(always(error), { jitter: false, maxAttempts: 2 })
      assert.deepStrictEqual(began, [0, 20_000])
    })
  )

  it.effect("any Schedule gives the pauses, and its end ends the trying", () =>
    Effect.gen(function* () {
      const fibonacci = Schedule.fibonacci("1 second").pipe(Schedule.intersect(Schedule.recurs(4)))
      const all = RetryPolicy.fromSchedule(fibonacci, { maxAttempts: Number.POSITIVE_INFINITY })
      assert.deepStrictEqual((yield* times(always(transient()), all)).began, [0, 1000, 2000, 4000, 7000])
      assert.deepStrictEqual(
        (yield* times(always(transient()), RetryPolicy.fromSchedule(fibonacci))).began,
        [0, 1000, 2000]
      )
      const notSecond = Schedule.spaced("1 second").pipe(
        Schedule.whileInput((error) => !(error instanceof Error && error.message === "transient 2"))
      )
      const { began } = yield* times((n) => Effect.fail(transient(n)), RetryPolicy.fromSchedule(notSecond))
      assert.deepStrictEqual(began, [0, 1000])
    })
  )

  it.effect("each run begins its schedule anew", () =>
    Effect.gen(function* () {
      const effect = RetryPolicy.retry(Effect.fail(transient()), { jitter: false, maxAttempts: 2 })
      for (const _ of [1, 2]) {
        const start = yield* Clock.currentTimeMillis
        const fiber = yield* Effect.fork(Effect.zipRight(Effect.exit(effect), Clock.currentTimeMillis))
        yield* TestClock.adjust("1 minute")
        assert.strictEqual((yield* Fiber.join(fiber)) - start, 1000)
      }
    })
  )
})

describe("RetryPolicy: what", () => {
  it.effect("ends with the answer at the first try that works", () =>
    Effect.gen(function* () {
      const run = (n: number) => (n < 3 ? Effect.fail(transient(n)) : Effect.succeed(`answer ${n}`))
      assert.deepStrictEqual(yield* finish(RetryPolicy.attempts(run, RetryPolicy.make())), Exit.succeed("answer 3"))
    })
  )

  const once: ReadonlyArray<readonly [what: string, effect: Effect.Effect<never, unknown>]> = [
    ["a permanent failure", Effect.fail(permanent())],
    ["a defect", Effect.die(transient())],
    ["control flow", Effect.fail(signal())],
    ["thrown control flow", Effect.die(signal())],
    ["an aborted call", Effect.fail(new DOMException("stop", "AbortError"))]
  ]
  for (const [what, effect] of once) {
    it.effect(`${what} is tried once and passes as it is`, () =>
      Effect.gen(function* () {
        let tried = 0
        const counted = Effect.suspend(() => {
          tried++
          return effect
        })
        const plain = yield* Effect.exit(effect)
        const retried = yield* finish(RetryPolicy.retry(counted, { base: 0 }))
        assert.strictEqual(tried, 1)
        assert.isTrue(Exit.isFailure(retried) && Exit.isFailure(plain))
        if (Exit.isFailure(retried) && Exit.isFailure(plain)) {
          assert.strictEqual(Cause.isInterrupted(retried.cause), Cause.isInterrupted(plain.cause))
          // a span in force wraps what fails inside it: what counts is the error itself
          assert.strictEqual(
            Cause.originalError(Cause.squash(retried.cause)),
            Cause.originalError(Cause.squash(plain.cause))
          )
          assert.strictEqual(retried.cause._tag, plain.cause._tag)
        }
      })
    )
  }

  it.effect("an interruption from inside is tried once, and stays one", () =>
    Effect.gen(function* () {
      let tried = 0
      const interrupted = Effect.suspend(() => {
        tried++
        return Effect.interrupt
      })
      assert.isTrue(Exit.isInterrupted(yield* finish(RetryPolicy.retry(interrupted, { base: 0 }))))
      assert.strictEqual(tried, 1)
    })
  )

  it.effect("a failure and a defect at once are not repeated, even by a policy that wants all", () =>
    Effect.gen(function* () {
      let tried = 0
      const both = Effect.suspend(() => {
        tried++
        return Effect.failCause(Cause.parallel(Cause.fail(transient()), Cause.die("bug")))
      })
      yield* finish(RetryPolicy.retry(both, { base: 0, isRetryable: () => true }))
      assert.strictEqual(tried, 1)
    })
  )

  it.effect("a parallel cause of failures is repeated when each is worth it", () =>
    Effect.gen(function* () {
      let tried = 0
      const run = (cause: Cause.Cause<Error>) =>
        Effect.suspend(() => {
          tried++
          return Effect.failCause(cause)
        })
      yield* finish(
        RetryPolicy.retry(run(Cause.parallel(Cause.fail(transient(1)), Cause.fail(transient(2)))), { base: 0 })
      )
      assert.strictEqual(tried, 3)
      yield* finish(
        RetryPolicy.retry(run(Cause.parallel(Cause.fail(transient(1)), Cause.fail(permanent()))), { base: 0 })
      )
      assert.strictEqual(tried, 4)
    })
  )

  it.effect("an answer that does not decode is worth one more try, wherever it comes in the row", () =>
    Effect.gen(function* () {
      const row =
        (...errors: ReadonlyArray<Error>) =>
        (n: number) =>
          Effect.fail(errors[n - 1] ?? new Error("past the row"))
      const decode = () => new SyntaxError("no JSON")
      const policy = { maxAttempts: 9, base: 0 }
      assert.strictEqual((yield* times(row(decode(), decode(), decode()), policy)).began.length, 2)
      assert.strictEqual(
        (yield* times(row(transient(), transient(), decode(), decode(), decode()), policy)).began.length,
        4
      )
      assert.strictEqual((yield* times(row(decode(), transient(), decode()), policy)).began.length, 3)
    })
  )

  it.effect("isRetryable and classify decide", () =>
    Effect.gen(function* () {
      const never = { base: 0, isRetryable: () => false }
      assert.strictEqual((yield* times(always(transient()), never)).began.length, 1)
      const stubborn = { base: 0, isRetryable: (failure: Failure.Failure) => failure.kind === "permanent" }
      assert.strictEqual((yield* times(always(permanent()), stubborn)).began.length, 3)
      let tried = 0
      const counted = Effect.suspend(() => {
        tried++
        return Effect.fail("quota")
      })
      const mine = () => ({ kind: "permanent", reason: "mine" }) as const
      yield* finish(RetryPolicy.retry(counted, { base: 0 }, { classify: mine }))
      assert.strictEqual(tried, 1)
      yield* finish(
        RetryPolicy.retry(counted, { base: 0 }).pipe(Effect.provideService(Failure.CurrentClassifier, mine))
      )
      assert.strictEqual(tried, 2)
      yield* finish(counted.pipe(RetryPolicy.retry(RetryPolicy.none)))
      assert.strictEqual(tried, 3)
    })
  )
})

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

describe("RetryPolicy: types", () => {
  it("keeps the effect's own", () => {
    interface Service {
      readonly _: unique symbol
    }
    const effect: Effect.Effect<number, "no", Service> = Effect.fail("no")
    expectTypeOf(RetryPolicy.retry(effect, {})).toEqualTypeOf<Effect.Effect<number, "no", Service>>()
    expectTypeOf(effect.pipe(RetryPolicy.retry({}))).toEqualTypeOf<Effect.Effect<number, "no", Service>>()
    expectTypeOf(RetryPolicy.attempts(() => effect, RetryPolicy.none)).toEqualTypeOf<
      Effect.Effect<number, "no", Service>
    >()
    expectTypeOf(RetryPolicy.backoff()).not.toBeAny()
  })
})

/** A clock that sleeps for no time. */
const instant: Clock.Clock = { ...Clock.make(), sleep: () => Effect.void }
