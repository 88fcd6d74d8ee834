/**
 * `holdfast fork` and `holdfast delete`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import { CheckpointError, CheckpointNotFoundError, ThreadBusyError } from "../../checkpoint/CheckpointError.js"
import * as Retention from "../../checkpoint/Retention.js"
import { invocation } from "../internal/invocation.js"
import * as json from "../internal/json.js"
import * as terminal from "../internal/terminal.js"
import * as layers from "../layers.js"
import type * as Project from "../Project.js"
import type { Settings } from "../Settings.js"
import { UsageError } from "../UsageError.js"
import * as run from "./run.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface ForkOptions {
  readonly thread: string
  /** A checkpoint's id, or as much of it as no other has. */
  readonly checkpoint: string
  /** `JSON|@file|-`. */
  readonly set: string | undefined
  readonly asNode: string | undefined
  readonly module: string | undefined
  readonly json: boolean
}

const stores = Effect.promise(() => import("../../checkpoint/Checkpointer.js"))
const graphs = Effect.promise(() => import("../../graph/Graph.js"))

/** The one checkpoint that is meant. */
const find = (threadId: string, checkpoint: string) =>
  Effect.gen(function* () {
    const { Checkpointer } = yield* stores
    const entries = yield* Effect.flatMap(Checkpointer, (store) => store.history(threadId, { limit: 100_000 }))
    const found = entries.filter(({ checkpointId }) => checkpointId.startsWith(checkpoint))
    const [only] = found
    if (only !== undefined && found.length === 1) return only.checkpointId
    return yield* new UsageError({
      message: `the thread "${threadId}" has ${found.length === 0 ? "no checkpoint" : `${found.length} checkpoints whose ids begin with`} ${checkpoint}; \`holdfast history ${threadId}\` lists them`
    })
  })

/**
 * Makes a new checkpoint out of an old one, with values that are set if any are: `holdfast resume` goes on from it. What came after the old one stays.
 *
 * @since 0.1.0
 * @category commands
 */
export const fork = (settings: Settings, project: Project.Project, options: ForkOptions) =>
  Effect.gen(function* () {
    const { asNode, thread: threadId } = options
    const update = options.set === undefined ? undefined : yield* json.read("set", options.set)
    if (update !== undefined && !Predicate.isRecord(update)) {
      return yield* new UsageError({ message: "--set takes an object: the values of channels by their names" })
    }
    const ask = Effect.gen(function* () {
      const checkpointId = yield* find(threadId, options.checkpoint)
      const { loaded } = yield* run.loadFor(project, threadId, options.module)
      const Graph = yield* graphs
      return yield* Graph.fork(loaded.graph, { threadId, checkpointId, update, asNode })
    })
    const made = yield* layers.ifStored(
      settings,
      ask,
      Effect.fail(new CheckpointNotFoundError({ workflowId: threadId }))
    )
    yield* terminal.write(
      process.stdout,
      options.json
        ? `${JSON.stringify({ thread: made.threadId, checkpoint: made.checkpointId })}\n`
        : `${made.checkpointId}\ngo on from it with: ${invocation} resume ${threadId}\n`
    )
  }).pipe(Effect.provide(layers.logging(settings)))

/**
 * @since 0.1.0
 * @category models
 */
export interface DeleteOptions {
  readonly thread: string
  readonly json: boolean
}

/**
 * Removes a thread with all that is stored under it. One that a run is writing stays.
 *
 * @since 0.1.0
 * @category commands
 */
export const remove = (settings: Settings, { json, thread: threadId }: DeleteOptions) =>
  Effect.gen(function* () {
    const ask = Effect.gen(function* () {
      const { Checkpointer } = yield* stores
      const store = yield* Checkpointer
      const count = (yield* store.history(threadId, { limit: 1_000_000 })).length
      const retention = yield* Retention.make()
      const { threads } = yield* retention.prune({ threadId, keep: 1, dryRun: true })
      if (threads.some(({ busy }) => busy)) {
        return yield* new UsageError({ message: `the thread "${threadId}" is being written by a run: stop that first` })
      }
      yield* Effect.tryPromise({
        try: () => store.deleteThread(threadId),
        catch: (error) => error
      }).pipe(Effect.catchAll((error) => (isKnown(error) ? Effect.fail(error) : Effect.die(error))))
      return count
    })
    const count = yield* layers.ifStored(
      settings,
      ask,
      Effect.fail(new CheckpointNotFoundError({ workflowId: threadId }))
    )
    yield* terminal.write(
      process.stdout,
      json
        ? `${JSON.stringify({ thread: threadId, checkpoints: count })}\n`
        : `${threadId} is gone, with ${count} checkpoint${count === 1 ? "" : "s"}\n`
    )
  }).pipe(Effect.provide(layers.logging(settings)))

const isKnown = (error: unknown): error is CheckpointError | ThreadBusyError =>
  error instanceof CheckpointError || error instanceof ThreadBusyError
