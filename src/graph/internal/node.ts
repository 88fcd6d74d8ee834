/**
 * One execution of a node: what LangGraph gave it, and what is kept of it from one try to the next.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as Predicate from "effect/Predicate"
import * as Runtime from "effect/Runtime"
import * as RuntimeFlags from "effect/RuntimeFlags"
import * as Tracer from "effect/Tracer"
import { CurrentRecorder, type OnceError, type Recorder, type Slot } from "../../agent/Agent.js"
import * as ErrorInfo from "../../observability/ErrorInfo.js"
import * as PerRunScheduler from "../../observability/internal/contextScheduler.js"
import * as observing from "../../observability/internal/observed.js"
import * as Observation from "../../observability/Observation.js"
import * as SpanCarrier from "../../observability/SpanCarrier.js"
import * as Failure from "../../resilience/Failure.js"
import * as rewinding from "../../resilience/internal/rewind.js"
import { describe } from "../failures.js"
import type { Config } from "../models.js"
import * as once from "./once.js"
import * as running from "./run.js"

/** LangGraph's own count of what a task has asked, called and begun. */
interface Scratchpad {
  interruptCounter: number
  callCounter: number
  subgraphCounter: number
}

const isScratchpad = (u: unknown): u is Scratchpad =>
  Predicate.hasProperty(u, "interruptCounter") && typeof u.interruptCounter === "number"

const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined)

export class Node implements rewinding.Service, Recorder {
  readonly name: string
  readonly config: Config
  readonly run: running.Run | undefined
  /** Whether the first mark is that of the node's own policy, which tries all of it again. */
  readonly whole: boolean
  /** Whether it is tried again: a graph inside goes on from its checkpoint, and is not given its input twice. */
  again = false
  readonly #scratchpad: Scratchpad | undefined
  #marks = 0
  #recorder: Recorder | undefined

  constructor(name: string, config: Config, whole: boolean) {
    this.name = name
    this.config = config
    this.whole = whole
    this.run = running.of(config.configurable)
    const scratchpad = config.configurable?.["__pregel_scratchpad"]
    this.#scratchpad = isScratchpad(scratchpad) ? scratchpad : undefined
  }

  get step(): number {
    const step = this.config.metadata?.["langgraph_step"]
    return typeof step === "number" ? step : -1
  }

  get taskId(): string | undefined {
    return text(this.config.configurable?.["__pregel_task_id"])
  }

  get namespace(): string {
    return text(this.config.configurable?.["checkpoint_ns"]) ?? ""
  }

  /** What it keeps records with is made when it is asked for, as most nodes do without. */
  open<A, E, R>(key: string, use: (slot: Slot) => Effect.Effect<A, E, R>): Effect.Effect<A, E | OnceError, R> {
    this.#recorder ??= once.make(this)
    return this.#recorder.open(key, use)
  }

  /**
   * A person who was asked in a try that failed is not asked again by the next. Where the whole node is tried again, its tasks and graphs are
   * those of the try before, too; a part of it may run beside others, whose tasks must not be taken for its own.
   */
  mark(): rewinding.Mark {
    const whole = this.whole && this.#marks++ === 0
    const scratchpad = this.#scratchpad
    const { callCounter = 0, interruptCounter = -1, subgraphCounter = 0 } = scratchpad ?? {}
    let furthest = interruptCounter
    return {
      back: (cause, attempt) => {
        if (scratchpad !== undefined) {
          furthest = Math.max(furthest, scratchpad.interruptCounter)
          scratchpad.interruptCounter = interruptCounter
          if (whole) {
            scratchpad.callCounter = callCounter
            scratchpad.subgraphCounter = subgraphCounter
          }
        }
        this.again ||= whole
        this.run?.onRetry?.({
          node: this.name,
          namespace: this.namespace,
          taskId: this.taskId,
          attempt,
          failure: describe(this.name, this.step, cause, Failure.fromCause(cause))
        })
      },
      // a fallback's question is not the first way's: it does not get its answer
      on: () => {
        if (scratchpad !== undefined) scratchpad.interruptCounter = Math.max(furthest, scratchpad.interruptCounter)
      }
    }
  }

  /** Something that failed for good. */
  failed(cause: Cause.Cause<unknown>, failure: Failure.Failure): void {
    if (this.taskId !== undefined) this.run?.failures.set(this.taskId, describe(this.name, this.step, cause, failure))
  }
}

