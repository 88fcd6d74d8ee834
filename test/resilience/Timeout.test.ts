import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as TestClock from "effect/TestClock"
import { expectTypeOf } from "vitest"
import * as Failure from "../../src/resilience/Failure.js"
import * as Timeout from "../../src/resilience/Timeout.js"
import { signal } from "./support.js"

/** How it ended, and after how many milliseconds. */
const timed = <A, E>(self: Effect.Effect<A, E>) =>
  Effect.gen(function* () {
    const start = yield* Clock.currentTimeMillis
    const fiber = yield* Effect.fork(
      Effect.flatMap(Effect.exit(self), (exit) =>
        Effect.map(Clock.currentTimeMillis, (now) => ({ exit, millis: now - start }))
      )
    )
    yield* TestClock.adjust("10 minutes")
    return yield* Fiber.join(fiber)
  })

const failureOf = (exit: Exit.Exit<unknown, unknown>): unknown =>
  Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined

const expectTimeout = (
  exit: Exit.Exit<unknown, unknown>,
  expected: { readonly kind: "attempt" | "deadline"; readonly timeoutMillis: number }
) => {
  const error = failureOf(exit)
  assert.instanceOf(error, Timeout.AgentTimeoutError)
  const { agent, kind, timeoutMillis } = error
  assert.deepStrictEqual({ agent, kind, timeoutMillis }, { agent: "technical", ...expected })
}

const attempt = (duration: Duration.DurationInput, wait?: boolean) =>
  Timeout.attempt({ duration, agent: "technical", wait })
const deadline = (duration: Duration.DurationInput, wait?: boolean) =>
  Timeout.deadline({ duration, agent: "technical", wait })

