/** Agents for Promise code: fibers that nobody loses sight of, and errors that stay what they are. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import type * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Runtime from "effect/Runtime"
import * as PerCallScheduler from "../../observability/internal/contextScheduler.js"

/**
 * An agent as a function for Promise code.
 *
 * @since 0.1.0
 * @category promises
 */
export interface PromiseAgent<in In, out Out> {
  /**
   * Invokes the agent. Rejects with what the agent failed with, the very object, or with what it died of. When the signal aborts, the agent is
   * interrupted, and when its finalizers have ended the promise rejects with an error named `AbortError` whose `cause` is the signal's reason.
   */
  (input: In, options?: { readonly signal?: AbortSignal | undefined }): Promise<Out>
  /** Interrupts every call under way, waits for their finalizers, and then releases the layer. Later calls reject with an `AbortError`. */
  readonly dispose: () => Promise<void>
}

/**
 * Where a {@link PromiseAgent} has its services from: a runtime that somebody else releases, or a layer, built at the first call and released by
 * `dispose`.
 *
 * @since 0.1.0
 * @category promises
 */
export type PromiseServices<R> =
  | {
      readonly runtime: Runtime.Runtime<R> | ManagedRuntime.ManagedRuntime<R, unknown>
      readonly layer?: undefined
    }
  | { readonly layer: Layer.Layer<R, unknown>; readonly runtime?: undefined }

/** What Node's own APIs reject with when their signal aborts. */
class AbortError extends Error {
  override readonly name = "AbortError"
  readonly code = "ABORT_ERR"
}

const abortError = (what: string, cause: unknown): Error => new AbortError(what, { cause })

/** The error itself: not the span that Effect ties to what fails inside one, nor what `Effect.tryPromise` has put around it. */
const identityOf = (cause: Cause.Cause<unknown>): unknown => {
  const error = Cause.originalError(Cause.squash(cause))
  return Cause.isUnknownException(error) && error.error !== undefined ? error.error : error
}

type Fork<R> = <A, E>(effect: Effect.Effect<A, E, R>, options: Runtime.RunForkOptions) => Fiber.RuntimeFiber<A, unknown>

interface Ground<R> {
  readonly fork: Fork<R>
  readonly release: () => Promise<void>
}

const nothing = (): Promise<void> => Promise.resolve()

const over = <R>(runtime: Runtime.Runtime<R>): Ground<R> => ({
  fork: (effect, options) => Runtime.runFork(runtime, effect, options),
  release: nothing
})

/** Where the services come from. Only what is made here is released here. */
const groundOf = <R>(services: PromiseServices<R> | undefined): Ground<R> => {
  // without services there is nothing to need: the overloads of `toPromise` see to it
  if (services === undefined) return over(Runtime.defaultRuntime as Runtime.Runtime<R>)
  if (services.layer !== undefined) {
    const made = ManagedRuntime.make(services.layer)
    return { fork: made.runFork, release: made.dispose }
  }
  const { runtime } = services
  return "runFork" in runtime ? { fork: runtime.runFork, release: nothing } : over(runtime)
}

export const make = <In, Out, E, R>(
  id: string,
  invoke: (input: In) => Effect.Effect<Out, E, R>,
  services: PromiseServices<R> | undefined
): PromiseAgent<In, Out> => {
  const ground = groundOf(services)
  const fibers = new Set<Fiber.RuntimeFiber<unknown, unknown>>()
  let disposing: Promise<void> | undefined

  const why = (signal: AbortSignal | undefined): Error => {
    if (signal?.aborted === true) return abortError(`the call of agent "${id}" was aborted`, signal.reason)
    return abortError(
      disposing === undefined ? `the call of agent "${id}" was interrupted` : `agent "${id}" was disposed`,
      undefined
    )
  }

  const call = (input: In, options: { readonly signal?: AbortSignal | undefined } = {}): Promise<Out> => {
    const { signal } = options
    if (signal?.aborted === true || disposing !== undefined) return Promise.reject(why(signal))
    return new Promise<Out>((resolve, reject) => {
      const settle = (exit: Exit.Exit<Out, unknown>) => {
        if (Exit.isSuccess(exit)) resolve(exit.value)
        else reject(Cause.isInterruptedOnly(exit.cause) ? why(signal) : identityOf(exit.cause))
      }
      const fiber = ground.fork(
        Effect.suspend(() => invoke(input)),
        { scheduler: PerCallScheduler.make() }
      )
      const ended = fiber.unsafePoll()
      if (ended !== null) return settle(ended)
      const interrupt = () => fiber.unsafeInterruptAsFork(FiberId.none)
      fibers.add(fiber)
      signal?.addEventListener("abort", interrupt, { once: true })
      fiber.addObserver((exit) => {
        fibers.delete(fiber)
        signal?.removeEventListener("abort", interrupt)
        settle(exit)
      })
    })
  }

  const dispose = (): Promise<void> => {
    disposing ??= Effect.runPromise(Effect.suspend(() => Fiber.interruptAll([...fibers]))).then(ground.release)
    return disposing
  }

  return Object.assign(call, { dispose })
}
