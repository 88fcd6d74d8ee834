/**
 * A graph of the user's under the command line: run, gone on with, forked. Knows LangGraph by its shapes alone.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Checkpointer from "../checkpoint/Checkpointer.js"
import * as Graph from "../graph/Graph.js"
import * as Langfuse from "../langfuse/Langfuse.js"
import * as ErrorInfo from "../observability/ErrorInfo.js"
import * as Observation from "../observability/Observation.js"
import * as Redaction from "../observability/Redaction.js"
import type * as Events from "./Events.js"
import { type Compiled, compile, pick } from "./internal/compile.js"
import * as modules from "./internal/modules.js"
import type * as Project from "./Project.js"
import { UsageError } from "./UsageError.js"

/** What a thread's checkpoints say of the program that wrote them. */
export const programKey = "holdfast_program"
const configKey = "holdfast_config"

/**
 * A RunnableConfig as `--config` gives it.
 *
 * @since 0.1.0
 * @category models
 */
export type RunConfig = typeof RunConfig.Type

const RunConfig = Schema.Struct({
  configurable: Schema.optional(Schema.Record({ key: Schema.String, value: Schema.Unknown })),
  recursionLimit: Schema.optional(Schema.Int.pipe(Schema.positive())),
  tags: Schema.optional(Schema.Array(Schema.String)),
  metadata: Schema.optional(Schema.Record({ key: Schema.String, value: Schema.Unknown })),
  maxConcurrency: Schema.optional(Schema.Int.pipe(Schema.positive())),
  runName: Schema.optional(Schema.String)
})

/**
 * Reads `--config`. Fails with `UsageError` where it is none, or has a field that is not known.
 *
 * @since 0.1.0
 * @category configuration
 */
export const runConfig = (value: unknown): Effect.Effect<RunConfig, UsageError> =>
  Schema.decodeUnknown(RunConfig, { onExcessProperty: "error" })(value).pipe(
    Effect.mapError(
      (error) =>
        new UsageError({
          message: `--config takes a RunnableConfig: an object with ${Object.keys(RunConfig.fields).join(", ")}; ${error.message.replace(/\s+/g, " ")}`
        })
    )
  )

/** What of a config is stored with the thread, so that resuming needs it no more: what looks like a secret is not. */
const storable = (config: RunConfig): RunConfig => {
  const configurable = Object.entries(config.configurable ?? {}).filter(
    ([key, value]) => Redaction.json({ [key]: value }) === JSON.stringify({ [key]: value })
  )
  return { ...config, ...(configurable.length === 0 ? {} : { configurable: Object.fromEntries(configurable) }) }
}

/**
 * A loaded graph on the checkpointer in force.
 *
 * @since 0.1.0
 * @category models
 */
export interface Loaded {
  readonly graph: Compiled
  readonly reference: Project.Reference
  readonly project: Project.Project
}

/**
 * Loads the module. Nothing is opened before: a module that is wrong is told at once.
 *
 * @since 0.1.0
 * @category loading
 */
export const exported = (reference: Project.Reference) =>
  Effect.flatMap(modules.load(reference.path), (exports) => pick(exports, reference))

/**
 * Makes the graph of what was exported.
 *
 * @since 0.1.0
 * @category loading
 */
export const graphOf = (value: unknown, reference: Project.Reference, project: Project.Project, config: RunConfig) =>
  Effect.gen(function* () {
    const checkpointer = yield* Checkpointer.Checkpointer
    const made = compile(
      value,
      reference,
      checkpointer,
      { ...config, configurable: config.configurable ?? {} },
      project.config
    )
    const { layer } = project.config
    const graph = yield* layer === undefined ? made : Effect.provide(made, layer)
    return { graph, reference, project } satisfies Loaded
  })

/**
 * @since 0.1.0
 * @category models
 */
export interface RunOptions {
  readonly threadId: string
  readonly config: RunConfig
  readonly resumed: boolean
  readonly stream: boolean
  readonly sink: Events.Sink
}

/**
 * What a run came to. A failure of the graph is one, told as an event.
 *
 * @since 0.1.0
 * @category models
 */
export type Result = "done" | "waiting" | "failed"

const within = (namespace: ReadonlyArray<string>) => (namespace.length === 0 ? {} : { namespace })

/** Tells what happens in a run as events of the command line. */
const teller = (sink: Events.Sink) => {
  const started = new Map<string, number>()
  const seconds = (taskId: string): { readonly seconds?: number } => {
    const from = started.get(taskId)
    started.delete(taskId)
    return from === undefined ? {} : { seconds: Math.round(performance.now() - from) / 1000 }
  }
  return (event: Graph.Event): void => {
    switch (event._tag) {
      case "NodeStarted": {
        // a task that waits is told of again when its run goes on
        if (started.has(event.taskId)) return
        started.set(event.taskId, performance.now())
        sink.emit({ type: "node", node: event.node, phase: "started", ...within(event.namespace) })
        return
      }
      case "NodeEnded": {
        const { namespace, node, taskId } = event
        sink.emit({ type: "node", node, phase: "ended", ...seconds(taskId), ...within(namespace) })
        return
      }
      case "NodeRetried": {
        const { attempt, failure, namespace, node } = event
        const message = `attempt ${attempt} after ${failure.message}`
        sink.emit({ type: "node", node, phase: "retrying", message, ...within(namespace) })
        return
      }
      case "NodeFailed": {
        const { failure, namespace, node, taskId } = event
        const { message } = failure
        sink.emit({ type: "node", node, phase: "failed", ...seconds(taskId), message, ...within(namespace) })
        return
      }
      case "Update":
        sink.emit({ type: "update", node: event.node, update: event.update, ...within(event.namespace) })
        return
      case "Token":
        if (event.text === "" || !isChunk(event.message)) return
        sink.emit({ type: "token", node: event.node ?? "", text: event.text, ...within(above(event)) })
        return
      case "Custom":
        sink.emit({ type: "custom", data: event.value, ...within(event.namespace) })
        return
    }
  }
}

