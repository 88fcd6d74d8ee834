/** What policies come to that are only named, or only half said. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Trace from "../../../src/observability/Trace.js"
import * as RetryBudget from "../../../src/resilience/RetryBudget.js"
import * as RetryPolicy from "../../../src/resilience/RetryPolicy.js"
import { finish, transient, tree } from "../support.js"
import { always, times } from "./support.js"

const limited = () => Object.assign(new Error("slow down"), { status: 429 })
const odd = () => new Error("odd")

/** The shortest and the longest of each pause, over some seeds. */
const pauses = (policy: RetryPolicy.RetryPolicy, error: unknown) =>
  Effect.gen(function* () {
    const all: Array<Array<number>> = []
    for (let seed = 0; seed < 6; seed++) {
      const { began } = yield* times(always(error), policy).pipe(Effect.withRandom(Random.make(seed)))
      all.push(began.slice(1).map((at, index) => at - (began[index] ?? 0)))
    }
    return (all[0] ?? []).map((_, index) => {
      const each = all.map((pauses) => pauses[index] ?? Number.NaN)
      return [Math.min(...each), Math.max(...each)] as const
    })
  }).pipe(Effect.provide(RetryBudget.layerUnlimited))

const between = (all: ReadonlyArray<readonly [number, number]>, bounds: ReadonlyArray<readonly [number, number]>) => {
  assert.strictEqual(all.length, bounds.length)
  all.forEach(([shortest, longest], index) => {
    const [min, max] = bounds[index] ?? [0, 0]
    assert.isAtLeast(shortest, min)
    assert.isAtMost(longest, max)
    // and they use what they may
    assert.isAbove(longest - shortest, (max - min) / 4)
  })
}

describe("RetryPolicy: the presets' pauses", () => {
  it.effect("standard: 1 s and 2 s, times 0.5 to 1.5", () =>
    Effect.gen(function* () {
      between(yield* pauses(RetryPolicy.standard, odd()), [
        [500, 1500],
        [1000, 3000]
      ])
    })
  )

  it.effect("quick: up to 100 ms and 200 ms, a second at most", () =>
    Effect.gen(function* () {
      between(yield* pauses(RetryPolicy.quick, odd()), [
        [0, 100],
        [0, 200]
      ])
      const many = RetryPolicy.fromSchedule(RetryPolicy.quick.schedule, { maxAttempts: 9 })
      assert.isAtMost(Math.max(...(yield* pauses(many, odd())).map(([, longest]) => longest)), 1000)
    })
  )

  it.effect("patient: from 2 s up to 2 minutes", () =>
    Effect.gen(function* () {
      const all = yield* pauses(RetryPolicy.patient, odd())
      assert.strictEqual(all.length, 7)
      between(all.slice(0, 1), [[2000, 6000]])
      assert.isTrue(all.every(([shortest, longest]) => shortest >= 2000 && longest <= 120_000))
      assert.isAbove(Math.max(...all.map(([, longest]) => longest)), 60_000)
    })
  )

  it.effect("model: full jitter from 500 ms, 1 s where the rate is limited, 2 s where it is overloaded", () =>
    Effect.gen(function* () {
      const doubling = (base: number, count: number) =>
        Array.from({ length: count }, (_, n) => [0, Math.min(60_000, base * 2 ** n)] as const)
      between(yield* pauses(RetryPolicy.model, odd()), doubling(500, 2))
      between(yield* pauses(RetryPolicy.model, limited()), doubling(1000, 5))
      between(yield* pauses(RetryPolicy.model, transient()), doubling(2000, 4))
    })
  )
})

