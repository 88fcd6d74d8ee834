/** Databases that others have written: the official saver 1.0.5, and every earlier state of ours. */
import { deepStrictEqual } from "node:assert"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import { AIMessage } from "@langchain/core/messages"
import { Annotation, Command, interrupt, MessagesAnnotation, Send, START, StateGraph } from "@langchain/langgraph"
import type { BaseCheckpointSaver, CheckpointTuple } from "@langchain/langgraph-checkpoint"
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Checkpointer from "../../src/checkpoint/Checkpointer.js"
import * as CheckpointManager from "../../src/checkpoint/CheckpointManager.js"
import * as migrations from "../../src/checkpoint/internal/migrations.js"
import * as statements from "../../src/checkpoint/internal/statements.js"
import * as Migrations from "../../src/database/Migrations.js"
import * as TestDatabases from "../support/databases.js"

const [, postgres] = TestDatabases.backends
if (postgres === undefined) throw new Error("the official saver needs a server")

/** The official saver on the test's database, in one of its schemas. Its connections are gone when it is released: it dies of one that is killed. */
const official = (schema: string) =>
  Effect.gen(function* () {
    const { url = "" } = yield* TestDatabases.TestDatabase
    const sql = yield* SqlClient.SqlClient
    const connections = sql`select 1 from pg_stat_activity
      where datname = current_database() and application_name = 'official'`
    const saver = yield* Effect.acquireRelease(
      Effect.sync(() => PostgresSaver.fromConnString(`${url}?application_name=official`, { schema })),
      (saver) =>
        Effect.zipRight(
          Effect.promise(() => saver.end()),
          Effect.repeat(Effect.orDie(connections), { until: (rows) => rows.length === 0 })
        )
    )
    yield* Effect.promise(() => saver.setup())
    return saver
  })

const State = Annotation.Root({
  ...MessagesAnnotation.spec,
  log: Annotation<ReadonlyArray<string>>({ reducer: (left, right) => [...left, ...right], default: () => [] })
})

/** Messages, sends, a subgraph that asks, a join. */
const graph = (checkpointer: BaseCheckpointSaver) => {
  const inner = new StateGraph(State)
    .addNode("inner one", () => ({ log: ["inner one"] }))
    .addNode("inner ask", () => ({ log: [`inner ${interrupt<string, string>("may I?")}`] }))
    .addEdge(START, "inner one")
    .addEdge("inner one", "inner ask")
    .compile()
  return new StateGraph(State)
    .addNode("say", () => ({ messages: [new AIMessage({ content: "hello", id: "1" })], log: ["say"] }))
    .addNode("each", ({ n }: { readonly n?: number }) => ({ log: [`each ${n}`] }))
    .addNode("sub", inner)
    .addNode("last", () => ({ log: ["last"] }))
    .addEdge(START, "say")
    .addConditionalEdges("say", () => [1, 2].map((n) => new Send("each", { n })), ["each"])
    .addEdge("each", "sub")
    .addEdge("sub", "last")
    .compile({ checkpointer })
}

const thread = (thread_id: string) => ({ configurable: { thread_id } })

/** The official saver says of a parent that is not there that it is undefined. */
const withoutAbsent = ({ parentConfig, ...tuple }: CheckpointTuple): CheckpointTuple =>
  parentConfig === undefined ? tuple : { ...tuple, parentConfig }

const list = async (saver: BaseCheckpointSaver, id: string): Promise<Array<CheckpointTuple>> => {
  const out = []
  for await (const tuple of saver.list(thread(id))) out.push(withoutAbsent(tuple))
  return out
}

const values = async (saver: BaseCheckpointSaver, config: Parameters<BaseCheckpointSaver["getTuple"]>[0]) =>
  (await graph(saver).getState(config)).values as typeof State.State

/** Ours on the way through a life of a thread that somebody else began, up to its question. */
const goOn = async (saver: BaseCheckpointSaver, id: string) => {
  const before = (await values(saver, thread(id))).log
  const done = (await graph(saver).invoke(new Command({ resume: "yes" }), thread(id))) as typeof State.State
  assert.deepStrictEqual(done.log.slice(before.length).at(-1), "last")
  assert.include(done.log.join(), "inner yes,last")
  assert.instanceOf(done.messages[0], AIMessage)
  // its versions count on, whole ones first
  const tuples = (await list(saver, id)).filter(({ config }) => config.configurable?.["checkpoint_ns"] === "")
  const versions = tuples.map(({ checkpoint }) => Number(checkpoint.channel_versions["log"] ?? 0))
  assert.deepStrictEqual(
    versions,
    [...versions].sort((left, right) => right - left)
  )
  // a fork of a checkpoint from before
  const old = tuples.find(({ metadata }) => metadata?.step === 0)
  assert.isDefined(old)
  const fork = await graph(saver).updateState(old.config, { log: ["forked"] }, "say")
  await graph(saver).invoke(null, fork)
  const forked = (await graph(saver).invoke(new Command({ resume: "no" }), thread(id))) as typeof State.State
  assert.include(forked.log.join(), "forked")
  assert.include(forked.log.join(), "inner no,last")
  // the branch from before is as it was
  const newest = tuples[0]
  assert.isDefined(newest)
  deepStrictEqual((await values(saver, newest.config)).log, done.log)
}

