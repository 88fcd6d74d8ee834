/** LangGraph's own published patterns of retries, questions, caches and durability, on protected graphs: each does what it does there. */
import { deepStrictEqual } from "node:assert"
import { describe, it } from "@effect/vitest"
import {
  Annotation,
  Command,
  END,
  entrypoint,
  InMemoryStore,
  interrupt,
  MemorySaver,
  Send,
  START,
  StateGraph,
  task
} from "@langchain/langgraph"
import { InMemoryCache } from "@langchain/langgraph-checkpoint"
import * as Effect from "effect/Effect"
import * as Graph from "../../src/graph/Graph.js"
import { type Hand, hardened, plain } from "./shapes.js"

const State = Annotation.Root({
  log: Annotation<ReadonlyArray<string>>({ reducer: (a, b) => [...a, ...b], default: () => [] }),
  age: Annotation<number>
})
type State = typeof State.State

const at = { configurable: { thread_id: "t" } }

/** The same on both, each with state of its own; what is seen is the same, and is what it is said to be. */
const same = (what: string, expected: unknown, run: (hand: Hand) => Promise<unknown>) =>
  it.live(what, () =>
    Effect.promise(async () => {
      deepStrictEqual(await run(plain), expected)
      deepStrictEqual(await run(hardened), expected)
    })
  )

const values = (state: unknown): ReadonlyArray<unknown> => {
  const outcome = Graph.outcome(state)
  return outcome._tag === "Waiting" ? outcome.interrupts.map(({ value }) => value) : []
}

describe("retries", () => {
  same(
    "a node's own retryPolicy, with a rule of what is worth it",
    [["at last"], 3, "RangeError: no"],
    async (hand) => {
      let calls = 0
      const quick = { initialInterval: 1, jitter: false, logWarning: false } as const
      const flaky = hand
        .all(
          new StateGraph(State)
            .addNode(
              "flaky",
              () => {
                // what the policy around it takes for permanent is left to LangGraph's own
                if (++calls < 3) throw new TypeError("not yet")
                return { log: ["at last"] }
              },
              { retryPolicy: { ...quick, maxAttempts: 3, retryOn: (error: unknown) => error instanceof TypeError } }
            )
            .addEdge(START, "flaky")
        )
        .compile()
      const strict = hand
        .all(
          new StateGraph(State)
            .addNode(
              "strict",
              () => {
                throw new RangeError("no")
              },
              { retryPolicy: { ...quick, maxAttempts: 3, retryOn: () => false } }
            )
            .addEdge(START, "strict")
        )
        .compile()
      const { log } = await flaky.invoke({ log: [] })
      const error = await strict.invoke({ log: [] }).catch(String)
      return [log, calls, error]
    }
  )

  same("a task's own retry, in an entrypoint", ["done", 2], async (hand) => {
    let calls = 0
    const work = () => {
      if (++calls < 2) throw new TypeError("not yet")
      return "done"
    }
    const options = { name: "work", retry: { maxAttempts: 2, initialInterval: 1, jitter: false, logWarning: false } }
    const run = hand === plain ? task(options, async () => work()) : Graph.task(options, async () => work())
    const flow = entrypoint("flow", async (_: string) => run())
    return [await flow.invoke("x"), calls]
  })
})

describe("questions", () => {
  same(
    "an answer is checked in a loop, and asked for again until it fits",
    [["age?"], ["'old' is no age. age?"], ["'-1' is no age. age?"], 42],
    async (hand) => {
      const graph = hand
        .all(
          new StateGraph(State)
            .addNode("ask", () => {
              let question = "age?"
              for (;;) {
                const answer: unknown = interrupt(question)
                if (typeof answer === "number" && answer > 0) return { age: answer }
                question = `'${answer}' is no age. age?`
              }
            })
            .addEdge(START, "ask")
        )
        .compile({ checkpointer: new MemorySaver() })
      const seen: Array<unknown> = [values(await graph.invoke({ log: [] }, at))]
      for (const resume of ["old", -1]) seen.push(values(await graph.invoke(new Command({ resume }), at)))
      const { age } = await graph.invoke(new Command({ resume: 42 }), at)
      return [...seen, age]
    }
  )

  same("approve or reject: the answer decides where to go", [["approved"], ["rejected"]], async (hand) => {
    const graph = hand
      .all(
        new StateGraph(State)
          .addNode("approve", () => new Command({ goto: interrupt("ok?") === true ? "yes" : "no" }), {
            ends: ["yes", "no"]
          })
          .addNode("yes", () => ({ log: ["approved"] }))
          .addNode("no", () => ({ log: ["rejected"] }))
          .addEdge(START, "approve")
      )
      .compile({ checkpointer: new MemorySaver() })
    const ends: Array<unknown> = []
    for (const [thread_id, answer] of [
      ["1", true],
      ["2", { no: "thanks" }]
    ] as const) {
      await graph.invoke({ log: [] }, { configurable: { thread_id } })
      ends.push((await graph.invoke(new Command({ resume: answer }), { configurable: { thread_id } })).log)
    }
    return ends
  })

  same("two levels down, in a graph that a node calls", [["deep?"], ["outer", "deep yes"]], async (hand) => {
    const deep = hand
      .all(
        new StateGraph(State).addNode("deep", () => ({ log: [`deep ${interrupt("deep?")}`] })).addEdge(START, "deep")
      )
      .compile()
    const middle = hand
      .all(
        new StateGraph(State)
          .addNode("middle", async () => ({ log: (await deep.invoke({ log: [] })).log }))
          .addEdge(START, "middle")
      )
      .compile()
    const graph = hand
      .all(
        new StateGraph(State)
          .addNode("outer", () => ({ log: ["outer"] }))
          .addNode("middle", async () => ({ log: (await middle.invoke({ log: [] })).log }))
          .addEdge(START, "outer")
          .addEdge("outer", "middle")
      )
      .compile({ checkpointer: new MemorySaver() })
    const paused = await graph.invoke({ log: [] }, at)
    return [values(paused), (await graph.invoke(new Command({ resume: "yes" }), at)).log]
  })

  same(
    "an update and an answer in one Command; a state that was edited at a breakpoint",
    [["edited", "yes"]],
    async (hand) => {
      const graph = hand
        .all(
          new StateGraph(State)
            .addNode("first", () => ({}))
            .addNode("ask", () => ({ log: [String(interrupt("?"))] }))
            .addEdge(START, "first")
            .addEdge("first", "ask")
        )
        .compile({ checkpointer: new MemorySaver(), interruptBefore: ["ask"] })
      await graph.invoke({ log: [] }, at)
      await graph.updateState(at, { log: ["edited"] })
      await graph.invoke(null, at)
      return [(await graph.invoke(new Command({ resume: "yes", update: { age: 1 } }), at)).log]
    }
  )
})

