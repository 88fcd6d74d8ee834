/** What goes the quick way, one thread at a time: the same is stored, and the same refused. */
import { deepStrictEqual } from "node:assert"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import { emptyCheckpoint, uuid6 } from "@langchain/langgraph-checkpoint"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Checkpointer from "../../src/checkpoint/Checkpointer.js"
import { most } from "../../src/checkpoint/internal/single.js"
import * as TestDatabases from "../support/databases.js"

const config = (thread_id: string, checkpoint_id?: string) => ({
  configurable: { thread_id, checkpoint_ns: "", ...(checkpoint_id === undefined ? {} : { checkpoint_id }) }
})
const metadata = { source: "loop", step: 0, parents: {} } as const

/** A run as LangGraph shows it: its control, and somebody who listens for its end. */
const run = () => {
  const end = new AbortController()
  end.signal.addEventListener("abort", () => {})
  return { control: {}, signal: end.signal }
}

const checkpoint = (values: Readonly<Record<string, unknown>>) => ({
  ...emptyCheckpoint(),
  id: uuid6(0),
  channel_values: values,
  channel_versions: Object.fromEntries(Object.keys(values).map((channel) => [channel, Math.random()]))
})

const [, postgres] = TestDatabases.backends
if (postgres === undefined) throw new Error("the quick way leads to a server")

describe("the quick way", () => {
  it.layer(Layer.provideMerge(Checkpointer.layer(), postgres.layer))((it) => {
    it.effect("stores any number of values, for a run and for none, and again without harm", () =>
      Effect.gen(function* () {
        const saver = yield* Checkpointer.Checkpointer
        for (const [who, of] of [
          ["none", {}],
          ["run", run()]
        ] as const) {
          for (const count of [0, 1, 2, most, most + 1]) {
            const thread = `${who} ${count}`
            const values = Object.fromEntries(Array.from({ length: count }, (_, n) => [`channel ${n}`, [n, "ä€😀"]]))
            const made = checkpoint(values)
            const bytes = new Uint8Array([0, 255])
            const writes = [...Object.entries(values), ["bytes", bytes], ["nothing", undefined]] as Array<
              [string, unknown]
            >
            yield* Effect.promise(async () => {
              await saver.getTuple({ ...config(thread), ...of })
              for (let again = 0; again < 2; again++) {
                await saver.put({ ...config(thread), ...of }, made, metadata, made.channel_versions)
                await saver.putWrites({ ...config(thread, made.id), ...of }, writes, "task")
                await saver.putWrites({ ...config(thread, made.id), ...of }, [["__error__", again]], "task")
              }
              const found = await saver.getTuple(config(thread))
              deepStrictEqual(found?.checkpoint.channel_values, values)
              deepStrictEqual(found?.pendingWrites, [
                ["task", "__error__", 1],
                ...writes.map(([channel, value]) => ["task", channel, value])
              ])
              deepStrictEqual(await saver.getTuple(config(thread, made.id)), found)
            })
          }
        }
      })
    )

    it.effect("writes nothing for a run whose lease is another's, or whose thread was deleted", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const saver = yield* Checkpointer.Checkpointer
        for (const [thread, meanwhile] of [
          ["lost", sql`update holdfast_leases set run = 'another' where thread_id = 'lost'`],
          ["deleted", sql`delete from holdfast_leases where thread_id = 'deleted'`]
        ] as const) {
          const own = run()
          const made = checkpoint({ a: 1 })
          yield* Effect.promise(() => saver.getTuple({ ...config(thread), ...own }))
          yield* Effect.promise(() => saver.put({ ...config(thread), ...own }, made, metadata, made.channel_versions))
          yield* meanwhile
          const next = checkpoint({ a: 2 })
          const settled = yield* Effect.promise(() =>
            Promise.allSettled([
              saver.putWrites({ ...config(thread, made.id), ...own }, [["a", 2]], "task"),
              saver.put({ ...config(thread, made.id), ...own }, next, metadata, next.channel_versions)
            ])
          )
          for (const each of settled) {
            assert.strictEqual(each.status === "rejected" && each.reason.name, "ThreadBusyError")
            assert.strictEqual(each.status === "rejected" && each.reason.reason, "lost")
          }
          const found = yield* Effect.promise(() => saver.getTuple(config(thread)))
          assert.deepStrictEqual(found?.checkpoint.id, made.id)
          assert.deepStrictEqual(found?.pendingWrites, [])
        }
      })
    )

    it.effect("reads a thread of an old format whole, and no thread at all as none", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const saver = yield* Checkpointer.Checkpointer
        const parent = { ...checkpoint({ a: 1 }), v: 1 }
        const child = { ...checkpoint({ a: 2 }), v: 1 }
        yield* Effect.promise(async () => {
          await saver.put(config("old"), parent, metadata, parent.channel_versions)
          await saver.putWrites(config("old", parent.id), [["__pregel_tasks", "sent"]], "task")
          await saver.put(config("old", parent.id), child, metadata, child.channel_versions)
        })
        const read = (id?: string) => Effect.promise(() => saver.getTuple(config("old", id)))
        const newest = uuid6(0)
        deepStrictEqual((yield* read(child.id))?.checkpoint.channel_values, { a: 2, __pregel_tasks: ["sent"] })
        assert.isUndefined(yield* read(newest))
        yield* sql`delete from checkpoints where thread_id = 'old'`
        assert.isUndefined(yield* read())
      })
    )
  })
})
