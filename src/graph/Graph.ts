/**
 * LangGraph on Effects: effects as nodes, and a compiled graph's run as an Effect. Nothing of LangGraph is imported here; its shapes are enough.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Runtime from "effect/Runtime"
import * as Schema from "effect/Schema"
import * as ErrorInfo from "../observability/ErrorInfo.js"
import * as PerRunScheduler from "../observability/internal/contextScheduler.js"
import * as Observation from "../observability/Observation.js"
import * as SpanCarrier from "../observability/SpanCarrier.js"

/**
 * A run of a graph that did not end well: a node threw, the graph is wrong, or its checkpointer failed.
 *
 * @since 0.1.0
 * @category errors
 */
export class GraphError extends Schema.TaggedError<GraphError>("holdfast/GraphError")("GraphError", {
  threadId: Schema.String,
  /** What was thrown, as it was thrown. */
  error: Schema.Unknown
}) {
  override get message(): string {
    return `the run of thread "${this.threadId}" failed: ${ErrorInfo.line(ErrorInfo.make(this.error))}`
  }
}

/**
 * What of a LangGraph config is used here.
 *
 * @since 0.1.0
 * @category models
 */
export interface Config {
  readonly configurable?: Record<string, unknown> | undefined
  readonly signal?: AbortSignal | undefined
}

/**
 * What of a compiled graph is used here; every `CompiledStateGraph` is one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Runnable<Input, State> {
  invoke(input: Input | null, config: RunConfig): Promise<State>
  getState(config: { readonly configurable: Record<string, unknown> }): Promise<Snapshot>
}

/**
 * Where a thread stands.
 *
 * @since 0.1.0
 * @category models
 */
export interface Snapshot {
  /** The channels' values, as they were stored. */
  readonly values: unknown
  /** The nodes that come next; none when the run has ended. */
  readonly next: ReadonlyArray<string>
  /** When the checkpoint was written, an ISO time. Absent for a thread without one. */
  readonly createdAt?: string | undefined
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
  /** When checkpoints are written. Default `sync`: a node starts when its predecessor's checkpoint stands. */
  readonly durability?: RunConfig["durability"] | undefined
  /** The most super-steps. Default: LangGraph's. */
  readonly recursionLimit?: number | undefined
  /** What every checkpoint of the run says of it, such as the program's name. */
  readonly metadata?: Readonly<Record<string, unknown>> | undefined
}

/** The field of `configurable` that holds the fibers of a run's nodes, so that the run can wait for them. */
const fibersKey = "__holdfast_fibers"

type Fibers = Set<Fiber.RuntimeFiber<unknown, unknown>>

const fibersOf = (config: Config): Fibers | undefined => {
  const fibers = config.configurable?.[fibersKey]
  return fibers instanceof Set ? (fibers as Fibers) : undefined // nobody else writes under this key
}

/** LangGraph writes into what a node throws: it must be an extensible Error. */
const throwable = (cause: Cause.Cause<unknown>): Error => {
  // under a span Effect fails with a proxy of the error
  const error = Cause.originalError(Cause.squash(cause))
  if (error instanceof Cause.UnknownException && error.error instanceof Error) return error.error
  return error instanceof Error && Object.isExtensible(error)
    ? error
    : new Error(ErrorInfo.message(error), { cause: error })
}

/**
 * A LangGraph node from an effect: state in, update out. It is a `node_<name>` observation under the run's span; the run's abort signal interrupts
 * it, and the run waits for its finalizers. What it fails with is thrown as it is, so that LangGraph knows its own signals again.
 *
 * Services are taken from where the node is made.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { Annotation, END, START, StateGraph } from "@langchain/langgraph"
 * import { Effect } from "effect"
 * import { Graph } from "holdfast/langgraph"
 *
 * const State = Annotation.Root({ name: Annotation<string>, greeting: Annotation<string> })
 *
 * const program = Effect.gen(function* () {
 *   const greet = yield* Graph.node("greet", (state: typeof State.State) =>
 *     Effect.succeed({ greeting: `Hello, ${state.name}` })
 *   )
 *   const graph = new StateGraph(State).addNode("greet", greet).addEdge(START, "greet").addEdge("greet", END).compile()
 *   return yield* Graph.run(graph, { name: "Ada" }, { threadId: "1" })
 * })
 * ```
 */
