import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { expectTypeOf } from "vitest"
import * as Trace from "../../src/observability/Trace.js"
import * as CircuitBreaker from "../../src/resilience/CircuitBreaker.js"
import * as Failure from "../../src/resilience/Failure.js"
import { others, permanent, signal, transient, tree } from "./support.js"

const { protect } = CircuitBreaker
const fail = Effect.fail(transient())
const ok = Effect.succeed("answer")

const times = <A, E>(count: number, effect: Effect.Effect<A, E>) =>
  Effect.forEach(Array.from({ length: count }), () => Effect.exit(effect))

const state = (breaker: CircuitBreaker.CircuitBreaker) => Effect.map(breaker.snapshot, (snapshot) => snapshot.state)

/** A call under way, to be ended by hand. */
const pending = (breaker: CircuitBreaker.CircuitBreaker) =>
  Effect.gen(function* () {
    const result = yield* Deferred.make<string, Error>()
    const fiber = yield* Effect.fork(protect(Deferred.await(result), breaker))
    yield* Effect.yieldNow()
    return {
      result,
      fiber,
      end: (exit: Exit.Exit<string, Error>) => Effect.zipRight(Deferred.done(result, exit), Fiber.await(fiber))
    }
  })

const isRejected = (exit: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isFailure(exit) && Cause.squash(exit.cause) instanceof CircuitBreaker.CircuitBreakerOpenError

const opened = (options: CircuitBreaker.Options = {}) =>
  Effect.gen(function* () {
    const breaker = CircuitBreaker.make("prices", { failureThreshold: 1, ...options })
    yield* times(1, protect(fail, breaker))
    assert.strictEqual(yield* state(breaker), "open")
    return breaker
  })

const halfOpen = (options: CircuitBreaker.Options = {}) =>
  Effect.gen(function* () {
    const breaker = yield* opened(options)
    yield* TestClock.adjust("60 seconds")
    return breaker
  })

describe("CircuitBreaker: the circle", () => {
  it.effect("defaults: opens at the 5th failure in a row, for 60 s, closes after 2 successes", () =>
    Effect.gen(function* () {
      const breaker = CircuitBreaker.make("prices")
      yield* times(4, protect(fail, breaker))
      yield* protect(ok, breaker)
      yield* times(4, protect(fail, breaker))
      assert.deepStrictEqual(yield* breaker.snapshot, { state: "closed", failureCount: 4, retryAfterMillis: 0 })
      yield* times(1, protect(fail, breaker))
      assert.deepStrictEqual(yield* breaker.snapshot, { state: "open", failureCount: 5, retryAfterMillis: 60_000 })
      yield* TestClock.adjust("59999 millis")
      const rejection = yield* Effect.flip(protect(Effect.die("never invoked"), breaker))
      assert.strictEqual(rejection.retryAfterMillis, 1)
      assert.strictEqual(rejection.failureCount, 5)
      assert.strictEqual(
        rejection.message,
        'circuit breaker "prices" is open after 5 failures; a probe is let through in 1ms'
      )
      assert.deepStrictEqual(Failure.classify(rejection), { kind: "permanent", reason: "circuit open" })
      yield* TestClock.adjust("1 millis")
      yield* protect(ok, breaker)
      assert.strictEqual(yield* state(breaker), "half-open")
      yield* protect(ok, breaker)
      assert.deepStrictEqual(yield* breaker.snapshot, { state: "closed", failureCount: 0, retryAfterMillis: 0 })
    })
  )

  it.effect("one failed probe opens it again, for a whole break; successes before it are forgotten", () =>
    Effect.gen(function* () {
      const breaker = yield* halfOpen()
      yield* protect(ok, breaker)
      yield* times(1, protect(fail, breaker))
      assert.deepStrictEqual(yield* breaker.snapshot, { state: "open", failureCount: 2, retryAfterMillis: 60_000 })
      yield* TestClock.adjust("60 seconds")
      yield* protect(ok, breaker)
      assert.strictEqual(yield* state(breaker), "half-open")
    })
  )

  it.effect("a longer Retry-After of what opened it is honoured, a shorter one is not", () =>
    Effect.gen(function* () {
      const asking = (retryAfter: number) => Effect.fail(Object.assign(new Error(), { status: 429, retryAfter }))
      for (const [seconds, millis] of [
        [90, 90_000],
        [1, 60_000]
      ] as const) {
        const breaker = CircuitBreaker.make("prices", { failureThreshold: 1 })
        yield* times(1, protect(asking(seconds), breaker))
        assert.strictEqual((yield* breaker.snapshot).retryAfterMillis, millis)
      }
    })
  )

  it.effect("what is counted: transient, rate-limited, defects; and what is not", () =>
    Effect.gen(function* () {
      const counted: ReadonlyArray<readonly [Effect.Effect<never, unknown>, boolean]> = [
        [fail, true],
        [Effect.fail(Object.assign(new Error(), { status: 429 })), true],
        [Effect.die("bug"), true],
        [Effect.failCause(Cause.parallel(Cause.fail(permanent()), Cause.die("bug"))), true],
        [Effect.fail(permanent()), false],
        [Effect.fail(signal()), false],
        [Effect.die(signal()), false],
        [Effect.fail(new DOMException("stop", "AbortError")), false],
        [Effect.interrupt, false]
      ]
      for (const [effect, counts] of counted) {
        const breaker = CircuitBreaker.make("prices", { failureThreshold: 1 })
        const [exit] = yield* times(1, protect(effect, breaker))
        assert.strictEqual(yield* state(breaker), counts ? "open" : "closed")
        const plain = yield* Effect.exit(effect)
        assert.isTrue(
          exit !== undefined && Exit.isFailure(exit) && Exit.isFailure(plain) && exit.cause._tag === plain.cause._tag
        )
      }
    })
  )

  it.effect("errors are sorted by its own classifier, else by the one in force", () =>
    Effect.gen(function* () {
      const hopeless: Failure.Classifier = () => ({ kind: "permanent", reason: "mine" })
      const own = CircuitBreaker.make("own", { failureThreshold: 1, classify: hopeless })
      yield* times(1, protect(fail, own))
      assert.strictEqual(yield* state(own), "closed")
      const other = CircuitBreaker.make("other", { failureThreshold: 1 })
      yield* times(1, protect(fail, other)).pipe(Effect.provideService(Failure.CurrentClassifier, hopeless))
      assert.strictEqual(yield* state(other), "closed")
    })
  )

  it.effect("reset closes it and forgets, also what is under way", () =>
    Effect.gen(function* () {
      const breaker = yield* opened()
      yield* breaker.reset
      assert.deepStrictEqual(yield* breaker.snapshot, { state: "closed", failureCount: 0, retryAfterMillis: 0 })
      const old = yield* pending(breaker)
      yield* breaker.reset
      yield* old.end(Exit.fail(transient()))
      assert.strictEqual(yield* state(breaker), "closed")
    })
  )

  it.effect("another rule may decide", () =>
    Effect.gen(function* () {
      const inTotal = (limit: number): CircuitBreaker.Rule => ({
        start: () => {
          let failures = 0
          return {
            record: (success) => {
              if (!success) failures++
              return failures >= limit
            },
            failureCount: () => failures
          }
        }
      })
      const breaker = CircuitBreaker.make("prices", { rule: inTotal(2) })
      yield* times(1, protect(fail, breaker))
      yield* protect(ok, breaker)
      yield* times(1, protect(fail, breaker))
      assert.strictEqual(yield* state(breaker), "open")
    })
  )

  it.effect("a clock set back prolongs no break beyond its length", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(86_400_000)
      const breaker = yield* opened()
      yield* TestClock.setTime(0)
      assert.isTrue(isRejected(yield* Effect.exit(protect(ok, breaker))))
      yield* TestClock.adjust("60 seconds")
      assert.strictEqual(yield* protect(ok, breaker), "answer")
    })
  )
})

