import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as TestClock from "effect/TestClock"
import * as TestContext from "effect/TestContext"
import * as fc from "fast-check"
import { expectTypeOf } from "vitest"
import * as Trace from "../../src/observability/Trace.js"
import * as Hedge from "../../src/resilience/Hedge.js"
import { Latencies } from "../../src/resilience/internal/latencies.js"
import * as RetryBudget from "../../src/resilience/RetryBudget.js"
import { finish, others, signal, transient, tree } from "./support.js"

/** An effect whose every run takes its own time and its own end, and notes how it ended. */
const attempts = <E>(...each: ReadonlyArray<readonly [millis: number, end: Effect.Effect<string, E>]>) => {
  const log: Array<string> = []
  let begun = 0
  const effect = Effect.suspend(() => {
    const number = ++begun
    const [millis, end] = each[number - 1] ?? [0, Effect.die("one attempt too many")]
    return Effect.zipRight(Effect.sleep(millis), end).pipe(
      Effect.onExit((exit) =>
        Effect.sync(() =>
          log.push(
            `${number} ${exit._tag === "Success" ? "answered" : Cause.isInterrupted(exit.cause) ? "interrupted" : "failed"}`
          )
        )
      )
    )
  })
  return { effect, log, begun: () => begun }
}

const always = (name: string, options: Hedge.Options) => Hedge.make(name, { budget: RetryBudget.unlimited, ...options })

const took = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const start = yield* Clock.currentTimeMillis
    let end = start
    const exit = yield* finish(
      Effect.onExit(self, () =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          end = now
        })
      )
    )
    return [exit, end - start] as const
  })