describe("Timeout.attempt", () => {
  it.effect("lets through what is in time: answer, failure, defect, control flow", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* timed(Effect.succeed(1).pipe(Effect.delay("1 second"), attempt("2 seconds"))), {
        exit: Exit.succeed(1),
        millis: 1000
      })
      const raised = signal()
      for (const effect of [Effect.fail(raised), Effect.die(raised)]) {
        assert.strictEqual(failureOf((yield* timed(attempt("1 second")(effect))).exit), raised)
      }
    })
  )

  it.effect("ends what is late, and says who and how long", () =>
    Effect.gen(function* () {
      let interrupted = false
      const slow = Effect.never.pipe(
        Effect.onInterrupt(() =>
          Effect.sync(() => {
            interrupted = true
          })
        )
      )
      const { exit, millis } = yield* timed(slow.pipe(attempt("30 seconds")))
      expectTimeout(exit, { kind: "attempt", timeoutMillis: 30_000 })
      assert.strictEqual(millis, 30_000)
      assert.isTrue(interrupted)
      assert.match(String(failureOf(exit)), /"technical" gave no answer within 30s, the timeout of one attempt/)
      assert.deepStrictEqual(Failure.classify(failureOf(exit)), { kind: "transient", reason: "attempt timeout" })
    })
  )

  it.effect("waits for what cannot be interrupted, unless told not to", () =>
    Effect.gen(function* () {
      let ended = 0
      const stubborn = Effect.sleep("1 minute").pipe(
        Effect.zipRight(Effect.sync(() => ended++)),
        Effect.uninterruptible
      )
      const waited = yield* timed(stubborn.pipe(attempt("1 second")))
      expectTimeout(waited.exit, { kind: "attempt", timeoutMillis: 1000 })
      assert.deepStrictEqual([waited.millis, ended], [60_000, 1])
      const left = yield* timed(stubborn.pipe(attempt("1 second", false)))
      expectTimeout(left.exit, { kind: "attempt", timeoutMillis: 1000 })
      assert.deepStrictEqual([left.millis, ended], [1000, 2])
    })
  )

  it.effect("aborts Promise code through its signal", () =>
    Effect.gen(function* () {
      let aborted = false
      const ask = Effect.tryPromise(
        (abort) =>
          new Promise<never>(() =>
            abort.addEventListener("abort", () => {
              aborted = true
            })
          )
      )
      yield* timed(ask.pipe(attempt("1 second")))
      assert.isTrue(aborted)
    })
  )

  it.effect("ends with its siblings when one of them fails", () =>
    Effect.gen(function* () {
      for (const bound of [attempt("1 hour"), deadline("1 hour")]) {
        const parts = [Effect.never.pipe(bound), Effect.delay(Effect.fail("no"), "1 second")]
        const { exit, millis } = yield* timed(Effect.all(parts, { concurrency: "unbounded" }))
        assert.deepStrictEqual([failureOf(exit), millis], ["no", 1000])
      }
    })
  )

  it.effect("finalizers have ended when it returns, however it ended", () =>
    Effect.gen(function* () {
      let cleaned = 0
      const careful = Effect.never.pipe(
        Effect.onInterrupt(() =>
          Effect.zipRight(
            Effect.sleep("5 seconds"),
            Effect.sync(() => cleaned++)
          )
        ),
        attempt("10 seconds")
      )
      assert.deepStrictEqual([(yield* timed(careful)).millis, cleaned], [15_000, 1])
      const parts = [careful, Effect.delay(Effect.fail("no"), "1 second")]
      assert.deepStrictEqual([(yield* timed(Effect.all(parts, { concurrency: 2 }))).millis, cleaned], [6000, 2])
      const interrupted = Effect.fork(careful).pipe(
        Effect.tap(Effect.sleep("1 second")),
        Effect.flatMap(Fiber.interrupt)
      )
      assert.deepStrictEqual([(yield* timed(interrupted)).millis, cleaned], [6000, 3])
    })
  )

  it.effect("what the body sets for its fiber stays set", () =>
    Effect.gen(function* () {
      const ref = FiberRef.unsafeMake("before")
      yield* FiberRef.set(ref, "after").pipe(attempt("1 second"))
      assert.strictEqual(yield* FiberRef.get(ref), "after")
    })
  )

  it.effect("an interruption from outside passes as such", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.fork(Effect.never.pipe(attempt("1 minute")))
      yield* TestClock.adjust("1 second")
      assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
    })
  )

  it.effect("an endless timeout is none, and one of 0 begins nothing", () =>
    Effect.gen(function* () {
      const slow = Effect.succeed(1).pipe(Effect.delay("1 minute"))
      assert.deepStrictEqual((yield* timed(slow.pipe(attempt(Duration.infinity)))).exit, Exit.succeed(1))
      let began = false
      const { exit } = yield* timed(
        Effect.sync(() => {
          began = true
        }).pipe(attempt(0))
      )
      expectTimeout(exit, { kind: "attempt", timeoutMillis: 0 })
      assert.isFalse(began)
    })
  )

  it("refuses durations that make no sense", () => {
    const wrong: ReadonlyArray<Duration.DurationInput> = [-1, Number.NaN, "-1 seconds", -1n, [-1, 0], [Number.NaN, 0]]
    for (const duration of wrong) {
      assert.throws(() => attempt(duration)(Effect.void), /Timeout\.attempt: duration must be a duration from 0 up/)
      assert.throws(() => Effect.void.pipe(Timeout.deadline(duration)), /Timeout\.deadline: duration/)
    }
    const odd: string = "soon"
    assert.throws(() => attempt(odd as `${number} millis`)(Effect.void), /got "soon"/)
    assert.isTrue(Effect.isEffect(attempt([1, 5])(Effect.void)))
    assert.isTrue(Effect.isEffect(attempt(Duration.minutes(1))(Effect.void)))
  })
})

