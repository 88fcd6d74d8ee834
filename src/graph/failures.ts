/**
 * Failures of nodes as data in a graph's state, and edges that go by them.
 *
 * @since 0.1.0
 */
import { Annotation } from "@langchain/langgraph"
import type * as Cause from "effect/Cause"
import * as Schema from "effect/Schema"
import * as ErrorInfo from "../observability/ErrorInfo.js"
import * as Failure from "../resilience/Failure.js"
import { NodeFailedError } from "./GraphError.js"

/**
 * How a node failed, as plain data that any checkpointer stores.
 *
 * @since 0.1.0
 * @category models
 */
export const NodeFailure = Schema.Struct({
  node: Schema.String,
  /** LangGraph's count of super-steps. */
  step: Schema.Number,
  /** What can be done about it. */
  kind: Schema.Literal("transient", "rate-limited", "permanent", "cancelled", "control-flow"),
  /** What it is about, such as `timeout` or `overloaded`: a `Failure.Class`. */
  class: Schema.String,
  /** What was recognised, such as `http 503`. */
  reason: Schema.String,
  /** The error's tag or name. */
  errorType: Schema.String,
  /** What the error says, redacted. */
  message: Schema.String,
  /** How long the other side asks to wait, in milliseconds. */
  retryAfterMillis: Schema.optional(Schema.Number)
})

/**
 * @since 0.1.0
 * @category models
 */
export interface NodeFailure extends Omit<typeof NodeFailure.Type, "class"> {
  readonly class: Failure.Class
}

/**
 * What is known of a node that has failed: how often in a row, and how in the last step it ran.
 *
 * @since 0.1.0
 * @category models
 */
export const Failed = Schema.Struct({
  /** How often in a row it has failed in this run; 0 when it was well last. */
  times: Schema.Int,
  /** The failures of its last step: several when it ran several times in it, none when it was well. */
  failures: Schema.Array(NodeFailure),
  /** The last step in which it said something. */
  step: Schema.Number,
  /** The run in which it said so: a later run of the thread counts anew. */
  run: Schema.String,
  /** How often in a row it had failed in this run before that step. */
  before: Schema.Int
})

/**
 * @since 0.1.0
 * @category models
 */
export interface Failed extends Omit<typeof Failed.Type, "failures"> {
  readonly failures: ReadonlyArray<NodeFailure>
}

/**
 * The value of the channel that holds failures, by node. A node that never failed is not in it.
 *
 * @since 0.1.0
 * @category models
 */
export type Failures = Readonly<Record<string, Failed>>

/**
 * What a node tells the channel: that it failed, or, after it had, that it did not.
 *
 * @since 0.1.0
 * @category models
 */
export interface Told {
  readonly node: string
  readonly step: number
  readonly run: string
  readonly failure?: NodeFailure | undefined
}

/**
 * The channel's reducer: one told thing at a time, so that it does not matter in which order the tasks of a step are put together.
 *
 * @since 0.1.0
 * @category models
 */
export const reduce = (failures: Failures, told: Told): Failures => {
  const known = Object.hasOwn(failures, told.node) ? failures[told.node] : undefined
  const own = known !== undefined && known.run === told.run
  const same = own && known.step === told.step
  const before = same ? known.before : own ? known.times : 0
  const all = [...(same ? known.failures : []), ...(told.failure === undefined ? [] : [told.failure])]
  const times = all.length === 0 ? 0 : before + 1
  return { ...failures, [told.node]: { times, failures: all, step: told.step, run: told.run, before } }
}

/**
 * The channel in which failures stand: put it into the state's annotation under the name that `failures` of a node's policy says.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { Annotation } from "@langchain/langgraph"
 * import { Graph } from "holdfast/langgraph"
 *
 * const State = Annotation.Root({ question: Annotation<string>, failures: Graph.failures() })
 * ```
 */
export const failures = () => Annotation<Failures, Told>({ reducer: reduce, default: () => ({}) })

/** A failure as the state has it. */
export const describe = (
  node: string,
  step: number,
  cause: Cause.Cause<unknown>,
  failure: Failure.Failure
): NodeFailure => {
  const { message, tag } = ErrorInfo.fromCause(cause)
  return {
    node,
    step,
    kind: failure.kind,
    class: Failure.classOf(failure),
    reason: failure.reason,
    errorType: tag,
    message,
    ...(failure.retryAfterMillis === undefined ? {} : { retryAfterMillis: failure.retryAfterMillis })
  }
}

