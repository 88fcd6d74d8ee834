import { assert, describe, it } from "@effect/vitest"
import * as ChatErrors from "@langchain/core/errors"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as Schema from "effect/Schema"
import * as fc from "fast-check"
import { expectTypeOf } from "vitest"
import { z } from "zod"
import * as Failure from "../../src/resilience/Failure.js"

const now = Date.parse("Wed, 21 Oct 2026 07:28:00 GMT")
const classify = (error: unknown) => Failure.classify(error, () => now)
const error = (fields: object, message = "no") => Object.assign(new Error(message), fields)

/** An error of a client that Stainless generates: known by its constructor alone. */
class APIError extends Error {
  readonly code: string | undefined
  readonly type: string | undefined
  constructor(
    readonly status: number | undefined,
    readonly error: { readonly code?: string; readonly type?: string; readonly error?: object } | undefined,
    message: string,
    readonly headers: Headers = new Headers()
  ) {
    super(message)
    this.code = error?.code
    this.type = error?.type
  }
}
class APIConnectionError extends APIError {
  constructor(cause?: unknown) {
    super(undefined, undefined, "Connection error.")
    if (cause !== undefined) this.cause = cause
  }
}
class APIConnectionTimeoutError extends APIConnectionError {}
class APIUserAbortError extends APIError {
  constructor() {
    super(undefined, undefined, "Request was aborted.")
  }
}
class ContentFilterFinishReasonError extends Error {}

const rows = (table: ReadonlyArray<readonly [what: string, error: unknown, expected: Failure.Failure]>) => {
  for (const [what, given, expected] of table) it(what, () => assert.deepStrictEqual(classify(given), expected))
}

const transient = (reason: string) => ({ kind: "transient", reason }) as const
const permanent = (reason: string) => ({ kind: "permanent", reason }) as const
const limited = (reason: string, retryAfterMillis?: number) =>
  retryAfterMillis === undefined
    ? ({ kind: "rate-limited", reason } as const)
    : ({ kind: "rate-limited", reason, retryAfterMillis } as const)
const decode = { kind: "transient", reason: "decode", maxRetries: 1 } as const
const cancelled = { kind: "cancelled", reason: "aborted" } as const

describe("Failure.classify: HTTP statuses", () => {
  const kinds: ReadonlyArray<readonly [kind: Failure.Kind, statuses: ReadonlyArray<number>]> = [
    ["transient", [408, 425, 500, 502, 503, 504, 507, 520, 524, 529, 599]],
    ["rate-limited", [429]],
    ["permanent", [400, 401, 402, 403, 404, 405, 406, 409, 410, 413, 415, 418, 422, 451, 501, 505]]
  ]
  for (const [kind, statuses] of kinds) {
    for (const status of statuses) {
      it(`${status} is ${kind}, wherever the status stands`, () => {
        const carriers = [
          { status },
          { status: String(status) },
          { statusCode: status },
          { response: { status } },
          { response: { statusCode: status } },
          { $metadata: { httpStatusCode: status } },
          { code: status },
          { cause: { status } }
        ]
        for (const carrier of carriers) {
          assert.deepStrictEqual(classify(error(carrier)), { kind, reason: `http ${status}` }, JSON.stringify(carrier))
        }
      })
    }
  }

  rows([
    [
      "409 of an idempotent request may be repeated",
      error({ status: 409, request: { method: "PUT" } }),
      transient("http 409")
    ],
    [
      "409 of axios' idempotent request",
      error({ response: { status: 409 }, config: { method: "get" } }),
      transient("http 409")
    ],
    ["409 of a POST may not", error({ status: 409, request: { method: "POST" } }), permanent("http 409")],
    [
      "409 that the server calls safe",
      error({ status: 409, headers: { "x-should-retry": "true" } }),
      transient("http 409")
    ],
    [
      "400 that the server calls safe",
      error({ status: 400, headers: { "X-Should-Retry": "true" } }),
      transient("http 400")
    ],
    [
      "503 that the server calls hopeless",
      error({ status: 503, headers: { "x-should-retry": "false" } }),
      permanent("http 503")
    ],
    [
      "429 that the server calls hopeless",
      error({ status: 429, headers: { "x-should-retry": "false" } }),
      permanent("http 429")
    ],
    ["a status that is no failure says nothing", error({ status: 200 }), transient("unknown")],
    ["an exit status is no HTTP status", error({ status: 1 }), transient("unknown")],
    ["numbers called code below 400 are none either", error({ code: 14 }), transient("unknown")]
  ])
})

