/** One writer a thread: who is refused, who is not, and that nothing is lost. */
import { deepStrictEqual } from "node:assert"
import { hostname } from "node:os"
import { setTimeout as sleep } from "node:timers/promises"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import type { RunnableConfig } from "@langchain/core/runnables"
import { Annotation, Command, END, interrupt, Send, START, StateGraph } from "@langchain/langgraph"
import { type BaseCheckpointSaver, emptyCheckpoint } from "@langchain/langgraph-checkpoint"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as fc from "fast-check"
import { ThreadBusyError } from "../../src/checkpoint/CheckpointError.js"
import * as Checkpointer from "../../src/checkpoint/Checkpointer.js"
import * as fencing from "../../src/checkpoint/internal/fencing.js"
import * as store from "../../src/checkpoint/internal/store.js"
import * as Database from "../../src/database/Database.js"
import * as ProcessIdentity from "../../src/database/internal/processIdentity.js"
import * as CountingProxy from "../support/countingProxy.js"
import * as TestDatabases from "../support/databases.js"
import * as processes from "../support/processes.js"

const State = Annotation.Root({
  log: Annotation<ReadonlyArray<string>>({ reducer: (left, right) => [...left, ...right], default: () => [] })
})

/** A door that a node waits at, and word that one has come to it. */
const door = () => {
  let open = () => {}
  let arrive = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  const arrived = new Promise<void>((resolve) => {
    arrive = resolve
  })
  return {
    open,
    arrived,
    wait: () => {
      arrive()
      return opened
    }
  }
}

const thread = (thread_id: string) => ({ configurable: { thread_id } })

/** `a`, then `b`; each of them may wait at a door, fail, or ask. */
const pair = (
  checkpointer: BaseCheckpointSaver,
  nodes: { readonly a?: () => unknown; readonly b?: () => unknown } = {},
  compile: { readonly interruptBefore?: ["b"] } = {}
) =>
  new StateGraph(State)
    .addNode("a", async () => {
      const said = await nodes.a?.()
      return { log: [said === undefined ? "a" : `a:${String(said)}`] }
    })
    .addNode("b", async () => {
      const said = await nodes.b?.()
      return { log: [said === undefined ? "b" : `b:${String(said)}`] }
    })
    .addEdge(START, "a")
    .addEdge("a", "b")
    .addEdge("b", END)
    .compile({ checkpointer, ...compile })

const refusal = async (promise: Promise<unknown>): Promise<ThreadBusyError> => {
  const error = await promise.then(
    (value) => assert.fail(`was not refused: ${JSON.stringify(value)}`),
    (error: unknown) => error
  )
  if (!(error instanceof ThreadBusyError)) throw error
  return error
}

/** Asks until the answer is right, with time for others in between. */
const eventually = <A, E, R>(self: Effect.Effect<A, E, R>, until: (a: A) => boolean): Effect.Effect<A, E, R> =>
  Effect.flatMap(self, (a) =>
    until(a)
      ? Effect.succeed(a)
      : Effect.zipRight(
          Effect.promise(() => sleep(5)),
          eventually(self, until)
        )
  )

/** The chain from the newest checkpoint to the first, and how many checkpoints there are. */
const chain = async (saver: BaseCheckpointSaver, threadId: string) => {
  const parents = new Map<string, string | undefined>()
  for await (const { checkpoint, parentConfig } of saver.list(thread(threadId))) {
    parents.set(checkpoint.id, parentConfig?.configurable?.["checkpoint_id"] as string | undefined)
  }
  let length = 0
  let id: string | undefined = parents.keys().next().value
  while (id !== undefined) {
    assert.isTrue(parents.has(id), `the parent ${id} is stored`)
    length++
    id = parents.get(id)
  }
  return { length, stored: parents.size }
}

