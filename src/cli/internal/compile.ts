/** Makes a graph that can be run out of what a module exports. */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as Checkpointer from "../../checkpoint/Checkpointer.js"
import * as Graph from "../../graph/Graph.js"
import type * as Config from "../Config.js"
import * as Failure from "../Failure.js"
import { ModuleError } from "../ModuleError.js"
import type * as Project from "../Project.js"
import { UsageError } from "../UsageError.js"
import * as modules from "./modules.js"

/** A compiled graph; its checkpointer is ours to set. */
export interface Compiled extends Graph.Compiled<unknown, unknown> {
  checkpointer?: unknown
}

interface Builder {
  readonly compile: (options: object) => unknown
}

const isCompiled = (value: unknown): value is Compiled =>
  Predicate.hasProperty(value, "stream") &&
  Predicate.hasProperty(value, "getState") &&
  Predicate.isFunction(value.stream) &&
  Predicate.isFunction(value.getState)

const isBuilder = (value: unknown): value is Builder =>
  Predicate.hasProperty(value, "compile") && Predicate.isFunction(value.compile)

/** Whether something may be, or give, a graph. */
const isGraph = (value: unknown): boolean => isCompiled(value) || isBuilder(value)

const describe = (value: unknown): string =>
  value === null || value === undefined
    ? String(value)
    : Array.isArray(value)
      ? "a list"
      : typeof value === "object"
        ? `an object of ${value.constructor?.name ?? "no class"}`
        : `a ${typeof value}`

/**
 * The export that is meant: the one that is named, else `default`, else `graph`, else the only one that is a graph, else the only function.
 */
export const pick = (
  exports: Readonly<Record<string, unknown>>,
  { name, path }: Project.Reference
): Effect.Effect<unknown, UsageError> => {
  const names = Object.keys(exports)
  const list = names.length === 0 ? "it exports nothing" : `it exports ${names.join(", ")}`
  if (name !== undefined) {
    return name in exports
      ? Effect.succeed(exports[name])
      : new UsageError({ message: `${modules.shown(path)} has no export "${name}"; ${list}` })
  }
  for (const usual of ["default", "graph"]) if (usual in exports) return Effect.succeed(exports[usual])
  for (const kind of [isGraph, Effect.isEffect, Predicate.isFunction]) {
    const found = names.filter((each) => kind(exports[each]))
    if (found.length === 1 && found[0] !== undefined) return Effect.succeed(exports[found[0]])
    if (found.length > 1) break
  }
  return new UsageError({
    message: `say which export of ${modules.shown(path)} is the graph, as ${path}:NAME; ${list}`
  })
}

type Policies = Pick<Config.Config, "policy" | "perNode">

/** A builder with the project's policies, if it has any. */
const protect = (builder: Builder, { perNode, policy }: Policies): Builder =>
  policy === undefined && perNode === undefined
    ? builder
    : (Graph.protectAll(builder as Builder & Graph.Builder, { policy, perNode }) as Builder) // it says so itself of what is none

/** A compiled graph with the project's policies: made again of what it was compiled from. */
const hardened = (graph: Compiled, policies: Policies): Compiled => {
  if (policies.policy === undefined && policies.perNode === undefined) return graph
  const builder: unknown = Predicate.hasProperty(graph, "builder") ? graph.builder : undefined
  if (!isBuilder(builder)) {
    throw new TypeError(
      "the policies of holdfast.config hold for graphs of a StateGraph, compiled or not, and this is none"
    )
  }
  const kept = ["interruptBefore", "interruptAfter", "store", "cache", "name", "description"]
  const options = Object.fromEntries(
    kept.flatMap((key) => {
      const value: unknown = Reflect.get(graph, key)
      return value === undefined ? [] : [[key, value]]
    })
  )
  const made = protect(builder, policies).compile(options)
  return isCompiled(made) ? made : graph
}

const onCheckpointer = (graph: Compiled, checkpointer: Checkpointer.Service): Compiled => {
  graph.checkpointer = checkpointer
  return graph
}

/** What a factory is called with. */
type FactoryConfig = Readonly<Record<string, unknown>>

/**
 * The compiled graph on our checkpointer: of one that is compiled, of a builder, or of a factory (a function, a promise, an Effect) that gives one of
 * them. A graph's own checkpointer gives way, or its threads could be neither listed nor resumed here.
 */
export const compile = (
  exported: unknown,
  reference: Project.Reference,
  checkpointer: Checkpointer.Service,
  config: FactoryConfig,
  policies: Policies
): Effect.Effect<Compiled, UsageError | ModuleError> => {
  const where = `${modules.shown(reference.path)}${reference.name === undefined ? "" : `:${reference.name}`}`
  const failed = (error: unknown) =>
    new ModuleError({
      file: reference.path,
      message: `${where} gives no graph: ${Failure.message(error)}`,
      cause: error
    })
  const go = (value: unknown, depth: number): Effect.Effect<Compiled, UsageError | ModuleError> =>
    Effect.suspend(() => {
      if (isCompiled(value)) {
        return Effect.try({ try: () => onCheckpointer(hardened(value, policies), checkpointer), catch: failed })
      }
      if (isBuilder(value)) {
        return Effect.flatMap(
          Effect.try({ try: () => protect(value, policies).compile({ checkpointer }), catch: failed }),
          (made) =>
            isCompiled(made)
              ? Effect.succeed(made)
              : new UsageError({ message: `${where} compiles to ${describe(made)}` })
        )
      }
      if (depth < 4 && Effect.isEffect(value)) {
        // what it needs beyond what is provided outside is told by Effect itself
        const effect = value as Effect.Effect<unknown, unknown>
        return Effect.flatMap(
          Effect.catchAllDefect(Effect.mapError(effect, failed), (defect) => Effect.fail(failed(defect))),
          (made) => go(made, depth + 1)
        )
      }
      if (depth < 4 && (Predicate.isFunction(value) || Predicate.isPromiseLike(value))) {
        return Effect.flatMap(
          Effect.tryPromise({
            try: async (): Promise<unknown> => (Predicate.isFunction(value) ? value(config) : value),
            catch: failed
          }),
          (made) => go(made, depth + 1)
        )
      }
      return new UsageError({
        message: `${where} is ${describe(value)}: it must be a graph of LangGraph, compiled or not, or a function that gives one`
      })
    })
  return go(exported, 0)
}
