/** Graphs of every shape, built twice: as LangGraph's own users write them, and protected. */
import { RunnableLambda } from "@langchain/core/runnables"
import { FakeListChatModel } from "@langchain/core/utils/testing"
import {
  Annotation,
  type BaseCheckpointSaver,
  Command,
  END,
  entrypoint,
  getPreviousState,
  interrupt,
  MessagesAnnotation,
  Send,
  START,
  StateGraph,
  task
} from "@langchain/langgraph"
import * as Graph from "../../src/graph/Graph.js"

/** How a graph's nodes are made. */
export interface Hand {
  readonly name: string
  readonly all: <G extends Graph.Builder>(builder: G) => G
  readonly task: <Args extends Array<unknown>, Out>(
    name: string,
    run: (...args: Args) => Out | Promise<Out>
  ) => (...args: Args) => Promise<Out>
  readonly entrypoint: (
    name: string,
    checkpointer: BaseCheckpointSaver,
    run: (input: string) => Promise<unknown>
  ) => Graph.Compiled<unknown, unknown>
}

export const plain: Hand = {
  name: "plain",
  all: (builder) => builder,
  task: (name, run) => task(name, run as never) as never,
  entrypoint: (name, checkpointer, run) => entrypoint({ name, checkpointer }, run)
}

export const policy: Graph.NodePolicy = { retry: { maxAttempts: 2, base: 1 }, timeout: "10 seconds" }

export const hardened: Hand = {
  name: "protected",
  all: (builder) => Graph.protectAll(builder, { policy }),
  task: (name, run) => Graph.task(name, run, policy),
  entrypoint: (name, checkpointer, run) => Graph.entrypoint({ name, checkpointer }, run, policy)
}

export interface Shape {
  readonly name: string
  readonly make: (hand: Hand, checkpointer: BaseCheckpointSaver) => Graph.Compiled<unknown, unknown>
  /** What it is invoked with, one after the other; a function is given the open questions' ids. */
  readonly inputs: ReadonlyArray<unknown | ((ids: ReadonlyArray<string>) => unknown)>
  readonly config?: Record<string, unknown>
}

const Log = Annotation.Root({
  log: Annotation<ReadonlyArray<string>>({ reducer: (a, b) => [...a, ...b], default: () => [] }),
  items: Annotation<ReadonlyArray<string>>({ reducer: (_, b) => b, default: () => [] }),
  said: Annotation<string>
})
type Log = typeof Log.State

const say = (text: string) => () => ({ log: [text] })

const linear: Shape = {
  name: "linear: functions that are sync and async, a Runnable, the custom stream",
  make: (hand, checkpointer) =>
    hand
      .all(
        new StateGraph(Log)
          .addNode("sync", say("sync"))
          .addNode("async", async (_: Log, config) => {
            config.writer?.({ from: "async" })
            await Promise.resolve()
            return { log: ["async"], said: "hello" }
          })
          .addNode(
            "runnable",
            RunnableLambda.from((state: Log) => ({ log: [`runnable after ${state.said}`] }))
          )
          .addNode("nothing", () => ({}))
          .addEdge(START, "sync")
          .addEdge("sync", "async")
          .addEdge("async", "runnable")
          .addEdge("runnable", "nothing")
          .addEdge("nothing", END)
      )
      .compile({ checkpointer }),
  inputs: [{ log: ["in"] }, { log: ["again"] }]
}

const conditional: Shape = {
  name: "conditional edges and a loop",
  make: (hand, checkpointer) =>
    hand
      .all(
        new StateGraph(Log)
          .addNode("count", ({ log }) => ({ log: [`${log.length}`] }))
          .addNode("done", say("done"))
          .addEdge(START, "count")
          .addConditionalEdges("count", ({ log }) => (log.length < 4 ? "count" : "done"), ["count", "done"])
          .addEdge("done", END)
      )
      .compile({ checkpointer }),
  inputs: [{ log: [] }]
}

const parallel: Shape = {
  name: "parallel branches with reducers, a join and a deferred node",
  make: (hand, checkpointer) =>
    hand
      .all(
        new StateGraph(Log)
          .addNode("left", say("left"))
          .addNode("right", say("right"))
          .addNode("longer", say("longer"))
          .addNode("join", say("join"))
          .addNode("late", say("late"), { defer: true })
          .addEdge(START, "left")
          .addEdge(START, "right")
          .addEdge("right", "longer")
          .addEdge(["left", "longer"], "join")
          .addEdge("left", "late")
          .addEdge("join", END)
          .addEdge("late", END)
      )
      .compile({ checkpointer }),
  inputs: [{ log: [] }]
}

