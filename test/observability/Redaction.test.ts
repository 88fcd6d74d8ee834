import { assert, describe, it } from "@effect/vitest"
import * as Redacted from "effect/Redacted"
import * as Redaction from "../../src/observability/Redaction.js"
import { essence, shapedSecrets } from "../langfuse/secrets.js"

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
    const texts = [
      "ask-me-anything",
      "a basic idea",
      "pk-ok",
      "https://example.com:8080/path@2",
      "https://example.com/docs?page=2&token_count=1234567890&key=short",
      "8c1f1c3e-1111-4a4a-9999-0123456789ab",
      "the thread 8c1f1c3e-1111-4a4a-9999-0123456789ab went on",
      "circuit_breaker_transition",
      "key_performance_indicators, fc_layer_normalization_params and re_internationalization",
      "Unexpected token: identifier; 1,200 tokens were used, max_tokens=4096",
      "the secret of success is a key to the password problem",
      "AgentTimeoutError: AgentTechnicalAnalysis gave no answer in 30s",
      "authorization was refused, and so were cookies",
      "0af7651916cd43dd8448eb211c80319c/b7ad6b7169203331"
    ]
    for (const text of texts) assert.strictEqual(Redaction.text(text), text)
  })

  it("cuts keys of all shapes wherever they stand, and only them", () => {
    for (const { kind, value } of shapedSecrets(500, 4)) {
      for (const [before, after] of [
        ["", ""],
        ["use ", " now"],
        ["(", ")"],
        ['{"x":"', '"}'],
        ["a=", "&b=c"]
      ] as const) {
        const cut = Redaction.text(`${before}${value}${after}`)
        assert.notInclude(cut, essence(value), kind)
        assert.isTrue(cut.startsWith(before) && cut.endsWith(after), `${kind}: ${cut}`)
      }
    }
  })

  it("knows a secret by its name, with all that is in it, in objects, headers and lists", () => {
    const value = {
      token: 123_456,
      credentials: { type: "basic", parts: [secret, { more: secret }] },
      headers: [["x-api-key", secret], { name: "authorization", value: secret }],
      raw: ["Accept", "text/html", "Cookie", secret],
      max_tokens: 100,
      hasPassword: true,
      words: ["my password", "is long"]
    }
    assert.deepStrictEqual(JSON.parse(Redaction.json(value)), {
      token: "<redacted>",
      credentials: { type: "<redacted>", parts: ["<redacted>", { more: "<redacted>" }] },
      headers: [["x-api-key", "<redacted>"], { name: "authorization", value: "<redacted>" }],
      raw: ["Accept", "text/html", "Cookie", "<redacted>"],
      max_tokens: 100,
      hasPassword: true,
      words: ["my password", "is long"]
    })
  })

  it("cuts frames of stacks, and bounds a text between characters", () => {
    const stack = new TypeError("broken").stack ?? ""
    assert.strictEqual(Redaction.withoutStack(`${stack}\nand on`), "TypeError: broken\nand on")
    assert.strictEqual(Redaction.withoutStack(JSON.stringify({ stack })), '{"stack":"TypeError: broken"}')
    assert.strictEqual(Redaction.withoutStack("meet me\n  at noon, 12:30:00"), "meet me\n  at noon, 12:30:00")
    assert.strictEqual(Redaction.bounded("abc", 3), "abc")
    const cut = Redaction.bounded("ab😀cd", 3)
    assert.strictEqual(cut, "ab… <cut: 4 of 6 characters>")
    assert.strictEqual(Redaction.bounded(cut, 3), cut)
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
