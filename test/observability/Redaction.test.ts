import { assert, describe, it } from "@effect/vitest"
import * as Redacted from "effect/Redacted"
import * as Redaction from "../../src/observability/Redaction.js"

const secret = "s3cr3t-Value-0123456789"

describe("Redaction", () => {
  const texts: ReadonlyArray<readonly [string, string]> = [
    ["a key in a sentence", "401 for sk-lf-0d2f1c3e-aaaa-bbbb"],
    ["a URL's password", `connect to postgres://ada:${secret}@db:5432/x failed`],
    ["a bearer token", `Authorization: Bearer ${secret}`],
    ["a basic token", "Basic c2VjcmV0OnBhc3N3b3Jk"],
    ["an assignment", `api_key=${secret}`],
    ["JSON text", `{"password":"${secret}"}`],
    ["JSON text in JSON text", JSON.stringify(JSON.stringify({ body: { apiKey: secret } }))],
    ["a JSON web token", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-def"]
  ]
  for (const [name, text] of texts) {
    it(`cuts ${name}, and cutting again changes nothing`, () => {
      const once = Redaction.text(text)
      assert.include(once, "<redacted>")
      for (const part of [secret, "0d2f1c3e", "c2VjcmV0", "eyJzdWIi"]) assert.notInclude(once, part)
      assert.strictEqual(Redaction.text(once), once)
    })
  }

  it("leaves what only looks like it", () => {
    for (const text of ["ask-me-anything", "a basic idea", "pk-ok", "https://example.com:8080/path@2"]) {
      assert.strictEqual(Redaction.text(text), text)
    }
  })

  it("writes any value as JSON, without secrets", () => {
    const cycle: Record<string, unknown> = { n: 1n, secretKey: secret, wrapped: Redacted.make(secret) }
    cycle["self"] = cycle
    assert.deepStrictEqual(JSON.parse(Redaction.json(cycle)), {
      n: "1",
      secretKey: "<redacted>",
      wrapped: "<redacted>",
      self: "<circular>"
    })
    assert.strictEqual(Redaction.json(undefined), "undefined")
    assert.strictEqual(
      Redaction.json(new Error(`password=${secret}`)),
      '{"name":"Error","message":"password=<redacted>"}'
    )
  })
})
