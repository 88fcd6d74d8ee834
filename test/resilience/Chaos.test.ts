import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as TestClock from "effect/TestClock"
import { expectTypeOf } from "vitest"
import * as Trace from "../../src/observability/Trace.js"
import * as Chaos from "../../src/resilience/Chaos.js"
import * as Failure from "../../src/resilience/Failure.js"
import { tree } from "./support.js"

/** What befell one call. */
const call = (agent: string) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.fork(Chaos.inject(Effect.succeed("answer"), agent))
    yield* Effect.yieldNow()
    const polled = yield* fiber.poll
    if (polled._tag === "None") {
      yield* Fiber.interrupt(fiber)
      return "hang"
    }
    const exit = polled.value
    if (Exit.isSuccess(exit)) return "answer"
    const error = yield* Effect.flip(
      Effect.exit(Fiber.join(fiber)).pipe(Effect.flatten) as Effect.Effect<string, unknown>
    )
    assert.instanceOf(error, Chaos.ChaosError)
    return error.fault
  })

const calls = (agent: string, count: number) => Effect.forEach(Array.from({ length: count }), () => call(agent))

describe("Chaos", () => {
  it.effect("is off unless provided", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(new Set(yield* calls("a", 50)), new Set(["answer"]))
      const plain = yield* Effect.withRandom(Random.next, Random.make("x"))
      const repeatable = yield* Effect.withRandom(Chaos.repeatable(Random.next, "a"), Random.make("x"))
      assert.strictEqual(repeatable, plain)
    })
  )

  it.effect("the same seed gives the same faults to the same calls, in whatever order agents run", () =>
    Effect.gen(function* () {
      const layer = (seed?: number) => Effect.provide(Chaos.layer({ rate: 0.5, seed }))
      const apart = yield* Effect.all([calls("a", 40), calls("b", 40)]).pipe(layer(7))
      const together = yield* Effect.all([calls("a", 40), calls("b", 40)], { concurrency: 2 }).pipe(layer(7))
      const [b, a] = yield* Effect.all([calls("b", 40), calls("a", 40)]).pipe(layer(7))
      assert.deepStrictEqual(together, apart)
      assert.deepStrictEqual([a, b], apart)
      assert.notDeepEqual(apart[0], apart[1])
      assert.notDeepEqual(yield* Effect.all([calls("a", 40), calls("b", 40)]).pipe(layer(8)), apart)
      assert.deepStrictEqual(yield* calls("a", 40).pipe(layer()), yield* calls("a", 40).pipe(layer(0)))
    })
  )

  it.effect("meets the rate, and each fault about as often, for any seed", () =>
    Effect.gen(function* () {
      for (const [rate, seed] of [
        [0.4, 1],
        [0.1, 2],
        [0.9, 3]
      ] as const) {
        const chaos = yield* Chaos.Chaos.pipe(Effect.provide(Chaos.layer({ rate, seed })))
        const counts: Partial<Record<Chaos.Fault, number>> = {}
        const agents = Array.from({ length: 20 }, (_, n) => `agent ${n}`)
        for (const agent of agents) {
          for (let n = 0; n < 200; n++) {
            const due = chaos?.next(agent)
            if (due !== undefined) counts[due.fault] = (counts[due.fault] ?? 0) + 1
          }
        }
        assert.deepStrictEqual(Object.keys(counts).sort(), ["error", "hang", "rate-limit"])
        const total = Object.values(counts).reduce((sum, count) => sum + count, 0)
        assert.closeTo(total / 4000, rate, 0.03)
        for (const count of Object.values(counts)) assert.closeTo(count / total, 1 / 3, 0.06)
      }
    })
  )

  it.effect("0 is never and 1 always; faults and agents can be named", () =>
    Effect.gen(function* () {
      const seen = (options: Chaos.Options, agent = "a") =>
        Effect.map(calls(agent, 30).pipe(Effect.provide(Chaos.layer(options))), (all) => [...new Set(all)].sort())
      assert.deepStrictEqual(yield* seen({ rate: 0 }), ["answer"])
      assert.deepStrictEqual(yield* seen({ rate: 1 }), ["error", "hang", "rate-limit"])
      assert.deepStrictEqual(yield* seen({ rate: 1, faults: ["error"] }), ["error"])
      assert.deepStrictEqual(yield* seen({ rate: 1, agents: ["b"] }), ["answer"])
      assert.deepStrictEqual(yield* seen({ rate: 1, agents: ["b"], faults: ["hang"] }, "b"), ["hang"])
    })
  )

  it.effect("each layer that is built counts from 1", () =>
    Effect.gen(function* () {
      const layer = Chaos.layer({ rate: 0.5, seed: 3 })
      assert.deepStrictEqual(
        yield* calls("a", 20).pipe(Effect.provide(layer)),
        yield* calls("a", 20).pipe(Effect.provide(layer))
      )
    })
  )

  it.effect("random numbers inside repeat with the seed", () =>
    Effect.gen(function* () {
      const draw = Chaos.repeatable(Effect.all([Random.next, Random.next]), "a")
      const first = yield* draw.pipe(Effect.provide(Chaos.layer({ rate: 0, seed: 1 })))
      assert.deepStrictEqual(yield* draw.pipe(Effect.provide(Chaos.layer({ rate: 0, seed: 1 }))), first)
      assert.notDeepEqual(yield* draw.pipe(Effect.provide(Chaos.layer({ rate: 0, seed: 2 }))), first)
    })
  )

  it.effect("a hang lasts until it is ended", () =>
    Effect.gen(function* () {
      const hung = Chaos.inject(Effect.void, "a").pipe(Effect.provide(Chaos.layer({ rate: 1, faults: ["hang"] })))
      const fiber = yield* Effect.fork(hung)
      yield* TestClock.adjust("1 day")
      assert.strictEqual((yield* fiber.poll)._tag, "None")
      assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
    })
  )

  const always = (fault: Chaos.Fault, options: Partial<Chaos.Options> = {}) =>
    Effect.provide(Chaos.layer({ rate: 1, faults: [fault], ...options }))

  it.effect("latency answers late: always so much, or between two bounds, the same for the same seed", () =>
    Effect.gen(function* () {
      const took = (options: Partial<Chaos.Options>) =>
        Effect.gen(function* () {
          const start = yield* Clock.currentTimeMillis
          const fiber = yield* Effect.fork(
            Effect.zipRight(Chaos.inject(Effect.succeed("answer"), "a"), Clock.currentTimeMillis).pipe(
              always("latency", options)
            )
          )
          yield* TestClock.adjust("1 minute")
          return (yield* Fiber.join(fiber)) - start
        })
      assert.strictEqual(yield* took({ latency: "3 seconds" }), 3000)
      const seen = yield* Effect.forEach([1, 2, 3, 4, 5, 6, 7, 8], (seed) => took({ seed }))
      assert.isTrue(seen.every((millis) => millis >= 1000 && millis <= 5000))
      assert.isAbove(new Set(seen).size, 5)
      assert.strictEqual(yield* took({ seed: 4 }), seen[3])
      const narrow = yield* took({ latency: { min: 10, max: "20 millis" } })
      assert.isTrue(narrow >= 10 && narrow <= 20)
    })
  )

  it.effect("malformed takes the place of a good answer, and only of a good one", () =>
    Effect.gen(function* () {
      const malformed = (answer: unknown, options?: Partial<Chaos.Options>) =>
        Chaos.inject(Effect.succeed(answer), "a").pipe(always("malformed", options))
      assert.strictEqual(yield* malformed("an answer"), "an a")
      assert.strictEqual(yield* malformed({ text: "yes" }), '{"text"')
      assert.strictEqual(yield* malformed(undefined), "")
      assert.strictEqual(yield* malformed(7, { malform: (output) => `<${String(output)}` }), "<7")
      assert.strictEqual(yield* Effect.flip(Chaos.inject(Effect.fail("no"), "a").pipe(always("malformed"))), "no")
    })
  )

  it.effect("a defect is died of, and a rate limit asks for as long as it is told", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(Chaos.inject(Effect.void, "a").pipe(always("defect")))
      const defect = Exit.isFailure(exit) && exit.cause._tag === "Die" ? exit.cause.defect : undefined
      assert.instanceOf(defect, Chaos.ChaosError)
      assert.strictEqual(defect.message, 'injected defect in call 1 of "a"')
      assert.deepStrictEqual(defect.failure, { kind: "permanent", reason: "injected defect" })
      const limited = yield* Effect.flip(
        Chaos.inject(Effect.fail(""), "a").pipe(always("rate-limit", { retryAfter: "2 seconds" }))
      )
      assert.strictEqual(Failure.classify(limited).retryAfterMillis, 2000)
    })
  )

  it.effect("some agents may have rates of their own", () =>
    Effect.gen(function* () {
      const layer = Effect.provide(Chaos.layer({ rate: 0, rates: { bad: 1 }, faults: ["error"] }))
      assert.deepStrictEqual(yield* Effect.zip(call("bad"), call("good")).pipe(layer), ["error", "answer"] satisfies [
        string,
        string
      ])
    })
  )

  it("names every kind of fault, each of which can be had", () => {
    const had = new Set(
      Chaos.allFaults.map((fault) => {
        const chaos = Effect.runSync(Chaos.Chaos.pipe(Effect.provide(Chaos.layer({ rate: 1, faults: [fault] }))))
        return chaos?.next("technical")?.fault
      })
    )
    assert.deepStrictEqual([...had], ["error", "hang", "rate-limit", "latency", "malformed", "defect"])
  })

  it("more kinds of faults leave those of a seed as they were", () => {
    const options = { rate: 0.5, seed: 7 }
    const faults = (more: Partial<Chaos.Options>) => {
      const chaos = Effect.runSync(Chaos.Chaos.pipe(Effect.provide(Chaos.layer({ ...options, ...more }))))
      return Array.from({ length: 12 }, () => chaos?.next("technical")?.fault ?? "-")
    }
    assert.deepStrictEqual(faults({}), faults({ faults: ["error", "hang", "rate-limit"] }))
    assert.deepStrictEqual(faults({}), [
      "rate-limit",
      "error",
      "-",
      "rate-limit",
      "rate-limit",
      "-",
      "error",
      "-",
      "-",
      "-",
      "error",
      "rate-limit"
    ])
    const every = new Set(Array.from({ length: 40 }, (_, seed) => faults({ seed, faults: Chaos.allFaults })).flat())
    assert.deepStrictEqual([...every].sort(), ["-", ...Chaos.allFaults].sort())
  })

  it.effect("the observation in force says which fault was injected", () =>
    Effect.gen(function* () {
      for (const fault of ["error", "malformed"] as const) {
        yield* Effect.exit(Chaos.inject(Effect.succeed("answer"), "a").pipe(Effect.withSpan("call"), always(fault)))
      }
      assert.deepStrictEqual(
        (yield* tree).map(({ metadata }) => metadata),
        [{ injected_fault: "error" }, { injected_fault: "malformed" }]
      )
    }).pipe(Effect.provide(Trace.layerRecorder()))
  )

  it("its errors say what they are", () => {
    const error = new Chaos.ChaosError({ agent: "a", fault: "error", call: 2 })
    const limit = new Chaos.ChaosError({ agent: "a", fault: "rate-limit", call: 3 })
    assert.strictEqual(error.message, 'injected error in call 2 of "a"')
    assert.strictEqual(limit.message, 'injected rate limit in call 3 of "a"')
    assert.deepStrictEqual(Failure.classify(error), { kind: "transient", reason: "injected error" })
    assert.deepStrictEqual(Failure.classify(limit), {
      kind: "rate-limited",
      reason: "injected rate limit",
      retryAfterMillis: 250
    })
  })

  it("refuses numbers that make no sense where they are written", () => {
    for (const rate of [-0.1, 1.1, Number.NaN])
      assert.throws(() => Chaos.layer({ rate }), /rate must be between 0 and 1/)
    assert.throws(() => Chaos.layer({ rate: 1, seed: Number.NaN }), /seed must be a number/)
    assert.throws(() => Chaos.layer({ rate: 1, faults: [] }), /at least one fault/)
    assert.throws(() => Chaos.layer({ rate: 0, rates: { a: 2 } }), /rate must be between 0 and 1, got 2/)
    assert.throws(() => Chaos.layer({ rate: 1, latency: -1 }), /Chaos: latency/)
    assert.throws(
      () => Chaos.layer({ rate: 1, latency: { min: 2, max: 1 } }),
      /two durations in order, got 2 ms to 1 ms/
    )
    assert.throws(() => Chaos.layer({ rate: 1, latency: Infinity }), /Chaos: latency/)
    assert.throws(() => Chaos.layer({ rate: 1, retryAfter: -1 }), /Chaos: retryAfter/)
  })

  it("keeps the effect's types", () => {
    const effect: Effect.Effect<number, "no"> = Effect.fail("no")
    expectTypeOf(Chaos.inject(effect, "a")).toEqualTypeOf<Effect.Effect<number, "no">>()
    expectTypeOf(Chaos.repeatable(effect, "a")).toEqualTypeOf<Effect.Effect<number, "no">>()
  })
})
