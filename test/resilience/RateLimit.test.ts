import * as RateLimiter from "@effect/experimental/RateLimiter"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/TestClock"
import { expectTypeOf } from "vitest"
import * as Trace from "../../src/observability/Trace.js"
import * as Failure from "../../src/resilience/Failure.js"
import * as RateLimit from "../../src/resilience/RateLimit.js"
import * as RetryPolicy from "../../src/resilience/RetryPolicy.js"
import * as Timeout from "../../src/resilience/Timeout.js"
import { finish, tree } from "./support.js"

const two = { key: "model", limit: 2, window: "1 second" } as const

/** A store that is down. */
const broken = Layer.provide(
  RateLimiter.layer,
  Layer.succeed(RateLimiter.RateLimiterStore, {
    fixedWindow: () => Effect.fail(new RateLimiter.RateLimitStoreError({ message: "down" })),
    tokenBucket: () => Effect.fail(new RateLimiter.RateLimitStoreError({ message: "down" }))
  })
)

describe("RateLimit", () => {
  it.effect("rejects above the limit with the time to wait, and has room again after it", () =>
    Effect.gen(function* () {
      const ask = RateLimit.limit(Effect.succeed("answer"), two)
      yield* ask
      yield* ask
      const error = yield* Effect.flip(ask)
      assert.deepStrictEqual(
        { ...error },
        { _tag: "RateLimitError", key: "model", reason: "exceeded", limit: 2, retryAfterMillis: 500 }
      )
      assert.strictEqual(error.message, 'the rate limit of "model" (2 a window) is reached; try again in 500ms')
      assert.deepStrictEqual(Failure.classify(error), {
        kind: "rate-limited",
        reason: "rate limit",
        retryAfterMillis: 500
      })
      yield* TestClock.adjust(499)
      yield* Effect.flip(ask)
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* ask, "answer")
    }).pipe(Effect.provide(RateLimit.layerMemory))
  )

  it.effect("other keys and fixed windows have limits of their own; a call may take several tokens", () =>
    Effect.gen(function* () {
      const ask = (options: Partial<RateLimit.Options>) =>
        Effect.exit(RateLimit.limit(Effect.void, { ...two, ...options }))
      assert.isTrue(Exit.isSuccess(yield* ask({ tokens: 2 })))
      assert.isTrue(Exit.isFailure(yield* ask({})))
      assert.isTrue(Exit.isSuccess(yield* ask({ key: "other" })))
      assert.isTrue(Exit.isSuccess(yield* ask({ algorithm: "fixed-window", tokens: 2 })))
      assert.isTrue(Exit.isFailure(yield* ask({ algorithm: "fixed-window" })))
      yield* TestClock.adjust("1 second")
      assert.isTrue(Exit.isSuccess(yield* ask({ algorithm: "fixed-window" })))
    }).pipe(Effect.provide(RateLimit.layerMemory))
  )

  it.effect("waits as long as it may, never beyond the deadline, and uses nothing when it gives up", () =>
    Effect.gen(function* () {
      const times = (count: number, maxWait: number) =>
        finish(
          Effect.forEach(
            Array.from({ length: count }),
            () =>
              Clock.currentTimeMillis.pipe(
                RateLimit.limit({ ...two, maxWait }),
                Effect.catchTag("RateLimitError", () => Effect.succeed("full"))
              ),
            { concurrency: "unbounded" }
          )
        )
      const exit = yield* times(6, 1000)
      // those who wait are let through in no certain order
      const sorted = Exit.isSuccess(exit) ? exit.value.map(String).sort() : []
      assert.deepStrictEqual(sorted, ["0", "0", "1000", "500", "full", "full"])
      const bounded = RateLimit.limit(Effect.void, { ...two, tokens: 2, maxWait: "1 hour" })
      yield* bounded
      assert.strictEqual((yield* Effect.flip(bounded.pipe(Timeout.deadline(1000))))._tag, "RateLimitError")
      assert.isTrue(Exit.isSuccess(yield* finish(bounded.pipe(Timeout.deadline(1001)))))
    }).pipe(Effect.provide(RateLimit.layerMemory))
  )

  it.effect("a retry around it waits as long as it says", () =>
    Effect.gen(function* () {
      const ask = Clock.currentTimeMillis.pipe(
        RateLimit.limit({ ...two, tokens: 2, window: "30 seconds" }),
        RetryPolicy.retry({ base: 0 })
      )
      assert.deepStrictEqual(yield* finish(Effect.all([ask, ask])), Exit.succeed<[number, number]>([0, 30_000]))
    }).pipe(Effect.provide(RateLimit.layerMemory))
  )

  it.effect("a store that fails lets calls through and says so, or rejects them where that is asked for", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* RateLimit.limit(Effect.succeed("answer"), two), "answer")
      const error = yield* Effect.flip(RateLimit.limit(Effect.void, { ...two, onStoreFailure: "reject" }))
      assert.strictEqual(error.message, 'the rate limit of "model" could not be asked for')
      assert.deepStrictEqual(Failure.classify(error), { kind: "transient", reason: "rate limit store" })
      assert.deepStrictEqual(
        (yield* tree).map(({ level, metadata, name, statusMessage }) => [name, level, statusMessage, metadata]),
        [
          [
            "rate_limit_store_failure",
            "WARNING",
            'the rate limit of "model" could not be asked for: the call is let through',
            { rate_limit: "model" }
          ],
          [
            "rate_limit_rejection",
            "WARNING",
            'the rate limit of "model" could not be asked for',
            { rate_limit: "model", reason: "store", retry_after_seconds: 0 }
          ]
        ]
      )
    }).pipe(Effect.provide(Layer.merge(broken, Trace.layerRecorder())))
  )

  it.effect("rejections and waits are seen", () =>
    Effect.gen(function* () {
      const ask = RateLimit.limit(Effect.void, { ...two, tokens: 2, maxWait: 1000 }).pipe(Effect.withSpan("call"))
      yield* finish(Effect.all([ask, ask, Effect.exit(RateLimit.limit(Effect.void, two))]))
      assert.deepStrictEqual(
        (yield* tree).map(({ level, metadata, name, statusMessage }) => [name, level, statusMessage, metadata]),
        [
          ["call", "DEFAULT", undefined, {}],
          ["call", "DEFAULT", undefined, { rate_limit: "model", rate_limit_wait_seconds: 1 }],
          [
            "rate_limit_rejection",
            "WARNING",
            'the rate limit of "model" (2 a window) is reached; try again in 500ms',
            { rate_limit: "model", reason: "exceeded", retry_after_seconds: 0.5 }
          ]
        ]
      )
    }).pipe(Effect.provide(Layer.merge(RateLimit.layerMemory, Trace.layerRecorder())))
  )

  it("refuses numbers that make no sense", () => {
    const limit = (options: Partial<RateLimit.Options>) => () => RateLimit.limit(Effect.void, { ...two, ...options })
    assert.throws(limit({ limit: 0 }), /RateLimit: limit/)
    assert.throws(limit({ tokens: 0 }), /RateLimit: tokens/)
    assert.throws(limit({ tokens: 3 }), /tokens must be at most the limit of 2, got 3/)
    for (const window of [0, Infinity]) {
      assert.throws(limit({ window }), `RateLimit: window must be above 0, got ${window} ms`)
    }
    assert.throws(limit({ window: -1 }), /RateLimit: window/)
    assert.throws(limit({ maxWait: -1 }), /RateLimit: maxWait/)
  })

  it("has the types it says", () => {
    const effect: Effect.Effect<number, "a"> = Effect.fail("a")
    type Expected = Effect.Effect<number, "a" | RateLimit.RateLimitError, RateLimiter.RateLimiter>
    expectTypeOf(effect.pipe(RateLimit.limit(two))).toEqualTypeOf<Expected>()
    expectTypeOf(RateLimit.limit(effect, two)).toEqualTypeOf<Expected>()
  })
})
