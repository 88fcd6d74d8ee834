import { assert, describe, it } from "@effect/vitest"
import { classify, error, permanent, transient } from "./support.js"

describe("Failure.classify: several errors in one", () => {
  it("only an AggregateError's errors are its alternatives", () => {
    assert.deepStrictEqual(classify(error({ errors: [error({ status: 400 })] })), transient("unknown"))
    assert.deepStrictEqual(classify(new AggregateError([error({ status: 400 })])), permanent("http 400"))
  })

  it("one without any is as good as its cause", () => {
    assert.deepStrictEqual(classify(new AggregateError([])), transient("unknown"))
    assert.deepStrictEqual(
      classify(Object.assign(new AggregateError([]), { cause: error({ status: 400 }) })),
      permanent("http 400")
    )
    assert.deepStrictEqual(classify(Object.assign(new AggregateError([]), { errors: "none" })), transient("unknown"))
  })
})
