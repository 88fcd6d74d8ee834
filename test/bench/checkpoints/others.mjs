// The rows beside throughput: graphs, disk, round trips, what reading a value costs, and the embedded database.
import { Annotation, END, START, StateGraph } from "@langchain/langgraph"
import { Serializer } from "holdfast/langgraph"
import pg from "pg"
import * as CountingProxy from "../../support/countingProxy.ts"
import * as data from "./data.mjs"
import { embeddedFloor, FloorSaver, floor } from "./floor.mjs"
import { alternate, median } from "./measure.mjs"
import * as savers from "./savers.mjs"

const met = (is) => (is ? "yes" : "no")
const drain = async (iterable) => {
  const out = []
  for await (const each of iterable) out.push(each)
  return out
}

/** Five nodes in a row, each of which replaces 2 KB of state. */
const five = (checkpointer) => {
  const State = Annotation.Root({ text: Annotation(), counter: Annotation() })
  const names = ["one", "two", "three", "four", "five"]
  const graph = new StateGraph(State)
  for (const name of names) graph.addNode(name, ({ counter }) => ({ text: data.text(2000), counter: counter + 1 }))
  for (const [index, name] of [START, ...names].entries()) graph.addEdge(name, names[index] ?? END)
  return graph.compile(checkpointer === undefined ? {} : { checkpointer })
}

let run = 0
const invoking = (saver, durability) => {
  const graph = five(saver)
  return () =>
    graph.invoke({ text: data.text(2000), counter: 0 }, { configurable: { thread_id: `graph-${run++}` }, durability })
}

export const graphs = async (serverUrl, pace) => {
  const ours = await savers.ours(await savers.database(serverUrl, "bench_ours"))
  const official = await savers.official(await savers.database(serverUrl, "bench_official"))
  const { saver: memory } = savers.memory()
  const floorUrl = await savers.database(serverUrl, "bench_floor")
  const setup = await savers.official(floorUrl)
  await setup.end()
  const bare = floor(floorUrl)
  console.log(
    "\nA graph of five nodes, 2 KB of state: the time of a run\n\n| case | no saver | MemorySaver | official | ours | floor | of the official | target | met | of MemorySaver | target | met | of the floor |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|"
  )
  const millis = (it, clients) => `${((1000 * clients) / it.rate).toFixed(1)} ms`
  for (const durability of ["async", "sync"]) {
    for (const clients of [1, 16]) {
      const subjects = {
        ours: invoking(ours.saver, durability),
        official: invoking(official.saver, durability),
        memory: invoking(memory, durability),
        floor: invoking(new FloorSaver(bare), durability),
        none: invoking(undefined, durability)
      }
      const found = await alternate(subjects, { ...pace, clients })
      const [theirs, least, lowest] = [found.official, found.memory, found.floor].map((it) => 1 / it.faster)
      const row = [
        `${durability}, ${clients} at once`,
        ...[found.none, found.memory, found.official, found.ours, found.floor].map((it) => millis(it, clients)),
        ...[theirs.toFixed(2), "0.4", met(theirs <= 0.4)],
        ...(durability === "async" ? [least.toFixed(2), "1.6", met(least <= 1.6)] : [least.toFixed(2), "", ""]),
        lowest.toFixed(2)
      ]
      console.log(`| ${row.join(" | ")} |`)
    }
  }
  await ours.end()
  await official.end()
  await bare.end()
}

/** 1,000 checkpoints of 50 entries, of which each replaces one: in one channel, or each in a channel of its own. */
const growing = async (saver, thread, steps, split, probe) => {
  const all = data.entries(100_000, 50)
  const values = { counter: 0 }
  if (split) for (const [index, entry] of all.entries()) values[`part_${index}`] = entry
  else values.messages = [...all]
  let versions
  let id
  const depths = {}
  for (let step = 0; step < steps; step++) {
    const [entry] = data.entries(2000, 1)
    const place = step % 50
    const changed = ["counter", split ? `part_${place}` : "messages"]
    values.counter = step
    if (split) values[`part_${place}`] = entry
    else values.messages = values.messages.with(place, entry)
    const next = data.checkpoint(saver, values, step, versions)
    const fresh = versions === undefined ? next.versions : {}
    for (const channel of changed) fresh[channel] = next.versions[channel]
    versions = { ...versions, ...fresh }
    next.checkpoint.channel_versions = { ...versions }
    next.checkpoint.versions_seen = { work: { ...versions } }
    await saver.put(data.config(thread, id), next.checkpoint, next.metadata, fresh)
    id = next.checkpoint.id
    if (step + 1 === 10 || step + 1 === steps) depths[step + 1] = await probe(thread)
  }
  return depths
}

const sizeOf = async (url) => {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const { rows } = await client.query(
    "select sum(pg_total_relation_size(c.oid))::bigint as size from pg_class c where relname in ('checkpoints', 'checkpoint_blobs', 'checkpoint_writes')"
  )
  await client.end()
  return Number(rows[0].size)
}

