// `npm run check`: types, the rules of Effect, lint and format, and the examples of the docs, two at a time. Prints what failed in full, and all that did.
import { spawn } from "node:child_process"

// the longest first
const checks = ["docs:check", "check:effect", "check:types", "lint"]

const run = (name) =>
  new Promise((resolve) => {
    const began = performance.now()
    const child = spawn("npm", ["run", "--silent", name], { stdio: ["ignore", "pipe", "pipe"] })
    const output = []
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (bytes) => output.push(bytes))
    child.on("close", (code) => {
      const seconds = Math.round((performance.now() - began) / 1000)
      console.log(`${name}: ${code === 0 ? "holds" : "FAILED"}, ${seconds} s`)
      if (code !== 0) process.stdout.write(Buffer.concat(output))
      resolve(code === 0 ? [] : [name])
    })
  })

const worker = async () => {
  const failed = []
  for (let name = checks.shift(); name !== undefined; name = checks.shift()) failed.push(...(await run(name)))
  return failed
}
const failed = (await Promise.all([worker(), worker()])).flat()
if (failed.length > 0) {
  console.error(`failed: ${failed.join(", ")}`)
  process.exitCode = 1
}