describe("Failure.classify: Retry-After", () => {
  const at429 = (headers: unknown) => error({ status: 429, headers })
  rows([
    ["in seconds", at429({ "retry-after": "2" }), limited("http 429", 2000)],
    [
      "in fractions of a second, rounded up to a millisecond",
      at429({ "retry-after": "0.0105" }),
      limited("http 429", 11)
    ],
    ["as a number", at429({ "retry-after": 3 }), limited("http 429", 3000)],
    ["as Node's list of values", at429({ "retry-after": ["4"] }), limited("http 429", 4000)],
    ["under any capitals", at429({ "Retry-After": "5" }), limited("http 429", 5000)],
    ["in Headers", at429(new Headers({ "Retry-After": "6" })), limited("http 429", 6000)],
    ["in a Map", at429(new Map([["retry-after", "7"]])), limited("http 429", 7000)],
    [
      "on the response",
      error({ response: { status: 429, headers: { "retry-after": "8" } } }),
      limited("http 429", 8000)
    ],
    ["as a date", at429({ "retry-after": "Wed, 21 Oct 2026 07:28:30 GMT" }), limited("http 429", 30_000)],
    ["as a date gone by", at429({ "retry-after": "Wed, 21 Oct 2026 07:27:30 GMT" }), limited("http 429", 0)],
    ["retry-after-ms goes first", at429({ "retry-after": "9", "retry-after-ms": "120.5" }), limited("http 429", 121)],
    [
      "an unreadable retry-after-ms does not",
      at429({ "retry-after": "9", "retry-after-ms": "soon" }),
      limited("http 429", 9000)
    ],
    ["negative seconds are no wish", at429({ "retry-after": "-5" }), limited("http 429")],
    ["nonsense is no wish", at429({ "retry-after": "soon" }), limited("http 429")],
    ["two points are no number", at429({ "retry-after": "1.2.3" }), limited("http 429")],
    ["nothing is no wish", at429({ "retry-after": "" }), limited("http 429")],
    ["headers that are none", at429("retry-after: 3"), limited("http 429")],
    [
      "of a 503",
      error({ status: 503, headers: { "retry-after": "1" } }),
      { ...transient("http 503"), retryAfterMillis: 1000 }
    ],
    ["an error's own, in seconds", error({ status: 429, retryAfter: 1.5 }), limited("http 429", 1500)],
    ["an error's own, in milliseconds", error({ status: 429, retryAfterMillis: 70 }), limited("http 429", 70)],
    ["a permanent failure has none", error({ status: 400, headers: { "retry-after": "1" } }), permanent("http 400")]
  ])

  it("never gives a negative or broken wait", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.double().map(String),
          fc.date({ noInvalidDate: true }).map((date) => date.toUTCString())
        ),
        (value) => {
          const { retryAfterMillis } = classify(error({ status: 429, headers: { "retry-after": value } }))
          assert.isTrue(
            retryAfterMillis === undefined || (Number.isInteger(retryAfterMillis) && retryAfterMillis >= 0),
            value
          )
        }
      )
    )
  })
})

describe("Failure.classify: OpenAI, Anthropic, Google, LangChain", () => {
  const wait = new Headers({ "retry-after": "3" })
  rows([
    [
      "OpenAI's rate limit",
      new APIError(429, { code: "rate_limit_exceeded", type: "requests" }, "429 slow down", wait),
      limited("http 429", 3000)
    ],
    [
      "a used-up quota, which no patience cures",
      new APIError(429, { code: "insufficient_quota" }, "429 quota", wait),
      permanent("quota used up")
    ],
    ["a wrong key", new APIError(401, { code: "invalid_api_key" }, "401 wrong key"), permanent("authentication")],
    ["an unknown model", new APIError(404, { code: "model_not_found" }, "404 no model"), permanent("model not found")],
    ["a bad request", new APIError(400, { type: "invalid_request_error" }, "400 temperature"), permanent("http 400")],
    [
      "a prompt too long, by code",
      new APIError(400, { code: "context_length_exceeded" }, "400 too long"),
      permanent("context length")
    ],
    [
      "a prompt too long, by message",
      new APIError(400, { type: "invalid_request_error" }, "400 This model's maximum context length is 8192 tokens"),
      permanent("context length")
    ],
    ["a filtered prompt", new APIError(400, { code: "content_filter" }, "400 filtered"), permanent("content filter")],
    [
      "Azure's filtered prompt, by message",
      error({ status: 400 }, "triggered Azure OpenAI's content management policy"),
      permanent("content filter")
    ],
    [
      "a filtered answer",
      new ContentFilterFinishReasonError("Could not parse response content"),
      permanent("content filter")
    ],
    ["a server error", new APIError(500, { type: "server_error" }, "500 oops"), transient("http 500")],
    ["a connection error, by its constructor", new APIConnectionError(), transient("connection")],
    ["a client's own timeout", new APIConnectionTimeoutError(), transient("timeout")],
    ["a user's abort", new APIUserAbortError(), cancelled],
    [
      "Anthropic's overload",
      new APIError(529, { type: "error", error: { type: "overloaded_error" } }, "529 Overloaded"),
      transient("http 529")
    ],
    [
      "Anthropic's overload in a stream, without a status",
      new APIError(undefined, { type: "error", error: { type: "overloaded_error" } }, "Overloaded"),
      transient("overloaded")
    ],
    [
      "Anthropic's rate limit in a stream",
      new APIError(undefined, { type: "error", error: { type: "rate_limit_error" } }, "slow", wait),
      limited("rate_limit_error", 3000)
    ],
    [
      "Anthropic's too long prompt",
      new APIError(400, { type: "error", error: { type: "invalid_request_error" } }, "400 prompt is too long: 2 > 1"),
      permanent("context length")
    ],
    ["Google's rate limit", error({ code: 429, status: "RESOURCE_EXHAUSTED" }), limited("http 429")],
    ["Google's outage, by its word", error({ status: "UNAVAILABLE" }), transient("overloaded")],
    [
      "LangChain's rate limit",
      ChatErrors.addLangChainErrorFields(error({ status: 429 }), "MODEL_RATE_LIMIT"),
      limited("http 429")
    ],
    [
      "LangChain's wrong key, without a status",
      error({ lc_error_code: "MODEL_AUTHENTICATION" }),
      permanent("authentication")
    ],
    ["LangChain's too long prompt", new ChatErrors.ContextOverflowError("too long"), permanent("context length")],
    ["LangChain's abort", new ChatErrors.ModelAbortError("stopped"), cancelled],
    ["LangChain's timeout", error({ name: "TimeoutError" }, "Request timed out."), transient("timeout")],
    [
      "LangChain's output parser",
      error({ name: "OutputParserException", lc_error_code: "OUTPUT_PARSING_FAILURE" }),
      decode
    ],
    ["LangChain's code alone", error({ lc_error_code: "OUTPUT_PARSING_FAILURE" }), decode],
    [
      "LangChain's mark for what is worth it",
      ChatErrors.stampRetryable(error({}), true),
      transient("marked retryable")
    ],
    ["LangChain's mark for what is not", ChatErrors.stampRetryable(error({}), false), permanent("marked not retryable")]
  ])
})

