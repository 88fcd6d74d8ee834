// Packs Holdfast, looks through the tarball, installs it into an empty project as a user would, and uses it there: type checks from TypeScript
// and JavaScript, every subpath imported, the executable run, the main program run. Needs the npm registry or a warm npm cache.
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
const temporary = mkdtempSync(join(tmpdir(), "holdfast-package-"))
process.on("exit", () => rmSync(temporary, { recursive: true, force: true }))

const fail = (message) => {
  console.error(`package: ${message}`)
  process.exit(1)
}

/** Runs a command to its end; its standard output. */
const run = (cwd, command, args, { env = {}, timeout = 240_000 } = {}) => {
  const { status, signal, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    encoding: "utf8",
    env: { ...process.env, ...env },
    maxBuffer: 64 * 1024 * 1024,
    stdio: ["ignore", "pipe", "pipe"],
    timeout
  })
  if (status !== 0) {
    fail(`\`${command} ${args.join(" ")}\` ended with ${status ?? signal ?? error?.message}\n${stdout}${stderr}`)
  }
  return { stdout, stderr }
}

const step = (text) => console.log(`package: ${text}`)

run(root, process.execPath, ["scripts/build.mjs", "--if-stale"])
const packed = JSON.parse(
  run(root, "npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", temporary]).stdout
)[0]
const tarball = join(temporary, packed.filename)
const unpacked = join(temporary, "unpacked")
mkdirSync(unpacked)
run(unpacked, "tar", ["-xzf", tarball])

// What is in it
const always = ["package.json", "README.md", "LICENSE"]
const isListed = (path) =>
  always.includes(path) || manifest.files.some((name) => path === name || path.startsWith(`${name}/`))
const paths = packed.files.map(({ path }) => path)
const unlisted = paths.filter((path) => !isListed(path) || path.includes("..") || path.startsWith("/"))
if (unlisted.length > 0) fail(`files nobody asked for: ${unlisted.join(", ")}`)
for (const [subpath, target] of Object.entries(manifest.exports)) {
  const needed = target.endsWith(".js") ? [target, target.replace(/\.js$/, ".d.ts")] : [target]
  for (const file of needed) if (!paths.includes(file.slice(2))) fail(`${subpath} has no ${file}`)
}
for (const file of [...always, manifest.bin.holdfast.slice(2), "dist/cli/help.json", ".env.example", "CHANGELOG.md"]) {
  if (!paths.includes(file)) fail(`${file} is missing`)
}