describe("Hedge: the second attempt", () => {
  it.effect("is not begun when the first answers before", () =>
    Effect.gen(function* () {
      const { begun, effect } = attempts([99, Effect.succeed("one")])
      assert.deepStrictEqual(yield* took(effect.pipe(Hedge.hedge(always("a", { after: 100 })))), [
        Exit.succeed("one"),
        99
      ])
      assert.strictEqual(begun(), 1)
    })
  )

  it.effect("wins when it answers first, and the first is interrupted with its finalizers", () =>
    Effect.gen(function* () {
      const { effect, log } = attempts([1000, Effect.succeed("one")], [50, Effect.succeed("two")])
      assert.deepStrictEqual(yield* took(Hedge.hedge(effect, always("a", { after: 100 }))), [Exit.succeed("two"), 150])
      assert.deepStrictEqual(log, ["2 answered", "1 interrupted"])
    })
  )

  it.effect("loses when the first answers before it", () =>
    Effect.gen(function* () {
      const { effect, log } = attempts([120, Effect.succeed("one")], [50, Effect.succeed("two")])
      assert.deepStrictEqual(yield* took(Hedge.hedge(effect, always("a", { after: 100 }))), [Exit.succeed("one"), 120])
      assert.deepStrictEqual(log, ["1 answered", "2 interrupted"])
    })
  )

  it.effect("a failure before it has begun passes at once", () =>
    Effect.gen(function* () {
      const { begun, effect } = attempts([10, Effect.fail("no")])
      assert.deepStrictEqual(yield* took(Hedge.hedge(effect, always("a", { after: 100 }))), [Exit.fail("no"), 10])
      assert.strictEqual(begun(), 1)
    })
  )

  it.effect("a failure leaves the answer to the other, whichever fails", () =>
    Effect.gen(function* () {
      const first = attempts([110, Effect.fail("no")], [50, Effect.succeed("two")])
      assert.deepStrictEqual(yield* took(Hedge.hedge(first.effect, always("a", { after: 100 }))), [
        Exit.succeed("two"),
        150
      ])
      const second = attempts([300, Effect.succeed("one")], [50, Effect.fail("no")])
      assert.deepStrictEqual(yield* took(Hedge.hedge(second.effect, always("a", { after: 100 }))), [
        Exit.succeed("one"),
        300
      ])
    })
  )

  it.effect("two failures are told together, the first attempt's first", () =>
    Effect.gen(function* () {
      for (const millis of [110, 300]) {
        const { effect } = attempts([millis, Effect.fail("one")], [50, Effect.fail("two")])
        const [exit] = yield* took(Hedge.hedge(effect, always("a", { after: 100 })))
        assert.deepStrictEqual(Exit.isFailure(exit) && [...Cause.failures(exit.cause)], ["one", "two"])
      }
    })
  )

  it.effect("control flow and defects: a signal ends both as it is, a defect leaves the answer to the other", () =>
    Effect.gen(function* () {
      const raised = signal()
      const paused = attempts([150, Effect.fail(raised)], [500, Effect.succeed("two")])
      const [exit, millis] = yield* took(Hedge.hedge(paused.effect, always("a", { after: 100 })))
      assert.strictEqual(Exit.isFailure(exit) && Cause.squash(exit.cause), raised)
      assert.strictEqual(millis, 150)
      assert.deepStrictEqual(paused.log, ["1 failed", "2 interrupted"])
      const late = attempts<unknown>([150, Effect.fail("no")], [500, Effect.fail(raised)])
      const [last] = yield* took(Hedge.hedge(late.effect, always("a", { after: 100 })))
      assert.strictEqual(Exit.isFailure(last) && Cause.originalError(Cause.squash(last.cause)), raised)
      const died = attempts<never>([150, Effect.die("bug")], [500, Effect.succeed("two")])
      assert.deepStrictEqual(
        (yield* took(Hedge.hedge(died.effect, always("a", { after: 100 }))))[0],
        Exit.succeed("two")
      )
    })
  )

  it.effect("may be another effect, and the winner leaves its fiber's references", () =>
    Effect.gen(function* () {
      const ref = FiberRef.unsafeMake("none")
      const mark = (name: string, millis: number) =>
        Effect.zipRight(FiberRef.set(ref, name), Effect.delay(Effect.succeed(name), millis))
      const marked = mark("slow", 500).pipe(Hedge.hedgeWith(always("a", { after: 100 }), () => mark("fast", 10)))
      const exit = yield* finish(Effect.zip(marked, FiberRef.get(ref)))
      assert.deepStrictEqual(exit, Exit.succeed<[string, string]>(["fast", "fast"]))
    })
  )

  it.effect("an interruption from outside ends both, and waits for them", () =>
    Effect.gen(function* () {
      for (const at of [50, 150]) {
        const { effect, log } = attempts([1000, Effect.succeed("one")], [1000, Effect.succeed("two")])
        const fiber = yield* Effect.fork(Hedge.hedge(effect, always("a", { after: 100 })))
        yield* TestClock.adjust(at)
        assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
        assert.deepStrictEqual(log.sort(), at === 50 ? ["1 interrupted"] : ["1 interrupted", "2 interrupted"])
      }
    })
  )

  it.effect("the loser's slow finalizer is waited for, or ends in the background", () =>
    Effect.gen(function* () {
      const slow = Effect.onInterrupt(Effect.never, () => Effect.sleep(1000))
      const quick = () => Effect.succeed("two")
      const waiting = (wait: boolean) => Hedge.hedgeWith(slow, always("a", { after: 100, wait }), quick)
      assert.deepStrictEqual(yield* took(waiting(true)), [Exit.succeed("two"), 1100])
      assert.deepStrictEqual(yield* took(waiting(false)), [Exit.succeed("two"), 100])
    })
  )
})

