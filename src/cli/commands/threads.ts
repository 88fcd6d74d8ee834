/**
 * `holdfast threads` and `holdfast history`.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { CheckpointNotFoundError } from "../../checkpoint/CheckpointError.js"
import type * as Checkpointer from "../../checkpoint/Checkpointer.js"
import * as changes from "../internal/changes.js"
import * as jsonText from "../internal/json.js"
import * as terminal from "../internal/terminal.js"
import * as layers from "../layers.js"
import type { Settings } from "../Settings.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface ListOptions {
  readonly limit: number
  readonly json: boolean
}

const time = (date: Date): string => date.toISOString().replace("T", " ").slice(0, 19)

const print = (json: boolean, value: unknown, text: () => string): Effect.Effect<void> =>
  Effect.suspend(() => terminal.write(process.stdout, `${json ? jsonText.show(value, 2) : text()}\n`))

/** Asks the store, which is loaded then. */
const checkpointer = <A, E>(
  ask: (service: Checkpointer.Service) => Effect.Effect<A, E>
): Effect.Effect<A, E, Checkpointer.Checkpointer> =>
  Effect.flatMap(
    Effect.promise(() => import("../../checkpoint/Checkpointer.js")),
    (module) => Effect.flatMap(module.Checkpointer, ask)
  )

/** How many threads are looked through for those that wait. */
const mostLookedAt = 10_000

/** Those that wait, with what they ask. */
const waitingText = (found: ReadonlyArray<Checkpointer.Thread>): string =>
  found
    .map((each) =>
      [
        `${each.id}  ${time(each.time)}  ${each.next.join(", ")}`,
        ...(each.interrupts.length === 0
          ? ["  stands at a breakpoint"]
          : each.interrupts.map((question) => `  asks: ${jsonText.show(question)}`))
      ].join("\n")
    )
    .join("\n")

/**
 * Lists the stored runs, that with the newest checkpoint first; all of them, or those that wait for a person, with their questions.
 *
 * @since 0.1.0
 * @category commands
 */
export const threads = (settings: Settings, { json, limit, waiting }: ListOptions & { readonly waiting: boolean }) =>
  layers
    .ifStored(
      settings,
      checkpointer((store) => store.threads({ limit: waiting ? mostLookedAt : limit })),
      Effect.succeed<ReadonlyArray<Checkpointer.Thread>>([])
    )
    .pipe(
      Effect.map((found) => (waiting ? found.filter(({ status }) => status === "waiting").slice(0, limit) : found)),
      Effect.flatMap((found) =>
        print(json, found, () =>
          found.length === 0
            ? waiting
              ? "no thread waits for an answer"
              : "nothing is stored yet; `holdfast run` or `holdfast research` makes a first run"
            : waiting
              ? waitingText(found)
              : terminal.columns([
                  ["THREAD", "LAST CHECKPOINT", "STATUS", "NEXT", "CHECKPOINTS"],
                  ...found.map((each) => [
                    each.id,
                    time(each.time),
                    each.status,
                    each.next.length === 0 ? (each.phase ?? "-") : each.next.join(", "),
                    `${each.checkpoints}`
                  ])
                ])
        )
      ),
      Effect.provide(layers.logging(settings))
    )

interface Entry extends Checkpointer.HistoryEntry {
  readonly changes?: ReadonlyArray<changes.Change>
}

/** A checkpoint's values, as they are stored. */
const valuesOf = (store: Checkpointer.Service, threadId: string, checkpointId: string) =>
  Effect.map(
    Effect.tryPromise(() =>
      store.getTuple({ configurable: { thread_id: threadId, checkpoint_ns: "", checkpoint_id: checkpointId } })
    ),
    (tuple): Readonly<Record<string, unknown>> => tuple?.checkpoint.channel_values ?? {}
  )

/** Adds to each entry what its checkpoint has changed. */
const withChanges = (
  store: Checkpointer.Service,
  threadId: string,
  entries: ReadonlyArray<Checkpointer.HistoryEntry>
) =>
  Effect.gen(function* () {
    const known = new Map<string, Readonly<Record<string, unknown>>>()
    const values = (checkpointId: string) =>
      Effect.gen(function* () {
        const found = known.get(checkpointId) ?? (yield* valuesOf(store, threadId, checkpointId))
        known.set(checkpointId, found)
        return found
      })
    const out: Array<Entry> = []
    for (const entry of entries) {
      const before = entry.parentId === undefined ? {} : yield* values(entry.parentId)
      out.push({ ...entry, changes: changes.between(before, yield* values(entry.checkpointId)) })
    }
    return out
  })

/**
 * Lists a run's checkpoints, the newest first, with what each has changed if that is asked for.
 *
 * @since 0.1.0
 * @category commands
 */
export const history = (
  settings: Settings,
  { diff, json, limit, thread }: ListOptions & { readonly thread: string; readonly diff: boolean }
) =>
  layers
    .ifStored(
      settings,
      checkpointer((store) =>
        Effect.flatMap(
          store.history(thread, { limit }),
          (entries): Effect.Effect<ReadonlyArray<Entry>, Cause.UnknownException> =>
            diff ? withChanges(store, thread, entries) : Effect.succeed(entries)
        )
      ),
      Effect.fail(new CheckpointNotFoundError({ workflowId: thread }))
    )
    .pipe(
      Effect.flatMap((entries) => print(json, entries, () => historyText(entries, diff))),
      Effect.provide(layers.logging(settings))
    )

const historyText = (entries: ReadonlyArray<Entry>, diff: boolean): string => {
  const table = terminal.columns([
    ["CHECKPOINT", "TIME", "STEP", "DONE", "NEXT"],
    ...entries.map((each) => [
      each.checkpointId,
      time(each.time),
      `${each.step}`,
      each.nodes.length === 0 ? (each.phase ?? each.source) : each.nodes.join(", "),
      each.next.length === 0 ? "-" : each.next.join(", ")
    ])
  ])
  if (!diff) return table
  const [head = "", ...rows] = table.split("\n")
  return [
    head,
    ...rows.flatMap((row, at) => [row, ...changes.lines(entries[at]?.changes ?? []).map((line) => `    ${line}`)])
  ].join("\n")
}
