/** What is done once: tried again, resumed, killed and forked, on each checkpointer. */
import { deepStrictEqual } from "node:assert"
import { assert, describe, it } from "@effect/vitest"
import {
  Annotation,
  type BaseCheckpointSaver,
  interrupt,
  MemorySaver,
  Send,
  START,
  StateGraph
} from "@langchain/langgraph"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Agent from "../../src/agent/Agent.js"
import * as Checkpointer from "../../src/checkpoint/Checkpointer.js"
import * as Graph from "../../src/graph/Graph.js"
import * as Failure from "../../src/resilience/Failure.js"
import * as TestDatabases from "../support/databases.js"

const State = Annotation.Root({
  log: Annotation<ReadonlyArray<string>>({ reducer: (a, b) => [...a, ...b], default: () => [] }),
  order: Annotation<string>
})
type State = typeof State.State

/** The other side: what was asked of it, and under which key. */
class Bank {
  readonly charges: Array<readonly [order: string, key: string]> = []
  readonly charge = (order: string) => (key: string) =>
    Effect.sync(() => {
      this.charges.push([order, key])
      return { receipt: `${order}-${this.charges.length}` }
    })
}

const retry = { maxAttempts: 3, base: 1 } as const

/** A graph of one node, which charges and then does something that may fail, ask or be killed. */
const paying = (bank: Bank, after: (state: State) => Effect.Effect<unknown, Error>, saver: BaseCheckpointSaver) => {
  const agent = Agent.make(
    "pay",
    (state: State) =>
      Effect.gen(function* () {
        const { receipt } = yield* Agent.once(`charge-${state.order}`, bank.charge(state.order))
        const said = yield* after(state)
        return { log: [`${receipt} ${said}`] }
      }),
    { retry }
  )
  return Effect.map(Graph.node(agent), (pay) =>
    new StateGraph(State).addNode("pay", pay).addEdge(START, "pay").compile({ checkpointer: saver })
  )
}

const flaky = (times: number) => {
  let left = times
  return Effect.suspend(() => (left-- > 0 ? Effect.fail(new Error("not yet")) : Effect.succeed("done")))
}

const cases = (name: string, saver: Effect.Effect<BaseCheckpointSaver, never, Checkpointer.Checkpointer>) => {
  const test = <E>(what: string, run: (saver: BaseCheckpointSaver) => Effect.Effect<unknown, E>) =>
    [`${name}: ${what}`, Effect.flatMap(saver, run)] as const
  return [
    test("a node that is tried again gets the record", (saver) =>
      Effect.gen(function* () {
        const bank = new Bank()
        const graph = yield* paying(bank, () => attempts, saver)
        const attempts = flaky(2)
        const state = yield* Graph.run(graph, { order: "a" }, { threadId: `${name} again` })
        deepStrictEqual(state.log, ["a-1 done"])
        assert.strictEqual(bank.charges.length, 1)
      })),
    test("so does one that is resumed after a question, and one that is run again after a failure", (saver) =>
      Effect.gen(function* () {
        const bank = new Bank()
        let broken = true
        const graph = yield* paying(
          bank,
          () =>
            Effect.suspend(() => {
              const answer: unknown = interrupt("sure?")
              return broken ? Effect.fail(new TypeError("broken")) : Effect.succeed(answer)
            }),
          saver
        )
        const options = { threadId: `${name} resumed` }
        yield* Graph.run(graph, { order: "a" }, options)
        yield* Effect.flip(Graph.resume(graph, "yes", options))
        broken = false
        const state = yield* Graph.run(graph, null, options)
        deepStrictEqual(state.log, ["a-1 yes"])
        assert.strictEqual(bank.charges.length, 1)
        // another turn of the thread is another execution
        yield* Graph.run(graph, { order: "a" }, options)
        assert.strictEqual(bank.charges.length, 2)
        assert.notStrictEqual(bank.charges[0]?.[1], bank.charges[1]?.[1])
        // and the thread's own history knows nothing of records
        const history = yield* Graph.history(graph, options.threadId)
        assert.isTrue(history.every(({ values }) => Object.keys(values).every((key) => ["log", "order"].includes(key))))
      })),
    test("the tasks of one node do not share records, and the same key asked twice at once is done once", (saver) =>
      Effect.gen(function* () {
        const bank = new Bank()
        const each = yield* Graph.node("each", ({ order }: State) => {
          const charge = Agent.once("charge", bank.charge(order))
          return Effect.map(Effect.all([charge, charge], { concurrency: "unbounded" }), (both) => ({
            log: both.map(({ receipt }) => receipt)
          }))
        })
        const graph = new StateGraph(State)
          .addNode("each", each)
          .addConditionalEdges(START, () => ["a", "b"].map((order) => new Send("each", { order })), ["each"])
          .compile({ checkpointer: saver })
        const { log } = yield* Graph.run(graph, { order: "" }, { threadId: `${name} tasks` })
        deepStrictEqual([log[0], log[2]], [log[1], log[3]])
        deepStrictEqual(bank.charges.map(([order]) => order).sort(), ["a", "b"])
        assert.strictEqual(new Set(bank.charges.map(([, key]) => key)).size, 2)
      })),
    test("a branch of the thread does it for itself, under another key", (saver) =>
      Effect.gen(function* () {
        const bank = new Bank()
        const graph = yield* paying(bank, () => Effect.succeed("done"), saver)
        const options = { threadId: `${name} forked` }
        yield* Graph.run(graph, { order: "a" }, options)
        const [, before] = yield* Graph.history(graph, options.threadId)
        yield* Graph.fork(graph, { ...options, checkpointId: before?.checkpointId })
        yield* Graph.run(graph, null, options)
        assert.strictEqual(bank.charges.length, 2)
        assert.strictEqual(new Set(bank.charges.map(([, key]) => key)).size, 2)
      })),
    test("a step whose checkpoints were lost finds what it did before", (saver) =>
      Effect.gen(function* () {
        const bank = new Bank()
        let broken = true
        const graph = yield* paying(
          bank,
          () => Effect.suspend(() => (broken ? Effect.fail(new TypeError("broken")) : Effect.succeed("done"))),
          // as a process that is killed before it writes anything: only what is done once is kept
          new Proxy(saver, {
            get: (target, key) => {
              const value: unknown = Reflect.get(target, key, target)
              if (typeof value !== "function") return value
              if (!broken || (key !== "put" && key !== "putWrites")) return value.bind(target)
              return async (config: { configurable: { checkpoint_ns?: string } }, ...rest: ReadonlyArray<unknown>) =>
                config.configurable.checkpoint_ns?.startsWith("holdfast_once") === true
                  ? value.call(target, config, ...rest)
                  : config
            }
          })
        )
        const options = { threadId: `${name} lost` }
        yield* Effect.flip(Graph.run(graph, { order: "a" }, options))
        broken = false
        deepStrictEqual((yield* Graph.run(graph, { order: "a" }, options)).log, ["a-1 done"])
        assert.strictEqual(bank.charges.length, 1)
      })),
    test("a Schema says how the result is kept", (saver) =>
      Effect.gen(function* () {
        const seen: Array<unknown> = []
        const attempts = flaky(1)
        const agent = Agent.make(
          "dated",
          (_: State) =>
            Effect.gen(function* () {
              const when = yield* Agent.once("when", Effect.succeed(new Date(0)), { schema: Schema.Date })
              seen.push(when)
              yield* attempts
              return { log: [when.toISOString()] }
            }),
          { retry }
        )
        const graph = new StateGraph(State)
          .addNode("dated", yield* Graph.node(agent))
          .addEdge(START, "dated")
          .compile({ checkpointer: saver })
        yield* Graph.run(graph, { order: "a" }, { threadId: `${name} dated` })
        deepStrictEqual(seen, [new Date(0), new Date(0)])
      })),
    test("goes with the thread", (saver) =>
      Effect.gen(function* () {
        const bank = new Bank()
        const graph = yield* paying(bank, () => Effect.succeed("done"), saver)
        const options = { threadId: `${name} deleted` }
        yield* Graph.run(graph, { order: "a" }, options)
        yield* Effect.promise(() => saver.deleteThread(options.threadId))
        const left: Array<unknown> = []
        yield* Effect.promise(async () => {
          for await (const each of saver.list({ configurable: { thread_id: options.threadId } })) left.push(each)
        })
        deepStrictEqual(left, [])
      }))
  ]
}

