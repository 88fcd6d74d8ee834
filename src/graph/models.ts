/**
 * What of LangGraph's shapes is used here.
 *
 * @since 0.1.0
 */
import type * as Runtime from "effect/Runtime"
import type * as Agent from "../agent/Agent.js"

/**
 * What of a LangGraph config is used here; a node's is one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Config {
  readonly configurable?: Record<string, unknown> | undefined
  readonly signal?: AbortSignal | undefined
  readonly metadata?: Record<string, unknown> | undefined
  /** Writes to the `custom` stream. */
  readonly writer?: ((chunk: unknown) => void) | undefined
}

/**
 * A node as LangGraph calls it.
 *
 * @since 0.1.0
 * @category models
 */
export type NodeFunction<State, Update, C = Config> = (state: State, config: C) => Promise<Update>

/**
 * What can be protected: a function, or anything that is invoked, such as a LangChain model, a chain or a compiled graph.
 *
 * @since 0.1.0
 * @category models
 */
export type NodeLike<State, Update, C = Config> =
  | ((state: State, config: C) => Update | PromiseLike<Update>)
  | { invoke(state: State, config?: unknown): PromiseLike<Update> }

/**
 * How a node stands up to failures: an agent's policy, and what a graph adds.
 *
 * @since 0.1.0
 * @category models
 */
export interface NodePolicy<State = unknown, Update = unknown> extends Agent.Policy {
  /** The node's name, by which its observation, its breaker and its bulkhead go. Default: the name that the graph gives it. */
  readonly name?: string | undefined
  /** What answers when it has failed: the first of them that works. Functions have the node's timeout and are tried once; agents have policies of their own. */
  readonly fallback?:
    | NodeLike<State, Update>
    | Agent.Agent<State, Update, unknown>
    | ReadonlyArray<NodeLike<State, Update> | Agent.Agent<State, Update, unknown>>
    | undefined
  /**
   * The channel of the state that a failure is put into when nothing has helped, made by `Graph.failures`. The node then ends well, and an edge made
   * by `Graph.route` decides. Default: none, the failure is thrown and ends the run.
   */
  readonly failures?: string | undefined
  /** Where clock, tracer, policies and registries come from. Default: from the caller of `Graph.run`, or Effect's own where LangGraph is called directly. */
  readonly runtime?: Runtime.Runtime<never> | undefined
}

/**
 * What of a compiled graph is used here; every `CompiledStateGraph`, and what `entrypoint` gives, is one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Runnable<Input, State> {
  invoke(input: Input | null, config: RunConfig): Promise<State>
  getState(config: { readonly configurable: Record<string, unknown> }): Promise<RawSnapshot>
}

/**
 * What is asked of a compiled graph beside that it runs: for `Graph.stream`, `Graph.history` and `Graph.fork`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Compiled<Input, State> extends Runnable<Input, State> {
  stream(input: Input | null, config?: unknown): Promise<AsyncIterable<unknown>>
  getStateHistory(
    config: { readonly configurable: Record<string, unknown> },
    options?: unknown
  ): AsyncIterable<RawSnapshot>
  updateState(
    config: { readonly configurable: Record<string, unknown> },
    values: unknown,
    asNode?: string
  ): Promise<{ readonly configurable?: Record<string, unknown> | undefined }>
}

/**
 * A snapshot as LangGraph gives it.
 *
 * @since 0.1.0
 * @category models
 */
export interface RawSnapshot {
  readonly values: unknown
  readonly next: ReadonlyArray<string>
  readonly createdAt?: string | undefined
  readonly metadata?: unknown
  readonly config?: unknown
  readonly parentConfig?: unknown
  readonly tasks?: ReadonlyArray<unknown>
}

/**
 * The config that a run is invoked with.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunConfig {
  readonly configurable: Record<string, unknown>
  readonly signal: AbortSignal
  readonly durability: "sync" | "async" | "exit"
  readonly recursionLimit?: number
  readonly metadata?: Record<string, unknown>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface RunOptions {
  /** Where the run's checkpoints are kept. */
  readonly threadId: string
  /** The checkpoint to go on from. Default: the thread's newest. */
  readonly checkpointId?: string | undefined
  /**
   * When checkpoints are written. Default `sync`: a node starts when its predecessor's checkpoint stands. With each of them a checkpoint that could
   * not be written ends the run with its error, and no node starts after it is known.
   */
  readonly durability?: RunConfig["durability"] | undefined
  /** The most super-steps. Default: LangGraph's. */
  readonly recursionLimit?: number | undefined
  /** What every checkpoint of the run says of it, such as the program's name. */
  readonly metadata?: Readonly<Record<string, unknown>> | undefined
  /** More of LangGraph's config as it stands there: `configurable`, `context`, `tags`, `callbacks`, `maxConcurrency`, `interruptBefore` and so on. */
  readonly config?: Readonly<Record<string, unknown>> | undefined
}

/**
 * A question that a node asked by `interrupt()` and that is not answered.
 *
 * @since 0.1.0
 * @category models
 */
export interface Interrupt {
  /** By which it can be answered where there are several. */
  readonly id: string | undefined
  /** What `interrupt` was given. */
  readonly value: unknown
  /** The node that asked, where that is known. */
  readonly node?: string | undefined
}

/**
 * Where a thread stands.
 *
 * - `absent`: nothing is stored. `finished`: no node is left to run. `waiting`: a node asked, see `interrupts`. `failed`: a node failed, see `errors`.
 * - `unfinished`: there are nodes to run, and the run goes on somewhere, stands at a breakpoint, was stopped or was killed.
 *
 * @since 0.1.0
 * @category models
 */
export type Status = "absent" | "finished" | "waiting" | "failed" | "unfinished"

/**
 * A checkpoint of a thread, as its graph reads it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Snapshot<State = unknown> {
  /** The channels' values, as they were stored. */
  readonly values: State
  /** The nodes that come next; none when the run has ended. */
  readonly next: ReadonlyArray<string>
  /** When the checkpoint was written, an ISO time. Absent for a thread without one. */
  readonly createdAt?: string | undefined
  readonly status: Status
  /** The questions that are open. */
  readonly interrupts: ReadonlyArray<Interrupt>
  /** The nodes that failed after this checkpoint, and what their errors said. */
  readonly errors: ReadonlyArray<{ readonly node: string; readonly message: string }>
  readonly checkpointId?: string | undefined
  readonly parentId?: string | undefined
  /** LangGraph's count of super-steps: -1 for the input. */
  readonly step?: number | undefined
  /** `input`, `loop`, `update` or `fork`. */
  readonly source?: string | undefined
  /** What the run said of itself, beside LangGraph's own fields. */
  readonly metadata: Readonly<Record<string, unknown>>
}
