import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/TestClock"
import * as fc from "fast-check"
import * as Trace from "../../src/observability/Trace.js"
import * as RetryBudget from "../../src/resilience/RetryBudget.js"
import * as RetryPolicy from "../../src/resilience/RetryPolicy.js"
import { finish, transient, tree } from "./support.js"

/** How many retries it lets through at that moment. */
const drain = (budget: RetryBudget.Service, now: number) => {
  let count = 0
  while (count < 10_000 && budget.withdraw(now)) count++
  return count
}

const deposit = (budget: RetryBudget.Service, calls: number) => {
  for (let n = 0; n < calls; n++) budget.deposit()
}

describe("RetryBudget", () => {
  it("by default: 10 a second and a fifth of the calls", () => {
    const budget = RetryBudget.make()
    assert.strictEqual(budget.available(0), 10)
    assert.strictEqual(drain(budget, 0), 10)
    deposit(budget, 4)
    assert.strictEqual(drain(budget, 0), 0)
    deposit(budget, 1)
    assert.strictEqual(drain(budget, 0), 1)
    deposit(budget, 100)
    assert.strictEqual(drain(budget, 0), 20)
    assert.strictEqual(drain(budget, 99), 0)
    assert.strictEqual(drain(budget, 100), 1)
    assert.strictEqual(drain(budget, 60_000), 10)
    deposit(budget, 1_000_000)
    assert.strictEqual(drain(budget, 60_000), 100)
  })

  it("numbers can be chosen; a minimum below one a second still comes", () => {
    const slow = RetryBudget.make({ ratio: 0, minPerSecond: 0.5 })
    deposit(slow, 100)
    assert.strictEqual(drain(slow, 0), 1)
    assert.strictEqual(drain(slow, 1999), 0)
    assert.strictEqual(drain(slow, 2000), 1)
    const paid = RetryBudget.make({ ratio: 2, minPerSecond: 0, burst: 3 })
    assert.strictEqual(drain(paid, 1e9), 0)
    deposit(paid, 1)
    assert.strictEqual(paid.available(1e9), 2)
    deposit(paid, 9)
    assert.strictEqual(drain(paid, 1e9), 3)
    assert.strictEqual(drain(RetryBudget.make({ ratio: 0, minPerSecond: 0 }), 1e9), 0)
    assert.strictEqual(RetryBudget.unlimited.available(0), Infinity)
    assert.strictEqual(drain(RetryBudget.unlimited, 0), 10_000)
  })

  it("a clock that steps back gives nothing and takes nothing", () => {
    const budget = RetryBudget.make({ ratio: 0, minPerSecond: 4 })
    assert.isTrue(budget.withdraw(5000))
    assert.strictEqual(budget.available(1000), 3)
    assert.strictEqual(budget.available(1250), 4)
  })

  it("is never exceeded, whatever the calls, the retries and the clock do", () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant("calls" as const), count: fc.integer({ min: 1, max: 50 }) }),
      fc.record({ do: fc.constant("retries" as const), count: fc.integer({ min: 1, max: 50 }) }),
      fc.record({ do: fc.constant("wait" as const), count: fc.integer({ min: -500, max: 3000 }) })
    )
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 2, noNaN: true }),
        fc.double({ min: 0, max: 20, noNaN: true }),
        fc.integer({ min: 0, max: 50 }),
        fc.array(step, { maxLength: 60 }),
        (ratio, minPerSecond, burst, steps) => {
          const budget = RetryBudget.make({ ratio, minPerSecond, burst })
          const rest = minPerSecond === 0 ? 0 : Math.max(1, minPerSecond)
          let now = 0
          let passed = 0
          let calls = 0
          let retries = 0
          budget.available(now)
          for (const each of steps) {
            if (each.do === "wait") {
              now += each.count
              // a clock that steps back gives nothing, and what it makes up for then counts
              budget.available(now)
              passed += Math.max(0, each.count)
            } else if (each.do === "calls") {
              calls += each.count
              deposit(budget, each.count)
            } else {
              for (let n = 0; n < each.count; n++) {
                const available = budget.available(now)
                const granted = budget.withdraw(now)
                // what is there in either purse, not in the sum of two halves
                if (granted) {
                  retries++
                  assert.isAtLeast(available, 1 - 1e-6)
                }
              }
            }
            assert.isAtMost(retries, ratio * calls + (minPerSecond * passed) / 1000 + rest + 1e-6)
            assert.isAtMost(budget.available(now), rest + burst + 1e-6)
          }
        }
      )
    )
  })

  it("refuses numbers that make no sense, also before the layer is built", () => {
    for (const wrong of [-1, Number.NaN, Infinity]) {
      assert.throws(() => RetryBudget.make({ ratio: wrong }), /RetryBudget: ratio must be a number from 0 up/)
      assert.throws(() => RetryBudget.make({ minPerSecond: wrong }), /RetryBudget: minPerSecond/)
      assert.throws(() => RetryBudget.layer({ burst: wrong }), /RetryBudget: burst/)
    }
  })
})

