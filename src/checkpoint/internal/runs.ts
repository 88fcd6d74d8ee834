/**
 * Which run is calling, and is it still running? LangGraph tells a saver neither: it hands each call the run's config. In it stands the run's
 * control, one object for a run and its subgraphs, and the run's abort signal, on which somebody listens from the run's beginning to its end
 * (the reader of its stream, and each step) and nobody after.
 *
 * @internal
 */
import { randomUUID } from "node:crypto"
import { getEventListeners } from "node:events"
import type { RunnableConfig } from "@langchain/core/runnables"
import { AsyncLocalStorageProviderSingleton } from "@langchain/core/singletons"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as ProcessIdentity from "../../database/internal/processIdentity.js"
import type { Lease } from "./leases.js"

/** A run of this process that has, or had, a thread. */
export class Run {
  /** How its lease calls it. */
  readonly name: string
  readonly threadId: string
  #signal: AbortSignal | undefined
  /** Calls of this run that have not been answered. */
  calls = 0
  /** Called when all but one have been. */
  onAlone = () => {}
  /** Looks at which it seemed to be over, in a row. */
  silent = 0
  /** Whether this saver has taken its lease. */
  owns = false
  /** Whether its last checkpoint has been written. It may still write, as long as no other run has come. */
  finished = false
  /** Whether its lease has been given back with that. */
  released = false
  /** When it was first seen here. */
  readonly since = new Date()
  /** Ends when it is known whether it has got its thread. */
  claim: Promise<unknown> = Promise.resolve()
  /** When its lease was last renewed, by `performance.now()`. */
  renewed = performance.now()

  constructor(name: string, threadId: string) {
    this.name = name
    this.threadId = threadId
  }

