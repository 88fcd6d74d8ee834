/** Pauses under a policy: a person is asked once, whatever is tried again, and every answer is one. */
import { deepStrictEqual } from "node:assert"
import { assert, describe, it } from "@effect/vitest"
import { Annotation, Command, interrupt, MemorySaver, START, StateGraph } from "@langchain/langgraph"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import * as Agent from "../../src/agent/Agent.js"
import * as Graph from "../../src/graph/Graph.js"
import * as RetryPolicy from "../../src/resilience/RetryPolicy.js"

const State = Annotation.Root({
  log: Annotation<ReadonlyArray<string>>({ reducer: (a, b) => [...a, ...b], default: () => [] })
})
type State = typeof State.State

const at = { threadId: "t" }
const retry = { maxAttempts: 3, base: 1 } as const

/** A graph of one node. */
const single = (node: (state: State, config: Graph.Config) => Promise<unknown>, checkpointer = new MemorySaver()) =>
  new StateGraph(State)
    .addNode("only", node as () => Promise<Partial<State>>) // a Command is an update too
    .addEdge(START, "only")
    .compile({ checkpointer })

const asked = (state: unknown): ReadonlyArray<unknown> => {
  const outcome = Graph.outcome(state)
  return outcome._tag === "Waiting" ? outcome.interrupts.map(({ value }) => value) : []
}

/** Fails with what may pass, as often as it is told. */
const flaky = (times: number) => {
  let left = times
  return () => {
    if (left-- > 0) throw new Error("not yet")
  }
}

describe("a node that asks and then fails", () => {
  it.live("is tried again with the answer that it has", () =>
    Effect.gen(function* () {
      const questions: Array<string> = []
      const ask = (question: string): unknown => {
        questions.push(question)
        return interrupt(question)
      }
      const fail = flaky(2)
      const graph = single(
        Graph.protect(
          async (_: State) => {
            const first = ask("first?")
            const second = ask("second?")
            fail()
            return { log: [`${first} ${second}`] }
          },
          { retry }
        )
      )
      deepStrictEqual(asked(yield* Graph.run(graph, { log: [] }, at)), ["first?"])
      deepStrictEqual(asked(yield* Graph.resume(graph, "one", at)), ["second?"])
      const state = yield* Graph.resume(graph, "two", at)
      deepStrictEqual(Graph.outcome(state), { _tag: "Ended", state: { log: ["one two"] } })
      assert.strictEqual(questions.filter((question) => question === "second?").length, 4)
    })
  )

  it.live("so is an agent inside a node's effect, and what was asked before it stays answered", () =>
    Effect.gen(function* () {
      const fail = flaky(1)
      const asking = Agent.make(
        "asking",
        (before: string) =>
          Effect.gen(function* () {
            const answer: unknown = yield* Effect.sync(() => interrupt("inside?"))
            yield* Effect.try(fail)
            return `${before} ${answer}`
          }),
        { retry }
      )
      const node = yield* Graph.node("only", (_: State) =>
        Effect.gen(function* () {
          const before: unknown = yield* Effect.sync(() => interrupt("before?"))
          const inside = yield* asking.invoke(String(before))
          const after: unknown = yield* Effect.sync(() => interrupt("after?")).pipe(RetryPolicy.retry(retry))
          return { log: [`${inside} ${after}`] }
        })
      )
      const graph = single(node)
      deepStrictEqual(asked(yield* Graph.run(graph, { log: [] }, at)), ["before?"])
      deepStrictEqual(asked(yield* Graph.resume(graph, "a", at)), ["inside?"])
      deepStrictEqual(asked(yield* Graph.resume(graph, "b", at)), ["after?"])
      deepStrictEqual((yield* Graph.resume(graph, "c", at)).log, ["a b c"])
    })
  )

  it.live("a fallback asks its own question, and is not given the answer to the first one's", () =>
    Effect.gen(function* () {
      const graph = single(
        Graph.protect(
          async (_: State): Promise<Partial<State>> => {
            interrupt("primary?")
            throw new Error("never")
          },
          { retry, fallback: () => ({ log: [`fallback: ${interrupt("fallback?")}`] }) }
        )
      )
      deepStrictEqual(asked(yield* Graph.run(graph, { log: [] }, at)), ["primary?"])
      deepStrictEqual(asked(yield* Graph.resume(graph, "a", at)), ["fallback?"])
      deepStrictEqual((yield* Graph.resume(graph, "b", at)).log, ["fallback: b"])
    })
  )

  it.live("a graph inside goes on from its checkpoint: nothing in it is done or asked twice", () =>
    Effect.gen(function* () {
      const fail = flaky(1)
      const ran: Array<string> = []
      const inner = new StateGraph(State)
        .addNode("first", () => {
          ran.push("first")
          return { log: ["first"] }
        })
        .addNode("ask", () => ({ log: [`${interrupt("inner?")}`] }))
        .addNode("flaky", () => {
          ran.push("flaky")
          fail()
          return { log: ["flaky"] }
        })
        .addEdge(START, "first")
        .addEdge("first", "ask")
        .addEdge("ask", "flaky")
        .compile()
      const builder = new StateGraph(State).addNode("inner", inner).addEdge(START, "inner")
      const graph = Graph.protectAll(builder, { policy: { retry } }).compile({ checkpointer: new MemorySaver() })
      deepStrictEqual(asked(yield* Graph.run(graph, { log: ["in"] }, at)), ["inner?"])
      const state = yield* Graph.resume(graph, "yes", at)
      deepStrictEqual(state.log, ["in", "in", "first", "yes", "flaky"])
      deepStrictEqual(ran, ["first", "flaky", "flaky"])
    })
  )

  it.live("an entrypoint that is tried again does not repeat the tasks that were done", () =>
    Effect.gen(function* () {
      const fail = flaky(1)
      const ran: Array<string> = []
      const step = Graph.task("step", async (name: string) => {
        ran.push(name)
        return name.toUpperCase()
      })
      const graph = Graph.entrypoint(
        { name: "flow", checkpointer: new MemorySaver() },
        async (input: string) => {
          const a = await step("a")
          const answer: unknown = interrupt("go on?")
          const b = await step("b")
          fail()
          return `${input} ${a} ${answer} ${b}`
        },
        { retry }
      )
      deepStrictEqual(asked(yield* Graph.run(graph, "in", at)), ["go on?"])
      assert.strictEqual(yield* Graph.resume(graph, "yes", at), "in A yes B")
      deepStrictEqual(ran, ["a", "b"])
    })
  )
})

