/** Effects and agents as nodes. */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as Agent from "../../agent/Agent.js"
import type { Config, NodeFunction } from "../models.js"
import { execute, Node } from "./node.js"
import { intoState } from "./protect.js"

/**
 * How an agent is made a node.
 *
 * @since 0.1.0
 * @category models
 */
export interface AgentNodeOptions<State, Update, In, Out> {
  /** The state's annotation, from which the types of `input` and `output` are inferred. */
  readonly annotation?: { readonly State: State; readonly Update: Update } | undefined
  /** The node's name. Default: the agent's id. */
  readonly name?: string | undefined
  /** What the agent is asked. */
  readonly input: (state: State) => In
  /** What its answer means for the state: an update, or a `Command`. */
  readonly output: (out: Out, state: State) => unknown extends Update ? unknown : Update
  /** The channel that its failure is put into, see `NodePolicy`. */
  readonly failures?: string | undefined
}

/**
 * A LangGraph node from an effect: state in, update or `Command` out. It is a `node_<name>` observation under the run's span; the run's abort signal
 * interrupts it, and the run waits for its finalizers. What it fails with is thrown as it is, so that LangGraph knows its own signals again.
 *
 * Services are taken from where the node is made.
 *
 * - `Graph.node("name", (state) => effect)`
 * - `Graph.node(agent)`: an agent whose input is the state and whose output is an update.
 * - `Graph.node(agent, { annotation, input, output })`: any agent.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { Annotation, END, START, StateGraph } from "@langchain/langgraph"
 * import { Effect } from "effect"
 * import { Agent } from "holdfast"
 * import { Graph } from "holdfast/langgraph"
 *
 * const State = Annotation.Root({ question: Annotation<string>, answer: Annotation<string> })
 * const model = Agent.make("model", (question: string) => Effect.succeed(`no idea: ${question}`), { timeout: "10 seconds" })
 *
 * const program = Effect.gen(function* () {
 *   const answer = yield* Graph.node(model, {
 *     annotation: State,
 *     input: (state) => state.question,
 *     output: (answer) => ({ answer })
 *   })
 *   const graph = new StateGraph(State).addNode("model", answer).addEdge(START, "model").addEdge("model", END).compile()
 *   return yield* Graph.run(graph, { question: "why?" }, { threadId: "1" })
 * })
 * ```
 */
export const node: {
  <State, Update, E, R>(agent: Agent.Agent<State, Update, E, R>): Effect.Effect<NodeFunction<State, Update>, never, R>
  <State, Update, In, Out, E, R>(
    agent: Agent.Agent<In, Out, E, R>,
    options: AgentNodeOptions<State, Update, In, Out>
  ): Effect.Effect<NodeFunction<State, Update>, never, R>
  <State, Update, E, R>(
    name: string,
    run: (state: State, config: Config) => Effect.Effect<Update, E, R>,
    options?: { readonly failures?: string | undefined }
  ): Effect.Effect<NodeFunction<State, Update>, never, R>
} = <R>(
  first: string | Agent.Agent<unknown, unknown, unknown, R>,
  second?:
    | ((state: unknown, config: Config) => Effect.Effect<unknown, unknown, R>)
    | AgentNodeOptions<unknown, unknown, unknown, unknown>,
  third?: { readonly failures?: string | undefined }
): Effect.Effect<NodeFunction<unknown, unknown>, never, R> => {
  if (typeof first === "string") {
    if (!Predicate.isFunction(second))
      throw new TypeError(`Graph.node("${first}") needs a function from the state to an Effect`)
    const run = second as (state: unknown, config: Config) => Effect.Effect<unknown, unknown, R> // the overload of a name
    return make(first, run, third?.failures, false)
  }
  const options = second as AgentNodeOptions<unknown, unknown, unknown, unknown> | undefined // the overloads of an agent
  const run =
    options === undefined
      ? first.invoke
      : (state: unknown) => Effect.map(first.invoke(options.input(state)), (out) => options.output(out, state))
  return make(options?.name ?? first.id, run, options?.failures, true)
}

const make = <R>(
  name: string,
  run: (state: unknown, config: Config) => Effect.Effect<unknown, unknown, R>,
  failures: string | undefined,
  whole: boolean
): Effect.Effect<NodeFunction<unknown, unknown>, never, R> =>
  Effect.map(Effect.runtime<R>(), (runtime) => (state: unknown, config: Config) => {
    const node = new Node(name, config, whole)
    const work = Effect.suspend(() => run(state, config)) as Effect.Effect<unknown, unknown> // the runtime has what it needs
    return execute(runtime, node, intoState(node, failures, work, undefined), "own")
  })