describe("CircuitBreaker: probes and generations", () => {
  it.effect("half-open admits so many probes at once and no more", () =>
    Effect.gen(function* () {
      const breaker = yield* halfOpen({ halfOpenPermits: 2, successThreshold: 3 })
      const first = yield* pending(breaker)
      const second = yield* pending(breaker)
      const rejection = yield* Effect.flip(protect(Effect.die("never invoked"), breaker))
      assert.deepStrictEqual([rejection.state, rejection.retryAfterMillis], ["half-open", 0])
      assert.strictEqual(rejection.message, 'circuit breaker "prices" is half-open and all its probes are under way')
      yield* first.end(Exit.succeed("x"))
      const third = yield* pending(breaker)
      assert.isTrue(isRejected(yield* Effect.exit(protect(ok, breaker))))
      yield* second.end(Exit.succeed("x"))
      yield* third.end(Exit.succeed("x"))
      assert.strictEqual(yield* state(breaker), "closed")
    })
  )

  it.effect("a probe gives its permit back when it is interrupted, aborted, pauses a graph or fails for good", () =>
    Effect.gen(function* () {
      const breaker = yield* halfOpen()
      const probe = yield* pending(breaker)
      yield* Fiber.interrupt(probe.fiber)
      const harmless: ReadonlyArray<Effect.Effect<never, Error>> = [
        Effect.interrupt,
        Effect.fail(signal()),
        Effect.die(signal()),
        Effect.fail(permanent())
      ]
      for (const effect of harmless) {
        const [exit] = yield* times(1, protect(effect, breaker))
        assert.isFalse(exit === undefined || isRejected(exit))
      }
      assert.strictEqual(yield* state(breaker), "half-open")
      assert.strictEqual(yield* protect(ok, breaker), "answer")
    })
  )

  it.effect("a probe interrupted before it has begun gives its permit back too", () =>
    Effect.gen(function* () {
      const breaker = yield* halfOpen()
      const fiber = yield* Effect.fork(protect(Effect.never, breaker))
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(yield* protect(ok, breaker), "answer")
    })
  )

  it.effect("a defect opens it again and keeps no permit; a classifier that throws keeps none either", () =>
    Effect.gen(function* () {
      const breaker = yield* halfOpen()
      yield* times(1, protect(Effect.die("bug"), breaker))
      assert.strictEqual(yield* state(breaker), "open")
      let broken = false
      const fragile = yield* halfOpen({
        classify: (error) => {
          if (broken) throw new Error("a classifier's own mistake")
          return Failure.classify(error)
        }
      })
      broken = true
      const [exit] = yield* times(1, protect(fail, fragile))
      assert.isTrue(exit !== undefined && Exit.isFailure(exit) && Cause.isDie(exit.cause))
      assert.strictEqual(yield* protect(ok, fragile), "answer")
    })
  )

  it.effect("what began in an earlier stay moves nothing, whatever comes of it", () =>
    Effect.gen(function* () {
      const breaker = CircuitBreaker.make("prices", { failureThreshold: 1, successThreshold: 1 })
      const old = yield* Effect.all([pending(breaker), pending(breaker), pending(breaker)])
      yield* times(1, protect(fail, breaker))
      yield* old[0].end(Exit.fail(transient()))
      yield* TestClock.adjust("60 seconds")
      const probe = yield* pending(breaker)
      yield* old[1].end(Exit.succeed("late"))
      assert.strictEqual(yield* state(breaker), "half-open")
      assert.isTrue(isRejected(yield* Effect.exit(protect(ok, breaker))))
      yield* probe.end(Exit.succeed("x"))
      yield* old[2].end(Exit.fail(transient()))
      assert.strictEqual(yield* state(breaker), "closed")
    })
  )
})

