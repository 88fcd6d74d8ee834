import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as TestClock from "effect/TestClock"
import * as fc from "fast-check"
import { expectTypeOf } from "vitest"
import * as Trace from "../../src/observability/Trace.js"
import * as CircuitBreaker from "../../src/resilience/CircuitBreaker.js"
import * as Failure from "../../src/resilience/Failure.js"
import * as Fallback from "../../src/resilience/Fallback.js"
import * as StaleCache from "../../src/resilience/StaleCache.js"
import * as Timeout from "../../src/resilience/Timeout.js"
import { permanent, signal, transient, tree } from "./support.js"

const coded = (fields: object) => Object.assign(new Error("no"), fields)
const open = new CircuitBreaker.CircuitBreakerOpenError({
  breaker: "model",
  state: "open",
  failureCount: 5,
  retryAfterMillis: 1
})
const attempt = new Timeout.AgentTimeoutError({ agent: "model", kind: "attempt", timeoutMillis: 1 })
const deadline = new Timeout.AgentTimeoutError({ agent: "model", kind: "deadline", timeoutMillis: 1 })

/** What all effects that are to pass as they are end with. */
const passing: ReadonlyArray<Effect.Effect<string, unknown>> = [
  Effect.fail(signal()),
  Effect.die(signal()),
  Effect.interrupt
]

describe("Fallback by class", () => {
  const table = [
    ["onContextLength", Fallback.onContextLength, coded({ code: "context_length_exceeded" })],
    ["onContentFilter", Fallback.onContentFilter, coded({ code: "content_filter" })],
    ["onRateLimit", Fallback.onRateLimit, coded({ status: 429 })],
    ["onTimeout", Fallback.onTimeout, attempt],
    ["onTimeout", Fallback.onTimeout, deadline],
    ["onTimeout", Fallback.onTimeout, coded({ status: 504 })],
    ["onTimeout", Fallback.onTimeout, coded({ code: "ETIMEDOUT" })],
    ["onCircuitOpen", Fallback.onCircuitOpen, open]
  ] as const
  for (const [name, on, error] of table) {
    it.effect(`${name} answers for ${Failure.classify(error).reason}, and for nothing else`, () =>
      Effect.gen(function* () {
        const heard: Array<unknown> = []
        const instead = (failure: Failure.Failure, seen: unknown) => {
          heard.push(failure, seen)
          return Effect.succeed("instead")
        }
        assert.strictEqual(yield* Effect.fail(error).pipe(on(instead)), "instead")
        assert.deepStrictEqual(heard, [Failure.classify(error), error])
        assert.strictEqual(yield* on(Effect.succeed("answer"), instead), "answer")
        for (const [other, , wrong] of table) {
          if (other === name) continue
          assert.strictEqual(yield* Effect.flip(on(Effect.fail(wrong), instead)), wrong)
        }
        for (const pass of passing) {
          assert.deepStrictEqual(Exit.isFailure(yield* Effect.exit(on(pass, instead))), true)
        }
        assert.strictEqual(heard.length, 2)
      })
    )
  }

  it.effect("when takes a class, several, or a function, and hears the classifier in force", () =>
    Effect.gen(function* () {
      const instead = () => Effect.succeed("instead")
      const fell = (selection: Fallback.Selection, error: unknown) =>
        Effect.map(Effect.exit(Fallback.when(Effect.fail(error), selection, instead)), Exit.isSuccess)
      assert.isTrue(yield* fell("overloaded", transient()))
      assert.isFalse(yield* fell("server-error", transient()))
      assert.isTrue(yield* fell(["decode", "overloaded"], transient()))
      assert.isFalse(yield* fell([], transient()))
      const byReason = (failure: Failure.Failure, error: unknown) =>
        failure.reason === "http 400" && error instanceof Error
      assert.isTrue(yield* fell(byReason, permanent()))
      assert.isFalse(yield* fell(byReason, transient()))
      assert.isTrue(
        yield* fell("content-filter", "odd").pipe(
          Effect.provide(Failure.layer(() => ({ kind: "permanent", reason: "mine", class: "content-filter" })))
        )
      )
      assert.strictEqual(yield* Effect.die("bug").pipe(Fallback.when("defect", instead)), "instead")
      assert.strictEqual(
        yield* Effect.flip(Fallback.when(Effect.fail(transient()), "overloaded", () => Effect.fail("worse"))),
        "worse"
      )
    })
  )

  it.effect("chains: each class its own way", () =>
    Effect.gen(function* () {
      const careful = (error: unknown) =>
        Effect.fail(error).pipe(
          Fallback.onContextLength(() => Effect.succeed("the long one")),
          Fallback.onRateLimit(() => Effect.succeed("another provider")),
          Fallback.orValue(() => "sorry")
        )
      assert.strictEqual(yield* careful(coded({ code: "context_length_exceeded" })), "the long one")
      assert.strictEqual(yield* careful(coded({ status: 429 })), "another provider")
      assert.strictEqual(yield* careful(permanent()), "sorry")
    })
  )

  it("has the types it says", () => {
    interface Service {
      readonly _: unique symbol
    }
    const effect: Effect.Effect<number, "a", Service> = Effect.fail("a")
    const that = (): Effect.Effect<string, "b"> => Effect.fail("b")
    type Expected = Effect.Effect<number | string, "a" | "b", Service>
    expectTypeOf(effect.pipe(Fallback.when("timeout", that))).toEqualTypeOf<Expected>()
    expectTypeOf(Fallback.onTimeout(effect, that)).toEqualTypeOf<Expected>()
    expectTypeOf(effect.pipe(Fallback.orValue(() => "c"))).toEqualTypeOf<
      Effect.Effect<number | string, never, Service>
    >()
  })
})

