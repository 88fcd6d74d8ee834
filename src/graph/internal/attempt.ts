/**
 * A function of LangGraph's world as an effect: one try of a node.
 *
 * @internal
 */
import { AsyncLocalStorageProviderSingleton } from "@langchain/core/singletons"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as Tracer from "effect/Tracer"
import * as SpanCarrier from "../../observability/SpanCarrier.js"
import type { Config, NodeLike } from "../models.js"
import { CurrentNode, type Node } from "./node.js"
import * as once from "./once.js"

interface Invocable {
  readonly invoke: (state: unknown, config: unknown) => PromiseLike<unknown>
}

const isInvocable = (u: unknown): u is Invocable => Predicate.hasProperty(u, "invoke") && typeof u.invoke === "function"

/** A Runnable that a function returns is invoked with what the function was given, as LangGraph does. */
const isRunnable = (u: unknown): u is Invocable =>
  Predicate.hasProperty(u, "lc_runnable") && u.lc_runnable === true && isInvocable(u)

const isPromise = (u: unknown): u is PromiseLike<unknown> =>
  Predicate.hasProperty(u, "then") && typeof u.then === "function"

/**
 * What a try of the node is given: LangGraph's own config, but that its signal ends with the try, that what is observed inside stands under the
 * try, and that a graph inside, tried again, goes on from its checkpoint.
 */
const configOf = (node: Node, signal: AbortSignal, span: Tracer.AnySpan | undefined): Config => {
  const { config } = node
  // one copy, and then what is different: several at once cost three times as much
  const configurable: Record<string, unknown> = { ...config.configurable }
  const around: unknown = configurable["__pregel_abort_signals"]
  configurable[once.pathKey] = once.within(node)
  // a graph inside listens to the outermost signal it finds
  configurable["__pregel_abort_signals"] = {
    externalAbortSignal: signal,
    timeoutAbortSignal: Predicate.hasProperty(around, "timeoutAbortSignal") ? around.timeoutAbortSignal : undefined,
    composedAbortSignal: signal
  }
  if (span !== undefined) configurable[SpanCarrier.key] = span
  if (node.again) configurable["__pregel_resuming"] = true
  return { ...config, signal, configurable }
}

export type Call = (state: unknown, config: Config) => unknown

/** How a node is called, whatever it is. A function finds its config in LangGraph's asynchronous context, as models and `interrupt` do. */
export const callOf = <State, Update, C>(node: NodeLike<State, Update, C>): Call => {
  if (isInvocable(node)) return (state, config) => node.invoke(state, config)
  const call = node as (state: unknown, config: unknown) => unknown // not invocable, so it is the function
  return (state, config) =>
    AsyncLocalStorageProviderSingleton.runWithConfig(config, () => {
      const returned = call(state, config)
      if (!isPromise(returned)) return isRunnable(returned) ? returned.invoke(state, config) : returned
      return returned.then((value) => (isRunnable(value) ? value.invoke(state, config) : value))
    })
}

/** One try. Interrupting it aborts the signal that the function was given, and does not wait for one that does not listen: its run does, for a while. */
export const attempt = (call: Call, state: unknown): Effect.Effect<unknown, unknown> =>
  Effect.withFiberRuntime((fiber) => {
    const node = Context.get(fiber.currentContext, CurrentNode)
    if (node === undefined) return Effect.die(new Error("Graph: a node's work was run outside of its node"))
    return Effect.async<unknown, unknown>((resume) => {
      const controller = new AbortController()
      let returned: unknown
      try {
        returned = call(state, configOf(node, controller.signal, fiber.currentSpan))
      } catch (error) {
        resume(Effect.fail(error))
        return
      }
      if (!isPromise(returned)) {
        resume(Effect.succeed(returned))
        return
      }
      let open = true
      const ended = Promise.resolve(
        returned.then(
          (value) => {
            open = false
            resume(Effect.succeed(value))
          },
          (error: unknown) => {
            open = false
            resume(Effect.fail(error))
          }
        )
      )
      return Effect.sync(() => {
        controller.abort()
        const ending = node.run?.ending
        if (!open || ending === undefined) return
        ending.add(ended)
        void ended.then(() => ending.delete(ended))
      })
    })
  })
