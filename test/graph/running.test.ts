/** Running graphs: many at once, as streams, from Promise code; and what of a policy holds for a whole graph. */
import { deepStrictEqual } from "node:assert"
import { AsyncLocalStorage } from "node:async_hooks"
import { assert, describe, it } from "@effect/vitest"
import { FakeListChatModel } from "@langchain/core/utils/testing"
import { Annotation, getConfig, interrupt, MemorySaver, START, StateGraph } from "@langchain/langgraph"
import * as Cache from "effect/Cache"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as Agent from "../../src/agent/Agent.js"
import * as Graph from "../../src/graph/Graph.js"
import * as Observation from "../../src/observability/Observation.js"
import * as Trace from "../../src/observability/Trace.js"
import * as CircuitBreaker from "../../src/resilience/CircuitBreaker.js"

const State = Annotation.Root({
  name: Annotation<string>,
  log: Annotation<ReadonlyArray<string>>({ reducer: (a, b) => [...a, ...b], default: () => [] })
})
type State = typeof State.State

const at = { threadId: "t" }

describe("200 runs at once", () => {
  it.live(
    "that share an agent, a semaphore, a cache and a queue keep config, writer, parent span and answers",
    () =>
      Effect.gen(function* () {
        const storage = new AsyncLocalStorage<string>()
        const lock = yield* Effect.makeSemaphore(3)
        const queue = yield* Queue.bounded<string>(2)
        const shared = yield* Cache.make({
          capacity: 10,
          timeToLive: Duration.infinity,
          lookup: (key: string) => Effect.as(Effect.sleep(1), key)
        })
        yield* Effect.forkDaemon(Effect.forever(Effect.zipRight(Queue.take(queue), Effect.yieldNow())))
        const here = Effect.sync(() => `${getConfig().configurable?.["thread_id"]} ${storage.getStore()}`)
        const agent = Agent.make("shared", ({ name }: State) =>
          Effect.gen(function* () {
            const seen: Array<string> = [yield* here]
            seen.push(yield* lock.withPermits(1)(Effect.zipRight(Effect.yieldNow(), here)))
            yield* shared.get(`${name.length}`)
            seen.push(yield* here)
            yield* Queue.offer(queue, name)
            seen.push(yield* here)
            yield* Effect.sync(() => getConfig().writer?.(name))
            return { log: seen }
          })
        )
        const node = yield* Graph.node(agent)
        const protectedNode = Graph.protect(async ({ name }: State, config: Graph.Config) => {
          await new Promise((resolve) => setTimeout(resolve, 1))
          config.writer?.(name)
          return { log: [`${getConfig().configurable?.["thread_id"]} ${storage.getStore()}`] }
        })
        const graph = new StateGraph(State)
          .addNode("shared", node)
          .addNode("plain", protectedNode)
          .addEdge(START, "shared")
          .addEdge("shared", "plain")
          .compile()
        const one = (name: string) =>
          Effect.async<ReadonlyArray<Graph.Event<State>>, unknown>((resume) => {
            const run = Stream.runCollect(Graph.stream(graph, { name }, { threadId: name, modes: ["custom"] }))
            storage.run(name, () => {
              Effect.runPromise(run).then(
                (events) => resume(Effect.succeed([...events])),
                (error: unknown) => resume(Effect.fail(error))
              )
            })
          })
        const names = Array.from({ length: 200 }, (_, index) => `run-${index}`)
        const all = yield* Effect.forEach(names, one, { concurrency: "unbounded" })
        for (const [index, name] of names.entries()) {
          const own = `${name} ${name}`
          deepStrictEqual(all[index], [
            { _tag: "Custom", namespace: [], value: name },
            { _tag: "Custom", namespace: [], value: name },
            { _tag: "Ended", state: { name, log: [own, own, own, own, own] } }
          ])
        }
      }),
    120_000
  )

  it.effect("have their observations under their own", () =>
    Effect.gen(function* () {
      const lock = yield* Effect.makeSemaphore(3)
      const node = yield* Graph.node("work", ({ name }: State) =>
        lock.withPermits(1)(Observation.span(Effect.as(Effect.yieldNow(), { log: [name] }), `inside ${name}`))
      )
      const inner = Graph.protectAll(
        new StateGraph(State).addNode("deep", ({ name }) => ({ log: [name] })).addEdge(START, "deep")
      ).compile()
      const graph = Graph.protectAll(
        new StateGraph(State)
          .addNode("work", node)
          .addNode("inner", inner)
          .addEdge(START, "work")
          .addEdge("work", "inner")
      ).compile()
      const names = Array.from({ length: 20 }, (_, index) => `${index}`)
      yield* Effect.forEach(
        names,
        (name) => Observation.span(Graph.run(graph, { name }, { threadId: name }), `run ${name}`),
        { concurrency: "unbounded" }
      )
      const spans = yield* Effect.flatMap(Trace.Recorder, ({ spans }) => spans)
      const byId = new Map(spans.map((span) => [span.spanId, span]))
      const path = (span: (typeof spans)[number] | undefined): string =>
        span === undefined ? "" : `${path(byId.get(span.parentId ?? ""))}/${span.name}`
      const paths = spans.map(path)
      for (const name of names) {
        const inside = paths.filter((each) => each.startsWith(`/run ${name}/`) && each.endsWith(`/inside ${name}`))
        assert.strictEqual(inside.length, 1, name)
      }
      // a graph inside a node stands under the try of the node that runs it
      const under = "/node_inner/agent_inner/retry_execution/attempt/node_deep"
      assert.strictEqual(paths.filter((each) => each.endsWith(under)).length, names.length)
    }).pipe(Effect.provide(Trace.layerRecorder()))
  )
})

