/** Pruning, expiring, copying and sweeping: what stays reads as before, and nothing else is left. */
import { deepStrictEqual } from "node:assert"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import { Annotation, Command, DeltaChannel, interrupt, START, StateGraph } from "@langchain/langgraph"
import {
  type BaseCheckpointSaver,
  type CheckpointTuple,
  DeltaSnapshot,
  emptyCheckpoint
} from "@langchain/langgraph-checkpoint"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import * as fc from "fast-check"
import type { CheckpointError, CheckpointNotFoundError } from "../../src/checkpoint/CheckpointError.js"
import * as Checkpointer from "../../src/checkpoint/Checkpointer.js"
import * as CheckpointManager from "../../src/checkpoint/CheckpointManager.js"
import * as Encryption from "../../src/checkpoint/Encryption.js"
import * as loading from "../../src/checkpoint/internal/loading.js"
import * as plan from "../../src/checkpoint/internal/plan.js"
import * as statements from "../../src/checkpoint/internal/statements.js"
import * as Retention from "../../src/checkpoint/Retention.js"
import * as TestDatabases from "../support/databases.js"

const encryption = Encryption.make({ keys: { k: "A".repeat(43) }, metadata: true })

interface Config {
  readonly configurable: { readonly thread_id: string; readonly checkpoint_ns: string; readonly checkpoint_id?: string }
}

const thread = (thread_id: string, checkpoint_ns = ""): Config => ({ configurable: { thread_id, checkpoint_ns } })

const ids = async (saver: BaseCheckpointSaver, config: object): Promise<Array<string>> => {
  const out: Array<string> = []
  for await (const tuple of saver.list(config)) out.push(tuple.checkpoint.id)
  return out
}

/** All that can be read of a thread, by namespace and checkpoint, without the thread's name. */
const readAll = async (saver: BaseCheckpointSaver, threadId: string) => {
  const out = new Map<string, unknown>()
  const anonymous = (value: unknown) => JSON.parse(JSON.stringify(value).replaceAll(JSON.stringify(threadId), '"*"'))
  const tuples: Array<CheckpointTuple> = []
  for await (const tuple of saver.list({ configurable: { thread_id: threadId } })) tuples.push(tuple)
  for (const tuple of tuples) {
    const { checkpoint_id, checkpoint_ns } = tuple.config.configurable ?? {}
    // LangGraph asks for the history of what the checkpoint itself does not hold
    const channels = ["log"].filter((channel) => !(channel in tuple.checkpoint.channel_values))
    const history = await saver.getDeltaChannelHistory({ config: tuple.config, channels })
    out.set(`${checkpoint_ns} ${checkpoint_id}`, anonymous([tuple, history]))
  }
  return out
}

/** What is in the tables although no checkpoint refers to it. */
const unreachable = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  return yield* sql`
    select b.thread_id, b.channel, b.version from checkpoint_blobs b where not exists (
      select from checkpoints c where c.thread_id = b.thread_id and c.checkpoint_ns = b.checkpoint_ns
        and c.checkpoint -> 'channel_versions' ->> b.channel = b.version
    ) and not exists (
      select from checkpoint_blobs d where d.thread_id = b.thread_id and d.checkpoint_ns = b.checkpoint_ns and d.channel = b.channel
        and d.type like '%+of=' || b.version || '%'
    )
    union all
    select w.thread_id, w.channel, w.checkpoint_id from checkpoint_writes w where not exists (
      select from checkpoints c where c.thread_id = w.thread_id and c.checkpoint_ns = w.checkpoint_ns and c.checkpoint_id = w.checkpoint_id
    )`
})

/** A step of a random history. */
interface Step {
  /** How far back among the checkpoints of the namespace the parent is: mostly the newest. */
  readonly back: number
  readonly changes: ReadonlyArray<string>
  readonly log: "none" | "write" | "snapshot"
  readonly child: boolean
}

const step: fc.Arbitrary<Step> = fc.record({
  back: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.nat(5)),
  changes: fc.subarray(["a", "b", "c"]),
  log: fc.oneof(
    { weight: 3, arbitrary: fc.constant("write" as const) },
    { weight: 1, arbitrary: fc.constant("none" as const) },
    { weight: 1, arbitrary: fc.constant("snapshot" as const) }
  ),
  child: fc.boolean()
})

