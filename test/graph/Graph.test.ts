import { AsyncLocalStorage } from "node:async_hooks"
import { assert, describe, it } from "@effect/vitest"
import {
  Annotation,
  Command,
  END,
  getConfig,
  INTERRUPT,
  interrupt,
  isGraphInterrupt,
  MemorySaver,
  START,
  StateGraph
} from "@langchain/langgraph"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Ref from "effect/Ref"
import * as Schema from "effect/Schema"
import * as Graph from "../../src/graph/Graph.js"
import * as Observation from "../../src/observability/Observation.js"
import * as Trace from "../../src/observability/Trace.js"

const State = Annotation.Root({
  name: Annotation<string>,
  said: Annotation<ReadonlyArray<string>>({ reducer: (a, b) => [...a, ...b], default: () => [] })
})
type State = typeof State.State
type Update = Partial<State>

class Greeter extends Context.Tag("test/Greeter")<
  Greeter,
  { readonly greet: (name: string) => Effect.Effect<string> }
>() {}

class Refused extends Schema.TaggedError<Refused>()("Refused", { who: Schema.String }) {}

/** A graph of one node. */
const single = <E, R>(run: (state: State) => Effect.Effect<Update, E, R>, checkpointer = new MemorySaver()) =>
  Effect.map(Graph.node("only", run), (only) =>
    new StateGraph(State).addNode("only", only).addEdge(START, "only").addEdge("only", END).compile({ checkpointer })
  )

const thread = { threadId: "t" }

describe("a node", () => {
  it.effect("takes its services from where it is made", () =>
    Effect.gen(function* () {
      const graph = yield* single(({ name }) =>
        Effect.map(
          Effect.flatMap(Greeter, ({ greet }) => greet(name)),
          (text) => ({ said: [text] })
        )
      ).pipe(Effect.provideService(Greeter, { greet: (name) => Effect.succeed(`Hello, ${name}`) }))
      const state = yield* Graph.run(graph, { name: "Ada" }, thread)
      assert.deepStrictEqual(state.said, ["Hello, Ada"])
    })
  )

  it.effect("throws what it fails with as it is", () =>
    Effect.gen(function* () {
      const refused = new Refused({ who: "Ada" })
      const boom = new TypeError("boom")
      const cases: ReadonlyArray<readonly [Effect.Effect<Update, unknown>, Error]> = [
        [Effect.fail(refused), refused],
        [Effect.die(boom), boom],
        [Effect.tryPromise(() => Promise.reject(boom)), boom]
      ]
      for (const [work, expected] of cases) {
        const graph = yield* single(() => work)
        const error = yield* Effect.flip(Graph.run(graph, { name: "x" }, thread))
        assert.instanceOf(error, Graph.GraphError)
        assert.isTrue(error.error === expected)
        assert.include(error.message, '"t"')
        assert.include(error.message, expected.message)
      }
    })
  )

  it.effect("may fail with anything", () =>
    Effect.gen(function* () {
      for (const value of ["text", Object.freeze(new Error("frozen")), { code: 7 }, undefined]) {
        const graph = yield* single(() => Effect.fail(value))
        const error = yield* Effect.flip(Graph.run(graph, { name: "x" }, thread))
        assert.instanceOf(error.error, Error)
      }
    })
  )

  it.effect("is retried by LangGraph's own policy as any node is", () =>
    Effect.gen(function* () {
      let calls = 0
      const flaky = yield* Graph.node("flaky", (_: State) =>
        Effect.suspend(() =>
          ++calls < 3 ? Effect.fail(new Refused({ who: "x" })) : Effect.succeed({ said: ["at last"] })
        )
      )
      const graph = new StateGraph(State)
        .addNode("flaky", flaky, { retryPolicy: { maxAttempts: 3, initialInterval: 1 } })
        .addEdge(START, "flaky")
        .addEdge("flaky", END)
        .compile()
      assert.deepStrictEqual((yield* Graph.run(graph, { name: "x" }, thread)).said, ["at last"])
      assert.strictEqual(calls, 3)
    })
  )
})