/** LangGraph puts a token's own task into its namespace. */
const above = ({
  namespace,
  node
}: {
  readonly namespace: ReadonlyArray<string>
  readonly node: string | undefined
}) => (node !== undefined && namespace.at(-1)?.startsWith(`${node}:`) === true ? namespace.slice(0, -1) : namespace)

/** A piece of a message; a whole one, which a node has written, is an update's affair. */
const isChunk = (message: unknown): boolean =>
  Predicate.isObject(message) && /Chunk$/.test(message.constructor?.name ?? "")

const optionsOf = (
  { project, reference }: Loaded,
  { config, stream, threadId }: RunOptions,
  callbacks: ReadonlyArray<unknown>
): Graph.StreamOptions => {
  const { metadata, recursionLimit = project.config.recursionLimit, ...rest } = config
  return {
    threadId,
    recursionLimit,
    durability: project.config.durability,
    metadata: {
      ...metadata,
      [programKey]: reference.text,
      ...(Object.keys(config).length === 0 ? {} : { [configKey]: JSON.stringify(storable(config)) })
    },
    config: { ...rest, ...(callbacks.length === 0 ? {} : { callbacks }) },
    modes: stream ? ["tasks", "updates", "messages", "custom"] : ["tasks"]
  }
}

/**
 * LangChain's callbacks for Langfuse, where there is one. Nodes that have policies are observations already: their graph's chains are none then.
 */
const callbacksFor = ({ project }: Loaded): Effect.Effect<ReadonlyArray<unknown>> =>
  Effect.flatMap(Langfuse.Langfuse, ({ callbackHandler, enabled }) =>
    enabled
      ? Effect.map(callbackHandler, (found) =>
          Option.toArray(found).map((handler) =>
            project.config.policy === undefined && project.config.perNode === undefined
              ? handler
              : Object.assign(Object.create(handler), { ignoreChain: true })
          )
        )
      : Effect.succeed([])
  )

/**
 * The nodes that come next. One that asks a second question is none of LangGraph's own `next`.
 *
 * @since 0.1.0
 * @category getters
 */
export const nextOf = ({ interrupts, next }: Graph.Snapshot): ReadonlyArray<string> => [
  ...new Set([...next, ...interrupts.flatMap(({ node }) => (node === undefined ? [] : [node]))])
]

/**
 * Runs a graph with an input, a command, or, with `null`, from where its thread stands.
 *
 * @since 0.1.0
 * @category running
 */
export const execute = (
  loaded: Loaded,
  input: unknown,
  options: RunOptions
): Effect.Effect<Result, Graph.GraphError> => {
  const { resumed, sink, threadId } = options
  const { graph, reference } = loaded
  const name = (reference.name ?? reference.path.replace(/^.*[\\/]|\.[^.]*$/g, "")) || "graph"
  const end = (status: Result | "stopped", next: ReadonlyArray<string>, state: unknown): void =>
    sink.emit({ type: "result", thread: threadId, status, next, state })
  const work = Effect.gen(function* () {
    const callbacks = yield* callbacksFor(loaded)
    const tell = teller(sink)
    sink.emit({ type: "start", thread: threadId, program: reference.text, resumed })
    const ran = yield* Effect.either(
      Stream.runForEach(Graph.stream(graph, input, optionsOf(loaded, options, callbacks)), (event) =>
        Effect.sync(() => tell(event))
      )
    )
    const at = yield* Graph.state(graph, threadId)
    if (ran._tag === "Left") {
      const error = ErrorInfo.make(ran.left.error)
      sink.emit({ type: "failure", error, node: ran.left.node ?? at.errors[0]?.node })
      yield* Observation.annotate({ level: "ERROR", statusMessage: ErrorInfo.line(error) })
      end("failed", at.next, at.values)
      return "failed"
    }
    for (const { id, node = "", value } of at.interrupts) sink.emit({ type: "interrupt", id, node, value })
    const next = nextOf(at)
    const status: Result = next.length === 0 ? "done" : "waiting"
    yield* Observation.annotate({ output: at.values, metadata: { status } })
    end(status, next, at.values)
    return status
  })
  return work.pipe(
    Effect.onInterrupt(() => Effect.sync(() => end("stopped", [], null))),
    Observation.span(name, { type: "chain", input, metadata: { workflow_id: threadId, program: reference.text } }),
    Observation.withTrace({ name, sessionId: threadId, tags: [...(options.config.tags ?? [])] })
  )
}

/**
 * What a thread's checkpoints say of the program that wrote them: nothing for a thread of another program's.
 *
 * @since 0.1.0
 * @category getters
 */
export const recorded = (
  metadata: Readonly<Record<string, unknown>>
): { readonly program: string; readonly config: RunConfig } | undefined => {
  const program = metadata[programKey]
  if (typeof program !== "string") return undefined
  const config = Schema.decodeUnknownOption(Schema.parseJson(RunConfig))(metadata[configKey])
  return { program, config: Option.getOrElse(config, () => ({})) }
}