/** Writes a history as LangGraph would, with forks, a delta channel `log` (if any) and subgraphs; gives the ids of the root's, oldest first. */
const write = async (saver: Checkpointer.Service, threadId: string, steps: ReadonlyArray<Step>, delta: boolean) => {
  type Versions = Record<string, number>
  const chain: Array<{ readonly config: Config; readonly versions: Versions }> = []
  const roots: Array<string> = []
  for (const [index, { back, changes, child, log }] of steps.entries()) {
    const parent = chain[Math.max(0, chain.length - 1 - back)]
    if (delta && parent !== undefined && log !== "none")
      await saver.putWrites(parent.config, [["log", [index]]], `task ${index}`)
    const versions: Versions = { ...parent?.versions }
    const values: Record<string, unknown> = {}
    const fresh: Versions = {}
    const change = (channel: string, value?: unknown) => {
      fresh[channel] = saver.getNextVersion(versions[channel])
      if (value !== undefined) values[channel] = value
    }
    for (const channel of changes) change(channel, { index, text: "x".repeat(3000), of: channel })
    if (delta && log === "snapshot") change("log", new DeltaSnapshot([index]))
    else if (delta && log === "write") change("log")
    const checkpoint = { ...emptyCheckpoint(), channel_values: values, channel_versions: { ...versions, ...fresh } }
    const metadata = { source: "loop" as const, step: index, parents: {} }
    const config = (await saver.put(parent?.config ?? thread(threadId), checkpoint, metadata, fresh)) as Config
    await saver.putWrites(config, [["__interrupt__", { value: index }]], "asks")
    chain.push({ config, versions: checkpoint.channel_versions as Versions })
    roots.push(checkpoint.id)
    for (let inner = 0; child && inner < 2; inner++) {
      const inside = { ...emptyCheckpoint(), channel_values: { v: index }, channel_versions: { v: 1 + inner } }
      const about = { source: "loop" as const, step: inner, parents: { "": checkpoint.id } }
      await saver.put(thread(threadId, `sub:${index}`), inside, about, { v: 1 + inner })
    }
  }
  return roots
}

let threads = 0

/** The embedded database answers within one turn of the event loop; what else is to happen needs another. */
const turn = Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))

