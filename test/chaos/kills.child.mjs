// Runs graphs one after the other until it is killed, and notes in a journal what it did and what it was told: a line stands when `write` has
// returned, whatever happens to the process. Told to `go`, it first reads back what its predecessors were told is stored, and ends their runs.
// Arguments: the package's folder, the journal. DATABASE_URL or HOLDFAST_DATA_DIR say which database. Imports no more than it needs: its start
// is what a kill costs.
import { createHash } from "node:crypto"
import { existsSync, openSync, readFileSync, writeSync } from "node:fs"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { Annotation, END, START, StateGraph } from "@langchain/langgraph"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"

const [folder, file] = process.argv.slice(2)
const load = (path) => import(pathToFileURL(join(folder, "dist", path)).href)
const [Checkpointer, Database] = await Promise.all([load("checkpoint/Checkpointer.js"), load("database/Database.js")])

const command = await new Promise((resolve) => process.stdin.on("data", (data) => resolve(String(data).trim())))
// it does not outlive whoever started it, nor stay for it
process.stdin.on("end", () => process.exit(1))
process.stdin.unref()

const before = existsSync(file) ? readFileSync(file, "utf8").split("\n") : []
const journal = openSync(file, "a")
const note = (...words) => {
  writeSync(journal, `${words.join(" ")}\n`)
  // whoever watches counts them
  process.stdout.write(".")
}
// the order of the channels says nothing, and those without a version are not stored
const digest = ({ channel_values, channel_versions }) =>
  createHash("sha256")
    .update(
      JSON.stringify(
        Object.entries(channel_values)
          .filter(([channel]) => Object.hasOwn(channel_versions, channel))
          .sort(([a], [b]) => (a < b ? -1 : 1))
      )
    )
    .digest("hex")
    .slice(0, 24)

const runtime = ManagedRuntime.make(Checkpointer.layer().pipe(Layer.provide(Database.layer)))
const saver = await runtime.runPromise(Checkpointer.Checkpointer)

const put = saver.put.bind(saver)
saver.put = async (config, checkpoint, metadata, versions) => {
  const said = digest(checkpoint)
  const stored = await put(config, checkpoint, metadata, versions)
  note("put", config.configurable.thread_id, checkpoint.id, said)
  return stored
}
const putWrites = saver.putWrites.bind(saver)
saver.putWrites = async (config, writes, task) => {
  await putWrites(config, writes, task)
  note("writes", config.configurable.thread_id, config.configurable.checkpoint_id, task, writes.length)
}

const pause = (millis) => new Promise((resolve) => setTimeout(resolve, millis))
const node = (name) => async (state, config) => {
  const { thread_id: thread, __pregel_task_id: task } = config.configurable
  note("begin", thread, task, name)
  await pause(Math.random() * 4)
  note("end", thread, task, name)
  return { path: [name], bytes: `${state.bytes}${name}`.repeat(2).slice(-2000) }
}

const names = ["plan", "left", "right", "join", "write"]
const graph = new StateGraph(
  Annotation.Root({
    path: Annotation({ reducer: (a, b) => [...a, ...b], default: () => [] }),
    bytes: Annotation({ reducer: (_, b) => b, default: () => "" })
  })
)
for (const name of names) graph.addNode(name, node(name))
const compiled = graph
  .addEdge(START, "plan")
  .addEdge("plan", "left")
  .addEdge("plan", "right")
  .addEdge(["left", "right"], "join")
  .addEdge("join", "write")
  .addEdge("write", END)
  .compile({ checkpointer: saver })

/** Runs a thread, or goes on with it, to its end. */
const run = async (thread) => {
  const config = { configurable: { thread_id: thread }, durability: "sync" }
  const stored = await saver.getTuple(config)
  const { path } = await compiled.invoke(stored === undefined ? { path: [], bytes: thread } : null, config)
  note("done", thread, path.join())
}

/** What was acknowledged has to be there, as it was. */
const check = async (lines) => {
  for (const [what, thread, id, third, fourth] of lines) {
    if (what !== "put" && what !== "writes") continue
    const tuple = await saver.getTuple({ configurable: { thread_id: thread, checkpoint_id: id } })
    const stored = tuple === undefined ? "nothing" : digest(tuple.checkpoint)
    if (what === "put" && stored !== third) note("problem", "checkpoint", thread, id)
    const found = tuple?.pendingWrites?.filter(([task]) => task === third).length
    if (what === "writes" && found !== Number(fourth)) note("problem", "writes", thread, id, third, found)
  }
}

const lines = before.map((line) => line.split(" "))
const done = new Set(lines.filter(([what]) => what === "done").map(([, thread]) => thread))
const begun = [...new Set(lines.filter(([what]) => what === "start").map(([, thread]) => thread))]
// those that ended before the last start were read back by the one before
const last = lines.findLastIndex(([what]) => what === "checked")
await check(command === "finish" ? lines : lines.slice(Math.max(last, 0)))
note("checked", process.pid)
for (const thread of begun.filter((thread) => !done.has(thread))) await run(thread)
for (let count = begun.length; command === "go"; count++) {
  const thread = `run-${count}`
  note("start", thread)
  await run(thread)
}
await runtime.dispose()
