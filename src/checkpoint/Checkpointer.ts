/**
 * LangGraph's checkpoint saver on any `SqlClient`, in the official Postgres saver's tables: threads that one has written, the other opens.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import type { BaseCheckpointSaver, SerializerProtocol } from "@langchain/langgraph-checkpoint"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Database from "../database/Database.js"
import type { DatabaseError } from "../database/DatabaseError.js"
import type { ConfigurationError } from "../observability/ConfigurationError.js"
import { CheckpointError, CheckpointNotFoundError, ThreadBusyError } from "./CheckpointError.js"
import type * as Encryption from "./Encryption.js"
import * as fencing from "./internal/fencing.js"
import type { Status } from "./internal/graph.js"
import * as opening from "./internal/opening.js"
import * as overview from "./internal/overview.js"
import * as runner from "./internal/runner.js"
import { SqlSaver } from "./internal/saver.js"
import * as sealed from "./internal/sealed.js"
import * as store from "./internal/store.js"
import * as Retention from "./Retention.js"
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
  CheckpointNotFoundError,
  /**
   * @since 0.1.0
   * @category errors
   */
  ThreadBusyError
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
  /**
   * How long a run keeps its thread when its process says nothing: crashed on another machine, or paused. A living process renews it. When it has
   * passed, another run may have the thread, and what the first one still writes is refused. Default: 30 seconds.
   */
  readonly leaseTime?: Duration.DurationInput | undefined
  /**
   * How long a run that finds its thread busy waits for the other one to end before it fails with {@link ThreadBusyError}; `Duration.infinity` for
   * as long as it takes. Default: 0, it fails at once, or within a quarter of a second where the other one is of another process.
   */
  readonly waitForThread?: Duration.DurationInput | undefined
  /**
   * Whether values are compressed where it pays, and large ones stored as the difference to an earlier one. The official saver reads no thread
   * that has such values; this one does, whatever the option. Default: `false`.
   */
  readonly compression?: boolean | undefined
  /** The keys under which values are stored, see `Encryption`. Default: none, values are stored as they are. */
  readonly encryption?: Encryption.Encryption | undefined
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
  /** As `Retention`'s, for a caller who knows promises. */
  readonly prune: (options: Retention.PruneOptions) => Promise<Retention.Report>
  /** As `Retention`'s, for a caller who knows promises. */
  readonly expire: (options: Retention.ExpireOptions) => Promise<Retention.Report>
  /** As `Retention`'s, for a caller who knows promises: gives the number of checkpoints. */
  readonly copyThread: (from: string, to: string) => Promise<number>
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
  readonly prune: Service["prune"]
  readonly expire: Service["expire"]
  readonly copyThread: Service["copyThread"]
  constructor(
    rows: store.Store,
    writers: fencing.Fencing,
    running: runner.Runner,
    json: Serializer.Serializer,
    { encryption, serde = json }: Options
  ) {
    super(rows, writers, running, json, serde)
    const retention = Retention.overStore(rows, encryption)
    this.prune = (options) => running.run("prune", options.threadId, retention.prune(options))
    this.expire = (options) => running.run("expire", options.threadId, retention.expire(options))
    this.copyThread = (from, to) => running.run("copyThread", from, retention.copyThread(from, to))
    this.threads = (options) => overview.threads(rows, json, options?.limit ?? 100)
    this.history = (threadId, options) => overview.history(rows, json, threadId, options?.limit ?? 1000)
  }
}

const duration = (name: string, input: unknown): Duration.Duration =>
  Option.getOrThrowWith(
    Duration.decodeUnknown(input),
    () => new RangeError(`${name} must be a duration, such as "30 seconds"`)
  )

