// What delivery to Langfuse costs, beside the official span processor (@langfuse/otel 5.11.1), each in processes of its own, against a server in
// another one. Prints a table of medians over rounds that take turns.
// Usage: npm run bench:langfuse (it builds first)

import { spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { createServer } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { gunzipSync } from "node:zlib"

const rounds = Number(process.env.ROUNDS ?? 3)
const subject = fileURLToPath(new URL("./langfuse/subject.mjs", import.meta.url))

/** Counts spans; its work is small beside that of those who send. */
const serve = async () => {
  let received = 0
  let hanging = false
  const server = createServer((request, response) => {
    const chunks = []
    request.on("data", (chunk) => chunks.push(chunk))
    request.on("end", () => {
      if (hanging) return
      const body = Buffer.concat(chunks)
      const text = request.headers["content-encoding"] === "gzip" ? gunzipSync(body).toString() : body.toString()
      for (let at = text.indexOf('"spanId":'); at >= 0; at = text.indexOf('"spanId":', at + 9)) received++
      response.writeHead(200, { "content-type": "application/json" }).end("{}")
    })
    request.on("error", () => {})
  })
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve))
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    reset: (hang) => {
      received = 0
      hanging = hang
      server.closeIdleConnections()
    },
    received: () => received,
    close: () => {
      server.closeAllConnections()
      server.close()
    }
  }
}

/** Runs one measurement in a process of its own, and gives what it printed as JSON. */
const measure = (url, what, who) =>
  new Promise((resolve, reject) => {
    const folder = mkdtempSync(join(tmpdir(), "holdfast-bench-"))
    const child = spawn(process.execPath, ["--expose-gc", subject, what, who], {
      env: { ...process.env, URL: url, FOLDER: folder, OTEL_BSP_MAX_QUEUE_SIZE: "50000" },
      stdio: ["ignore", "pipe", "inherit"]
    })
    let text = ""
    child.stdout.on("data", (chunk) => {
      text += chunk
    })
    child.once("close", (code) => {
      rmSync(folder, { recursive: true, force: true })
      if (code === 0) resolve(JSON.parse(text.trim().split("\n").at(-1)))
      else reject(new Error(`${what} ${who} ended with ${code}: ${text}`))
    })
  })

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]

const server = await serve()
const results = new Map()
const run = async (what, who, hang = false) => {
  server.reset(hang)
  const result = { ...(await measure(server.url, what, who)), received: server.received() }
  const key = `${what} ${who}${hang ? " hang" : ""}`
  results.set(key, [...(results.get(key) ?? []), result])
}
for (let round = 0; round < rounds; round++) {
  await run("burst", "ours")
  await run("burst", "official")
  await run("latency", "untraced")
  await run("latency", "ours")
  await run("latency", "ours", true)
  await run("flush", "ours")
  await run("flush", "official")
}
server.close()

const of = (key, field) => median(results.get(key).map((result) => result[field]))
const least = (key, field) => Math.min(...results.get(key).map((result) => result[field]))
const ratio = (value, field, a, b) => `${(value(a, field) / value(b, field)).toFixed(2)}`
const mb = (kilobytes) => `${Math.round(kilobytes / 1024)} MB`
const rows = [
  ["case", "ours", "peer", "ratio", "target"],
  ["---", "---", "---", "---", "---"],
  [
    "burst of 50,000 spans with 12 attributes: arrived",
    `${least("burst ours", "received")}`,
    `official: ${least("burst official", "received")}`,
    "",
    "50,000"
  ],
  [
    "its peak memory (RSS)",
    mb(of("burst ours", "peak")),
    `official, queue of 50,000: ${mb(of("burst official", "peak"))}`,
    ratio(of, "peak", "burst ours", "burst official"),
    "1.2"
  ],
  [
    "50,000 calls of 1 ms, 50 at once: p99",
    `${of("latency ours", "p99").toFixed(2)} ms`,
    `untraced: ${of("latency untraced", "p99").toFixed(2)} ms`,
    ratio(of, "p99", "latency ours", "latency untraced"),
    "1.5"
  ],
  [
    "the same while Langfuse hangs: median",
    `${of("latency ours hang", "p50").toFixed(3)} ms`,
    `it answers: ${of("latency ours", "p50").toFixed(3)} ms`,
    ratio(of, "p50", "latency ours hang", "latency ours"),
    "1.05"
  ],
  [
    "flush of 5,000 queued spans",
    `${Math.round(5_000_000 / of("flush ours", "millis"))} a second`,
    `official: ${Math.round(5_000_000 / of("flush official", "millis"))} a second`,
    ratio(of, "millis", "flush official", "flush ours"),
    "at least 1"
  ],
  [
    "its CPU time",
    `${of("flush ours", "cpu").toFixed(0)} ms`,
    `official: ${of("flush official", "cpu").toFixed(0)} ms`,
    ratio(of, "cpu", "flush ours", "flush official"),
    ""
  ]
]
for (const row of rows) console.log(`| ${row.join(" | ")} |`)
