/**
 * LangGraph's checkpoint saver on any `SqlClient`, in the official Postgres saver's tables: threads that one has written, the other opens.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import type { BaseCheckpointSaver, SerializerProtocol } from "@langchain/langgraph-checkpoint"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { DatabaseError } from "../database/DatabaseError.js"
import { CheckpointError, CheckpointNotFoundError } from "./CheckpointError.js"
import type { Status } from "./internal/graph.js"
import * as overview from "./internal/overview.js"
import * as runner from "./internal/runner.js"
import { SqlSaver } from "./internal/saver.js"
import * as store from "./internal/store.js"
import * as Serializer from "./Serializer.js"

export {
  /**
   * @since 0.1.0
   * @category errors
   */
  CheckpointError,
  /**
   * @since 0.1.0
   * @category errors
   */
  CheckpointNotFoundError
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The schema of the tables; made if it is missing. Default: `public`, as the official saver's. */
  readonly schema?: string | undefined
  /** Classes beside LangChain's messages that a checkpoint may hold. Default: none. */
  readonly classes?: Serializer.Options["classes"]
  /** How channel values become bytes. Default: {@link Serializer.make} with `classes`. */
  readonly serde?: SerializerProtocol | undefined
}

/**
 * A thread, or a workflow's phases, by its newest checkpoint.
 *
 * @since 0.1.0
 * @category models
 */
export interface Thread {
  readonly id: string
  /** `workflow` for what `CheckpointManager` has saved. */
  readonly kind: "graph" | "workflow"
  readonly checkpointId: string
  /** When the newest checkpoint was made. */
  readonly time: Date
  /** LangGraph's count of super-steps: -1 for the input. A workflow's: its saves, from 0. */
  readonly step: number
  readonly source: string
  /** What the run said of itself (the `metadata` of the graph's config), beside LangGraph's own fields. */
  readonly metadata: Readonly<Record<string, unknown>>
  /** The nodes that run next; none when it has finished. For a workflow always none. */
  readonly next: ReadonlyArray<string>
  /**
   * `finished`: nothing is left to run. `waiting`: a node asked a question, see `interrupts`. `failed`: a node failed, see `errors`.
   * `unfinished`: there are nodes to run; the run goes on in some process, was stopped, or was killed. For a workflow always `finished`.
   */
  readonly status: Status
  /** The phase; for a workflow. */
  readonly phase: string | undefined
  /** What `interrupt(...)` was given, for a thread that waits. */
  readonly interrupts: ReadonlyArray<unknown>
  /** The messages of nodes that failed after this checkpoint. */
  readonly errors: ReadonlyArray<string>
  /** How many checkpoints are stored, without those of subgraphs. */
  readonly checkpoints: number
}

/**
 * One checkpoint of a thread.
 *
 * @since 0.1.0
 * @category models
 */
export interface HistoryEntry {
  readonly checkpointId: string
  readonly parentId: string | undefined
  readonly time: Date
  readonly step: number
  /** `input`, `loop`, `update` or `fork`. */
  readonly source: string
  readonly metadata: Readonly<Record<string, unknown>>
  /** The nodes whose results this checkpoint holds: those that its parent said would run next. */
  readonly nodes: ReadonlyArray<string>
  readonly next: ReadonlyArray<string>
  readonly phase: string | undefined
  readonly interrupts: ReadonlyArray<unknown>
  readonly errors: ReadonlyArray<string>
}

/**
 * LangGraph's saver, and the questions that a command line asks.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service extends BaseCheckpointSaver {
  /** The stored threads, that with the newest checkpoint first. `limit` is 100 by default. */
  readonly threads: (options?: {
    readonly limit?: number | undefined
  }) => Effect.Effect<ReadonlyArray<Thread>, CheckpointError>
  /**
   * A thread's checkpoints, newest first, without those of subgraphs; those of a workflow if no graph has this id. `limit` is 1,000 by default.
   */
  readonly history: (
    threadId: string,
    options?: { readonly limit?: number | undefined }
  ) => Effect.Effect<ReadonlyArray<HistoryEntry>, CheckpointError | CheckpointNotFoundError>
}

/**
 * LangGraph's saver: give it to `compile({ checkpointer })`.
 *
 * It is called by LangGraph outside any fiber. What it throws is a {@link CheckpointError}. Each `put` is a `save_checkpoint` observation and
 * each reading a `load_checkpoint`, under the span that the run's `configurable` carries (see `SpanCarrier`); without one, none is made.
 *
 * @since 0.1.0
 * @category tags
 * @example
 * ```ts
 * import { StateGraph, MessagesAnnotation } from "@langchain/langgraph"
 * import { Effect } from "effect"
 * import { Checkpointer } from "holdfast/langgraph"
 *
 * const program = Effect.gen(function* () {
 *   const checkpointer = yield* Checkpointer.Checkpointer
 *   const graph = new StateGraph(MessagesAnnotation)
 *     .addNode("greet", () => ({ messages: [] }))
 *     .addEdge("__start__", "greet")
 *     .compile({ checkpointer })
 *   yield* Effect.promise(() => graph.invoke({ messages: [] }, { configurable: { thread_id: "t1" } }))
 * })
 * ```
 */
export class Checkpointer extends Context.Tag("holdfast/Checkpointer")<Checkpointer, Service>() {}

class Saver extends SqlSaver implements Service {
  readonly threads: Service["threads"]
  readonly history: Service["history"]
  constructor(rows: store.Store, running: runner.Runner, json: Serializer.Serializer, serde: SerializerProtocol) {
    super(rows, running, json, serde)
    this.threads = (options) => overview.threads(rows, json, options?.limit ?? 100)
    this.history = (threadId, options) => overview.history(rows, json, threadId, options?.limit ?? 1000)
  }
}

/**
 * Sets the tables up, unless they stand, and gives the saver. It works until the scope ends, which waits up to 5 seconds for what is being
 * written. Fails with `DatabaseError` when the tables cannot be set up.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options = {}
): Effect.Effect<Service, CheckpointError | DatabaseError, SqlClient.SqlClient | Scope.Scope> =>
  Effect.gen(function* () {
    const json = Serializer.make({ classes: options.classes })
    const rows = yield* store.make(options.schema)
    return new Saver(rows, yield* runner.make, json, options.serde ?? json)
  })

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options = {}
): Layer.Layer<Checkpointer, CheckpointError | DatabaseError, SqlClient.SqlClient> =>
  Layer.scoped(Checkpointer, make(options))

/**
 * The stored threads, that with the newest checkpoint first.
 *
 * @since 0.1.0
 * @category queries
 */
export const threads = (options?: {
  /** Default: 100. */
  readonly limit?: number | undefined
}): Effect.Effect<ReadonlyArray<Thread>, CheckpointError, Checkpointer> =>
  Effect.flatMap(Checkpointer, (checkpointer) => checkpointer.threads(options))

/**
 * A thread's checkpoints, newest first, without those of subgraphs. Fails with {@link CheckpointNotFoundError} when there are none.
 *
 * @since 0.1.0
 * @category queries
 */
export const history = (
  threadId: string,
  options?: {
    /** Default: 1,000. */
    readonly limit?: number | undefined
  }
): Effect.Effect<ReadonlyArray<HistoryEntry>, CheckpointError | CheckpointNotFoundError, Checkpointer> =>
  Effect.flatMap(Checkpointer, (checkpointer) => checkpointer.history(threadId, options))
