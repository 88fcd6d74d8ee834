/**
 * `holdfast threads` and `holdfast history`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Checkpointer from "../../checkpoint/Checkpointer.js"
import * as layers from "../layers.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface ListOptions {
  readonly limit: number
  readonly json: boolean
}

const columns = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd()
    )
    .join("\n")
}

const time = (date: Date): string => date.toISOString().replace("T", " ").slice(0, 19)

const print = (json: boolean, value: unknown, text: () => string): Effect.Effect<void> =>
  Effect.sync(() => {
    process.stdout.write(json ? `${JSON.stringify(value, null, 2)}\n` : `${text()}\n`)
  })

/**
 * Lists the stored runs, that with the newest checkpoint first.
 *
 * @since 0.1.0
 * @category commands
 */
export const threads = ({ json, limit }: ListOptions) =>
  layers.ifStored(Checkpointer.threads({ limit }), Effect.succeed<ReadonlyArray<Checkpointer.Thread>>([])).pipe(
    Effect.flatMap((found) =>
      print(json, found, () =>
        found.length === 0
          ? "nothing is stored yet; `holdfast research` makes a first run"
          : columns([
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
    Effect.provide(layers.logging)
  )

/**
 * Lists a run's checkpoints, the newest first.
 *
 * @since 0.1.0
 * @category commands
 */
export const history = ({ json, limit, thread }: ListOptions & { readonly thread: string }) =>
  layers
    .ifStored(
      Checkpointer.history(thread, { limit }),
      Effect.fail(new Checkpointer.CheckpointNotFoundError({ workflowId: thread }))
    )
    .pipe(
      Effect.flatMap((entries) =>
        print(json, entries, () =>
          columns([
            ["CHECKPOINT", "TIME", "STEP", "DONE", "NEXT"],
            ...entries.map((each) => [
              each.checkpointId,
              time(each.time),
              `${each.step}`,
              each.nodes.length === 0 ? (each.phase ?? each.source) : each.nodes.join(", "),
              each.next.length === 0 ? "-" : each.next.join(", ")
            ])
          ])
        )
      ),
      Effect.provide(layers.logging)
    )