export const node = <State, Update, E, R>(
  name: string,
  run: (state: State) => Effect.Effect<Update, E, R>
): Effect.Effect<(state: State, config: Config) => Promise<Update>, never, R> =>
  Effect.map(Effect.runtime<R>(), (runtime) => (state: State, config: Config) => {
    const observed = Observation.span(
      Effect.suspend(() => run(state)),
      `node_${name}`,
      { type: "chain" }
    ) as Effect.Effect<Update, E, R> // the span only adds what it then provides: R is as it was
    const carried = SpanCarrier.fromConfigurable(config.configurable)
    const effect =
      carried._tag === "None"
        ? observed
        : (SpanCarrier.under(config.configurable)(observed) as Effect.Effect<Update, E, R>)
    const fibers = fibersOf(config)
    return new Promise<Update>((resolve, reject) => {
      const fiber = Runtime.runFork(runtime, effect, { scheduler: PerRunScheduler.make() })
      const interrupt = () => fiber.unsafeInterruptAsFork(FiberId.none)
      fibers?.add(fiber)
      fiber.addObserver((exit) => {
        fibers?.delete(fiber)
        config.signal?.removeEventListener("abort", interrupt)
        if (Exit.isSuccess(exit)) resolve(exit.value)
        else reject(throwable(exit.cause))
      })
      if (config.signal?.aborted === true) interrupt()
      else config.signal?.addEventListener("abort", interrupt, { once: true })
    })
  })

/**
 * Runs a compiled graph to its end or its next pause. `null` as input goes on from the thread's newest checkpoint. Interruption aborts the run
 * and waits until its nodes have ended, finalizers included.
 *
 * @since 0.1.0
 * @category running
 */
export const run = <Input, State>(
  graph: Runnable<Input, State>,
  input: Input | null,
  options: RunOptions
): Effect.Effect<State, GraphError> =>
  Effect.flatMap(SpanCarrier.capture, (carried) =>
    Effect.suspend(() => {
      const fibers: Fibers = new Set()
      return invoke(graph, input, options, { ...carried, [fibersKey]: fibers }).pipe(
        Effect.ensuring(Effect.suspend(() => Fiber.interruptAll([...fibers])))
      )
    })
  )

const invoke = <Input, State>(
  graph: Runnable<Input, State>,
  input: Input | null,
  options: RunOptions,
  carried: Record<string, unknown>
): Effect.Effect<State, GraphError> =>
  Effect.async<State, GraphError>((resume) => {
    const controller = new AbortController()
    const { threadId } = options
    const ended = Promise.resolve()
      .then(() =>
        graph.invoke(input, {
          configurable: { thread_id: threadId, ...carried },
          signal: controller.signal,
          durability: options.durability ?? "sync",
          ...(options.recursionLimit === undefined ? {} : { recursionLimit: options.recursionLimit }),
          ...(options.metadata === undefined ? {} : { metadata: { ...options.metadata } })
        })
      )
      .then(
        (state) => resume(Effect.succeed(state)),
        (error: unknown) => resume(Effect.fail(new GraphError({ threadId, error })))
      )
    return Effect.promise(() => {
      controller.abort()
      return ended
    })
  })

/**
 * Where a thread stands, by its newest checkpoint. A thread without one has no `createdAt`.
 *
 * @since 0.1.0
 * @category running
 */
export const state = <Input, State>(
  graph: Runnable<Input, State>,
  threadId: string
): Effect.Effect<Snapshot, GraphError> =>
  Effect.flatMap(SpanCarrier.capture, (carried) =>
    Effect.tryPromise({
      try: () => graph.getState({ configurable: { thread_id: threadId, ...carried } }),
      catch: (error) => new GraphError({ threadId, error })
    })
  )