for (const backend of TestDatabases.backends) {
  describe(`writers on ${backend.name}`, () => {
    it.layer(Layer.provideMerge(Checkpointer.layer(), backend.layer))((it) => {
      const using = (run: (saver: Checkpointer.Service) => Promise<void>) => () =>
        Effect.flatMap(Checkpointer.Checkpointer, (saver) => Effect.promise(() => run(saver)))

      it.effect(
        "of two runs that begin at once one wins, the other is told who has the thread",
        using(async (saver) => {
          const graph = pair(saver)
          for (const durability of ["sync", "async", "exit"] as const) {
            const id = `at once, ${durability}`
            const results = await Promise.allSettled(
              ["x", "y"].map((input) => graph.invoke({ log: [input] }, { ...thread(id), durability }))
            )
            const [won, ...more] = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []))
            const [lost] = results.flatMap((result) => (result.status === "rejected" ? [result.reason] : []))
            deepStrictEqual(more, [])
            assert.instanceOf(lost, ThreadBusyError)
            assert.deepInclude(lost, { _tag: "ThreadBusyError", threadId: id, reason: "held", operation: "getTuple" })
            assert.include(lost.message, `"${id}"`)
            assert.include(lost.holder, String(process.pid))
            assert.isTrue(Math.abs(Date.now() - (lost.since?.getTime() ?? 0)) < 60_000)
            deepStrictEqual(won?.log.slice(1), ["a", "b"])
            deepStrictEqual((await graph.getState(thread(id))).values, won)
            const { length, stored } = await chain(saver, id)
            assert.strictEqual(length, stored)
          }
        })
      )

      it.effect(
        "a run that is in a node keeps its thread, and the next one goes on behind it",
        using(async (saver) => {
          const gate = door()
          const slow = pair(saver, { a: gate.wait })
          const first = slow.invoke({ log: ["one"] }, thread("slow"))
          await gate.arrived
          const error = await refusal(pair(saver).invoke({ log: ["two"] }, thread("slow")))
          assert.strictEqual(error.reason, "held")
          // nothing else may be written in between either; reading is free
          assert.strictEqual((await refusal(slow.updateState(thread("slow"), { log: ["u"] }, "a"))).reason, "held")
          assert.strictEqual((await slow.getState(thread("slow"))).next.join(), "a")
          // another thread is not concerned
          deepStrictEqual((await pair(saver).invoke({ log: [] }, thread("slow too"))).log, ["a", "b"])
          gate.open()
          deepStrictEqual((await first).log, ["one", "a", "b"])
          deepStrictEqual((await pair(saver).invoke({ log: ["two"] }, thread("slow"))).log, [
            "one",
            "a",
            "b",
            "two",
            "a",
            "b"
          ])
        })
      )

      it.effect(
        "however a run ends, the next one may begin at once",
        using(async (saver) => {
          const asking = pair(saver, { b: () => interrupt("may I?") })
          assert.property(await asking.invoke({ log: [] }, thread("asked")), "__interrupt__")
          deepStrictEqual((await asking.invoke(new Command({ resume: "yes" }), thread("asked"))).log, ["a", "b:yes"])

          const paused = pair(saver, {}, { interruptBefore: ["b"] })
          await paused.invoke({ log: [] }, thread("paused"))
          await paused.updateState(thread("paused"), { log: ["by hand"] })
          deepStrictEqual((await paused.invoke(null, thread("paused"))).log, ["a", "by hand", "b"])

          let fails = true
          const failing = pair(saver, {
            b: () => {
              if (fails) throw new TypeError("not yet")
            }
          })
          const error = await failing.invoke({ log: [] }, thread("failed")).catch((error: unknown) => error)
          assert.instanceOf(error, TypeError)
          fails = false
          deepStrictEqual((await failing.invoke(null, thread("failed"))).log, ["a", "b"])

          const limited = await pair(saver)
            .invoke({ log: [] }, { ...thread("limited"), recursionLimit: 1 })
            .catch((error: unknown) => error)
          assert.strictEqual((limited as Error).name, "GraphRecursionError")
          deepStrictEqual((await pair(saver).invoke(null, thread("limited"))).log, ["a", "b"])

          const controller = new AbortController()
          const hangs = () => {
            controller.abort()
            return new Promise<never>(() => {})
          }
          const aborted = pair(saver, { b: hangs })
          await aborted.invoke({ log: [] }, { ...thread("aborted"), signal: controller.signal }).catch(() => {})
          deepStrictEqual((await pair(saver).invoke(null, thread("aborted"))).log, ["a", "b"])

          // LangGraph runs on behind a stream that is only left; one that is cancelled it ends
          const gate = door()
          const stream = await pair(saver, { b: gate.wait }).stream({ log: [] }, thread("left"))
          await gate.arrived
          await stream.cancel()
          deepStrictEqual((await pair(saver).invoke(null, thread("left"))).log, ["a", "b"])
          gate.open()
        })
      )

      it.effect(
        "a stream that nobody reads keeps its thread while its nodes run",
        using(async (saver) => {
          const gate = door()
          const stream = await pair(saver, { a: gate.wait }).stream(
            { log: ["one"] },
            { ...thread("unread"), streamMode: "values" }
          )
          await gate.arrived
          await refusal(pair(saver).invoke({ log: ["two"] }, thread("unread")))
          gate.open()
          for await (const _ of stream) {
            // to its end
          }
          deepStrictEqual((await pair(saver).getState(thread("unread"))).values.log, ["one", "a", "b"])
        })
      )

      it.effect(
        "parallel branches, sends, subgraphs and a node's own updates belong to their run",
        using(async (saver) => {
          const inner = new StateGraph(State)
            .addNode("i", () => ({ log: ["i"] }))
            .addNode("j", () => ({ log: [`j:${interrupt<string, string>("inside?")}`] }))
            .addEdge(START, "i")
            .addEdge("i", "j")
            .compile()
          const graph = new StateGraph(State)
            .addNode("fan", () => ({ log: ["fan"] }))
            .addNode("each", ({ n }: { readonly n?: number }) => ({ log: [`each:${n}`] }))
            .addNode("inner", inner)
            .addNode("own", async () => {
              await saver.put(
                { configurable: { thread_id: "family", checkpoint_ns: "beside" } },
                emptyCheckpoint(),
                { source: "update", step: 0, parents: {} },
                {}
              )
              await graph.getState(thread("family"))
              return { log: ["own"] }
            })
            .addEdge(START, "fan")
            .addConditionalEdges("fan", () => [1, 2, 3, 4, 5].map((n) => new Send("each", { n })), ["each"])
            .addEdge("each", "inner")
            .addEdge("inner", "own")
            .compile({ checkpointer: saver })
          const asked = await graph.invoke({ log: [] }, thread("family"))
          assert.property(asked, "__interrupt__")
          const done = await graph.invoke(new Command({ resume: "yes" }), thread("family"))
          assert.include(done.log.join(), "j:yes,own")
        })
      )

      it.effect(
        "a fork of an older checkpoint runs, and not beside another run",
        using(async (saver) => {
          const graph = pair(saver)
          await graph.invoke({ log: ["in"] }, thread("fork"))
          const states = []
          for await (const state of graph.getStateHistory(thread("fork"))) states.push(state)
          const before = states.find((state) => state.next.includes("b"))
          assert.isDefined(before)
          const fork = await graph.updateState(before.config, { log: ["forked"] }, "a")
          deepStrictEqual((await graph.invoke(null, fork)).log, ["in", "a", "forked", "b"])
          deepStrictEqual((await graph.invoke(null, before.config)).log, ["in", "a", "b"])
          const gate = door()
          const running = pair(saver, { b: gate.wait }).invoke(null, before.config)
          await gate.arrived
          await refusal(graph.invoke(null, fork))
          gate.open()
          await running
        })
      )

      it.effect("a thread that is deleted under a run is not brought back in pieces", () =>
        Effect.gen(function* () {
          const saver = yield* Checkpointer.Checkpointer
          const sql = yield* SqlClient.SqlClient
          yield* Effect.promise(async () => {
            // with async the refusal must not reach the process before LangGraph listens to it
            for (const durability of ["sync", "async"] as const) {
              const [first, second] = [door(), door()]
              const config = { ...thread("gone"), durability }
              const running = pair(saver, { a: first.wait, b: second.wait }).invoke({ log: [] }, config)
              await first.arrived
              await saver.deleteThread("gone")
              first.open()
              if (durability === "async") {
                await second.arrived
                await sleep(50)
                second.open()
              }
              const error = await refusal(running)
              assert.strictEqual(error.reason, "lost")
              assert.match(error.message, /deleted/)
            }
          })
          deepStrictEqual(yield* sql`select 1 from checkpoint_writes where thread_id = 'gone'`, [])
          deepStrictEqual(yield* sql`select 1 from checkpoints where thread_id = 'gone'`, [])
          yield* Effect.promise(() => pair(saver).invoke({ log: [] }, thread("gone")))
        })
      )

      it.effect(
        "of another process: a lease is void when it is gone from this machine, and waited for when it comes back in a moment",
        () =>
          Effect.gen(function* () {
            const sql = yield* SqlClient.SqlClient
            const rows = yield* store.make()
            const lease = (threadId: string, space: string | undefined) => {
              const holder = JSON.stringify({ pid: 2 ** 30, host: hostname(), instance: "another", space })
              return sql`insert into holdfast_leases (thread_id, run, holder, since, expires_at, writes)
              values (${threadId}, 'theirs', ${holder}, now(), now() + interval '1 hour', 0)`
            }
            const read = (threadId: string, from: store.Store) => {
              const options = { lease: Duration.hours(1), wait: Duration.zero, alone: false }
              const config: RunnableConfig = Object.assign(thread(threadId), { control: {} })
              return Effect.flatMap(fencing.make(from, options), ({ read }) =>
                read("getTuple", { threadId, namespace: "", limit: 1 }, config)
              ).pipe(Effect.scoped)
            }
            yield* lease("here", ProcessIdentity.space())
            yield* read("here", rows)
            // a machine of the same name
            yield* lease("there", "elsewhere")
            assert.instanceOf(yield* Effect.flip(read("there", rows)), ThreadBusyError)
            yield* lease("ending", "elsewhere")
            let asked = 0
            yield* read("ending", {
              ...rows,
              claim: (...all) =>
                Effect.tap(rows.claim(...all), () =>
                  asked++ === 0
                    ? Effect.orDie(sql`update holdfast_leases set expires_at = '-infinity' where thread_id = 'ending'`)
                    : Effect.void
                )
            })
            assert.strictEqual(asked, 2)
          })
      )

      it.effect(
        "a checkpoint's two steps at once are one run's: what knows no run is not asked for one",
        using(async (saver) => {
          const checkpoint = emptyCheckpoint()
          const config = { configurable: { thread_id: "bare", checkpoint_ns: "" } }
          await Promise.all([
            saver.put(config, checkpoint, { source: "loop", step: 0, parents: {} }, {}),
            saver.put(config, emptyCheckpoint(), { source: "loop", step: 0, parents: {} }, {})
          ])
          assert.strictEqual((await chain(saver, "bare")).stored, 2)
        })
      )

      it.effect(
        "under any interleaving of two to eight runs one chain wins, and what was acknowledged is there",
        () =>
          Effect.all([Checkpointer.Checkpointer, Checkpointer.make()]).pipe(
            Effect.flatMap(([saver, other]) =>
              Effect.promise(async () => {
                let threads = 0
                await fc.assert(
                  fc.asyncProperty(
                    fc.array(
                      fc.record({
                        delay: fc.nat({ max: 12 }),
                        pause: fc.nat({ max: 8 }),
                        elsewhere: fc.boolean(),
                        durability: fc.constantFrom("sync" as const, "async" as const, "exit" as const)
                      }),
                      { minLength: 2, maxLength: 8 }
                    ),
                    async (runs) => {
                      const id = `property ${threads++}`
                      const turns = async (count: number) => {
                        for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve))
                      }
                      const results = await Promise.allSettled(
                        runs.map(async ({ delay, durability, elsewhere, pause }, index) => {
                          await turns(delay)
                          const nodes = { a: () => turns(pause), b: () => turns(pause) }
                          await pair(elsewhere ? other : saver, nodes).invoke(
                            { log: [`in:${index}`] },
                            { ...thread(id), durability }
                          )
                          return index
                        })
                      )
                      const won: Array<number> = []
                      for (const result of results) {
                        if (result.status === "fulfilled") won.push(result.value)
                        else if (!(result.reason instanceof ThreadBusyError)) throw result.reason
                      }
                      assert.isAtLeast(won.length, 1)
                      const { log } = (await pair(saver).getState(thread(id))).values
                      // one after the other, each whole
                      assert.strictEqual(log.length, 3 * won.length)
                      const inputs = log.filter((_: string, at: number) => at % 3 === 0)
                      deepStrictEqual(
                        log,
                        inputs.flatMap((input: string) => [input, "a", "b"])
                      )
                      deepStrictEqual(inputs.sort(), won.map((index) => `in:${index}`).sort())
                      const { length, stored } = await chain(saver, id)
                      assert.strictEqual(length, stored)
                    }
                  ),
                  { numRuns: 15 }
                )
              })
            ),
            Effect.scoped
          ),
        120_000
      )
    })

    it.scoped("waits for its turn, by option; several savers see each other", () =>
      Effect.gen(function* () {
        const [one, two] = yield* Effect.all([Checkpointer.make(), Checkpointer.make({ waitForThread: "60 seconds" })])
        yield* Effect.promise(async () => {
          const gate = door()
          const first = pair(one, { a: gate.wait }).invoke({ log: ["one"] }, thread("t"))
          await gate.arrived
          await refusal(pair(one).invoke({ log: ["no"] }, thread("t")))
          const waiting = [2, 3].map((n) => pair(two).invoke({ log: [`${n}`] }, thread("t")))
          gate.open()
          await Promise.all([first, ...waiting])
          const { log } = (await pair(one).getState(thread("t"))).values
          assert.strictEqual(log[0], "one")
          assert.strictEqual(log.length, 9)
          deepStrictEqual([...log].sort().slice(0, 2), ["2", "3"])
        })
      }).pipe(Effect.provide(backend.layer))
    )

    it.scoped("a run that is at work keeps its thread for longer than a lease is good", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const one = yield* Checkpointer.make({ leaseTime: "1 second" })
        const two = yield* Checkpointer.make()
        const gate = door()
        const running = pair(one, { a: gate.wait }).invoke({ log: [] }, thread("long"))
        yield* Effect.promise(() => gate.arrived)
        // with calls of other runs all the while
        const busy = Effect.promise(() => pair(one).invoke({ log: [] }, thread("other")))
        const past = sql`select 1 from holdfast_leases
          where thread_id = 'long' and since + interval '2500 milliseconds' < clock_timestamp()`
        yield* eventually(Effect.zipRight(busy, past), (rows) => rows.length === 1)
        yield* Effect.promise(() => refusal(pair(two).invoke({ log: [] }, thread("long"))))
        gate.open()
        deepStrictEqual((yield* Effect.promise(() => running)).log, ["a", "b"])
      }).pipe(Effect.provide(backend.layer))
    )

    it.scoped("gives leases back: with the last checkpoint, after a pause, and when the layer closes", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const held = sql<{ thread_id: string }>`
          select thread_id from holdfast_leases where expires_at > clock_timestamp() order by thread_id`
        const gate = door()
        let left: Promise<unknown> = Promise.resolve()
        yield* Effect.gen(function* () {
          const saver = yield* Checkpointer.make()
          yield* Effect.promise(() => pair(saver).invoke({ log: [] }, thread("ended")))
          yield* eventually(held, (rows) => rows.length === 0)
          yield* Effect.promise(() => pair(saver, { b: () => interrupt("?") }).invoke({ log: [] }, thread("asked")))
          yield* eventually(held, (rows) => rows.length === 0)
          left = pair(saver, { a: gate.wait }).invoke({ log: [] }, { ...thread("left"), durability: "sync" })
          yield* Effect.promise(() => gate.arrived)
          deepStrictEqual(yield* held, [{ thread_id: "left" }])
        }).pipe(Effect.scoped)
        deepStrictEqual(yield* held, [])
        gate.open()
        const error = yield* Effect.promise(() => left.catch((error: unknown) => error))
        assert.strictEqual((error as Checkpointer.CheckpointError).reason, "Closed")
      }).pipe(Effect.provide(backend.layer))
    )
  })
}

