// Renders every command's help and the version once, at build time, so that `cli/bin.js` can answer without loading the program.
// The text is what the live program prints: the application itself runs with `--help` under a console that records.
// Usage: node scripts/prerender-help.mjs [folder of the compiled package, default dist]
import { readFileSync, writeFileSync } from "node:fs"
import { dirname, join, resolve } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { stripVTControlCharacters } from "node:util"
import * as Command from "@effect/cli/Command"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as Effect from "effect/Effect"
import * as HashMap from "effect/HashMap"

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const dist = resolve(process.argv[2] ?? join(root, "dist"))
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
const { command } = await import(pathToFileURL(join(dist, "cli/command.js")).href)
const run = Command.run(command, { name: "holdfast", version })

/** What the program prints for these arguments, with colour and without. */
const printed = async (...args) => {
  const lines = []
  const record = (...values) => Effect.sync(() => void lines.push(values.join(" ")))
  const program = Effect.flatMap(Effect.console, (console) =>
    run(["node", "holdfast", ...args]).pipe(Effect.withConsole({ ...console, log: record, error: record }))
  )
  await Effect.runPromise(Effect.provide(program, NodeContext.layer))
  const color = lines.map((line) => `${line}\n`).join("")
  return { color, plain: stripVTControlCharacters(color) }
}

const help = { version: await printed("--version"), pages: { "": await printed("--help") } }
for (const name of [...HashMap.keys(Command.getSubcommands(command))].sort()) {
  help.pages[name] = await printed(name, "--help")
}
writeFileSync(join(dist, "cli/help.json"), JSON.stringify(help))
