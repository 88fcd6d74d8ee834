// Makes a package folder of src as it stands, for tests and examples that run Holdfast as its users do (by its name, through its exports,
// in a process of their own). Only syntax is removed, no types are checked, which takes a second: isolated modules compile to the same code.
// The folder is named after what is in it, so many processes may ask at once. Prints the folder.
import { spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync
} from "node:fs"
import { dirname, join, relative } from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const cache = join(root, "node_modules/.cache/holdfast")

const filesBelow = (folder) =>
  readdirSync(folder, { withFileTypes: true })
    .flatMap((entry) => (entry.isDirectory() ? filesBelow(join(folder, entry.name)) : [join(folder, entry.name)]))
    .sort()

/** The folder of the package, made when it does not exist yet. */
export const transpile = () => {
  const sources = filesBelow(join(root, "src"))
  const hash = createHash("sha256")
  for (const file of [
    ...sources,
    ...["package.json", "tsconfig.json", "scripts/transpile.mjs", "scripts/prerender-help.mjs"].map((name) =>
      join(root, name)
    )
  ]) {
    hash
      .update(`${relative(root, file)}\0`)
      .update(readFileSync(file))
      .update("\0")
  }
  const folder = join(cache, hash.digest("hex").slice(0, 16))
  if (existsSync(folder)) {
    utimesSync(folder, new Date(), new Date())
    return folder
  }

  mkdirSync(cache, { recursive: true })
  for (const name of readdirSync(cache)) {
    const stale = join(cache, name)
    if (Date.now() - statSync(stale).mtimeMs > 3_600_000) rmSync(stale, { recursive: true, force: true })
  }
  const out = mkdtempSync(join(cache, ".new-"))
  const { config } = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile)
  const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root)
  const compilerOptions = {
    ...options,
    module: ts.ModuleKind.ESNext,
    moduleResolution: undefined,
    noEmit: false,
    inlineSourceMap: true
  }
  for (const file of sources) {
    const target = join(out, "dist", relative(join(root, "src"), file))
    mkdirSync(dirname(target), { recursive: true })
    if (!file.endsWith(".ts") || file.endsWith(".d.ts")) cpSync(file, target)
    else {
      const { outputText } = ts.transpileModule(readFileSync(file, "utf8"), { compilerOptions, fileName: file })
      writeFileSync(target.replace(/\.ts$/, ".js"), outputText)
    }
  }
  cpSync(join(root, "package.json"), join(out, "package.json"))
  if (existsSync(join(out, "dist/cli/bin.js"))) chmodSync(join(out, "dist/cli/bin.js"), 0o755)
  if (existsSync(join(out, "dist/cli/command.js"))) {
    const { status } = spawnSync(process.execPath, [join(root, "scripts/prerender-help.mjs"), join(out, "dist")], {
      stdio: ["ignore", "inherit", "inherit"]
    })
    if (status !== 0) throw new Error("the help could not be rendered")
  }
  try {
    renameSync(out, folder)
  } catch {
    // Another process made the same folder first.
    rmSync(out, { recursive: true, force: true })
  }
  return folder
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(transpile())
