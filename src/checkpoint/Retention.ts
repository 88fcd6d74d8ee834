/**
 * How long checkpoints are kept: pruning a thread's history, removing threads that nobody has used for a time, by hand or by a sweeper in the
 * background, and copying a thread. For the threads of graphs and for the saves of workflows alike; knows no LangGraph.
 *
 * Nothing that is still needed goes: a value that another checkpoint holds stays, and so do the ancestors from which a delta channel is put
 * together, and the checkpoints of subgraphs that belong to one that stays. A thread that a run has at the moment is left alone.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import type { DatabaseError } from "../database/DatabaseError.js"
import { CheckpointError, type CheckpointNotFoundError } from "./CheckpointError.js"
import type * as Encryption from "./Encryption.js"
import * as Codec from "./internal/codec.js"
import * as store from "./internal/store.js"

/**
 * At least one of `keep` and `olderThan`; with both a checkpoint goes only if both say so.
 *
 * @since 0.1.0
 * @category models
 */
export interface PruneOptions {
  /** Default: all threads. */
  readonly threadId?: string | undefined
  /** How many of the newest stay, at least 1; of a subgraph's, for each checkpoint that they belong to. Default: 1. */
  readonly keep?: number | undefined
  /** Only what was made longer ago than this, or before this time, goes. Default: whatever `keep` does not keep. */
  readonly olderThan?: Duration.DurationInput | Date | undefined
  /** Whether only to say what would go. Default: `false`. */
  readonly dryRun?: boolean | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface ExpireOptions {
  /** Threads go of which all was made longer ago than this, or before this time. */
  readonly olderThan: Duration.DurationInput | Date
  /** Default: all threads. */
  readonly threadId?: string | undefined
  /** Whether only to say what would go. Default: `false`. */
  readonly dryRun?: boolean | undefined
}

/**
 * What became of a thread, or would.
 *
 * @since 0.1.0
 * @category models
 */
export interface Outcome {
  readonly threadId: string
  /** Whether a run has the thread; then it was left alone. */
  readonly busy: boolean
  /** Checkpoints that went, with those of subgraphs. */
  readonly removed: number
  /** Checkpoints that stay. */
  readonly kept: number
  /** The bytes of what went, as they were stored. */
  readonly bytes: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Report {
  /** The threads of which something went, and those that were busy, in the order of their names. */
  readonly threads: ReadonlyArray<Outcome>
  /** How many threads were looked at. */
  readonly looked: number
  readonly removed: number
  /** Checkpoints that stay in the threads that were looked at; of `expire` in those that were busy. */
  readonly kept: number
  readonly bytes: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface SweepOptions {
  /** Threads go that nobody has written to for so long. Default: none go. */
  readonly ttl?: Duration.DurationInput | undefined
  /** How many of the newest checkpoints of each thread stay. Default: all, or 1 with `olderThan`. */
  readonly keep?: number | undefined
  /** Which checkpoints of the threads that stay go, see {@link PruneOptions}. Default: whatever `keep` does not keep. */
  readonly olderThan?: Duration.DurationInput | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * Thins the history of a thread, or of all. The newest checkpoint of a thread always stays. Fails with {@link CheckpointError}: `Invalid` for
   * options that say nothing. Safe beside writers; a big thread goes in pieces.
   */
  readonly prune: (options: PruneOptions) => Effect.Effect<Report, CheckpointError>
  /** Removes whole threads that are old. */
  readonly expire: (options: ExpireOptions) => Effect.Effect<Report, CheckpointError>
  /**
   * Copies a thread as it is at one moment, with its history, forks, subgraphs and pending writes, and gives the number of its checkpoints. Fails
   * with {@link CheckpointError}: `Invalid` when the new one is stored already, `Key` when a value does not open; and with
   * {@link CheckpointNotFoundError}. Nothing is copied then.
   */
  readonly copyThread: (from: string, to: string) => Effect.Effect<number, CheckpointError | CheckpointNotFoundError>
  /** Removes a thread, whatever its age. A run that has it finds that its writes are refused. */
  readonly deleteThread: (threadId: string) => Effect.Effect<void, CheckpointError>
  /** Expires and prunes all threads, as the sweeper does. */
  readonly sweep: (options: SweepOptions) => Effect.Effect<Report, CheckpointError>
}

/**
 * @since 0.1.0
 * @category tags
 * @example
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Database, Retention } from "holdfast"
 *
 * const program = Effect.gen(function* () {
 *   const retention = yield* Retention.Retention
 *   const { bytes, removed } = yield* retention.prune({ keep: 10, olderThan: "30 days" })
 *   yield* Effect.log(`${removed} checkpoints and ${bytes} bytes less`)
 * }).pipe(Effect.provide(Retention.layer().pipe(Layer.provide(Database.layer))))
 * ```
 */
export class Retention extends Context.Tag("holdfast/Retention")<Retention, Service>() {}

const invalid = (operation: string, problem: string): CheckpointError =>
  new CheckpointError({ reason: "Invalid", operation, message: `The ${operation} failed: ${problem}` })

const checkId = (operation: string, name: string, id: string | undefined): Effect.Effect<void, CheckpointError> =>
  id === undefined || (id !== "" && Codec.isStorable(id))
    ? Effect.void
    : Effect.fail(
        invalid(operation, `the ${name} ${JSON.stringify(id)} is none that is stored: give the id of a thread`)
      )

/** The time before which something is old, in milliseconds since 1970. */
const before = (operation: string, age: Duration.DurationInput | Date): Effect.Effect<number, CheckpointError> =>
  Effect.gen(function* () {
    if (age instanceof Date) {
      return Number.isNaN(age.getTime()) ? yield* invalid(operation, "the date is none") : age.getTime()
    }
    const duration = Either.try(() => Duration.decode(age))
    // which Effect reads as 0: everything would be old
    const isNegative = typeof age === "string" ? age.trim().startsWith("-") : typeof age === "number" && age < 0
    if (isNegative || Either.isLeft(duration) || !Duration.isFinite(duration.right)) {
      return yield* invalid(operation, `an age must be a duration such as "30 days", not ${JSON.stringify(age)}`)
    }
    return (yield* Clock.currentTimeMillis) - Duration.toMillis(duration.right)
  })

const add = (report: Report, outcome: Outcome | undefined): Report => ({
  threads:
    outcome !== undefined && (outcome.busy || outcome.removed > 0) ? [...report.threads, outcome] : report.threads,
  looked: report.looked + 1,
  removed: report.removed + (outcome?.removed ?? 0),
  kept: report.kept + (outcome?.kept ?? 0),
  bytes: report.bytes + (outcome?.bytes ?? 0)
})

const nothing: Report = { threads: [], looked: 0, removed: 0, kept: 0, bytes: 0 }

/** The embedded database answers within one turn of the event loop, and there is a program beside us. */
const elsewhere = Effect.async<void>((resume) => void setImmediate(() => resume(Effect.void)))

/** As a store has it, for whoever has a store. */
const fromStore = (
  rows: Pick<store.Store, "maintenance" | "deleteThread">,
  encryption: Encryption.Encryption | undefined
): Service => {
  /** One thread after another; a page of names at a time. */
  const each = <A>(
    read: (after: string | undefined) => Effect.Effect<ReadonlyArray<A>, CheckpointError>,
    id: (item: A) => string,
    handle: (item: A) => Effect.Effect<Outcome | undefined, CheckpointError>
  ): Effect.Effect<Report, CheckpointError> =>
    Effect.gen(function* () {
      let report = nothing
      let after: string | undefined
      while (true) {
        const items = yield* read(after)
        for (const item of items) {
          report = add(report, yield* handle(item))
          yield* elsewhere
        }
        const last = items.at(-1)
        if (last === undefined) return report
        after = id(last)
      }
    })

  const policyOf = (operation: string, { keep = 1, olderThan }: Pick<PruneOptions, "keep" | "olderThan">) =>
    Effect.gen(function* () {
      if (!Number.isSafeInteger(keep) || keep < 1)
        return yield* invalid(operation, `keep must be a whole number from 1, not ${keep}`)
      return { keep, since: olderThan === undefined ? Number.POSITIVE_INFINITY : yield* before(operation, olderThan) }
    })

  const prune: Service["prune"] = ({ dryRun = false, keep, olderThan, threadId }) =>
    Effect.gen(function* () {
      if (keep === undefined && olderThan === undefined)
        return yield* invalid("prune", "say what is to go: give keep, olderThan or both")
      yield* checkId("prune", "thread", threadId)
      const policy = yield* policyOf("prune", { keep, olderThan })
      const upkeep = yield* rows.maintenance
      return threadId === undefined
        ? yield* each(
            upkeep.threads,
            (id) => id,
            (id) => upkeep.prune(id, policy, dryRun)
          )
        : add(nothing, yield* upkeep.prune(threadId, policy, dryRun))
    })

  const expire: Service["expire"] = ({ dryRun = false, olderThan, threadId }) =>
    Effect.gen(function* () {
      yield* checkId("expire", "thread", threadId)
      const time = new Date(yield* before("expire", olderThan)).toISOString()
      const upkeep = yield* rows.maintenance
      if (threadId !== undefined) return add(nothing, yield* upkeep.expire(threadId, time, dryRun))
      return yield* each(
        (after) => upkeep.idle(after, time),
        ({ id }) => id,
        ({ id, idle }) => (idle ? upkeep.expire(id, time, dryRun) : Effect.succeed(undefined))
      )
    })

  return {
    prune,
    expire,
    copyThread: (from, to) =>
      Effect.gen(function* () {
        yield* checkId("copyThread", "thread", from)
        yield* checkId("copyThread", "new thread", to)
        return yield* (yield* rows.maintenance).copyThread(from, to, encryption)
      }),
    deleteThread: (threadId) =>
      Effect.zipRight(checkId("deleteThread", "thread", threadId), rows.deleteThread(threadId)),
    sweep: ({ keep, olderThan, ttl }) =>
      Effect.gen(function* () {
        const expired = ttl === undefined ? nothing : yield* expire({ olderThan: ttl })
        const pruned = keep === undefined && olderThan === undefined ? nothing : yield* prune({ keep, olderThan })
        return {
          threads: [...expired.threads, ...pruned.threads],
          looked: Math.max(expired.looked, pruned.looked),
          removed: expired.removed + pruned.removed,
          kept: expired.kept + pruned.kept,
          bytes: expired.bytes + pruned.bytes
        }
      })
  }
}

/**
 * @internal
 */
export const overStore: (
  rows: Pick<store.Store, "maintenance" | "deleteThread">,
  encryption: Encryption.Encryption | undefined
) => Service = fromStore

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The schema of the tables; made if it is missing. Default: `public`. */
  readonly schema?: string | undefined
  /** The keys with which a thread's encrypted values are opened and closed when it is copied. Default: none; all else needs none. */
  readonly encryption?: Encryption.Encryption | undefined
}

/**
 * Sets the tables up, unless they stand. Fails with `DatabaseError` when they cannot be set up.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options = {}
): Effect.Effect<Service, CheckpointError | DatabaseError, SqlClient.SqlClient> =>
  Effect.map(store.make(options.schema), (rows) => fromStore(rows, options.encryption))

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options = {}
): Layer.Layer<Retention, CheckpointError | DatabaseError, SqlClient.SqlClient> =>
  Layer.effect(Retention, make(options))

/**
 * What sweepers of this process have removed.
 *
 * @since 0.1.0
 * @category metrics
 */
export const removedCheckpoints: Metric.Metric.Counter<number> = Metric.counter(
  "holdfast_sweeper_removed_checkpoints",
  {
    description: "Checkpoints that the sweeper has removed",
    incremental: true
  }
)

/**
 * @since 0.1.0
 * @category models
 */
export interface SweeperOptions extends SweepOptions {
  /** The schema of the tables. Default: `public`. */
  readonly schema?: string | undefined
  /** From the end of one sweep to the next; the first one is made at once. Default: 1 hour. */
  readonly interval?: Duration.DurationInput | undefined
}

/** One sweep, if it is this process's turn. */
const turn = (service: Service, rows: store.Store, options: SweeperOptions, seconds: number) =>
  Effect.gen(function* () {
    const upkeep = yield* rows.maintenance
    const name = yield* upkeep.claimSweep(seconds)
    if (name === undefined) return
    // a sweep that takes longer than the interval keeps its turn
    const keeping = Effect.repeat(upkeep.extendSweep(name, seconds), Schedule.spaced(Duration.seconds(seconds / 3)))
    const sweeping = Effect.forkScoped(Effect.ignore(keeping)).pipe(
      Effect.zipRight(service.sweep(options)),
      Effect.scoped
    )
    const report = yield* sweeping
    yield* Metric.incrementBy(removedCheckpoints, report.removed)
    yield* Effect.annotateCurrentSpan({
      threads: report.looked,
      checkpoints_removed: report.removed,
      bytes: report.bytes
    })
    if (report.removed > 0) {
      yield* Effect.logInfo(
        `The sweeper has removed ${report.removed} checkpoints of ${report.threads.filter((each) => !each.busy).length} threads (${report.bytes} bytes)`
      )
    }
  }).pipe(Effect.withSpan("sweep_checkpoints", { captureStackTrace: false }))

/**
 * Sweeps in the background until the layer closes: at once, and then after each interval. Of all processes that sweep one schema, one does in
 * each interval. A sweep that fails is a warning in the log, and the next one comes as planned. Dies with a `RangeError` for options that sweep
 * nothing.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { Layer } from "effect"
 * import { Database, Retention } from "holdfast"
 *
 * const sweeper = Retention.layerSweeper({ ttl: "30 days", keep: 100, interval: "1 hour" }).pipe(Layer.provide(Database.layer))
 * ```
 */
export const layerSweeper = (
  options: SweeperOptions
): Layer.Layer<never, CheckpointError | DatabaseError, SqlClient.SqlClient> =>
  Layer.scopedDiscard(
    Effect.gen(function* () {
      const interval = Duration.decode(options.interval ?? "1 hour")
      if (!Duration.greaterThan(interval, Duration.zero) || !Duration.isFinite(interval)) {
        return yield* Effect.die(new RangeError("the sweeper's interval must be above 0 and finite"))
      }
      const { keep, olderThan, ttl } = options
      if (keep === undefined && olderThan === undefined && ttl === undefined) {
        return yield* Effect.die(new RangeError("the sweeper has nothing to sweep: give ttl, keep or olderThan"))
      }
      const rows = yield* store.make(options.schema)
      const service = fromStore(rows, undefined)
      // shorter than the interval, so that the process that swept last is not too early for the next
      const seconds = Duration.toSeconds(interval) * 0.9
      yield* turn(service, rows, options, seconds).pipe(
        Effect.catchAllCause((cause) =>
          Effect.logWarning("A sweep of old checkpoints failed; the next one comes as planned", cause)
        ),
        Effect.repeat(Schedule.spaced(interval)),
        Effect.forkScoped
      )
    })
  )