describe("which checkpoints stay", () => {
  const node = (id: number, more: Partial<plan.Node> = {}): plan.Node => ({
    namespace: "",
    id: String(id),
    parentId: id === 0 ? undefined : String(id - 1),
    time: id,
    parents: {},
    leansOnParent: false,
    ...more
  })
  const none: plan.Deltas = { channels: new Map(), holds: () => false }
  const kept = (nodes: ReadonlyArray<plan.Node>, policy: plan.Policy, deltas = none) =>
    [...plan.stay(nodes, policy, deltas)]
      .map((name) => (JSON.parse(name) as ReadonlyArray<string>).join("/").replace(/^\//, ""))
      .sort()
  const newestFirst = [5, 4, 3, 2, 1, 0].map((id) => node(id))

  it("the newest, those that are new enough, and at least one", () => {
    deepStrictEqual(kept(newestFirst, { keep: 2, since: Number.POSITIVE_INFINITY }), ["4", "5"])
    deepStrictEqual(kept(newestFirst, { keep: 1, since: 3 }), ["3", "4", "5"])
    deepStrictEqual(kept(newestFirst, { keep: 1, since: 100 }), ["5"])
  })

  it("the ancestors from which a delta channel is put together, and the parent that holds what tasks sent", () => {
    const deltas = { channels: new Map([["", new Set(["log"])]]), holds: (each: plan.Node) => each.id === "2" }
    deepStrictEqual(kept(newestFirst, { keep: 1, since: Number.POSITIVE_INFINITY }, deltas), ["2", "3", "4", "5"])
    const leaning = newestFirst.map((each) => ({ ...each, leansOnParent: each.id === "5" }))
    deepStrictEqual(kept(leaning, { keep: 1, since: Number.POSITIVE_INFINITY }), ["4", "5"])
  })

  it("a subgraph's with the checkpoint that they belong to, and the newest of a subgraph with a memory of its own", () => {
    const inner = (namespace: string, id: number, parents: Record<string, string>) =>
      node(id, { namespace, parentId: undefined, parents })
    const nodes = [
      node(2),
      node(1),
      inner("a:1", 9, { "": "1" }),
      inner("a:2", 11, { "": "2" }),
      inner("a:2", 10, { "": "2" }),
      inner("a:2|b:7", 12, { "": "2", "a:2": "11" }),
      inner("a:2|b:6", 13, { "": "2", "a:2": "10" }),
      inner("memory", 6, { "": "1" }),
      inner("memory", 5, { "": "1" }),
      inner("gone:1", 8, { "": "0" }),
      inner("gone:1", 7, { "": "0" })
    ]
    deepStrictEqual(kept(nodes, { keep: 1, since: Number.POSITIVE_INFINITY }), [
      "2",
      "a:2/11",
      "a:2|b:7/12",
      "gone:1/8",
      "memory/6"
    ])
  })
})

for (const backend of TestDatabases.backends) {
  describe(`Retention on ${backend.name}`, () => {
    it.layer(backend.layer)((it) => {
      const forms = [
        ["plain", {}],
        ["compressed and encrypted", { compression: true, encryption }]
      ] as const
      for (const [form, options] of forms) {
        it.scoped(
          `whatever the history, what stays after pruning, and a copy, reads as before (${form})`,
          () =>
            Effect.gen(function* () {
              const saver = yield* Checkpointer.make(options)
              const runtime = yield* Effect.runtime<SqlClient.SqlClient>()
              const lost = () => Effect.runPromise(Effect.provide(unreachable, runtime))
              const history = fc.record({
                steps: fc.array(step, { minLength: 1, maxLength: 9 }),
                keep: fc.integer({ min: 1, max: 4 }),
                delta: fc.boolean()
              })
              yield* Effect.promise(() =>
                fc.assert(
                  fc.asyncProperty(history, async ({ delta, keep, steps }) => {
                    const [one, two] = [`t${threads++}`, `t${threads++}`]
                    const roots = await write(saver, one, steps, delta)
                    const before = await readAll(saver, one)
                    assert.strictEqual(await saver.copyThread(one, two), before.size)
                    deepStrictEqual(await readAll(saver, two), before)

                    const planned = await saver.prune({ threadId: one, keep, dryRun: true })
                    deepStrictEqual(await readAll(saver, one), before)
                    const report = await saver.prune({ threadId: one, keep })
                    deepStrictEqual([report.removed, report.kept], [planned.removed, planned.kept])
                    const after = await readAll(saver, one)
                    assert.strictEqual(report.removed + after.size, before.size)
                    for (const [name, tuple] of after) deepStrictEqual(tuple, before.get(name))
                    for (const id of roots.slice(-keep)) assert.isTrue(after.has(` ${id}`))
                    const stays = [...after.keys()].filter((name) => name.startsWith(" ")).length
                    if (!delta) assert.strictEqual(stays, Math.min(keep, roots.length))
                    for (const name of after.keys()) {
                      const [, index] = /^sub:(\d+)/.exec(name) ?? []
                      if (index !== undefined) assert.isTrue(after.has(` ${roots[Number(index)]}`))
                    }
                    deepStrictEqual(await lost(), [])

                    await saver.deleteThread(one)
                    deepStrictEqual(await readAll(saver, two), before)
                    await saver.deleteThread(two)
                    deepStrictEqual(await lost(), [])
                  }),
                  { numRuns: 8, seed: 7, endOnFailure: true }
                )
              )
            }),
          60_000
        )
      }

      it.scoped("goes by age, and keeps the newest whatever its age", () =>
        Effect.gen(function* () {
          yield* TestClock.setTime(Date.now())
          const saver = yield* Checkpointer.make()
          const old = new Date(Date.now() - 40 * 86_400_000).toISOString()
          yield* Effect.promise(async () => {
            for (const [id, ages] of [
              ["mixed", [true, true, false, false]],
              ["all old", [true, true, true]]
            ] as const) {
              let config = thread(id)
              for (const isOld of ages) {
                const checkpoint = { ...emptyCheckpoint(), ...(isOld ? { ts: old } : {}) }
                config = (await saver.put(config, checkpoint, { source: "loop", step: 0, parents: {} }, {})) as Config
              }
            }
            const report = await saver.prune({ olderThan: "30 days" })
            deepStrictEqual(
              report.threads.map(({ kept, removed, threadId }) => [threadId, removed, kept]),
              [
                ["all old", 2, 1],
                ["mixed", 2, 2]
              ]
            )
            const planned = await saver.expire({ olderThan: "30 days", dryRun: true })
            deepStrictEqual([planned.removed, (await ids(saver, thread("all old"))).length], [1, 1])
            await saver.expire({ olderThan: new Date(Date.now() - 30 * 86_400_000) })
            deepStrictEqual(
              [(await ids(saver, thread("all old"))).length, (await ids(saver, thread("mixed"))).length],
              [0, 2]
            )
            await saver.deleteThread("mixed")
          })
        })
      )

      it.scoped("refuses what says nothing, and a copy onto a thread that is there", () =>
        Effect.gen(function* () {
          const retention = yield* Retention.make()
          const saver = yield* Checkpointer.make()
          for (const effect of [
            retention.prune({}),
            retention.prune({ keep: 0 }),
            retention.prune({ keep: 1.5 }),
            retention.prune({ olderThan: "soon" as never }),
            retention.prune({ olderThan: "-1 days" }),
            retention.expire({ olderThan: -5 }),
            retention.prune({ threadId: "", keep: 1 }),
            retention.expire({ olderThan: new Date(Number.NaN) }),
            retention.copyThread("a", "b\u0000")
          ]) {
            const error = yield* Effect.flip(
              Effect.asVoid<unknown, CheckpointError | CheckpointNotFoundError, never>(effect)
            )
            assert.deepInclude(error, { _tag: "CheckpointError", reason: "Invalid" })
          }
          const put = (id: string) =>
            Effect.promise(() => saver.put(thread(id), emptyCheckpoint(), { source: "loop", step: 0, parents: {} }, {}))
          yield* put("from")
          yield* put("taken")
          assert.strictEqual(
            (yield* Effect.flip(retention.copyThread("nowhere", "to")))._tag,
            "CheckpointNotFoundError"
          )
          const taken = yield* Effect.flip(retention.copyThread("from", "taken"))
          assert.match(taken.message, /"taken" is stored already/)
          deepStrictEqual(yield* retention.prune({ threadId: "nowhere", keep: 1 }), {
            threads: [],
            looked: 1,
            removed: 0,
            kept: 0,
            bytes: 0
          })
        })
      )

      it.scoped("a value that does not open stops a copy, and names key and thread", () =>
        Effect.gen(function* () {
          const saver = yield* Checkpointer.make({ encryption })
          const checkpoint = { ...emptyCheckpoint(), channel_values: { a: 1 }, channel_versions: { a: 1 } }
          yield* Effect.promise(() =>
            saver.put(thread("sealed"), checkpoint, { source: "loop", step: 0, parents: {} }, { a: 1 })
          )
          const retention = yield* Retention.make()
          const error = yield* Effect.flip(retention.copyThread("sealed", "opened"))
          assert.deepInclude(error, { reason: "Key", keyId: "k", threadId: "sealed" })
          deepStrictEqual(yield* Effect.promise(() => ids(saver, thread("opened"))), [])
        })
      )

      it.scoped("loses nothing of what is written to the thread meanwhile", () =>
        Effect.gen(function* () {
          const saver = yield* Checkpointer.make({ compression: true })
          const retention = yield* Retention.make()
          const written = yield* Deferred.make<void>()
          const pruning = yield* retention
            .prune({ threadId: "busy", keep: 1 })
            .pipe(Effect.zipLeft(turn), Effect.repeat({ until: () => Deferred.isDone(written) }), Effect.fork)
          const last = yield* Effect.promise(async () => {
            let parent: { readonly config: Config; readonly versions: Record<string, number> } = {
              config: thread("busy"),
              versions: {}
            }
            const values: Record<string, unknown> = {}
            for (let index = 0; index < 25; index++) {
              const channel = `c${index % 7}`
              const version = saver.getNextVersion(parent.versions[channel])
              values[channel] = { index, text: "y".repeat(4000) }
              const checkpoint = {
                ...emptyCheckpoint(),
                channel_values: { ...values },
                channel_versions: { ...parent.versions, [channel]: version }
              }
              const config = (await saver.put(
                parent.config,
                checkpoint,
                { source: "loop", step: index, parents: {} },
                { [channel]: version }
              )) as Config
              parent = { config, versions: checkpoint.channel_versions }
              await saver.putWrites(config, [["out", index]], "t")
              deepStrictEqual((await saver.getTuple(config))?.checkpoint.channel_values, values)
            }
            return { ...parent, values }
          })
          yield* Deferred.succeed(written, undefined)
          yield* Fiber.join(pruning)
          yield* retention.prune({ threadId: "busy", keep: 1 })
          const tuple = yield* Effect.promise(() => saver.getTuple(thread("busy")))
          deepStrictEqual(tuple?.checkpoint.channel_values, last.values)
          deepStrictEqual(tuple?.pendingWrites, [["t", "out", 24]])
          deepStrictEqual(yield* unreachable, [])
        })
      )

      it.scoped("leaves a thread alone that a run has, and a graph with subgraphs goes on after pruning", () =>
        Effect.gen(function* () {
          const saver = yield* Checkpointer.make()
          const retention = yield* Retention.make()
          const reached = yield* Deferred.make<void>()
          const go = yield* Deferred.make<void>()
          const State = Annotation.Root({
            log: Annotation<Array<string>>({ reducer: (a, b) => [...a, ...b], default: () => [] })
          })
          const inner = new StateGraph(State)
            .addNode("early", () => ({ log: ["early"] }))
            .addNode("asks", () => ({ log: [String(interrupt("well?"))] }))
            .addEdge(START, "early")
            .addEdge("early", "asks")
            .compile()
          const graph = new StateGraph(State)
            .addNode("first", () => ({ log: ["first"] }))
            .addNode("inner", inner)
            .addNode("last", async () => {
              await Effect.runPromise(Effect.zipRight(Deferred.succeed(reached, undefined), Deferred.await(go)))
              return { log: ["last"] }
            })
            .addEdge(START, "first")
            .addEdge("first", "inner")
            .addEdge("inner", "last")
            .compile({ checkpointer: saver })
          const config = { configurable: { thread_id: "graph" } }
          yield* Effect.promise(() => graph.invoke({ log: ["in"] }, config))
          const waiting = yield* Effect.promise(() => graph.getState(config, { subgraphs: true }))
          const pruned = yield* Effect.repeat(Effect.zipLeft(retention.prune({ threadId: "graph", keep: 1 }), turn), {
            until: (report) => report.threads.every((each) => !each.busy)
          })
          assert.isAbove(pruned.removed, 0)
          deepStrictEqual(
            JSON.stringify(yield* Effect.promise(() => graph.getState(config, { subgraphs: true }))),
            JSON.stringify(waiting)
          )
          const running = yield* Effect.fork(Effect.promise(() => graph.invoke(new Command({ resume: "yes" }), config)))
          yield* Deferred.await(reached)
          const busy = yield* retention.prune({ threadId: "graph", keep: 1 })
          deepStrictEqual(
            busy.threads.map(({ busy, removed }) => [busy, removed]),
            [[true, 0]]
          )
          const spared = yield* retention.expire({ threadId: "graph", olderThan: new Date(Date.now() + 60_000) })
          deepStrictEqual(spared.removed, 0)
          yield* Deferred.succeed(go, undefined)
          const ended = yield* Fiber.join(running)
          assert.include(ended.log, "yes")
          assert.include(ended.log, "last")
        })
      )

      it.scoped("a graph with a delta channel has its state after pruning, and goes on", () =>
        Effect.gen(function* () {
          const saver = yield* Checkpointer.make()
          const State = Annotation.Root({
            log: new DeltaChannel<Array<string>, Array<string>>((state, writes) => [...state, ...writes.flat()], {
              snapshotFrequency: 4
            }) as never,
            other: Annotation<number>()
          })
          const graph = new StateGraph(State)
            .addNode("a", () => ({ log: ["a"], other: 1 }) as never)
            .addNode("b", () => ({ log: ["b"], other: 2 }) as never)
            .addEdge(START, "a")
            .addEdge("a", "b")
            .compile({ checkpointer: saver })
          const config = { configurable: { thread_id: "delta graph" } }
          const logOf = async (): Promise<unknown> =>
            ((await graph.getState(config)).values as { readonly log: unknown }).log
          yield* Effect.promise(async () => {
            for (let run = 0; run < 4; run++) {
              await graph.invoke({ log: [`run ${run}`] } as never, config)
              const before = await logOf()
              let removed = 0
              for (let tries = 0; tries < 200; tries++) {
                const report = await saver.prune({ threadId: "delta graph", keep: 1 })
                removed += report.removed
                if (report.threads.every((each) => !each.busy)) break
                await new Promise((resolve) => setImmediate(resolve))
              }
              deepStrictEqual(await logOf(), before)
              if (run === 3) assert.isAbove(removed, 0)
            }
            assert.strictEqual(((await logOf()) as ReadonlyArray<string>).length, 12)
          })
        })
      )

      it.scoped("prunes the saves of workflows, which go on", () =>
        Effect.gen(function* () {
          const manager = yield* CheckpointManager.make()
          const retention = yield* Retention.make()
          const save = (phase: string) => manager.save({ workflowId: "w", phase, state: phase, schema: Schema.String })
          for (const phase of ["one", "two", "three"]) yield* save(phase)
          const report = yield* retention.prune({ threadId: "w", keep: 1 })
          assert.strictEqual(report.removed, 2)
          assert.strictEqual((yield* manager.resume("w", Schema.String)).state, "three")
          assert.strictEqual((yield* save("four")).step, 3)
        })
      )

      it.scoped("one sweeper of several removes what nobody has used for a time", () =>
        Effect.gen(function* () {
          yield* TestClock.setTime(Date.now())
          const saver = yield* Checkpointer.make()
          const old = { ...emptyCheckpoint(), ts: new Date(0).toISOString() }
          yield* Effect.promise(() => saver.put(thread("forgotten"), old, { source: "loop", step: 0, parents: {} }, {}))
          const sweepers = Layer.merge(
            Layer.fresh(Retention.layerSweeper({ ttl: "30 days", interval: "1 hour" })),
            Layer.fresh(Retention.layerSweeper({ ttl: "30 days", interval: "1 hour" }))
          )
          yield* Effect.repeat(
            Effect.zipLeft(
              Effect.promise(() => ids(saver, thread("forgotten"))),
              turn
            ),
            { until: (found) => found.length === 0 }
          ).pipe(Effect.provide(sweepers))
          const sql = yield* SqlClient.SqlClient
          const claims =
            yield* sql`select writes::int as writes from holdfast_leases where thread_id = 'holdfast:sweep'`
          deepStrictEqual(claims, [{ writes: 0 }])
          for (const options of [{}, { ttl: "1 day", interval: 0 }] as const) {
            assert.isTrue(Exit.isFailure(yield* Effect.exit(Layer.launch(Retention.layerSweeper(options)))))
          }
        })
      )

      it.scoped("filters by metadata over an index, and lists threads from key to key", () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          yield* Checkpointer.make({ schema: "large" })
          yield* sql`insert into large.checkpoints (thread_id, checkpoint_ns, checkpoint_id, checkpoint, metadata)
            select 't' || (i % 20), '', lpad(i::text, 8, '0'), '{}', jsonb_build_object('step', i, 'source', 'loop', 'user', 'u' || (i % 1000))
            from generate_series(1, 20000) i`
          yield* sql`vacuum analyze large.checkpoints`
          const tables = statements.tables("large")
          const text = statements.make(tables)
          const explain = (statement: string, parameters: ReadonlyArray<unknown>) =>
            Effect.map(sql.unsafe<Record<string, string>>(`explain ${statement}`, parameters), (rows) =>
              rows.map((row) => Object.values(row)[0]).join("\n")
            )
          const filtered = yield* explain(loading.make(tables, false).chosen("where metadata @> $1::text::jsonb", 10), [
            JSON.stringify({ user: "u7" })
          ])
          assert.match(filtered, /checkpoints_metadata_idx/)
          const listed = yield* explain(text.newest(5), ["holdfast:workflow"])
          assert.notMatch(listed, /Seq Scan on checkpoints/)
        })
      )
    })
  })
}
