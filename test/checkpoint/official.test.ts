/** The official Postgres saver and ours on one database. */
import { deepStrictEqual } from "node:assert"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import { AIMessage } from "@langchain/core/messages"
import { Command } from "@langchain/langgraph"
import type { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint"
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres"
import * as Effect from "effect/Effect"
import * as Checkpointer from "../../src/checkpoint/Checkpointer.js"
import * as TestDatabases from "../support/databases.js"
import * as flow from "./fixtures/flow.js"

const [, postgres] = TestDatabases.backends
if (postgres === undefined) throw new Error("the official saver needs a server")

/** The official saver on the test's database, set up. When it is released its connections are gone: it dies of one that is killed. */
const official = Effect.gen(function* () {
  const { url = "" } = yield* TestDatabases.TestDatabase
  const sql = yield* SqlClient.SqlClient
  const connections = sql`select 1 from pg_stat_activity
    where datname = current_database() and application_name = 'official'`
  const saver = yield* Effect.acquireRelease(
    Effect.sync(() => PostgresSaver.fromConnString(`${url}?application_name=official`)),
    (saver) =>
      Effect.zipRight(
        Effect.promise(() => saver.end()),
        Effect.repeat(Effect.orDie(connections), { until: (rows) => rows.length === 0 })
      )
  )
  yield* Effect.promise(() => saver.setup())
  return saver
})

const thread = (thread_id: string) => ({ configurable: { thread_id } })
const graph = (checkpointer: BaseCheckpointSaver) => flow.make({ checkpointer, counts: "/dev/null", asks: true })

const ended = { log: ["in", "first", "ask", "quick", "last"], answer: "yes" }

describe("beside the official saver", () => {
  const order = [
    ["set up by it", official, Checkpointer.make()],
    ["set up by us", Checkpointer.make(), official]
  ] as const
  for (const [name, first, second] of order) {
    it.effect(`opens its threads and is opened by it, ${name}`, () =>
      Effect.gen(function* () {
        yield* first
        yield* second
        const theirs = yield* official
        const ours = yield* Checkpointer.make()
        yield* Effect.promise(async () => {
          await graph(theirs).invoke({ log: ["in"] }, thread("theirs"))
          deepStrictEqual(await ours.getTuple(thread("theirs")), await theirs.getTuple(thread("theirs")))
          deepStrictEqual(await graph(ours).invoke(new Command({ resume: "yes" }), thread("theirs")), ended)
          deepStrictEqual((await graph(theirs).getState(thread("theirs"))).values, ended)

          await graph(ours).invoke({ log: ["in"] }, thread("ours"))
          deepStrictEqual(await graph(theirs).invoke(new Command({ resume: "yes" }), thread("ours")), ended)
          deepStrictEqual((await graph(ours).getState(thread("ours"))).values, ended)
          for (const id of ["theirs", "ours"]) {
            const [left, right] = await Promise.all(
              [theirs, ours].map(async (saver) => {
                const ids: Array<string | undefined> = []
                for await (const tuple of saver.list(thread(id))) ids.push(tuple.checkpoint.id)
                return ids
              })
            )
            deepStrictEqual(left, right)
          }
        })
        const sql = yield* SqlClient.SqlClient
        deepStrictEqual(
          yield* sql`select v from checkpoint_migrations order by v`,
          [0, 1, 2, 3, 4].map((v) => ({ v }))
        )
        const columns = yield* sql`select column_name from information_schema.columns
          where table_name = 'checkpoint_writes' and column_name = 'task_path'`
        assert.strictEqual(columns.length, 1)
      }).pipe(Effect.scoped, Effect.provide(postgres.layer))
    )
  }

  it.effect("a thread with whole versions forks right", () =>
    Effect.gen(function* () {
      const theirs = yield* official
      const ours = yield* Checkpointer.make()
      yield* Effect.promise(async () => {
        await graph(theirs).invoke({ log: ["in"] }, thread("t"))
        await graph(theirs).invoke(new Command({ resume: "yes" }), thread("t"))
        const states = []
        for await (const state of graph(ours).getStateHistory(thread("t"))) states.push(state)
        const afterFirst = states.find((state) => state.next.includes("quick"))
        const fork = await graph(ours).updateState(afterFirst?.config ?? {}, { log: ["forked"] }, "first")
        await graph(ours).invoke(null, fork)
        const forked = await graph(ours).invoke(new Command({ resume: "no" }), thread("t"))
        deepStrictEqual(forked, { log: ["in", "first", "forked", "ask", "quick", "last"], answer: "no" })
        deepStrictEqual((await graph(ours).getState(states[0]?.config ?? {})).values, ended)
      })
    }).pipe(Effect.scoped, Effect.provide(postgres.layer))
  )

  it.effect("reads messages and values that it has written, and it ours", () =>
    Effect.gen(function* () {
      const theirs = yield* official
      const ours = yield* Checkpointer.make()
      const values = {
        messages: [new AIMessage({ content: "hi", id: "1" })],
        map: new Map([["a", new Set([1])]]),
        bytes: new Uint8Array([1, 2]),
        none: undefined
      }
      const versions = Object.fromEntries(Object.keys(values).map((channel) => [channel, 1]))
      const checkpoint = {
        v: 4,
        id: "1ef00000-0000-6000-8000-000000000000",
        ts: new Date().toISOString(),
        channel_values: values,
        channel_versions: versions,
        versions_seen: {}
      }
      yield* Effect.promise(async () => {
        for (const [writer, reader, id] of [
          [theirs, ours, "a"],
          [ours, theirs, "b"]
        ] as const) {
          await writer.put(thread(id), checkpoint, { source: "loop", step: 0, parents: {} }, versions)
          const read = (await reader.getTuple(thread(id)))?.checkpoint.channel_values ?? {}
          deepStrictEqual(read["map"], values.map)
          deepStrictEqual([...(read["bytes"] as Uint8Array)], [1, 2])
          assert.isUndefined(read["none"])
          assert.instanceOf((read["messages"] as ReadonlyArray<unknown>)[0], AIMessage)
        }
      })
    }).pipe(Effect.scoped, Effect.provide(postgres.layer))
  )
})