/** The saver over a store. A mistake in the options throws here, where they are written. */
const fromOptions = (options: Options) => {
  if (options.schema !== undefined && (options.schema === "" || options.schema.includes("\0"))) {
    throw new RangeError("schema must be a name that Postgres can hold")
  }
  const lease = duration("leaseTime", options.leaseTime ?? "30 seconds")
  if (!Duration.greaterThan(lease, Duration.zero) || !Duration.isFinite(lease)) {
    throw new RangeError("leaseTime must be above 0 and finite")
  }
  const wait = duration("waitForThread", options.waitForThread ?? 0)
  return Effect.fnUntraced(function* (tables: store.Store, alone: boolean) {
    const rows = sealed.make(tables, options)
    const json = Serializer.make({ classes: options.classes })
    // before the runner, so that it ends the leases when all has been written
    const writers = yield* fencing.make(rows, { lease, wait, alone })
    return new Saver(rows, writers, yield* runner.make, json, options)
  })
}

/**
 * Sets the tables up, unless they stand, and gives the saver. It works until the scope ends, which waits up to 5 seconds for what is being
 * written. Fails with `DatabaseError` when the tables cannot be set up. Throws a `RangeError` for options that cannot be.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options = {}
): Effect.Effect<Service, CheckpointError | DatabaseError, SqlClient.SqlClient | Scope.Scope> => {
  const saver = fromOptions(options)
  return Effect.gen(function* () {
    const tables = yield* store.make(options.schema)
    const info = yield* Effect.serviceOption(Database.Info)
    return yield* saver(tables, Option.isSome(info) && info.value.kind === "embedded")
  })
}

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options = {}
): Layer.Layer<Checkpointer, CheckpointError | DatabaseError, SqlClient.SqlClient> =>
  Layer.scoped(Checkpointer, make(options))

/**
 * What {@link fromUrl} and {@link embedded} give: a saver for a program that knows no Effect.
 *
 * @since 0.1.0
 * @category models
 */
export interface Standalone extends Service, AsyncDisposable {
  /**
   * Opens the database and sets the tables up, unless they stand. Whoever does not call it has it done by the first operation; called at the start
   * of a program it tells at once what is wrong. Rejects with `ConfigurationError` for a URL or another option that cannot be used, else with `DatabaseError` or
   * {@link CheckpointError}.
   */
  readonly setup: () => Promise<void>
  /** Waits up to 5 seconds for what is being written, and closes the database. The same as `[Symbol.asyncDispose]()`. */
  readonly end: () => Promise<void>
}

/**
 * A saver on a Postgres server, for a program that knows no Effect. Nothing is connected before it is needed.
 *
 * Options are those of {@link layer} and the pool's and timeouts of `Database.layerPostgres`.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { MessagesAnnotation, StateGraph } from "@langchain/langgraph"
 * import { Checkpointer } from "holdfast/langgraph"
 *
 * await using checkpointer = Checkpointer.fromUrl("postgres://localhost/agents", { schema: "agents", maxConnections: 20 })
 * const graph = new StateGraph(MessagesAnnotation)
 *   .addNode("greet", () => ({ messages: [] }))
 *   .addEdge("__start__", "greet")
 *   .compile({ checkpointer })
 * await graph.invoke({ messages: [] }, { configurable: { thread_id: "t1" } })
 * ```
 */
export const fromUrl = (url: string, options: Options & Omit<Database.PostgresOptions, "url"> = {}): Standalone =>
  standalone(Database.layerPostgres({ ...options, url: Redacted.make(url) }), options, false)

/**
 * As {@link fromUrl}, with Postgres inside the process: in a folder that one process at a time may open, or, without `dataDir`, in memory.
 *
 * @since 0.1.0
 * @category constructors
 */
export const embedded = (options: Options & Database.EmbeddedOptions = {}): Standalone =>
  standalone(Database.layerEmbedded({ dataDir: options.dataDir }), options, true)

const standalone = (
  database: Layer.Layer<SqlClient.SqlClient | Database.Info, ConfigurationError | DatabaseError>,
  options: Options,
  alone: boolean
): Standalone => {
  const saver = fromOptions(options)
  const { open, opened, current, close, within } = opening.make(
    Effect.flatMap(Layer.build(database), (context) => Effect.provide(store.make(options.schema), context))
  )
  const end = () => Effect.runPromise(close)
  return Object.assign(within(saver(store.lazy(opened, current), alone)), {
    setup: () => opening.promise(open),
    end,
    [Symbol.asyncDispose]: end
  })
}

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
