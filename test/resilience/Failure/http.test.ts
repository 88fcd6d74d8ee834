import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import type * as Failure from "../../../src/resilience/Failure.js"
import { classify, error, limited, permanent, rows, transient } from "./support.js"

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
    ["as Node's list of values, the first", at429({ "retry-after": ["4", "5"] }), limited("http 429", 4000)],
    ["with space around it", at429({ "retry-after": " 4 " }), limited("http 429", 4000)],
    ["in milliseconds, with space around it", at429({ "retry-after-ms": " 4 " }), limited("http 429", 4)],
    ["beside a header called get", at429({ get: "x", "retry-after": "4" }), limited("http 429", 4000)],
    [
      "on the response, where the error's own headers do not say",
      error({ status: 429, headers: {}, response: { headers: { "retry-after": "8" } } }),
      limited("http 429", 8000)
    ],
    ["on no response", error({ status: 429, response: null, retryAfter: 1 }), limited("http 429", 1000)],
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
    ["a date without its day is no wish", at429({ "retry-after": "21 Oct 2026 07:28:30 GMT" }), limited("http 429")],
    ["what only a lenient parser takes for a date", at429({ "retry-after": "a 5" }), limited("http 429")],
    ["a number with its unit is no wish", at429({ "retry-after": "5s" }), limited("http 429")],
    [
      "the error's own, where the header cannot be read",
      error({ status: 429, headers: { "retry-after": "5s" }, retryAfter: 2 }),
      limited("http 429", 2000)
    ],
    [
      "the error's own, where the header is no date",
      error({ status: 429, headers: { "retry-after": "soon" }, retryAfter: 2 }),
      limited("http 429", 2000)
    ],
    ["an error's own text is no wish", error({ status: 429, retryAfter: "2" }), limited("http 429")],
    [
      "an error's own seconds, where its milliseconds are text",
      error({ status: 429, retryAfterMillis: "70", retryAfter: 1.5 }),
      limited("http 429", 1500)
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
