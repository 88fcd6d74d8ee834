/** The saver as LangGraph calls it, row by row. Whole graphs are in `graphs.test.ts`. */
import { deepStrictEqual } from "node:assert"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import {
  type Checkpoint,
  type CheckpointMetadata,
  type CheckpointTuple,
  emptyCheckpoint
} from "@langchain/langgraph-checkpoint"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { CheckpointError } from "../../src/checkpoint/CheckpointError.js"
import * as Checkpointer from "../../src/checkpoint/Checkpointer.js"
import * as TestDatabases from "../support/databases.js"

const metadata = (step: number, more: object = {}): CheckpointMetadata => ({
  source: "loop",
  step,
  parents: {},
  ...more
})

/** A checkpoint that holds these values, each at this version. */
const holding = (values: Record<string, unknown>, version = 1): Checkpoint => ({
  ...emptyCheckpoint(),
  channel_values: values,
  channel_versions: Object.fromEntries(Object.keys(values).map((channel) => [channel, version]))
})

const at = (thread_id: string, checkpoint_id?: string) => ({
  configurable: { thread_id, checkpoint_ns: "", ...(checkpoint_id === undefined ? {} : { checkpoint_id }) }
})

const collect = async (tuples: AsyncIterable<CheckpointTuple>): Promise<Array<CheckpointTuple>> => {
  const out: Array<CheckpointTuple> = []
  for await (const tuple of tuples) out.push(tuple)
  return out
}

/** The error that LangGraph would see. */
const rejection = async (promise: Promise<unknown>): Promise<CheckpointError> => {
  const error = await promise.then(
    () => assert.fail("was not refused"),
    (error: unknown) => error
  )
  assert.instanceOf(error, Error)
  assert.instanceOf(error, CheckpointError)
  assert.isTrue(Object.isExtensible(error))
  return error
}

/** A test in promises, as LangGraph is. */
const using = (run: (saver: Checkpointer.Service) => Promise<void>) => () =>
  Effect.flatMap(Checkpointer.Checkpointer, (saver) => Effect.promise(() => run(saver)))

