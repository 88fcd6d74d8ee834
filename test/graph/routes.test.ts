/** Edges that go by how a node ended, and failures as data. */
import { deepStrictEqual } from "node:assert"
import { assert, describe, it } from "@effect/vitest"
import { Annotation, Command, END, MemorySaver, Send, START, StateGraph } from "@langchain/langgraph"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Agent from "../../src/agent/Agent.js"
import * as Graph from "../../src/graph/Graph.js"

const State = Annotation.Root({
  log: Annotation<ReadonlyArray<string>>({ reducer: (a, b) => [...a, ...b], default: () => [] }),
  failures: Graph.failures()
})
type State = typeof State.State

const say = (text: string) => () => ({ log: [text] })
const overloaded = () => Object.assign(new Error("overloaded"), { status: 529 })
const at = { threadId: "t" }

/** A node that fails as it is told, and the ways after it. */
const routed = (
  ends: Array<Error | undefined>,
  ways: Partial<Graph.Ways<State, "work" | "lesser" | "sorry" | "done">> = {}
) =>
  new StateGraph(State)
    .addNode(
      "work",
      Graph.protect(
        (_: State) => {
          const error = ends.shift()
          if (error !== undefined) throw error
          return { log: ["work"] }
        },
        { name: "work", retry: false, circuitBreaker: false, failures: "failures" }
      )
    )
    .addNode("lesser", say("lesser"))
    .addNode("sorry", say("sorry"))
    .addNode("done", say("done"))
    .addEdge(START, "work")
    .addConditionalEdges("work", Graph.route("work", { success: "done", ...ways }), ["work", "lesser", "sorry", "done"])
    .addEdge("lesser", END)
    .addEdge("sorry", END)
    .addEdge("done", END)
    .compile({ checkpointer: new MemorySaver() })

describe("a route", () => {
  it.effect("goes on when all was well, and the state says nothing of failures", () =>
    Effect.gen(function* () {
      deepStrictEqual(yield* Graph.run(routed([]), { log: [] }, at), { log: ["work", "done"], failures: {} })
    })
  )

  it.effect("tries again what may pass, so often and no more, and forgets when it is well", () =>
    Effect.gen(function* () {
      const again = { retry: { max: 2 }, degrade: "lesser" } as const
      const passing = yield* Graph.run(routed([overloaded(), overloaded()], again), { log: [] }, at)
      deepStrictEqual(passing.log, ["work", "done"])
      deepStrictEqual([passing.failures["work"]?.times, passing.failures["work"]?.failures], [0, []])
      const lasting = yield* Graph.run(routed([overloaded(), overloaded(), overloaded()], again), { log: [] }, at)
      deepStrictEqual(lasting.log, ["lesser"])
      assert.strictEqual(lasting.failures["work"]?.times, 3)
    })
  )

  it.effect("counts anew in a later turn of the thread", () =>
    Effect.gen(function* () {
      const graph = routed([overloaded(), overloaded(), overloaded(), overloaded()], {
        retry: { max: 1 },
        degrade: "lesser"
      })
      deepStrictEqual((yield* Graph.run(graph, { log: [] }, at)).log, ["lesser"])
      deepStrictEqual((yield* Graph.run(graph, { log: [] }, at)).log, ["lesser", "lesser"])
    })
  )

  it.effect("goes by class: what no other try mends is not tried again", () =>
    Effect.gen(function* () {
      const refused = Object.assign(new Error("no key"), { status: 401 })
      const ways = { retry: { max: 5 }, degrade: { to: "lesser", when: ["timeout"] }, fail: "sorry" } as const
      deepStrictEqual((yield* Graph.run(routed([refused], ways), { log: [] }, at)).log, ["sorry"])
      const chosen = { retry: { max: 5, when: ["overloaded"] }, degrade: "lesser" } as const
      const server = Object.assign(new Error("oops"), { status: 500 })
      deepStrictEqual((yield* Graph.run(routed([overloaded(), server], chosen), { log: [] }, at)).log, ["lesser"])
    })
  )

  it.effect("without a way on ends the run with the failure as data", () =>
    Effect.gen(function* () {
      const { error } = yield* Effect.flip(Graph.run(routed([overloaded()]), { log: [] }, at))
      assert.instanceOf(error, Graph.NodeFailedError)
      assert.include(error.message, "overloaded")
      const [failure] = yield* Schema.decodeUnknown(Schema.Array(Graph.NodeFailure))(error.failures)
      deepStrictEqual(failure, {
        node: "work",
        step: 1,
        kind: "transient",
        class: "overloaded",
        reason: "http 529",
        errorType: "Error",
        message: "overloaded"
      })
    })
  )

  it("refuses a number that makes no sense where it is written", () => {
    assert.throws(() => Graph.route("work", { success: END, retry: { max: 0 } }), RangeError, "retry.max")
  })
})

describe("failures in the state", () => {
  it.effect("are those of agents as nodes too, and what a Command says stands beside them", () =>
    Effect.gen(function* () {
      let left = 1
      const agent = Agent.make(
        "agent",
        (_: State) =>
          Effect.suspend(() =>
            left-- > 0
              ? Effect.fail(overloaded())
              : Effect.succeed(new Command({ goto: "after", update: { log: ["agent"] } }))
          ),
        { retry: false }
      )
      const node = yield* Graph.node(agent, {
        input: (state: State) => state,
        output: (it) => it,
        failures: "failures"
      })
      const graph = new StateGraph(State)
        .addNode("agent", node as never, { ends: ["after"] })
        .addNode("after", say("after"))
        .addEdge(START, "agent" as never)
        .addConditionalEdges(
          "agent" as never,
          (state: State) => (state.failures["agent"]?.times === 1 ? "agent" : END) as never
        )
        .compile()
      const state: unknown = yield* Graph.run(graph, { log: [] } as never, at)
      assert.deepInclude(state, { log: ["agent", "after"] })
    })
  )

  it.effect("of several tasks of a node in one step stand together, in whatever order they end", () =>
    Effect.gen(function* () {
      const each = Graph.protect(
        ({ item }: { item: number }) => {
          if (item !== 1) throw overloaded()
          return { log: [`${item}`] }
        },
        { name: "each", retry: false, circuitBreaker: false, failures: "failures" }
      )
      const graph = new StateGraph(State)
        .addNode("each", each)
        .addConditionalEdges(START, () => [0, 1, 2].map((item) => new Send("each", { item })), ["each"])
        .compile()
      const { failures, log } = yield* Graph.run(graph, { log: [] }, at)
      deepStrictEqual(log, ["1"])
      deepStrictEqual([failures["each"]?.times, failures["each"]?.failures.length], [1, 2])
    })
  )

  it("are put together by a rule that does not mind the order", () => {
    const failure = { node: "n", step: 3 } as unknown as Graph.NodeFailure
    const before = Graph.reduce({}, { node: "n", step: 1, run: "r", failure })
    const told: ReadonlyArray<Graph.Told> = [
      { node: "n", step: 3, run: "r" },
      { node: "n", step: 3, run: "r", failure }
    ]
    deepStrictEqual(told.reduce(Graph.reduce, before), [...told].reverse().reduce(Graph.reduce, before))
  })
})
