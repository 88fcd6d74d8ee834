/** What goes in comes out: hostile values in channels, pending writes and metadata, under hostile names, on both databases. */
import { deepStrictEqual } from "node:assert"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import { AIMessage } from "@langchain/core/messages"
import { Annotation, START, StateGraph } from "@langchain/langgraph"
import type { Checkpoint, CheckpointMetadata, CheckpointTuple } from "@langchain/langgraph-checkpoint"
import { emptyCheckpoint } from "@langchain/langgraph-checkpoint"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as fc from "fast-check"
import { CheckpointError } from "../../src/checkpoint/CheckpointError.js"
import * as Checkpointer from "../../src/checkpoint/Checkpointer.js"
import * as TestDatabases from "../support/databases.js"

const polluting: unknown = JSON.parse(
  '{"__proto__": {"polluted": 1}, "constructor": {"prototype": {"polluted": 1}}, "a": [{"__proto__": null}]}'
)

const values: Record<string, unknown> = {
  undefined: undefined,
  null: null,
  "an empty text": "",
  "U+0000": "\u0000",
  "U+0000 in a text and in a key": { "k\u0000": ["a\u0000b", { "\u0000": "\u0000" }] },
  "lone surrogates": ["\ud800", "\udc00", "x\udbff", "\udfffx", "\ud83d\ude00", { "\ud800": "\udfff" }],
  bigint: [0n, -1n, 2n ** 200n, { deep: new Map([[1n, 2n]]) }],
  dates: [new Date(0), new Date(-1), new Date(8.64e15)],
  numbers: [
    Number.NaN,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    -0,
    0,
    Number.MAX_VALUE,
    5e-324,
    2 ** 53 + 2,
    0.1 + 0.2
  ],
  "undefined inside": { a: undefined, b: [undefined, { c: undefined }] },
  maps: new Map<unknown, unknown>([
    [undefined, undefined],
    [{ a: [1] }, new Map([[new Date(1), new Set([Number.NaN])]])],
    ["__proto__", { lc: 1 }]
  ]),
  sets: new Set<unknown>([undefined, -0, "\u0000", new Uint8Array([1])]),
  "nested bytes": { raw: [new Uint8Array([0, 255, 0]), new Uint8Array()], in: new Map([["b", new Uint8Array([9])]]) },
  "bytes at the top": new Uint8Array([1, 2, 3, 0]),
  "other arrays": [new Float64Array([Number.NaN, -0]), new BigUint64Array([2n ** 63n]), new Uint16Array([65535])],
  "a regular expression": [/a\/[^x]\n\ud800/giu, /(?<x>y)/],
  "keys that reach a prototype": polluting,
  "keys of Object's own": { toString: 1, valueOf: null, hasOwnProperty: "x", __defineGetter__: [], length: 7 },
  "what looks like LangChain's": {
    lc: 1,
    type: "constructor",
    id: ["langchain_core", "messages", "AIMessage"],
    kwargs: { content: "x" }
  },
  "what looks like a secret": [{ lc: 1, type: "secret", id: ["DATABASE_URL"] }],
  "what looks like a record of ours": [
    { lc: 2, type: "undefined" },
    { lc: 2, type: "object", value: [["a", 1]] },
    { lc: 2, type: "constructor", id: ["Map"], args: [[["a", 1]]] },
    { lc: 2, type: "delta_snapshot", value: 1 },
    { lc: 1 },
    { lc: 2 },
    { __lc_escaped__: { lc: 1 } }
  ],
  "what looks like LangGraph's own": {
    lg_name: "Command",
    __interrupt__: [1],
    __pregel_tasks: [{ node: "a", args: {} }]
  },
  "a long key": { ["k".repeat(100_000)]: 1 },
  "many keys": Object.fromEntries(Array.from({ length: 2000 }, (_, index) => [`key ${index}`, index])),
  "something deep": Array.from({ length: 300 }).reduce((inner) => ({ inner: [inner] }), 1)
}

/** Names that a program's state may well have, and that are something else to JavaScript, LangChain or SQL. */
const names = [
  "lc",
  "type",
  "value",
  "id",
  "__proto__",
  "constructor",
  "toString",
  "hasOwnProperty",
  "",
  " ",
  "a'b\"c\\d",
  "$1",
  "ü😀",
  "NULL",
  "empty"
]

