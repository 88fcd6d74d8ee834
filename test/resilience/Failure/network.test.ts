import { assert, describe, it } from "@effect/vitest"
import { APIConnectionError, classify, error, permanent, rows, transient } from "./support.js"

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