describe("control flow passes every layer", () => {
  it.live("a Command to the parent and a question are no failures: nothing is counted, tried again or replaced", () =>
    Effect.gen(function* () {
      let calls = 0
      const child = Graph.protectAll(
        new StateGraph(State)
          .addNode("leave", () => {
            calls++
            return new Command({ graph: Command.PARENT, goto: "landed", update: { log: ["left"] } })
          })
          .addEdge(START, "leave"),
        { policy: { retry, circuitBreaker: { failureThreshold: 1 }, fallback: () => ({ log: ["fallback"] }) } }
      ).compile()
      const builder = new StateGraph(State)
        .addNode("child", child, { ends: ["landed"] })
        .addNode("landed", () => ({ log: ["landed"] }))
        .addEdge(START, "child")
      const graph = Graph.protectAll(builder, {
        policy: { retry, circuitBreaker: { failureThreshold: 1 }, fallback: () => ({ log: ["fallback"] }) }
      }).compile()
      for (const threadId of ["1", "2"]) {
        deepStrictEqual((yield* Graph.run(graph, { log: [] }, { threadId })).log, ["left", "landed"])
      }
      assert.strictEqual(calls, 2)
    })
  )

  it.live("a question in an effect of an agent with a fallback and a deadline", () =>
    Effect.gen(function* () {
      const agent = Agent.make("asking", (_: State) => Effect.try(() => ({ log: [String(interrupt("sure?"))] })), {
        retry,
        deadline: "5 seconds",
        circuitBreaker: { failureThreshold: 1 }
      }).pipe(Agent.orElse(Agent.make("other", (_: State) => Effect.succeed({ log: ["other"] }))))
      const graph = single(yield* Graph.node(agent))
      deepStrictEqual(asked(yield* Graph.run(graph, { log: [] }, at)), ["sure?"])
      deepStrictEqual((yield* Graph.resume(graph, "yes", at)).log, ["yes"])
    })
  )
})

