/**
 * What the package shows to the outside: a subpath and a namespace for each public module, and a file behind each subpath.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { basename, join } from "node:path"
import { assert, beforeAll, describe, it } from "vitest"
import * as Built from "./built.js"

/** The folders whose PascalCase modules are public; `cli` and `programs` are programs, not modules. */
const publicFolders = ["observability", "resilience", "database", "checkpoint", "langfuse", "agent", "graph"]

/** Modules that stand on LangGraph's classes, so that only `holdfast/langgraph` shows them. */
const onLangGraph = new Set(["Checkpointer", "Graph", "Serializer"])

/** Modules that the others share and users do not need by name. */
const shared = new Set(["ErrorInfo", "Redaction", "SpanCarrier"])

const sources = publicFolders
  .map((folder) => join(Built.root, "src", folder))
  .filter((folder) => existsSync(folder))
  .flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
  .filter((file) => /\/[A-Z][A-Za-z]*\.ts$/.test(file))

/** The public modules. A module that is one family of errors has no namespace: its classes are exported by name. */
const modules = sources
  .map((file) => ({
    name: basename(file, ".ts"),
    target: `./dist/${file.slice(join(Built.root, "src/").length, -3)}.js`
  }))
  .filter(({ name }) => !shared.has(name) && !name.endsWith("Error"))

/** Every error class that a public module can fail with. */
const errors = sources.flatMap((file) =>
  Array.from(
    readFileSync(file, "utf8").matchAll(/^export class ([A-Za-z]+Error) extends Schema\.TaggedError/gm),
    ([, name]) => name
  )
)

describe("the package's face", () => {
  let folder = ""
  beforeAll(() => {
    folder = Built.folder()
  })

  it("has a subpath a public module", () => {
    for (const { name, target } of modules) assert.strictEqual(Built.manifest.exports[`./${name}`], target)
  })

  it("has no subpath without a file behind it", () => {
    const missing = Object.entries(Built.manifest.exports).filter(([, target]) => !existsSync(join(folder, target)))
    assert.deepStrictEqual(missing, [])
  })

  it("exports one namespace a module, and all else are error classes", async () => {
    const script = `
      const names = async (face) => Object.entries(await import(face)).map(([name, value]) => [name, typeof value])
      console.log(JSON.stringify({ holdfast: await names("holdfast"), langgraph: await names("holdfast/langgraph") }))`
    const ended = await Built.node(folder, ["--input-type=module", "-e", script])
    assert.strictEqual(ended.code, 0, ended.stderr)
    const faces: Record<"holdfast" | "langgraph", ReadonlyArray<readonly [string, string]>> = JSON.parse(ended.stdout)
    const namespaces = (face: ReadonlyArray<readonly [string, string]>) =>
      face.flatMap(([name, kind]) => (kind === "object" ? [name] : [])).sort()
    const expected = modules.map(({ name }) => name).sort()
    assert.deepStrictEqual(
      namespaces(faces.holdfast),
      expected.filter((name) => !onLangGraph.has(name))
    )
    assert.deepStrictEqual(
      namespaces(faces.langgraph),
      expected.filter((name) => onLangGraph.has(name))
    )
    for (const [name, kind] of [...faces.holdfast, ...faces.langgraph]) {
      if (kind !== "object") assert.match(name, /^[A-Z][A-Za-z]+Error$/)
    }
  })

  it("exports every error class by name", async () => {
    const script = `console.log(JSON.stringify(Object.keys(await import("holdfast"))))`
    const ended = await Built.node(folder, ["--input-type=module", "-e", script])
    assert.strictEqual(ended.code, 0, ended.stderr)
    const names: ReadonlyArray<string> = JSON.parse(ended.stdout)
    assert.deepStrictEqual(
      errors.filter((name) => name === undefined || !names.includes(name)),
      []
    )
  })
})