describe("Fallback.orValue", () => {
  it.effect("for a failure and a defect, never for an interruption or a signal", () =>
    Effect.gen(function* () {
      let made = 0
      const value = () => `value ${++made}`
      assert.strictEqual(yield* Fallback.orValue(Effect.succeed("answer"), value), "answer")
      assert.strictEqual(yield* Fallback.orValue(Effect.fail("no"), value), "value 1")
      assert.strictEqual(yield* Effect.die("bug").pipe(Fallback.orValue(value, "greeter")), "value 2")
      for (const pass of passing) assert.isTrue(Exit.isFailure(yield* Effect.exit(Fallback.orValue(pass, value))))
      assert.strictEqual(made, 2)
    })
  )
})

describe("Fallback.orStale", () => {
  it.effect("serves the last good answer with its age, and never one that is too old", () =>
    Effect.gen(function* () {
      const cache = StaleCache.make<number>({ maxAge: "1 minute" })
      const ask = (effect: Effect.Effect<number, Error>) => Fallback.orStale(effect, cache, "key")
      const down = transient()
      assert.strictEqual(yield* Effect.flip(ask(Effect.fail(down))), down)
      assert.deepStrictEqual(yield* ask(Effect.succeed(1)), { value: 1, stale: false, ageMillis: 0 })
      assert.deepStrictEqual(yield* ask(Effect.succeed(2)), { value: 2, stale: false, ageMillis: 0 })
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual(yield* ask(Effect.fail(down)), { value: 2, stale: true, ageMillis: 30_000 })
      assert.deepStrictEqual(yield* ask(Effect.die("bug")), { value: 2, stale: true, ageMillis: 30_000 })
      assert.strictEqual(
        yield* Effect.flip(Effect.fail("no").pipe(Fallback.orStale(StaleCache.make<string>(), "key"))),
        "no"
      )
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual(yield* ask(Effect.fail(down)), { value: 2, stale: true, ageMillis: 60_000 })
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Effect.flip(ask(Effect.fail(down))), down)
      assert.strictEqual(yield* cache.size, 0)
    })
  )

  it.effect("an interruption and a signal pass, though there is an answer", () =>
    Effect.gen(function* () {
      const cache = StaleCache.make<string>()
      yield* cache.set("key", "old")
      for (const pass of passing)
        assert.isTrue(Exit.isFailure(yield* Effect.exit(Fallback.orStale(pass, cache, "key"))))
      const [raised] = [signal()]
      const exit = yield* Effect.exit(Effect.fail(raised).pipe(Fallback.orStale(cache, "key")))
      assert.strictEqual(Exit.isFailure(exit) && Cause.originalError(Cause.squash(exit.cause)), raised)
    })
  )

  it("has the types it says", () => {
    const effect: Effect.Effect<number, "a"> = Effect.fail("a")
    const cache = StaleCache.make<number>()
    expectTypeOf(effect.pipe(Fallback.orStale(cache, "key"))).toEqualTypeOf<
      Effect.Effect<StaleCache.Answer<number>, "a">
    >()
  })
})