describe("Hedge: when", () => {
  it.effect("at the measured percentile, once enough is measured, and never before `after`", () =>
    Effect.gen(function* () {
      const hedge = Hedge.make("a", { percentile: 0.9, minimum: 10, sample: 20 })
      for (let n = 1; n <= 10; n++) {
        assert.deepStrictEqual(yield* hedge.snapshot, { delayMillis: undefined, measured: n - 1 })
        yield* finish(Hedge.hedge(Effect.sleep(n * 10), hedge))
      }
      assert.deepStrictEqual(yield* hedge.snapshot, { delayMillis: 90, measured: 10 })
      const both = Hedge.make("a", { percentile: 0.5, after: 500, minimum: 1 })
      assert.strictEqual((yield* both.snapshot).delayMillis, 500)
      yield* finish(Hedge.hedge(Effect.sleep(20), both))
      assert.strictEqual((yield* both.snapshot).delayMillis, 500)
      yield* finish(Hedge.hedge(Effect.sleep(900), Hedge.make("b", { after: 1 })))
      yield* finish(Hedge.hedge(Effect.sleep(900), both))
      yield* finish(Hedge.hedge(Effect.sleep(900), both))
      assert.strictEqual((yield* both.snapshot).delayMillis, 900)
    })
  )

  it.effect("failures are not measured", () =>
    Effect.gen(function* () {
      const hedge = Hedge.make("a")
      yield* finish(Hedge.hedge(Effect.fail("no"), hedge))
      assert.strictEqual((yield* hedge.snapshot).measured, 0)
    })
  )

  it("the sample's percentile is the naive one's, over the last measurements only", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 60 }),
        fc.integer({ min: 1, max: 12 }),
        fc.double({ min: 0.01, max: 0.99, noNaN: true }),
        (all, capacity, share) => {
          const latencies = new Latencies(capacity)
          for (const each of all) latencies.record(each)
          const last = all.slice(-capacity).sort((a, b) => a - b)
          assert.strictEqual(latencies.count, last.length)
          assert.strictEqual(latencies.percentile(share), last[Math.max(0, Math.ceil(share * last.length) - 1)])
        }
      )
    )
  })

  it.effect("second attempts are at most 10 % of the calls", () =>
    Effect.gen(function* () {
      const hedge = Hedge.make("a", { after: 10 })
      let begun = 0
      const slow = Effect.suspend(() => {
        begun++
        return Effect.sleep(100)
      })
      for (let calls = 1; calls <= 100; calls++) {
        yield* finish(Hedge.hedge(slow, hedge))
        assert.strictEqual(begun - calls, Math.floor(calls / 10))
      }
    })
  )

  it("refuses numbers that make no sense", () => {
    assert.throws(() => Hedge.make("a", { after: -1 }), /Hedge: after/)
    for (const percentile of [0, 1, -1, Number.NaN]) assert.throws(() => Hedge.make("a", { percentile }), /percentile/)
    assert.throws(() => Hedge.make("a", { sample: 0 }), /sample/)
    assert.throws(() => Hedge.make("a", { sample: 5, minimum: 6 }), /minimum must be at most the sample of 5, got 6/)
    assert.throws(() => Hedge.make("a", { minimum: 0 }), /Hedge: minimum/)
    assert.throws(() => Hedge.make("a", { budget: -1 }), /ratio/)
    assert.isTrue(Hedge.isHedge(Hedge.make("a", { sample: 5 })))
    assert.isFalse(Hedge.isHedge({}))
  })
})

describe("Hedge: any timing", () => {
  const end = fc.constantFrom("answer", "fail", "die")
  const attempt = fc.record({ millis: fc.integer({ min: 0, max: 300 }), end })

  it(
    "at most one winner, at most two attempts, and every loser ends before the result is there",
    () =>
      fc.assert(
        fc.asyncProperty(
          attempt,
          attempt,
          fc.integer({ min: 0, max: 300 }),
          fc.option(fc.integer({ min: 0, max: 400 }), { nil: undefined }),
          (one, two, after, interruptAt) =>
            Effect.runPromise(
              Effect.gen(function* () {
                const ends = {
                  answer: Effect.succeed("answer"),
                  fail: Effect.fail("no"),
                  die: Effect.die("bug")
                } as const
                const ended: Array<boolean> = []
                let begun = 0
                let answers = 0
                let checked = false
                const effect = Effect.suspend(() => {
                  const number = begun++
                  const { end, millis } = number === 0 ? one : two
                  ended[number] = false
                  return Effect.zipRight(Effect.sleep(millis), ends[end as keyof typeof ends]).pipe(
                    Effect.tap(() => answers++),
                    Effect.ensuring(
                      Effect.sync(() => {
                        ended[number] = true
                      })
                    )
                  )
                })
                const whole = Hedge.hedge(effect, always("a", { after })).pipe(
                  Effect.onExit((exit) =>
                    Effect.sync(() => {
                      assert.isTrue(ended.every((each) => each))
                      assert.isAtMost(begun, 2)
                      if (!Exit.isInterrupted(exit)) assert.strictEqual(Exit.isSuccess(exit), answers > 0)
                      checked = true
                    })
                  )
                )
                const fiber = yield* Effect.fork(whole)
                if (interruptAt !== undefined) {
                  yield* TestClock.adjust(interruptAt)
                  yield* Fiber.interrupt(fiber)
                }
                yield* TestClock.adjust("1 minute")
                yield* Fiber.await(fiber)
                yield* others
                // an assertion that fails inside the fiber does not get here
                assert.isTrue(checked || interruptAt === 0)
                assert.isTrue(ended.every((each) => each))
                // at the very same instant either may come first
                if (interruptAt === undefined && one.millis !== after)
                  assert.strictEqual(begun, one.millis > after ? 2 : 1)
              }).pipe(Effect.provide(TestContext.TestContext))
            )
        ),
        { numRuns: 120 }
      ),
    120_000
  )
})

