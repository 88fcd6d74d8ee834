// What protecting a graph costs beside LangGraph's own: a run of five nodes on MemorySaver, and the time to a stream's first token. Prints a Markdown
// table. Usage: npm run bench:graph (it runs the sources; RUNS=2000 for a busy machine)

import { FakeListChatModel } from "@langchain/core/utils/testing"
import { Annotation, MemorySaver, MessagesAnnotation, START, StateGraph } from "@langchain/langgraph"
import { NodeTracerProvider } from "@opentelemetry/sdk-trace-node"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Graph from "../../src/graph/Graph.ts"
import * as tracing from "../../src/langfuse/internal/tracer.ts"
import * as Observation from "../../src/observability/Observation.ts"

const runs = Number(process.env.RUNS ?? 600)

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

/**
 * Microseconds a run, as the tenth of the runs that were disturbed least have it: on a machine with others, what is above is theirs. The ways take turns
 * run by run.
 */
const compare = async (ways) => {
  const seen = ways.map(() => [])
  // a run is much code, of which little is hot: it takes some hundred of them until all is compiled
  for (let each = -300; each < runs; each++) {
    for (const [index, way] of ways.entries()) {
      const started = performance.now()
      await way()
      if (each >= 0) seen[index].push((performance.now() - started) * 1000)
    }
    if (each % 20 === 0) for (const saver of savers) Object.assign(saver, { storage: {}, writes: {} })
  }
  return seen.map((values) => values.toSorted((x, y) => x - y)[Math.floor(values.length / 10)])
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

/** CPU time in microseconds of a node's call alone, in a loop inside of a run, where all of it is hot. */
const alone = async () => {
  const nodes = [builder, Graph.protectAll(builder)].map((each) => each.nodes.a.runnable)
  const seen = nodes.map(() => [])
  const measure = async (_, given) => {
    for (let round = -6; round < 20; round++) {
      for (const [index, node] of nodes.entries()) {
        const before = process.cpuUsage()
        for (let each = 0; each < 500; each++) await node.invoke({ log: [] }, given)
        const { system, user } = process.cpuUsage(before)
        if (round >= 0) seen[index].push((system + user) / 500)
      }
    }
    return {}
  }
  await new StateGraph(State)
    .addNode("measure", measure)
    .addEdge(START, "measure")
    .compile({ checkpointer: new MemorySaver() })
    .invoke({ log: [] }, config())
  return seen.map((values) => values.toSorted((x, y) => x - y)[Math.floor(values.length / 4)])
}

const [nodeAlone, protectedAlone] = await alone()
const untouched = (effect) => effect
const [bare, ours, drivenBare, driven, seen] = await compare([
  invoke(plain),
  invoke(hardened),
  run(plain, untouched),
  run(hardened, untouched),
  run(hardened, traced)
])
const tokens = { langGraph: [], ours: [] }
for (let each = -50; each < runs / 3; each++) {
  const theirs = await byLangGraph()
  const own = await byUs()
  if (each < 0) continue
  tokens.langGraph.push(theirs)
  tokens.ours.push(own)
}

const tenth = (values) => values.toSorted((x, y) => x - y)[Math.floor(values.length / 10)]
const micros = (value) => `${value.toFixed(0)} us`
const row = (name, value, beside, target) => {
  const over = `${((value / beside - 1) * 100).toFixed(1)} %`
  console.log(`| ${name} | ${micros(value)} | ${micros(beside)} | ${over} | ${target} |`)
}
console.log(`node ${process.version}, ${process.arch}; of ${runs} runs the tenth that was disturbed least\n`)
console.log("| case | protected | unprotected | more | target |")
console.log("| --- | --- | --- | --- | --- |")
console.log(
  `| a node's call alone, in a loop | ${micros(protectedAlone)} | ${micros(nodeAlone)} | five of them: ${(((protectedAlone - nodeAlone) * 500) / bare).toFixed(1)} % of the run below | 8 % |`
)
row("five nodes, untraced, by `graph.invoke`", ours, bare, "8 %")
row("the same by `Graph.run`", driven, drivenBare, "8 %")
row("the same, traced to a batch exporter, beside untraced", seen, drivenBare, "20 %")
const [first, theirs] = [tenth(tokens.ours), tenth(tokens.langGraph)]
console.log(
  `| \`Graph.stream\`: first token of a protected node | ${first.toFixed(2)} ms | ${theirs.toFixed(2)} ms | ${(first - theirs).toFixed(2)} ms | 2 ms |`
)