const [, postgres] = TestDatabases.backends
if (postgres === undefined) throw new Error("two processes need a server")

describe("a thread that is deleted", () => {
  it.scopedLive("takes with it what was being written under its lease, and what is written later is refused", () =>
    Effect.gen(function* () {
      const { url = "" } = yield* postgres.create
      const database = Database.layerPostgres({ url: Redacted.make(url) })
      yield* Effect.gen(function* () {
        const saver = yield* Checkpointer.Checkpointer
        const sql = yield* SqlClient.SqlClient
        const gate = door()
        const running = pair(saver, { a: gate.wait }).invoke({ log: [] }, { ...thread("gone"), durability: "sync" })
        yield* Effect.promise(() => gate.arrived)
        let deleting: Promise<void> | undefined
        yield* sql.withTransaction(
          Effect.gen(function* () {
            // as a write of a task does, here so slowly that the deletion comes in between
            yield* sql`select 1 from holdfast_leases where thread_id = 'gone' for share`
            yield* sql`insert into checkpoint_writes (thread_id, checkpoint_id, task_id, idx, channel, blob)
              values ('gone', 'c', 't', 0, 'log', '')`
            deleting = saver.deleteThread("gone")
            const waits = sql`select 1 from pg_locks where not granted`
            yield* Effect.repeat(waits, {
              until: (rows) => rows.length > 0,
              schedule: Schedule.spaced("5 millis")
            })
          })
        )
        yield* Effect.promise(async () => deleting)
        deepStrictEqual(yield* sql`select 1 from checkpoint_writes where thread_id = 'gone'`, [])
        gate.open()
        assert.strictEqual((yield* Effect.promise(() => refusal(running))).reason, "lost")
        for (const table of ["checkpoints", "checkpoint_blobs", "checkpoint_writes"]) {
          deepStrictEqual(yield* sql`select 1 from ${sql(table)} where thread_id = 'gone'`, [], table)
        }
      }).pipe(Effect.provide(Layer.provideMerge(Checkpointer.layer(), database)))
    })
  )
})

