/**
 * `holdfast threads prune`.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { CheckpointNotFoundError } from "../../checkpoint/CheckpointError.js"
import * as Retention from "../../checkpoint/Retention.js"
import * as terminal from "../internal/terminal.js"
import * as layers from "../layers.js"
import type { Settings } from "../Settings.js"
import { UsageError } from "../UsageError.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface PruneOptions {
  readonly keep: number | undefined
  readonly olderThan: Duration.Duration | undefined
  readonly thread: string | undefined
  /** Whether threads go as a whole, when all of them is older. */
  readonly whole: boolean
  readonly dryRun: boolean
  readonly json: boolean
}

const nothing: Retention.Report = { threads: [], looked: 0, removed: 0, kept: 0, bytes: 0 }

const size = (bytes: number): string => {
  const units = ["B", "kB", "MB", "GB", "TB"]
  const power = bytes < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3))
  return `${power === 0 ? bytes : (bytes / 1000 ** power).toFixed(1)} ${units[power]}`
}

const count = (items: number, word: string): string => `${items} ${word}${items === 1 ? "" : "s"}`

/**
 * What went and what stays, a line a thread and a last one for all.
 *
 * @since 0.1.0
 * @category rendering
 */
export const render = ({ bytes, kept, looked, removed, threads }: Retention.Report, dryRun: boolean): string => {
  const gone = threads.filter((each) => !each.busy || each.removed > 0)
  const busy = threads.filter((each) => each.busy)
  const stays = `${count(kept, "checkpoint")} ${kept === 1 ? "stays" : "stay"}`
  const summary =
    removed === 0
      ? `nothing ${dryRun ? "would go" : "went"} of ${count(looked, "thread")}; ${stays}`
      : `${count(removed, "checkpoint")} of ${count(gone.length, "thread")} ${dryRun ? "would go" : "went"} (${size(bytes)}); ${stays}`
  return [
    ...(gone.length === 0
      ? []
      : [
          terminal.columns([
            ["THREAD", dryRun ? "WOULD GO" : "WENT", dryRun ? "WOULD STAY" : "STAYS", "SIZE"],
            ...gone.map((each) => [each.threadId, `${each.removed}`, `${each.kept}`, size(each.bytes)])
          ])
        ]),
    ...busy.map((each) => `${each.threadId} is being written by a run, and was left alone`),
    summary
  ].join("\n")
}

/** Options that contradict each other, or say nothing. */
const mistake = ({ keep, olderThan, whole }: PruneOptions): string | undefined => {
  if (keep === undefined && olderThan === undefined) {
    return "say what is to go: --keep N, --older-than AGE, or both; see `holdfast threads prune --help`"
  }
  if (!whole) return undefined
  if (olderThan === undefined)
    return "--whole needs --older-than AGE: how long nobody has written to a thread that goes"
  return keep === undefined ? undefined : "--whole removes all of a thread, so --keep cannot go with it"
}

/**
 * Thins the history of the stored threads, or removes those that are old, and says what went and what stays.
 *
 * @since 0.1.0
 * @category commands
 */
export const prune = (settings: Settings, options: PruneOptions) =>
  Effect.gen(function* () {
    const wrong = mistake(options)
    if (wrong !== undefined) return yield* new UsageError({ message: wrong })
    const { dryRun, json, keep, olderThan, thread, whole } = options
    const ask = Effect.gen(function* () {
      const retention = yield* Retention.make()
      if (thread !== undefined) {
        const stored = yield* retention.prune({ threadId: thread, keep: Number.MAX_SAFE_INTEGER, dryRun: true })
        if (stored.kept === 0) return yield* new CheckpointNotFoundError({ workflowId: thread })
      }
      return whole && olderThan !== undefined
        ? yield* retention.expire({ olderThan, threadId: thread, dryRun })
        : yield* retention.prune({ keep, olderThan, threadId: thread, dryRun })
    })
    const absent: Effect.Effect<Retention.Report, CheckpointNotFoundError> =
      thread === undefined ? Effect.succeed(nothing) : Effect.fail(new CheckpointNotFoundError({ workflowId: thread }))
    const report = yield* layers.ifTables(settings, ask, absent)
    const text = json ? JSON.stringify({ dryRun, ...report }, null, 2) : render(report, dryRun)
    yield* terminal.write(process.stdout, `${text}\n`)
  }).pipe(Effect.provide(layers.logging(settings)))
