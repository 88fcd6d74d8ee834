/** What ends a run ends all of it: sockets, nodes, finalizers; and a checkpoint that was lost ends the run. */
import { deepStrictEqual } from "node:assert"
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { assert, describe, it } from "@effect/vitest"
import { Annotation, MemorySaver, START, StateGraph } from "@langchain/langgraph"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as Agent from "../../src/agent/Agent.js"
import { ThreadBusyError } from "../../src/checkpoint/CheckpointError.js"
import * as Graph from "../../src/graph/Graph.js"
import * as Failure from "../../src/resilience/Failure.js"

const State = Annotation.Root({
  log: Annotation<ReadonlyArray<string>>({ reducer: (a, b) => [...a, ...b], default: () => [] })
})
type State = typeof State.State

const at = { threadId: "t" }

/** A model's server that never answers: it says when it was asked, and when the asker hung up. */
const silentServer = Effect.acquireRelease(
  Effect.gen(function* () {
    const asked = yield* Deferred.make<void>()
    const closed = yield* Deferred.make<void>()
    const server = yield* Effect.async<Server>((resume) => {
      const made = createServer((request) => {
        Effect.runSync(Deferred.succeed(asked, undefined))
        request.socket.on("close", () => Effect.runSync(Deferred.succeed(closed, undefined)))
      })
      made.listen(0, "127.0.0.1", () => resume(Effect.succeed(made)))
    })
    const { port } = server.address() as AddressInfo
    return { url: `http://127.0.0.1:${port}/`, asked: Deferred.await(asked), closed: Deferred.await(closed), server }
  }),
  ({ server }) => Effect.promise(() => new Promise((resolve) => server.closeAllConnections() ?? server.close(resolve)))
)

/** The ways to call a model in a node. */
const callers = (url: string, ended: () => void) => ({
  "a function that is protected": Effect.succeed(
    Graph.protect(
      async (_: State, config: Graph.Config) => {
        try {
          await fetch(url, { signal: config.signal ?? null })
          return { log: ["answered"] }
        } finally {
          ended()
        }
      },
      { timeout: false }
    )
  ),
  "an agent": Graph.node(
    Agent.make(
      "model",
      (_: State) =>
        Effect.tryPromise((signal) => fetch(url, { signal })).pipe(
          Effect.as({ log: ["answered"] }),
          Effect.ensuring(Effect.sync(ended))
        ),
      { timeout: false }
    )
  )
})

const followed = (node: Graph.NodeFunction<State, Partial<State>>, next: () => void) =>
  new StateGraph(State)
    .addNode("model", node)
    .addNode("next", () => {
      next()
      return {}
    })
    .addEdge(START, "model")
    .addEdge("model", "next")
    .compile({ checkpointer: new MemorySaver() })

describe("a call of a model ends with its run", () => {
  for (const name of ["a function that is protected", "an agent"] as const) {
    it.scopedLive(`${name}: interrupted, aborted, left`, () =>
      Effect.gen(function* () {
        const ends = ["interruption", "abort", "a stream that nobody reads on"] as const
        for (const end of ends) {
          const { asked, closed, url } = yield* silentServer
          let finalized = 0
          let nexts = 0
          const node = yield* callers(url, () => finalized++)[name]
          const graph = followed(node as Graph.NodeFunction<State, Partial<State>>, () => nexts++)
          const controller = new AbortController()
          const promise = Graph.toPromise(graph)
          const run: Effect.Effect<unknown, unknown> =
            end === "abort"
              ? Effect.promise(() =>
                  promise.run({ log: [] }, { ...at, signal: controller.signal }).catch(() => "aborted")
                )
              : end === "interruption"
                ? Graph.run(graph, { log: [] }, at)
                : Stream.runDrain(Graph.stream(graph, { log: [] }, at))
          const fiber = yield* Effect.fork(run)
          yield* asked
          if (end === "abort") {
            controller.abort()
            assert.strictEqual(yield* Fiber.join(fiber), "aborted")
          } else yield* Fiber.interrupt(fiber)
          // whoever waited was told when all had ended
          assert.strictEqual(finalized, 1, end)
          yield* closed
          assert.strictEqual(nexts, 0)
          deepStrictEqual((yield* Graph.state(graph, "t")).next, ["model"])
        }
      })
    )

    it.scopedLive(`${name}: a try that takes too long hangs up, and the next one begins`, () =>
      Effect.gen(function* () {
        const { asked, closed, url } = yield* silentServer
        let finalized = 0
        const caller = callers(url, () => finalized++)[name]
        const protectedCaller = Graph.protect(yield* caller as Effect.Effect<never>, {
          name: "model",
          timeout: "50 millis",
          retry: { maxAttempts: 2, base: 1 },
          fallback: () => ({ log: ["fallback"] })
        })
        const graph = followed(protectedCaller as Graph.NodeFunction<State, Partial<State>>, () => {})
        const { log } = yield* Graph.run(graph, { log: [] }, at)
        deepStrictEqual(log, ["fallback"])
        yield* asked
        yield* closed
        assert.strictEqual(finalized, 2)
      })
    )
  }

  it.live("a function that does not listen to its signal is waited for, and no node starts after it", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>()
      let ended = false
      let nexts = 0
      const node = Graph.protect(async (_: State) => {
        Effect.runSync(Deferred.succeed(begun, undefined))
        await new Promise((resolve) => setTimeout(resolve, 50))
        ended = true
        return { log: ["late"] }
      })
      const fiber = yield* Effect.fork(
        Graph.run(
          followed(node, () => nexts++),
          { log: [] },
          at
        )
      )
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(fiber)
      assert.isTrue(ended)
      assert.strictEqual(nexts, 0)
    })
  )

  it.live("a graph inside ends with the try that runs it", () =>
    Effect.gen(function* () {
      const signals: Array<AbortSignal> = []
      let inners = 0
      const inner = new StateGraph(State)
        .addNode("hangs", (_: State, config) => {
          if (config.signal !== undefined) signals.push(config.signal)
          return new Promise<Partial<State>>((_, reject) => {
            config.signal?.addEventListener("abort", () => reject(new Error("aborted")), { once: true })
          })
        })
        .addNode("never", () => {
          inners++
          return {}
        })
        .addEdge(START, "hangs")
        .addEdge("hangs", "never")
        .compile()
      const builder = new StateGraph(State).addNode("inner", inner).addEdge(START, "inner")
      const graph = Graph.protectAll(builder, {
        policy: { timeout: "50 millis", retry: { maxAttempts: 2, base: 1 } }
      }).compile()
      const { error } = yield* Effect.flip(Graph.run(graph, { log: [] }, at))
      assert.strictEqual(Failure.classOf(Failure.classify(error)), "timeout")
      deepStrictEqual(
        signals.map(({ aborted }) => aborted),
        [true, true]
      )
      assert.strictEqual(inners, 0)
    })
  )
})