describe("pause and resume", () => {
  it.effect("interrupt() inside an effect pauses the run and is answered on resuming", () =>
    Effect.gen(function* () {
      const begun = yield* Ref.make(0)
      const released = yield* Ref.make(0)
      const graph = yield* single(({ name }) =>
        Effect.gen(function* () {
          yield* Ref.update(begun, (n) => n + 1)
          yield* Effect.yieldNow()
          const answer: unknown = yield* Effect.sync(() => interrupt(`may I greet ${name}?`))
          return { said: [`${answer}`] }
        }).pipe(Effect.ensuring(Ref.update(released, (n) => n + 1)))
      )
      const paused: unknown = yield* Graph.run(graph, { name: "Ada" }, thread)
      assert.deepInclude(paused, { said: [] })
      const questions = (paused as { [INTERRUPT]: ReadonlyArray<{ value: unknown }> })[INTERRUPT]
      assert.deepStrictEqual(
        questions.map(({ value }) => value),
        ["may I greet Ada?"]
      )
      assert.deepStrictEqual((yield* Graph.state(graph, "t")).next, ["only"])

      const state = yield* Graph.run(graph, new Command({ resume: "you may" }), thread)
      assert.deepStrictEqual(state.said, ["you may"])
      assert.strictEqual(yield* Ref.get(begun), 2)
      assert.strictEqual(yield* Ref.get(released), 2)
      assert.deepStrictEqual((yield* Graph.state(graph, "t")).next, [])
    })
  )

  it.effect("the signal reaches LangGraph as it was thrown, through Effect.try and catches of typed errors", () =>
    Effect.gen(function* () {
      let seen: unknown
      const graph = yield* single(() =>
        Effect.try(() => interrupt("?")).pipe(
          Effect.tapErrorCause((cause) =>
            Effect.sync(() => {
              seen = Cause.squash(cause)
            })
          ),
          Effect.as({ said: ["no"] })
        )
      )
      const paused = yield* Graph.run(graph, { name: "x" }, thread)
      assert.deepStrictEqual(paused.said, [])
      assert.isTrue(Cause.isUnknownException(seen) && isGraphInterrupt(seen.error))
      assert.deepStrictEqual((yield* Graph.state(graph, "t")).next, ["only"])
    })
  )

  it.effect("is no error in the trace", () =>
    Effect.gen(function* () {
      const graph = yield* single(() => Effect.sync(() => ({ said: [String(interrupt("?"))] })))
      yield* Graph.run(graph, { name: "x" }, thread).pipe(Observation.span("run"))
      const spans = yield* Effect.flatMap(Trace.Recorder, ({ spans }) => spans)
      assert.deepStrictEqual(
        spans.map(({ level, name }) => `${name} ${level}`),
        ["run DEFAULT", "node_only DEFAULT"]
      )
    }).pipe(Effect.provide(Trace.layerRecorder()))
  )
})

