/** Protected graphs do what LangGraph's own do: on its saver and on ours, streamed in each mode, state for state and checkpoint for checkpoint. */
import { deepStrictEqual } from "node:assert"
import { describe, it } from "@effect/vitest"
import { type BaseCheckpointSaver, MemorySaver } from "@langchain/langgraph"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Checkpointer from "../../src/checkpoint/Checkpointer.js"
import * as Graph from "../../src/graph/Graph.js"
import * as TestDatabases from "../support/databases.js"
import { type Hand, hardened, plain, type Shape, shapes } from "./shapes.js"

const modes = ["values", "updates", "custom", "messages", "tasks", "checkpoints", "debug"]

/** Ids and times are each run's own: they are named by the order in which they come. */
const normal = (value: unknown): unknown => {
  const names = new Map<string, string>()
  const named = (text: string) =>
    text
      .replaceAll(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]{32}\b/g, (id) => {
        const name = names.get(id) ?? `id-${names.size}`
        names.set(id, name)
        return name
      })
      .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "time")
  const walk = (each: unknown): unknown => {
    if (typeof each === "string") return named(each)
    if (typeof each !== "object" || each === null) return each
    if (Array.isArray(each)) return each.map(walk)
    const plainly: object = "toJSON" in each && typeof each.toJSON === "function" ? each.toJSON() : each
    return Object.fromEntries(
      Object.entries(plainly)
        // what is carried along is no part of what is said; timestamps of debug events are of the moment
        .filter(([key, it]) => it !== undefined && !key.startsWith("__pregel") && !key.startsWith("__holdfast"))
        .map(([key, it]) => [named(key), walk(it)])
    )
  }
  return walk(value)
}

const idsOf = (snapshot: Graph.RawSnapshot): ReadonlyArray<string> =>
  (snapshot.tasks as ReadonlyArray<{ interrupts: ReadonlyArray<{ id: string }> }>).flatMap(({ interrupts }) =>
    interrupts.map(({ id }) => id)
  )

const errorOf = (error: unknown) => (error instanceof Error ? `${error.name}: ${error.message}` : String(error))

interface Seen {
  readonly turns: ReadonlyArray<unknown>
  readonly states: ReadonlyArray<unknown>
  readonly history: ReadonlyArray<unknown>
}

/** All that can be seen of a shape, asked as LangGraph's own users ask. */
const watch = async (shape: Shape, hand: Hand, saver: BaseCheckpointSaver, thread: string): Promise<Seen> => {
  const graph = shape.make(hand, saver)
  const at = { configurable: { thread_id: thread } }
  const turns: Array<unknown> = []
  const states: Array<unknown> = []
  for (const next of shape.inputs) {
    const input: unknown = typeof next === "function" ? next(idsOf(await graph.getState(at))) : next
    const chunks: Array<ReadonlyArray<unknown>> = []
    try {
      const config = { ...at, ...shape.config, streamMode: modes, subgraphs: true, durability: "sync" }
      for await (const chunk of await graph.stream(input, config)) chunks.push(chunk as ReadonlyArray<unknown>)
    } catch (error) {
      // LangGraph drops what its reader has not come to when a run fails: how much of the last tasks is seen is chance
      while (["tasks", "debug"].includes(String(chunks.at(-1)?.[1]))) chunks.pop()
      chunks.push([errorOf(error)])
    }
    turns.push(chunks)
    states.push(await graph.getState(at))
  }
  const history: Array<unknown> = []
  for await (const each of graph.getStateHistory(at)) history.push(each)
  return normal({ turns, states, history }) as Seen
}

/** The same through this package's own runtime. */
const drive = (shape: Shape, saver: BaseCheckpointSaver, thread: string) =>
  Effect.gen(function* () {
    const graph = shape.make(hardened, saver)
    const results: Array<unknown> = []
    for (const next of shape.inputs) {
      const raw = yield* Effect.promise(() => graph.getState({ configurable: { thread_id: thread } }))
      const input: unknown = typeof next === "function" ? next(idsOf(raw)) : next
      const options = { threadId: thread, ...shape.config }
      const exit = yield* Effect.exit(Graph.run(graph, input, options))
      results.push(Exit.isSuccess(exit) ? exit.value : "failed")
    }
    const history = yield* Graph.history(graph, thread)
    return normal({ results, history: history.map(({ next, values }) => ({ next, values })) })
  })

const invoked = async (shape: Shape, saver: BaseCheckpointSaver, thread: string) => {
  const graph = shape.make(plain, saver)
  const at = { configurable: { thread_id: thread } }
  const results: Array<unknown> = []
  for (const next of shape.inputs) {
    const input: unknown = typeof next === "function" ? next(idsOf(await graph.getState(at))) : next
    const config = { ...at, ...shape.config, durability: "sync" } as unknown as Graph.RunConfig
    results.push(await graph.invoke(input, config).catch(() => "failed"))
  }
  const history: Array<unknown> = []
  for await (const { next, values } of graph.getStateHistory(at)) history.push({ next, values })
  return normal({ results, history })
}

describe("a protected graph", () => {
  const embedded = TestDatabases.backends.filter(({ name }) => name === "embedded")
  for (const backend of embedded) {
    it.layer(Layer.provideMerge(Checkpointer.layer(), backend.layer))((it) => {
      for (const shape of shapes) {
        it.effect(`is as LangGraph's own: ${shape.name}`, () =>
          Effect.gen(function* () {
            const ours = yield* Checkpointer.Checkpointer
            const expected = yield* Effect.promise(() => watch(shape, plain, new MemorySaver(), "t"))
            const onMemory = yield* Effect.promise(() => watch(shape, hardened, new MemorySaver(), "t"))
            deepStrictEqual(onMemory, expected)
            const thread = `watched ${shape.name}`
            const unprotected = yield* Effect.promise(() => watch(shape, plain, ours, `plain ${shape.name}`))
            const onOurs = yield* Effect.promise(() => watch(shape, hardened, ours, thread))
            const renamed = (seen: unknown, from: string): unknown =>
              JSON.parse(JSON.stringify(seen).replaceAll(JSON.stringify(from), JSON.stringify("t")))
            deepStrictEqual(renamed(onOurs, thread), renamed(unprotected, `plain ${shape.name}`))

            const run = yield* drive(shape, ours, `driven ${shape.name}`)
            const plainly = yield* Effect.promise(() => invoked(shape, new MemorySaver(), "t"))
            deepStrictEqual(run, plainly)
          })
        )
      }
    })
  }

  it.effect("streams typed events of what LangGraph's own streams say", () =>
    Effect.gen(function* () {
      const shape = shapes.find(({ name }) => name.startsWith("linear"))
      if (shape === undefined) throw new Error("no such shape")
      const graph = shape.make(hardened, new MemorySaver())
      const events = yield* Stream.runCollect(
        Graph.stream(graph, { log: ["in"] }, { threadId: "t", modes: ["updates", "custom", "tasks", "values"] })
      )
      deepStrictEqual(
        [...events].map((event) => `${event._tag}${"node" in event ? ` ${event.node}` : ""}`),
        [
          "Values",
          "NodeStarted sync",
          "Update sync",
          "NodeEnded sync",
          "Values",
          "NodeStarted async",
          "Custom",
          "Update async",
          "NodeEnded async",
          "Values",
          "NodeStarted runnable",
          "Update runnable",
          "NodeEnded runnable",
          "Values",
          "NodeStarted nothing",
          "Update nothing",
          "NodeEnded nothing",
          "Ended"
        ]
      )
    })
  )
})