describe("a stream", () => {
  it.live("tells of tokens, tries, failures and questions, and ends with where the run stands", () =>
    Effect.gen(function* () {
      const model = new FakeListChatModel({ responses: ["hi"] })
      let left = 1
      const graph = Graph.protectAll(
        new StateGraph(State)
          .addNode("model", async () => ({ log: [String((await model.invoke("hello")).content)] }))
          .addNode("flaky", () => {
            if (left-- > 0) throw Object.assign(new Error("busy"), { status: 503 })
            return { log: ["flaky"] }
          })
          .addNode("ask", () => ({ log: [String(interrupt("sure?"))] }))
          .addEdge(START, "model")
          .addEdge("model", "flaky")
          .addEdge("flaky", "ask"),
        { policy: { retry: { maxAttempts: 2, base: 1 } } }
      ).compile({ checkpointer: new MemorySaver() })
      const events = [...(yield* Stream.runCollect(Graph.stream(graph, { name: "x" }, at)))]
      const brief = events.map((event) => {
        if (event._tag === "Token") return `token ${event.text}`
        if (event._tag === "NodeRetried") return `retried ${event.node} ${event.attempt} ${event.failure.class}`
        return "node" in event ? `${event._tag} ${event.node}` : event._tag
      })
      deepStrictEqual(
        brief.filter((each) => each !== "token "), // an empty piece ends a model's answer
        [
          "NodeStarted model",
          "token h",
          "token i",
          "Update model",
          "NodeEnded model",
          "NodeStarted flaky",
          "retried flaky 2 overloaded",
          "Update flaky",
          "NodeEnded flaky",
          "NodeStarted ask",
          "Waiting"
        ]
      )
      const last = events.at(-1)
      assert.isTrue(last?._tag === "Waiting" && last.interrupts[0]?.value === "sure?" && last.state.log.length === 2)
    })
  )

  it.live("tells which node failed, protected or not, and then fails", () =>
    Effect.gen(function* () {
      const bad = () => {
        throw new TypeError("broken")
      }
      for (const node of [bad, Graph.protect(bad, { name: "bad" })]) {
        const graph = new StateGraph(State).addNode("bad", node).addEdge(START, "bad").compile()
        const events: Array<Graph.Event> = []
        const error = yield* Effect.flip(
          Stream.runForEach(Graph.stream(graph, { name: "x" }, at), (event) => Effect.sync(() => events.push(event)))
        )
        assert.instanceOf(error.error, TypeError)
        const failed = events.find((event) => event._tag === "NodeFailed")
        assert.isTrue(failed?._tag === "NodeFailed" && failed.node === "bad" && failed.failure.class === "permanent")
      }
    })
  )
})

