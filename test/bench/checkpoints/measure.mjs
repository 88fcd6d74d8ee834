// Closed loops over several subjects in turn, so that whatever else the machine does falls on all of them.

import { readdirSync, readFileSync } from "node:fs"

export const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]

/** CPU seconds of the server's processes, on Linux; elsewhere 0. `pid` is the postmaster's. */
const serverCpu = (pid) => {
  if (process.platform !== "linux") return 0
  let ticks = 0
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "latin1")
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
      if (Number(fields[1]) === pid || Number(name) === pid) ticks += Number(fields[11]) + Number(fields[12])
    } catch {
      // it has ended meanwhile
    }
  }
  return ticks / 100
}

let postmaster = 0
/** Whose CPU time is counted beside ours. */
export const watch = (folder) => {
  postmaster = Number(readFileSync(`${folder}/data/postmaster.pid`, "utf8").split("\n")[0])
}

/** CPU milliseconds so far: ours and the server's. */
const cpu = () => {
  const { user, system } = process.cpuUsage()
  return { client: (user + system) / 1000, server: serverCpu(postmaster) * 1000 }
}

/** Calls a second, and the median time of one in milliseconds: `clients` loops that each wait for their own call. */
const slice = async (clients, millis, call) => {
  const times = []
  const before = cpu()
  const begin = performance.now()
  const end = begin + millis
  await Promise.all(
    Array.from({ length: clients }, async (_, client) => {
      for (;;) {
        const started = performance.now()
        if (started >= end) return
        await call(client)
        times.push(performance.now() - started)
      }
    })
  )
  const rate = (times.length / (performance.now() - begin)) * 1000
  const after = cpu()
  return {
    rate,
    p50: median(times),
    client: (after.client - before.client) / times.length,
    server: (after.server - before.server) / times.length
  }
}

/** How much longer than a slice each subject runs before any is measured: what counts is compiled code, which a server's process is all day. */
const warmUp = 4

/**
 * The medians over `rounds` of every subject, and of the first one's rate over each other's in the same round. `subjects`: by name, a
 * function from the number of a client to a promise.
 */
export const alternate = async (subjects, { clients, millis, rounds }) => {
  const names = Object.keys(subjects)
  for (const name of names) await slice(clients, millis * warmUp, subjects[name])
  const seen = Object.fromEntries(names.map((name) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      globalThis.gc?.()
      seen[name].push(await slice(clients, millis, subjects[name]))
    }
  }
  const [first] = names
  return Object.fromEntries(
    names.map((name) => [
      name,
      {
        rate: median(seen[name].map((it) => it.rate)),
        p50: median(seen[name].map((it) => it.p50)),
        client: median(seen[name].map((it) => it.client)),
        server: median(seen[name].map((it) => it.server)),
        faster: median(seen[name].map((it, round) => seen[first][round].rate / it.rate))
      }
    ])
  )
}
