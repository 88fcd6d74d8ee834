import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as ErrorInfo from "../../src/observability/ErrorInfo.js"
import * as Observation from "../../src/observability/Observation.js"

class Bare extends Data.TaggedError("Bare")<{ readonly ticker: string }> {}

describe("ErrorInfo", () => {
  const named: ReadonlyArray<readonly [unknown, string]> = [
    [new TypeError("x is no function"), "TypeError: x is no function"],
    [new Bare({ ticker: "AAPL" }), 'Bare: {"ticker":"AAPL"}'],
    [new Error(""), "Error"],
    ["a thrown text", "a thrown text"],
    [undefined, "undefined"],
    [{ status: 503 }, 'Object: {"status":503}'],
    [new Cause.UnknownException(new RangeError("inside")), "RangeError: inside"],
    [new Error("401 for sk-abcdefgh12345678"), "Error: 401 for <redacted>"]
  ]
  for (const [error, line] of named) {
    it(`says ${line}`, () => {
      assert.strictEqual(ErrorInfo.line(ErrorInfo.make(error)), line)
    })
  }

  it("looks into what Effect.runPromise rejects with", async () => {
    const rejection = await Effect.runPromise(Effect.fail(new Bare({ ticker: "X" }))).catch((error: unknown) => error)
    assert.strictEqual(ErrorInfo.make(rejection).tag, "Bare")
  })

  it("knows a pause inside a wrapper", () => {
    const pause = Object.assign(new Error("ask"), { name: "GraphInterrupt" })
    assert.isTrue(ErrorInfo.isControlFlow(new Cause.UnknownException(pause)))
    assert.deepStrictEqual(Observation.outcome(Exit.die(new Cause.UnknownException(pause))), { level: "DEFAULT" })
    assert.isFalse(ErrorInfo.isControlFlow(new Error("ask")))
  })

  it("prefers a failure to the interruptions beside it", () => {
    const cause = Cause.parallel(Cause.interrupt(Effect.runSync(Effect.fiberId)), Cause.fail(new TypeError("first")))
    assert.deepStrictEqual(ErrorInfo.fromCause(cause), { tag: "TypeError", message: "first" })
    assert.deepStrictEqual(Observation.outcome(Exit.failCause(cause)), {
      level: "ERROR",
      statusMessage: "TypeError: first"
    })
  })
})
