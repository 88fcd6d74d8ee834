import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Processes from "../support/processes.js"

const mebibyte = 1_048_576

describe("memory", () => {
  it.scopedLive(
    "is as it was after 100,000 traced calls",
    () =>
      Effect.gen(function* () {
        const running = yield* Processes.start(new URL("./fixtures/calls.ts", import.meta.url), { args: ["100000"] })
        assert.deepStrictEqual(yield* running.exited, { code: 0, signal: null }, running.output())
        const heaps = running.output().trim().split("\n").map(Number)
        assert.strictEqual(heaps.length, 10)
        // what is loaded and compiled on the way is there after the third tenth: the other 70,000 leave less than 30 bytes each
        const [, , settled = 0] = heaps
        assert.isBelow(Math.min(...heaps.slice(-3)) - settled, 2 * mebibyte, heaps.join(" "))
      }),
    240_000
  )
})
