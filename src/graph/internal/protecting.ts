/** The two ways to protect what is there: one node, or all of a graph's. */
import type { Runnable } from "@langchain/core/runnables"
import * as Predicate from "effect/Predicate"
import type { NodeFunction, NodeLike, NodePolicy } from "../models.js"
import { callOf } from "./attempt.js"
import { Protected, protect as protectCall } from "./protect.js"

const nameOf = (node: unknown): string => {
  if (typeof node === "function" && node.name !== "") return node.name
  const name: unknown =
    Predicate.hasProperty(node, "getName") && typeof node.getName === "function" ? node.getName() : ""
  return typeof name === "string" && name !== "" ? name : "node"
}

/**
 * A node that stands up to failures: the function, model, chain or graph that it was, under an agent's policy. It is a `node_<name>` observation with
 * the agent's own under it; each try has a signal of its own, which ends with the try. LangGraph's signals and the run's abort pass through.
 *
 * Without a policy it is an agent's default: 3 attempts, 30 seconds for each, a circuit breaker.
 *
 * @since 0.1.0
 * @category constructors
 * @throws `RangeError` when a number of the policy makes no sense.
 * @example
 * ```ts
 * import { Annotation, END, START, StateGraph } from "@langchain/langgraph"
 * import { Graph } from "holdfast/langgraph"
 *
 * const State = Annotation.Root({ city: Annotation<string>, weather: Annotation<string> })
 *
 * declare const fetchWeather: (city: string) => Promise<string>
 *
 * const graph = new StateGraph(State)
 *   .addNode(
 *     "weather",
 *     Graph.protect(async ({ city }: typeof State.State) => ({ weather: await fetchWeather(city) }), {
 *       retry: { maxAttempts: 5 },
 *       timeout: "10 seconds",
 *       fallback: () => ({ weather: "as yesterday" })
 *     })
 *   )
 *   .addEdge(START, "weather")
 *   .addEdge("weather", END)
 *   .compile()
 * ```
 */
export const protect = <State, Update, C = never>(
  node: NodeLike<State, Update, C>,
  policy: NodePolicy<State, Update> = {}
): NodeFunction<State, Update, [C] extends [never] ? object : C> =>
  // the call forgets the types, the signature keeps them
  protectCall({
    call: callOf(node),
    policy: policy as NodePolicy<never, unknown>,
    target: node,
    otherwise: nameOf(node)
  }) as NodeFunction<State, Update, [C] extends [never] ? object : C>

/**
 * @since 0.1.0
 * @category models
 */
export interface ProtectAllOptions<Name extends string = string> {
  /** For every node. Default: an agent's default policy. */
  readonly policy?: Omit<NodePolicy, "name"> | undefined
  /** What is different for a node, part by part; `false` leaves it as it is. */
  readonly perNode?: { readonly [Key in Name]?: NodePolicy | false | undefined } | undefined
  /**
   * The graph's name, put before a node's in the name of its agent, and so of its breaker: two graphs of a process whose nodes have the same names
   * share breakers without it.
   */
  readonly name?: string | undefined
}

/**
 * What of an uncompiled graph is used here; every `StateGraph` is one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Builder {
  readonly nodes: Record<string, unknown>
  readonly edges: Set<unknown>
  readonly branches: Record<string, unknown>
  compile(options?: never): unknown
}

type NamesOf<G> = G extends { readonly "~NodeNames": infer N extends string } ? N : string

interface Spec {
  readonly runnable: Runnable
  readonly isErrorHandler?: boolean
}

const isSpec = (u: unknown): u is Spec => Predicate.hasProperty(u, "runnable") && Predicate.isObject(u.runnable)

/** The same graph, of which a change is not seen in the other. */
const copy = <G extends Builder>(graph: G, nodes: Record<string, unknown>): G => {
  const copied: G = Object.create(Object.getPrototypeOf(graph), Object.getOwnPropertyDescriptors(graph))
  const own: Record<string, unknown> = { nodes, edges: new Set(graph.edges) }
  own["branches"] = Object.fromEntries(
    Object.entries(graph.branches).map(([name, each]) => [name, { ...Object(each) }])
  )
  for (const name of ["waitingEdges", "channels", "_nodeDefaults", "_schemaDefinitions"]) {
    const value: unknown = Reflect.get(graph, name)
    if (value instanceof Set) own[name] = new Set(value)
    else if (value instanceof Map) own[name] = new Map(value)
    else if (Predicate.isRecord(value)) own[name] = { ...value }
  }
  for (const [name, value] of Object.entries(own)) {
    Object.defineProperty(copied, name, { value, writable: true, enumerable: true, configurable: true })
  }
  return copied
}

/**
 * All nodes of a graph protected, before it is compiled: their functions are untouched, and what they were added with (`ends`, `retryPolicy`, `defer`,
 * `cachePolicy`, `errorHandler`, `metadata`, `input`, subgraphs) holds as before. The graph that is given stays as it is.
 *
 * @since 0.1.0
 * @category constructors
 * @throws `RangeError` when a number of a policy makes no sense, or `perNode` names a node that is not there.
 * @example
 * ```ts
 * import { Annotation, END, START, StateGraph } from "@langchain/langgraph"
 * import { Graph } from "holdfast/langgraph"
 *
 * const State = Annotation.Root({ city: Annotation<string>, weather: Annotation<string> })
 * declare const fetchWeather: (state: typeof State.State) => Promise<{ weather: string }>
 *
 * const builder = new StateGraph(State).addNode("fetch", fetchWeather).addEdge(START, "fetch").addEdge("fetch", END)
 *
 * const graph = Graph.protectAll(builder, {
 *   policy: { timeout: "10 seconds" },
 *   perNode: { fetch: { retry: { maxAttempts: 5 } } }
 * }).compile()
 * ```
 */
export const protectAll = <G extends Builder>(graph: G, options: ProtectAllOptions<NamesOf<G>> = {}): G => {
  if (!Predicate.hasProperty(graph, "nodes") || !Predicate.hasProperty(graph, "edges") || "lg_is_pregel" in graph) {
    throw new TypeError("Graph.protectAll takes a StateGraph that is not compiled: protect it, then call compile()")
  }
  const { name, perNode = {}, policy } = options
  const different: Readonly<Record<string, NodePolicy | false | undefined>> = perNode
  for (const each of Object.keys(different)) {
    if (!Object.hasOwn(graph.nodes, each)) {
      throw new RangeError(
        `Graph.protectAll: there is no node "${each}"; the graph has ${Object.keys(graph.nodes).join(", ")}`
      )
    }
  }
  const nodes = Object.entries(graph.nodes).map(([key, spec]): [string, unknown] => {
    const own = Object.hasOwn(different, key) ? different[key] : undefined
    if (own === false || !isSpec(spec) || spec.isErrorHandler === true) return [key, spec]
    const whole = { ...policy, ...own } as NodePolicy<never, unknown> // the call forgets the types
    return [key, { ...spec, runnable: new Protected(spec.runnable, key, whole, name) }]
  })
  return copy(graph, Object.fromEntries(nodes))
}
