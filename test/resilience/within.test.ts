/**
 * A timeout ends its body and nothing else: not the fiber that it runs in, not that fiber's children, not what comes after.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Ref from "effect/Ref"
import * as TestClock from "effect/TestClock"
import { vi } from "vitest"
import * as Timeout from "../../src/resilience/Timeout.js"

const timesOut = <A, E>(exit: Exit.Exit<A, E>): boolean =>
  exit._tag === "Failure" &&
  Option.exists(Cause.failureOption(exit.cause), (error) => error instanceof Timeout.AgentTimeoutError)

/** Runs under the test's clock and lets the time pass. */
const lasting = <A, E, R>(effect: Effect.Effect<A, E, R>, duration: string & `${number} seconds`) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.fork(effect)
    yield* TestClock.adjust(duration)
    return yield* Fiber.await(fiber)
  })

describe("a timeout in place", () => {
  it.effect("leaves the fiber as it was: what follows runs, sleeps and times out again", () =>
    Effect.gen(function* () {
      const program = Effect.gen(function* () {
        const first = yield* Effect.exit(Timeout.attempt(Effect.never, "1 seconds"))
        yield* Effect.sleep("1 seconds")
        const second = yield* Effect.exit(Timeout.attempt(Effect.never, "1 seconds"))
        const interrupted = yield* FiberRef.get(FiberRef.interruptedCause)
        return [timesOut(first), timesOut(second), Cause.isEmpty(interrupted)]
      })
      assert.deepStrictEqual(yield* lasting(program, "3 seconds"), Exit.succeed([true, true, true]))
    })
  )

  it.effect("spares the children that the fiber had before, and their results", () =>
    Effect.gen(function* () {
      const program = Effect.gen(function* () {
        const child = yield* Effect.fork(Effect.as(Effect.sleep("5 seconds"), "alive"))
        const exit = yield* Effect.exit(Timeout.attempt(Effect.never, "1 seconds"))
        return [timesOut(exit), yield* Fiber.join(child)]
      })
      assert.deepStrictEqual(yield* lasting(program, "6 seconds"), Exit.succeed([true, "alive"]))
    })
  )

  it.effect("ends the children that the body has forked", () =>
    Effect.gen(function* () {
      const ended = yield* Deferred.make<void>()
      const body = Effect.zipRight(
        Effect.fork(Effect.onInterrupt(Effect.never, () => Deferred.succeed(ended, undefined))),
        Effect.never
      )
      assert.isTrue(timesOut(yield* lasting(Timeout.attempt(body, "1 seconds"), "1 seconds")))
      yield* Deferred.await(ended)
    })
  )

  it.effect("is not swallowed by a body that catches every cause", () =>
    Effect.gen(function* () {
      const ran = yield* Ref.make(0)
      const stubborn = Effect.forever(Effect.catchAllCause(Effect.never, () => Ref.update(ran, (count) => count + 1)))
      assert.isTrue(timesOut(yield* lasting(Timeout.attempt(stubborn, "1 seconds"), "2 seconds")))
      assert.strictEqual(yield* Ref.get(ran), 0)
    })
  )

  it.effect("runs the body's finalizers before it fails", () =>
    Effect.gen(function* () {
      const order = yield* Ref.make<ReadonlyArray<string>>([])
      const say = (word: string) => Ref.update(order, (words) => [...words, word])
      const body = Effect.acquireUseRelease(
        say("open"),
        () => Effect.never,
        () => Effect.zipRight(Effect.sleep("1 seconds"), say("closed"))
      )
      const program = Effect.zipRight(Effect.exit(Timeout.attempt(body, "1 seconds")), say("failed"))
      yield* lasting(program, "2 seconds")
      assert.deepStrictEqual(yield* Ref.get(order), ["open", "closed", "failed"])
    })
  )

  it.effect("an uninterruptible body runs to its end, and is too late all the same", () =>
    Effect.gen(function* () {
      const done = yield* Ref.make(false)
      const body = Effect.uninterruptible(Effect.zipRight(Effect.sleep("3 seconds"), Ref.set(done, true)))
      const fiber = yield* Effect.fork(Timeout.attempt(body, "1 seconds"))
      yield* TestClock.adjust("2 seconds")
      assert.isTrue(Option.isNone(yield* Fiber.poll(fiber)))
      yield* TestClock.adjust("1 seconds")
      assert.isTrue(timesOut(yield* Fiber.await(fiber)))
      assert.isTrue(yield* Ref.get(done))
    })
  )

  it.effect("in a finalizer of what was interrupted it bounds as anywhere else, and what is in time goes on", () =>
    Effect.gen(function* () {
      const exits: Array<Exit.Exit<string, Timeout.AgentTimeoutError>> = []
      const cleanup = (duration: "1 seconds" | "9 seconds") =>
        Effect.as(Effect.sleep("3 seconds"), "clean").pipe(
          Timeout.attempt(duration),
          Effect.exit,
          Effect.map((exit) => exits.push(exit))
        )
      const finalizer = Effect.zipRight(cleanup("1 seconds"), cleanup("9 seconds"))
      const fiber = yield* Effect.fork(Effect.onInterrupt(Effect.never, () => finalizer))
      yield* TestClock.adjust("1 seconds")
      yield* Fiber.interruptFork(fiber)
      yield* TestClock.adjust("9 seconds")
      assert.isTrue(Exit.isInterrupted(yield* Fiber.await(fiber)))
      const [late, inTime] = exits
      assert.isTrue(late !== undefined && timesOut(late))
      assert.deepStrictEqual(inTime, Exit.succeed("clean"))
    })
  )

  it.effect("an interruption from outside stays one, also while the time is over and finalizers run", () =>
    Effect.gen(function* () {
      const went = yield* Ref.make(false)
      const body = Effect.onInterrupt(Effect.never, () => Effect.sleep("5 seconds"))
      const fiber = yield* Effect.fork(
        Effect.zipRight(Effect.exit(Timeout.attempt(body, "1 seconds")), Ref.set(went, true))
      )
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.interruptFork(fiber)
      yield* TestClock.adjust("5 seconds")
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause))
      assert.isFalse(yield* Ref.get(went))
    })
  )

  it.effect("nested bounds: the outer one ends both, also at the same moment", () =>
    Effect.gen(function* () {
      const inner = (bound: `${number} seconds`) => Timeout.attempt(Effect.never, { duration: bound, agent: "inner" })
      for (const bound of ["1 seconds", "2 seconds", "3 seconds"] as const) {
        const exit = yield* lasting(
          Timeout.deadline(inner(bound), { duration: "2 seconds", agent: "outer" }),
          "3 seconds"
        )
        assert.isTrue(timesOut(exit), bound)
      }
    })
  )

  it.scoped("keeps what the body set in a FiberRef when it is in time", () =>
    Effect.gen(function* () {
      const ref = yield* FiberRef.make("before")
      yield* Timeout.attempt(FiberRef.set(ref, "after"), "1 seconds")
      assert.strictEqual(yield* FiberRef.get(ref), "after")
    })
  )

  it.live(
    "on the real clock, thousands of bodies that end just around their bound each have one outcome and no aftermath",
    () =>
      Effect.gen(function* () {
        const one = Effect.gen(function* () {
          const pause = yield* Random.nextIntBetween(0, 4)
          const exit = yield* Effect.exit(
            Timeout.attempt(Effect.as(Effect.sleep(pause), "in time"), { duration: 2, agent: "racing" })
          )
          // whatever was late would hit here
          yield* Effect.sleep(3)
          yield* Effect.yieldNow()
          const interrupted = yield* FiberRef.get(FiberRef.interruptedCause)
          assert.isTrue(Cause.isEmpty(interrupted))
          assert.isTrue(timesOut(exit) || (Exit.isSuccess(exit) && exit.value === "in time"))
          return timesOut(exit)
        })
        const late = yield* Effect.all(
          Array.from({ length: 4000 }, () => one),
          { concurrency: 200 }
        )
        assert.isAbove(late.filter(Boolean).length, 100)
        assert.isAbove(late.filter((each) => !each).length, 100)
      })
  )

  it.live("a signal that comes while the body ends by itself is taken back all the same", () =>
    Effect.gen(function* () {
      vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] })
      const late = Effect.sync(() => vi.advanceTimersByTime(10))
      const exit = yield* Effect.exit(Timeout.attempt(late, 10))
      vi.useRealTimers()
      assert.isTrue(timesOut(exit))
      yield* Effect.yieldNow()
      assert.isTrue(Cause.isEmpty(yield* FiberRef.get(FiberRef.interruptedCause)))
    }).pipe(Effect.ensuring(Effect.sync(() => vi.useRealTimers())))
  )
})