/**
 * By which failures a way is taken: their classes, or a question about each. When several tasks of a node failed, all of them must fit.
 *
 * @since 0.1.0
 * @category models
 */
export type When = ReadonlyArray<Failure.Class> | ((failure: NodeFailure) => boolean)

/**
 * Where to go after a node.
 *
 * @since 0.1.0
 * @category models
 */
export interface Ways<State, Name extends string> {
  /** When it was well: a node, several, or what a function of the state says. */
  readonly success: Name | ReadonlyArray<Name> | ((state: State) => Name | ReadonlyArray<Name>)
  /** When it may be tried again: by default after what another try could mend, at most `max` times in a row, by running the node itself. */
  readonly retry?:
    | { readonly max: number; readonly when?: When | undefined; readonly to?: Name | undefined }
    | undefined
  /** A lesser way: by default after any failure that is not tried again. */
  readonly degrade?: Name | { readonly to: Name; readonly when?: When | undefined } | undefined
  /** When nothing else fits. Without it the run fails with `NodeFailedError`. */
  readonly fail?: Name | undefined
}

const fits = (when: When, all: ReadonlyArray<NodeFailure>): boolean =>
  all.every((failure) => (typeof when === "function" ? when(failure) : when.includes(failure.class)))

const isWorthAnother = ({ kind }: NodeFailure): boolean => kind === "transient" || kind === "rate-limited"

/**
 * An edge that goes by how a node ended: for `addConditionalEdges`. It reads the channel of {@link failures}, so the node must be made or protected
 * with `failures`, which says the channel's name.
 *
 * @since 0.1.0
 * @category constructors
 * @throws `RangeError` when `max` is no whole number from 1.
 * @example
 * ```ts
 * import { Annotation, END, START, StateGraph } from "@langchain/langgraph"
 * import { Graph } from "holdfast/langgraph"
 *
 * const State = Annotation.Root({ city: Annotation<string>, weather: Annotation<string>, failures: Graph.failures() })
 *
 * declare const fetchWeather: (state: typeof State.State) => Promise<{ weather: string }>
 *
 * const graph = new StateGraph(State)
 *   .addNode("fetch", Graph.protect(fetchWeather, { name: "fetch", failures: "failures" }))
 *   .addNode("guess", () => ({ weather: "as yesterday" }))
 *   .addEdge(START, "fetch")
 *   .addConditionalEdges("fetch", Graph.route("fetch", {
 *     success: END,
 *     retry: { max: 2, when: ["timeout", "overloaded"] },
 *     degrade: "guess"
 *   }), ["fetch", "guess", END])
 *   .addEdge("guess", END)
 *   .compile()
 * ```
 */
export const route = <State, const Name extends string>(
  node: string,
  ways: Ways<State, Name>,
  options: { readonly channel?: string | undefined } = {}
): ((state: State) => Name | Array<Name>) => {
  const { degrade, fail, retry, success } = ways
  if (retry !== undefined && !(Number.isInteger(retry.max) && retry.max >= 1)) {
    throw new RangeError(`Graph.route("${node}"): retry.max must be a whole number from 1, got ${retry.max}`)
  }
  const channel = options.channel ?? "failures"
  const lesser = typeof degrade === "string" ? { to: degrade } : degrade
  const one = (name: Name | ReadonlyArray<Name>): Name | Array<Name> => (typeof name === "string" ? name : [...name])
  return (state) => {
    const held: unknown = Reflect.get(Object(state), channel)
    // what `reduce` has put there; a state without the channel has no failures
    const known = Object(held) === held ? (held as Failures)[node] : undefined
    if (known === undefined || known.failures.length === 0) {
      return one(typeof success === "function" ? success(state) : success)
    }
    if (retry !== undefined && known.times <= retry.max && fits(retry.when ?? isWorthAnother, known.failures)) {
      return retry.to ?? (node as Name) // the node itself, whose name is one of the graph's
    }
    if (lesser !== undefined && fits(lesser.when ?? (() => true), known.failures)) return lesser.to
    if (fail !== undefined) return fail
    throw new NodeFailedError({ node, times: known.times, failures: known.failures })
  }
}