describe("Timeout.deadline", () => {
  it.effect("ends the whole, and is not worth another try", () =>
    Effect.gen(function* () {
      const { exit, millis } = yield* timed(Effect.never.pipe(deadline("5 seconds")))
      expectTimeout(exit, { kind: "deadline", timeoutMillis: 5000 })
      assert.strictEqual(millis, 5000)
      assert.match(String(failureOf(exit)), /within 5s, its deadline/)
      assert.deepStrictEqual(Failure.classify(failureOf(exit)), { kind: "permanent", reason: "deadline timeout" })
    })
  )

  it.effect("is inherited, across forks too; the earlier of nested ones holds", () =>
    Effect.gen(function* () {
      const left = Timeout.remainingMillis
      const inner = left.pipe(Effect.delay("1 second"), Timeout.deadline("1 hour"))
      assert.strictEqual(yield* left, Number.POSITIVE_INFINITY)
      assert.deepStrictEqual((yield* timed(inner.pipe(deadline("5 seconds")))).exit, Exit.succeed(4000))
      const forked = Effect.flatMap(Effect.fork(left), Fiber.join)
      assert.deepStrictEqual((yield* timed(forked.pipe(deadline("5 seconds")))).exit, Exit.succeed(5000))
      assert.deepStrictEqual(
        (yield* timed(left.pipe(deadline("2 seconds"), deadline("5 seconds")))).exit,
        Exit.succeed(2000)
      )
      assert.strictEqual(yield* FiberRef.get(Timeout.CurrentDeadline), Number.POSITIVE_INFINITY)
    })
  )

  it.effect("what is called inside never outlives it", () =>
    Effect.gen(function* () {
      const { exit, millis } = yield* timed(Effect.never.pipe(deadline("1 hour"), Timeout.deadline("3 seconds")))
      assert.instanceOf(failureOf(exit), Timeout.AgentTimeoutError)
      assert.strictEqual(millis, 3000)
      const daemon = Effect.never.pipe(
        attempt("1 minute"),
        Effect.forkDaemon,
        deadline("3 seconds"),
        Effect.flatMap(Fiber.join)
      )
      const forked = yield* timed(daemon)
      expectTimeout(forked.exit, { kind: "deadline", timeoutMillis: 3000 })
      assert.strictEqual(forked.millis, 3000)
    })
  )

  it.effect("what outlives the call in which it was inherited is bounded by it like the rest", () =>
    Effect.gen(function* () {
      const daemon = Effect.never.pipe(
        deadline("1 hour"),
        Effect.delay("1 second"),
        Effect.forkDaemon,
        Timeout.deadline("3 seconds"),
        Effect.flatMap(Fiber.join)
      )
      const { exit, millis } = yield* timed(daemon)
      expectTimeout(exit, { kind: "deadline", timeoutMillis: 2000 })
      assert.strictEqual(millis, 3000)
    })
  )

  it.effect("an attempt that has just as long as the deadline is one whose own bound ended it", () =>
    Effect.gen(function* () {
      const daemon = Effect.never.pipe(
        attempt("3 seconds"),
        Effect.forkDaemon,
        Timeout.deadline("3 seconds"),
        Effect.flatMap(Fiber.join)
      )
      expectTimeout((yield* timed(daemon)).exit, { kind: "attempt", timeoutMillis: 3000 })
    })
  )

  it.effect("names nobody in particular where nobody is named", () =>
    Effect.gen(function* () {
      const { exit } = yield* timed(Effect.never.pipe(Timeout.deadline("3 seconds")))
      assert.match(String(failureOf(exit)), /"effect" gave no answer/)
    })
  )

  it.effect("an attempt begun after it has passed is not begun at all", () =>
    Effect.gen(function* () {
      let began = false
      const late = Effect.forkDaemon(
        Effect.sync(() => {
          began = true
        }).pipe(attempt("1 minute"), Effect.delay("5 seconds"))
      )
      const { exit } = yield* timed(late.pipe(deadline("3 seconds"), Effect.flatMap(Fiber.join)))
      // the daemon's own pause is bounded by nobody; what it then tries has no time left
      expectTimeout(exit, { kind: "deadline", timeoutMillis: 0 })
      assert.isFalse(began)
    })
  )

  it.effect("does not wait for what cannot be interrupted, when told so", () =>
    Effect.gen(function* () {
      const stubborn = Effect.uninterruptible(Effect.sleep("1 minute"))
      assert.strictEqual((yield* timed(stubborn.pipe(deadline("1 second")))).millis, 60_000)
      assert.strictEqual((yield* timed(stubborn.pipe(deadline("1 second", false)))).millis, 1000)
    })
  )
})

describe("Timeout: types", () => {
  it("add the timeout to the errors and nothing else", () => {
    interface Service {
      readonly _: unique symbol
    }
    const effect: Effect.Effect<number, "no", Service> = Effect.fail("no")
    type Expected = Effect.Effect<number, "no" | Timeout.AgentTimeoutError, Service>
    expectTypeOf(effect.pipe(Timeout.attempt("1 second"))).toEqualTypeOf<Expected>()
    expectTypeOf(Timeout.attempt(effect, { duration: 5 })).toEqualTypeOf<Expected>()
    expectTypeOf(effect.pipe(Timeout.deadline(Duration.seconds(1)))).toEqualTypeOf<Expected>()
    expectTypeOf(Timeout.deadline(effect, { duration: 5 })).toEqualTypeOf<Expected>()
  })
})
