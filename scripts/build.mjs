// Compiles src into dist and copies what is not TypeScript. `--if-stale` does nothing when dist is newer than every source.
import { spawnSync } from "node:child_process"
import { chmodSync, cpSync, existsSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const dist = join(root, "dist")
const stamp = join(dist, ".built")

/** The newest modification time below a folder. */
const newest = (folder) =>
  readdirSync(folder, { withFileTypes: true, recursive: true }).reduce(
    (latest, entry) => Math.max(latest, statSync(join(entry.parentPath ?? entry.path, entry.name)).mtimeMs),
    0
  )

if (process.argv.includes("--if-stale") && existsSync(stamp)) {
  const built = statSync(stamp).mtimeMs
  const sources = [newest(join(root, "src")), statSync(join(root, "package.json")).mtimeMs]
  if (sources.every((time) => time <= built)) process.exit(0)
}

const node = (...args) => {
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: ["ignore", "inherit", "inherit"] })
  if (status !== 0) process.exit(status ?? 1)
}

rmSync(dist, { recursive: true, force: true })
node(createRequire(import.meta.url).resolve("typescript/bin/tsc"), "-p", "tsconfig.build.json")
cpSync(join(root, "src/programs/research/data"), join(dist, "programs/research/data"), { recursive: true })
const bin = join(dist, "cli/bin.js")
if (existsSync(bin)) chmodSync(bin, 0o755)
writeFileSync(stamp, "")
