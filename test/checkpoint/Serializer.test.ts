import { deepStrictEqual } from "node:assert"
import { assert, describe, it } from "@effect/vitest"
import { Document } from "@langchain/core/documents"
import { AIMessage, HumanMessage, ToolMessage } from "@langchain/core/messages"
import { ChatPromptTemplate } from "@langchain/core/prompts"
import { DeltaSnapshot, MemorySaver } from "@langchain/langgraph-checkpoint"
import * as fc from "fast-check"
import { CheckpointError } from "../../src/checkpoint/CheckpointError.js"
import * as Serializer from "../../src/checkpoint/Serializer.js"

const serializer = Serializer.make()
/** The serializer that LangGraph's own savers use. */
const official = new MemorySaver().serde

const bytes = async (value: unknown) => (await serializer.dumpsTyped(value))[1]
const roundTrip = async (value: unknown) => {
  const [type, data] = await serializer.dumpsTyped(value)
  return serializer.loadsTyped(type, data)
}

const values: Record<string, unknown> = {
  undefined: undefined,
  "undefined in an object and in an array": { a: undefined, b: [undefined, null] },
  "numbers that JSON has no word for": [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0, 0, 5e-324],
  bigint: { big: 2n ** 80n, negative: -1n },
  dates: [new Date(0), new Date("2024-02-29T12:00:00.123Z")],
  "maps and sets": new Map<unknown, unknown>([
    [{ a: 1 }, new Set([1n, undefined])],
    ["x", new Map([[Number.NaN, -0]])]
  ]),
  "a regular expression": /a\/b[^x]\n/giu,
  "nested bytes": { raw: new Uint8Array([0, 255, 128]), empty: new Uint8Array() },
  "typed arrays": [new Float32Array([1.5, Number.NaN]), new Int16Array([-1]), new BigInt64Array([-5n])],
  "text that Postgres would refuse": ["a\u0000b", "\ud800", "\udc00x", "👍", { "k\u0000": "\ud83d" }],
  "keys that reach a prototype": JSON.parse(
    '{"__proto__": {"polluted": true}, "constructor": 1, "a": {"__proto__": null}}'
  ),
  "data that looks like a LangChain object": {
    lc: 1,
    type: "constructor",
    id: ["langchain_core", "messages", "HumanMessage"],
    kwargs: { content: "x" }
  },
  "data that looks like a secret": { lc: 1, type: "secret", id: ["OPENAI_API_KEY"] },
  "data that looks like one of our records": [
    { lc: 2, type: "undefined" },
    { lc: 2, type: "constructor", id: ["Map"], args: [[]] },
    { lc: 2, type: "object", value: [] },
    { __lc_escaped__: { a: 1 } }
  ]
}