  /** A later graph of the same run has a signal of its own. */
  listen(signal: AbortSignal | undefined): void {
    if (this.#signal === undefined || !isListenedTo(this.#signal)) this.#signal = signal
  }

  get lives(): boolean {
    return this.calls > 0 || isListenedTo(this.#signal)
  }

  /** Whether it is over but for what it is writing at the moment, as after an abort. */
  get isEnding(): boolean {
    return this.calls > 0 && !isListenedTo(this.#signal)
  }
}

const isListenedTo = (signal: AbortSignal | undefined): boolean =>
  signal !== undefined && !signal.aborted && getEventListeners(signal, "abort").length > 0

/** The runs of this process that have a thread, by the names in their leases. */
const runs = new Map<string, Run>()

/** What this process calls a run, by its control and its thread. */
const names = new WeakMap<object, Map<string, string>>()

/** What a node does on its thread with a config of its own making, such as `graph.updateState`, is its run's: the run that has this thread. */
export const ambient = (threadId: string): Run | undefined => {
  const around: unknown = AsyncLocalStorageProviderSingleton.getRunnableConfig()
  const control = Predicate.hasProperty(around, "control") ? around.control : undefined
  const name = Predicate.isObject(control) ? names.get(control)?.get(threadId) : undefined
  return name === undefined ? undefined : runs.get(name)
}

/** The name of the run that a call belongs to; `undefined` for a call of none, such as `getState` and `updateState`. */
export const nameOf = (config: RunnableConfig, threadId: string): string | undefined => {
  const control: unknown = Reflect.get(config, "control") // LangGraph's, of which LangChain's type knows nothing
  if (!Predicate.isObject(control)) return undefined
  let threads = names.get(control)
  if (threads === undefined) {
    threads = new Map()
    names.set(control, threads)
  }
  let name = threads.get(threadId)
  if (name === undefined) {
    name = randomUUID()
    threads.set(threadId, name)
  }
  return name
}

const Holder = Schema.Struct({
  pid: Schema.Int,
  host: Schema.String,
  started: Schema.optional(Schema.String),
  /** Tells two copies of this module in one process apart, such as those of worker threads. */
  instance: Schema.String
})

const instance = randomUUID()
let self: string | undefined

/** What this process says of itself in a lease. */
export const holder = (): string => {
  self ??= JSON.stringify({ ...ProcessIdentity.current(), instance })
  return self
}

const decode = Schema.decodeUnknownOption(Schema.parseJson(Holder))

/**
 * Whether the run that a lease names is known to be over. `alone`: no other process can have this database open, so the run of any other is.
 */
export const isOver = (lease: Lease, alone: boolean): boolean => {
  const found = Option.getOrUndefined(decode(lease.holder))
  if (found === undefined) return false
  if (found.instance === instance) return runs.get(lease.run)?.lives !== true
  const here = ProcessIdentity.current()
  const isThis = found.pid === here.pid && found.host === here.host && found.started === here.started
  if (isThis) return false
  return alone || !ProcessIdentity.lives({ ...found, started: found.started })
}

/** Whether a lease's run is over but for what it is writing at the moment. */
export const isEnding = (lease: Lease): boolean => runs.get(lease.run)?.isEnding === true

/** The holder of a lease in words. */
export const describe = (lease: Lease): string => {
  const found = Option.getOrUndefined(decode(lease.holder))
  if (found === undefined) return "another process"
  return found.instance === instance ? `this process (${found.pid})` : `process ${found.pid} on ${found.host}`
}

export interface Timing {
  /** How long a lease is good, in milliseconds. It is renewed when a third of it has passed. */
  readonly lease: number
}

/** What is done with leases outside of any call of LangGraph's. It must not reject. */
export interface Upkeep {
  /** Renews leases, and gives the names of the runs that still had theirs. */
  readonly renew: (held: ReadonlyArray<Run>) => Promise<ReadonlyArray<string>>
  readonly release: (ended: ReadonlyArray<Run>) => Promise<void>
}

/** How soon after a call a run is looked at, and at most how long after the last look, in milliseconds. */
const soonest = 4
const latest = 500

/** The leases of one saver. */
export class Held {
  readonly #byName = new Map<string, Run>()
  readonly #byThread = new Map<string, Run>()
  readonly #timing: Timing
  readonly #upkeep: Upkeep
  #timer: NodeJS.Timeout | undefined
  #pause = soonest

  constructor(timing: Timing, upkeep: Upkeep) {
    this.#timing = timing
    this.#upkeep = upkeep
  }

  get(name: string | undefined): Run | undefined {
    return name === undefined ? undefined : this.#byName.get(name)
  }

  /** Another run of this saver that has the thread or is about to take it, and is not over. */
  otherOn(threadId: string, name: string): Run | undefined {
    for (const run of this.#byName.values()) if (run.threadId === threadId && run.name !== name && run.lives) return run
    return undefined
  }

  /** A run of this saver that had the thread and is over, whether or not its lease has been given back. */
  endedOn(threadId: string): Run | undefined {
    const run = this.#byThread.get(threadId)
    return run?.lives === false ? run : undefined
  }

  /** Begins to watch a run, before its lease is taken: should the answer get lost, the lease is given back like any other. */
  add(name: string, threadId: string, signal: AbortSignal | undefined): Run {
    const run = this.#byName.get(name) ?? new Run(name, threadId)
    run.listen(signal)
    this.#byName.set(name, run)
    runs.set(name, run)
    return run
  }

  /** The run has the thread. */
  own(run: Run): void {
    run.owns = true
    run.renewed = performance.now()
    const before = this.#byThread.get(run.threadId)
    if (before !== undefined && before !== run) this.drop(before)
    this.#byThread.set(run.threadId, run)
  }

  drop(run: Run): void {
    this.#byName.delete(run.name)
    runs.delete(run.name)
    if (this.#byThread.get(run.threadId) === run) this.#byThread.delete(run.threadId)
  }

  enter(run: Run): void {
    run.calls++
    run.silent = 0
  }

  /** Ends when no other call of this run is under way. */
  alone(run: Run): Promise<void> {
    return run.calls === 1
      ? Promise.resolve()
      : new Promise((resolve) => {
          run.onAlone = resolve
        })
  }

  leave(run: Run): void {
    run.calls--
    if (run.calls === 1) run.onAlone()
    if (run.finished && run.calls === 0 && !run.released) {
      run.released = true
      void this.#upkeep.release([run])
    }
    this.#pause = soonest
    this.#arm()
  }

  /** All of them: the saver closes. */
  clear(): ReadonlyArray<Run> {
    clearTimeout(this.#timer)
    const all = [...this.#byName.values()]
    for (const run of all) this.drop(run)
    return all.filter((run) => !run.released)
  }

  #arm(): void {
    clearTimeout(this.#timer)
    this.#timer = this.#byName.size === 0 ? undefined : setTimeout(() => this.#look(), this.#pause).unref()
  }

  #look(): void {
    const ended: Array<Run> = []
    const due: Array<Run> = []
    const now = performance.now()
    for (const run of this.#byName.values()) {
      run.silent = run.lives ? 0 : run.silent + 1
      // twice: between a step and the next there may be a moment in which nobody listens
      if (run.silent > 1) ended.push(run)
      else if (!run.released && now - run.renewed > this.#timing.lease / 3) due.push(run)
    }
    for (const run of ended) this.drop(run)
    const unreleased = ended.filter((run) => !run.released)
    if (unreleased.length > 0) void this.#upkeep.release(unreleased)
    if (due.length > 0) {
      for (const run of due) run.renewed = now
      void this.#upkeep.renew(due)
    }
    this.#pause = Math.min(this.#pause * 2, latest, Math.max(soonest, this.#timing.lease / 6))
    this.#arm()
  }
}