describe("Agent.once", () => {
  for (const [name, run] of cases(
    "memory",
    Effect.sync(() => new MemorySaver())
  )) {
    it.live(name, () => run.pipe(Effect.provide(Layer.succeed(Checkpointer.Checkpointer, undefined as never))))
  }
  for (const backend of TestDatabases.backends) {
    it.layer(Layer.provideMerge(Checkpointer.layer(), backend.layer))((it) => {
      for (const [name, run] of cases(backend.name, Checkpointer.Checkpointer)) {
        it.effect(name, () => Effect.withClock(run, Clock.make()))
      }
    })
  }

  it.live("tells that it could not keep what was done; the next try keeps it, and does not do it again", () =>
    Effect.gen(function* () {
      const bank = new Bank()
      let failures = 1
      class Failing extends MemorySaver {
        override put(...args: Parameters<MemorySaver["put"]>) {
          const ns: unknown = args[0].configurable?.["checkpoint_ns"]
          return String(ns).startsWith("holdfast_once") && failures-- > 0
            ? Promise.reject(new Error("the database is away"))
            : super.put(...args)
        }
      }
      const graph = yield* paying(bank, () => Effect.succeed("done"), new Failing())
      deepStrictEqual((yield* Graph.run(graph, { order: "a" }, { threadId: "t" })).log, ["a-1 done"])
      assert.strictEqual(bank.charges.length, 1)
    })
  )

  it.live("says what is missing where there is nowhere to keep a record, and does nothing", () =>
    Effect.gen(function* () {
      const bank = new Bank()
      const outside = yield* Effect.flip(Agent.once("charge", bank.charge("a")))
      assert.instanceOf(outside, Agent.OnceError)
      assert.strictEqual(outside.reason, "NoRecord")
      assert.strictEqual(Failure.classify(outside).kind, "permanent")
      const pay = yield* Graph.node("pay", (_: State) => Effect.as(Agent.once("charge", bank.charge("a")), {}))
      const graph = new StateGraph(State).addNode("pay", pay).addEdge(START, "pay").compile()
      const error = yield* Effect.flip(Graph.run(graph, { order: "a" }, { threadId: "t" }))
      assert.include(error.message, "with a checkpointer")
      deepStrictEqual(bank.charges, [])
    })
  )
})