describe("Promise code", () => {
  it.live("runs, answers, streams, forks and looks back, with the errors that the effects have", () =>
    Effect.promise(async () => {
      const broken = new TypeError("broken")
      const compiled = new StateGraph(State)
        .addNode("ask", ({ name }) => {
          if (name === "bad") throw broken
          return { log: [String(interrupt("?"))] }
        })
        .addEdge(START, "ask")
        .compile({ checkpointer: new MemorySaver() })
      const graph = Graph.toPromise(compiled)
      const paused = await graph.run({ name: "a" }, at)
      assert.strictEqual(Graph.outcome(paused)._tag, "Waiting")
      assert.deepInclude(await graph.state("t"), { status: "waiting", next: ["ask"] })
      deepStrictEqual((await graph.resume(false, at)).log, ["false"])
      const tags: Array<string> = []
      for await (const event of graph.stream({ name: "b" }, { threadId: "s" })) tags.push(event._tag)
      deepStrictEqual(tags, ["NodeStarted", "Waiting"])
      const history = await graph.history("t")
      assert.strictEqual(history.length, 3)
      assert.strictEqual((await graph.history("t", { limit: 1 })).length, 1)
      const forked = await graph.fork({
        ...at,
        checkpointId: history[1]?.checkpointId,
        update: { name: "c" },
        asNode: "__start__"
      })
      assert.strictEqual((await graph.state("t")).checkpointId, forked.checkpointId)
      assert.deepInclude(Graph.outcome(await graph.run(null, at)), { _tag: "Waiting" })
      const error: unknown = await graph.run({ name: "bad" }, { threadId: "bad" }).catch((thrown: unknown) => thrown)
      assert.isTrue(error instanceof Graph.GraphError && error.error === broken)
      await graph.dispose()
      const late: unknown = await graph.run({ name: "a" }, at).catch((thrown: unknown) => thrown)
      assert.isTrue(late instanceof Error && late.name === "AbortError")
    })
  )

  it.live("gives its nodes what its layer has, and releases it", () =>
    Effect.promise(async () => {
      const order: Array<string> = []
      const policies = Agent.policies({ flaky: { retry: { maxAttempts: 4, base: 1 } } })
      const held = Layer.scopedDiscard(Effect.addFinalizer(() => Effect.sync(() => order.push("released"))))
      let calls = 0
      const compiled = Graph.protectAll(
        new StateGraph(State)
          .addNode("flaky", () => {
            if (++calls < 4) throw new Error("not yet")
            return { log: ["at last"] }
          })
          .addEdge(START, "flaky"),
        { policy: { retry: false } }
      ).compile()
      const graph = Graph.toPromise(compiled, { layer: Layer.merge(policies, held) })
      deepStrictEqual((await graph.run({ name: "a" }, at)).log, ["at last"])
      await graph.dispose()
      deepStrictEqual(order, ["released"])
    })
  )
})