const tuple = async (saver: BaseCheckpointSaver, config: CheckpointTuple["config"]) => {
  const found = await saver.getTuple(config)
  return found === undefined ? undefined : withoutAbsent(found)
}

describe("a database of the official saver", () => {
  for (const schema of ["public", "agents of 007"]) {
    it.effect(
      `opens in the schema "${schema}": threads load, list pages, runs go on, forks work`,
      () =>
        Effect.gen(function* () {
          const theirs = yield* official(schema)
          yield* Effect.promise(async () => {
            for (const id of ["one", "two"]) await graph(theirs).invoke({ log: ["in"] }, thread(id))
            for (let round = 0; round < 3; round++) {
              await graph(theirs).invoke(new Command({ resume: "first" }), thread("one"))
              await graph(theirs).invoke({ log: ["again"] }, thread("one"))
            }
          })
          const ours = yield* Checkpointer.make({ schema })
          yield* Effect.promise(async () => {
            const stored = await list(theirs, "one")
            assert.isAbove(stored.length, 20)
            deepStrictEqual(await list(ours, "one"), stored)
            for (const { config } of stored) deepStrictEqual(await tuple(ours, config), await tuple(theirs, config))
            const namespaces = new Set<unknown>(stored.map(({ config }) => config.configurable?.["checkpoint_ns"]))
            assert.isAbove(namespaces.size, 1)
            // page by page
            const paged = []
            let before: CheckpointTuple["config"] | undefined
            do {
              const page = []
              const options = { limit: 4, ...(before === undefined ? {} : { before }) }
              for await (const one of ours.list({ configurable: { thread_id: "one", checkpoint_ns: "" } }, options)) {
                page.push(one)
              }
              paged.push(...page)
              before = page.length < 4 ? undefined : page.at(-1)?.config
            } while (before !== undefined)
            deepStrictEqual(
              paged.map(({ checkpoint }) => checkpoint.id),
              stored
                .filter(({ config }) => config.configurable?.["checkpoint_ns"] === "")
                .map(({ checkpoint }) => checkpoint.id)
            )
            await goOn(ours, "one")
            await goOn(ours, "two")
          })
          const [found] = yield* ours.threads({ limit: 1 })
          assert.strictEqual(found?.status, "finished")
        }).pipe(Effect.scoped, Effect.provide(postgres.layer)),
      120_000
    )
  }

  it.effect(
    "what ours has written it reads, but for what it has no form for",
    () =>
      Effect.gen(function* () {
        const ours = yield* Checkpointer.make()
        const theirs = yield* official("public")
        yield* Effect.promise(async () => {
          await graph(ours).invoke({ log: ["in"] }, thread("ours"))
          deepStrictEqual(await list(theirs, "ours"), await list(ours, "ours"))
          await goOn(theirs, "ours")

          const same = {
            text: "a",
            undefined: undefined,
            map: new Map([["a", new Set([1])]]),
            regexp: /x/g,
            bytes: { in: new Uint8Array([1, 2]) },
            message: new AIMessage({ content: "x", id: "i" })
          }
          const record = (value: object) => ({ lc: 2, ...value })
          const other: ReadonlyArray<readonly [name: string, stored: unknown, seen: unknown]> = [
            ["bigint", 5n, record({ type: "bigint", value: "5" })],
            ["NaN", Number.NaN, record({ type: "number", value: "NaN" })],
            ["-0", -0, record({ type: "number", value: "-0" })],
            [
              "lookalike",
              { lc: 1, a: 1 },
              record({
                type: "object",
                value: [
                  ["lc", 1],
                  ["a", 1]
                ]
              })
            ]
          ]
          const channels = { ...same, ...Object.fromEntries(other.map(([name, stored]) => [name, stored])) }
          const versions = Object.fromEntries(Object.keys(channels).map((channel) => [channel, 1]))
          const checkpoint = {
            v: 4,
            id: "1ef00000-0000-6000-8000-000000000000",
            ts: new Date().toISOString(),
            channel_values: channels,
            channel_versions: versions,
            versions_seen: {}
          }
          await ours.put(thread("forms"), checkpoint, { source: "loop", step: 0, parents: {} }, versions)
          const seen = (await theirs.getTuple(thread("forms")))?.checkpoint.channel_values ?? {}
          for (const [name, value] of Object.entries(same)) {
            if (name === "message") assert.instanceOf(seen[name], AIMessage)
            else deepStrictEqual(seen[name], value, name)
          }
          for (const [name, , shown] of other) deepStrictEqual(seen[name], shown, name)
        })
      }).pipe(Effect.scoped, Effect.provide(postgres.layer)),
    120_000
  )
})