const own = <A>(entries: ReadonlyArray<readonly [string, A]>): Record<string, A> => {
  const out: Record<string, A> = {}
  for (const [key, value] of entries) {
    Object.defineProperty(out, key, { value, enumerable: true, configurable: true, writable: true })
  }
  return out
}

const said = (more: object = {}): CheckpointMetadata => ({ source: "loop", step: 0, parents: {}, ...more })
const at = (thread_id: string, checkpoint_id?: string) => ({
  configurable: { thread_id, checkpoint_ns: "", ...(checkpoint_id === undefined ? {} : { checkpoint_id }) }
})

const holding = (channels: Record<string, unknown>, version: number): Checkpoint => ({
  ...emptyCheckpoint(),
  channel_values: channels,
  channel_versions: own(Object.keys(channels).map((name) => [name, version]))
})

const read = async (saver: Checkpointer.Service, threadId: string): Promise<CheckpointTuple> => {
  const tuple = await saver.getTuple(at(threadId))
  assert.isDefined(tuple)
  const [listed] = await (async () => {
    const out = []
    for await (const one of saver.list(at(threadId), { limit: 1 })) out.push(one)
    return out
  })()
  assert.deepEqual(listed, tuple)
  return tuple
}

for (const backend of TestDatabases.backends) {
  describe(`values on ${backend.name}`, () => {
    it.layer(Layer.provideMerge(Checkpointer.layer(), backend.layer))((it) => {
      const using = (run: (saver: Checkpointer.Service) => Promise<void>) => () =>
        Effect.flatMap(Checkpointer.Checkpointer, (saver) => Effect.promise(() => run(saver)))

      it.effect(
        "in channels, pending writes and metadata",
        using(async (saver) => {
          const checkpoint = { ...holding(values, 1), unknown: values, versions_seen: { node: { "\u0000": 1 } } }
          const metadata = said({ values, list: Object.values(values) })
          await saver.put(at("all"), checkpoint, metadata, checkpoint.channel_versions)
          await saver.putWrites(at("all", checkpoint.id), Object.entries(values), "task")
          const tuple = await read(saver, "all")
          deepStrictEqual(tuple.checkpoint, checkpoint)
          deepStrictEqual(tuple.metadata, metadata)
          deepStrictEqual(
            tuple.pendingWrites,
            Object.entries(values).map(([name, value]) => ["task", name, value])
          )
          assert.notProperty({}, "polluted")
        })
      )

      it.effect(
        "an invalid date, and boxed primitives without their boxes",
        using(async (saver) => {
          const boxed = [Object(1), Object("a"), Object(true), Object(1n)]
          const checkpoint = holding({ never: new Date(Number.NaN), boxed }, 1)
          await saver.put(at("odd"), checkpoint, said(), checkpoint.channel_versions)
          const { never, boxed: unboxed } = (await read(saver, "odd")).checkpoint.channel_values
          assert.isTrue(never instanceof Date && Number.isNaN(never.getTime()))
          deepStrictEqual(unboxed, [1, "a", true, 1n])
        })
      )

      it.effect(
        "one by one, as the metadata that a run says of itself",
        using(async (saver) => {
          for (const [name, value] of Object.entries(values)) {
            if (value === undefined) continue
            await saver.put({ ...at(`said ${name}`), metadata: { value } }, holding({}, 1), said(), {})
            deepStrictEqual((await read(saver, `said ${name}`)).metadata, said({ value }))
          }
        })
      )

      it.effect(
        "under any name: of channels, of writes, in metadata, in versions",
        using(async (saver) => {
          for (const version of [1, 2, 2.5]) {
            const id = `names ${version}`
            const checkpoint = holding(own(names.map((name) => [name, { name }])), version)
            checkpoint.versions_seen = own(names.map((name) => [name, own(names.map((other) => [other, version]))]))
            const metadata = said(own(names.map((name) => [name, name])))
            await saver.put(at(id), checkpoint, metadata, checkpoint.channel_versions)
            await saver.putWrites(
              at(id, checkpoint.id),
              names.map((name) => [name, { name }]),
              "task"
            )
            const tuple = await read(saver, id)
            deepStrictEqual(tuple.checkpoint, checkpoint)
            deepStrictEqual(tuple.metadata, metadata)
            deepStrictEqual(
              tuple.pendingWrites,
              names.map((name) => ["task", name, { name }])
            )
            for (const filter of [
              { source: "loop" },
              { lc: "lc" },
              own([["__proto__", "__proto__"]]),
              { id: "id", "": "" }
            ]) {
              const found = []
              for await (const one of saver.list(at(id), { filter })) found.push(one.checkpoint.id)
              deepStrictEqual(found, [checkpoint.id], JSON.stringify(filter))
            }
            for await (const _ of saver.list(at(id), { filter: { lc: "other" } })) assert.fail("was found")
          }
        })
      )

      it.effect(
        "a graph's state may have a field of any name",
        using(async (saver) => {
          const State = Annotation.Root({
            lc: Annotation<number>(),
            type: Annotation<unknown>(),
            value: Annotation<unknown>()
          })
          const graph = new StateGraph(State)
            .addNode("first", () => ({ type: "undefined", value: polluting }))
            .addNode("second", () => ({ lc: 2 }))
            .addEdge(START, "first")
            .addEdge("first", "second")
            .compile({ checkpointer: saver, interruptBefore: ["second"] })
          const config = { configurable: { thread_id: "fields" } }
          await graph.invoke({ lc: 1 }, config)
          await graph.invoke(null, config)
          deepStrictEqual((await graph.getState(config)).values, {
            lc: 2,
            type: "undefined",
            value: polluting
          })
        })
      )

      it.effect(
        "10 MB, in a channel and in a write, as text and as bytes",
        using(async (saver) => {
          const bytes = new Uint8Array(10_000_000).map((_, index) => (index * 31) & 255)
          const text = `${"\u0000x\ud800".repeat(1000)}${"y".repeat(10_000_000)}`
          const checkpoint = holding({ bytes, text }, 1)
          await saver.put(at("large"), checkpoint, said(), checkpoint.channel_versions)
          await saver.putWrites(
            at("large", checkpoint.id),
            [
              ["bytes", bytes],
              ["nested", { text }]
            ],
            "t"
          )
          const tuple = await saver.getTuple(at("large"))
          const [first, second] = tuple?.pendingWrites ?? []
          for (const found of [tuple?.checkpoint.channel_values["bytes"], first?.[2]]) {
            assert.isTrue(Buffer.from(found as Uint8Array).equals(Buffer.from(bytes)))
          }
          assert.isTrue(tuple?.checkpoint.channel_values["text"] === text)
          assert.isTrue((second?.[2] as { text: string }).text === text)
        })
      )

      it.effect("what cannot be stored is refused by name, and nothing is written", () =>
        Effect.gen(function* () {
          const saver = yield* Checkpointer.Checkpointer
          const sql = yield* SqlClient.SqlClient
          const cycle: Record<string, unknown> = {}
          cycle["self"] = [cycle]
          const deep = Array.from({ length: 200_000 }).reduce((inner) => [inner], 1)
          const refused: ReadonlyArray<readonly [unknown, RegExp]> = [
            [{ f: () => 1 }, /\.f is a function/],
            [[Symbol("s")], /\[0\] is a symbol/],
            [cycle, /self.*contains it/],
            [new WeakMap(), /WeakMap/],
            [Promise.resolve(), /Promise/],
            [deep, /./]
          ]
          yield* Effect.promise(async () => {
            for (const [value, message] of refused) {
              const checkpoint = holding({ good: 1, "bad one": value }, 1)
              const calls = [
                () => saver.put(at("refused"), checkpoint, said(), checkpoint.channel_versions),
                () => saver.put(at("refused"), holding({}, 1), said({ value }), {}),
                () => saver.put(at("refused"), { ...holding({}, 1), value } as Checkpoint, said(), {}),
                () =>
                  saver.putWrites(
                    at("refused", "c"),
                    [
                      ["good", 1],
                      ["bad one", value]
                    ],
                    "t"
                  )
              ]
              for (const [index, call] of calls.entries()) {
                const error = await Promise.resolve(call()).then(
                  () => assert.fail("was stored"),
                  (error: unknown) => error
                )
                assert.instanceOf(error, CheckpointError, String(error))
                assert.strictEqual(error.reason, "Unserializable")
                assert.match(error.message, message)
                assert.match(error.message, index % 3 === 0 ? /"refused".*"bad one"/ : /"refused"/)
              }
            }
            for (const field of ["lc", "__proto__", "__lc_escaped__"]) {
              const odd = { ...holding({}, 1), ...own([[field, 1]]) }
              const error = await saver
                .put(at("refused"), odd as Checkpoint, said(), {})
                .catch((error: unknown) => error)
              assert.instanceOf(error, CheckpointError)
              assert.include(error.message, field)
            }
          })
          for (const table of ["checkpoints", "checkpoint_blobs", "checkpoint_writes"]) {
            deepStrictEqual(yield* sql.unsafe(`select 1 from ${table} where thread_id = 'refused'`), [])
          }
        })
      )

      it.effect("stored bytes of anybody's making build nothing off the list", () =>
        Effect.gen(function* () {
          const saver = yield* Checkpointer.Checkpointer
          const sql = yield* SqlClient.SqlClient
          const checkpoint = holding({ a: 1 }, 1)
          yield* Effect.promise(() => saver.put(at("planted"), checkpoint, said(), { a: 1 }))
          const plant = (value: unknown) =>
            sql`update checkpoint_blobs set blob = ${Buffer.from(JSON.stringify(value))} where thread_id = 'planted'`
          const planted = [
            { lc: 1, type: "constructor", id: ["langchain", "prompts", "PromptTemplate"], kwargs: { template: "{x}" } },
            {
              lc: 1,
              type: "constructor",
              id: ["langchain_core", "runnables", "RunnableLambda"],
              kwargs: { func: "x" }
            },
            { lc: 1, type: "constructor", id: ["langchain_core", "messages", "__proto__"], kwargs: {} },
            { lc: 1, type: "constructor", id: ["__proto__", "constructor"], kwargs: {} },
            { lc: 2, type: "constructor", id: ["Function"], method: null, args: ["return 1"], kwargs: {} },
            { lc: 2, type: "constructor", id: ["Proxy"], args: [{}, {}] },
            { lc: 1, type: "secret", id: ["DATABASE_URL"] }
          ]
          for (const value of planted) {
            yield* plant(value)
            const tuple = yield* Effect.promise(() => saver.getTuple(at("planted")))
            deepStrictEqual(tuple?.checkpoint.channel_values["a"], value)
          }
          yield* plant({
            lc: 1,
            type: "constructor",
            id: ["langchain_core", "messages", "AIMessage"],
            kwargs: JSON.parse('{"content": "x", "__proto__": {"polluted": 1}, "constructor": 1}')
          })
          const tuple = yield* Effect.promise(() => saver.getTuple(at("planted")))
          assert.instanceOf(tuple?.checkpoint.channel_values["a"], AIMessage)
          assert.notProperty({}, "polluted")
        })
      )

      it.effect(
        "any value at all",
        using(async (saver) => {
          const leaf = fc.anything({
            withBigInt: true,
            withDate: true,
            withMap: true,
            withSet: true,
            withTypedArray: true,
            withNullPrototype: false,
            withSparseArray: false,
            withBoxedValues: false,
            withUnicodeString: true
          } as fc.ObjectConstraints)
          let threads = 0
          await fc.assert(
            fc.asyncProperty(leaf, async (value) => {
              const id = `any ${threads++}`
              const checkpoint = holding({ value }, 1)
              await saver.put(at(id), checkpoint, said({ value }), { value: 1 })
              await saver.putWrites(at(id, checkpoint.id), [["value", value]], "t")
              const tuple = await saver.getTuple(at(id))
              deepStrictEqual(tuple?.checkpoint.channel_values, { value })
              deepStrictEqual(tuple?.metadata, said({ value }))
              deepStrictEqual(tuple?.pendingWrites, [["t", "value", value]])
            }),
            { numRuns: 30 }
          )
        })
      )
    })
  })
}
