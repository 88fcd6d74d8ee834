/**
 * What a run carries along to its nodes, in a field of `configurable`: where its services are, who is still running, who has failed.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Predicate from "effect/Predicate"
import type * as Runtime from "effect/Runtime"
import type { NodeFailure } from "../failures.js"

/** LangChain copies no field that begins with two underscores into metadata, and no saver stores one. */
const key = "__holdfast_run"

/** Of a node's work that is tried again. */
export interface Retried {
  readonly node: string
  readonly namespace: string
  readonly taskId: string | undefined
  /** The number of the try that begins. */
  readonly attempt: number
  readonly failure: NodeFailure
}

/** How long a run waits for functions that were told to stop and go on, in milliseconds. */
const patience = 1_000

export class Run {
  /** What the run's caller has: clock, tracer, policies, registries. */
  readonly runtime: Runtime.Runtime<never>
  /** The fibers of the nodes under way. */
  readonly fibers = new Set<Fiber.RuntimeFiber<unknown, unknown>>()
  /** Functions that were told to stop and have not ended yet. */
  readonly ending = new Set<Promise<unknown>>()
  /** The failures of nodes, by their task. */
  readonly failures = new Map<string, NodeFailure>()
  /** Which node threw an error. */
  readonly thrown = new WeakMap<object, string>()
  /** What became of a checkpoint that could not be written. */
  lost: { readonly error: unknown } | undefined
  onRetry: ((retried: Retried) => void) | undefined

  constructor(runtime: Runtime.Runtime<never>) {
    this.runtime = runtime
  }

  /** The field to put into a `configurable`. */
  get carried(): Record<string, unknown> {
    return { [key]: this }
  }

  /** Ends when its nodes have, finalizers included. Functions that do not listen to their signal are waited for a second. */
  readonly ended: Effect.Effect<void> = Effect.suspend(() =>
    Effect.zipRight(Fiber.interruptAll([...this.fibers]), this.ending.size === 0 ? Effect.void : this.#settled)
  )

  readonly #settled: Effect.Effect<void> = Effect.promise(
    () =>
      new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, patience)
        void Promise.allSettled([...this.ending]).then(() => {
          clearTimeout(timer)
          resolve()
        })
      })
  )

  /** A configurable may be printed; a runtime is nobody's business there. */
  toJSON(): string {
    return "[Run]"
  }
}

export const of = (configurable: unknown): Run | undefined => {
  const found = Predicate.hasProperty(configurable, key) ? configurable[key] : undefined
  return found instanceof Run ? found : undefined
}