for (const backend of TestDatabases.backends) {
  describe(`Checkpointer on ${backend.name}`, () => {
    it.layer(Layer.provideMerge(Checkpointer.layer(), backend.layer))((it) => {
      it.effect(
        "stores values that JSON has no word for, and text that jsonb refuses",
        using(async (saver) => {
          const values = {
            text: "a\u0000b\ud800",
            "odd key": { "k\u0000": 1n, __proto__x: new Map([["a", new Date(5)]]) },
            bytes: new Uint8Array([0, 255]),
            nothing: undefined,
            lookalike: { lc: 1, type: "constructor", id: ["langchain_core", "messages", "HumanMessage"], kwargs: {} }
          }
          const checkpoint = { ...holding(values), unknown_field: ["kept", Number.NaN, "\u0000"] }
          const said = metadata(0, { note: "a\u0000b", odd: "\udfff", when: new Date(7) })
          await saver.put(at("values"), checkpoint, said, checkpoint.channel_versions)
          await saver.putWrites(
            at("values", checkpoint.id),
            [
              ["text", "\u0000"],
              ["n", -0],
              ["raw", new Uint8Array([7])]
            ],
            "task"
          )
          const tuple = await saver.getTuple(at("values"))
          assert.isDefined(tuple)
          deepStrictEqual(tuple.checkpoint.channel_values, values)
          deepStrictEqual({ ...tuple.checkpoint, channel_values: {} }, { ...checkpoint, channel_values: {} })
          deepStrictEqual(tuple.metadata, said)
          deepStrictEqual(tuple.pendingWrites, [
            ["task", "text", "\u0000"],
            ["task", "n", -0],
            ["task", "raw", new Uint8Array([7])]
          ])
        })
      )

      it.effect(
        "stores a value of 10 MB, and a channel without a value",
        using(async (saver) => {
          const large = "x".repeat(10_000_000)
          const checkpoint = holding({ large })
          await saver.put(at("large"), checkpoint, metadata(0), { large: 1, gone: 1 })
          const tuple = await saver.getTuple(at("large"))
          assert.isTrue(tuple?.checkpoint.channel_values["large"] === large)
          assert.notProperty(tuple?.checkpoint.channel_values, "gone")
        })
      )

      it.effect(
        "refuses what it cannot store by name, before anything is written",
        using(async (saver) => {
          const checkpoint = holding({ good: 1, bad: { call: () => 1 } })
          const error = await rejection(saver.put(at("refused"), checkpoint, metadata(0), checkpoint.channel_versions))
          assert.strictEqual(error.reason, "Unserializable")
          assert.strictEqual(error.threadId, "refused")
          assert.match(error.message, /"refused".*channel "bad".*\.call is a function/)
          assert.isUndefined(await saver.getTuple(at("refused")))
          const writes = await rejection(saver.putWrites(at("refused", checkpoint.id), [["c", Symbol("s")]], "t"))
          assert.strictEqual(writes.reason, "Unserializable")
        })
      )

      it.effect(
        "says what a call lacks",
        using(async (saver) => {
          const checkpoint = emptyCheckpoint()
          for (const call of [
            () => saver.put({}, checkpoint, metadata(0), {}),
            () => saver.put({ configurable: {} }, checkpoint, metadata(0), {}),
            () => saver.putWrites({ configurable: { thread_id: "t" } }, [["c", 1]], "task"),
            () => saver.putWrites({ configurable: { checkpoint_id: "c" } }, [["c", 1]], "task"),
            () => saver.getTuple(at("a\u0000b")),
            () => saver.put(at("t\ud800"), checkpoint, metadata(0), {}),
            () => saver.putWrites(at("t", "c"), [["channel\u0000", 1]], "task")
          ]) {
            assert.include(["Invalid", "Unserializable"], (await rejection(call())).reason)
          }
          assert.isUndefined(await saver.getTuple({ configurable: {} }))
          assert.isUndefined(await saver.getTuple(at("unknown")))
        })
      )

      it.effect(
        "takes a missing checkpoint_ns for the root",
        using(async (saver) => {
          const checkpoint = holding({ a: 1 })
          const config = await saver.put({ configurable: { thread_id: "ns" } }, checkpoint, metadata(0), { a: 1 })
          await saver.putWrites({ configurable: { thread_id: "ns", checkpoint_id: checkpoint.id } }, [["a", 2]], "task")
          deepStrictEqual(config, at("ns", checkpoint.id))
          const tuple = await saver.getTuple({ configurable: { thread_id: "ns" } })
          deepStrictEqual(tuple?.pendingWrites, [["task", "a", 2]])
        })
      )

      it.effect(
        "keeps the first result of a task and the last word about it",
        using(async (saver) => {
          const checkpoint = emptyCheckpoint()
          await saver.put(at("special"), checkpoint, metadata(0), {})
          const config = at("special", checkpoint.id)
          await saver.putWrites(
            config,
            [
              ["a", 1],
              ["b", 1]
            ],
            "t1"
          )
          await saver.putWrites(
            config,
            [
              ["a", 2],
              ["b", 2]
            ],
            "t1"
          )
          await saver.putWrites(config, [["__interrupt__", "first"]], "t2")
          await saver.putWrites(
            config,
            [
              ["__interrupt__", "second"],
              ["__interrupt__", "third"]
            ],
            "t2"
          )
          await saver.putWrites(
            config,
            [
              ["__resume__", "yes"],
              ["a", 3]
            ],
            "t2"
          )
          await saver.putWrites(config, [["__error__", { message: "e" }]], "t1")
          await saver.putWrites(config, [], "t3")
          const tuple = await saver.getTuple(config)
          deepStrictEqual(tuple?.pendingWrites, [
            ["t1", "__error__", { message: "e" }],
            ["t1", "a", 1],
            ["t1", "b", 1],
            ["t2", "__resume__", "yes"],
            ["t2", "__interrupt__", "third"],
            ["t2", "a", 3]
          ])
        })
      )

      it.effect("orders pending writes by path, task and index, in the order of code points", () =>
        Effect.gen(function* () {
          const saver = yield* Checkpointer.Checkpointer
          const sql = yield* SqlClient.SqlClient
          const checkpoint = emptyCheckpoint()
          yield* Effect.promise(async () => {
            await saver.put(at("order"), checkpoint, metadata(0), {})
            for (const task of ["b", "a", "B", "_", "é"])
              await saver.putWrites(at("order", checkpoint.id), [["c", task]], task)
          })
          yield* sql`update checkpoint_writes set task_path = '~2' where thread_id = 'order' and task_id = '_'`
          yield* sql`update checkpoint_writes set task_path = '~10' where thread_id = 'order' and task_id = 'é'`
          const tuple = yield* Effect.promise(() => saver.getTuple(at("order")))
          deepStrictEqual(
            tuple?.pendingWrites?.map(([task]) => task),
            ["B", "a", "b", "é", "_"]
          )
        })
      )

      it.effect(
        "lists the newest first, filtered, and page by page",
        using(async (saver) => {
          const ids: Array<string> = []
          for (let step = 0; step < 130; step++) {
            const checkpoint = holding({ step }, step + 1)
            ids.unshift(checkpoint.id)
            const said = metadata(step, { half: step < 65 ? "first" : "second", nested: { step } })
            await saver.put(at("list", ids[1]), checkpoint, said, checkpoint.channel_versions)
          }
          const listed = async (options?: Parameters<typeof saver.list>[1]) =>
            (await collect(saver.list(at("list"), options))).map((tuple) => tuple.checkpoint.id)
          const before = (id: string | undefined) => at("list", id)
          deepStrictEqual(await listed(), ids)
          deepStrictEqual(await listed({ limit: 105 }), ids.slice(0, 105))
          deepStrictEqual(await listed({ limit: 0 }), [])
          deepStrictEqual(await listed({ limit: 3, before: before(ids[9]) }), ids.slice(10, 13))
          deepStrictEqual(await listed({ filter: { half: "first" }, limit: 2 }), ids.slice(65, 67))
          deepStrictEqual(await listed({ filter: { nested: { step: 7 }, half: undefined } }), [ids[122]])
          deepStrictEqual(await listed({ filter: { half: "third" } }), [])
          const [one] = await collect(saver.list(at("list", ids[4])))
          assert.strictEqual(one?.checkpoint.channel_values["step"], 125)
          deepStrictEqual(one?.parentConfig, at("list", ids[5]))
          const everywhere = await collect(saver.list({}, { limit: 1 }))
          assert.strictEqual(everywhere.length, 1)
        })
      )

      it.effect("deletes a thread whole, and no other", () =>
        Effect.gen(function* () {
          const saver = yield* Checkpointer.Checkpointer
          const sql = yield* SqlClient.SqlClient
          yield* Effect.promise(async () => {
            for (const thread of ["gone", "kept"]) {
              const checkpoint = holding({ a: 1 })
              const config = await saver.put(at(thread), checkpoint, metadata(0), { a: 1 })
              await saver.putWrites(config, [["a", 2]], "task")
            }
            await saver.deleteThread("gone")
          })
          for (const table of ["checkpoints", "checkpoint_blobs", "checkpoint_writes"]) {
            const rows = yield* sql.unsafe<{ thread_id: string }>(
              `select thread_id from ${table} where thread_id in ('gone', 'kept')`
            )
            deepStrictEqual(
              rows.map((row) => row.thread_id),
              ["kept"]
            )
          }
        })
      )

      it.effect(
        "gives versions that grow and that two branches never share",
        using(async (saver) => {
          let last: number | undefined
          for (let step = 1; step < 200; step++) {
            const next = saver.getNextVersion(last)
            assert.isTrue(next > (last ?? 0))
            assert.strictEqual(Math.floor(next), step)
            assert.notStrictEqual(next, saver.getNextVersion(last))
            last = next
          }
          assert.isTrue(saver.getNextVersion(7) > 7)
          const text = (saver as unknown as { getNextVersion(current: string): string }).getNextVersion // as other savers type it
          const next = text("00000000000000000000000000000009.0.5")
          assert.isTrue(
            next > "00000000000000000000000000000009.0.9" && next.startsWith("00000000000000000000000000000010.")
          )
        })
      )

      it.effect(
        "reads back under the version it was written, whatever its digits",
        using(async (saver) => {
          for (const version of [1.0000000000000002, 2 ** 40 + 0.5, saver.getNextVersion(1e6), 3]) {
            const checkpoint = holding({ a: version }, version)
            await saver.put(at("versions"), checkpoint, metadata(0), { a: version })
            const tuple = await saver.getTuple(at("versions"))
            assert.strictEqual(tuple?.checkpoint.channel_values["a"], version)
            assert.strictEqual(tuple?.checkpoint.channel_versions["a"], version)
          }
        })
      )

      it.effect(
        "serializes a checkpoint as it is when it is handed over",
        using(async (saver) => {
          const state = { list: [1] }
          const checkpoint = holding({ a: state, b: state })
          const saved = saver.put(at("handed over"), checkpoint, metadata(0), { a: 1, b: 1 })
          state.list.push(2)
          await saved
          deepStrictEqual((await saver.getTuple(at("handed over")))?.checkpoint.channel_values, {
            a: { list: [1] },
            b: { list: [1] }
          })
        })
      )

      it.effect(
        "does not deadlock when writers name the same channels in opposite order",
        using(async (saver) => {
          const values = { a: 1, b: 2, c: 3, d: 4 }
          const forth = Object.fromEntries(Object.keys(values).map((channel) => [channel, 1]))
          const back = Object.fromEntries(Object.entries(forth).reverse())
          await Promise.all(
            Array.from({ length: 20 }, (_, index) =>
              saver.put(at("deadlock"), holding(values), metadata(index), index % 2 === 0 ? forth : back)
            )
          )
        })
      )
    })

    it.scoped("keeps its tables in a schema of any name", () =>
      Effect.gen(function* () {
        const schema = 'my "odd" schema'
        const checkpoint = holding({ a: 1 })
        const saver = yield* Checkpointer.make({ schema })
        yield* Effect.promise(() => saver.put(at("t"), checkpoint, metadata(0), { a: 1 }))
        const again = yield* Checkpointer.make({ schema })
        const tuple = yield* Effect.promise(() => again.getTuple(at("t")))
        assert.strictEqual(tuple?.checkpoint.id, checkpoint.id)
        const sql = yield* SqlClient.SqlClient
        const elsewhere = yield* sql`select to_regclass('public.checkpoints') as found`
        deepStrictEqual(elsewhere, [{ found: null }])
      }).pipe(Effect.provide(backend.layer))
    )

    it.scoped("ends what it is writing before it closes, and refuses after", () =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const saver = yield* Scope.extend(Checkpointer.make(), scope)
        const checkpoint = holding({ a: 1 })
        const next = holding({ a: 2 }, 2)
        const saved = saver
          .put(at("closing"), checkpoint, metadata(0), { a: 1 })
          .then((config) => saver.put(config, next, metadata(1), { a: 2 }))
        yield* Scope.close(scope, Exit.void)
        yield* Effect.promise(() => saved)
        const error = yield* Effect.promise(() => rejection(saver.getTuple(at("closing"))))
        assert.strictEqual(error.reason, "Closed")
        const again = yield* Checkpointer.make()
        assert.strictEqual((yield* Effect.promise(() => again.getTuple(at("closing"))))?.checkpoint.id, next.id)
      }).pipe(Effect.provide(backend.layer))
    )

    it.scoped("sets itself up from several places at once", () =>
      Effect.gen(function* () {
        yield* Effect.all(
          Array.from({ length: 8 }, () => Checkpointer.make()),
          { concurrency: "unbounded" }
        )
        const sql = yield* SqlClient.SqlClient
        deepStrictEqual(
          yield* sql`select v from checkpoint_migrations order by v`,
          [0, 1, 2, 3, 4].map((v) => ({ v }))
        )
      }).pipe(Effect.provide(backend.layer))
    )

    it.scoped("names the thread when the database does not answer", () =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(Layer.fresh(backend.layer), scope)
        const saver = yield* Effect.provide(Checkpointer.make(), context)
        yield* Scope.close(scope, Exit.void)
        const error = yield* Effect.promise(() => rejection(saver.put(at("lost"), emptyCheckpoint(), metadata(0), {})))
        assert.strictEqual(error.reason, "Database")
        assert.strictEqual(error.threadId, "lost")
        assert.match(error.message, /put of a checkpoint of "lost" failed/)
      })
    )
  })
}
