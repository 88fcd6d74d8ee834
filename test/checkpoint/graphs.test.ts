/** Whole graphs on the saver: pause, kill, resume, fork, and what is seen of it. */
import { deepStrictEqual } from "node:assert"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { AIMessage } from "@langchain/core/messages"
import { Annotation, Command, MessagesAnnotation, Send, START, StateGraph } from "@langchain/langgraph"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Checkpointer from "../../src/checkpoint/Checkpointer.js"
import * as Observation from "../../src/observability/Observation.js"
import * as SpanCarrier from "../../src/observability/SpanCarrier.js"
import * as Trace from "../../src/observability/Trace.js"
import * as TestDatabases from "../support/databases.js"
import * as processes from "../support/processes.js"
import * as flow from "./fixtures/flow.js"

const runs = (file: string): Record<string, number> => {
  const out: Record<string, number> = {}
  for (const name of readFileSync(file, "utf8").split("\n")) if (name !== "") out[name] = (out[name] ?? 0) + 1
  return out
}

const counter = Effect.map(TestDatabases.temporaryFolder, (folder) => {
  const file = join(folder, "counts")
  writeFileSync(file, "")
  return file
})

const thread = (thread_id: string) => ({ configurable: { thread_id } })

for (const backend of TestDatabases.backends) {
  describe(`graphs on ${backend.name}`, () => {
    it.scoped("a graph that asks goes on in another layer, and runs nothing twice", () =>
      Effect.gen(function* () {
        const database = yield* backend.create
        const counts = yield* counter
        const within = <A>(run: (checkpointer: Checkpointer.Service) => Promise<A>) =>
          Effect.flatMap(Checkpointer.Checkpointer, (saver) => Effect.promise(() => run(saver))).pipe(
            Effect.provide(Layer.provide(Checkpointer.layer(), Layer.fresh(database.layer)))
          )
        const asked = yield* within((checkpointer) =>
          flow.make({ checkpointer, counts, asks: true }).invoke({ log: ["in"] }, thread("asks"))
        )
        assert.property(asked, "__interrupt__")
        deepStrictEqual(runs(counts), { first: 1, quick: 1 })
        const answered = yield* within((checkpointer) =>
          flow.make({ checkpointer, counts, asks: true }).invoke(new Command({ resume: "yes" }), thread("asks"))
        )
        deepStrictEqual(answered, { log: ["in", "first", "ask", "quick", "last"], answer: "yes" })
        deepStrictEqual(runs(counts), { first: 1, quick: 1, ask: 1, last: 1 })
      })
    )

    it.scoped(
      "a process that is killed goes on in another: finished nodes and finished branches run once",
      () =>
        Effect.gen(function* () {
          const database = yield* backend.create
          const counts = yield* counter
          const file = new URL("./fixtures/run.ts", import.meta.url)
          const env = { ...database.env, COUNTS: counts }
          const killed = yield* processes.start(file, { env: { ...env, HANGS: "ask" } })
          yield* killed.saw("hanging in ask")
          yield* killed.saw("saved step 1") // before it, LangGraph goes on, and what follows it may be stored before it is
          yield* killed.saw("join:quick+ask:last") // the result of the other branch is stored
          yield* killed.kill("SIGKILL")
          assert.strictEqual((yield* killed.exited).signal, "SIGKILL")
          deepStrictEqual(runs(counts), { first: 1, quick: 1, ask: 1 })
          const again = yield* processes.start(file, { env })
          yield* again.saw("ended with")
          assert.strictEqual((yield* again.exited).code, 0)
          assert.include(again.output(), '{"log":["in","first","ask","quick","last"]}')
          deepStrictEqual(runs(counts), { first: 1, quick: 1, ask: 2, last: 1 })
        }),
      120_000
    )

    it.layer(Layer.provideMerge(Checkpointer.layer(), backend.layer))((it) => {
      it.effect("a fork reads its own branch, and the other branch keeps its own", () =>
        Effect.gen(function* () {
          const checkpointer = yield* Checkpointer.Checkpointer
          const counts = yield* Effect.scoped(Effect.map(counter, () => "/dev/null"))
          const graph = flow.make({ checkpointer, counts })
          yield* Effect.promise(async () => {
            await graph.invoke({ log: ["in"] }, thread("fork"))
            const states = []
            for await (const state of graph.getStateHistory(thread("fork"))) states.push(state)
            const afterFirst = states.find((state) => state.next.includes("quick"))
            assert.isDefined(afterFirst)
            const main = states[0]
            const fork = await graph.updateState(afterFirst.config, { log: ["forked"] }, "first")
            const forked = await graph.invoke(null, fork)
            deepStrictEqual(forked.log, ["in", "first", "forked", "ask", "quick", "last"])
            deepStrictEqual((await graph.getState(main?.config ?? {})).values.log, [
              "in",
              "first",
              "ask",
              "quick",
              "last"
            ])
            deepStrictEqual((await graph.getState(thread("fork"))).values.log, forked.log)
          })
        })
      )

      it.effect("messages, sends and a failed node come back", () =>
        Effect.gen(function* () {
          const checkpointer = yield* Checkpointer.Checkpointer
          let fails = true
          const State = Annotation.Root({
            ...MessagesAnnotation.spec,
            sent: Annotation<ReadonlyArray<number>>({
              reducer: (left, right) => [...left, ...right],
              default: () => []
            })
          })
          const graph = new StateGraph(State)
            .addNode("fan", () => ({ messages: [new AIMessage({ content: "hello", id: "1" })] }))
            .addNode("work", (input: { readonly n?: number }) => {
              if (input.n === 2 && fails) throw new TypeError("not yet")
              return { sent: [input.n ?? 0] }
            })
            .addEdge(START, "fan")
            .addConditionalEdges("fan", () => [new Send("work", { n: 1 }), new Send("work", { n: 2 })], ["work"])
            .compile({ checkpointer })
          yield* Effect.promise(async () => {
            const error = await graph.invoke({ messages: [] }, thread("sends")).catch((error: unknown) => error)
            assert.instanceOf(error, TypeError)
            const [failed] = await Effect.runPromise(checkpointer.threads({ limit: 1 }))
            assert.strictEqual(failed?.status, "failed")
            deepStrictEqual(failed?.next, ["work"])
            deepStrictEqual(failed?.errors, ["not yet"])
            fails = false
            const done = await graph.invoke(null, thread("sends"))
            deepStrictEqual(done.sent, [1, 2])
            assert.instanceOf(done.messages[0], AIMessage)
          })
        })
      )

      it.effect("an aborted run keeps what it has finished, and goes on", () =>
        Effect.gen(function* () {
          const checkpointer = yield* Checkpointer.Checkpointer
          const controller = new AbortController()
          const ran: Array<string> = []
          const graph = new StateGraph(flow.State)
            .addNode("done", () => {
              ran.push("done")
              return { log: ["done"] }
            })
            .addNode("slow", async () => {
              ran.push("slow")
              if (controller.signal.aborted) return { log: ["slow"] }
              controller.abort()
              return new Promise<never>(() => {})
            })
            .addEdge(START, "done")
            .addEdge("done", "slow")
            .compile({ checkpointer })
          yield* Effect.promise(async () => {
            const config = { ...thread("aborted"), signal: controller.signal, durability: "sync" as const }
            const error = await graph.invoke({ log: ["in"] }, config).catch((error: unknown) => error)
            assert.strictEqual((error as Error).name, "AbortError")
            deepStrictEqual((await graph.getState(config)).next, ["slow"])
            const [stopped] = await Effect.runPromise(checkpointer.threads({ limit: 1 }))
            assert.deepInclude(stopped, { id: "aborted", status: "unfinished", next: ["slow"] })
            deepStrictEqual((await graph.invoke(null, thread("aborted"))).log, ["in", "done", "slow"])
            deepStrictEqual(ran, ["done", "slow", "slow"])
          })
        })
      )

      it.effect("a state that cannot be stored fails the run by name", () =>
        Effect.gen(function* () {
          const checkpointer = yield* Checkpointer.Checkpointer
          const graph = new StateGraph(Annotation.Root({ tool: Annotation<unknown>() }))
            .addNode("make", () => ({ tool: { call: () => 1 } }))
            .addEdge(START, "make")
            .compile({ checkpointer })
          const config = { ...thread("unstorable"), durability: "sync" as const }
          const error = yield* Effect.promise(() => graph.invoke({ tool: 1 }, config).catch((error: unknown) => error))
          assert.instanceOf(error, Checkpointer.CheckpointError)
          assert.match(error.message, /"unstorable".*channel "tool".*\.call is a function/)
        })
      )

      it.effect("threads and history tell how a thread stands, and what the run said of itself", () =>
        Effect.gen(function* () {
          const checkpointer = yield* Checkpointer.Checkpointer
          const graph = flow.make({ checkpointer, counts: "/dev/null", asks: true })
          const config = {
            ...thread("told"),
            metadata: { program: "research", ticker: "AAPL", handler: { call: () => 1 }, thread_id: "told" }
          }
          yield* Effect.promise(() => graph.invoke({ log: ["in"] }, config))
          const [waiting] = yield* Checkpointer.threads({ limit: 1 })
          assert.deepInclude(waiting, {
            id: "told",
            kind: "graph",
            status: "waiting",
            next: ["ask", "quick"],
            interrupts: ["may I?"],
            step: 1,
            source: "loop",
            checkpoints: 3,
            metadata: { source: "loop", step: 1, parents: {}, program: "research", ticker: "AAPL" }
          })
          assert.isTrue(Math.abs((waiting?.time.getTime() ?? 0) - Date.now()) < 20_000)
          yield* Effect.promise(() => graph.invoke(new Command({ resume: "yes" }), config))
          const [finished] = yield* Checkpointer.threads({ limit: 1 })
          assert.deepInclude(finished, { id: "told", status: "finished", next: [], checkpoints: 5 })
          const history = yield* Checkpointer.history("told")
          deepStrictEqual(
            history.map(({ step, source, nodes, next }) => ({ step, source, nodes: nodes.join(), next: next.join() })),
            [
              { step: 3, source: "loop", nodes: "last", next: "" },
              { step: 2, source: "loop", nodes: "ask,quick", next: "last" },
              { step: 1, source: "loop", nodes: "first", next: "ask,quick" },
              { step: 0, source: "loop", nodes: "__start__", next: "first" },
              { step: -1, source: "input", nodes: "", next: "__start__" }
            ]
          )
          deepStrictEqual(
            history.map((entry) => entry.parentId),
            [...history.slice(1).map((entry) => entry.checkpointId), undefined]
          )
          assert.strictEqual((yield* Checkpointer.history("told", { limit: 2 })).at(-1)?.nodes.join(), "ask,quick")
          const error = yield* Effect.flip(Checkpointer.history("nowhere"))
          assert.strictEqual(error._tag, "CheckpointNotFoundError")
          assert.match(error.message, /"nowhere"/)
        })
      )

      it.effect("every save and load is an observation under the run's span; none is made without one", () =>
        Effect.gen(function* () {
          const checkpointer = yield* Checkpointer.Checkpointer
          const graph = flow.make({ checkpointer, counts: "/dev/null" })
          const recorder = yield* Trace.Recorder
          yield* Effect.promise(() => graph.invoke({ log: ["in"] }, thread("silent")))
          deepStrictEqual(yield* recorder.spans, [])
          yield* Effect.gen(function* () {
            const carried = yield* SpanCarrier.capture
            yield* Effect.promise(() =>
              graph.invoke({ log: ["in"] }, { configurable: { thread_id: "seen", ...carried } })
            )
          }).pipe(Observation.span("run"), Observation.withTrace({ sessionId: "s1" }))
          const spans = yield* recorder.spans
          const [run] = spans
          deepStrictEqual(
            spans
              .slice(1)
              .map(({ name, level, metadata: { workflow_id, phase } }) => [name, level, workflow_id, phase]),
            [
              ["load_checkpoint", "DEFAULT", "seen", "none"],
              ["save_checkpoint", "DEFAULT", "seen", "input"],
              ["save_checkpoint", "DEFAULT", "seen", "__start__"],
              ["save_checkpoint", "DEFAULT", "seen", "first"],
              ["save_checkpoint", "DEFAULT", "seen", "ask, quick"],
              ["save_checkpoint", "DEFAULT", "seen", "last"]
            ]
          )
          assert.isTrue(spans.slice(1).every((span) => span.parentId === run?.spanId && span.endMillis !== undefined))
          const [stored] = yield* Checkpointer.threads({ limit: 1 })
          assert.notMatch(JSON.stringify(stored), /holdfast_/)
        }).pipe(Effect.provide(Trace.layerRecorder()))
      )

      it.effect("a span alone is enough, and a load says how old the checkpoint is", () =>
        Effect.gen(function* () {
          const recorder = yield* Trace.Recorder
          yield* Effect.gen(function* () {
            const checkpointer = yield* Checkpointer.make()
            const graph = flow.make({ checkpointer, counts: "/dev/null", asks: true })
            yield* Effect.promise(() => graph.invoke({ log: [] }, thread("alone")))
            const span = yield* Effect.currentSpan
            const configurable = { thread_id: "alone", [SpanCarrier.key]: span }
            yield* Effect.promise(() => graph.invoke(new Command({ resume: "yes" }), { configurable }))
          }).pipe(Effect.scoped, Observation.span("run"))
          const load = (yield* recorder.spans).find((span) => span.name === "load_checkpoint")
          assert.strictEqual(load?.metadata["phase"], "ask, quick")
          assert.isNumber(load?.metadata["checkpoint_age_seconds"])
        }).pipe(Effect.provide(Trace.layerRecorder()))
      )
    })
  })
}