describe("RetryPolicy: what is left out", () => {
  it("a class that is not spoken of has no policy of its own", () => {
    const policy = RetryPolicy.make({ byClass: { decode: undefined, timeout: {} } })
    assert.deepStrictEqual([...policy.byClass], [["timeout", { maxAttempts: 3, schedule: undefined }]])
    assert.deepStrictEqual([policy.maxAttempts, policy.sharedAttempts], [3, 3])
    assert.deepStrictEqual([...RetryPolicy.none.byClass], [])
  })

  it("a class's own limit may be endless, and its own pauses any schedule", () => {
    const schedule = Schedule.spaced(5)
    const policy = RetryPolicy.make({ byClass: { timeout: { maxAttempts: Infinity, schedule }, decode: false } })
    assert.deepStrictEqual(policy.byClass.get("timeout"), { maxAttempts: Infinity, schedule })
    assert.deepStrictEqual(policy.byClass.get("decode"), { maxAttempts: 1, schedule: undefined })
    assert.strictEqual(policy.maxAttempts, Infinity)
  })

  it.effect("classes without a limit of their own share the policy's, though another may be tried more often", () =>
    Effect.gen(function* () {
      const row = [503, 500, 504, 502].map((status) => Object.assign(new Error("no"), { status }))
      const policy = { base: 0, byClass: { "rate-limited": { maxAttempts: 9 } } }
      const { began } = yield* times((attempt) => Effect.fail(row[attempt - 1] ?? odd()), policy)
      assert.strictEqual(began.length, 3)
    })
  )

  it.effect("no pause stays none when its growth is beyond all numbers", () =>
    Effect.gen(function* () {
      const policy = { base: 0, factor: 1e200, maxAttempts: 4 }
      const { history } = yield* RetryPolicy.retryWithHistory(Effect.fail(transient()), policy)
      assert.deepStrictEqual(
        history.map(({ delayMillis }) => delayMillis),
        [0, 0, 0, undefined]
      )
    })
  )

  it.effect("an endless policy's attempts do not say out of how many", () =>
    Effect.gen(function* () {
      const ask = (attempt: number) => (attempt < 2 ? Effect.fail(transient()) : Effect.succeed("answer"))
      yield* finish(RetryPolicy.attempts(ask, RetryPolicy.make({ maxAttempts: Infinity, base: 0 })))
      assert.deepStrictEqual(
        (yield* tree).map(({ metadata }) => [metadata["attempt"], metadata["max_attempts"]]),
        [
          [1, undefined],
          [2, undefined]
        ]
      )
    }).pipe(Effect.provide(Trace.layerRecorder()))
  )
})

describe("RetryPolicy: what makes no sense", () => {
  const wrong: ReadonlyArray<readonly [() => unknown, message: string]> = [
    [() => RetryPolicy.make({ base: -1 }), "RetryPolicy: base must be a duration from 0 up, got -1"],
    [() => RetryPolicy.make({ base: -1n }), "RetryPolicy: base must be a duration from 0 up, got -1"],
    [
      () => RetryPolicy.make({ base: " -1 seconds" as "-1 seconds" }),
      'RetryPolicy: base must be a duration from 0 up, got " -1 seconds"'
    ],
    [() => RetryPolicy.make({ cap: [1, -5] }), "RetryPolicy: cap must be a duration from 0 up, got [1, -5]"],
    [() => RetryPolicy.make({ maxAttempts: 0 }), "RetryPolicy: maxAttempts must be a whole number from 1, got 0"],
    [
      () => RetryPolicy.make({ byClass: { decode: { maxAttempts: 0 } } }),
      "RetryPolicy: maxAttempts of decode must be a whole number from 1, got 0"
    ],
    [() => RetryPolicy.make({ factor: 0.9 }), "RetryPolicy: factor must be a number from 1 up, got 0.9"],
    [() => RetryBudget.make({ ratio: -1 }), "RetryBudget: ratio must be a number from 0 up, got -1"]
  ]
  const thrown = (make: () => unknown): string => {
    try {
      make()
    } catch (error) {
      return String(error)
    }
    return "nothing"
  }
  // `assert.throws` is content with whatever is thrown, if it is nothing
  for (const [make, message] of wrong) it(message, () => assert.strictEqual(thrown(make), `RangeError: ${message}`))

  it("a factor of 1 and a jitter of one number make sense", () => {
    assert.isTrue(RetryPolicy.isRetryPolicy(RetryPolicy.make({ factor: 1, jitter: [1, 1] })))
    assert.isTrue(RetryPolicy.isRetryPolicy(RetryPolicy.make({ jitter: [0, 0], base: [0, 5] })))
  })
})
