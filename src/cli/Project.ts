/**
 * The folder in which the command line is called: its `langgraph.json`, its `holdfast.config`, and what both say of the environment.
 *
 * @since 0.1.0
 */
import { existsSync, readFileSync } from "node:fs"
import { join, resolve } from "node:path"
import * as Effect from "effect/Effect"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type * as Config from "./Config.js"
import * as Failure from "./Failure.js"
import type { ModuleError } from "./ModuleError.js"
import { UsageError } from "./UsageError.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Project {
  /** Modules of graphs by name, `./src/chat.ts:graph`, relative to the folder. */
  readonly graphs: Readonly<Record<string, string>>
  readonly config: Config.Config
}

const Environment = Schema.Union(Schema.String, Schema.Record({ key: Schema.String, value: Schema.String }))

/** What is understood of a `langgraph.json`; what else stands there is for others. */
const LangGraphJson = Schema.Struct({
  graphs: Schema.optionalWith(
    Schema.Record({
      key: Schema.String,
      value: Schema.Union(Schema.String, Schema.Struct({ path: Schema.String }))
    }),
    { default: () => ({}) }
  ),
  env: Schema.optional(Environment)
})

const configNames = ["ts", "mts", "js", "mjs"].map((extension) => `holdfast.config.${extension}`)

const wrong = (file: string) => (error: unknown) =>
  new UsageError({
    message: `${file} is not as it should be: ${ParseResult.isParseError(error) ? ParseResult.TreeFormatter.formatErrorSync(error).replace(/\s+/g, " ") : Failure.message(error)}`
  })

const readLangGraphJson: Effect.Effect<typeof LangGraphJson.Type, UsageError> = Effect.gen(function* () {
  const file = "langgraph.json"
  if (!existsSync(file)) return { graphs: {} }
  return yield* Effect.try(() => JSON.parse(readFileSync(file, "utf8"))).pipe(
    Effect.mapError(({ error }) => error),
    Effect.flatMap(Schema.decodeUnknown(LangGraphJson)),
    Effect.mapError(wrong(file))
  )
})

/** The names of a config's fields, for one that is misspelt. */
const fields: ReadonlySet<string> = new Set<keyof Config.Config>([
  "graphs",
  "env",
  "policy",
  "perNode",
  "layer",
  "answer",
  "recursionLimit",
  "durability"
])

const readConfig: Effect.Effect<Config.Config, UsageError | ModuleError> = Effect.gen(function* () {
  const file = configNames.find((name) => existsSync(name))
  if (file === undefined) return {}
  const modules = yield* Effect.promise(() => import("./internal/modules.js"))
  const { default: config } = yield* modules.load(file)
  if (typeof config !== "object" || config === null) {
    return yield* new UsageError({ message: `${file} has no default export that is a config` })
  }
  const unknown = Object.keys(config).find((key) => !fields.has(key))
  if (unknown !== undefined) {
    return yield* new UsageError({
      message: `${file}: "${unknown}" is no setting; there are ${[...fields].join(", ")}`
    })
  }
  return config // an object whose fields are those of a config; the policies and Schemas in it check themselves where they are used
})

/** Fills in what the environment does not say. */
const fillIn = (from: string, env: Config.Config["env"]): Effect.Effect<void, UsageError> =>
  Effect.try({
    try: () => {
      if (env === undefined) return
      if (typeof env === "string") {
        process.loadEnvFile(resolve(env))
        return
      }
      const variables = process.env
      for (const [name, value] of Object.entries(env)) {
        if ((variables[name] ?? "") === "") variables[name] = value
      }
    },
    catch: (error) =>
      new UsageError({
        message: `the environment file ${String(env)} of ${from} cannot be read: ${Failure.message(error)}`
      })
  })

/**
 * Reads what the folder says, and fills the environment in. To be done before the settings are read.
 *
 * @since 0.1.0
 * @category configuration
 */
export const load: Effect.Effect<Project, UsageError | ModuleError> = Effect.gen(function* () {
  const langGraph = yield* readLangGraphJson
  const config = yield* readConfig
  yield* fillIn("holdfast.config", config.env)
  yield* fillIn("langgraph.json", langGraph.env)
  const listed = Object.entries(langGraph.graphs).map(([name, graph]) => [
    name,
    typeof graph === "string" ? graph : graph.path
  ])
  return { graphs: { ...Object.fromEntries(listed), ...config.graphs }, config }
})

/** A path of a file with letters for a drive has a colon of its own. */
const split = (text: string): { readonly path: string; readonly name: string | undefined } => {
  const at = text.lastIndexOf(":")
  return at > 1 && !/[\\/]/.test(text.slice(at + 1))
    ? { path: text.slice(0, at), name: text.slice(at + 1) }
    : { path: text, name: undefined }
}

/**
 * A graph of a module.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reference {
  /** As it is stored with a thread: `path:export`, or the path alone. */
  readonly text: string
  readonly path: string
  readonly name: string | undefined
}

/**
 * What `MODULE[:EXPORT]` means: a graph's name in the project, or a file. Nothing means the project's only graph.
 *
 * @since 0.1.0
 * @category configuration
 */
export const reference = ({ graphs }: Project, module: string | undefined): Effect.Effect<Reference, UsageError> => {
  const names = Object.keys(graphs)
  const list = names.length === 0 ? "" : `; there are ${names.join(", ")}`
  if (module === undefined) {
    const [only] = Object.values(graphs)
    return only === undefined || names.length > 1
      ? new UsageError({ message: `say which graph: holdfast run MODULE[:EXPORT]${list}` })
      : Effect.succeed({ text: only, ...split(only) })
  }
  if (Object.hasOwn(graphs, module)) {
    const text = graphs[module] ?? ""
    return Effect.succeed({ text, ...split(text) })
  }
  const { name, path } = split(module)
  if (!existsSync(path) && !/[./\\]/.test(path) && !existsSync(join(process.cwd(), path))) {
    return new UsageError({ message: `there is no graph and no module ${module}${list}` })
  }
  return Effect.succeed({ text: module, path, name })
}