const fanOut: Shape = {
  name: "Send: a task for each item, and by a Command",
  make: (hand, checkpointer) =>
    hand
      .all(
        new StateGraph(Log)
          .addNode("plan", () => ({ items: ["a", "b", "c"] }))
          .addNode("each", ({ item }: { item: string }) => ({ log: [`each ${item}`] }))
          .addNode(
            "again",
            ({ items }: Log) =>
              new Command({ goto: items.map((item) => new Send("last", { item })), update: { log: ["again"] } }),
            { ends: ["last"] }
          )
          .addNode("last", ({ item }: { item: string }) => ({ log: [`last ${item}`] }))
          .addEdge(START, "plan")
          .addConditionalEdges("plan", ({ items }) => items.map((item) => new Send("each", { item })), ["each"])
          .addEdge("each", "again")
          .addEdge("last", END)
      )
      .compile({ checkpointer }),
  inputs: [{ log: [] }]
}

const inner = (hand: Hand, asks: boolean) =>
  hand.all(
    new StateGraph(Log)
      .addNode("first", say("inner first"))
      .addNode("second", ({ log }: Log) => ({
        log: [asks ? `inner ${interrupt({ seen: log.length })}` : "inner second"]
      }))
      .addEdge(START, "first")
      .addEdge("first", "second")
      .addEdge("second", END)
  )

const subgraph = (own: boolean): Shape => ({
  name: `a subgraph ${own ? "with a checkpointer of its own" : "as a node"} that asks, and one called by a node`,
  make: (hand, checkpointer) => {
    const asking = inner(hand, true).compile(own ? { checkpointer: true } : {})
    const called = inner(hand, false).compile()
    return hand
      .all(
        new StateGraph(Log)
          .addNode("before", say("before"))
          .addNode("sub", asking)
          .addNode("caller", async (state: Log) => {
            const { log } = await called.invoke({ log: [`${state.log.length}`] })
            return { log: log.map((each) => `called ${each}`) }
          })
          .addEdge(START, "before")
          .addEdge("before", "sub")
          .addEdge("sub", "caller")
          .addEdge("caller", END)
      )
      .compile({ checkpointer })
  },
  inputs: [{ log: [] }, new Command({ resume: "yes" }), { log: ["again"] }, new Command({ resume: "no" })]
})

const toParent: Shape = {
  name: "a Command to the parent graph, and one that goes on and updates",
  make: (hand, checkpointer) => {
    const child = hand
      .all(
        new StateGraph(Log)
          .addNode(
            "leave",
            () => new Command({ graph: Command.PARENT, goto: "landed", update: { log: ["left the child"] } })
          )
          .addEdge(START, "leave")
      )
      .compile()
    return hand
      .all(
        new StateGraph(Log)
          .addNode("jump", () => new Command({ goto: "child", update: { log: ["jump"] } }), { ends: ["child"] })
          .addNode("child", child, { ends: ["landed"] })
          .addNode("landed", () => [{ log: ["landed"] }, new Command({ update: { log: ["twice"] } })])
          .addEdge(START, "jump")
          .addEdge("landed", END)
      )
      .compile({ checkpointer })
  },
  inputs: [{ log: [] }]
}

const questions: Shape = {
  name: "several questions of one node, one after another",
  make: (hand, checkpointer) =>
    hand
      .all(
        new StateGraph(Log)
          .addNode("ask", async () => {
            const first: unknown = interrupt("first?")
            await Promise.resolve()
            const second: unknown = interrupt({ question: "second?", first })
            return { log: [`${first} ${second}`] }
          })
          .addEdge(START, "ask")
          .addEdge("ask", END)
      )
      .compile({ checkpointer }),
  inputs: [{ log: [] }, new Command({ resume: "one" }), new Command({ resume: "two" })]
}

