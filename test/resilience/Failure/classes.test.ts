import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Failure from "../../../src/resilience/Failure.js"

const classify = (error: unknown) => Failure.classify(error)
const error = (fields: object) => Object.assign(new Error("no"), fields)
const transient = (reason: string) => ({ kind: "transient", reason }) as const
const permanent = (reason: string) => ({ kind: "permanent", reason }) as const

describe("Failure.classOf", () => {
  const table: ReadonlyArray<readonly [Failure.Class, ReadonlyArray<unknown>]> = [
    ["rate-limited", [error({ status: 429 }), error({ code: "rate_limit_error" })]],
    [
      "timeout",
      [error({ status: 408 }), error({ status: 504 }), error({ code: "ETIMEDOUT" }), new Cause.TimeoutException()]
    ],
    ["timeout", [error({ code: "UND_ERR_HEADERS_TIMEOUT" }), error({ code: "DEADLINE_EXCEEDED" })]],
    ["overloaded", [error({ status: 503 }), error({ status: 529 }), error({ code: "overloaded_error" })]],
    ["server-error", [error({ status: 500 }), error({ status: 502 }), error({ code: "api_error" })]],
    ["connection", [error({ code: "ECONNRESET" }), error({ code: "UND_ERR_SOCKET" }), new TypeError("fetch failed")]],
    ["decode", [new SyntaxError("no JSON")]],
    ["context-length", [error({ code: "context_length_exceeded" })]],
    ["content-filter", [error({ code: "content_filter" })]],
    [
      "permanent",
      [
        error({ status: 400 }),
        error({ status: 501 }),
        new TypeError("x is undefined"),
        error({ code: "CERT_HAS_EXPIRED" })
      ]
    ],
    ["transient", [new Error("odd"), error({ status: 425 })]],
    ["cancelled", [new DOMException("stop", "AbortError")]],
    ["control-flow", [error({ is_bubble_up: true })]],
    ["bulkhead-full", [error({ failure: { kind: "transient", reason: "mine", class: "bulkhead-full" } })]]
  ]
  for (const [expected, errors] of table) {
    it(expected, () => {
      for (const each of errors) assert.strictEqual(Failure.classOf(classify(each)), expected)
    })
  }

  it("by the reason that was recognised, and by nothing that only looks like it", () => {
    const classes: ReadonlyArray<readonly [Failure.Class, ReadonlyArray<string>]> = [
      ["timeout", ["attempt timeout", "deadline timeout", "timeout", "http 408", "http 504", "ETIMEDOUT"]],
      ["timeout", ["UND_ERR_BODY_TIMEOUT", "UND_ERR_CONNECT_TIMEOUT", "UND_ERR_HEADERS_TIMEOUT"]],
      ["bulkhead-full", ["bulkhead full"]],
      ["circuit-open", ["circuit open"]],
      ["connection", ["connection", "EPIPE", "UND_ERR_SOCKET", "ERR_NETWORK"]],
      ["content-filter", ["content filter"]],
      ["context-length", ["context length"]],
      ["decode", ["decode"]],
      ["defect", ["defect"]],
      ["overloaded", ["overloaded", "http 503", "http 529"]],
      ["server-error", ["server error", "http 500", "http 599"]],
      ["transient", ["http 5000", "on http 500", "mine: EPIPE", "EPIPE again", "unknown", ""]]
    ]
    for (const [expected, all] of classes) {
      for (const reason of all) assert.strictEqual(Failure.classOf(transient(reason)), expected, reason)
    }
    assert.strictEqual(Failure.classOf(permanent("circuit open")), "circuit-open")
    assert.strictEqual(Failure.classOf(permanent("EPIPE")), "permanent")
  })

  it("of a defect, and of several failures that of the one that decides", () => {
    assert.strictEqual(Failure.classOf(Failure.fromCause(Cause.die("bug"))), "defect")
    const own = error({ failure: { kind: "permanent", reason: "mine", class: "content-filter" } })
    const both = Cause.parallel(Cause.fail(error({ status: 503 })), Cause.fail(own))
    assert.strictEqual(Failure.classOf(Failure.fromCause(both)), "content-filter")
    const other = Cause.parallel(Cause.fail(own), Cause.fail(error({ status: 503 })))
    assert.strictEqual(Failure.classOf(Failure.fromCause(other)), "content-filter")
  })
})

describe("Failure.extend and Failure.layer", () => {
  it("ask the function first, out of Effect's wrapper, and the base of what it does not know", () => {
    const asked: Array<unknown> = []
    const mine = Failure.extend((given, time) => {
      asked.push([given, time()])
      return given === "mine" ? permanent("mine") : undefined
    })
    assert.deepStrictEqual(
      mine("mine", () => 5),
      permanent("mine")
    )
    assert.deepStrictEqual(
      mine(new Cause.UnknownException("mine"), () => 6),
      permanent("mine")
    )
    assert.deepStrictEqual(mine(error({ status: 503 })), transient("http 503"))
    assert.deepStrictEqual(asked.slice(0, 2), [
      ["mine", 5],
      ["mine", 6]
    ])
    assert.strictEqual(mine(error({ is_bubble_up: true })).kind, "control-flow")
    assert.strictEqual(asked.length, 3)
    const twice = Failure.extend(() => undefined, mine)
    assert.deepStrictEqual(twice("mine"), permanent("mine"))
  })

  it("without them, the one that knows all this is in force", () => {
    assert.strictEqual(Effect.runSync(Failure.CurrentClassifier), Failure.classify)
  })

  it("serve a whole program", () => {
    const classifier = Effect.runSync(
      Effect.provide(
        Failure.CurrentClassifier,
        Failure.layer(() => permanent("mine"))
      )
    )
    assert.deepStrictEqual(classifier("anything"), permanent("mine"))
  })
})
