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
  /** How often to look at it again soon. */
  looks = 0
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

/** A run on a thread, for as long as LangGraph knows of it. */
export interface Identity {
  /** How its lease calls it. */
  readonly name: string
  /** The lease that was in the way of a write of its; `null` when the thread was gone. Nothing is written after that. */
  lost: Lease | null | undefined
}

/** The runs of this process, by their control and their thread. */
const identities = new WeakMap<object, Map<string, Identity>>()

/** What a node does on its thread with a config of its own making, such as `graph.updateState`, is its run's: the run that has this thread. */
export const ambient = (threadId: string): Identity | undefined => {
  const around: unknown = AsyncLocalStorageProviderSingleton.getRunnableConfig()
  const control = Predicate.hasProperty(around, "control") ? around.control : undefined
  const identity = Predicate.isObject(control) ? identities.get(control)?.get(threadId) : undefined
  return identity !== undefined && runs.has(identity.name) ? identity : undefined
}

/** The run that a call belongs to; `undefined` for a call of none, such as `getState` and `updateState`. */
export const of = (config: RunnableConfig, threadId: string): Identity | undefined => {
  const control: unknown = Reflect.get(config, "control") // LangGraph's, of which LangChain's type knows nothing
  if (!Predicate.isObject(control)) return undefined
  let threads = identities.get(control)
  if (threads === undefined) {
    threads = new Map()
    identities.set(control, threads)
  }
  let identity = threads.get(threadId)
  if (identity === undefined) {
    identity = { name: randomUUID(), lost: undefined }
    threads.set(threadId, identity)
  }
  return identity
}

/** As {@link of}, where a run begins: one that was lost under the same control is another. Within a node nothing begins. */
export const beginning = (config: RunnableConfig, threadId: string): Identity | undefined => {
  const found = of(config, threadId)
  if (found?.lost === undefined || Predicate.hasProperty(config.configurable, "__pregel_read")) return found
  const control: unknown = Reflect.get(config, "control")
  if (Predicate.isObject(control)) identities.get(control)?.delete(threadId)
  return of(config, threadId)
}

const Holder = Schema.Struct({
  pid: Schema.Int,
  host: Schema.String,
  started: Schema.optional(Schema.String),
  /** Within what the pid means it, see `ProcessIdentity.space`. */
  space: Schema.optional(Schema.String),
  /** Tells two copies of this module in one process apart, such as those of worker threads. */
  instance: Schema.String
})

const instance = randomUUID()
let self: string | undefined

/** What this process says of itself in a lease. */
export const holder = (): string => {
  self ??= JSON.stringify({ ...ProcessIdentity.current(), space: ProcessIdentity.space(), instance })
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
  if (!alone && found.space !== ProcessIdentity.space()) return false // no pid of ours
  return alone || !ProcessIdentity.lives({ ...found, started: found.started })
}

/** Whether a lease is that of another process, which says a moment after it that a run has ended. */
export const isElsewhere = (lease: Lease): boolean => Option.getOrUndefined(decode(lease.holder))?.instance !== instance

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

/** After a call a run is looked at this many milliseconds later, a few times: most ends follow on a call. */
const soon = 5
const looks = 3

/** All runs are looked at this often at least, in milliseconds. */
const sweep = 500

/** The leases of one saver. */
export class Held {
  readonly #byName = new Map<string, Run>()
  readonly #byThread = new Map<string, Set<Run>>()
  readonly #timing: Timing
  readonly #upkeep: Upkeep
  /** The runs that have called a moment ago. */
  #recent = new Set<Run>()
  #glance: NodeJS.Timeout | undefined
  #sweep: NodeJS.Timeout | undefined

  constructor(timing: Timing, upkeep: Upkeep) {
    this.#timing = timing
    this.#upkeep = upkeep
  }

  get(name: string | undefined): Run | undefined {
    return name === undefined ? undefined : this.#byName.get(name)
  }

  /** Another run of this saver that has the thread or is about to take it, and is not over. */
  otherOn(threadId: string, name: string): Run | undefined {
    for (const run of this.#byThread.get(threadId) ?? []) if (run.name !== name && run.lives) return run
    return undefined
  }

  /** A run of this saver that had the thread and is over, though its lease may not have been given back. */
  endedOn(threadId: string): Run | undefined {
    for (const run of this.#byThread.get(threadId) ?? []) if (run.owns && !run.lives) return run
    return undefined
  }

  /** Begins to watch a run, before its lease is taken: should the answer get lost, the lease is given back like any other. */
  add(name: string, threadId: string, signal: AbortSignal | undefined): Run {
    const run = this.#byName.get(name) ?? new Run(name, threadId)
    run.listen(signal)
    this.#byName.set(name, run)
    runs.set(name, run)
    const beside = this.#byThread.get(threadId)
    if (beside === undefined) this.#byThread.set(threadId, new Set([run]))
    else beside.add(run)
    return run
  }

  /** The run has the thread. */
  own(run: Run): void {
    run.owns = true
    run.renewed = performance.now()
    for (const other of this.#byThread.get(run.threadId) ?? []) if (other !== run && other.owns) this.drop(other)
  }

  drop(run: Run): void {
    this.#byName.delete(run.name)
    this.#recent.delete(run)
    runs.delete(run.name)
    const beside = this.#byThread.get(run.threadId)
    beside?.delete(run)
    if (beside?.size === 0) this.#byThread.delete(run.threadId)
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
    if (run.calls > 0 || !this.#byName.has(run.name)) return
    if (run.finished) {
      this.drop(run)
      if (!run.released) void this.#upkeep.release([run])
      return
    }
    run.looks = looks
    this.#recent.add(run)
    this.#glance ??= setTimeout(() => this.#glanced(), soon).unref()
    this.#sweep ??= setTimeout(() => this.#swept(), Math.min(sweep, this.#timing.lease / 6)).unref()
  }

  /** All of them: the saver closes. */
  clear(): ReadonlyArray<Run> {
    clearTimeout(this.#glance)
    clearTimeout(this.#sweep)
    const all = [...this.#byName.values()]
    for (const run of all) this.drop(run)
    return all
  }

  /** Looks at those who have called a moment ago. */
  #glanced(): void {
    this.#glance = undefined
    const before = this.#recent
    this.#recent = new Set()
    this.#look(before)
    for (const run of before) {
      run.looks--
      if (run.looks > 0 && this.#byName.has(run.name)) this.#recent.add(run)
    }
    if (this.#recent.size > 0) this.#glance = setTimeout(() => this.#glanced(), soon).unref()
  }

  /** Looks at all of them, and renews. */
  #swept(): void {
    this.#sweep = undefined
    this.#look(this.#byName.values())
    const now = performance.now()
    const due: Array<Run> = []
    for (const run of this.#byName.values()) {
      if (run.owns && run.silent === 0 && now - run.renewed > this.#timing.lease / 3) {
        run.renewed = now
        due.push(run)
      }
    }
    if (due.length > 0) void this.#upkeep.renew(due)
    if (this.#byName.size > 0) {
      this.#sweep = setTimeout(() => this.#swept(), Math.min(sweep, this.#timing.lease / 6)).unref()
    }
  }

  /** Gives the leases of those back that are over. Twice: between a step and the next there may be a moment in which nobody listens. */
  #look(some: Iterable<Run>): void {
    const ended: Array<Run> = []
    for (const run of some) {
      run.silent = run.lives ? 0 : run.silent + 1
      if (run.silent > 1) ended.push(run)
    }
    for (const run of ended) this.drop(run)
    if (ended.length > 0) void this.#upkeep.release(ended)
  }
}
