// The rows of the tables.
import * as data from "./data.mjs"
import { floor } from "./floor.mjs"
import { alternate } from "./measure.mjs"
import { disk, graphs, pglite, trips, values } from "./others.mjs"
import * as savers from "./savers.mjs"

const kb = (bytes) => (bytes >= 10_000 ? "100 KB" : "2 KB")
const encode = (value) => Buffer.from(JSON.stringify(value))
const drain = async (iterable) => {
  const out = []
  for await (const each of iterable) out.push(each)
  return out
}

const header = (title) =>
  console.log(
    `\n${title}\n\n| case | official | ours | faster | target | met | floor | of the floor |\n|---|---|---|---|---|---|---|---|`
  )
const micros = (millis) => Math.round(millis * 1000)
const rate = (it) =>
  `${Math.round(it.rate).toLocaleString("en")}/s, p50 ${it.p50.toFixed(2)} ms, CPU ${micros(it.client)} + ${micros(it.server)} us`
const row = (name, measured, target) => {
  const { floor, official, ours } = measured
  const met = target === undefined ? "" : official.faster >= target ? "yes" : "no"
  console.log(
    `| ${name} | ${rate(official)} | ${rate(ours)} | ${official.faster.toFixed(2)} x | ${target === undefined ? "" : `${target} x`} | ${met} | ${floor === undefined ? "" : rate(floor)} | ${floor === undefined ? "" : floor.faster.toFixed(2)} |`
  )
}

/** The official saver, ours and the floor, each in a database of its own. */
const open = async (serverUrl) => {
  const ours = await savers.ours(await savers.database(serverUrl, "bench_ours"))
  const official = await savers.official(await savers.database(serverUrl, "bench_official"))
  const floorUrl = await savers.database(serverUrl, "bench_floor")
  const setup = await savers.official(floorUrl)
  await setup.end()
  const bare = floor(floorUrl)
  return {
    ours: ours.saver,
    official: official.saver,
    floor: bare,
    end: () => Promise.all([ours.end(), official.end(), bare.end()])
  }
}

let threads = 0

/** Each client puts checkpoint after checkpoint on a thread of its own. */
const putting = (saver, bytes) => {
  const values = data.state(bytes)
  const clients = []
  const run = threads++
  return async (client) => {
    clients[client] ??= { thread: `put-${run}-${client}`, step: 0, id: undefined, versions: undefined }
    const at = clients[client]
    const next = data.checkpoint(saver, values, at.step, at.versions)
    await saver.put(data.config(at.thread, at.id), next.checkpoint, next.metadata, next.versions)
    at.step++
    at.id = next.checkpoint.id
    at.versions = next.versions
  }
}

const writing = (saver, bytes) => {
  const writes = data.writes(bytes)
  const run = threads++
  let task = 0
  const id = data.newId(1)
  return (client) => saver.putWrites(data.config(`writes-${run}-${client}`, id), writes, `task-${task++}`)
}

/** A thread with `steps` checkpoints, the newest with pending writes of `pending` bytes. */
const fill = async (saver, thread, bytes, steps, pending) => {
  let at = { id: undefined, versions: undefined }
  for (let step = 0; step < steps; step++) {
    const next = data.checkpoint(saver, data.state(bytes), step, at.versions)
    await saver.put(data.config(thread, at.id), next.checkpoint, next.metadata, next.versions)
    at = { id: next.checkpoint.id, versions: next.versions }
  }
  if (pending > 0) await saver.putWrites(data.config(thread, at.id), data.writes(pending), "task")
}

/** A checkpoint as rows, under versions of its own. */
const asRows = (saver, values, step) => {
  const { checkpoint, metadata } = data.checkpoint(saver, values, step)
  const { channel_values, ...body } = checkpoint
  const channels = Object.keys(channel_values)
  for (const channel of channels) body.channel_versions[channel] = step + 1
  const blobs = channels.map((channel) => [channel, String(step + 1), "json", encode(channel_values[channel])])
  return [checkpoint.id, JSON.stringify(body), JSON.stringify(metadata), blobs]
}

