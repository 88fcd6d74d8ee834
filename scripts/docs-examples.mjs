// Checks the examples in the documentation: every ```ts block of README.md, docs/**/*.md and the doc comments of src is type-checked with the
// project's own options, `holdfast` and its subpaths meaning src. A block marked ```ts run is also run. Errors name the original file and line.
// Usage: node scripts/docs-examples.mjs [file ...]   without files: all of them
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join, relative, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"
import { transpile } from "./transpile.mjs"

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))

const filesBelow = (folder, extension) =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    return entry.isDirectory() ? filesBelow(path, extension) : path.endsWith(extension) ? [path] : []
  })

/**
 * The ts blocks of a text. Each block's code stands at the lines it has in the file, after as many empty ones, so that what the compiler
 * reports needs no translation. In a doc comment the leading ` * ` is taken off.
 */
const blocksOf = (file) => {
  const inComments = file.endsWith(".ts")
  const prefix = inComments ? /^\s*\* ?/ : /^/
  const blocks = []
  let open
  readFileSync(file, "utf8")
    .split("\n")
    .forEach((line, index) => {
      if (inComments && !/^\s*\*/.test(line)) {
        open = undefined
        return
      }
      const text = line.replace(prefix, "")
      const fence = /^\s*```(.*)$/.exec(text)
      if (fence === null) open?.lines.push(text)
      else if (open === undefined) {
        const [language, ...marks] = fence[1].trim().split(/\s+/)
        open = { file, line: index + 1, language, run: marks.includes("run"), lines: [] }
      } else {
        if (open.language === "ts" || open.language === "typescript") blocks.push(open)
        open = undefined
      }
    })
  return blocks.map((block, index) => ({
    ...block,
    path: join(root, `.example-${relative(root, file).replaceAll(/[^\w.]+/g, "-")}-${index}.mts`),
    code: `${"\n".repeat(block.line)}${block.lines.join("\n")}\nexport {}\n`
  }))
}

/** `holdfast` and its subpaths, as the exports map has them, in src. */
const paths = Object.fromEntries(
  Object.entries(manifest.exports)
    .filter(([, target]) => target.startsWith("./dist/"))
    .map(([subpath, target]) => [
      join(manifest.name, subpath),
      [target.replace(/^\.\/dist\//, "./src/").replace(/\.js$/, ".ts")]
    ])
)

/** Type errors of the blocks, as `file:line:column - message`. */
const typeErrors = (blocks) => {
  const { config } = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile)
  const options = {
    ...ts.convertCompilerOptionsFromJson(config.compilerOptions, root).options,
    noEmit: true,
    paths,
    pathsBasePath: root
  }
  const byPath = new Map(blocks.map((block) => [block.path, block]))
  const host = ts.createCompilerHost(options, true)
  const { fileExists, readFile, getSourceFile } = host
  host.fileExists = (path) => byPath.has(path) || fileExists(path)
  host.readFile = (path) => byPath.get(path)?.code ?? readFile(path)
  host.getSourceFile = (path, language, ...rest) => {
    const block = byPath.get(path)
    return block === undefined
      ? getSourceFile(path, language, ...rest)
      : ts.createSourceFile(path, block.code, language, true)
  }
  const program = ts.createProgram({ rootNames: blocks.map((block) => block.path), options, host })
  /** An example may declare what it does not use, but not import it. */
  const counts = (diagnostic) => {
    if (!diagnostic.reportsUnnecessary) return true
    const statement = diagnostic.file.statements.find(
      (node) => node.pos <= diagnostic.start && diagnostic.start < node.end
    )
    return statement !== undefined && ts.isImportDeclaration(statement)
  }
  return blocks.flatMap((block) => {
    const source = program.getSourceFile(block.path)
    return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)]
      .filter(counts)
      .map((diagnostic) => {
        const { line, character } = source.getLineAndCharacterOfPosition(diagnostic.start ?? 0)
        const message = ts.flattenDiagnosticMessageText(diagnostic.messageText, "\n  ")
        return `${relative(root, block.file)}:${line + 1}:${character + 1} - TS${diagnostic.code}: ${message}`
      })
  })
}

/** Runs the blocks marked so, each in a process of its own against src as it stands. */
const runErrors = (blocks) => {
  if (blocks.length === 0) return []
  const folder = transpile()
  mkdirSync(join(folder, "examples"), { recursive: true })
  const examples = mkdtempSync(join(folder, "examples/"))
  try {
    return blocks.flatMap((block, index) => {
      const file = join(examples, `${index}.mjs`)
      const compilerOptions = {
        target: ts.ScriptTarget.ES2022,
        module: ts.ModuleKind.ESNext,
        verbatimModuleSyntax: true
      }
      writeFileSync(file, ts.transpileModule(block.code, { compilerOptions }).outputText)
      const { status, error, stdout, stderr } = spawnSync(process.execPath, [file], {
        cwd: examples,
        encoding: "utf8",
        timeout: 60_000,
        stdio: ["ignore", "pipe", "pipe"]
      })
      if (status === 0) return []
      const why = error === undefined ? `exit code ${status}` : error.message
      return [`${relative(root, block.file)}:${block.line} - the example fails: ${why}\n${stdout}${stderr}`]
    })
  } finally {
    rmSync(examples, { recursive: true, force: true })
  }
}

const named = process.argv.slice(2).map((file) => resolve(file))
const files =
  named.length > 0
    ? named
    : [
        ...readdirSync(root)
          .filter((name) => name.endsWith(".md"))
          .map((name) => join(root, name)),
        ...filesBelow(join(root, "docs"), ".md"),
        ...filesBelow(join(root, "src"), ".ts")
      ]
const blocks = files.flatMap(blocksOf)
const toRun = blocks.filter((block) => block.run)
const types = typeErrors(blocks)
const errors = types.length > 0 ? types : runErrors(toRun)
for (const error of errors) console.error(error)
console.log(
  `${blocks.length} examples in ${new Set(blocks.map((block) => block.file)).size} files, ${toRun.length} to run: ${errors.length === 0 ? "all fine" : `${errors.length} errors`}`
)
process.exit(errors.length === 0 ? 0 : 1)
