import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as Schema from "effect/Schema"
import * as fc from "fast-check"
import { expectTypeOf } from "vitest"
import { z } from "zod"
import * as Failure from "../../../src/resilience/Failure.js"
import { APIError, cancelled, classify, decode, error, limited, permanent, rows, transient } from "./support.js"

describe("Failure.classify: decoding, aborts, control flow, wrappers", () => {
  const parseError = Effect.runSyncExit(Schema.decodeUnknown(Schema.Number)("x"))
  class Declared extends Data.TaggedError("Declared") {
    readonly failure = { kind: "rate-limited", reason: "our own", retryAfterMillis: 5 } as const
  }
  const interrupt = error({ name: "GraphInterrupt", is_bubble_up: true })
  rows([
    ["a Schema's ParseError", Exit.isFailure(parseError) ? Cause.squash(parseError.cause) : undefined, decode],
    ["JSON that is none", new SyntaxError("Unexpected token"), decode],
    ["zod's error", z.number().safeParse("x").error, decode],
    [
      "the body of an answer that does not decode",
      { _tag: "ResponseError", reason: "Decode", response: { status: 200 } },
      decode
    ],
    ["a request that cannot be sent", { _tag: "RequestError", reason: "InvalidUrl" }, permanent("invalid request")],
    ["an AbortError", new DOMException("aborted", "AbortError"), cancelled],
    ["axios' cancellation", error({ name: "CanceledError", code: "ERR_CANCELED" }), cancelled],
    ["undici's abort", error({ code: "UND_ERR_ABORTED" }), cancelled],
    ["a timeout's TimeoutError", new DOMException("late", "TimeoutError"), transient("timeout")],
    [
      "an AbortError that a timeout caused",
      error({ name: "AbortError", cause: new DOMException("late", "TimeoutError") }),
      transient("timeout")
    ],
    ["an AbortError for an unknown reason", error({ name: "AbortError", cause: new Error("odd") }), cancelled],
    ["Effect's TimeoutException", new Cause.TimeoutException(), transient("timeout")],
    ["LangGraph's interrupt", interrupt, { kind: "control-flow", reason: "GraphInterrupt" }],
    [
      "a jump to the parent graph, by name",
      error({ name: "ParentCommand" }),
      { kind: "control-flow", reason: "ParentCommand" }
    ],
    [
      "an interrupt that Effect.tryPromise wrapped",
      new Cause.UnknownException(interrupt),
      { kind: "control-flow", reason: "GraphInterrupt" }
    ],
    ["what an error says of itself", new Declared(), { kind: "rate-limited", reason: "our own", retryAfterMillis: 5 }],
    [
      "a wrapped error is asked itself, its body's words after its status",
      new Cause.UnknownException(new APIError(503, { type: "api_error" }, "503", new Headers({ "retry-after": "1" }))),
      { ...transient("http 503"), retryAfterMillis: 1000 }
    ],
    ["a wrapped mistake", new Cause.UnknownException(new TypeError("x is undefined")), permanent("TypeError")]
  ])

  it("looks into the failure of a nested run", async () => {
    const nested = await Effect.runPromise(Effect.fail(error({ status: 400 }))).catch((thrown: unknown) => thrown)
    assert.deepStrictEqual(classify(nested), permanent("http 400"))
  })

  it("is total", () => {
    fc.assert(
      fc.property(fc.anything(), (value) => {
        assert.isTrue(Failure.isFailure(classify(value)))
      })
    )
  })
})