describe("Failure.classify: sockets, undici, fetch", () => {
  const fetchFailed = (cause: unknown) => Object.assign(new TypeError("fetch failed"), { cause })
  const codes = [
    "ECONNREFUSED",
    "ECONNRESET",
    "ENOTFOUND",
    "EAI_AGAIN",
    "EPIPE",
    "ETIMEDOUT",
    "UND_ERR_SOCKET",
    "UND_ERR_HEADERS_TIMEOUT"
  ]
  for (const code of codes) {
    it(`${code}, alone and as the cause of what fetch throws`, () => {
      assert.deepStrictEqual(classify(error({ code })), transient(code))
      assert.deepStrictEqual(classify(fetchFailed(error({ code }))), transient(code))
      assert.deepStrictEqual(classify(new APIConnectionError(fetchFailed(error({ code })))), transient("connection"))
    })
  }
  rows([
    [
      "a code five causes down",
      [1, 2, 3, 4, 5].reduce<Error>((cause) => error({ cause }), error({ code: "EPIPE" })),
      transient("EPIPE")
    ],
    ["fetch that failed for an unknown reason", fetchFailed(new Error("odd")), transient("connection")],
    ["a body cut off", new TypeError("terminated"), transient("connection")],
    ["an expired certificate", fetchFailed(error({ code: "CERT_HAS_EXPIRED" })), permanent("certificate")],
    ["no URL", fetchFailed(error({ code: "ERR_INVALID_URL" })), permanent("invalid request")],
    ["a mistake of the program", new TypeError("x is undefined"), permanent("TypeError")],
    ["a number out of range", new RangeError("no"), permanent("RangeError")],
    ["an unknown error", new Error("no"), transient("unknown")],
    ["a string", "no", transient("unknown")],
    ["nothing", undefined, transient("unknown")],
    ["null", null, transient("unknown")]
  ])

  it("ends on a cycle of causes, and on a getter that throws", () => {
    const first = new Error("first")
    first.cause = error({ cause: first })
    assert.deepStrictEqual(classify(first), transient("unknown"))
    const broken = Object.defineProperty(new Error("broken"), "status", {
      get: () => {
        throw new Error("no status here")
      }
    })
    assert.deepStrictEqual(classify(broken), transient("unknown"))
  })
})

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
})

describe("Failure's guards", () => {
  it("say what is retried and what is a failure at all", () => {
    const of = (kind: Failure.Kind) => [Failure.isReal({ kind, reason: "" }), Failure.isRetryable({ kind, reason: "" })]
    assert.deepStrictEqual(of("transient"), [true, true])
    assert.deepStrictEqual(of("rate-limited"), [true, true])
    assert.deepStrictEqual(of("permanent"), [true, false])
    assert.deepStrictEqual(of("cancelled"), [false, false])
    assert.deepStrictEqual(of("control-flow"), [false, false])
    assert.isFalse(Failure.isFailure({ kind: "odd", reason: "" }))
    assert.isFalse(Failure.isFailure({ kind: "transient" }))
  })

  it("have the types they say", () => {
    expectTypeOf(Failure.classify).returns.toEqualTypeOf<Failure.Failure>()
    expectTypeOf((_: unknown) => permanent("mine")).toExtend<Failure.Classifier>()
    expectTypeOf<Effect.Effect.Success<typeof Failure.CurrentClassifier>>().toEqualTypeOf<Failure.Classifier>()
  })
})
