// Compiles src into dist, copies what is not TypeScript and renders the help. `--if-stale` does nothing when dist is newer than every source.
// Built beside dist and then swapped in, so that a program that runs from dist never sees half of it.
import { spawnSync } from "node:child_process"
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync
} from "node:fs"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const dist = join(root, "dist")
const stamp = join(dist, ".built")

/** The newest modification time of a file or below a folder. */
const newest = (path) => {
  const stat = statSync(path)
  return stat.isDirectory()
    ? readdirSync(path).reduce((latest, name) => Math.max(latest, newest(join(path, name))), stat.mtimeMs)
    : stat.mtimeMs
}

const sources = [
  "src",
  "scripts/build.mjs",
  "scripts/embedded-template.mjs",
  "scripts/prerender-help.mjs",
  "package.json",
  "tsconfig.json",
  "tsconfig.build.json"
]

if (process.argv.includes("--if-stale") && existsSync(stamp)) {
  const built = statSync(stamp).mtimeMs
  if (sources.every((source) => newest(join(root, source)) <= built)) process.exit(0)
}

const started = Date.now() / 1000
const out = mkdtempSync(join(root, ".dist-"))
process.on("exit", () => rmSync(out, { recursive: true, force: true }))

const node = (...args) => {
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: ["ignore", "inherit", "inherit"] })
  if (status !== 0) process.exit(status ?? 1)
}

node(createRequire(import.meta.url).resolve("typescript/bin/tsc"), "-p", "tsconfig.build.json", "--outDir", out)
cpSync(join(root, "src/programs/research/data"), join(out, "programs/research/data"), { recursive: true })
node("scripts/embedded-template.mjs", out)
if (existsSync(join(out, "cli/bin.js"))) chmodSync(join(out, "cli/bin.js"), 0o755)
if (existsSync(join(out, "cli/command.js"))) node("scripts/prerender-help.mjs", out)
chmodSync(out, 0o755)
// What changes while this runs is newer than the build.
writeFileSync(join(out, ".built"), "")
utimesSync(join(out, ".built"), started, started)

const old = `${out}-old`
const swap = () => {
  if (existsSync(dist)) renameSync(dist, old)
  renameSync(out, dist)
  rmSync(old, { recursive: true, force: true })
}
try {
  swap()
} catch {
  // Another build came in between.
  swap()
}
console.error(`built dist in ${(Date.now() / 1000 - started).toFixed(1)} s`)
