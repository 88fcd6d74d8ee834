/** A call that is interrupted at any of its steps: no permit is lost, and no transition goes unseen. */

import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Scheduler from "effect/Scheduler"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import * as Trace from "../../src/observability/Trace.js"
import * as CircuitBreaker from "../../src/resilience/CircuitBreaker.js"
import { others, transient, tree } from "./support.js"

const ok = Effect.succeed("answer")
const fail = Effect.fail(transient())

/** Runs an effect, and interrupts its fiber after so many steps: while it runs, or while it waits for its turn. False when it ended before. */
const interruptedAfter = (steps: number, waiting: boolean, self: Effect.Effect<unknown, unknown>) =>
  Effect.gen(function* () {
    const base = yield* FiberRef.get(FiberRef.currentScheduler)
    let left = steps
    let target: unknown
    const scheduler = Scheduler.make(
      (task, priority) => base.scheduleTask(task, priority),
      (fiber) => {
        target ??= fiber
        if (fiber !== target || left < 0 || left-- > 0) return false
        fiber.unsafeInterruptAsFork(FiberId.none)
        return waiting ? 0 : false
      }
    )
    yield* Effect.fork(Effect.withScheduler(self, scheduler)).pipe(Effect.flatMap(Fiber.await))
    return left < 0
  })

/** Does so for one step after the other, each time with a breaker of its own, until a call ends before it is interrupted. */
const everywhere = (
  options: CircuitBreaker.Options,
  prepare: (breaker: CircuitBreaker.CircuitBreaker) => Effect.Effect<unknown>,
  call: (breaker: CircuitBreaker.CircuitBreaker) => Effect.Effect<unknown, unknown>
) =>
  Effect.gen(function* () {
    for (const waiting of [false, true]) {
      for (let steps = 0, reached = true; reached; steps++) {
        reached = yield* once(steps, waiting)
        assert.isBelow(steps, 1000)
        assert.isTrue(reached || steps > 5)
      }
    }

    function once(steps: number, waiting: boolean) {
      return Effect.gen(function* () {
        const breaker = CircuitBreaker.make("model", options)
        const heard: Array<string> = []
        yield* Effect.fork(
          Stream.runForEach(breaker.changes, ({ from, to }) => Effect.sync(() => heard.push(`${from} ${to}`)))
        )
        yield* others
        yield* prepare(breaker)
        const reached = yield* interruptedAfter(steps, waiting, call(breaker))
        // whatever became of it, after the break it closes by one success after the other
        yield* breaker.release
        yield* TestClock.adjust("1 minute")
        for (let n = 0; n < 3; n++) assert.strictEqual(yield* breaker.protect(ok), "answer")
        assert.strictEqual(yield* breaker.state, "closed")
        yield* others
        const seen = (yield* tree).filter(({ name }) => name === "circuit_breaker_transition")
        assert.deepStrictEqual(
          seen.map(({ metadata: { from, to } }) => `${from} ${to}`),
          heard
        )
        return reached
      }).pipe(Effect.scoped, Effect.provide(Trace.layerRecorder()))
    }
  })

describe("CircuitBreaker: interrupted at any step", () => {
  const options = { failureThreshold: 1, successThreshold: 2, resetAfter: "1 second" } as const
  const opened = (breaker: CircuitBreaker.CircuitBreaker) =>
    Effect.zipRight(Effect.exit(breaker.protect(fail)), TestClock.adjust("1 second"))

  it.effect("of a call that opens it", () =>
    everywhere(
      options,
      () => Effect.void,
      (breaker) => breaker.protect(fail)
    )
  )

  it.effect("of a probe that closes it", () =>
    everywhere(
      options,
      (breaker) => Effect.zipRight(opened(breaker), breaker.protect(Effect.orDie(ok))).pipe(Effect.ignore),
      (breaker) => breaker.protect(Effect.zipRight(Effect.yieldNow(), ok))
    )
  )

  it.effect("of the first probe, that fails", () =>
    everywhere(options, opened, (breaker) => breaker.protect(Effect.zipRight(Effect.yieldNow(), fail)))
  )

  it.effect("of a probe that heeds no interruption and fails, where a Schedule gives the break", () =>
    everywhere({ ...options, resetAfter: Schedule.exponential("1 second") }, opened, (breaker) =>
      breaker.protect(Effect.uninterruptible(Effect.zipRight(Effect.yieldNow(), fail)))
    )
  )

  it.effect("of an order by hand", () =>
    everywhere(
      options,
      () => Effect.void,
      (breaker) => Effect.zipRight(breaker.forceOpen, breaker.isolate)
    )
  )
})

describe("CircuitBreaker: a shared one, interrupted at any step", () => {
  const registry = (store: CircuitBreaker.StoreService) =>
    Effect.map(
      Layer.build(
        Layer.fresh(CircuitBreaker.layerRegistryShared({ pollInterval: "1 second" })).pipe(
          Layer.provide(Layer.succeed(CircuitBreaker.Store, store))
        )
      ),
      Context.get(CircuitBreaker.Registry)
    )

  const options = { failureThreshold: 1, successThreshold: 1, resetAfter: "1 second", halfOpenWait: "1 day" } as const

  /** Two processes with so many breakers that are open, and whose break has just ended. */
  const two = (count: number, granted: Effect.Effect<void>) =>
    Effect.gen(function* () {
      const store = yield* Effect.provide(CircuitBreaker.Store, yield* Layer.build(CircuitBreaker.layerStoreMemory))
      const here = yield* registry({ ...store, lease: (request) => Effect.zipLeft(store.lease(request), granted) })
      const there = yield* registry(store)
      const pairs = Array.from({ length: count }, (_, n) => ({
        a: here.get(`model ${n}`, options),
        b: there.get(`model ${n}`, options)
      }))
      yield* others
      for (const { a } of pairs) yield* Effect.exit(a.protect(fail))
      yield* others
      yield* TestClock.adjust("1 second")
      return pairs
    })

  it.scoped("gives its lease back to all", () =>
    Effect.gen(function* () {
      // all of them go through the same time: to move it takes far longer than a call
      const [steps, pairs] = [100, yield* two(200, Effect.yieldNow())]
      const reached = yield* Effect.forEach(pairs, ({ a }, n) => interruptedAfter(n % steps, n >= steps, a.protect(ok)))
      for (const waiting of [0, steps]) {
        assert.deepStrictEqual([reached[waiting], reached[waiting + steps - 1]], [true, false])
      }
      yield* others
      yield* TestClock.adjust("1 second")
      // long before a lease would have ended by itself
      for (const { b } of pairs) assert.strictEqual(yield* b.protect(ok), "answer")
      yield* others
      yield* TestClock.adjust("1 second")
      for (const { a, b } of pairs) assert.deepStrictEqual([yield* a.state, yield* b.state], ["closed", "closed"])
    })
  )

  it.scoped("gives back a lease that it was never told of", () =>
    Effect.gen(function* () {
      for (const { a, b } of yield* two(1, Effect.never)) {
        const asking = yield* Effect.fork(a.protect(ok))
        yield* others
        assert.strictEqual((yield* Effect.flip(b.protect(ok)))._tag, "CircuitBreakerOpenError")
        yield* Fiber.interrupt(asking)
        yield* others
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* b.protect(ok), "answer")
      }
    })
  )
})
