/** A trace that goes on: in another process, in a graph's run, beside an application's own OpenTelemetry; and one that is not sent at all. */
import { assert, describe, it } from "@effect/vitest"
import { FakeListChatModel } from "@langchain/core/utils/testing"
import { Annotation, END, START, StateGraph } from "@langchain/langgraph"
import { observe, startActiveObservation, startObservation } from "@langfuse/tracing"
import * as OtelApi from "@opentelemetry/api"
import { InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base"
import { NodeTracerProvider } from "@opentelemetry/sdk-trace-node"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Runtime from "effect/Runtime"
import * as Graph from "../../src/graph/Graph.js"
import * as Langfuse from "../../src/langfuse/Langfuse.js"
import * as Observation from "../../src/observability/Observation.js"
import * as Trace from "../../src/observability/Trace.js"
import * as LangfuseServer from "../support/LangfuseServer.js"

const traced = <A, E>(program: Effect.Effect<A, E>, options: Partial<Langfuse.Options> = {}) =>
  Effect.gen(function* () {
    const server = yield* LangfuseServer.make()
    const keys = { publicKey: server.publicKey, secretKey: Redacted.make(server.secretKey), baseUrl: server.url }
    const value = yield* Effect.provide(program, Langfuse.layerWith({ ...keys, ...options }))
    assert.deepStrictEqual(server.complaints(), [])
    return { server, value }
  }).pipe(Effect.orDie)

const ask = Effect.flatMap(Langfuse.callbackHandler, (handler) =>
  Effect.promise(() => new FakeListChatModel({ responses: ["a"] }).invoke("q", { callbacks: Option.toArray(handler) }))
)

describe("traceparent", () => {
  const traceId = "0af7651916cd43dd8448eb211c80319c"

  it.scopedLive("goes on with a trace that comes in, and hands it on", () =>
    Effect.gen(function* () {
      const { server, value } = yield* traced(
        Trace.traceparent.pipe(
          Effect.zipLeft(ask),
          Effect.withSpan("inner"),
          Observation.span("request"),
          Trace.withTraceparent(`00-${traceId}-b7ad6b7169203331-00`)
        )
      )
      const rows = new Map(server.observations().map((row) => [row.name, row]))
      assert.deepStrictEqual(new Set([...rows.values()].map((row) => row.traceId)), new Set([traceId]))
      assert.strictEqual(rows.get("request")?.parentId, "b7ad6b7169203331")
      assert.strictEqual(rows.get("request")?.attributes["langfuse.internal.is_app_root"], true)
      assert.strictEqual(rows.get("FakeListChatModel")?.parentId, rows.get("inner")?.id)
      assert.deepStrictEqual(value, Option.some(`00-${traceId}-${rows.get("inner")?.id}-01`))
    })
  )

  it.scopedLive("knows what is none, and begins a trace of its own", () =>
    Effect.gen(function* () {
      const none = [
        "",
        "nonsense",
        `00-${"0".repeat(32)}-b7ad6b7169203331-01`,
        `00-${traceId}-${"0".repeat(16)}-01`,
        `ff-${traceId}-b7ad6b7169203331-01`,
        `00-${traceId}-b7ad6b7169203331-01-more`,
        `00-${traceId.toUpperCase()}-b7ad6b7169203331-01`
      ]
      for (const header of none) assert.isTrue(Option.isNone(Trace.fromTraceparent(header)), header)
      assert.isTrue(Option.isSome(Trace.fromTraceparent(`01-${traceId}-b7ad6b7169203331-01-more`)))
      const { server } = yield* traced(
        Effect.forEach([...none, null, undefined], (header) =>
          Effect.withSpan(Effect.void, "own").pipe(Trace.withTraceparent(header))
        )
      )
      assert.isTrue(server.observations().every((row) => row.parentId === undefined && row.traceId !== traceId))
      assert.deepStrictEqual(yield* Trace.traceparent, Option.none())
    })
  )
})

describe("one trace after the other", () => {
  it.scopedLive("in one fiber each has its own, and what LangChain makes between them, too", () =>
    Effect.gen(function* () {
      const one = Effect.withSpan(Effect.sleep(1), "one")
      const { server } = yield* traced(Effect.all([one, ask, one, Effect.zipRight(ask, one)], { discard: true }))
      assert.deepStrictEqual(
        server.observations().map((row) => row.parentId),
        Array.from({ length: 5 }, () => undefined)
      )
      assert.strictEqual(new Set(server.observations().map((row) => row.traceId)).size, 5)
    })
  )
})

describe("sampling", () => {
  const agents = Effect.forEach(
    Array.from({ length: 200 }, (_, n) => n),
    (n) =>
      Effect.all([
        ask,
        Observation.score({ name: "n", value: n }),
        Effect.exit(Effect.withSpan(Effect.fail("no"), "failure"))
      ]).pipe(Effect.zipRight(Effect.currentSpan), Effect.withSpan("run"), Effect.orDie)
  )

  it.scopedLive("sends traces whole with their scores, or nothing of them, as their ids say", () =>
    Effect.gen(function* () {
      const { server, value } = yield* traced(agents, { sampleRate: 0.4 })
      const rows = server.observations()
      const sent = new Set(rows.map((row) => row.traceId))
      assert.isTrue(sent.size > 40 && sent.size < 120, `${sent.size} of 200`)
      for (const traceId of sent) {
        assert.sameMembers(
          rows.filter((row) => row.traceId === traceId).map((row) => row.name),
          ["run", "FakeListChatModel", "failure"]
        )
      }
      assert.sameMembers(
        server.scores().map((score) => score.traceId),
        [...sent]
      )
      assert.deepStrictEqual(
        value.filter((span) => span.sampled).map((span) => span.traceId),
        value.map((span) => span.traceId).filter((traceId) => sent.has(traceId))
      )
      // another process with the same rate decides alike
      const again = yield* traced(
        Effect.forEach(value, ({ spanId, traceId }) =>
          Effect.withSpan(Effect.void, "next").pipe(Trace.withTraceparent(`00-${traceId}-${spanId}-01`))
        ),
        { sampleRate: 0.4 }
      )
      assert.deepStrictEqual(new Set(again.server.observations().map((row) => row.traceId)), sent)
    })
  )

  it.scopedLive("sends nothing at 0", () =>
    Effect.gen(function* () {
      const { server } = yield* traced(ask.pipe(Effect.withSpan("run")), { sampleRate: 0 })
      assert.deepStrictEqual([server.observations().length, server.scores().length], [0, 0])
    })
  )
})

describe("a graph's config", () => {
  const config = {
    configurable: { thread_id: "thread-7" },
    metadata: { langfuse_user_id: "ada", langfuse_tags: ["x", "y"] }
  }
  const inside = ask.pipe(Observation.span("node"))
  const said = ({ server }: { readonly server: LangfuseServer.LangfuseServer }) =>
    server.observations().map(({ sessionId, tags, userId }) => ({ sessionId, tags, userId }))

  it.scopedLive("says session, user and tags of all that is made inside", () =>
    Effect.gen(function* () {
      const expected = { sessionId: "thread-7", tags: ["x", "y"], userId: "ada" }
      assert.deepStrictEqual(said(yield* traced(Observation.withConfig(inside, config))), [expected, expected])
    })
  )

  it.scopedLive("is asked by a graph's run and its nodes, also where LangGraph alone runs them", () =>
    Effect.gen(function* () {
      const State = Annotation.Root({ text: Annotation<string> })
      const { server } = yield* traced(
        Effect.gen(function* () {
          const node = yield* Graph.node("ask", ({ text }: typeof State.State) => Effect.as(ask, { text }))
          const graph = new StateGraph(State).addNode("ask", node).addEdge(START, "ask").addEdge("ask", END).compile()
          yield* Effect.withSpan(Graph.run(graph, { text: "a" }, { threadId: "t-1", metadata: config.metadata }), "run")
          yield* Effect.promise(() =>
            graph.invoke({ text: "b" }, { configurable: { thread_id: "t-2", langfuse_user_id: "bob" } })
          )
        })
      )
      const of = (name: string) =>
        server.observations().flatMap(({ name: it, sessionId, userId }) => (it === name ? [{ sessionId, userId }] : []))
      const expected = [
        { sessionId: "t-1", userId: "ada" },
        { sessionId: "t-2", userId: "bob" }
      ]
      assert.deepStrictEqual(of("node_ask"), expected)
      assert.deepStrictEqual(of("FakeListChatModel"), expected)
    })
  )

  it.scopedLive("a session that was said is no thread", () =>
    Effect.gen(function* () {
      const around = Observation.withConfig(inside, config).pipe(
        Observation.withTrace({ sessionId: "s", userId: "bob" })
      )
      assert.deepInclude(said(yield* traced(around))[0], { sessionId: "s", userId: "ada" })
      const own = { configurable: { thread_id: "thread-7", langfuseSessionId: "mine" } }
      assert.deepInclude(said(yield* traced(Observation.withConfig(inside, own)))[0], { sessionId: "mine" })
      assert.deepInclude(said(yield* traced(Observation.withConfig(inside, undefined)))[0], { sessionId: undefined })
    })
  )
})

describe("Langfuse's SDK in a program's own code", () => {
  it.scopedLive("nests what `observe` and `startActiveObservation` make, in either direction", () =>
    Effect.gen(function* () {
      const inner = observe(async (text: string) => `${text}!`, { name: "observed" })
      const outer = (run: () => Promise<unknown>) =>
        startActiveObservation("active", async (span) => {
          span.update({ output: "done", metadata: { by: "sdk" } })
          startObservation("leaf", { input: 1 }, { asType: "tool" }).end()
          return run()
        })
      const program = (runtime: Runtime.Runtime<never>) =>
        Effect.gen(function* () {
          const run = Runtime.runPromise(runtime)
          yield* Effect.promise(() => inner("a"))
          yield* Effect.promise(() =>
            outer(async () => {
              await inner("b")
              await run(
                Effect.withSpan(
                  Effect.promise(() => inner("c")),
                  "effect in a promise"
                )
              )
            })
          )
          yield* ask
        }).pipe(Observation.span("run", { type: "agent" }), Observation.withTrace({ sessionId: "s-1" }))
      const { server } = yield* traced(Effect.flatMap(Effect.runtime<never>(), program))
      assert.deepStrictEqual(
        LangfuseServer.tree(server.observations(), (row) => `${row.name} ${row.type}`, "name"),
        [
          [
            "run agent",
            [
              "FakeListChatModel generation",
              ["active span", [["effect in a promise span", ["observed span"]], "leaf tool", "observed span"]],
              "observed span"
            ]
          ]
        ]
      )
      for (const row of server.observations()) assert.strictEqual(row.sessionId, "s-1", row.name)
    })
  )
})

describe("an application's own OpenTelemetry", () => {
  const application = () => {
    const exporter = new InMemorySpanExporter()
    const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
    provider.register()
    return { exporter, tracer: OtelApi.trace.getTracer("application") }
  }
  const unregister = Effect.addFinalizer(() =>
    Effect.sync(() => {
      OtelApi.trace.disable()
    })
  )
  /** theirs > ours > theirs > ours and LangChain's */
  const program = (tracer: OtelApi.Tracer) =>
    Effect.runtime<never>().pipe(
      Effect.flatMap((runtime) =>
        Effect.promise(() =>
          tracer.startActiveSpan("their request", async (request) => {
            await Effect.runPromise(
              Effect.provide(
                Effect.withSpan(
                  Effect.promise(() =>
                    tracer.startActiveSpan("their call", async (call) => {
                      await Effect.runPromise(Effect.provide(Effect.withSpan(ask, "our inner"), runtime))
                      call.end()
                    })
                  ),
                  "our agent"
                ),
                runtime
              )
            )
            request.end()
          })
        )
      )
    )

  it.scopedLive("neither sees the other's spans, and our tree is whole", () =>
    Effect.gen(function* () {
      yield* unregister
      const { exporter, tracer } = application()
      const { server } = yield* traced(program(tracer))
      assert.deepStrictEqual(
        LangfuseServer.tree(server.observations(), (row) => row.name),
        [["our agent", [["our inner", ["FakeListChatModel"]]]]]
      )
      const theirs = new Map(exporter.getFinishedSpans().map((span) => [span.name, span]))
      assert.sameMembers([...theirs.keys()], ["their request", "their call"])
      assert.notStrictEqual(theirs.get("their request")?.spanContext().traceId, server.observations()[0]?.traceId)
      // what they made inside does not wait for a parent that never comes
      assert.strictEqual(theirs.get("their call")?.parentSpanContext?.isRemote, true)
    })
  )

  it.scopedLive("joined, both see one tree", () =>
    Effect.gen(function* () {
      yield* unregister
      const { exporter, tracer } = application()
      const { server } = yield* traced(program(tracer), { joinOpenTelemetry: true })
      const theirs = exporter.getFinishedSpans()
      const id = (name: string) => theirs.find((span) => span.name === name)?.spanContext().spanId
      const parent = (name: string) => theirs.find((span) => span.name === name)?.parentSpanContext?.spanId
      assert.strictEqual(parent("our agent"), id("their request"))
      assert.strictEqual(parent("their call"), id("our agent"))
      const ours = new Map(server.observations().map((row) => [row.name, row]))
      assert.strictEqual(ours.get("our agent")?.id, id("our agent"))
      assert.strictEqual(ours.get("our agent")?.parentId, id("their request"))
      assert.strictEqual(ours.get("our inner")?.parentId, id("our agent"))
      assert.strictEqual(ours.get("our inner")?.id, id("our inner"))
      assert.strictEqual(ours.get("FakeListChatModel")?.parentId, id("our inner"))
      assert.strictEqual(
        new Set([...theirs.map((span) => span.spanContext().traceId), ...[...ours.values()].map((row) => row.traceId)])
          .size,
        1
      )
    })
  )
})