describe("RetryBudget around retries", () => {
  const counted = () => {
    let tries = 0
    const ask = Effect.suspend(() => Effect.fail(transient(++tries)))
    return { ask, tries: () => tries }
  }
  const policy = { base: 0, maxAttempts: 4 }

  it.effect("an outage is not multiplied: retries add no more than the budget", () =>
    Effect.gen(function* () {
      const { ask, tries } = counted()
      const call = Effect.exit(RetryPolicy.retry(ask, policy))
      yield* finish(Effect.forEach(Array.from({ length: 200 }), () => call, { concurrency: "unbounded" }))
      // 600 further tries are wanted; 40 are a fifth of the calls, and 10 is a second's minimum
      assert.strictEqual(tries(), 200 + 40 + 10)
    }).pipe(Effect.provide(RetryBudget.layer()))
  )

  it.effect("is shared by all that is run inside, comes back with time, and another layer has its own", () =>
    Effect.gen(function* () {
      const { ask, tries } = counted()
      const call = Effect.exit(RetryPolicy.retry(ask, { base: 0, maxAttempts: 9 }))
      yield* call
      assert.strictEqual(tries(), 3)
      yield* call
      assert.strictEqual(tries(), 4)
      yield* Effect.provide(call, RetryBudget.layerUnlimited)
      assert.strictEqual(tries(), 13)
      yield* TestClock.adjust("1 second")
      yield* call
      assert.strictEqual(tries(), 16)
    }).pipe(Effect.provide(RetryBudget.layer({ ratio: 0, minPerSecond: 2 })))
  )

  it.effect("each build of a layer begins anew", () =>
    Effect.gen(function* () {
      const { ask, tries } = counted()
      const layer = RetryBudget.layer({ ratio: 0, minPerSecond: 1 })
      const call = Effect.exit(RetryPolicy.retry(ask, policy)).pipe(Effect.provide(layer))
      yield* call
      yield* call
      assert.strictEqual(tries(), 4)
    })
  )

  it.effect("success takes nothing out, and pays in", () =>
    Effect.gen(function* () {
      yield* Effect.replicateEffect(RetryPolicy.retry(Effect.succeed(1), policy), 10)
      const budget = yield* RetryBudget.RetryBudget
      assert.closeTo(budget.available(0), 5, 1e-6)
    }).pipe(Effect.provide(RetryBudget.layer({ ratio: 0.5, minPerSecond: 0 })))
  )

  it.effect("nothing is taken out for a try that the policy or the deadline does not want", () =>
    Effect.gen(function* () {
      const { ask } = counted()
      yield* Effect.exit(RetryPolicy.retry(ask, { maxAttempts: 1 }))
      yield* Effect.exit(RetryPolicy.retry(ask, { isRetryable: () => false }))
      const budget = yield* RetryBudget.RetryBudget
      assert.strictEqual(budget.available(0), 3)
    }).pipe(Effect.provide(RetryBudget.layer({ ratio: 0, minPerSecond: 3 })))
  )

  it.effect("a retry that is denied says so in the attempt and in its record", () =>
    Effect.gen(function* () {
      const { exit, history } = yield* RetryPolicy.retryWithHistory(counted().ask, policy)
      assert.strictEqual(exit._tag, "Failure")
      assert.deepStrictEqual(
        history.map(({ attempt, delayMillis, denied }) => [attempt, delayMillis, denied]),
        [
          [1, 0, undefined],
          [2, undefined, "budget"]
        ]
      )
      const last = (yield* tree).at(-1)
      assert.strictEqual(last?.level, "ERROR")
      assert.strictEqual(last?.statusMessage, "Error: transient 2; not tried again: the retry budget is used up")
      assert.deepStrictEqual(last?.metadata, {
        attempt: 2,
        max_attempts: 4,
        error_type: "Error",
        retry_denied: "budget"
      })
    }).pipe(Effect.provide(Layer.merge(RetryBudget.layer({ ratio: 0, minPerSecond: 1 }), Trace.layerRecorder())))
  )
})