describe("a run", () => {
  it.effect("interrupted: reaches the node and waits for its finalizers", () =>
    Effect.gen(function* () {
      const began = yield* Deferred.make<void>()
      const closing = yield* Deferred.make<void>()
      const mayClose = yield* Deferred.make<void>()
      const closed = yield* Ref.make(false)
      const graph = yield* single(() =>
        Effect.zipRight(Deferred.succeed(began, undefined), Effect.never).pipe(
          Effect.onInterrupt(() =>
            Deferred.succeed(closing, undefined).pipe(
              Effect.zipRight(Deferred.await(mayClose)),
              Effect.zipRight(Ref.set(closed, true))
            )
          )
        )
      )
      const fiber = yield* Effect.fork(Graph.run(graph, { name: "x" }, thread))
      yield* Deferred.await(began)
      const interrupting = yield* Effect.fork(Fiber.interrupt(fiber))
      yield* Deferred.await(closing)
      assert.isNull(interrupting.unsafePoll())
      yield* Deferred.succeed(mayClose, undefined)
      const exit = yield* Fiber.join(interrupting)
      assert.isTrue(Exit.isInterrupted(exit))
      assert.isTrue(yield* Ref.get(closed))
      // its last checkpoint stands
      assert.deepStrictEqual((yield* Graph.state(graph, "t")).next, ["only"])
    })
  )

  it.effect("waits for parallel nodes when one of them fails", () =>
    Effect.gen(function* () {
      const began = yield* Deferred.make<void>()
      const closed = yield* Ref.make(false)
      const slow = yield* Graph.node("slow", (_: State) =>
        Effect.zipRight(Deferred.succeed(began, undefined), Effect.never).pipe(
          Effect.ensuring(Effect.zipRight(Effect.yieldNow(), Ref.set(closed, true)))
        )
      )
      const bad = yield* Graph.node("bad", (_: State) =>
        Effect.zipRight(Deferred.await(began), Effect.fail(new Refused({ who: "x" })))
      )
      const graph = new StateGraph(State)
        .addNode("slow", slow)
        .addNode("bad", bad)
        .addEdge(START, "slow")
        .addEdge(START, "bad")
        .addEdge("slow", END)
        .addEdge("bad", END)
        .compile()
      const error = yield* Effect.flip(Graph.run(graph, { name: "x" }, thread))
      assert.instanceOf(error.error, Refused)
      assert.isTrue(yield* Ref.get(closed))
    })
  )

  it.effect("that never began leaves nothing behind", () =>
    Effect.gen(function* () {
      let runs = 0
      const graph = yield* single(() =>
        Effect.sync(() => {
          runs++
          return {}
        })
      )
      const fiber = yield* Effect.fork(Graph.run(graph, { name: "x" }, thread))
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(runs, 0)
    })
  )

  it.effect("tells that its saver failed", () =>
    Effect.gen(function* () {
      class Broken extends MemorySaver {
        override put(): Promise<never> {
          return Promise.reject(new Error("the disk is full"))
        }
      }
      const graph = yield* single(() => Effect.succeed({ said: ["hi"] }), new Broken())
      const error = yield* Effect.flip(Graph.run(graph, { name: "x" }, thread))
      assert.include(error.message, "the disk is full")
    })
  )

  it.effect("has its nodes as observations under it, with the attributes of its trace", () =>
    Effect.gen(function* () {
      const graph = yield* single(() => Effect.as(Observation.span(Effect.void, "inside"), { said: ["hi"] }))
      yield* Graph.run(graph, { name: "x" }, thread).pipe(
        Observation.span("run"),
        Observation.withTrace({ name: "a trace", sessionId: "t" })
      )
      const spans = yield* Effect.flatMap(Trace.Recorder, ({ spans }) => spans)
      const byId = new Map(spans.map((span) => [span.spanId, span.name]))
      assert.deepStrictEqual(
        spans.map(({ name, parentId }) => [name, byId.get(parentId ?? "")]),
        [
          ["run", undefined],
          ["node_only", "run"],
          ["inside", "node_only"]
        ]
      )
      assert.strictEqual(new Set(spans.map(({ traceId }) => traceId)).size, 1)
    }).pipe(Effect.provide(Trace.layerRecorder()))
  )
})

describe("many runs at once", () => {
  it.effect("that wake one another keep their own config and asynchronous context", () =>
    Effect.gen(function* () {
      const lock = yield* Effect.makeSemaphore(3)
      const storage = new AsyncLocalStorage<string>()
      const graph = yield* single(({ name }) =>
        Effect.gen(function* () {
          const here = () => `${getConfig().configurable?.["thread_id"]} ${storage.getStore()}`
          const before = yield* Effect.sync(here)
          const within = yield* lock.withPermits(1)(Effect.zipRight(Effect.yieldNow(), Effect.sync(here)))
          yield* Effect.promise(() => Promise.resolve())
          const after = yield* Effect.sync(here)
          return { said: [name, before, within, after] }
        })
      )
      const states = yield* Effect.forEach(
        Array.from({ length: 100 }, (_, index) => `run-${index}`),
        (name) =>
          Effect.async<State, unknown>((resume) => {
            storage.run(name, () => {
              Effect.runPromise(Graph.run(graph, { name }, { threadId: name })).then(
                (state) => resume(Effect.succeed(state)),
                (error) => resume(Effect.fail(error))
              )
            })
          }),
        { concurrency: "unbounded" }
      )
      for (const { name, said } of states) {
        const own = `${name} ${name}`
        assert.deepStrictEqual(said, [name, own, own, own])
      }
    })
  )
})