const asked: Shape = {
  name: "questions of parallel branches and tasks, answered by their ids",
  make: (hand, checkpointer) =>
    hand
      .all(
        new StateGraph(Log)
          .addNode("left", () => ({ log: [`left ${interrupt("left?")}`] }))
          .addNode("right", () => ({ log: [`right ${interrupt("right?")}`] }))
          .addNode("quiet", say("quiet"))
          .addNode("each", ({ item }: { item: string }) => ({ log: [`${item} ${interrupt(`${item}?`)}`] }))
          .addEdge(START, "left")
          .addEdge(START, "right")
          .addEdge(START, "quiet")
          .addConditionalEdges("quiet", () => ["a", "b"].map((item) => new Send("each", { item })), ["each"])
          .addEdge("left", END)
          .addEdge("right", END)
          .addEdge("each", END)
      )
      .compile({ checkpointer }),
  inputs: [
    { log: [] },
    (ids: ReadonlyArray<string>) =>
      new Command({ resume: Object.fromEntries(ids.map((id, index) => [id, `n${index}`])) }),
    (ids: ReadonlyArray<string>) =>
      new Command({ resume: Object.fromEntries(ids.map((id, index) => [id, `m${index}`])) })
  ]
}

const breakpoints: Shape = {
  name: "breakpoints before and after a node",
  make: (hand, checkpointer) =>
    hand
      .all(
        new StateGraph(Log)
          .addNode("one", say("one"))
          .addNode("two", say("two"))
          .addNode("three", say("three"))
          .addEdge(START, "one")
          .addEdge("one", "two")
          .addEdge("two", "three")
          .addEdge("three", END)
      )
      .compile({ checkpointer, interruptBefore: ["two"], interruptAfter: ["two"] }),
  inputs: [{ log: [] }, null, null]
}

const functional: Shape = {
  name: "the functional API: tasks side by side, a question, what was saved before",
  make: (hand, checkpointer) => {
    const double = hand.task("double", async (text: string) => `${text}${text}`)
    return hand.entrypoint("flow", checkpointer, async (input) => {
      const before = getPreviousState<string | undefined>()
      const both = await Promise.all([double(input), double("x")])
      const answer: unknown = interrupt({ both, before: before ?? "nothing" })
      return `${both.join(" ")} ${answer}`
    })
  },
  inputs: ["a", new Command({ resume: "yes" }), "b", new Command({ resume: "no" })]
}

const tokens: Shape = {
  name: "tokens of a model",
  make: (hand, checkpointer) => {
    const model = new FakeListChatModel({ responses: ["hi!"] })
    return hand
      .all(
        new StateGraph(MessagesAnnotation)
          .addNode("model", async ({ messages }) => ({ messages: [await model.invoke(messages)] }))
          .addEdge(START, "model")
          .addEdge("model", END)
      )
      .compile({ checkpointer })
  },
  inputs: [{ messages: [{ role: "user", content: "hello", id: "1" }] }]
}

const failing: Shape = {
  name: "a node that fails for good beside one that does not",
  make: (hand, checkpointer) =>
    hand
      .all(
        new StateGraph(Log)
          .addNode("well", say("well"))
          .addNode("bad", async () => {
            throw new TypeError("it is not a function")
          })
          .addEdge(START, "well")
          .addEdge(START, "bad")
          .addEdge("well", END)
          .addEdge("bad", END)
      )
      .compile({ checkpointer }),
  inputs: [{ log: [] }]
}

const handled: Shape = {
  name: "a failure that the node's own handler mends",
  make: (hand, checkpointer) =>
    hand
      .all(
        new StateGraph(Log)
          .addNode(
            "bad",
            () => {
              throw new TypeError("broken")
            },
            { errorHandler: (_: Log, { error }) => ({ log: [`mended ${error.message}`] }) }
          )
          .addNode("after", say("after"))
          .addEdge(START, "bad")
          .addEdge("bad", "after")
          .addEdge("after", END)
      )
      .compile({ checkpointer }),
  inputs: [{ log: [] }]
}

const endless: Shape = {
  name: "GraphRecursionError",
  make: (hand, checkpointer) =>
    hand
      .all(new StateGraph(Log).addNode("round", say("round")).addEdge(START, "round").addEdge("round", "round"))
      .compile({ checkpointer }),
  inputs: [{ log: [] }],
  config: { recursionLimit: 3 }
}

export const shapes: ReadonlyArray<Shape> = [
  linear,
  conditional,
  parallel,
  fanOut,
  subgraph(false),
  subgraph(true),
  toParent,
  questions,
  asked,
  breakpoints,
  functional,
  tokens,
  failing,
  handled,
  endless
]
