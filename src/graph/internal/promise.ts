/** Graphs for code that knows promises and no effects. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import type * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Runtime from "effect/Runtime"
import * as Stream from "effect/Stream"
import * as PerRunScheduler from "../../observability/internal/contextScheduler.js"
import type { Compiled, RunOptions, Snapshot } from "../models.js"
import * as operations from "./operations.js"
import { type Event, type StreamOptions, stream as streaming } from "./streaming.js"

/**
 * Where a run has what its nodes share, such as a tracer or policies: a runtime that somebody else releases, or a layer, built at the first call
 * and released by `dispose`.
 *
 * @since 0.1.0
 * @category promises
 */
export type PromiseServices =
  | {
      readonly runtime: Runtime.Runtime<never> | ManagedRuntime.ManagedRuntime<never, unknown>
      readonly layer?: undefined
    }
  // a layer may give whatever it likes: nodes find it by its tag
  | { readonly layer: Layer.Layer<never, unknown>; readonly runtime?: undefined }

/**
 * @since 0.1.0
 * @category promises
 */
export interface Abortable {
  /** Aborts the run: the promise rejects with an `AbortError` when the run's nodes have ended. */
  readonly signal?: AbortSignal | undefined
}

/**
 * A compiled graph for code that knows promises and no effects. What a call rejects with is the very error that the effect would fail with.
 *
 * @since 0.1.0
 * @category promises
 */
export interface PromiseGraph<Input, State> {
  readonly run: (input: Input | null, options: RunOptions & Abortable) => Promise<State>
  readonly resume: (answer: unknown, options: RunOptions & Abortable) => Promise<State>
  /** Leaving the loop aborts the run. */
  readonly stream: (input: Input | null, options: StreamOptions) => AsyncIterable<Event<State>>
  readonly state: (
    threadId: string,
    options?: { readonly checkpointId?: string | undefined }
  ) => Promise<Snapshot<State>>
  readonly history: (
    threadId: string,
    options?: { readonly limit?: number | undefined; readonly before?: string | undefined }
  ) => Promise<ReadonlyArray<Snapshot<State>>>
  readonly fork: (
    options: operations.ForkOptions
  ) => Promise<{ readonly threadId: string; readonly checkpointId: string }>
  /** Interrupts every run under way, waits for their finalizers, and then releases the layer. Later calls reject with an `AbortError`. */
  readonly dispose: () => Promise<void>
}

class AbortError extends Error {
  override readonly name = "AbortError"
  readonly code = "ABORT_ERR"
}

/**
 * A compiled graph for Promise code. Each call keeps its caller's AsyncLocalStorage.
 *
 * @since 0.1.0
 * @category promises
 * @example
 * ```ts
 * import { Graph } from "holdfast/langgraph"
 *
 * declare const compiled: Graph.Compiled<{ question: string }, { answer: string }>
 *
 * const graph = Graph.toPromise(compiled)
 * const { answer } = await graph.run({ question: "why?" }, { threadId: "1", signal: AbortSignal.timeout(60_000) })
 * for await (const event of graph.stream({ question: `why ${answer}?` }, { threadId: "1" })) console.log(event._tag)
 * await graph.dispose()
 * ```
 */
export const toPromise = <Input, State>(
  graph: Compiled<Input, State>,
  services?: PromiseServices
): PromiseGraph<Input, State> => {
  const fibers = new Set<Fiber.RuntimeFiber<unknown, unknown>>()
  const made = services?.layer === undefined ? undefined : ManagedRuntime.make(services.layer)
  const runtime = async (): Promise<Runtime.Runtime<never>> => {
    const given = made ?? services?.runtime ?? Runtime.defaultRuntime
    return "runtime" in given ? given.runtime() : given
  }
  let disposing: Promise<void> | undefined

  const aborted = (why: string, cause: unknown): AbortError => new AbortError(why, { cause })

  const call = async <A, E>(effect: Effect.Effect<A, E>, { signal }: Abortable = {}): Promise<A> => {
    const refuse = () =>
      signal?.aborted === true
        ? aborted("the run was aborted", signal.reason)
        : aborted(disposing === undefined ? "the run was interrupted" : "what runs the graph was disposed", undefined)
    if (signal?.aborted === true || disposing !== undefined) throw refuse()
    const ground = await runtime()
    return new Promise<A>((resolve, reject) => {
      const fiber = Runtime.runFork(ground, effect, { scheduler: PerRunScheduler.make() })
      const interrupt = () => fiber.unsafeInterruptAsFork(FiberId.none)
      fibers.add(fiber)
      signal?.addEventListener("abort", interrupt, { once: true })
      if (signal?.aborted === true) interrupt()
      fiber.addObserver((exit) => {
        fibers.delete(fiber)
        signal?.removeEventListener("abort", interrupt)
        if (Exit.isSuccess(exit)) resolve(exit.value)
        else reject(Cause.isInterruptedOnly(exit.cause) ? refuse() : Cause.originalError(Cause.squash(exit.cause)))
      })
    })
  }

  const stream: PromiseGraph<Input, State>["stream"] = (input, options) => ({
    async *[Symbol.asyncIterator]() {
      yield* Stream.toAsyncIterableRuntime(streaming(graph, input, options), await runtime())
    }
  })

  const dispose = (): Promise<void> => {
    disposing ??= Effect.runPromise(Effect.suspend(() => Fiber.interruptAll([...fibers]))).then(() => made?.dispose())
    return disposing
  }
  return {
    run: (input, { signal, ...options }) => call(operations.run(graph, input, options), { signal }),
    resume: (answer, { signal, ...options }) => call(operations.resume(graph, answer, options), { signal }),
    stream,
    state: (threadId, options) => call(operations.state(graph, threadId, options)),
    history: (threadId, options) => call(operations.history(graph, threadId, options)),
    fork: (options) => call(operations.fork(graph, options)),
    dispose
  }
}