/** The node that runs; none outside of one. */
export class CurrentNode extends Context.Reference<CurrentNode>()("holdfast/graph/CurrentNode", {
  defaultValue: (): Node | undefined => undefined
}) {}

/** A run that was aborted has not failed: LangGraph's own nodes say so by this name. */
class AbortError extends Error {
  override readonly name = "AbortError"
}

/** LangGraph writes into what a node throws: it must be an extensible Error. */
export const throwable = (cause: Cause.Cause<unknown>): Error => {
  if (Cause.isInterruptedOnly(cause)) return new AbortError("Abort")
  // under a span Effect fails with a proxy of the error
  const error = Cause.originalError(Cause.squash(cause))
  if (error instanceof Cause.UnknownException && error.error instanceof Error) return error.error
  return error instanceof Error && Object.isExtensible(error)
    ? error
    : new Error(ErrorInfo.message(error), { cause: error })
}

const anyFailure = (): Failure.Failure => ({ kind: "permanent", reason: "failed" })

const chain = Observation.attributes({ type: "chain" })

/** The observation of a node, made by hand: as an Effect it costs twice as much. */
const observed = <A, E, R>(node: Node, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.withFiberRuntime<A, E, R>((fiber) =>
    observing.isObserved(fiber) && observing.isOpen(fiber)
      ? observing.span(effect, "", noOptions, observing.opening(fiber)(`node_${node.name}`, chain, fiber.currentSpan))
      : effect
  )

const noOptions = (): Observation.Options => ({})

/** Where a node's observation stands, and which tracer sees it. */
export type Ground =
  /** The run's own runtime: its tracer is there. */
  | "run"
  /** Another one, under whatever the config carries. Without that nothing is seen. */
  | "carried"
  /** Another one, whose tracer sees it also where the config carries nothing. */
  | "own"

const observe = <A, E, R>(node: Node, effect: Effect.Effect<A, E, R>, ground: Ground): Effect.Effect<A, E, R> => {
  const { configurable } = node.config
  const carried = SpanCarrier.fromConfigurable(configurable)._tag === "Some"
  // what the config says of the trace, the run's runtime has too
  if (ground === "run") return observed(node, effect)
  const said = Observation.withConfig(observed(node, effect), node.config)
  if (!carried) return ground === "own" ? said : effect
  // a span is only added: R is as it was
  return SpanCarrier.under(configurable)(said) as Effect.Effect<A, E, R>
}

/**
 * Runs an effect as a node: the run's abort signal interrupts it, and the run waits for its finalizers. What it fails with is thrown as it is, so that
 * LangGraph knows its own signals again.
 */
export const execute = <A, E, R>(
  runtime: Runtime.Runtime<R>,
  node: Node,
  effect: Effect.Effect<A, E, R>,
  ground: Ground
): Promise<A> => {
  const { run } = node
  if (run?.lost !== undefined) return Promise.reject(run.lost.error)
  const { signal } = node.config
  // one map in place of three
  const services = new Map(runtime.context.unsafeMap)
  for (const { key } of [CurrentNode, CurrentRecorder, rewinding.Rewind]) services.set(key, node)
  const above: unknown = node.config.configurable?.[SpanCarrier.key]
  if (ground === "run" && above !== undefined) services.set(Tracer.ParentSpan.key, above)
  const context: Context.Context<R> = Context.unsafeMake(services)
  // a node made, or a run begun, where nothing may be interrupted can be interrupted all the same
  const runtimeFlags = RuntimeFlags.enable(runtime.runtimeFlags, RuntimeFlags.Interruption)
  const inside = Runtime.make({ context, fiberRefs: runtime.fiberRefs, runtimeFlags })
  return new Promise<A>((resolve, reject) => {
    const fiber = Runtime.runFork(inside, observe(node, effect, ground), { scheduler: PerRunScheduler.make() })
    const interrupt = () => fiber.unsafeInterruptAsFork(FiberId.none)
    run?.fibers.add(fiber)
    fiber.addObserver((exit) => {
      run?.fibers.delete(fiber)
      signal?.removeEventListener("abort", interrupt)
      if (Exit.isSuccess(exit)) return resolve(exit.value)
      const error = throwable(exit.cause)
      const failure = Failure.fromCause(exit.cause, anyFailure)
      if (Failure.isReal(failure) && run !== undefined) {
        run.thrown.set(error, node.name)
        node.failed(exit.cause, Failure.fromCause(exit.cause))
      }
      reject(error)
    })
    if (signal?.aborted === true) interrupt()
    else signal?.addEventListener("abort", interrupt, { once: true })
  })
}
