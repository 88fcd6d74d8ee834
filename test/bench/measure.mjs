// What a call costs: CPU time and heap, as medians over several rounds of one process, after a warm-up.

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]

/** Collects garbage, so that what is left is what is kept. Needs `--expose-gc`. */
export const collect = () => {
  for (let round = 0; round < 3; round++) globalThis.gc()
}

/** The median CPU time of a call in microseconds. `run(n)` makes n calls and resolves when they have ended. */
export const cpuMicros = async (run, { calls, rounds = 7 }) => {
  await run(Math.ceil(calls / 4))
  const each = []
  for (let round = 0; round < rounds; round++) {
    collect()
    const before = process.cpuUsage()
    await run(calls)
    const { system, user } = process.cpuUsage(before)
    each.push((system + user) / calls)
  }
  return median(each)
}

/** The median number of bytes that a call allocates, with a young generation large enough that nothing is collected meanwhile. */
export const allocated = async (run, { calls, rounds = 5 }) => {
  await run(calls)
  const each = []
  for (let round = 0; round < rounds; round++) {
    collect()
    const before = process.memoryUsage().heapUsed
    await run(calls)
    each.push((process.memoryUsage().heapUsed - before) / calls)
  }
  return median(each)
}
