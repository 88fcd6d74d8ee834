/** What opens a breaker and for how long: rules as values, windows, breaks. */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/TestClock"
import * as CircuitBreaker from "../../src/resilience/CircuitBreaker.js"
import { transient } from "./support.js"

const { anyOf, consecutive, failureRatio, protect, slowCallRatio } = CircuitBreaker

/** Feeds results to a rule: `.` a success, `x` a failure, `s` and `S` slow ones of either kind; a digit lets so many seconds pass. */
const opensAt = (rule: CircuitBreaker.Rule, results: string): number => {
  const counter = rule.start()
  let now = 0
  for (const [index, result] of [...results].entries()) {
    if (/\d/.test(result)) now += Number(result) * 1000
    else if (counter.record(".s".includes(result), "sS".includes(result) ? 101 : 100, now)) return index
  }
  return -1
}

const tally = (rule: CircuitBreaker.Rule, results: string, at: number) => {
  const counter = rule.start()
  for (const result of results) counter.record(".s".includes(result), "sS".includes(result) ? 101 : 100, 0)
  return counter.tally?.(at)
}

describe("CircuitBreaker rules", () => {
  it("consecutive: so many failures in a row", () => {
    assert.strictEqual(opensAt(consecutive(3), "xx.xx.xxx"), 8)
    assert.strictEqual(opensAt(consecutive(1), ".x"), 1)
  })

  it("failureRatio over the last calls: at the ratio, from the minimum on, and what has left the window is forgotten", () => {
    const rule = failureRatio({ ratio: 0.5, window: { calls: 4 }, minimumCalls: 3 })
    assert.strictEqual(opensAt(rule, "xx"), -1)
    assert.strictEqual(opensAt(rule, "xx."), 2)
    assert.strictEqual(opensAt(rule, "..x"), -1)
    assert.strictEqual(opensAt(rule, "..xx"), 3)
    assert.strictEqual(opensAt(rule, "x...x...x...xx"), 13)
    assert.deepStrictEqual(tally(rule, "xx..x", 0), { calls: 4, failures: 2, slow: 0 })
    // three of thirty are a tenth: no rounding keeps it closed
    assert.strictEqual(
      opensAt(failureRatio({ ratio: 0.1, window: { calls: 30 }, minimumCalls: 30 }), `${".".repeat(27)}xxx`),
      29
    )
  })

  it("failureRatio over time: forgets a bucket at a time", () => {
    const rule = failureRatio({ ratio: 0.5, window: { duration: "4 seconds", buckets: 4 }, minimumCalls: 2 })
    assert.strictEqual(opensAt(rule, "x3x"), 2)
    assert.strictEqual(opensAt(rule, "x4x"), -1)
    assert.strictEqual(opensAt(rule, "x9999x"), -1)
    assert.strictEqual(opensAt(rule, ".1.1x1x"), 6)
    assert.strictEqual(opensAt(rule, "....1x3x"), 7)
    assert.deepStrictEqual(tally(rule, "x.x", 3999), { calls: 3, failures: 2, slow: 0 })
    assert.deepStrictEqual(tally(rule, "x.x", 4000), { calls: 0, failures: 0, slow: 0 })
    // time that steps back moves nothing
    assert.deepStrictEqual(tally(rule, "x.x", -99_999), { calls: 3, failures: 2, slow: 0 })
  })

  it("slowCallRatio: calls above the bound, failed or not", () => {
    const rule = slowCallRatio({ slowerThan: 100, ratio: 0.5, window: { calls: 4 }, minimumCalls: 2 })
    assert.strictEqual(opensAt(rule, "...."), -1)
    assert.strictEqual(opensAt(rule, "xxxx"), -1)
    assert.strictEqual(opensAt(rule, "..sS"), 3)
    assert.deepStrictEqual(tally(rule, ".sSx", 0), { calls: 4, failures: 2, slow: 2 })
    assert.strictEqual(
      opensAt(slowCallRatio({ slowerThan: 100, window: { duration: 1000 }, minimumCalls: 2 }), "s1s.s"),
      3
    )
  })

  it("slow calls leave the window as they came", () => {
    const byCalls = slowCallRatio({ slowerThan: 100, ratio: 1, window: { calls: 2 } })
    assert.deepStrictEqual(tally(byCalls, "sS..", 0), { calls: 2, failures: 0, slow: 0 })
    const counter = slowCallRatio({ slowerThan: 100, window: { duration: 4000, buckets: 4 } }).start()
    for (const at of [0, 0, 1000, 3000]) counter.record(true, 101, at)
    assert.deepStrictEqual(counter.tally?.(3999), { calls: 4, failures: 0, slow: 4 })
    assert.deepStrictEqual(counter.tally?.(4000), { calls: 2, failures: 0, slow: 2 })
    assert.deepStrictEqual(counter.tally?.(5000), { calls: 1, failures: 0, slow: 1 })
    counter.record(true, 100, 5000)
    assert.deepStrictEqual(counter.tally?.(8000), { calls: 1, failures: 0, slow: 0 })
    // what a bucket held is gone when it comes round again
    assert.deepStrictEqual(counter.tally?.(9000), { calls: 0, failures: 0, slow: 0 })
    counter.record(false, 101, 9000)
    assert.deepStrictEqual(counter.tally?.(9000), { calls: 1, failures: 1, slow: 1 })
    assert.deepStrictEqual(counter.tally?.(13_000), { calls: 0, failures: 0, slow: 0 })
  })

  it("anyOf: the first that has enough; each rule sees every result", () => {
    const rule = anyOf(
      consecutive(3),
      failureRatio({ window: { calls: 10 }, minimumCalls: 6 }),
      slowCallRatio({ slowerThan: 100, minimumCalls: 2 })
    )
    assert.strictEqual(opensAt(rule, "xxx"), 2)
    assert.strictEqual(opensAt(rule, "x.x.x."), 5)
    assert.strictEqual(opensAt(rule, ".s"), 1)
    assert.deepStrictEqual(tally(rule, ".x.s", 0), { calls: 4, failures: 1, slow: 1 })
    assert.deepStrictEqual([rule.timed, rule.slowerThanMillis], [true, 100])
    const plain = anyOf(consecutive(2), consecutive(3))
    assert.deepStrictEqual([plain.timed, plain.slowerThanMillis, plain.start().tally], [false, undefined, undefined])
    assert.strictEqual(anyOf(slowCallRatio({ slowerThan: 9 }), slowCallRatio({ slowerThan: 5 })).slowerThanMillis, 5)
    const counter = plain.start()
    counter.record(false, 0, 0)
    assert.strictEqual(counter.failureCount(), 1)
  })

  it("defaults: half of the last 100 calls, and at least 10", () => {
    assert.strictEqual(opensAt(failureRatio(), "xxxxxxxxxx"), 9)
    assert.strictEqual(opensAt(failureRatio(), `${".".repeat(100)}${"x".repeat(50)}`), 149)
    assert.strictEqual(opensAt(failureRatio({ window: { calls: 3 } }), "xxx"), 2)
  })

  it("refuses numbers that make no sense", () => {
    const wrong: ReadonlyArray<readonly [() => unknown, RegExp]> = [
      [() => failureRatio({ ratio: 0 }), /failureRatio: ratio must be above 0 and at most 1, got 0/],
      [() => failureRatio({ ratio: 1.1 }), /ratio/],
      [() => failureRatio({ ratio: Number.NaN }), /ratio/],
      [() => failureRatio({ window: { calls: 0 } }), /window\.calls/],
      [() => failureRatio({ window: { duration: 0 } }), /window\.duration must be above 0 and finite/],
      [() => failureRatio({ window: { duration: Duration.infinity } }), /window\.duration/],
      [() => failureRatio({ window: { duration: 1, buckets: 0 } }), /window\.buckets/],
      [() => failureRatio({ minimumCalls: 0 }), /minimumCalls/],
      [
        () => failureRatio({ window: { calls: 5 }, minimumCalls: 6 }),
        /minimumCalls must be at most the window's 5 calls/
      ],
      [() => slowCallRatio({ slowerThan: -1 }), /slowCallRatio: slowerThan/],
      [() => anyOf(), /at least one rule/],
      [() => consecutive(1.5), /consecutive/]
    ]
    for (const [make, message] of wrong) assert.throws(make, message)
  })

  it("a window of many calls takes no more memory than it began with", () => {
    const counter = failureRatio({ window: { calls: 1000 }, minimumCalls: 1000 }).start()
    for (let i = 0; i < 100_000; i++) counter.record(i % 3 !== 0, 0, 0)
    assert.deepStrictEqual(counter.tally?.(0), { calls: 1000, failures: 334, slow: 0 })
  })
})