describe("a checkpoint that cannot be written", () => {
  /** Fails from a step on, at what it is told. */
  class Failing extends MemorySaver {
    readonly written: Array<string> = []
    readonly #what: "put" | "putWrites"
    readonly #from: number
    #calls = 0
    constructor(what: "put" | "putWrites", from: number) {
      super()
      this.#what = what
      this.#from = from
    }
    #fails(what: "put" | "putWrites"): boolean {
      return what === this.#what && this.#calls++ >= this.#from
    }
    override put(...args: Parameters<MemorySaver["put"]>) {
      if (this.#fails("put")) return Promise.reject(new Error("the database is away"))
      this.written.push(`put ${args[2].step}`)
      return super.put(...args)
    }
    override putWrites(...args: Parameters<MemorySaver["putWrites"]>) {
      if (this.#fails("putWrites")) return Promise.reject(new Error("the database is away"))
      return super.putWrites(...args)
    }
  }

  for (const durability of ["async", "sync", "exit"] as const) {
    for (const what of ["put", "putWrites"] as const) {
      it.live(`ends the run with its error, and the process goes on: ${durability}, ${what}`, () =>
        Effect.gen(function* () {
          const saver = new Failing(what, durability === "exit" ? 0 : 1)
          const ran: Array<string> = []
          const builder = new StateGraph(State)
          const slow = (name: string) => async () => {
            ran.push(name)
            await new Promise((resolve) => setTimeout(resolve, 5))
            return { log: [name] }
          }
          const graph = builder
            .addNode("a", slow("a"))
            .addNode("b", slow("b"))
            .addNode("c", slow("c"))
            .addNode("d", slow("d"))
            .addEdge(START, "a")
            .addEdge("a", "b")
            .addEdge("b", "c")
            .addEdge("c", "d")
            .compile({ checkpointer: saver })
          const exit = yield* Effect.exit(Graph.run(graph, { log: [] }, { ...at, durability }))
          // with `exit` a run that ends well writes no results of tasks
          if (durability === "exit" && what === "putWrites") return assert.isTrue(Exit.isSuccess(exit))
          const error = yield* Effect.flip(exit)
          assert.include(error.message, "the database is away")
          // nothing follows on what is not there
          if (durability !== "exit") assert.isBelow(ran.length, 3, ran.join())
          const streamed = yield* Effect.flip(
            Stream.runDrain(Graph.stream(graph, { log: [] }, { threadId: "streamed", durability }))
          )
          assert.include(streamed.message, "the database is away")
        })
      )
    }
  }

  it.live("because another run has the thread says so, and is sorted as what it is", () =>
    Effect.gen(function* () {
      for (const reason of ["held", "lost"] as const) {
        class Taken extends MemorySaver {
          override put(): Promise<never> {
            return Promise.reject(new ThreadBusyError({ threadId: "t", operation: "put", reason, holder: "process 1" }))
          }
        }
        const graph = new StateGraph(State)
          .addNode("a", () => ({ log: ["a"] }))
          .addEdge(START, "a")
          .compile({ checkpointer: new Taken() })
        const error = yield* Effect.flip(Graph.run(graph, { log: [] }, at))
        assert.instanceOf(error.error, ThreadBusyError)
        assert.strictEqual(error.reason, "checkpoint")
        assert.strictEqual(Failure.classify(error).kind, reason === "held" ? "transient" : "permanent")
      }
    })
  )
})