describe("CircuitBreaker: transitions", () => {
  const circle = Effect.gen(function* () {
    const breaker = CircuitBreaker.make("prices", { failureThreshold: 2, successThreshold: 1 })
    const heard = yield* Effect.fork(Stream.runCollect(Stream.take(breaker.changes, 5)))
    yield* others
    yield* times(3, protect(fail, breaker))
    yield* TestClock.adjust("60 seconds")
    yield* times(1, protect(fail, breaker))
    yield* TestClock.adjust("60 seconds")
    yield* protect(ok, breaker).pipe(Effect.withSpan("the last call"))
    return Chunk.toReadonlyArray(yield* Fiber.join(heard))
  })
  const expected = [
    { from: "closed", to: "open", failureCount: 2 },
    { from: "open", to: "half-open", failureCount: 2 },
    { from: "half-open", to: "open", failureCount: 3 },
    { from: "open", to: "half-open", failureCount: 3 },
    { from: "half-open", to: "closed", failureCount: 3 }
  ]

  it.effect("each is told once to each who listens, from then on", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(
        yield* circle,
        expected.map((each) => ({ breaker: "prices", ...each }) as CircuitBreaker.Transition)
      )
    })
  )

  it.effect("each is an observation under whoever caused it", () =>
    Effect.gen(function* () {
      yield* circle
      const seen = (yield* tree).filter(({ name }) => name === "circuit_breaker_transition")
      assert.deepStrictEqual(
        seen.map(({ metadata }) => metadata),
        expected.map(({ failureCount, from, to }) => ({ from, to, failure_count: failureCount }))
      )
      assert.deepStrictEqual(
        seen.map(({ level, statusMessage, type }) => [type, level, statusMessage]),
        [
          ["event", "WARNING", "prices: closed -> open"],
          ["event", "WARNING", "prices: open -> half-open"],
          ["event", "WARNING", "prices: half-open -> open"],
          ["event", "WARNING", "prices: open -> half-open"],
          ["event", "DEFAULT", "prices: half-open -> closed"]
        ]
      )
      assert.deepStrictEqual(
        seen.map(({ under }) => under),
        [undefined, undefined, undefined, "the last call", "the last call"]
      )
    }).pipe(Effect.provide(Trace.layerRecorder()))
  )

  it.effect("a listener that has gone hears no more", () =>
    Effect.gen(function* () {
      const breaker = CircuitBreaker.make("prices", { failureThreshold: 1 })
      const heard: Array<CircuitBreaker.Transition> = []
      const listener = yield* Effect.fork(
        Stream.runForEach(breaker.changes, (change) => Effect.sync(() => heard.push(change)))
      )
      yield* others
      yield* Fiber.interrupt(listener)
      yield* times(1, protect(fail, breaker))
      yield* others
      assert.deepStrictEqual(heard, [])
    })
  )
})

