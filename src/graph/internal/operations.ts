/**
 * What is done with a compiled graph, each as an Effect.
 *
 * @internal
 */
import { Command, interrupt as langGraphInterrupt } from "@langchain/langgraph"
import * as Effect from "effect/Effect"
import * as ParseResult from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SpanCarrier from "../../observability/SpanCarrier.js"
import { GraphError, NotWaitingError } from "../GraphError.js"
import type { Compiled, Interrupt, Runnable, RunOptions, Snapshot } from "../models.js"
import * as running from "./running.js"
import * as snapshots from "./snapshots.js"

/**
 * Runs a compiled graph to its end or its next pause, see {@link outcome}. `null` as input goes on from the thread's newest checkpoint.
 * Interruption aborts the run and waits until its nodes have ended, finalizers included.
 *
 * A checkpoint that cannot be written ends the run with the checkpointer's error, whatever the durability: no node starts once it is known.
 *
 * @since 0.1.0
 * @category running
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
export const run = <Input, State>(
  graph: Runnable<Input, State>,
  input: Input | null,
  options: RunOptions
): Effect.Effect<State, GraphError> =>
  Effect.flatMap(running.begin(graph, options), (beginning) =>
    running.settle(beginning, (config) => graph.invoke(input, config))
  )

/**
 * How a run came back: at its end, or because it waits for answers.
 *
 * @since 0.1.0
 * @category models
 */
export type Outcome<State> =
  | { readonly _tag: "Ended"; readonly state: State }
  | {
      readonly _tag: "Waiting"
      readonly state: State
      /** The questions with what they were asked with; none at a breakpoint (`interruptBefore`, `interruptAfter`). */
      readonly interrupts: ReadonlyArray<Interrupt>
    }

const interruptKey = "__interrupt__"

/**
 * Whether what {@link run} and {@link resume} gave is the end or a pause.
 *
 * @since 0.1.0
 * @category running
 * @example
 * ```ts
 * import { Graph } from "holdfast/langgraph"
 *
 * declare const state: { readonly answer: string }
 *
 * const outcome = Graph.outcome(state)
 * if (outcome._tag === "Waiting") console.log(outcome.interrupts.map(({ id, value }) => [id, value]))
 * ```
 */
export const outcome = <State>(state: State): Outcome<State> => {
  if (!Predicate.hasProperty(state, interruptKey)) return { _tag: "Ended", state }
  const asked: unknown = state[interruptKey]
  const interrupts = Array.isArray(asked) ? asked.map((each: unknown) => snapshots.interrupt(each)) : []
  const values = Object.fromEntries(Object.entries(state).filter(([name]) => name !== interruptKey))
  return { _tag: "Waiting", state: values as State, interrupts } // the state as far as it goes
}

/**
 * Answers to several questions, each by its id: for {@link resume}.
 *
 * @since 0.1.0
 * @category models
 */
export class Answers {
  readonly byId: Readonly<Record<string, unknown>>
  constructor(byId: Readonly<Record<string, unknown>>) {
    this.byId = byId
  }
}

/**
 * Answers to several questions, each by its id. Those that are left out stay open.
 *
 * @since 0.1.0
 * @category constructors
 */
export const answers = (byId: Readonly<Record<string, unknown>>): Answers => new Answers(byId)

/** LangGraph takes an object whose keys all look like its ids for answers by id, and overlooks an answer that is falsy. */
const isMisread = (answer: unknown): boolean =>
  !answer || (typeof answer === "object" && Object.keys(answer).every((key) => /^[0-9a-f]{32}$/.test(key)))

const commandOf = (threadId: string, answer: unknown, open: ReadonlyArray<Interrupt>) => {
  const ids = [...new Set(open.flatMap(({ id }) => (id === undefined ? [] : [id])))]
  if (open.length === 0) return new NotWaitingError({ threadId, unknown: [], open: [] })
  if (answer instanceof Answers) {
    const unknown = Object.keys(answer.byId).filter((id) => !ids.includes(id))
    if (unknown.length > 0) return new NotWaitingError({ threadId, unknown, open: ids })
    return Effect.succeed(new Command({ resume: { ...answer.byId } }))
  }
  const [id] = ids
  return Effect.succeed(new Command({ resume: isMisread(answer) && id !== undefined ? { [id]: answer } : answer }))
}

/**
 * Answers the question that a thread waits with, and runs it to its end or its next pause. Where several are open, {@link answers} says which answer
 * is whose; a single answer goes to the first. Any value is an answer, `false` and `null` too. Fails with `NotWaitingError`, before anything runs,
 * when nothing was asked or an id is not among the open ones.
 *
 * @since 0.1.0
 * @category running
 */
export const resume = <Input, State>(
  graph: Runnable<Input, State>,
  answer: unknown,
  options: RunOptions
): Effect.Effect<State, GraphError | NotWaitingError> =>
  Effect.flatMap(state(graph, options.threadId), ({ interrupts }) =>
    Effect.flatMap(
      commandOf(options.threadId, answer, interrupts),
      (command) => run(graph as Runnable<unknown, State>, command, options) // every graph takes a Command
    )
  )

