/**
 * What a project says once for all its runs: `holdfast.config.ts`, `.mts`, `.js` or `.mjs` in the folder in which the command line is called.
 *
 * @since 0.1.0
 */
import type * as Layer from "effect/Layer"
import type * as Schema from "effect/Schema"
import type { Policy } from "../agent/Agent.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Config {
  /** Graphs by a short name: `{ chat: "./src/chat.ts:graph" }` makes `holdfast run chat`. Those of a `langgraph.json` count too. */
  readonly graphs?: Readonly<Record<string, string>> | undefined
  /**
   * Settings for variables that the environment does not set: the database, checkpoints, tracing and logging (`holdfast --help`, docs/configuration.md).
   * A text is the path of a file such as `.env`.
   */
  readonly env?: string | Readonly<Record<string, string>> | undefined
  /** The policy of every node of a graph that is not compiled yet. Default: none, nodes run as they are. */
  readonly policy?: Policy | undefined
  /** Policies of some nodes, by name, in place of `policy`. */
  readonly perNode?: Readonly<Record<string, Policy>> | undefined
  /** Services for factories that are Effects. */
  // biome-ignore lint/suspicious/noExplicitAny: whatever a factory needs and a layer gives
  readonly layer?: Layer.Layer<any, any, never> | undefined
  /** What an answer to `interrupt()` must be, for all nodes or by the name of the node that asks. Default: what the question's own `schema` says. */
  // biome-ignore lint/suspicious/noExplicitAny: a Schema of any type that needs no services
  readonly answer?: Schema.Schema<any, any> | Readonly<Record<string, Schema.Schema<any, any>>> | undefined
  /** The most super-steps of a run. Default: LangGraph's. */
  readonly recursionLimit?: number | undefined
  /** When checkpoints are written. Default `sync`: a node starts when its predecessor's checkpoint stands. */
  readonly durability?: "sync" | "async" | "exit" | undefined
}

/**
 * The config as it is, with its type checked.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { define } from "holdfast/config"
 *
 * export default define({
 *   graphs: { chat: "./src/chat.ts:graph" },
 *   policy: { timeout: "30 seconds", retry: { maxAttempts: 3 } },
 *   perNode: { search: { timeout: "5 seconds" } }
 * })
 * ```
 */
export const define = (config: Config): Config => config
