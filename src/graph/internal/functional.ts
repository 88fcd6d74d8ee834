/** LangGraph's functional API, protected. */
import { AsyncLocalStorageProviderSingleton } from "@langchain/core/singletons"
import * as LangGraph from "@langchain/langgraph"
import * as Predicate from "effect/Predicate"
import type { Config, NodePolicy } from "../models.js"
import { protect } from "./protect.js"

const nameOf = (nameOrOptions: string | { readonly name: string }): string =>
  typeof nameOrOptions === "string" ? nameOrOptions : nameOrOptions.name

/**
 * LangGraph's `task`, under a policy: a `node_<name>` observation with the agent's own under it. In an entrypoint that is tried again, a task that was
 * done is not done again.
 *
 * @since 0.1.0
 * @category functional
 * @throws `RangeError` when a number of the policy makes no sense.
 */
export const task = <Args extends Array<unknown>, Out>(
  nameOrOptions: string | LangGraph.TaskOptions,
  run: (...args: Args) => Out | Promise<Out>,
  policy: NodePolicy = {}
): ((...args: Args) => Promise<Out>) => {
  const name = nameOf(nameOrOptions)
  const call = protect({
    // the arguments as they are handed on below
    call: (args, config) => AsyncLocalStorageProviderSingleton.runWithConfig(config, () => run(...(args as Args))),
    policy: { ...policy, name: policy.name ?? name },
    target: run,
    otherwise: name
  })
  const protectedRun = (...args: Args): Promise<Out> => {
    const config: unknown = AsyncLocalStorageProviderSingleton.getRunnableConfig()
    return call(args, Predicate.isObject(config) ? (config as Config) : {}) as Promise<Out> // what `run` gives
  }
  return LangGraph.task(nameOrOptions, protectedRun) as (...args: Args) => Promise<Out> // its type knows no more of a promise's value
}

/**
 * LangGraph's `entrypoint`, under a policy. Its default is none but the observation, since its tasks have theirs: no retry, no timeout, no breaker.
 *
 * @since 0.1.0
 * @category functional
 * @throws `RangeError` when a number of the policy makes no sense.
 */
export const entrypoint = <In, Out>(
  nameOrOptions: string | LangGraph.EntrypointOptions,
  run: (input: In, config: LangGraph.LangGraphRunnableConfig) => Out | Promise<Out>,
  policy: NodePolicy<In, Out> = {}
): ReturnType<typeof LangGraph.entrypoint<In, Awaited<Out>>> => {
  const name = nameOf(nameOrOptions)
  const own = { retry: false, timeout: false, circuitBreaker: false, ...policy, name: policy.name ?? name } as const
  const call = protect({
    call: (input, config) =>
      // LangGraph's own config, of which a part is used here
      AsyncLocalStorageProviderSingleton.runWithConfig(config, () => run(input as In, config as object)),
    policy: own as NodePolicy<never, unknown>,
    target: run,
    otherwise: name
  })
  const protectedRun = (input: In, config: LangGraph.LangGraphRunnableConfig) => call(input, config as Config)
  // a promise of it is as good there, and a generator is refused: neither can be said for any `Out`
  return LangGraph.entrypoint<In, Awaited<Out>>(nameOrOptions, protectedRun as never)
}
