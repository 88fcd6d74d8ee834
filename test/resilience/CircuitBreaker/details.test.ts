/** What a breaker's rules, breaks and messages say in the less common cases. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import * as Trace from "../../../src/observability/Trace.js"
import * as CircuitBreaker from "../../../src/resilience/CircuitBreaker.js"
import { inspect } from "../../../src/resilience/internal/breakerGuard.js"
import { transient, tree } from "../support.js"

const { anyOf, consecutive, failureRatio, protect, slowCallRatio } = CircuitBreaker
const ok = Effect.succeed("answer")
const fail = Effect.fail(transient())
const failing = (breaker: CircuitBreaker.CircuitBreaker) => Effect.exit(protect(fail, breaker))

describe("CircuitBreaker rules: what they tell", () => {
  it("only a rule that looks at the time has it looked up", () => {
    const timed = [
      consecutive(1),
      failureRatio(),
      failureRatio({ window: { duration: 1000 } }),
      slowCallRatio({ slowerThan: 5 }),
      anyOf(consecutive(1), failureRatio()),
      anyOf(consecutive(1), failureRatio({ window: { duration: 1000 } }))
    ].map((rule) => rule.timed === true)
    assert.deepStrictEqual(timed, [false, false, true, true, false, true])
  })

  it("of several, the one with the most to tell", () => {
    const counter = anyOf(
      failureRatio({ window: { calls: 2 } }),
      failureRatio({ window: { calls: 20 } }),
      slowCallRatio({ slowerThan: 5, window: { calls: 3 } })
    ).start()
    for (const slow of [9, 9, 9, 0]) counter.record(false, slow, 0)
    assert.deepStrictEqual(counter.tally?.(0), { calls: 4, failures: 4, slow: 2 })
    assert.strictEqual(counter.failureCount(), 4)
  })

  it.effect("slow calls that fail are failures too", () =>
    Effect.gen(function* () {
      const breaker = CircuitBreaker.make("model", { rule: slowCallRatio({ slowerThan: "1 second" }) })
      yield* failing(breaker)
      yield* failing(breaker)
      assert.strictEqual((yield* breaker.snapshot).failureCount, 2)
    })
  )

  it.effect("a success counts at its time, so long as the window is long", () =>
    Effect.gen(function* () {
      const rule = failureRatio({ window: { duration: "10 seconds" }, minimumCalls: 2 })
      const breaker = CircuitBreaker.make("model", { rule })
      yield* TestClock.adjust("1 hour")
      yield* protect(ok, breaker)
      yield* TestClock.adjust("5 seconds")
      yield* failing(breaker)
      assert.strictEqual(yield* breaker.state, "open")
    })
  )

  it("names the window that makes no sense", () => {
    assert.throws(
      () => failureRatio({ window: { duration: -1 } }),
      "CircuitBreaker.failureRatio: window.duration must be a duration from 0 up, got -1"
    )
  })
})

describe("CircuitBreaker breaks: schedules", () => {
  const breaks = (schedule: Schedule.Schedule<unknown, CircuitBreaker.Opening>, count: number, closes: boolean) =>
    Effect.gen(function* () {
      const options = { failureThreshold: 1, successThreshold: 1, resetAfter: schedule }
      const breaker = CircuitBreaker.make("model", options)
      const lengths: Array<number> = []
      for (let i = 0; i < count; i++) {
        yield* failing(breaker)
        const { retryAfterMillis } = yield* breaker.snapshot
        lengths.push(retryAfterMillis)
        yield* TestClock.adjust(Math.ceil(retryAfterMillis))
        if (closes) yield* protect(ok, breaker)
      }
      return lengths
    })

  it.effect("begin anew whenever it was closed in between, also after a single break", () =>
    Effect.gen(function* () {
      const lengths = yield* breaks(Schedule.jittered(Schedule.spaced("1 second")), 3, true).pipe(
        Effect.withRandom(Random.make("a seed"))
      )
      assert.strictEqual(new Set(lengths).size, 3)
    })
  )

  it.effect("that have ended stay so, and the last pause holds", () =>
    Effect.gen(function* () {
      const butTheSecond = Schedule.exponential("1 second").pipe(
        Schedule.whileInput((opening: CircuitBreaker.Opening) => opening.openings !== 2)
      )
      assert.deepStrictEqual(yield* breaks(butTheSecond, 4, false), [1000, 1000, 1000, 1000])
    })
  )

  it.effect("a Retry-After that is a date is read against Effect's clock", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(Date.parse("Wed, 21 Oct 2026 07:28:00 GMT"))
      const headers = { "retry-after": "Wed, 21 Oct 2026 07:29:30 GMT" }
      const breaker = CircuitBreaker.make("model", { failureThreshold: 1 })
      yield* Effect.exit(protect(Effect.fail(Object.assign(new Error("busy"), { status: 429, headers })), breaker))
      assert.strictEqual((yield* breaker.snapshot).retryAfterMillis, 90_000)
    })
  )
})

describe("CircuitBreaker: what is said", () => {
  it("a setting that makes no sense is named by name and key", () => {
    const make = (options: CircuitBreaker.Options) => () => CircuitBreaker.make("openai", options)
    assert.throws(
      make({ failureThreshold: 0, key: "large" }),
      'circuit breaker "openai/large": failureThreshold must be a whole number from 1, got 0'
    )
    assert.throws(
      make({ halfOpenWait: -1 }),
      'circuit breaker "openai": halfOpenWait must be a duration from 0 up, got -1'
    )
  })

  it.effect("a transition names the key", () =>
    Effect.gen(function* () {
      yield* failing(CircuitBreaker.make("openai", { key: "large", failureThreshold: 1 }))
      assert.deepStrictEqual(
        (yield* tree).map(({ statusMessage }) => statusMessage),
        ["openai/large: closed -> open"]
      )
    }).pipe(Effect.provide(Trace.layerRecorder()))
  )

  it("a rejection is decoded with any state that rejects, and with no other", () => {
    const rejection = (state: string) => ({
      _tag: "CircuitBreakerOpenError",
      breaker: "model",
      state,
      failureCount: 1,
      retryAfterMillis: 5
    })
    const decode = Schema.decodeUnknownEither(CircuitBreaker.CircuitBreakerOpenError)
    assert.deepStrictEqual(
      ["open", "half-open", "isolated", "forced-open", "closed", "disabled", ""].map(
        (state) => decode(rejection(state))._tag
      ),
      ["Right", "Right", "Right", "Right", "Left", "Left", "Left"]
    )
  })

  it.effect("a snapshot at once is what the effect gives; of a breaker made elsewhere there is none", () =>
    Effect.gen(function* () {
      const clock = yield* Effect.clock
      const breaker = CircuitBreaker.make("model", { failureThreshold: 1 })
      assert.deepStrictEqual(inspect(breaker, clock), { state: "closed", failureCount: 0, retryAfterMillis: 0 })
      yield* failing(breaker)
      assert.deepStrictEqual(inspect(breaker, clock), yield* breaker.snapshot)
      assert.deepStrictEqual(inspect(breaker, clock), { state: "open", failureCount: 1, retryAfterMillis: 60_000 })
      assert.isUndefined(inspect({ ...breaker }, clock))
    })
  )
})