/** What must not leave the machine it was made on. */
const leaks = [
  [
    "a path of this machine",
    new RegExp([root, temporary].map((path) => path.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|"))
  ],
  ["a home folder", /(?:^|[\s"'`(=:])(?:\/home\/[a-z]|\/Users\/[A-Za-z]|\/root\/|[A-Z]:\\\\Users)/],
  ["a private key", /-----BEGIN [A-Z ]*PRIVATE KEY-----/],
  [
    "an API key",
    /\b(?:[ps]k-lf-[0-9a-f]{8}-[0-9a-f]{4}-|sk-(?:proj-)?[A-Za-z0-9]{32,}|npm_[A-Za-z0-9]{36}|gh[pousr]_[A-Za-z0-9]{36}|AKIA[0-9A-Z]{16})/
  ],
  ["a package registry", /https?:\/\/(?:registry|npm)\.[a-z.]+\//]
]
for (const path of paths) {
  const text = readFileSync(join(unpacked, "package", path), "utf8")
  for (const [what, shape] of leaks) {
    const found = shape.exec(text)
    if (found !== null) fail(`${path} holds ${what}: ${found[0].trim().slice(0, 24)}`)
  }
}
step(
  `${packed.filename}: ${paths.length} files, ${(packed.size / 1024).toFixed(0)} kB packed, nothing but what is listed`
)

// An empty project
const project = join(temporary, "project")
mkdirSync(project)
writeFileSync(
  join(project, "package.json"),
  JSON.stringify({ name: "empty", version: "1.0.0", private: true, type: "module" })
)
const installed = run(project, "npm", [
  "install",
  ...["--no-audit", "--no-fund", "--prefer-offline", "--no-progress", "--loglevel=warn"],
  tarball,
  `typescript@${manifest.devDependencies.typescript}`,
  `@types/node@${manifest.devDependencies["@types/node"]}`
])
const complaints = installed.stderr.split("\n").filter((line) => /ERESOLVE|peer|deprecated|EBADENGINE/i.test(line))
if (complaints.length > 0) fail(`the installation warns\n${complaints.join("\n")}`)
run(project, "npm", ["ls", "--all"])
step("installs into an empty project with its peers, without a warning")

// Types, from both languages
const consumer = `import { Effect } from "effect"
import { Agent, AgentTimeoutError, RetryPolicy } from "holdfast"
import * as Direct from "holdfast/RetryPolicy"
${Object.keys(manifest.exports)
  .filter((subpath) => subpath.startsWith("./") && subpath !== "./package.json")
  .map((subpath, index) => `import * as Face${index} from "${subpath.replace(/^\./, manifest.name)}"`)
  .join("\n")}
`
const faces = Object.keys(manifest.exports).length - 2
const uses = `export const faces = [${Array.from({ length: faces }, (_, index) => `Face${index}`).join(", ")}]
export const error = AgentTimeoutError
export const agent = Agent.make("double", (n) => Effect.succeed(n * 2))
export const policy = [RetryPolicy.make({ maxAttempts: 2 }), Direct.none]
`
writeFileSync(join(project, "consumer.ts"), consumer + uses.replace("(n) =>", "(n: number) =>"))
writeFileSync(
  join(project, "consumer.js"),
  consumer +
    uses.replace("(n) =>", "(/** @type {number} */ n) =>") +
    "/** @type {number} */\nexport const four = Effect.runSync(Agent.invoke(agent, 2))\nif (four !== 4) throw new Error(String(four))\n"
)
writeFileSync(
  join(project, "tsconfig.json"),
  JSON.stringify({
    compilerOptions: {
      ...{ target: "ES2022", lib: ["ES2023"], module: "NodeNext", moduleResolution: "NodeNext", types: ["node"] },
      ...{ strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, verbatimModuleSyntax: true },
      ...{ allowJs: true, checkJs: true, noEmit: true, skipLibCheck: false }
    },
    include: ["consumer.ts", "consumer.js"]
  })
)
/** Declarations of other packages may have faults of their own; ours and the project's may not. */
const { stdout: types } = spawnSync(
  process.execPath,
  ["node_modules/typescript/bin/tsc", "-p", ".", "--pretty", "false"],
  {
    cwd: project,
    encoding: "utf8",
    timeout: 240_000
  }
)
const ours = types.split("\n").filter((line) => /^(consumer\.|node_modules\/holdfast\/|error TS)/.test(line))
if (ours.length > 0) fail(`it does not type-check\n${ours.join("\n")}`)
step("type-checks from TypeScript and JavaScript")

// Use
run(project, process.execPath, ["consumer.js"])
step(`imports from all ${faces + 1} subpaths, and an agent answers`)
const version = run(project, "npx", ["--no-install", "holdfast", "--version"]).stdout.trim()
if (version !== manifest.version) fail(`holdfast --version says ${version}`)
if (!/USAGE/.test(run(project, "npx", ["--no-install", "holdfast", "--help"]).stdout))
  fail("holdfast --help says nothing")
const before = readdirSync(project)
const unknown = spawnSync("npx", ["--no-install", "holdfast", "no-such-command"], { cwd: project, encoding: "utf8" })
if (unknown.status !== 2) fail(`a wrong command ends with ${unknown.status}, not 2`)
const added = readdirSync(project).filter((name) => !before.includes(name))
if (added.length > 0) fail(`a wrong command left ${added.join(", ")}`)
step("npx holdfast answers")
const env = { HOLDFAST_DATA_DIR: join(temporary, "data") }
const report = run(project, "npx", ["--no-install", "holdfast", "research", "AAPL", "--json"], {
  env,
  timeout: 120_000
}).stdout
if (typeof JSON.parse(report) !== "object") fail("the report is no JSON document")
if (!existsSync(env.HOLDFAST_DATA_DIR)) fail("the run kept no checkpoints")
step("npx holdfast research AAPL reports from the shipped prices")
