/**
 * The house's floors hold: which folder may import which, and which packages each may know.
 */
import { readdirSync, readFileSync } from "node:fs"
import { dirname, join, normalize, relative } from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"
import { assert, describe, it } from "vitest"

const src = fileURLToPath(new URL("../../src", import.meta.url))

/** From the ground up. Folders on one floor do not know each other. */
const floors: ReadonlyArray<ReadonlyArray<string>> = [
  ["observability", "database"],
  ["resilience", "checkpoint", "langfuse"],
  ["agent"],
  ["graph"],
  ["programs"],
  ["cli", "testing"]
]

/** The files from outside `langfuse` that may import it: entrypoints. */
const reachesLangfuse =
  /^(langfuse\/.*|cli\/.*|testing\/.*|programs\/[^/]+\/[A-Z][A-Za-z]*Entry\.ts|programs\/[^/]+\/(index|main)\.ts)$/

/** The one operator that may know a database: the breaker's shared store. */
const sharedStore = "resilience/CircuitBreaker/Sql.ts"

/** Which folders may import a package, for the packages that tie a module to a backend. */
const knownTo: ReadonlyArray<readonly [pattern: RegExp, folders: ReadonlyArray<string>]> = [
  [/^@langchain\/langgraph(\/|$)/, ["graph", "programs"]],
  [/^@langchain\/langgraph-checkpoint(\/|$)/, ["checkpoint", "graph"]],
  [/^@langchain\/core(\/|$)/, ["checkpoint", "graph", "langfuse", "programs", "testing"]],
  [/^@langchain\/openai(\/|$)/, ["programs"]],
  [/^@langfuse\//, ["langfuse", "testing"]],
  [/^@opentelemetry\//, ["langfuse"]],
  [/^@effect\/opentelemetry(\/|$)/, ["langfuse"]],
  [/^(pg|@effect\/sql-pg|@electric-sql\/pglite)(\/|$)/, ["database"]],
  [/^@effect\/sql(\/|$)/, ["database", "checkpoint", "langfuse", "graph", "programs", "cli", "testing"]],
  [/^@effect\/cli(\/|$)/, ["cli"]],
  [/^langfuse$/, []],
  [/^@effect\/schema(\/|$)/, []]
]

interface Import {
  readonly from: string
  readonly to: string
  /** Whether the import is there when the program runs. */
  readonly value: boolean
}

const files = readdirSync(src, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"))
const isFace = (file: string): boolean => !file.includes("/")
const folderOf = (file: string): string => file.split("/")[0] ?? ""
const floorOf = (file: string): number => floors.findIndex((floor) => floor.includes(folderOf(file)))

/** Every import, export-from and `import()` of a file, types included. */
const importsOf = (file: string): ReadonlyArray<Import> => {
  const source = ts.createSourceFile(file, readFileSync(join(src, file), "utf8"), ts.ScriptTarget.ES2022, true)
  const found: Array<Import> = []
  const add = (specifier: ts.Node | undefined, value: boolean) => {
    if (specifier !== undefined && ts.isStringLiteralLike(specifier))
      found.push({ from: file, to: specifier.text, value })
  }
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, node.importClause?.isTypeOnly !== true)
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, !node.isTypeOnly)
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal, false)
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      add(node.arguments[0], false)
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

const isRelative = (specifier: string): boolean => specifier.startsWith(".")
/** The file of src that a relative import names. */
const target = ({ from, to }: Import): string =>
  relative(src, normalize(join(src, dirname(from), to))).replace(/\.js$/, ".ts")

const imports = files.flatMap(importsOf)
const inside = imports.filter(({ to }) => isRelative(to)).map((edge) => ({ ...edge, target: target(edge) }))
const outside = imports.filter(({ to }) => !isRelative(to))
const say = (edges: ReadonlyArray<Import>): ReadonlyArray<string> =>
  edges.map(({ from, to }) => `${from} imports ${to}`)

describe("floors", () => {
  it("reads every kind of import", () => {
    assert.isAbove(files.length, 3)
    assert.isAbove(imports.length, files.length)
  })

  it("every file has a floor or is a face", () => {
    assert.deepStrictEqual(
      files.filter((file) => !isFace(file) && floorOf(file) === -1),
      []
    )
  })

  it("nothing imports a face, or leaves src", () => {
    assert.deepStrictEqual(say(inside.filter((edge) => isFace(edge.target) || edge.target.startsWith(".."))), [])
    assert.deepStrictEqual(say(outside.filter(({ to }) => to === "holdfast" || to.startsWith("holdfast/"))), [])
  })

  it("nothing imports upwards or sideways", () => {
    const wrong = inside.filter(
      (edge) =>
        !isFace(edge.from) &&
        folderOf(edge.from) !== folderOf(edge.target) &&
        folderOf(edge.target) !== "observability" &&
        floorOf(edge.target) >= floorOf(edge.from)
    )
    assert.deepStrictEqual(say(wrong), [])
    assert.deepStrictEqual(
      say(
        inside.filter((edge) => folderOf(edge.from) === "observability" && folderOf(edge.target) !== "observability")
      ),
      []
    )
  })

  it("the operators know no database, but for the breaker's shared store", () => {
    const wrong = inside.filter(
      (edge) =>
        folderOf(edge.from) === "resilience" && edge.from !== sharedStore && folderOf(edge.target) === "database"
    )
    assert.deepStrictEqual(say(wrong), [])
  })

  it("langfuse is reached only from entrypoints and the public face", () => {
    const wrong = inside.filter(
      (edge) => folderOf(edge.target) === "langfuse" && !isFace(edge.from) && !reachesLangfuse.test(edge.from)
    )
    assert.deepStrictEqual(say(wrong), [])
  })

  it("a backend's package is known only where it belongs", () => {
    const wrong = outside.filter(({ from, to }) => {
      const rule = knownTo.find(([pattern]) => pattern.test(to))
      const speaksSql = from === sharedStore || isFace(from)
      if (rule === undefined || (speaksSql && to.startsWith("@effect/sql/"))) return false
      return !rule[1].includes(folderOf(from))
    })
    assert.deepStrictEqual(say(wrong), [])
  })

  it("no module needs itself", () => {
    const next = new Map(files.map((file) => [file, inside.filter((edge) => edge.value && edge.from === file)]))
    const done = new Set<string>()
    const cycles: Array<string> = []
    const walk = (file: string, path: ReadonlyArray<string>): void => {
      const at = path.indexOf(file)
      if (at >= 0) {
        cycles.push([...path.slice(at), file].join(" -> "))
        return
      }
      if (done.has(file)) return
      for (const edge of next.get(file) ?? []) walk(edge.target, [...path, file])
      done.add(file)
    }
    for (const file of files) walk(file, [])
    assert.deepStrictEqual(cycles, [])
  })

  it("imports name files that exist", () => {
    const known = new Set(files)
    assert.deepStrictEqual(say(inside.filter((edge) => edge.target.endsWith(".ts") && !known.has(edge.target))), [])
  })
})
