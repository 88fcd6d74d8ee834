/**
 * Answers against the shape that was asked for, values as they are printed, and what has changed between two states.
 */
import { AIMessage } from "@langchain/core/messages"
import * as Effect from "effect/Effect"
import * as JSONSchema from "effect/JSONSchema"
import * as Schema from "effect/Schema"
import fc from "fast-check"
import { assert, describe, it } from "vitest"
import * as answer from "../../src/cli/internal/answer.js"
import * as changes from "../../src/cli/internal/changes.js"
import * as json from "../../src/cli/internal/json.js"
import * as Project from "../../src/cli/Project.js"

describe("an answer", () => {
  const said = (value: unknown, schema: unknown) => answer.problem(value, schema)

  it("is told what is wrong with it", () => {
    const order = {
      type: "object",
      required: ["id"],
      additionalProperties: false,
      properties: {
        id: { type: "string", pattern: "^[A-Z]+$", maxLength: 3 },
        count: { type: "integer", minimum: 1 },
        kind: { enum: ["a", "b"] },
        tags: { type: "array", items: { $ref: "#/$defs/tag" }, maxItems: 2 },
        extra: { anyOf: [{ type: "null" }, { const: 7 }] }
      },
      $defs: { tag: { type: ["string", "number"] } }
    }
    assert.isUndefined(said({ id: "AB", count: 2, kind: "a", tags: ["x", 1], extra: null }, order))
    assert.isUndefined(said({ id: "AB", extra: 7 }, order))
    for (const [value, wrong] of [
      [1, "the answer must be object, not integer"],
      [{}, 'the answer lacks "id"'],
      [{ id: "ab" }, "the answer.id must match ^[A-Z]+$"],
      [{ id: "ABCD" }, "the answer.id: maxLength is 3, it has 4"],
      [{ id: "A", count: 1.5 }, "the answer.count must be integer, not number"],
      [{ id: "A", count: 0 }, "the answer.count: minimum is 1, it has 0"],
      [{ id: "A", kind: "c" }, 'the answer.kind must be one of "a", "b", not "c"'],
      [{ id: "A", tags: [true] }, "the answer.tags[0] must be string or number, not boolean"],
      [{ id: "A", tags: [1, 2, 3] }, "the answer.tags: maxItems is 2, it has 3"],
      [{ id: "A", extra: 8 }, "the answer.extra must be null, not integer, or the answer.extra must be 7"],
      [{ id: "A", other: 1 }, "the answer.other is not wanted"]
    ] as const) {
      assert.strictEqual(said(value, order), wrong)
    }
  })

  it("fits a Schema's JSON Schema when the Schema decodes it", () => {
    const schema = Schema.Struct({
      approved: Schema.Boolean,
      amount: Schema.optional(Schema.Int.pipe(Schema.between(0, 10))),
      by: Schema.Literal("Ada", "Eve"),
      notes: Schema.Array(Schema.NonEmptyString)
    })
    const asked = JSONSchema.make(schema)
    const decodes = Schema.is(schema, { onExcessProperty: "error" })
    const near = fc.record(
      {
        approved: fc.oneof(fc.boolean(), fc.string()),
        amount: fc.oneof(fc.integer({ min: -2, max: 12 }), fc.double()),
        by: fc.oneof(fc.constantFrom("Ada", "Eve", "Bob"), fc.integer()),
        notes: fc.array(fc.oneof(fc.string({ maxLength: 2 }), fc.boolean()), { maxLength: 3 })
      },
      { requiredKeys: [] }
    )
    fc.assert(
      fc.property(fc.oneof(near, fc.jsonValue()), (value) => {
        assert.strictEqual(answer.problem(value, asked) === undefined, decodes(value), JSON.stringify(value))
      }),
      { numRuns: 500 }
    )
  })

  it("is checked by the project's Schema for its node before the question's own", () => {
    const expected = { approve: Schema.Struct({ ok: Schema.Boolean }) }
    const question = { schema: { type: "string" } }
    assert.match(answer.refusal({ ok: 1 }, question, "approve", expected) ?? "", /^the answer\.ok: Expected boolean/)
    assert.match(answer.refusal({ ok: true }, question, "approve", expected) ?? "", /must be string/)
    assert.isUndefined(answer.refusal("yes", question, "other", expected))
    assert.match(answer.refusal("yes", undefined, "other", Schema.Number) ?? "", /^the answer: Expected number/)
  })
})

describe("what is printed", () => {
  it("shows messages, errors, sets and cycles as a person reads them", () => {
    const round: Record<string, unknown> = { a: 1 }
    round["self"] = round
    const call = { name: "add", args: { a: 1 }, id: "c1" }
    assert.strictEqual(
      json.show({
        m: [new AIMessage({ content: "hi", tool_calls: [call] })],
        s: new Set([1]),
        e: new TypeError("x"),
        round,
        n: 1n
      }),
      '{"m":[{"type":"ai","content":"hi","tool_calls":[{"name":"add","args":{"a":1},"id":"c1"}]}],"s":[1],"e":{"name":"TypeError","message":"x"},"round":{"a":1,"self":"<circular>"},"n":"1"}'
    )
    assert.strictEqual(json.show(undefined), "null")
    assert.strictEqual(json.show(new Date(0)), '"1970-01-01T00:00:00.000Z"')
  })

  it("tells what a checkpoint has changed, channel by channel", () => {
    const before = { list: [1], nested: { a: 1, b: 2 }, gone: true, same: 1, "branch:to:x": 1 }
    const after = { list: [1, 2], nested: { a: 1, b: 3 }, fresh: "y", same: 1, __start__: 1 }
    assert.deepStrictEqual(changes.lines(changes.between(before, after)), [
      "+ list[1]: 2",
      "~ nested.b: 2 -> 3",
      "- gone: true",
      '+ fresh: "y"'
    ])
  })
})

describe("MODULE[:EXPORT]", () => {
  const project = { graphs: { chat: "./src/chat.ts:graph" }, config: {} }
  const found = (module: string | undefined, graphs: Readonly<Record<string, string>> = project.graphs) =>
    Effect.runSync(Effect.either(Project.reference({ graphs, config: {} }, module)))

  it("is a name of the project, a file, or the only graph there is", () => {
    const chat = { text: "./src/chat.ts:graph", path: "./src/chat.ts", name: "graph" }
    assert.deepInclude(found("chat"), { right: chat })
    assert.deepInclude(found(undefined), { right: chat })
    assert.deepInclude(found("a/b.mjs"), { right: { text: "a/b.mjs", path: "a/b.mjs", name: undefined } })
    assert.deepInclude(found("C:\\a\\b.ts"), { right: { text: "C:\\a\\b.ts", path: "C:\\a\\b.ts", name: undefined } })
    assert.match(String(found("other")), /there is no graph and no module other; there are chat/)
    assert.match(String(found(undefined, {})), /say which graph/)
    assert.match(String(found(undefined, { a: "a.ts", b: "b.ts" })), /there are a, b/)
  })
})