export const disk = async (serverUrl) => {
  console.log(
    "\nOne thread of 1,000 checkpoints, 100 KB of state of which 2 KB change a step\n\n| state | saver | disk | of the official | target | met | getTuple of the newest, of 10 | of 1,000 |\n|---|---|---|---|---|---|---|---|"
  )
  for (const split of [false, true]) {
    let theirs
    for (const [name, open, target] of [
      ["official", savers.official],
      ["ours", savers.ours, 1],
      ["ours, `compression`", (url) => savers.ours(url, { compression: true }), 0.4]
    ]) {
      const url = await savers.database(serverUrl, "bench_disk")
      const { saver, end } = await open(url)
      const probe = async (thread) => {
        const times = []
        for (let call = 0; call < 40; call++) {
          const before = performance.now()
          await saver.getTuple(data.config(thread))
          times.push(performance.now() - before)
        }
        return median(times)
      }
      const depths = await growing(saver, "long", 1000, split, probe)
      const size = await sizeOf(url)
      theirs ??= size
      const ratio = size / theirs
      // to two digits, as the target is meant
      const judged =
        target === undefined ? ["", "", ""] : [ratio.toFixed(2), target, met(Number(ratio.toFixed(2)) <= target)]
      const row = [split ? "in 50 channels" : "in one channel", name, `${(size / 1e6).toFixed(1)} MB`, ...judged]
      console.log(`| ${[...row, `${depths[10].toFixed(2)} ms`, `${depths[1000].toFixed(2)} ms`].join(" | ")} |`)
      await end()
    }
  }
}

export const trips = async (serverUrl) => {
  console.log(
    "\nRound trips, counted at the wire\n\n| operation | official | ours | target | met |\n|---|---|---|---|---|"
  )
  const counted = {}
  for (const [name, open] of [
    ["official", savers.official],
    ["ours", savers.ours]
  ]) {
    const proxy = await CountingProxy.start(await savers.database(serverUrl, `bench_trips`))
    const { saver, end } = await open(proxy.url)
    const count = async (operation) => {
      const before = proxy.count()
      await operation()
      return proxy.count() - before
    }
    const next = data.checkpoint(saver, data.state(2000), 0)
    const operations = {
      put: () => saver.put(data.config("trips"), next.checkpoint, next.metadata, next.versions),
      putWrites: () => saver.putWrites(data.config("trips", next.checkpoint.id), data.writes(2000), "task"),
      getTuple: () => saver.getTuple(data.config("trips")),
      list: () => drain(saver.list(data.config("trips"), { limit: 10 })),
      deleteThread: () => saver.deleteThread("trips")
    }
    for (const operation of Object.values(operations)) await operation()
    counted[name] = {}
    for (const [each, operation] of Object.entries(operations)) counted[name][each] = await count(operation)
    await end()
    await proxy.stop()
  }
  for (const [operation, ours] of Object.entries(counted.ours)) {
    console.log(`| ${operation} | ${counted.official[operation]} | ${ours} | 1 | ${met(ours === 1)} |`)
  }
}

export const values = async () => {
  const serializer = Serializer.make()
  const { saver } = savers.memory()
  const text = new TextDecoder().decode((await serializer.dumpsTyped(data.messages(200, 100_000)))[1])
  const time = async (call) => {
    const times = []
    for (let each = 0; each < 400; each++) {
      const before = performance.now()
      await call()
      times.push(performance.now() - before)
    }
    return median(times.slice(100))
  }
  const parse = await time(() => JSON.parse(text))
  const theirs = await time(() => saver.serde.loadsTyped("json", text))
  const ours = await time(() => serializer.loadsTyped("json", text))
  console.log(
    `\nDeserialising 200 messages, ${Math.round(text.length / 1000)} KB\n\n| JSON.parse | official | ours | more than JSON.parse | target | met |\n|---|---|---|---|---|---|`
  )
  console.log(
    `| ${parse.toFixed(2)} ms | ${theirs.toFixed(2)} ms | ${ours.toFixed(2)} ms | ${(ours - parse).toFixed(2)} ms | 1.5 ms | ${met(ours - parse <= 1.5)} |`
  )
}

export const pglite = async (_, pace) => {
  const { saver, end } = await savers.embedded()
  const bare = await embeddedFloor()
  console.log("\nEmbedded (PGlite, in memory)\n\n| case | ours | floor | of the floor |\n|---|---|---|---|")
  const rate = (it) => `${Math.round(it.rate).toLocaleString("en")}/s, p50 ${it.p50.toFixed(2)} ms`
  const row = (name, { floor, ours }) =>
    console.log(`| ${name} | ${rate(ours)} | ${rate(floor)} | ${floor.faster.toFixed(2)} |`)
  const floorSaver = new FloorSaver(bare)
  const put = (to, bytes, thread) => {
    const state = data.state(bytes)
    let step = 0
    return async (client) => {
      const next = data.checkpoint(saver, state, step++)
      await to.put(data.config(`${thread}-${client}`), next.checkpoint, next.metadata, next.versions)
    }
  }
  const id = data.newId(1)
  const writes = data.writes(2000)
  let task = 0
  const both = (of) => ({ ours: of(saver), floor: of(floorSaver) })
  const reading = (thread) => ({
    ours: (client) => saver.getTuple(data.config(`${thread}-${client}`)),
    floor: (client) => bare.select(`${thread}-${client}`)
  })
  const cases = {
    "put, 2 KB": both((to) => put(to, 2000, "small")),
    "putWrites(5), 2 KB": both(
      (to) => (client) => to.putWrites(data.config(`small-${client}`, id), writes, `task-${task++}`)
    ),
    "getTuple, 2 KB": reading("small"),
    "put, 100 KB": both((to) => put(to, 100_000, "large")),
    "getTuple, 100 KB": reading("large"),
    "list(10), 2 KB": {
      ours: (client) => drain(saver.list(data.config(`small-${client}`), { limit: 10 })),
      floor: (client) => bare.list(`small-${client}`)
    },
    "graph of five nodes, async": both((to) => invoking(to, "async"))
  }
  for (const [name, subjects] of Object.entries(cases)) {
    for (const clients of [1, 16]) {
      row(`${name}, ${clients} at once`, await alternate(subjects, { ...pace, rounds: 3, clients }))
    }
  }
  await end()
  await bare.end()
}