describe("durability", () => {
  for (const durability of ["sync", "async", "exit"] as const) {
    same(
      `${durability}: the checkpoints that there are when a run fails half-way, and going on`,
      durability === "exit" ? [1, ["b", "c"], ["a", "b", "c"]] : [3, ["b", "c"], ["a", "b", "c"]],
      async (hand) => {
        let broken = true
        const ran: Array<string> = []
        const say = (text: string) => () => {
          ran.push(text)
          if (text === "b" && broken) throw new TypeError("broken")
          return { log: [text] }
        }
        const graph = hand
          .all(
            new StateGraph(State)
              .addNode("a", say("a"))
              .addNode("b", say("b"))
              .addNode("c", say("c"))
              .addEdge(START, "a")
              .addEdge("a", "b")
              .addEdge("b", "c")
          )
          .compile({ checkpointer: new MemorySaver() })
        await graph.invoke({ log: [] }, { ...at, durability }).catch(() => undefined)
        let checkpoints = 0
        for await (const _ of graph.getStateHistory(at)) checkpoints++
        broken = false
        ran.length = 0
        const { log } = await graph.invoke(null, { ...at, durability })
        return [checkpoints, ran, log]
      }
    )
  }

  same(
    "a branch that was done beside one that failed is not done again",
    [["good", "bad"], ["bad"], ["bad", "good"]],
    async (hand) => {
      let broken = true
      const ran: Array<string> = []
      const graph = hand
        .all(
          new StateGraph(State)
            .addNode("good", () => {
              ran.push("good")
              return { log: ["good"] }
            })
            .addNode("bad", async () => {
              await new Promise((resolve) => setTimeout(resolve, 5))
              ran.push("bad")
              if (broken) throw new TypeError("broken")
              return { log: ["bad"] }
            })
            .addEdge(START, "good")
            .addEdge(START, "bad")
        )
        .compile({ checkpointer: new MemorySaver() })
      await graph.invoke({ log: [] }, at).catch(() => undefined)
      const before = ran.splice(0)
      broken = false
      const { log } = await graph.invoke(null, at)
      return [before, ran, log]
    }
  )
})

describe("what a node is added with", () => {
  same("cachePolicy: the second run of the same input is not run", [1, ["42"], ["42"]], async (hand) => {
    let calls = 0
    const graph = hand
      .all(
        new StateGraph(State)
          .addNode(
            "slow",
            ({ age }: State) => {
              calls++
              return { log: [`${age}`] }
            },
            { cachePolicy: { ttl: 60 } }
          )
          .addEdge(START, "slow")
      )
      .compile({ cache: new InMemoryCache() })
    const first = await graph.invoke({ age: 42 })
    const second = await graph.invoke({ age: 42 })
    return [calls, first.log, second.log]
  })

  same(
    "input, metadata, the store, the context and a Send to itself",
    [["a: x from the store, 1, m", "b: undefined, 2, m"]],
    async (hand) => {
      const store = new InMemoryStore()
      await store.put(["names"], "a", { name: "x from the store" })
      const Narrow = Annotation.Root({ age: Annotation<number> })
      const graph = hand
        .all(
          new StateGraph(State)
            .addNode(
              "narrow",
              async (state: typeof Narrow.State, config) => {
                const key = state.age === 1 ? "a" : "b"
                const found = await config.store?.get(["names"], key)
                const { mark } = (config as Graph.Config).metadata as { mark: string }
                return { log: [`${key}: ${found?.value["name"]}, ${state.age}, ${mark}`] }
              },
              { input: Narrow, metadata: { mark: "m" } }
            )
            .addEdge(START, "narrow")
            .addConditionalEdges(
              "narrow",
              ({ log }: State) => (log.length < 2 ? [new Send("narrow", { age: 2 })] : END),
              ["narrow", END]
            )
        )
        .compile({ store })
      return [(await graph.invoke({ age: 1 })).log]
    }
  )
})