const fail = Effect.fail(transient())

/** The lengths of the first breaks, in milliseconds; each ends with a probe that fails. */
const breaks = (options: CircuitBreaker.Options, count: number) =>
  Effect.gen(function* () {
    const breaker = CircuitBreaker.make("model", { failureThreshold: 1, successThreshold: 1, ...options })
    const lengths: Array<number> = []
    for (let i = 0; i < count; i++) {
      yield* Effect.exit(protect(fail, breaker))
      const { retryAfterMillis } = yield* breaker.snapshot
      lengths.push(retryAfterMillis)
      // the clock of the test knows whole milliseconds only
      yield* TestClock.adjust(Math.ceil(retryAfterMillis))
    }
    return { breaker, lengths }
  })

describe("CircuitBreaker breaks", () => {
  it.effect("by a Schedule: longer with each opening, and from the start again once it was closed", () =>
    Effect.gen(function* () {
      const resetAfter = Schedule.exponential("1 second")
      const { breaker, lengths } = yield* breaks({ resetAfter }, 4)
      assert.deepStrictEqual(lengths, [1000, 2000, 4000, 8000])
      yield* protect(Effect.succeed("well"), breaker)
      assert.strictEqual(yield* breaker.state, "closed")
      yield* Effect.exit(protect(fail, breaker))
      assert.strictEqual((yield* breaker.snapshot).retryAfterMillis, 1000)
    })
  )

  it.effect("a Schedule that has ended keeps its last pause; two breakers do not share one's steps", () =>
    Effect.gen(function* () {
      const resetAfter = Schedule.exponential("1 second").pipe(Schedule.upTo("2 seconds"))
      assert.deepStrictEqual((yield* breaks({ resetAfter }, 4)).lengths, [1000, 2000, 2000, 2000])
      assert.deepStrictEqual((yield* breaks({ resetAfter }, 1)).lengths, [1000])
      assert.deepStrictEqual((yield* breaks({ resetAfter: Schedule.stop }, 1)).lengths, [60_000])
    })
  )

  it.effect("a Schedule's jitter is drawn from the program's own random numbers", () =>
    Effect.gen(function* () {
      const drawn = Effect.suspend(() =>
        breaks({ resetAfter: Schedule.jittered(Schedule.spaced("1 second")) }, 3).pipe(
          // on the whole a pause is exact, but for what its moment's binary fraction takes
          Effect.map(({ lengths }) => lengths.map((millis) => Math.round(millis * 100) / 100)),
          Effect.withRandom(Random.make("a seed"))
        )
      )
      const first = yield* drawn
      assert.isTrue(new Set(first).size === 3 && first.every((millis) => millis >= 800 && millis <= 1200))
      assert.deepStrictEqual(yield* drawn, first)
    })
  )

  it.effect("by a function of what opened it", () =>
    Effect.gen(function* () {
      const seen: Array<CircuitBreaker.Opening> = []
      const resetAfter = (opening: CircuitBreaker.Opening) => {
        seen.push(opening)
        return Duration.seconds(opening.openings * 10)
      }
      assert.deepStrictEqual((yield* breaks({ key: "large", resetAfter }, 3)).lengths, [10_000, 20_000, 30_000])
      assert.deepStrictEqual(seen[1], {
        breaker: "model",
        key: "large",
        openings: 2,
        failureCount: 2,
        failure: { kind: "transient", reason: "http 503" }
      })
    })
  )

  it.effect("a Retry-After is a lower bound of each kind", () =>
    Effect.gen(function* () {
      const asking = Effect.fail(Object.assign(new Error(), { status: 429, retryAfter: 15 }))
      for (const resetAfter of [10_000, Schedule.spaced(10_000), () => 10_000]) {
        const breaker = CircuitBreaker.make("model", { failureThreshold: 1, resetAfter })
        yield* Effect.exit(protect(asking, breaker))
        assert.strictEqual((yield* breaker.snapshot).retryAfterMillis, 15_000)
      }
    })
  )

  it.effect("one that cannot be worked out is a minute long, and its mistake shows", () =>
    Effect.gen(function* () {
      const broken: ReadonlyArray<CircuitBreaker.Options["resetAfter"]> = [
        () => {
          throw new TypeError("a mistake")
        },
        () => -1,
        Schedule.addDelayEffect(Schedule.forever, () => Effect.die(new TypeError("a mistake"))),
        Schedule.addDelayEffect(Schedule.forever, () => Effect.as(Effect.sleep(1), 1))
      ]
      for (const resetAfter of broken) {
        const breaker = CircuitBreaker.make("model", { failureThreshold: 1, resetAfter })
        const exit = yield* Effect.exit(protect(fail, breaker))
        assert.isTrue(exit._tag === "Failure" && exit.cause._tag === "Die")
        assert.deepStrictEqual(yield* breaker.snapshot, { state: "open", failureCount: 1, retryAfterMillis: 60_000 })
      }
    })
  )

  it.effect("slow calls open it, also a slow success; a slow probe opens it again", () =>
    Effect.gen(function* () {
      const rule = slowCallRatio({ slowerThan: "1 second", minimumCalls: 2, ratio: 1 })
      const breaker = CircuitBreaker.make("model", { rule, successThreshold: 1 })
      const answering = (millis: number) => protect(Effect.as(TestClock.adjust(millis), "late"), breaker)
      yield* answering(1001)
      assert.strictEqual(yield* answering(1001), "late")
      assert.deepStrictEqual(yield* breaker.metrics, {
        calls: 2,
        failures: 0,
        slow: 2,
        failureRatio: 0,
        slowRatio: 1,
        rejected: 0
      })
      assert.strictEqual(yield* breaker.state, "open")
      yield* TestClock.adjust("60 seconds")
      yield* answering(1001)
      assert.strictEqual(yield* breaker.state, "open")
      yield* TestClock.adjust("60 seconds")
      yield* answering(1000)
      assert.strictEqual(yield* breaker.state, "closed")
    })
  )
})
