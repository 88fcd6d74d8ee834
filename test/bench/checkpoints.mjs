// Both savers in one run on one server: throughput, graphs, disk, round trips, each beside its target and its floor. Prints Markdown tables.
// Usage: npm run bench:checkpoints [-- --only put,list --millis 400 --rounds 7]

import { parseArgs } from "node:util"
import * as PostgresServer from "../support/postgresServer.ts"
import { watch } from "./checkpoints/measure.mjs"
import * as rows from "./checkpoints/rows.mjs"

const { values: options } = parseArgs({
  options: {
    only: { type: "string", default: "" },
    millis: { type: "string", default: "400" },
    rounds: { type: "string", default: "7" }
  }
})
const only = options.only.split(",").filter((name) => name !== "")
const pace = { millis: Number(options.millis), rounds: Number(options.rounds) }

const server = await PostgresServer.start({ settings: ["max_connections=200", "shared_buffers=256MB"] })
watch(server.folder)
try {
  for (const [name, section] of Object.entries(rows.sections)) {
    if (only.length === 0 || only.includes(name)) await section(server.url, pace)
  }
} finally {
  await server.stop()
}