describe("Failure.fromCause", () => {
  const fail = (fields: object) => Cause.fail(error(fields))
  const interrupt = Cause.interrupt(FiberId.none)
  const signal = error({ is_bubble_up: true, name: "GraphInterrupt" })
  const table: ReadonlyArray<readonly [string, Cause.Cause<unknown>, Failure.Failure]> = [
    ["a failure by its error", fail({ status: 503 }), transient("http 503")],
    ["a defect is permanent, whatever it looks like", Cause.die(error({ status: 503 })), permanent("defect")],
    ["an interruption is cancelled", interrupt, { kind: "cancelled", reason: "interrupted" }],
    ["a thrown signal", Cause.die(signal), { kind: "control-flow", reason: "GraphInterrupt" }],
    [
      "a failure whose sibling was interrupted",
      Cause.parallel(fail({ status: 503 }), interrupt),
      transient("http 503")
    ],
    ["a failure beside a defect", Cause.parallel(fail({ status: 503 }), Cause.die("bug")), permanent("defect")],
    [
      "a failure beside a signal",
      Cause.parallel(fail({ status: 503 }), Cause.fail(signal)),
      { kind: "control-flow", reason: "GraphInterrupt" }
    ],
    [
      "one permanent failure decides",
      Cause.parallel(fail({ status: 503 }), fail({ status: 400 })),
      permanent("http 400")
    ],
    [
      "the longer wait counts",
      Cause.parallel(fail({ status: 429, retryAfter: 1 }), fail({ status: 429, retryAfter: 2 })),
      limited("http 429", 2000)
    ],
    [
      "the longer wait counts, in whichever order",
      Cause.parallel(fail({ status: 429, retryAfter: 2 }), fail({ status: 429, retryAfter: 1 })),
      limited("http 429", 2000)
    ],
    [
      "the fewer retries count",
      Cause.parallel(fail({ status: 503 }), Cause.fail(new SyntaxError("x"))),
      { ...transient("http 503"), maxRetries: 1 }
    ],
    [
      "an abort beside a failure",
      Cause.parallel(fail({ name: "AbortError" }), fail({ status: 503 })),
      transient("http 503")
    ]
  ]
  for (const [what, cause, expected] of table) {
    it(what, () => assert.deepStrictEqual(Failure.fromCause(cause), expected))
  }

  it("asks the classifier it is given", () => {
    const mine: Failure.Classifier = () => permanent("mine")
    assert.deepStrictEqual(Failure.fromCause(fail({ status: 503 }), mine), permanent("mine"))
    assert.deepStrictEqual(Failure.fromCause(Cause.die("bug"), mine), permanent("defect"))
  })

  it("asks no classifier about control flow", () => {
    const mine: Failure.Classifier = () => transient("mine")
    const expected = { kind: "control-flow", reason: "GraphInterrupt" }
    for (const cause of [Cause.fail(signal), Cause.die(signal), Cause.parallel(Cause.fail(signal), Cause.fail("no"))]) {
      assert.deepStrictEqual(Failure.fromCause(cause, mine), expected)
    }
  })
})

describe("Failure's guards", () => {
  it("say what is retried and what is a failure at all", () => {
    const of = (kind: Failure.Kind) => [Failure.isReal({ kind, reason: "" }), Failure.isRetryable({ kind, reason: "" })]
    assert.deepStrictEqual(of("transient"), [true, true])
    assert.deepStrictEqual(of("rate-limited"), [true, true])
    assert.deepStrictEqual(of("permanent"), [true, false])
    assert.deepStrictEqual(of("cancelled"), [false, false])
    assert.deepStrictEqual(of("control-flow"), [false, false])
    for (const kind of ["transient", "rate-limited", "permanent", "cancelled", "control-flow"]) {
      assert.isTrue(Failure.isFailure({ kind, reason: "" }))
    }
    assert.isFalse(Failure.isFailure({ kind: "odd", reason: "" }))
    assert.isFalse(Failure.isFailure({ kind: "transient" }))
  })

  it("have the types they say", () => {
    expectTypeOf(Failure.classify).returns.toEqualTypeOf<Failure.Failure>()
    expectTypeOf((_: unknown) => permanent("mine")).toExtend<Failure.Classifier>()
    expectTypeOf<Effect.Effect.Success<typeof Failure.CurrentClassifier>>().toEqualTypeOf<Failure.Classifier>()
  })
})
