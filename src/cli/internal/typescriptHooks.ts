/** Node's hooks by which TypeScript modules load. They run in the thread of Node's own loader, or, on newer ones, in the program's; so all is synchronous. */
import { existsSync, readFileSync, statSync } from "node:fs"
import * as nodeModule from "node:module"
import { dirname, join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"

/** What takes the types out: a package of the user's by its path, or Node itself. */
export interface Compiler {
  readonly kind: "typescript" | "esbuild" | "node"
  readonly path: string
}

interface CompilerOptions {
  readonly baseUrl?: string
  readonly paths?: Readonly<Record<string, ReadonlyArray<string>>>
  readonly [option: string]: unknown
}

interface Loaded {
  readonly format: "module" | "commonjs"
  readonly source: string
  readonly shortCircuit: true
}

interface Context {
  readonly parentURL?: string
}

let compiler: Compiler | undefined

export const initialize = (data: Compiler): void => {
  compiler = data
}

const extensions = [".ts", ".mts", ".tsx", ".js", ".mjs", "/index.ts", "/index.js"]
const isTypeScript = (path: string): boolean => /\.(?:[mc]?ts|tsx)$/.test(path) && !/\.d\.[mc]?ts$/.test(path)
const isFile = (path: string): boolean => existsSync(path) && statSync(path).isFile()

/** The file that TypeScript means by a path: `./x.js` for `x.ts`, and `./x` for what there is. */
const fileFor = (path: string): string | undefined => {
  if (isFile(path)) return path
  const renamed = path.replace(/\.([mc]?)js$/, ".$1ts")
  if (renamed !== path && isFile(renamed)) return renamed
  if (renamed !== path && isFile(renamed.replace(/\.ts$/, ".tsx"))) return renamed.replace(/\.ts$/, ".tsx")
  return extensions.map((extension) => `${path}${extension}`).find(isFile)
}

const configs = new Map<string, { readonly folder: string; readonly options: CompilerOptions } | undefined>()

/** The nearest `tsconfig.json`'s options, without what it extends. */
const configFor = (folder: string): { readonly folder: string; readonly options: CompilerOptions } | undefined => {
  if (configs.has(folder)) return configs.get(folder)
  const file = join(folder, "tsconfig.json")
  const parent = dirname(folder)
  let found = parent === folder ? undefined : configFor(parent)
  if (isFile(file)) {
    try {
      // comments and commas at the end are allowed there
      const text = readFileSync(file, "utf8").replace(/("(?:\\.|[^"\\])*")|\/\/.*$|\/\*[\s\S]*?\*\//gm, "$1")
      const json: { readonly compilerOptions?: CompilerOptions } = JSON.parse(text.replace(/,(\s*[}\]])/g, "$1"))
      found = { folder, options: json.compilerOptions ?? {} }
    } catch {
      // whoever writes it will be told by the compiler
    }
  }
  configs.set(folder, found)
  return found
}

/** The file that an alias of `paths` means. */
const aliased = (specifier: string, parent: string): string | undefined => {
  const config = configFor(dirname(parent))
  for (const [pattern, targets] of Object.entries(config?.options.paths ?? {})) {
    const [head = "", tail] = pattern.split("*")
    const fits = tail === undefined ? specifier === pattern : specifier.startsWith(head) && specifier.endsWith(tail)
    if (!fits || config === undefined) continue
    const star = tail === undefined ? "" : specifier.slice(head.length, specifier.length - tail.length)
    for (const target of targets) {
      const file = fileFor(join(config.folder, config.options.baseUrl ?? ".", target.replace("*", star)))
      if (file !== undefined) return file
    }
  }
  return undefined
}

export const resolve = <A>(
  specifier: string,
  context: Context,
  next: (specifier: string, context: Context) => A
): A => {
  const parent = context.parentURL
  if (parent?.startsWith("file:") === true && isTypeScript(fileURLToPath(parent))) {
    const from = fileURLToPath(parent)
    const file = /^\.{1,2}(?:\/|$)/.test(specifier) ? fileFor(join(dirname(from), specifier)) : aliased(specifier, from)
    if (file !== undefined) return next(pathToFileURL(file).href, context)
  }
  return next(specifier, context)
}

interface TypeScript {
  readonly transpileModule?: (
    source: string,
    options: object
  ) => { readonly outputText: string; readonly diagnostics?: ReadonlyArray<Diagnostic> }
  readonly flattenDiagnosticMessageText: (text: unknown, newLine: string) => string
}

interface Diagnostic {
  readonly messageText: unknown
  readonly start?: number
}

interface Esbuild {
  readonly transformSync: (source: string, options: object) => { readonly code: string }
}

const position = (source: string, at: number): string => {
  const before = source.slice(0, at).split("\n")
  return `${before.length}:${(before.at(-1)?.length ?? 0) + 1}`
}

/** Options of the user's that change what comes out. */
const emitted = [
  "experimentalDecorators",
  "emitDecoratorMetadata",
  "useDefineForClassFields",
  "jsxImportSource"
] as const

const byTypeScript = (ts: TypeScript, source: string, file: string): string => {
  const own = configFor(dirname(file))?.options ?? {}
  const { diagnostics = [], outputText } = ts.transpileModule?.(source, {
    fileName: file,
    reportDiagnostics: true,
    compilerOptions: {
      ...Object.fromEntries(emitted.flatMap((key) => (own[key] === undefined ? [] : [[key, own[key]]]))),
      // ES2022, ESNext, react-jsx: numbers of TypeScript's own, stable since these exist
      target: 9,
      module: file.endsWith(".cts") ? 1 : 99,
      jsx: 4,
      inlineSourceMap: true
    }
  }) ?? { outputText: "" }
  const [wrong] = diagnostics
  if (wrong !== undefined) {
    const where = wrong.start === undefined ? "" : `:${position(source, wrong.start)}`
    throw new SyntaxError(`${file}${where}: ${ts.flattenDiagnosticMessageText(wrong.messageText, " ")}`)
  }
  return outputText
}

const transpile = (source: string, file: string): string => {
  if (compiler === undefined) throw new Error("no compiler was chosen")
  if (compiler.kind === "node") {
    // not in the types of the oldest Node that is supported
    const strip: unknown = Reflect.get(nodeModule, "stripTypeScriptTypes")
    if (typeof strip === "function") return String(strip(source, { mode: "transform", sourceUrl: file }))
    throw new Error("this Node takes no types out")
  }
  const required: unknown = nodeModule.createRequire(compiler.path)(compiler.path)
  // each is what its name says
  if (compiler.kind === "typescript") return byTypeScript(required as TypeScript, source, file)
  return (required as Esbuild).transformSync(source, {
    loader: file.endsWith("x") ? "tsx" : "ts",
    target: "es2022",
    format: file.endsWith(".cts") ? "cjs" : "esm",
    sourcemap: "inline",
    sourcefile: file
  }).code
}

export const load = <A>(url: string, context: object, next: (url: string, context: object) => A): A | Loaded => {
  if (!url.startsWith("file:")) return next(url, context)
  const file = fileURLToPath(url)
  if (!isTypeScript(file)) return next(url, context)
  return {
    format: file.endsWith(".cts") ? "commonjs" : "module",
    source: transpile(readFileSync(file, "utf8"), file),
    shortCircuit: true
  }
}
