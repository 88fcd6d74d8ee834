/**
 * Nodes that stand up to failures: a node is made an agent, so that its policy is an agent's.
 *
 * @internal
 */
import { Runnable } from "@langchain/core/runnables"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Runtime from "effect/Runtime"
import * as Agent from "../../agent/Agent.js"
import * as Observation from "../../observability/Observation.js"
import * as Failure from "../../resilience/Failure.js"
import { describe } from "../failures.js"
import type { Config, NodeLike, NodePolicy } from "../models.js"
import { attempt, type Call, callOf } from "./attempt.js"
import { execute, Node } from "./node.js"
import * as ownBreakers from "./ownBreakers.js"
import * as told from "./told.js"

type AnyAgent = Agent.Agent<unknown, unknown, unknown>
type AnyPolicy = NodePolicy<never, unknown>

const isAgent = (u: unknown): u is AnyAgent => Predicate.hasProperty(u, Agent.TypeId)

const list = (fallback: AnyPolicy["fallback"]): ReadonlyArray<unknown> =>
  fallback === undefined ? [] : Array.isArray(fallback) ? fallback : [fallback]

/** The agent of a node. A mistake in the policy throws here. */
const agentOf = (id: string, call: Call, policy: AnyPolicy): AnyAgent => {
  const { failures: _failures, fallback, name: _name, runtime: _runtime, ...own } = policy
  const primary: AnyAgent = Agent.make(id, (state: unknown) => attempt(call, state), own)
  return list(fallback).reduce<AnyAgent>((chain, next, index) => {
    if (isAgent(next)) return Agent.orElse(chain, next)
    const lesser = callOf(next as NodeLike<unknown, unknown>) // the policy's type leaves nothing else
    const options = { retry: false, circuitBreaker: false, timeout: own.timeout } as const
    return Agent.orElse(
      chain,
      Agent.make(`${id}_fallback_${index + 1}`, (state: unknown) => attempt(lesser, state), options)
    )
  }, primary)
}

const failing: Failure.Classifier = () => ({ kind: "permanent", reason: "failed" })

/** The node's answer, with its failure, if it has one, in the channel that was named for it. */
export const intoState = (
  node: Node,
  channel: string | undefined,
  work: Effect.Effect<unknown, unknown>,
  classify: Failure.Classifier | undefined
): Effect.Effect<unknown, unknown> =>
  channel === undefined
    ? work
    : Effect.matchCauseEffect(work, {
        onSuccess: (update) => Effect.sync(() => told.well(node, channel, update)),
        onFailure: (cause: Cause.Cause<unknown>) =>
          Failure.isReal(Failure.fromCause(cause, failing)) && !Cause.isDie(cause)
            ? Effect.flatMap(classify === undefined ? Failure.CurrentClassifier : Effect.succeed(classify), (by) => {
                const failure = Failure.fromCause(cause, by)
                const seen = describe(node.name, node.step, cause, failure)
                node.failed(cause, failure)
                return Effect.as(
                  Observation.annotate({
                    level: "WARNING",
                    statusMessage: `failed, and the state says so: ${seen.message}`
                  }),
                  told.failed(node, channel, seen)
                )
              })
            : Effect.failCause(cause)
      })

const nodeName = (config: Config): string | undefined => {
  const name = config.metadata?.["langgraph_node"]
  return typeof name === "string" ? name : undefined
}

/** What is protected, as its definition has it. */
export interface Definition {
  readonly call: Call
  readonly policy: AnyPolicy
  /** The function or Runnable itself: a breaker belongs to it. */
  readonly target: object
  /** Its name when neither the policy nor LangGraph says one. */
  readonly otherwise: string
  /** The name of its graph. */
  readonly graph?: string | undefined
}

/** A node's call under its policy. */
export const protect = ({
  call,
  graph,
  otherwise,
  policy,
  target
}: Definition): ((state: unknown, config: Config) => Promise<unknown>) => {
  const agents = new Map<string, AnyAgent>()
  const ids = new Set<string>()
  const of = (name: string): AnyAgent => {
    const known = agents.get(name)
    if (known !== undefined) return known
    const made = agentOf(graph === undefined ? name : `${graph}/${name}`, call, policy)
    agents.set(name, made)
    ids.add(made.id)
    return made
  }
  /** The runtimes with the breakers of this node: of a run and its steps there is one. */
  const runtimes = new WeakMap<Runtime.Runtime<never>, Runtime.Runtime<never>>()
  const on = (ground: Runtime.Runtime<never>): Runtime.Runtime<never> => {
    const known = runtimes.get(ground)
    if (known !== undefined) return known
    const context = ownBreakers.within(ground.context, target, (id) => ids.has(id))
    const made = Runtime.make({ context, fiberRefs: ground.fiberRefs, runtimeFlags: ground.runtimeFlags })
    runtimes.set(ground, made)
    return made
  }
  const first = policy.name ?? otherwise
  of(first)
  return (state, config) => {
    const name = policy.name ?? nodeName(config) ?? first
    const node = new Node(name, config, true)
    const agent = of(name)
    const ground = policy.runtime ?? node.run?.runtime
    const where = policy.runtime !== undefined ? "own" : ground === undefined ? "carried" : "run"
    const runtime = on(ground ?? Runtime.defaultRuntime)
    const work = Effect.suspend(() => agent.invoke(state))
    return execute(runtime, node, intoState(node, policy.failures, work, policy.classify), where)
  }
}

/** LangGraph wraps a function anew for each graph; the function is what is the same. */
const functionOf = (bound: Runnable): object => {
  const { func }: { readonly func?: unknown } = { func: Reflect.get(bound, "func") }
  return typeof func === "function" ? func : bound
}

/** A protected node in the place of the one it protects. */
export class Protected extends Runnable {
  lc_namespace = ["holdfast", "graph"]
  readonly bound: Runnable
  readonly #call: (state: unknown, config: Config) => Promise<unknown>

  constructor(bound: Runnable, name: string, policy: AnyPolicy, graph: string | undefined) {
    super()
    this.bound = bound
    this.name = bound.getName()
    this.#call = protect({ call: callOf(bound), policy, target: functionOf(bound), otherwise: name, graph })
  }

  override invoke(input: unknown, options?: object): Promise<unknown> {
    return this.#call(input, (options ?? {}) as Config) // LangGraph's config, of which a part is used
  }

  override getName(suffix?: string): string {
    return this.bound.getName(suffix)
  }
}