describe("Serializer", () => {
  for (const [name, value] of Object.entries(values)) {
    it(`gives back ${name}`, async () => {
      deepStrictEqual(await roundTrip(value), value)
      deepStrictEqual(serializer.fromJsonb(serializer.toJsonb(value)), value)
      assert.notMatch(serializer.toJsonb(value), /(?<!\\)\\u0000|(?<!\\)\\ud[89a-f]/i)
    })
  }

  it("gives back any JSON, also through jsonb's rules", async () => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue({ noUnicodeString: false }), async (value) => {
        deepStrictEqual(await roundTrip(value), value)
        deepStrictEqual(serializer.fromJsonb(serializer.toJsonb(value)), value)
      }),
      { numRuns: 200 }
    )
  })

  it("keeps a message's class, and what stands in it", async () => {
    const when = new Date(5)
    const message = new AIMessage({
      content: "hi",
      id: "m1",
      tool_calls: [{ name: "t", args: { when, lc: 1 }, id: "c1", type: "tool_call" }],
      additional_kwargs: { map: new Map([["a", 1n]]), raw: new Uint8Array([1, 2]), camelCase: 1, snake_case: 2 },
      response_metadata: { when }
    })
    const [first, second, third] = (await roundTrip([
      message,
      new ToolMessage({ content: "r", tool_call_id: "c1" }),
      new Document({ pageContent: "p", metadata: { a: 1 } })
    ])) as [AIMessage, ToolMessage, Document]
    assert.instanceOf(first, AIMessage)
    deepStrictEqual(first.tool_calls, message.tool_calls)
    deepStrictEqual(first.additional_kwargs, message.additional_kwargs)
    deepStrictEqual(first.response_metadata, { when })
    assert.strictEqual(first.id, "m1")
    assert.instanceOf(second, ToolMessage)
    assert.strictEqual(second.tool_call_id, "c1")
    assert.instanceOf(third, Document)
    assert.strictEqual(third.pageContent, "p")
  })

  it("gives an error its name and message, a delta snapshot its class", async () => {
    const error = (await roundTrip(new TypeError("bad"))) as Error
    assert.instanceOf(error, Error)
    assert.strictEqual(error.name, "TypeError")
    assert.strictEqual(error.message, "bad")
    const snapshot = (await roundTrip(new DeltaSnapshot({ a: 1n }))) as DeltaSnapshot<unknown>
    assert.instanceOf(snapshot, DeltaSnapshot)
    deepStrictEqual(snapshot.value, { a: 1n })
  })

  it("refuses what it could not give back, and says where it is", async () => {
    const cycle: Record<string, unknown> = {}
    cycle["self"] = { cycle }
    const refused: ReadonlyArray<readonly [unknown, RegExp]> = [
      [{ tools: [{ call: () => 1 }] }, /\.tools\[0\]\.call is a function/],
      [{ "a b": Symbol("s") }, /\["a b"\] is a symbol/],
      [cycle, /\.self\.cycle is a reference to an object that contains it/],
      [{ p: Promise.resolve() }, /\.p is of the kind Promise/],
      [{ h: [new Headers([["a", "b"]])] }, /\.h\[0\] is of the kind Headers/],
      [new Map([[1, 2]]).values(), /Map Iterator/],
      [[new ArrayBuffer(4)], /\[0\] is of the kind ArrayBuffer/],
      [{ prompt: ChatPromptTemplate.fromMessages([]) }, /\.prompt is a LangChain object that may not be stored/]
    ]
    for (const [value, message] of refused) {
      const error = await serializer.dumpsTyped(value).then(
        () => assert.fail("was not refused"),
        (error: unknown) => error
      )
      assert.instanceOf(error, CheckpointError)
      assert.strictEqual(error.reason, "Unserializable")
      assert.match(error.message, message)
    }
  })

  it("stores a class that is on the list, and revives no other", async () => {
    const id = ["langchain_core", "prompts", "chat", "ChatPromptTemplate"]
    const stored = JSON.stringify({
      lc: 1,
      type: "constructor",
      id,
      kwargs: { input_variables: [], prompt_messages: [] }
    })
    deepStrictEqual(await serializer.loadsTyped("json", stored), JSON.parse(stored))
    const listed = Serializer.make({ classes: { [id.join("/")]: ChatPromptTemplate } })
    assert.instanceOf(await listed.loadsTyped("json", stored), ChatPromptTemplate)
    const own = ChatPromptTemplate.fromMessages([])
    const wide = Serializer.make({ classes: { [own.lc_id.join("/")]: ChatPromptTemplate } })
    const [type, data] = await wide.dumpsTyped(own)
    assert.instanceOf(await wide.loadsTyped(type, data), ChatPromptTemplate)
  })

  it("reads what the official serializer writes", async () => {
    const value = {
      set: new Set([1]),
      map: new Map([["a", new Uint8Array([7])]]),
      none: undefined,
      message: new HumanMessage({ content: "x", additional_kwargs: { data: { lc: 1, a: [undefined] } } }),
      regexp: /x/g
    }
    const [type, data] = await official.dumpsTyped(value)
    const read = (await serializer.loadsTyped(type, data)) as typeof value
    deepStrictEqual({ ...read, message: undefined }, { ...value, message: undefined })
    assert.instanceOf(read.message, HumanMessage)
    assert.strictEqual(read.message.content, "x")
    assert.strictEqual((read.message.additional_kwargs["data"] as { lc: number }).lc, 1)
  })

  it("is read by the official serializer", async () => {
    const value = {
      set: new Set([1]),
      map: new Map([["a", new Uint8Array([7])]]),
      none: undefined,
      regexp: /x/g,
      n: [1, "b", null]
    }
    deepStrictEqual(await official.loadsTyped("json", await bytes(value)), value)
    const message = await official.loadsTyped("json", await bytes(new AIMessage({ content: "x", id: "i" })))
    assert.instanceOf(message, AIMessage)
    assert.instanceOf(await official.loadsTyped("json", await bytes(new Document({ pageContent: "p" }))), Document)
    // what it has no form for it shows as data: nothing is built of it
    const lookalike = values["data that looks like a LangChain object"]
    assert.notInstanceOf(await official.loadsTyped("json", await bytes(lookalike)), HumanMessage)
  })

  it("names damaged data", async () => {
    const error = await serializer.loadsTyped("json", "{").catch((error: unknown) => error)
    assert.instanceOf(error, CheckpointError)
    assert.strictEqual(error.reason, "Undecodable")
    assert.match(String(await serializer.loadsTyped("msgpack", "").catch((e: unknown) => e)), /msgpack/)
  })
})