describe("where the body of a timeout runs", () => {
  const own = (bound: Timeout.Options | Duration.DurationInput) =>
    Effect.zipWith(
      Effect.fiberId,
      Timeout.attempt(Effect.zipRight(Effect.yieldNow(), Effect.fiberId), bound),
      (outside, inside) => outside === inside
    )

  it.effect("in the fiber itself, which costs next to nothing", () =>
    Effect.gen(function* () {
      assert.isTrue(yield* own("1 seconds"))
      const child = yield* Effect.fork(Effect.void)
      yield* Fiber.await(child)
      assert.isTrue(yield* own("1 seconds"), "after a child that has ended")
    })
  )

  it.effect("in one of its own beside children that an interruption would reach, or where nobody waits for it", () =>
    Effect.gen(function* () {
      assert.isFalse(yield* own({ duration: "1 seconds", wait: false }))
      const child = yield* Effect.fork(Effect.never)
      assert.isFalse(yield* own("1 seconds"))
      assert.isTrue(yield* own(Duration.infinity), "which has no bound")
      yield* Fiber.interrupt(child)
    })
  )
})

describe("a timeout that does not wait", () => {
  const apart = Timeout.attempt({ duration: "2 seconds", wait: false })

  it.effect("hands on what ends in time, with what it set for its fiber", () =>
    Effect.gen(function* () {
      const ref = FiberRef.unsafeMake("before")
      const answer = Effect.delay(Effect.zipRight(FiberRef.set(ref, "after"), Effect.succeed(1)), "1 seconds")
      const program = Effect.zip(apart(answer), FiberRef.get(ref))
      assert.deepStrictEqual(yield* lasting(program, "1 seconds"), Exit.succeed([1, "after"] as [number, string]))
      assert.deepStrictEqual(
        yield* lasting(apart(Effect.delay(Effect.fail("no"), "1 seconds")), "1 seconds"),
        Exit.fail("no")
      )
      assert.deepStrictEqual(
        yield* lasting(apart(Effect.delay(Effect.die("broken"), "1 seconds")), "1 seconds"),
        Exit.die("broken")
      )
    })
  )

  it.effect("interrupted from outside it ends its body", () =>
    Effect.gen(function* () {
      const ended = yield* Deferred.make<void>()
      const body = Effect.onInterrupt(Effect.never, () => Deferred.succeed(ended, undefined))
      const fiber = yield* Effect.fork(apart(body))
      yield* TestClock.adjust("1 seconds")
      assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
      yield* Deferred.await(ended)
    })
  )
})

describe("a timeout on the real clock", () => {
  it.live("may be longer than a timer of Node's", () =>
    Effect.gen(function* () {
      const slow = Effect.delay(Effect.succeed(1), "20 millis")
      assert.strictEqual(yield* Timeout.attempt(slow, "30 days"), 1)
      assert.strictEqual(yield* Timeout.attempt(slow, 2 ** 31), 1)
    })
  )

  it.live("begins nothing that has no time", () =>
    Effect.gen(function* () {
      let began = false
      const exit = yield* Effect.exit(
        Timeout.attempt(
          Effect.sync(() => {
            began = true
          }),
          0
        )
      )
      assert.isTrue(timesOut(exit))
      assert.isFalse(began)
    })
  )
})
