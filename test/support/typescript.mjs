// Lets a process run the sources: `node --import ./test/support/typescript.mjs script.ts`, on every Node we support.
// With MODULES_LOG set, the URL of every module that is loaded is written to that file.
import { appendFileSync, existsSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { createRequire, register } from "node:module"
import { fileURLToPath } from "node:url"
import { isMainThread } from "node:worker_threads"

if (isMainThread) register(import.meta.url)

// vite brings esbuild along
const inVitest = createRequire(createRequire(import.meta.url).resolve("vitest/package.json"))
const { transform } = createRequire(inVitest.resolve("vite/package.json"))("esbuild")

const log = process.env["MODULES_LOG"]

/** A relative `.js` whose file is a `.ts`. */
export const resolve = (specifier, context, next) => {
  if (specifier.startsWith(".") && specifier.endsWith(".js") && context.parentURL?.endsWith(".ts")) {
    const source = new URL(`${specifier.slice(0, -3)}.ts`, context.parentURL)
    if (existsSync(source)) return next(source.href, context)
  }
  return next(specifier, context)
}

export const load = async (url, context, next) => {
  if (log !== undefined) appendFileSync(log, `${url}\n`)
  if (!url.startsWith("file:") || !url.endsWith(".ts")) return next(url, context)
  const file = fileURLToPath(url)
  const options = { loader: "ts", target: "es2022", sourcemap: "inline", sourcefile: file }
  const { code } = await transform(await readFile(file, "utf8"), options)
  return { format: "module", source: code, shortCircuit: true }
}