/** What ours wrote before its migration `state` + 1, with the statements of that time: whole rows of a thread and of a workflow. */
const written = (schema: string, state: number) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const tables = statements.tables(schema)
    yield* Migrations.run("checkpoint", migrations.make(tables).slice(0, state), { schema })
    const ids = [0, 1, 2].map((step) => `1ef0000${step}-0000-6000-8000-000000000000`)
    for (const [step, id] of ids.entries()) {
      for (const namespace of ["", "holdfast:workflow"]) {
        const channel = namespace === "" ? "log" : "state"
        const version = namespace === "" ? String(step + 1.25) : id
        const checkpoint = {
          v: 4,
          id,
          ts: "2026-01-02T03:04:05.678Z",
          channel_versions: { [channel]: namespace === "" ? step + 1.25 : id },
          versions_seen: {}
        }
        const metadata = { source: "update", step, parents: {}, ...(namespace === "" ? {} : { phase: `p${step}` }) }
        const value = namespace === "" ? ["in", `step ${step}`] : { rows: step }
        yield* sql.unsafe(
          `insert into ${tables.checkpoints} (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
          values ('t', $1, $2, $3, $4::text::jsonb, $5::text::jsonb)`,
          [namespace, id, ids[step - 1] ?? null, JSON.stringify(checkpoint), JSON.stringify(metadata)]
        )
        yield* sql.unsafe(
          `insert into ${tables.blobs} (thread_id, checkpoint_ns, channel, version, type, blob) values ('t', $1, $2, $3, 'json', $4)`,
          [namespace, channel, version, Buffer.from(JSON.stringify(value))]
        )
      }
    }
    for (const [idx, task] of ["b", "a"].entries()) {
      yield* sql.unsafe(
        `insert into ${tables.writes} (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob)
        values ('t', '', $1, $2, $3, 'log', 'json', $4)`,
        [ids[2], task, idx, Buffer.from(JSON.stringify([task]))]
      )
    }
    return ids
  })

for (const backend of TestDatabases.backends) {
  describe(`a database of an earlier state of ours on ${backend.name}`, () => {
    it.layer(backend.layer)((it) => {
      const last = migrations.make(statements.tables("public")).length
      for (let state = 1; state <= last; state++) {
        it.scoped(`opens with all that is in it, after ${state} of ${last} migrations`, () =>
          Effect.gen(function* () {
            const schema = `state ${state}`
            const ids = yield* written(schema, state)
            const saver = yield* Checkpointer.make({ schema })
            const manager = yield* CheckpointManager.make({ schema })
            yield* Effect.promise(async () => {
              const tuples = await list(saver, "t").then((all) =>
                all.filter(({ config }) => config.configurable?.["checkpoint_ns"] === "")
              )
              deepStrictEqual(
                tuples.map(({ checkpoint }) => [checkpoint.id, checkpoint.channel_values]),
                [2, 1, 0].map((step) => [ids[step], { log: ["in", `step ${step}`] }])
              )
              deepStrictEqual(tuples[0]?.pendingWrites, [
                ["a", "log", ["a"]],
                ["b", "log", ["b"]]
              ])
              const config = await graph(saver).updateState(thread("t"), { log: ["by hand"] }, "last")
              deepStrictEqual((await values(saver, config)).log, ["in", "step 2", "by hand"])
              const asked = await graph(saver).invoke({ log: ["more"] }, thread("t"))
              assert.property(asked, "__interrupt__")
              const done = await graph(saver).invoke(new Command({ resume: "yes" }), thread("t"))
              assert.strictEqual(done.log.at(-1), "last")
            })
            const Rows = Schema.Struct({ rows: Schema.Number })
            const resumed = yield* manager.resume("t", Rows)
            assert.deepInclude(resumed, { phase: "p2", step: 2, state: { rows: 2 } })
            const next = yield* manager.saveAfter(resumed, {
              workflowId: "t",
              phase: "p3",
              state: { rows: 3 },
              schema: Rows
            })
            assert.strictEqual(next.step, 3)
            deepStrictEqual(
              (yield* manager.history("t")).map((entry) => entry.phase),
              ["p3", "p2", "p1", "p0"]
            )
          })
        )
      }
    })
  })
}
