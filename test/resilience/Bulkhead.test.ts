import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as TestClock from "effect/TestClock"
import * as TestContext from "effect/TestContext"
import * as fc from "fast-check"
import { expectTypeOf } from "vitest"
import * as Trace from "../../src/observability/Trace.js"
import * as Bulkhead from "../../src/resilience/Bulkhead.js"
import * as Failure from "../../src/resilience/Failure.js"
import * as Timeout from "../../src/resilience/Timeout.js"
import { finish, others, tree } from "./support.js"

const full = (exit: Exit.Exit<unknown, unknown> | undefined) => {
  const error = exit !== undefined && Exit.isFailure(exit) && exit.cause._tag === "Fail" ? exit.cause.error : undefined
  assert.instanceOf(error, Bulkhead.BulkheadFullError)
  return error
}

describe("Bulkhead", () => {
  it.effect("lets so many in, so many wait, and rejects the rest at once", () =>
    Effect.gen(function* () {
      const bulkhead = Bulkhead.make("model", { concurrency: 2, queue: 1 })
      const fibers = yield* Effect.forEach([1, 2, 3, 4], () => Effect.fork(bulkhead.protect(Effect.sleep(1000))))
      yield* others
      assert.deepStrictEqual(yield* bulkhead.snapshot, { running: 2, queued: 1 })
      const rejected = full(
        (yield* Fiber.poll(fibers[3] ?? Fiber.never)).pipe((polled) =>
          polled._tag === "Some" ? polled.value : undefined
        )
      )
      assert.deepStrictEqual(
        { ...rejected },
        { _tag: "BulkheadFullError", bulkhead: "model", reason: "queue", concurrency: 2, queued: 1 }
      )
      assert.strictEqual(rejected.message, 'bulkhead "model" is full: 2 run and 1 wait')
      assert.deepStrictEqual(Failure.classify(rejected), { kind: "transient", reason: "bulkhead full" })
      assert.strictEqual(Failure.classOf(rejected.failure), "bulkhead-full")
      yield* TestClock.adjust(1000)
      assert.deepStrictEqual(yield* bulkhead.snapshot, { running: 1, queued: 0 })
      yield* TestClock.adjust(1000)
      assert.deepStrictEqual(yield* bulkhead.snapshot, { running: 0, queued: 0 })
    })
  )

  it.effect("without a line it rejects whoever finds no room", () =>
    Effect.gen(function* () {
      for (const options of [
        { concurrency: 1, queue: 0 },
        { concurrency: 1, maxWait: 0 }
      ]) {
        const bulkhead = Bulkhead.make("model", options)
        yield* Effect.fork(Bulkhead.protect(Effect.sleep(1000), bulkhead))
        yield* others
        assert.strictEqual(full(yield* Effect.exit(Effect.void.pipe(Bulkhead.protect(bulkhead)))).reason, "queue")
      }
    })
  )

  it.effect("a wait that is too long is a rejection, and leaves the line to the others", () =>
    Effect.gen(function* () {
      const bulkhead = Bulkhead.make("model", { concurrency: 1, maxWait: 100 })
      yield* Effect.fork(bulkhead.protect(Effect.sleep(150)))
      yield* others
      const early = yield* Effect.fork(bulkhead.protect(Effect.succeed("early")))
      yield* TestClock.adjust(60)
      const late = yield* Effect.fork(bulkhead.protect(Effect.succeed("late")))
      yield* TestClock.adjust(40)
      const rejected = full(yield* Fiber.await(early))
      assert.strictEqual(rejected.reason, "wait")
      assert.strictEqual(rejected.message, 'bulkhead "model" is full: 1 run and its turn did not come in time')
      assert.deepStrictEqual(yield* bulkhead.snapshot, { running: 1, queued: 1 })
      yield* TestClock.adjust(50)
      assert.strictEqual(yield* Fiber.join(late), "late")
      assert.deepStrictEqual(yield* bulkhead.snapshot, { running: 0, queued: 0 })
    })
  )

  it.effect("a permit comes back from a failure, a defect, an interruption and a deadline", () =>
    Effect.gen(function* () {
      const bulkhead = Bulkhead.make("model", { concurrency: 1 })
      yield* Effect.exit(bulkhead.protect(Effect.fail("no")))
      yield* Effect.exit(bulkhead.protect(Effect.die("bug")))
      yield* Effect.exit(bulkhead.protect(Effect.interrupt))
      const fiber = yield* Effect.fork(bulkhead.protect(Effect.never))
      yield* others
      const waiting = yield* Effect.fork(bulkhead.protect(Effect.void).pipe(Timeout.deadline(50)))
      yield* TestClock.adjust(50)
      assert.isTrue(Exit.isFailure(yield* Fiber.await(waiting)))
      assert.deepStrictEqual(yield* bulkhead.snapshot, { running: 1, queued: 0 })
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(yield* bulkhead.snapshot, { running: 0, queued: 0 })
    })
  )

  it.effect("who is interrupted in the moment of its turn hands it on", () =>
    Effect.gen(function* () {
      const bulkhead = Bulkhead.make("model", { concurrency: 1 })
      const gate = yield* Deferred.make<void>()
      let entered = false
      // the permit is handed over, and in the same breath, before the next fiber can run, that one is interrupted
      const interruptNext = Effect.sync(() => next.unsafeInterruptAsFork(FiberId.none))
      yield* Effect.fork(Effect.ensuring(bulkhead.protect(Deferred.await(gate)), interruptNext))
      yield* others
      const next: Fiber.RuntimeFiber<void, unknown> = yield* Effect.fork(
        bulkhead.protect(
          Effect.sync(() => {
            entered = true
          })
        )
      )
      yield* others
      const last = yield* Effect.fork(bulkhead.protect(Effect.succeed("last")))
      yield* others
      yield* Deferred.succeed(gate, undefined)
      assert.isTrue(Exit.isInterrupted(yield* Fiber.await(next)))
      assert.isFalse(entered)
      assert.strictEqual(yield* Fiber.join(last), "last")
      assert.deepStrictEqual(yield* bulkhead.snapshot, { running: 0, queued: 0 })
    })
  )

  it(
    "never above its bound, first come first served, and no permit lost, whatever is interrupted when",
    () =>
      fc.assert(
        fc.asyncProperty(
          fc.integer({ min: 1, max: 3 }),
          fc.integer({ min: 0, max: 4 }),
          fc.option(fc.integer({ min: 0, max: 40 }), { nil: undefined }),
          fc.array(
            fc.record({
              begins: fc.integer({ min: 0, max: 60 }),
              lasts: fc.integer({ min: 0, max: 30 }),
              ends: fc.constantFrom("answer", "fail", "die"),
              interruptedAt: fc.option(fc.integer({ min: 0, max: 90 }), { nil: undefined }),
              yields: fc.integer({ min: 0, max: 12 })
            }),
            { maxLength: 14 }
          ),
          (concurrency, queue, maxWait, calls) =>
            Effect.runPromise(
              Effect.gen(function* () {
                const bulkhead = Bulkhead.make("model", { concurrency, queue, maxWait })
                let inside = 0
                let most = 0
                let mostQueued = 0
                const entered: Array<number> = []
                const asked: Array<number> = []
                const rejected = new Set<number>()
                const run = ({ begins, ends, interruptedAt, lasts, yields }: (typeof calls)[number], index: number) =>
                  Effect.gen(function* () {
                    const body = Effect.gen(function* () {
                      entered.push(index)
                      inside++
                      most = Math.max(most, inside)
                      yield* Effect.sleep(lasts)
                      if (ends === "fail") return yield* Effect.fail("no")
                      if (ends === "die") return yield* Effect.die("bug")
                    }).pipe(Effect.ensuring(Effect.sync(() => inside--)))
                    yield* Effect.sleep(begins)
                    const fiber = yield* Effect.fork(
                      Effect.zipRight(
                        Effect.sync(() => asked.push(index)),
                        bulkhead.protect(body)
                      ).pipe(
                        Effect.tapErrorTag("BulkheadFullError", () => Effect.sync(() => rejected.add(index))),
                        Effect.ensuring(
                          Effect.map(bulkhead.snapshot, ({ queued, running }) => {
                            most = Math.max(most, running)
                            mostQueued = Math.max(mostQueued, queued)
                          })
                        )
                      )
                    )
                    if (interruptedAt !== undefined) {
                      yield* Effect.sleep(interruptedAt)
                      // somewhere in the middle of whatever happens at that instant
                      yield* Effect.repeatN(Effect.yieldNow(), yields)
                      yield* Fiber.interrupt(fiber)
                    }
                    yield* Fiber.await(fiber)
                  })
                const all = yield* Effect.fork(Effect.forEach(calls, run, { concurrency: "unbounded" }))
                yield* TestClock.adjust("1 hour")
                yield* Fiber.join(all)
                assert.deepStrictEqual(yield* bulkhead.snapshot, { running: 0, queued: 0 })
                assert.strictEqual(inside, 0)
                assert.isAtMost(most, concurrency)
                assert.isAtMost(mostQueued, queue)
                // who entered did so in the order in which they asked
                assert.deepStrictEqual(
                  entered,
                  asked.filter((index) => entered.includes(index))
                )
                for (const index of rejected) assert.isFalse(entered.includes(index))
                // and the whole of it can still be used
                const again = yield* Effect.forEach(Array.from({ length: concurrency }), () =>
                  Effect.fork(bulkhead.protect(Effect.never))
                )
                yield* others
                assert.deepStrictEqual(yield* bulkhead.snapshot, { running: concurrency, queued: 0 })
                yield* Fiber.interruptAll(again)
              }).pipe(Effect.provide(TestContext.TestContext))
            )
        ),
        { numRuns: 100 }
      ),
    120_000
  )

  it.effect("rejections and waits are seen", () =>
    Effect.gen(function* () {
      const bulkhead = Bulkhead.make("model", { concurrency: 1, queue: 1 })
      const call = bulkhead.protect(Effect.sleep(1500)).pipe(Effect.withSpan("call"))
      yield* TestClock.adjust(9000)
      const fiber = yield* Effect.fork(Effect.all([call, call, Effect.exit(call)], { concurrency: "unbounded" }))
      yield* TestClock.adjust(3000)
      yield* Fiber.await(fiber)
      const seen = yield* tree
      assert.deepStrictEqual(
        seen.filter(({ name }) => name === "call").map(({ metadata }) => metadata),
        [{}, { bulkhead: "model", bulkhead_wait_seconds: 1.5 }, {}]
      )
      assert.deepStrictEqual(
        seen.filter(({ name }) => name === "bulkhead_rejection"),
        [
          {
            name: "bulkhead_rejection",
            under: "call",
            type: "event",
            level: "WARNING",
            statusMessage: 'bulkhead "model" is full: 1 run and 1 wait',
            metadata: { bulkhead: "model", reason: "queue", running: 1, queued: 1 },
            scores: {}
          }
        ]
      )
    }).pipe(Effect.provide(Trace.layerRecorder()))
  )

  it.effect("by default 10 run and 100 wait, as long as it takes", () =>
    Effect.gen(function* () {
      const bulkhead = Bulkhead.make("model")
      assert.deepStrictEqual([bulkhead.name, bulkhead.concurrency, bulkhead.queue], ["model", 10, 100])
      const exits = yield* finish(
        Effect.forEach(
          Array.from({ length: 111 }),
          () => Effect.exit(Effect.zipRight(bulkhead.protect(Effect.sleep(1000)), Clock.currentTimeMillis)),
          { concurrency: "unbounded" }
        )
      )
      const all = Exit.isSuccess(exits) ? exits.value : []
      assert.deepStrictEqual(
        all.map((exit) => (exit._tag === "Success" ? exit.value : "full")),
        [...Array.from({ length: 110 }, (_, n) => (Math.floor(n / 10) + 1) * 1000), "full"]
      )
    })
  )

  it("refuses numbers that make no sense", () => {
    for (const concurrency of [0, 1.5, Number.NaN, Infinity]) {
      assert.throws(() => Bulkhead.make("a", { concurrency }), /Bulkhead: concurrency/)
    }
    for (const queue of [-1, 0.5, Number.NaN]) assert.throws(() => Bulkhead.make("a", { queue }), /Bulkhead: queue/)
    assert.throws(() => Bulkhead.make("a", { maxWait: -1 }), /Bulkhead: maxWait/)
    assert.strictEqual(Bulkhead.make("a", { queue: Infinity }).queue, Infinity)
    assert.isTrue(Bulkhead.isBulkhead(Bulkhead.make("a")))
    assert.isFalse(Bulkhead.isBulkhead({}))
  })

  it("has the types it says", () => {
    const effect: Effect.Effect<number, "a"> = Effect.fail("a")
    const bulkhead = Bulkhead.make("a")
    type Expected = Effect.Effect<number, "a" | Bulkhead.BulkheadFullError>
    expectTypeOf(effect.pipe(Bulkhead.protect(bulkhead))).toEqualTypeOf<Expected>()
    expectTypeOf(Bulkhead.protect(effect, bulkhead)).toEqualTypeOf<Expected>()
  })
})
