/** Every word by which an error is known: a word that is lost is a failure that is retried for nothing, or given up for nothing. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import type * as Failure from "../../../src/resilience/Failure.js"
import { cancelled, classify, decode, error, limited, permanent, rows, transient } from "./support.js"

const of = (words: string, expected: (word: string) => Failure.Failure, make: (word: string) => unknown) => {
  for (const word of words.split(" ")) it(word, () => assert.deepStrictEqual(classify(make(word)), expected(word)))
}
const byCode = (words: string, expected: (code: string) => Failure.Failure) =>
  of(words, expected, (code) => error({ code }))
const byName = (words: string, expected: Failure.Failure) =>
  of(
    words,
    () => expected,
    (name) => error({ name })
  )

describe("Failure.classify: a network's codes", () => {
  byCode("EAI_AGAIN ECONNABORTED ECONNREFUSED ECONNRESET EHOSTDOWN EHOSTUNREACH ENETDOWN ENETRESET", transient)
  byCode("ENETUNREACH ENOTFOUND EPIPE EPROTO ETIMEDOUT ERR_STREAM_PREMATURE_CLOSE ERR_NETWORK", transient)
  byCode("UND_ERR_BODY_TIMEOUT UND_ERR_CONNECT_TIMEOUT UND_ERR_HEADERS_TIMEOUT UND_ERR_SOCKET", transient)
  byCode("UND_ERR_RES_CONTENT_LENGTH_MISMATCH UND_ERR_CLOSED UND_ERR_DESTROYED EADDRNOTAVAIL", transient)
  byCode("ESOCKETTIMEDOUT ERR_SOCKET_CLOSED ERR_SOCKET_CONNECTION_TIMEOUT ERR_HTTP2_GOAWAY_SESSION", transient)
  byCode("ERR_HTTP2_SESSION_ERROR ERR_HTTP2_STREAM_CANCEL ERR_HTTP2_STREAM_ERROR", transient)
  byCode("ABORT_ERR UND_ERR_ABORTED ERR_CANCELED MODEL_ABORTED", () => cancelled)
})

describe("Failure.classify: what no other try cures", () => {
  byCode("CERT_HAS_EXPIRED DEPTH_ZERO_SELF_SIGNED_CERT SELF_SIGNED_CERT_IN_CHAIN", () => permanent("certificate"))
  byCode("UNABLE_TO_VERIFY_LEAF_SIGNATURE UNABLE_TO_GET_ISSUER_CERT_LOCALLY", () => permanent("certificate"))
  byCode("ERR_TLS_CERT_ALTNAME_INVALID", () => permanent("certificate"))
  byCode("context_length_exceeded string_above_max_length CONTEXT_OVERFLOW", () => permanent("context length"))
  byCode("content_filter content_policy_violation", () => permanent("content filter"))
  byCode("insufficient_quota billing_hard_limit_reached", () => permanent("quota used up"))
  byCode("invalid_api_key authentication_error MODEL_AUTHENTICATION", () => permanent("authentication"))
  byCode("permission_error", () => permanent("permission"))
  byCode("model_not_found MODEL_NOT_FOUND", () => permanent("model not found"))
  byCode("invalid_request_error INVALID_PROMPT_INPUT INVALID_TOOL_RESULTS ERR_INVALID_URL", () =>
    permanent("invalid request")
  )
  byCode("UND_ERR_INVALID_ARG UND_ERR_REQ_CONTENT_LENGTH_MISMATCH request_too_large", () =>
    permanent("invalid request")
  )
  byCode("MESSAGE_COERCION_FAILURE INVALID_CHAT_HISTORY", () => permanent("invalid request"))
  byCode("GRAPH_RECURSION_LIMIT INVALID_CONCURRENT_GRAPH_UPDATE INVALID_GRAPH_NODE_RETURN_VALUE", () =>
    permanent("graph")
  )
  byCode("MISSING_CHECKPOINTER MULTIPLE_SUBGRAPHS UNREACHABLE_NODE", () => permanent("graph"))
  byName("ContextOverflowError", permanent("context length"))
  byName("ContentFilterFinishReasonError", permanent("content filter"))
  of("TypeError RangeError ReferenceError EvalError URIError", permanent, (name) => error({ name }))
})

describe("Failure.classify: what may pass", () => {
  byCode("overloaded_error UNAVAILABLE", () => transient("overloaded"))
  byCode("api_error server_error", () => transient("server error"))
  byCode("timeout_error DEADLINE_EXCEEDED", () => transient("timeout"))
  byCode("OUTPUT_PARSING_FAILURE", () => decode)
  byCode("rate_limit_error rate_limit_exceeded MODEL_RATE_LIMIT RESOURCE_EXHAUSTED", (code) => limited(code))
  byName("TimeoutException TimeoutError APIConnectionTimeoutError", transient("timeout"))
  byName("APIConnectionError", transient("connection"))
  byName("ThrottlingException TooManyRequestsException", { kind: "rate-limited", reason: "throttled" })
  byName("ParseError OutputParserException SyntaxError ZodError $ZodError LengthFinishReasonError", decode)
  byName("AbortError APIUserAbortError ModelAbortError CanceledError", cancelled)
})

describe("Failure.classify: where a word stands", () => {
  const known = permanent("authentication")
  const word = "authentication_error"
  rows([
    ["as a code", error({ code: word }), known],
    ["as a type", error({ type: word }), known],
    ["as LangChain's code", error({ lc_error_code: word }), known],
    ["as Google's status", error({ status: word }), known],
    ["in the body", error({ error: { type: word } }), known],
    ["in the body's own error", error({ error: { type: "error", error: { type: word } } }), known],
    ["a body that is only text says nothing", error({ error: word }), transient("unknown")],
    ["in a tag", { _tag: "TimeoutException" }, transient("timeout")],
    ["in a name", { name: "TimeoutError" }, transient("timeout")],
    ["a name that is no text", { name: 5, constructor: "TimeoutError" }, transient("unknown")],
    ["an unknown name before a known one", { _tag: "Mine", name: "TimeoutError" }, transient("timeout")],
    ["the first of two words that is known", error({ code: "mine", type: word }), known],
    ["a code that is no text", error({ code: [word] }), transient("unknown")],
    ["an object without a prototype", Object.assign(Object.create(null), { code: word }), known]
  ])
})

describe("Failure.classify: what prompts are refused for", () => {
  const say = (message: string) => new Error(message)
  const tooLong = permanent("context length")
  const filtered = permanent("content filter")
  rows([
    ["OpenAI", say("This model's maximum context length is 8192 tokens"), tooLong],
    ["its code in a text", say("context_length_exceeded"), tooLong],
    ["the same in words", say("Context length exceeded."), tooLong],
    ["run together", say("contextLengthExceeded"), tooLong],
    ["with something between", say("context-length: exceeded"), transient("unknown")],
    ["OpenAI's newer words", say("Your input exceeds the context window of this model"), tooLong],
    ["Google", say("The input tokens exceed the limit"), tooLong],
    ["Anthropic", say("prompt is too long: 210000 tokens > 200000 maximum"), tooLong],
    ["Bedrock", say("too many tokens in the prompt"), tooLong],
    ["Cohere", say("too many tokens in the request"), tooLong],
    ["Claude", say("Your prompt exceeds context limit"), tooLong],
    ["Gemini", say("The input token count (1048577) exceeds the maximum number of tokens"), tooLong],
    ["another input", say("Input is too long for requested model"), tooLong],
    ["Mistral", say("the tokens in the prompt cannot exceed 4096"), tooLong],
    ["too many of something else", say("too many tokens in the bucket"), transient("unknown")],
    ["a filter", say("blocked by the content filter"), filtered],
    ["Azure", say("triggered Azure OpenAI's content management policy"), filtered],
    ["a policy", say("this is a content policy violation"), filtered],
    ["an answer", say("The response was filtered"), filtered],
    ["Gemini", say("Candidate was blocked due to SAFETY"), filtered],
    ["Gemini's other reasons", say("blocked due to prohibited content, blocked due to recitation"), filtered],
    ["an image", say("Your request was rejected as a result of our safety system"), filtered],
    ["content of another kind", say("content type"), transient("unknown")],
    ["a message that is no text", error({ message: ["content filter"] }), transient("unknown")],
    ["no message at all", { name: "Odd" }, transient("unknown")]
  ])
})

describe("Failure.classify: a status beside words", () => {
  rows([
    ["no message of a 429 is read", error({ status: 429 }, "content filter"), limited("http 429")],
    ["no message of a 500 is read", error({ status: 500 }, "prompt is too long"), transient("http 500")],
    ["a 413 that says what is too long", error({ status: 413 }, "prompt is too long"), permanent("context length")],
    ["a 499 that says why", error({ status: 499 }, "content filter"), permanent("content filter")],
    ["a 400 for any other reason", error({ status: 400, code: "mine" }), permanent("http 400")],
    [
      "an invalid request keeps its status",
      error({ status: 422, code: "INVALID_TOOL_RESULTS" }),
      permanent("http 422")
    ],
    [
      "a passing word does not outrank a final status",
      error({ status: 400, code: "server_error" }),
      permanent("http 400")
    ],
    ["an answer that was fine, by name", error({ status: 200, name: "SyntaxError" }), decode],
    ["an answer that was fine, by code", error({ status: 200, code: "EPIPE" }), transient("EPIPE")],
    [
      "an answer that was fine, invalid request or not",
      error({ status: 200, code: "ERR_INVALID_URL" }),
      permanent("invalid request")
    ],
    ["a message of an answer that was fine", error({ status: 200 }, "content filter"), transient("unknown")],
    [
      "a mark beside a status that says nothing",
      Object.assign(error({ status: 200 }), { [Symbol.for("langchain.errors.retryable")]: false }),
      permanent("marked not retryable")
    ],
    [
      "a mark that is neither",
      Object.assign(error({}), { [Symbol.for("langchain.errors.retryable")]: "yes" }),
      transient("unknown")
    ]
  ])
})

describe("Failure.classify: numbers that are a status, and that are none", () => {
  rows([
    ["599 is the last", error({ status: 599 }), transient("http 599")],
    ["600 is none", error({ status: 600 }), transient("unknown")],
    ["100 is the first, and no failure", error({ status: 100, code: 503 }), transient("unknown")],
    ["99 is none", error({ status: 99, code: 503 }), transient("http 503")],
    ["a code of 400 is one", error({ code: 400 }), permanent("http 400")],
    ["a code of 399 is none", error({ code: 399, status: "mine" }), transient("unknown")],
    ["a text of more digits is none", error({ status: "4000" }), transient("unknown")],
    ["a text with more than digits is none", error({ status: "x400" }), transient("unknown")],
    ["a text that only begins with digits is none", error({ status: "400x" }), transient("unknown")],
    ["a text that is another way to write a number is none", error({ status: "4e2" }), transient("unknown")],
    ["a list is none", error({ status: [503] }), transient("unknown")],
    ["the error's own before the response's", error({ status: 503, response: { status: 400 } }), transient("http 503")],
    ["a response that is none", error({ response: "503", $metadata: "503" }), transient("unknown")]
  ])
})

describe("Failure.classify: a 409", () => {
  const at409 = (method: unknown) => error({ status: 409, request: { method } })
  for (const method of ["GET", "head", "Put", "DELETE", "OPTIONS"]) {
    it(`of ${method} may be repeated`, () => assert.deepStrictEqual(classify(at409(method)), transient("http 409")))
  }
  for (const method of ["POST", "PATCH", "GETS", "WIDGET", "", ["GET"], undefined]) {
    it(`of ${JSON.stringify(method)} may not`, () =>
      assert.deepStrictEqual(classify(at409(method)), permanent("http 409")))
  }
})

describe("Failure.classify: what repeating does not cure", () => {
  it("a 400 stays one, though its request could be repeated", () => {
    assert.deepStrictEqual(classify(error({ status: 400, request: { method: "GET" } })), permanent("http 400"))
  })
})

describe("Failure.classify: Effect's HTTP client", () => {
  const http = (_tag: string, reason: string) => classify({ _tag, reason })
  it("tells by its reasons", () => {
    assert.deepStrictEqual(http("ResponseError", "Decode"), decode)
    assert.deepStrictEqual(http("ResponseError", "EmptyBody"), decode)
    assert.deepStrictEqual(http("ResponseError", "StatusCode"), transient("unknown"))
    assert.deepStrictEqual(http("RequestError", "Encode"), permanent("invalid request"))
    assert.deepStrictEqual(http("RequestError", "InvalidUrl"), permanent("invalid request"))
    assert.deepStrictEqual(http("RequestError", "Transport"), transient("unknown"))
    assert.deepStrictEqual(http("Mine", "Decode"), transient("unknown"))
    assert.deepStrictEqual(http("Mine", "Encode"), transient("unknown"))
  })
})

describe("Failure.classify: a TypeError of fetch", () => {
  for (const message of [
    "fetch failed",
    "Failed to fetch",
    "terminated",
    "NetworkError when attempting",
    "network error"
  ]) {
    it(message, () => assert.deepStrictEqual(classify(new TypeError(message)), transient("connection")))
  }
  it("is one only where it begins so", () => {
    assert.deepStrictEqual(classify(new TypeError("cannot read: fetch failed")), permanent("TypeError"))
    assert.deepStrictEqual(classify(error({ name: "TypeError", message: ["fetch failed"] })), permanent("TypeError"))
  })
})

describe("Failure.classify: its chain of causes", () => {
  const chain = (length: number, last: unknown) =>
    Array.from({ length }).reduce<unknown>((cause) => error({ cause }), last)

  it("is followed eight errors deep", () => {
    assert.deepStrictEqual(classify(chain(7, error({ status: 400 }))), permanent("http 400"))
    assert.deepStrictEqual(classify(chain(8, error({ status: 400 }))), transient("unknown"))
  })

  it("the outermost names a mistake, out of Effect's wrapper but not out of its own cause", () => {
    assert.deepStrictEqual(classify(error({ cause: new TypeError("mine") })), transient("unknown"))
    const wrapped = new Cause.UnknownException(new Cause.UnknownException(new RangeError("mine")))
    assert.deepStrictEqual(classify(wrapped), permanent("RangeError"))
    assert.deepStrictEqual(
      classify(error({ cause: new Cause.UnknownException(new TypeError("mine")) })),
      transient("unknown")
    )
  })

  it("of several aborts the outermost is told", () => {
    const mine = { kind: "cancelled", reason: "mine" }
    assert.deepStrictEqual(classify(error({ failure: mine, cause: error({ name: "AbortError" }) })), mine)
    assert.deepStrictEqual(classify(error({ name: "AbortError", cause: error({ failure: mine }) })), cancelled)
  })

  it("takes what an error says of itself only if it says a kind and a reason", () => {
    for (const failure of [
      { kind: "permanent" },
      { kind: "odd", reason: "mine" },
      { kind: "permanent", reason: 5 },
      "permanent",
      null
    ]) {
      assert.deepStrictEqual(classify(error({ failure, status: 503 })), transient("http 503"))
    }
  })
})