describe("what one writer a thread costs", () => {
  it.scoped("makes no round trip of its own, counted at the wire", () =>
    Effect.gen(function* () {
      const { url = "" } = yield* postgres.create
      const proxy = yield* Effect.acquireRelease(
        Effect.promise(() => CountingProxy.start(url)),
        (proxy) => Effect.promise(() => proxy.stop())
      )
      yield* Effect.promise(async () => {
        await using saver = Checkpointer.fromUrl(proxy.url, { maxConnections: 1 })
        const config = { ...thread("counted"), durability: "sync" as const }
        const counted = async (run: () => Promise<unknown>) => {
          const before = proxy.count()
          await run()
          return proxy.count() - before
        }
        // a statement's first run on a connection also describes it
        await pair(saver).invoke({ log: [] }, config)
        await pair(saver).invoke({ log: [] }, config)
        for (let round = 0; round < 3; round++) {
          // getTuple; put of the input and after START, a and b; putWrites of START, a and b
          assert.strictEqual(await counted(() => pair(saver).invoke({ log: [] }, config)), 1 + 4 + 3)
        }
        await pair(saver).updateState(config, { log: ["u"] }, "a")
        assert.strictEqual(await counted(() => pair(saver).updateState(config, { log: ["u"] }, "a")), 3)
      })
    })
  )
})

