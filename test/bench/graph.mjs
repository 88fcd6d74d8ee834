// What protecting a graph costs beside LangGraph's own: a run of five nodes on MemorySaver, and the time to a stream's first token. Prints a Markdown
// table. Usage: npm run bench:graph (it runs the sources; ROUNDS=100 for a busy machine)

import { FakeListChatModel } from "@langchain/core/utils/testing"
import { Annotation, MemorySaver, MessagesAnnotation, START, StateGraph } from "@langchain/langgraph"
import { NodeTracerProvider } from "@opentelemetry/sdk-trace-node"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Graph from "../../src/graph/Graph.ts"
import * as tracing from "../../src/langfuse/internal/tracer.ts"
import * as Observation from "../../src/observability/Observation.ts"

const rounds = Number(process.env.ROUNDS ?? 40)
const runs = 10
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]

const State = Annotation.Root({ log: Annotation({ reducer: (a, b) => [...a, ...b], default: () => [] }) })
const names = ["a", "b", "c", "d", "e"]
const text = "x".repeat(400)
const builder = new StateGraph(State)
for (const name of names) builder.addNode(name, async () => ({ log: [`${name} ${text}`] }))
builder.addEdge(START, "a")
for (let next = 1; next < names.length; next++) builder.addEdge(names[next - 1], names[next])

const savers = [new MemorySaver(), new MemorySaver()]
const plain = builder.compile({ checkpointer: savers[0] })
const hardened = Graph.protectAll(builder).compile({ checkpointer: savers[1] })
let threads = 0
const config = () => ({ configurable: { thread_id: `${threads++}` }, durability: "sync" })
const invoke = (graph) => () => graph.invoke({ log: [] }, config())
const run = (graph, around) => () =>
  Effect.runPromise(around(Graph.run(graph, { log: [] }, { threadId: `${threads++}` })))

// the bridge's own tracer, up to where a span is handed to the batch
new NodeTracerProvider().register()
let batch = []
const sdk = {
  inherited: () => ({}),
  sends: () => false,
  parentIn: () => undefined,
  propagated: () => ({}),
  samples: () => true
}
const collecting = Layer.setTracer(
  tracing.make(sdk, (span) => {
    if (batch.push(span) === 512) batch = []
  })
)
const traced = (effect) => Effect.provide(Observation.span(effect, "run"), collecting)

/** CPU time in microseconds a run. The ways take turns in short rounds, so that a busy moment of the machine is everybody's. */
const compare = async (ways) => {
  const seen = ways.map(() => [])
  // a run is much code, of which little is hot: it takes some hundred of them until all is compiled
  for (let round = -60; round < rounds; round++) {
    for (const [index, way] of ways.entries()) {
      for (const saver of savers) Object.assign(saver, { storage: {}, writes: {} })
      if (round >= 0) globalThis.gc()
      const before = process.cpuUsage()
      for (let each = 0; each < runs; each++) await way()
      const { system, user } = process.cpuUsage(before)
      if (round >= 0) seen[index].push((system + user) / runs)
    }
  }
  // each round beside the plain one of the same moment
  return seen.map((values) => ({
    micros: median(values),
    over: median(values.map((value, index) => value / seen[0][index] - 1))
  }))
}

/** Milliseconds from the call to the first token. */
const firstToken = async (begin) => {
  const started = performance.now()
  const took = await begin(() => performance.now() - started)
  return took
}

const model = new FakeListChatModel({ responses: ["hello"] })
const talking = new StateGraph(MessagesAnnotation)
  .addNode("model", async ({ messages }) => ({ messages: [await model.invoke(messages)] }))
  .addEdge(START, "model")
const asked = { messages: [{ role: "user", content: "hi" }] }
const talkingPlain = talking.compile()
const talkingHardened = Graph.protectAll(talking).compile()

const byLangGraph = () =>
  firstToken(async (took) => {
    let first
    for await (const [, mode] of await talkingPlain
      .stream(asked, { ...config(), streamMode: ["messages", "values"], subgraphs: true })
      .then(async function* (stream) {
        for await (const chunk of stream) yield chunk
      }))
      if (mode === "messages") first ??= took()
    return first
  })

const byUs = () =>
  firstToken(async (took) => {
    let first
    await Effect.runPromise(
      Stream.runForEach(
        Graph.stream(talkingHardened, asked, { threadId: `${threads++}`, modes: ["messages"] }),
        (event) =>
          Effect.sync(() => {
            if (event._tag === "Token") first ??= took()
          })
      )
    )
    return first
  })

const [bare, ours, driven, seen] = await compare([
  invoke(plain),
  invoke(hardened),
  run(hardened, (effect) => effect),
  run(hardened, traced)
])
const tokens = { langGraph: [], ours: [] }
for (let round = -20; round < rounds * 3; round++) {
  const theirs = await byLangGraph()
  const own = await byUs()
  if (round < 0) continue
  tokens.langGraph.push(theirs)
  tokens.ours.push(own)
}

const micros = (value) => `${value.toFixed(0)} us`
const percent = (value) => `${(value * 100).toFixed(1)} %`
const later = median(tokens.ours.map((value, index) => value - tokens.langGraph[index]))
console.log(`node ${process.version}, ${process.arch}; medians of ${rounds} rounds\n`)
console.log("| case | ours | LangGraph's own | more | target |")
console.log("| --- | --- | --- | --- | --- |")
const row = (name, value, over, target) =>
  console.log(`| ${name} | ${value} | ${micros(bare.micros)} | ${over} | ${target} |`)
row("five protected nodes, untraced", micros(ours.micros), percent(ours.over), "8 %")
row("the same by `Graph.run`", micros(driven.micros), percent(driven.over), "")
row("the same, traced to a batch exporter", micros(seen.micros), percent(seen.over), "20 %")
console.log(
  `| \`Graph.stream\`: first token of a protected node | ${median(tokens.ours).toFixed(2)} ms | ${median(tokens.langGraph).toFixed(2)} ms | ${later.toFixed(2)} ms | 2 ms |`
)
