/** A seed that is written down in a bug report must give the same faults in a year. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Chaos from "../../src/resilience/Chaos.js"

const chaosOf = (options: Chaos.Options) =>
  Effect.runSync(Chaos.Chaos.pipe(Effect.provide(Chaos.layer(options)))) ?? assert.fail("no chaos")

describe("Chaos: seeds", () => {
  it("give each call the latency they always gave", () => {
    const late = (seed: number) => {
      const chaos = chaosOf({ rate: 1, seed, faults: ["latency"] })
      return Array.from({ length: 4 }, () => chaos.next("technical")?.latencyMillis)
    }
    assert.deepStrictEqual(
      [late(1), late(7)],
      [
        [1682, 4635, 4541, 2253],
        [2000, 1407, 1622, 4818]
      ]
    )
  })

  it("give each agent the random numbers they always gave, one after the other", () => {
    const chaos = chaosOf({ rate: 0, seed: 7 })
    const drawn = Effect.runSync(
      Effect.forEach(["a", "a", "b"], (agent) => Effect.withRandom(Random.nextIntBetween(0, 1000), chaos.random(agent)))
    )
    assert.deepStrictEqual(drawn, [956, 889, 940])
  })

  it("a rate of 1 spares nobody, one of 0 nobody is hit by", () => {
    const hits = (rate: number) => {
      const chaos = chaosOf({ rate })
      return Array.from({ length: 50 }, () => chaos.next("technical")).filter((due) => due !== undefined).length
    }
    assert.deepStrictEqual([hits(0), hits(1)], [0, 50])
  })

  it("a latency that makes no sense is named", () => {
    for (const latency of [-1, { min: 0, max: -1 }]) {
      assert.throws(() => Chaos.layer({ rate: 1, latency }), "Chaos: latency must be a duration from 0 up, got -1")
    }
  })
})