describe("an answer", () => {
  const asking = () =>
    single(Graph.protect((_: State) => ({ log: [JSON.stringify(interrupt("?") ?? null)] }), { name: "only" }))

  it.live("may be any value, also those that LangGraph would overlook or take for answers by id", () =>
    Effect.gen(function* () {
      const values = [false, 0, "", null, {}, [], { ["a".repeat(32)]: 1 }, { ok: true }, "yes"]
      for (const value of values) {
        const graph = asking()
        yield* Graph.run(graph, { log: [] }, at)
        deepStrictEqual((yield* Graph.resume(graph, value, at)).log, [JSON.stringify(value)])
      }
    })
  )

  it.live("may be several, each to its question; what is left out stays open", () =>
    Effect.gen(function* () {
      const ask = (name: string) =>
        Graph.protect((_: State) => ({ log: [`${name} ${interrupt(`${name}?`)}`] }), { name })
      const graph = new StateGraph(State)
        .addNode("left", ask("left"))
        .addNode("right", ask("right"))
        .addEdge(START, "left")
        .addEdge(START, "right")
        .compile({ checkpointer: new MemorySaver() })
      yield* Graph.run(graph, { log: [] }, at)
      const { interrupts, status } = yield* Graph.state(graph, "t")
      assert.strictEqual(status, "waiting")
      deepStrictEqual(
        interrupts.map(({ node, value }) => [node, value]),
        [
          ["left", "left?"],
          ["right", "right?"]
        ]
      )
      const id = (node: string) => interrupts.find((each) => each.node === node)?.id ?? ""
      const paused = yield* Graph.resume(graph, Graph.answers({ [id("right")]: false }), at)
      deepStrictEqual(asked(paused), ["left?"])
      const wrong = yield* Effect.flip(Graph.resume(graph, Graph.answers({ nobody: 1 }), at))
      assert.instanceOf(wrong, Graph.NotWaitingError)
      deepStrictEqual([wrong.unknown, wrong.open], [["nobody"], [id("left")]])
      deepStrictEqual((yield* Graph.resume(graph, true, at)).log, ["left true", "right false"])
    })
  )

  it.live("to nobody's question is refused before anything runs", () =>
    Effect.gen(function* () {
      let runs = 0
      const graph = single(
        Graph.protect((_: State) => {
          runs++
          return { log: [] }
        })
      )
      yield* Graph.run(graph, { log: [] }, at)
      const error = yield* Effect.flip(Graph.resume(graph, "what?", at))
      assert.instanceOf(error, Graph.NotWaitingError)
      assert.include(error.message, "waits for no answer")
      assert.strictEqual(runs, 1)
      assert.strictEqual((yield* Graph.state(graph, "t")).status, "finished")
      assert.strictEqual((yield* Graph.state(graph, "nobody's")).status, "absent")
    })
  )

  it.live("of the wrong shape is refused, and the question is asked again with what was wrong", () =>
    Effect.gen(function* () {
      const Approval = Schema.Struct({ approved: Schema.Boolean })
      const node = yield* Graph.node("only", (_: State) =>
        Effect.map(Graph.ask("may I?", Approval), ({ approved }) => ({ log: [`approved: ${approved}`] }))
      )
      const graph = single(node)
      deepStrictEqual(asked(yield* Graph.run(graph, { log: [] }, at)), [{ question: "may I?" }])
      for (const wrong of ["yes", { approved: "yes" }]) {
        const [again] = asked(yield* Graph.resume(graph, wrong, at))
        assert.deepInclude(again, { question: "may I?" })
        assert.property(again, "problem")
      }
      deepStrictEqual((yield* Graph.resume(graph, { approved: false }, at)).log, ["approved: false"])
    })
  )
})

describe("the clock", () => {
  it.effect("of the run's caller is that of its nodes: a pause before the next try takes no time of a test", () =>
    Effect.gen(function* () {
      const fail = flaky(1)
      const failed = yield* Deferred.make<void>()
      const graph = single(
        Graph.protect(
          (_: State) => {
            try {
              fail()
            } catch (error) {
              Effect.runSync(Deferred.succeed(failed, undefined))
              throw error
            }
            return { log: ["at last"] }
          },
          { retry: { maxAttempts: 2, base: "1 hour", jitter: false } }
        )
      )
      const fiber = yield* Effect.fork(Graph.run(graph, { log: [] }, at))
      yield* Deferred.await(failed)
      while ([...(yield* TestClock.sleeps())].length === 0) yield* Effect.promise(() => new Promise(setImmediate))
      yield* TestClock.adjust("1 hour")
      deepStrictEqual((yield* Fiber.join(fiber)).log, ["at last"])
    })
  )
})
