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
import * as RetryBudget from "../../../src/resilience/RetryBudget.js"
import * as RetryPolicy from "../../../src/resilience/RetryPolicy.js"
import { transient } from "../support.js"
import { always, times } from "./support.js"

/** A clock that sleeps for no time. */
const instant: Clock.Clock = { ...Clock.make(), sleep: () => Effect.void }

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
