/** What a person does to a breaker while it runs, and what it tells: states by hand, new options, figures, names and keys. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import * as CircuitBreaker from "../../src/resilience/CircuitBreaker.js"
import * as Failure from "../../src/resilience/Failure.js"
import { others, transient } from "./support.js"

const { protect } = CircuitBreaker
const ok = Effect.succeed("answer")
const fail = Effect.fail(transient())

const times = <A, E>(count: number, effect: Effect.Effect<A, E>) =>
  Effect.forEach(Array.from({ length: count }), () => Effect.exit(effect), { discard: true })

const rejected = (breaker: CircuitBreaker.CircuitBreaker) => Effect.flip(protect(Effect.die("never invoked"), breaker))

const pending = (breaker: CircuitBreaker.CircuitBreaker) =>
  Effect.gen(function* () {
    const result = yield* Deferred.make<string, Error>()
    const fiber = yield* Effect.fork(protect(Deferred.await(result), breaker))
    yield* others
    return (exit: Exit.Exit<string, Error>) => Effect.zipRight(Deferred.done(result, exit), Fiber.await(fiber))
  })

describe("CircuitBreaker by hand", () => {
  it.effect("isolated: rejects whatever the time, until it is released and closed", () =>
    Effect.gen(function* () {
      const breaker = CircuitBreaker.make("model", { key: "large" })
      const old = yield* pending(breaker)
      yield* breaker.isolate
      yield* TestClock.adjust("1 day")
      const rejection = yield* rejected(breaker)
      assert.strictEqual(rejection.state, "isolated")
      assert.strictEqual(rejection.message, 'circuit breaker "model/large" is isolated until it is released')
      assert.deepStrictEqual(Failure.classify(rejection), { kind: "permanent", reason: "circuit open" })
      yield* old(Exit.fail(transient()))
      yield* breaker.release
      assert.deepStrictEqual(yield* breaker.snapshot, { state: "closed", failureCount: 0, retryAfterMillis: 0 })
      assert.strictEqual(yield* protect(ok, breaker), "answer")
    })
  )

  it.effect("forced open: released, probes must show that all is well", () =>
    Effect.gen(function* () {
      const breaker = CircuitBreaker.make("model", { successThreshold: 1 })
      yield* breaker.forceOpen
      const rejection = yield* rejected(breaker)
      assert.strictEqual(rejection.state, "forced-open")
      assert.strictEqual(rejection.message, 'circuit breaker "model" is forced open until it is released')
      yield* breaker.release
      assert.strictEqual(yield* breaker.state, "half-open")
      yield* times(1, protect(fail, breaker))
      assert.strictEqual(yield* breaker.state, "open")
      yield* breaker.forceOpen
      yield* breaker.release
      yield* protect(ok, breaker)
      assert.strictEqual(yield* breaker.state, "closed")
    })
  )

  it.effect("disabled: counts and never rejects; released, it begins anew", () =>
    Effect.gen(function* () {
      const rule = CircuitBreaker.failureRatio({ minimumCalls: 1 })
      const breaker = CircuitBreaker.make("model", { rule })
      yield* breaker.disable
      yield* times(20, protect(fail, breaker))
      assert.strictEqual(yield* breaker.state, "disabled")
      assert.deepInclude(yield* breaker.metrics, { calls: 20, failures: 20, failureRatio: 1, rejected: 0 })
      assert.strictEqual((yield* breaker.snapshot).failureCount, 20)
      yield* breaker.release
      assert.deepInclude(yield* breaker.metrics, { calls: 0, failures: 0 })
      yield* times(1, protect(fail, breaker))
      assert.strictEqual(yield* breaker.state, "open")
    })
  )

  it.effect("reset closes it from every state; release and repetition move nothing else", () =>
    Effect.gen(function* () {
      const breaker = CircuitBreaker.make("model", { failureThreshold: 1 })
      const heard: Array<string> = []
      yield* Effect.fork(
        Stream.runForEach(breaker.changes, ({ from, to }) => Effect.sync(() => heard.push(`${from} ${to}`)))
      )
      yield* others
      yield* breaker.release
      for (const order of [breaker.isolate, breaker.forceOpen, breaker.disable]) {
        yield* order
        yield* order
        yield* breaker.reset
      }
      yield* times(1, protect(fail, breaker))
      yield* breaker.release
      yield* breaker.reset
      yield* others
      assert.deepStrictEqual(heard, [
        "closed isolated",
        "isolated closed",
        "closed forced-open",
        "forced-open closed",
        "closed disabled",
        "disabled closed",
        "closed open",
        "open closed"
      ])
    })
  )

  it.effect(
    "a probe that hangs does not leave it stuck: after halfOpenWait a fresh round goes, and the old one counts no more",
    () =>
      Effect.gen(function* () {
        const breaker = CircuitBreaker.make("model", {
          failureThreshold: 1,
          successThreshold: 1,
          halfOpenWait: "5 seconds"
        })
        yield* times(1, protect(fail, breaker))
        yield* TestClock.adjust("60 seconds")
        const hanging = yield* pending(breaker)
        yield* TestClock.adjust("4999 millis")
        assert.strictEqual((yield* rejected(breaker)).state, "half-open")
        yield* TestClock.adjust("1 millis")
        const second = yield* pending(breaker)
        assert.strictEqual((yield* rejected(breaker)).state, "half-open")
        yield* hanging(Exit.fail(transient()))
        assert.strictEqual(yield* breaker.state, "half-open")
        assert.strictEqual((yield* rejected(breaker)).state, "half-open")
        yield* second(Exit.succeed("well"))
        assert.strictEqual(yield* breaker.state, "closed")
      })
  )

  it.effect("a clock set back does not prolong the wait for probes", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(86_400_000)
      const breaker = CircuitBreaker.make("model", { failureThreshold: 1, halfOpenWait: "5 seconds", resetAfter: 0 })
      yield* times(1, protect(fail, breaker))
      yield* pending(breaker)
      yield* TestClock.setTime(0)
      yield* rejected(breaker)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* protect(ok, breaker), "answer")
    })
  )

  it.effect("reconfigure changes what it names; another rule starts a fresh count", () =>
    Effect.gen(function* () {
      const breaker = CircuitBreaker.make("model", {
        failureThreshold: 3,
        resetAfter: "10 seconds",
        successThreshold: 1
      })
      yield* times(2, protect(fail, breaker))
      yield* breaker.reconfigure({ resetAfter: "20 seconds" })
      assert.strictEqual((yield* breaker.snapshot).failureCount, 2)
      yield* breaker.reconfigure({ failureThreshold: 2 })
      assert.strictEqual((yield* breaker.snapshot).failureCount, 0)
      yield* times(2, protect(fail, breaker))
      assert.strictEqual((yield* breaker.snapshot).retryAfterMillis, 20_000)
      yield* breaker.reconfigure({ resetAfter: "1 second", halfOpenPermits: 2 })
      assert.strictEqual((yield* breaker.snapshot).retryAfterMillis, 20_000)
      yield* TestClock.adjust("20 seconds")
      yield* pending(breaker)
      yield* pending(breaker)
      assert.strictEqual((yield* rejected(breaker)).state, "half-open")
      yield* breaker.reset
      yield* breaker.reconfigure({ rule: CircuitBreaker.slowCallRatio({ slowerThan: 0, minimumCalls: 1 }) })
      yield* breaker.reconfigure({ successThreshold: 2, classify: () => ({ kind: "permanent", reason: "mine" }) })
      yield* times(3, protect(fail, breaker))
      assert.strictEqual(yield* breaker.state, "closed")
      yield* protect(TestClock.adjust(1), breaker)
      assert.strictEqual(yield* breaker.state, "open")
      assert.throws(
        () => breaker.reconfigure({ halfOpenWait: 0 }),
        /circuit breaker "model": halfOpenWait must be above 0/
      )
      assert.throws(() => breaker.reconfigure({ failureThreshold: 0 }), RangeError)
    })
  )

  it.effect("a call that began before the breaker looked at the time is not slow", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(86_400_000)
      const breaker = CircuitBreaker.make("model")
      const call = yield* pending(breaker)
      yield* breaker.reconfigure({ rule: CircuitBreaker.slowCallRatio({ slowerThan: 5, minimumCalls: 1 }) })
      yield* call(Exit.succeed("answer"))
      assert.deepInclude(yield* breaker.metrics, { calls: 1, slow: 0 })
    })
  )

  it.effect("figures of a rule without a window are those since it closed; rejections are all there were", () =>
    Effect.gen(function* () {
      const breaker = CircuitBreaker.make("model", { failureThreshold: 2, successThreshold: 1 })
      yield* protect(ok, breaker)
      yield* times(2, protect(fail, breaker))
      yield* times(3, protect(ok, breaker))
      const figures = { calls: 3, failures: 2, slow: 0, failureRatio: 2 / 3, slowRatio: 0, rejected: 3 }
      assert.deepStrictEqual(yield* breaker.metrics, figures)
      yield* TestClock.adjust("60 seconds")
      yield* protect(ok, breaker)
      const none = { calls: 0, failures: 0, slow: 0, failureRatio: 0, slowRatio: 0, rejected: 3 }
      assert.deepStrictEqual(yield* breaker.metrics, none)
    })
  )

  it.effect(
    "figures of a rule of your own that knows slow calls and no window; rejections by probes under way count",
    () =>
      Effect.gen(function* () {
        const rule: CircuitBreaker.Rule = {
          slowerThanMillis: 10,
          start: () => ({ record: (success) => !success, failureCount: () => 0 })
        }
        const breaker = CircuitBreaker.make("model", { rule, resetAfter: 0 })
        yield* protect(TestClock.adjust(11), breaker)
        yield* protect(TestClock.adjust(10), breaker)
        assert.deepInclude(yield* breaker.metrics, { calls: 2, slow: 1, slowRatio: 0.5 })
        yield* times(1, protect(fail, breaker))
        yield* pending(breaker)
        yield* rejected(breaker)
        yield* rejected(breaker)
        assert.deepInclude(yield* breaker.metrics, { rejected: 2 })
      })
  )
})

describe("CircuitBreaker by name and key", () => {
  it.effect("one a name and key; an option names one that several share", () =>
    Effect.gen(function* () {
      const large = yield* CircuitBreaker.get("openai", { key: "large" })
      const small = yield* CircuitBreaker.get("openai", { key: "small" })
      const plain = yield* CircuitBreaker.get("openai")
      assert.strictEqual(new Set([large, small, plain]).size, 3)
      assert.strictEqual(yield* CircuitBreaker.get("openai", { key: "large", failureThreshold: 1 }), large)
      assert.strictEqual(yield* CircuitBreaker.get("an agent", { name: "openai", key: "large" }), large)
      assert.deepStrictEqual([large.name, large.key, plain.key], ["openai", "large", undefined])
      // no two names and keys are the same breaker
      assert.notStrictEqual(yield* CircuitBreaker.get("openai/large"), large)
      assert.strictEqual((yield* CircuitBreaker.Registry).all().length, 4)
    }).pipe(Effect.provide(CircuitBreaker.layerRegistry))
  )

  it.effect("its key stands in transitions and rejections", () =>
    Effect.gen(function* () {
      const breaker = CircuitBreaker.make("openai", { key: "large", failureThreshold: 1 })
      const first = yield* Effect.fork(Stream.runHead(breaker.changes))
      yield* others
      yield* times(1, protect(fail, breaker))
      const expected: CircuitBreaker.Transition = {
        breaker: "openai",
        key: "large",
        from: "closed",
        to: "open",
        failureCount: 1
      }
      assert.deepStrictEqual(yield* Fiber.join(first), yield* Effect.succeedSome(expected))
      const rejection = yield* rejected(breaker)
      assert.strictEqual(rejection.key, "large")
      assert.strictEqual(
        rejection.message,
        'circuit breaker "openai/large" is open after 1 failures; a probe is let through in 1m'
      )
    })
  )

  it.effect("a rejection is what the class makes: an extensible Error, equal by value, without a stack", () =>
    Effect.gen(function* () {
      const breaker = CircuitBreaker.make("openai")
      yield* breaker.isolate
      const rejection = yield* rejected(breaker)
      const made = new CircuitBreaker.CircuitBreakerOpenError({
        breaker: "openai",
        state: "isolated",
        failureCount: 0,
        retryAfterMillis: 0
      })
      assert.isTrue(Equal.equals(rejection, made))
      assert.isTrue(Schema.is(CircuitBreaker.CircuitBreakerOpenError)(rejection))
      assert.instanceOf(rejection, Error)
      assert.isTrue(Object.isExtensible(rejection))
      assert.deepStrictEqual(JSON.parse(JSON.stringify(rejection)), JSON.parse(JSON.stringify(made)))
      assert.strictEqual(rejection.stack, `${rejection.name}: ${rejection.message}`)
      assert.strictEqual(String(rejection), String(made))
      rejection.stack = "where it was caught"
      assert.strictEqual(rejection.stack, "where it was caught")
      rejection.stack = "and once more"
      assert.deepStrictEqual(Object.getOwnPropertyDescriptor(rejection, "stack"), {
        value: "and once more",
        configurable: true,
        enumerable: false,
        writable: true
      })
      const redefined = yield* rejected(breaker)
      Object.defineProperty(redefined, "stack", { value: "defined" })
      assert.strictEqual(redefined.stack, "defined")
    })
  )
})
