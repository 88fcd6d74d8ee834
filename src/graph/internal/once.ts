/**
 * Records of what is done once, with the thread: each is a small checkpoint in a namespace of its own, through the graph's own checkpointer. So it is on
 * any database that the thread is on, encrypted and fenced as the thread is, deleted with it, and pruned with the checkpoint it belongs to.
 *
 * @internal
 */
import { createHash } from "node:crypto"
import type { RunnableConfig } from "@langchain/core/runnables"
import type { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint"
import { emptyCheckpoint } from "@langchain/langgraph-checkpoint"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import { OnceError, type Recorder, type Slot } from "../../agent/Agent.js"
import type { Config } from "../models.js"
import * as guard from "./guard.js"

/** What of a node is asked here. */
export interface Asking {
  readonly name: string
  readonly config: Config
  readonly step: number
  readonly namespace: string
}

interface Kept {
  readonly result: unknown
  /** The checkpoint from which the node was run that did it. */
  readonly checkpointId: string
  readonly checkpointNs: string
}

const channel = "holdfast_once"

const isSaver = (u: unknown): u is BaseCheckpointSaver =>
  Predicate.hasProperty(u, "getTuple") && Predicate.hasProperty(u, "put") && typeof u.put === "function"

const isKept = (u: unknown): u is Kept => Predicate.hasProperty(u, "checkpointId") && "checkpointNs" in u

/** The field of `configurable` in which a node says to the graphs inside it who they are, without the ids that another try of a lost step changes. */
export const pathKey = "__holdfast_path"

interface Path {
  readonly namespace: string
  readonly path: string
}

const parentOf = (namespace: string): string => namespace.slice(0, Math.max(0, namespace.lastIndexOf("|")))

/** Which of the executions of its thread this is: the same for the same node in the same step. */
const pathOf = ({ config, name, namespace, step }: Asking): string => {
  const parent = parentOf(namespace)
  const carried: unknown = config.configurable?.[pathKey]
  const above =
    Predicate.hasProperty(carried, "namespace") &&
    carried.namespace === parent &&
    Predicate.hasProperty(carried, "path")
      ? String(carried.path)
      : parent
  return JSON.stringify([above, step, name, config.metadata?.["langgraph_path"]])
}

/** What a node says to the graphs inside it; worked out when one of them asks, as few do. */
class Said implements Path {
  readonly #node: Asking
  constructor(node: Asking) {
    this.#node = node
  }
  get namespace(): string {
    return this.#node.namespace
  }
  get path(): string {
    return pathOf(this.#node)
  }
  /** A configurable may be printed. */
  toJSON(): string {
    return this.path
  }
}

export const within = (node: Asking): Path => new Said(node)

export const make = (node: Asking): Recorder => {
  const { config, namespace } = node
  const configurable = config.configurable ?? {}
  // its failures are this effect's own, and do not end the run
  const saver = guard.bare(configurable["__pregel_checkpointer"])
  const threadId = configurable["thread_id"]
  const parents: unknown = configurable["checkpoint_map"]
  const checkpointNs = parentOf(namespace)
  const found = Predicate.hasProperty(parents, checkpointNs) ? parents[checkpointNs] : undefined
  const checkpointId = typeof found === "string" ? found : undefined
  const path = pathOf(node)
  const locks = new Map<string, Effect.Semaphore>()
  /** What was done and could not be recorded yet. */
  const done = new Map<string, unknown>()

  /** A record's place. Another branch of the thread that has come to the same step has a place of its own: the next generation. */
  const place = (key: string, generation: number): string =>
    createHash("sha256")
      .update(JSON.stringify([threadId, path, key, generation]))
      .digest("hex")
      .slice(0, 32)

  // LangGraph's own config, by which a checkpointer knows the run
  const at = (checkpoint_ns: string, checkpoint_id?: string): RunnableConfig =>
    ({ ...config, configurable: { ...configurable, checkpoint_ns, checkpoint_id } }) as RunnableConfig

  const recordNs = (id: string): string => `holdfast_once:${id}`

  const use = <A, E, R>(
    to: BaseCheckpointSaver,
    here: string,
    key: string,
    work: (slot: Slot) => Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | OnceError, R> => {
    const read = (ns: string, id?: string) =>
      Effect.tryPromise({
        try: () => to.getTuple(at(ns, id)),
        catch: (cause) => new OnceError({ reason: "Unreadable", key, cause })
      })

    const record =
      (id: string) =>
      (result: unknown): Effect.Effect<void, OnceError> =>
        Effect.suspend(() => {
          done.set(id, result)
          const kept: Kept = { result, checkpointId: here, checkpointNs }
          const checkpoint = {
            ...emptyCheckpoint(),
            channel_values: { [channel]: kept },
            channel_versions: { [channel]: 1 }
          }
          // to the checkpointer it is like a step of a graph inside the node
          const metadata = {
            source: "update" as const,
            step: node.step,
            parents: Object.fromEntries(Object.entries(parents ?? {})) as Record<string, string>
          }
          return Effect.tryPromise({
            try: () => to.put(at(recordNs(id)), checkpoint, metadata, { [channel]: 1 }),
            catch: (cause) => new OnceError({ reason: "Unrecorded", key, idempotencyKey: id, cause })
          })
        }).pipe(
          Effect.tap(() => Effect.sync(() => done.delete(id))),
          Effect.asVoid
        )

    /**
     * A record of this very checkpoint is the node's own. So is one of a checkpoint that was lost, with a process that wrote them late: its step is done
     * over. One of a checkpoint that stands belongs to a branch that the thread was forked from.
     */
    const look = (generation: number): Effect.Effect<Slot, OnceError> => {
      const id = place(key, generation)
      const slot = (found: Option.Option<unknown>): Slot => ({ idempotencyKey: id, found, record: record(id) })
      if (done.has(id)) {
        const result = done.get(id)
        return Effect.as(record(id)(result), slot(Option.some(result)))
      }
      return Effect.flatMap(read(recordNs(id)), (tuple) => {
        const kept: unknown = tuple?.checkpoint.channel_values[channel]
        if (!isKept(kept)) return Effect.succeed(slot(Option.none()))
        if (kept.checkpointId === here) return Effect.succeed(slot(Option.some(kept.result)))
        return Effect.flatMap(read(kept.checkpointNs, kept.checkpointId), (other) =>
          other === undefined ? Effect.succeed(slot(Option.some(kept.result))) : look(generation + 1)
        )
      })
    }
    return Effect.flatMap(look(0), work)
  }

  return {
    open: (key, work) =>
      Effect.suspend(() => {
        if (!isSaver(saver) || threadId === undefined || checkpointId === undefined) {
          return new OnceError({ reason: "NoRecord", key })
        }
        const lock = locks.get(key) ?? Effect.unsafeMakeSemaphore(1)
        locks.set(key, lock)
        return lock.withPermits(1)(use(saver, checkpointId, key, work))
      })
  }
}