describe("Hedge: what is seen", () => {
  it.effect("of two of which one fails: the second wins if it is the one that answers, whichever ended first", () =>
    Effect.gen(function* () {
      const no = Effect.fail("no")
      const runs = [
        attempts<string>([120, no], [50, Effect.succeed("two")]),
        attempts<string>([500, Effect.succeed("one")], [50, no]),
        attempts<string>([120, no], [50, no]),
        attempts<string>([500, no], [50, no])
      ]
      for (const { effect } of runs) {
        yield* finish(Hedge.hedge(effect, always("model", { after: 100 })).pipe(Effect.withSpan("call")))
      }
      const outcomes = (yield* tree)
        .filter(({ name }) => name === "call")
        .map(({ metadata }) => metadata["hedge_outcome"])
      assert.deepStrictEqual(outcomes, ["won", "failed", "failed", "failed"])
    }).pipe(Effect.provide(Trace.layerRecorder()))
  )

  it.effect("the second attempt, and how it came out", () =>
    Effect.gen(function* () {
      const hedge = always("model", { after: 100 })
      const runs = [
        attempts([500, Effect.succeed("one")], [50, Effect.succeed("two")]),
        attempts([120, Effect.succeed("one")], [50, Effect.succeed("two")]),
        attempts([500, Effect.succeed("one")], [50, Effect.fail(transient())])
      ]
      for (const { effect } of runs) yield* finish(Hedge.hedge(effect, hedge).pipe(Effect.withSpan("call")))
      const denied = attempts([500, Effect.succeed("one")])
      yield* finish(Hedge.hedge(denied.effect, Hedge.make("poor", { after: 100 })).pipe(Effect.withSpan("call")))
      const seen = yield* tree
      assert.deepStrictEqual(
        seen.filter(({ name }) => name === "call").map(({ metadata }) => metadata),
        [
          { hedge: "model", hedge_outcome: "won" },
          { hedge: "model", hedge_outcome: "lost" },
          { hedge: "model", hedge_outcome: "failed" },
          { hedge: "poor", hedge_outcome: "denied" }
        ]
      )
      const metadata = { hedge: "model", delay_seconds: 0.1 }
      assert.deepStrictEqual(
        seen
          .filter(({ name }) => name === "hedge")
          .map(({ level, metadata, statusMessage, under }) => ({ under, level, statusMessage, metadata })),
        [
          { under: "call", level: "DEFAULT", statusMessage: undefined, metadata },
          { under: "call", level: "DEFAULT", statusMessage: "the first attempt answered before", metadata },
          { under: "call", level: "ERROR", statusMessage: "Error: transient 0", metadata }
        ]
      )
    }).pipe(Effect.provide(Trace.layerRecorder()))
  )

  it("has the types it says", () => {
    interface Service {
      readonly _: unique symbol
    }
    const effect: Effect.Effect<number, "a", Service> = Effect.fail("a")
    const that = (): Effect.Effect<string, "b"> => Effect.fail("b")
    const hedge = Hedge.make("a")
    expectTypeOf(effect.pipe(Hedge.hedge(hedge))).toEqualTypeOf<Effect.Effect<number, "a", Service>>()
    expectTypeOf(Hedge.hedgeWith(effect, hedge, that)).toEqualTypeOf<
      Effect.Effect<number | string, "a" | "b", Service>
    >()
  })
})