const floorPut = (bare, saver, bytes) => {
  const values = data.state(bytes)
  const run = threads++
  let step = 0
  return (client) => bare.put(`put-${run}-${client}`, ...asRows(saver, values, step++))
}

const floorWrites = (bare, bytes) => {
  const writes = data.writes(bytes)
  const run = threads++
  const id = data.newId(1)
  let task = 0
  return (client) =>
    bare.putWrites(
      `writes-${run}-${client}`,
      id,
      `task-${task++}`,
      writes.map(([channel, value], index) => [index, channel, "json", encode(value)])
    )
}

const floorFill = async (bare, saver, thread, bytes, steps, pending) => {
  for (let step = 0; step < steps; step++) {
    const row = asRows(saver, data.state(bytes), step)
    await bare.put(thread, ...row)
    if (step < steps - 1 || pending === 0) continue
    const rows = data.writes(pending).map(([channel, value], index) => [index, channel, "json", encode(value)])
    await bare.putWrites(thread, row[0], "task", rows)
  }
}

const throughput = async (serverUrl, pace, only) => {
  const { ours, official, floor, end } = await open(serverUrl)
  const put = (bytes, clients, target) => async () => {
    const subjects = {
      ours: putting(ours, bytes),
      official: putting(official, bytes),
      floor: floorPut(floor, official, bytes)
    }
    row(`put, ${kb(bytes)}, ${clients} at once`, await alternate(subjects, { ...pace, clients }), target)
  }
  const putWrites = (bytes, clients, target) => async () => {
    const subjects = {
      ours: writing(ours, bytes),
      official: writing(official, bytes),
      floor: floorWrites(floor, bytes)
    }
    row(`putWrites(5), ${kb(bytes)}, ${clients} at once`, await alternate(subjects, { ...pace, clients }), target)
  }
  const getTuple = (bytes, pending, clients, target) => async () => {
    const name = `get-${threads++}`
    for (let client = 0; client < clients; client++) {
      for (const saver of [ours, official]) await fill(saver, `${name}-${client}`, bytes, 3, pending)
      await floorFill(floor, official, `${name}-${client}`, bytes, 3, pending)
    }
    const subjects = {
      ours: (client) => ours.getTuple(data.config(`${name}-${client}`)),
      official: (client) => official.getTuple(data.config(`${name}-${client}`)),
      floor: (client) => floor.select(`${name}-${client}`)
    }
    const title = `getTuple, ${kb(bytes)}${pending > 0 ? `, ${kb(pending)} pending` : ""}, ${clients} at once`
    row(title, await alternate(subjects, { ...pace, clients }), target)
  }
  const list = (bytes, target) => async () => {
    const name = `list-${threads++}`
    for (const saver of [ours, official]) await fill(saver, name, bytes, 20, 0)
    await floorFill(floor, official, name, bytes, 20, 0)
    const subjects = {
      ours: () => drain(ours.list(data.config(name), { limit: 10 })),
      official: () => drain(official.list(data.config(name), { limit: 10 })),
      floor: () => floor.list(name)
    }
    row(`list(10), ${kb(bytes)}`, await alternate(subjects, { ...pace, clients: 1 }), target)
  }
  const all = {
    put: [put(2000, 1, 2.2), put(2000, 16, 3), put(2000, 64), put(100_000, 16, 2.5)],
    writes: [putWrites(2000, 1, 3), putWrites(2000, 16, 4.5), putWrites(2000, 64), putWrites(100_000, 16, 2.5)],
    get: [
      getTuple(2000, 0, 1, 4),
      getTuple(2000, 0, 16, 8),
      getTuple(100_000, 100_000, 1, 15),
      getTuple(100_000, 100_000, 16, 15)
    ],
    list: [list(2000, 4), list(100_000, 10)]
  }
  header("Throughput")
  try {
    for (const cases of only === undefined ? Object.values(all) : [all[only]]) for (const each of cases) await each()
  } finally {
    await end()
  }
}

const throughputOf = (only) => (url, pace) => throughput(url, pace, only)

export const sections = {
  put: throughputOf("put"),
  writes: throughputOf("writes"),
  get: throughputOf("get"),
  list: throughputOf("list"),
  graph: graphs,
  disk,
  trips,
  values,
  pglite
}
