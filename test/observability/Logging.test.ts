import { assert, describe, it } from "@effect/vitest"
import { runFile } from "../support/child.js"

const file = new URL("./fixtures/logs.ts", import.meta.url)

const lines = (text: string): ReadonlyArray<Record<string, unknown>> =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line))

const secrets = ["hunter2", "deep-secret", "sk-abcdefghijklmnop", "swordfish"]

describe("Logging, as the bytes of a process", () => {
  it("writes JSON lines on standard error, with the trace, annotations, spans and nested errors, and no secrets", async () => {
    const { code, stderr, stdout } = await runFile(file)
    assert.strictEqual(code, 0)
    assert.strictEqual(stdout, "the result\nrestored\n")
    for (const secret of secrets) assert.notInclude(stderr, secret)

    const all = lines(stderr)
    assert.deepStrictEqual(
      all.map((line) => [line["level"], line["message"]]),
      [
        ["INFO", 'hello {"ticker":"AAPL","apiKey":"<redacted>"}'],
        ["ERROR", "giving up"],
        ["WARN", "from a library: 42 things"],
        ["INFO", "chatter"],
        ["INFO", "outside\nof any span"]
      ]
    )
    const [hello, failed, library, chatter, outside] = all
    assert.match(String(hello?.["time"]), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    assert.match(String(hello?.["fiber"]), /^#\d+$/)
    assert.match(String(hello?.["trace_id"]), /^[0-9a-f]{32}$/)
    assert.match(String(hello?.["span_id"]), /^[0-9a-f]{16}$/)
    assert.deepStrictEqual(hello?.["annotations"], { agent_id: "technical", token: "<redacted>", big: "10" })
    assert.sameMembers(Object.keys(Object(hello?.["spans"])), ["fetch"])
    assert.deepStrictEqual(failed?.["error"], {
      tag: "QuoteError",
      message: "no quote, tried with <redacted>",
      cause: { tag: "TypeError", message: "fetch failed", cause: { tag: "Error", message: "password=<redacted>" } }
    })
    assert.deepStrictEqual(library?.["annotations"], { source: "console" })
    assert.deepStrictEqual(library?.["error"], { tag: "RangeError", message: "odd" })
    assert.strictEqual(library?.["span_id"], hello?.["span_id"])
    assert.strictEqual(chatter?.["span_id"], hello?.["span_id"])
    assert.notProperty(outside, "trace_id")
  })

  it("obeys level and format", async () => {
    const { stderr, stdout } = await runFile(file, { HOLDFAST_LOG_LEVEL: "Error", HOLDFAST_LOG_FORMAT: "pretty" })
    assert.strictEqual(stdout, "the result\nrestored\n")
    assert.match(
      stderr,
      new RegExp(
        [
          "^\\d\\d:\\d\\d:\\d\\d\\.\\d{3} ERROR giving up",
          "    QuoteError: no quote, tried with <redacted>",
          "      caused by TypeError: fetch failed",
          "      caused by Error: password=<redacted>\\n$"
        ].join("\\n")
      )
    )
    const debug = await runFile(file, { HOLDFAST_LOG_LEVEL: "debug" })
    assert.strictEqual(lines(debug.stderr)[0]?.["message"], "too fine")
  })

  it("names a malformed variable and what it takes", async () => {
    const level = await runFile(file, { HOLDFAST_LOG_LEVEL: "loud" })
    assert.strictEqual(
      level.stdout.split("\n")[0],
      'HOLDFAST_LOG_LEVEL cannot be used: it is "loud". It takes trace, debug, info, warn, error, fatal or none.'
    )
    assert.strictEqual(level.stderr, "")
    const format = await runFile(file, { HOLDFAST_LOG_FORMAT: "xml" })
    assert.include(format.stdout, 'HOLDFAST_LOG_FORMAT cannot be used: it is "xml". It takes json, pretty or auto.')
  })
})