describe("writers in two processes", () => {
  const file = new URL("./fixtures/writer.ts", import.meta.url)

  it.scoped(
    "a process that is paused past its lease and wakes writes nothing more",
    () =>
      Effect.gen(function* () {
        const database = yield* postgres.create
        const zombie = yield* processes.start(file, { env: { ...database.env, LEASE: "300 millis" } })
        yield* zombie.saw("in a")
        yield* Effect.gen(function* () {
          const saver = yield* Checkpointer.make()
          const sql = yield* SqlClient.SqlClient
          // it lives, and renews its lease
          const first = yield* Effect.promise(() => refusal(pair(saver).invoke({ log: ["no"] }, thread("t"))))
          assert.include(first.holder, `process ${zombie.pid}`)
          yield* zombie.kill("SIGSTOP")
          const leases = sql`select 1 from holdfast_leases where expires_at > clock_timestamp()`
          yield* eventually(leases, (rows) => rows.length === 0)
          const done = yield* Effect.promise(() => pair(saver).invoke({ log: ["second"] }, thread("t")))
          deepStrictEqual(done.log, ["first", "second", "a", "b"])
          yield* zombie.kill("SIGCONT")
          yield* zombie.saw("refused: lost")
          assert.strictEqual((yield* zombie.exited).code, 0)
          const state = yield* Effect.promise(() => pair(saver).getState(thread("t")))
          deepStrictEqual(state.values.log, done.log)
          deepStrictEqual(
            yield* sql`select 1 from checkpoint_writes where convert_from(blob, 'utf8') like '%zombie%'`,
            []
          )
          const { length, stored } = yield* Effect.promise(() => chain(saver, "t"))
          assert.strictEqual(length, stored)
        }).pipe(Effect.provide(database.layer))
      }),
    120_000
  )

  it.scoped(
    "a run of a process that was killed does not hold its thread on the same machine",
    () =>
      Effect.gen(function* () {
        const database = yield* postgres.create
        const killed = yield* processes.start(file, { env: { ...database.env, LEASE: "1 hour" } })
        yield* killed.saw("in a")
        yield* killed.kill("SIGKILL")
        yield* killed.exited
        const done = yield* Effect.flatMap(Checkpointer.make(), (saver) =>
          Effect.promise(() => pair(saver).invoke(null, thread("t")))
        ).pipe(Effect.provide(database.layer))
        deepStrictEqual(done.log, ["first", "a", "b"])
      }),
    120_000
  )
})
