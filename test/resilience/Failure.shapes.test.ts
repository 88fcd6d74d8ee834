/** Errors in the shapes in which they are really met: headers of every kind, several errors in one, words instead of codes, and hostile ones. */
import { assert, describe, it } from "@effect/vitest"
import * as Failure from "../../src/resilience/Failure.js"
import { signal } from "./support.js"

const noon = Date.parse("2026-11-20T12:00:00Z")
const classify = (error: unknown) => Failure.classify(error, () => noon)
const classOf = (error: unknown) => Failure.classOf(classify(error))
const waits = (headers: unknown) => classify({ status: 429, headers }).retryAfterMillis

describe("Failure: headers", () => {
  const kinds: Readonly<Record<string, unknown>> = {
    "a plain object": { "Retry-After": "3" },
    "a plain object of lists": { "Retry-After": ["3", "4"] },
    Headers: new Headers({ "Retry-After": "3" }),
    "a Map by any name": new Map([["Retry-After", "3"]]),
    pairs: [
      ["content-type", "text/plain"],
      ["Retry-After", "3"]
    ],
    "the flat list of undici": ["content-type", "text/plain", "Retry-After", "3"],
    "a flat list of bytes": ["content-type", "text/plain", "Retry-After", "3"].map((text) => Buffer.from(text))
  }
  for (const [kind, headers] of Object.entries(kinds)) {
    it(`of ${kind}`, () => assert.strictEqual(waits(headers), 3000))
  }

  it("dates in the three forms of HTTP, whatever the machine's time zone is; one that has passed asks for no wait", () => {
    const zone = process.env["TZ"]
    for (const each of ["UTC", "Asia/Tokyo", "America/New_York"]) {
      process.env["TZ"] = each
      for (const date of [
        "Fri, 20 Nov 2026 12:00:07 GMT",
        "Friday, 20-Nov-26 12:00:07 GMT",
        "Fri Nov 20 12:00:07 2026"
      ]) {
        assert.strictEqual(waits({ "retry-after": date }), 7000, `${date} in ${each}`)
      }
    }
    if (zone === undefined) delete process.env["TZ"]
    else process.env["TZ"] = zone
    assert.strictEqual(waits({ "retry-after": "Fri, 20 Nov 2026 11:00:00 GMT" }), 0)
  })

  it("parts of a millisecond are rounded up: it is a lower bound", () => {
    assert.strictEqual(waits({ "retry-after-ms": "1500.4", "retry-after": "9" }), 1501)
    assert.strictEqual(waits({ "retry-after": "0.0001" }), 1)
  })

  it("what cannot be read is not there", () => {
    const thrower = () => {
      throw new Error("not for you")
    }
    for (const key of ["headers", "response", "cause", "error", "message"]) {
      const error = Object.defineProperty({ status: 503 }, key, { get: thrower, enumerable: true })
      assert.deepStrictEqual(classify(error), { kind: "transient", reason: "http 503" }, key)
    }
    assert.strictEqual(classify({ status: 429, headers: { get: thrower } }).kind, "rate-limited")
    for (const headers of [null, 7, "retry-after: 3", [], ["retry-after"], { "retry-after": "soon" }]) {
      assert.strictEqual(waits(headers), undefined)
    }
  })
})

describe("Failure: several errors in one", () => {
  const all = (...errors: ReadonlyArray<unknown>) => new AggregateError(errors, "all of them failed")

  it("is worth another try when any of them is, and waits for as long as any asks", () => {
    assert.strictEqual(classify(all({ status: 400 }, { status: 401 })).kind, "permanent")
    assert.strictEqual(classify(all({ status: 400 }, { status: 503 })).kind, "transient")
    assert.deepStrictEqual(
      classify(
        new Error("no way left", { cause: all({ status: 503 }, { status: 429, headers: { "retry-after": "2" } }) })
      ),
      { kind: "rate-limited", reason: "http 429", retryAfterMillis: 2000 }
    )
  })

  it("is what its own code says, if it has one", () => {
    const refused = Object.assign(all(new Error("::1"), new Error("127.0.0.1")), { code: "ECONNREFUSED" })
    assert.strictEqual(classOf(new TypeError("fetch failed", { cause: refused })), "connection")
    const late = all(Object.assign(new Error("::1"), { code: "ETIMEDOUT" }))
    assert.strictEqual(classOf(new TypeError("fetch failed", { cause: late })), "timeout")
  })

  it("control flow and interruption are none of it", () => {
    assert.strictEqual(classify(all({ status: 503 }, signal())).kind, "control-flow")
    assert.strictEqual(classify(all(new DOMException("stop", "AbortError"))).kind, "cancelled")
  })

  it("may hold itself", () => {
    const error = all()
    error.errors.push(error)
    assert.strictEqual(classify(error).kind, "transient")
    assert.strictEqual(classify(all()).kind, "transient")
  })
})

describe("Failure: words and codes", () => {
  const texts: Readonly<Record<string, Failure.Class>> = {
    "input length and `max_tokens` exceed context limit: 198000 + 8000 > 200000": "context-length",
    "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).": "context-length",
    "Input is too long for requested model.": "context-length",
    "too many tokens: total number of tokens in the prompt cannot exceed 4081": "context-length",
    "Your input exceeds the context window of this model.": "context-length",
    "Candidate was blocked due to SAFETY": "content-filter",
    "Response was blocked due to PROHIBITED_CONTENT": "content-filter",
    "Your request was rejected as a result of our safety system.": "content-filter",
    "temperature must be at most 2": "permanent"
  }
  for (const [text, expected] of Object.entries(texts)) {
    it(text, () => assert.strictEqual(classOf(Object.assign(new Error(text), { status: 400 })), expected))
  }

  const codes: Readonly<Record<string, Failure.Class>> = {
    UND_ERR_CLOSED: "connection",
    UND_ERR_DESTROYED: "connection",
    UND_ERR_INVALID_ARG: "permanent",
    ERR_HTTP2_STREAM_ERROR: "connection",
    ERR_SOCKET_CONNECTION_TIMEOUT: "timeout",
    ESOCKETTIMEDOUT: "timeout",
    UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "permanent"
  }
  for (const [code, expected] of Object.entries(codes)) {
    it(code, () => assert.strictEqual(classOf(Object.assign(new Error("no"), { code })), expected))
  }

  const marks: Readonly<Record<string, Failure.Kind>> = {
    MESSAGE_COERCION_FAILURE: "permanent",
    GRAPH_RECURSION_LIMIT: "permanent",
    MISSING_CHECKPOINTER: "permanent",
    MODEL_ABORTED: "cancelled",
    MODEL_RATE_LIMIT: "rate-limited"
  }
  for (const [lc_error_code, expected] of Object.entries(marks)) {
    it(lc_error_code, () =>
      assert.strictEqual(classify(Object.assign(new Error("no"), { lc_error_code })).kind, expected)
    )
  }

  it("the body that an axios error carries says what it is", () => {
    const data = { error: { code: "context_length_exceeded" } }
    assert.strictEqual(classOf(Object.assign(new Error("400"), { response: { status: 400, data } })), "context-length")
  })

  it("AWS's throttling by its name", () => {
    assert.strictEqual(
      classify(Object.assign(new Error("slow down"), { name: "ThrottlingException" })).kind,
      "rate-limited"
    )
  })
})