describe("StaleCache", () => {
  it("holds what a naive model holds: bounded in size and age, the oldest first to go", () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant("set" as const), key: fc.integer({ min: 0, max: 5 }) }),
      fc.record({ do: fc.constant("get" as const), key: fc.integer({ min: 0, max: 5 }) }),
      fc.record({ do: fc.constant("invalidate" as const), key: fc.integer({ min: 0, max: 5 }) }),
      fc.record({ do: fc.constant("wait" as const), key: fc.integer({ min: 0, max: 40 }) })
    )
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 0, max: 60 }),
        fc.array(step, { minLength: 10, maxLength: 60 }),
        (capacity, maxAge, steps) => {
          const cache = StaleCache.make<number>({ capacity, maxAge })
          let model: ReadonlyArray<{ readonly key: string; readonly value: number; readonly at: number }> = []
          let now = 0
          const clock = { ...testClock, unsafeCurrentTimeNanos: () => BigInt(now) * 1_000_000n }
          const run = <A>(effect: Effect.Effect<A>) => Effect.runSync(Effect.withClock(effect, clock))
          steps.forEach((each, value) => {
            const key = String(each.key)
            const others = model.filter((entry) => entry.key !== key)
            if (each.do === "wait") now += each.key
            else if (each.do === "set") {
              model = [...others, { key, value, at: now }].filter(({ at }) => now - at <= maxAge).slice(-capacity)
              run(cache.set(key, value))
            } else if (each.do === "invalidate") {
              model = others
              run(cache.invalidate(key))
            } else {
              const entry = model.find((found) => found.key === key && now - found.at <= maxAge)
              assert.deepStrictEqual(
                run(cache.get(key)),
                entry === undefined ? undefined : { value: entry.value, stale: true, ageMillis: now - entry.at }
              )
            }
            assert.isAtMost(run(cache.size), capacity)
          })
        }
      )
    )
  })

  it("refuses numbers that make no sense", () => {
    assert.throws(() => StaleCache.make({ capacity: 0 }), /StaleCache: capacity/)
    assert.throws(() => StaleCache.make({ maxAge: -1 }), /StaleCache: maxAge/)
  })
})

const testClock = Effect.runSync(Effect.clock)

describe("Fallback: what is seen", () => {
  it.effect("what was done instead, instead of what, and how it came out", () =>
    Effect.gen(function* () {
      const cache = StaleCache.make<string>()
      yield* cache.set("key", "old")
      yield* TestClock.adjust("90 seconds")
      const failed = Effect.fail(transient(1))
      yield* failed.pipe(Fallback.when("overloaded", () => Effect.succeed("instead")))
      yield* failed.pipe(Fallback.orStale(cache, "key"))
      yield* failed.pipe(Fallback.orValue(() => "sorry", "greeter"))
      yield* Effect.exit(
        Fallback.chain("answer", [
          { name: "a", effect: failed },
          { name: "b", effect: Effect.fail(transient(2)) },
          { name: "c", effect: Effect.succeed("c") }
        ])
      )
      yield* Effect.succeed("well").pipe(Fallback.orValue(() => "sorry"))
      const statusMessage = "instead of Error: transient 1"
      const error_type = "Error"
      assert.deepStrictEqual(
        (yield* tree).map(({ level, metadata, name, statusMessage }) => ({ name, level, statusMessage, metadata })),
        [
          {
            name: "fallback",
            level: "WARNING",
            statusMessage,
            metadata: { error_type, error_class: "overloaded", reason: "http 503" }
          },
          {
            name: "fallback",
            level: "WARNING",
            statusMessage,
            metadata: { error_type, way: "stale", age_seconds: 90 }
          },
          {
            name: "fallback",
            level: "WARNING",
            statusMessage,
            metadata: { error_type, chain: "greeter", way: "value" }
          },
          {
            name: "fallback",
            level: "ERROR",
            statusMessage: "Error: transient 2",
            metadata: { error_type, chain: "answer", way: "b", fallback_level: 1 }
          },
          {
            name: "fallback",
            level: "WARNING",
            statusMessage: "instead of Error: transient 2",
            metadata: { error_type, chain: "answer", way: "c", fallback_level: 2 }
          }
        ]
      )
    }).pipe(Effect.provide(Trace.layerRecorder()))
  )
})