describe("a checkpoint that is named", () => {
  it.live("is where the run goes on, as LangGraph's own does, on a branch of its own", () =>
    Effect.gen(function* () {
      const ran: Array<string> = []
      const say = (text: string) => () => {
        ran.push(text)
        return { log: [text] }
      }
      const builder = new StateGraph(State)
        .addNode("a", say("a"))
        .addNode("b", say("b"))
        .addEdge(START, "a")
        .addEdge("a", "b")
      const logs = yield* Effect.forEach([builder, Graph.protectAll(builder)], (each) =>
        Effect.gen(function* () {
          ran.length = 0
          const graph = each.compile({ checkpointer: new MemorySaver() })
          yield* Graph.run(graph, { name: "x" }, at)
          const [, before] = yield* Graph.history(graph, "t")
          deepStrictEqual(before?.next, ["b"])
          const { log } = yield* Graph.run(graph, null, { ...at, checkpointId: before?.checkpointId })
          const history = yield* Graph.history(graph, "t")
          assert.deepInclude(yield* Graph.state(graph, "t", { checkpointId: before?.checkpointId }), { next: ["b"] })
          return [log, [...ran], history.length]
        })
      )
      deepStrictEqual(logs[0], [["a", "b"], ["a", "b", "b"], 6])
      deepStrictEqual(logs[1], logs[0])
    })
  )

  it.live("has to be there", () =>
    Effect.gen(function* () {
      const graph = new StateGraph(State).addNode("a", () => ({})).addEdge(START, "a")
      const error = yield* Effect.flip(
        Graph.fork(graph.compile({ checkpointer: new MemorySaver() }), { ...at, checkpointId: "nobody's" })
      )
      assert.strictEqual(error.reason, "graph")
      const without = yield* Effect.flip(Graph.state(graph.compile(), "t"))
      assert.include(without.message, "No checkpointer")
    })
  )
})

describe("a graph that is protected", () => {
  const failing = () => {
    throw Object.assign(new Error("down"), { status: 503 })
  }

  it.live("is a copy: the one that was given stays as it was, and both can be added to", () =>
    Effect.gen(function* () {
      let calls = 0
      const builder = new StateGraph(State).addNode("a", () => {
        if (++calls % 2 === 1) throw new Error("not yet")
        return { log: ["a"] }
      })
      const copy = Graph.protectAll(builder, { policy: { retry: { maxAttempts: 2, base: 1 } } })
      builder.addEdge(START, "a")
      copy
        .addEdge(START, "a")
        .addNode("b", () => ({ log: ["b"] }))
        .addEdge("a", "b" as never)
      deepStrictEqual((yield* Graph.run(copy.compile(), { name: "" }, at)).log, ["a", "b"])
      assert.isTrue((yield* Effect.exit(Graph.run(builder.compile(), { name: "" }, at)))._tag === "Failure")
    })
  )

  it.live("leaves a node alone that is to be, and says which name nobody has", () =>
    Effect.gen(function* () {
      let calls = 0
      const builder = new StateGraph(State)
        .addNode("a", () => {
          calls++
          return failing()
        })
        .addEdge(START, "a")
      const graph = Graph.protectAll(builder, { perNode: { a: false } }).compile()
      yield* Effect.flip(Graph.run(graph, { name: "" }, at))
      assert.strictEqual(calls, 1)
      assert.throws(() => Graph.protectAll(builder, { perNode: { nobody: {} } }), RangeError, 'no node "nobody"')
      assert.throws(() => Graph.protectAll(builder, { policy: { retry: { maxAttempts: 0 } } }), RangeError)
      assert.throws(() => Graph.protectAll(graph as never), TypeError, "not compiled")
    })
  )

  it.live("has a breaker for each function: one that is in two graphs has one, another of the same name its own", () =>
    Effect.gen(function* () {
      const policy = { retry: false, circuitBreaker: { failureThreshold: 1 } } as const
      const of = (node: () => never) =>
        Graph.protectAll(new StateGraph(State).addNode("a", node).addEdge(START, "a"), { policy }).compile()
      const tag = (graph: Graph.Runnable<{ name: string }, unknown>) =>
        Effect.map(Effect.flip(Graph.run(graph, { name: "" }, at)), ({ error }) =>
          error instanceof CircuitBreaker.CircuitBreakerOpenError ? "open" : "failed"
        )
      deepStrictEqual(yield* Effect.all([tag(of(failing)), tag(of(failing)), tag(of(() => failing()))]), [
        "failed",
        "open",
        "failed"
      ])
      const registry = yield* Layer.build(CircuitBreaker.layerRegistry)
      yield* tag(of(failing)).pipe(Effect.provide(registry))
      deepStrictEqual(
        Context.get(registry, CircuitBreaker.Registry)
          .all()
          .map(({ name }) => name),
        ["a"]
      )
    }).pipe(Effect.scoped)
  )
})
