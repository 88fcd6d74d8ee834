import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as TestClock from "effect/TestClock"
import { expectTypeOf } from "vitest"
import * as Chaos from "../../src/resilience/Chaos.js"
import * as Failure from "../../src/resilience/Failure.js"

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
        const counts = { error: 0, hang: 0, "rate-limit": 0 }
        const agents = Array.from({ length: 20 }, (_, n) => `agent ${n}`)
        for (const agent of agents) {
          for (let n = 0; n < 200; n++) {
            const due = chaos?.next(agent)
            if (due !== undefined) counts[due.fault]++
          }
        }
        const total = counts.error + counts.hang + counts["rate-limit"]
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
  })

  it("keeps the effect's types", () => {
    const effect: Effect.Effect<number, "no"> = Effect.fail("no")
    expectTypeOf(Chaos.inject(effect, "a")).toEqualTypeOf<Effect.Effect<number, "no">>()
    expectTypeOf(Chaos.repeatable(effect, "a")).toEqualTypeOf<Effect.Effect<number, "no">>()
  })
})