describe("CircuitBreaker: registry, options, types", () => {
  it.effect("one breaker a name; a layer has its own", () =>
    Effect.gen(function* () {
      const registry = yield* CircuitBreaker.Registry
      const first = registry.get("registry test", { failureThreshold: 1 })
      assert.strictEqual(registry.get("registry test", { failureThreshold: 9 }), first)
      assert.include(registry.all(), first)
      const own = yield* CircuitBreaker.Registry.pipe(Effect.provide(CircuitBreaker.layerRegistry))
      assert.notStrictEqual(own.get("registry test"), first)
      assert.strictEqual(own.all().length, 1)
      assert.strictEqual(yield* CircuitBreaker.Registry, registry)
    })
  )

  it("refuses numbers that make no sense, by breaker and name", () => {
    const wrong: ReadonlyArray<readonly [CircuitBreaker.Options, RegExp]> = [
      [{ failureThreshold: 0 }, /circuit breaker "b": failureThreshold must be a whole number from 1, got 0/],
      [{ failureThreshold: Number.NaN }, /failureThreshold/],
      [{ successThreshold: 1.5 }, /successThreshold/],
      [{ halfOpenPermits: -1 }, /halfOpenPermits/],
      [{ resetAfter: -1 }, /circuit breaker "b": resetAfter must be a duration from 0 up, got -1/],
      [{ resetAfter: Number.NaN as Duration.DurationInput }, /resetAfter/]
    ]
    for (const [options, message] of wrong) assert.throws(() => CircuitBreaker.make("b", options), message)
    assert.throws(() => CircuitBreaker.consecutive(0), RangeError)
    assert.isTrue(CircuitBreaker.isCircuitBreaker(CircuitBreaker.make("b")))
    assert.isFalse(CircuitBreaker.isCircuitBreaker({}))
  })

  it("adds its rejection to the errors and nothing else", () => {
    interface Service {
      readonly _: unique symbol
    }
    const effect: Effect.Effect<number, "no", Service> = Effect.fail("no")
    type Expected = Effect.Effect<number, "no" | CircuitBreaker.CircuitBreakerOpenError, Service>
    const breaker = CircuitBreaker.make("b")
    expectTypeOf(effect.pipe(protect(breaker))).toEqualTypeOf<Expected>()
    expectTypeOf(protect(effect, breaker)).toEqualTypeOf<Expected>()
    expectTypeOf(breaker.changes).toEqualTypeOf<Stream.Stream<CircuitBreaker.Transition>>()
    expectTypeOf(breaker.snapshot).toEqualTypeOf<Effect.Effect<CircuitBreaker.Snapshot>>()
  })
})