const asking = (threadId: string, carried: Readonly<Record<string, unknown>>, checkpointId?: string) => ({
  configurable: {
    thread_id: threadId,
    ...(checkpointId === undefined ? {} : { checkpoint_ns: "", checkpoint_id: checkpointId }),
    ...carried
  }
})

/** A checkpoint with its pending writes, from the graph's own checkpointer. */
const tupleOf = (graph: unknown, at: object): unknown => {
  const saver = Predicate.hasProperty(graph, "checkpointer") ? graph.checkpointer : undefined
  return Predicate.hasProperty(saver, "getTuple") && typeof saver.getTuple === "function"
    ? saver.getTuple(at)
    : undefined
}

/**
 * Where a thread stands, by its newest checkpoint or the one that is named. A thread without one is `absent`.
 *
 * @since 0.1.0
 * @category running
 */
export const state = <Input, State>(
  graph: Runnable<Input, State>,
  threadId: string,
  options: { readonly checkpointId?: string | undefined } = {}
): Effect.Effect<Snapshot<State>, GraphError> =>
  Effect.flatMap(SpanCarrier.capture, (carried) =>
    Effect.tryPromise({
      try: async () => {
        const at = asking(threadId, carried, options.checkpointId)
        const raw = await graph.getState(at)
        const done = snapshots.hasAsked(raw) ? snapshots.doneOf(await tupleOf(graph, at)) : undefined
        return snapshots.read<State>(raw, done)
      },
      catch: (error) => new GraphError({ threadId, error })
    })
  )

/**
 * A thread's checkpoints, newest first.
 *
 * @since 0.1.0
 * @category running
 */
export const history = <Input, State>(
  graph: Compiled<Input, State>,
  threadId: string,
  options: {
    /** The most of them. Default: all. */
    readonly limit?: number | undefined
    /** Only those before this one. */
    readonly before?: string | undefined
  } = {}
): Effect.Effect<ReadonlyArray<Snapshot<State>>, GraphError> =>
  Effect.flatMap(SpanCarrier.capture, (carried) =>
    Effect.tryPromise({
      try: async () => {
        const { before, limit } = options
        const found: Array<Snapshot<State>> = []
        const selection = {
          ...(limit === undefined ? {} : { limit }),
          ...(before === undefined ? {} : { before: asking(threadId, {}, before) })
        }
        for await (const each of graph.getStateHistory(asking(threadId, carried), selection))
          found.push(snapshots.read(each))
        return found
      },
      catch: (error) => new GraphError({ threadId, error })
    })
  )

/**
 * @since 0.1.0
 * @category models
 */
export interface ForkOptions {
  readonly threadId: string
  /** The checkpoint to fork from. Default: the thread's newest. */
  readonly checkpointId?: string | undefined
  /** What is different in the state from there on, as a node's update. Default: nothing. */
  readonly update?: Readonly<Record<string, unknown>> | undefined
  /** The node whose update it is: its edges say what comes next. Default: the one that wrote last, if that is clear. */
  readonly asNode?: string | undefined
}

/**
 * Branches a thread off at one of its checkpoints: a new checkpoint becomes the thread's newest, and `Graph.run(graph, null, { threadId })` goes on
 * from it. What came after the old one stays in the history. Gives the new checkpoint's id.
 *
 * @since 0.1.0
 * @category running
 */
export const fork = <Input, State>(
  graph: Compiled<Input, State>,
  { asNode, checkpointId, threadId, update }: ForkOptions
): Effect.Effect<{ readonly threadId: string; readonly checkpointId: string }, GraphError> =>
  Effect.flatMap(SpanCarrier.capture, (carried) =>
    Effect.tryPromise({
      try: async () => {
        const at = asking(threadId, carried, checkpointId)
        const forked =
          update === undefined && asNode === undefined
            ? await graph.updateState(at, null, "__copy__")
            : await graph.updateState(at, update ?? {}, asNode)
        return { threadId, checkpointId: String(forked.configurable?.["checkpoint_id"]) }
      },
      catch: (error) => new GraphError({ threadId, error })
    })
  )

/**
 * Asks a person, in a node: the run pauses, and what {@link resume} is given is decoded by the Schema. An answer that does not decode is not taken: the
 * person is asked again, with what is wrong as `problem`, and the pause goes on.
 *
 * The question is the `value` of the interrupt: `{ question, problem? }`.
 *
 * @since 0.1.0
 * @category nodes
 */
export const ask = <A, I, R>(question: unknown, schema: Schema.Schema<A, I, R>): Effect.Effect<A, never, R> => {
  const decode = Schema.decodeUnknown(schema)
  const put = (problem?: string): Effect.Effect<A, never, R> =>
    Effect.sync((): unknown => langGraphInterrupt(problem === undefined ? { question } : { question, problem })).pipe(
      Effect.flatMap((answer) =>
        Effect.catchAll(decode(answer), (error) =>
          put(
            ParseResult.ArrayFormatter.formatErrorSync(error)
              .map(({ message, path }) => [path.join("."), message].filter((part) => part !== "").join(": "))
              .join("; ")
          )
        )
      )
    )
  return put()
}
