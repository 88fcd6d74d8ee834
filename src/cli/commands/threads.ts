/**
 * `holdfast threads` and `holdfast history`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { CheckpointNotFoundError } from "../../checkpoint/CheckpointError.js"
import type * as Checkpointer from "../../checkpoint/Checkpointer.js"
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
  Effect.suspend(() => terminal.write(process.stdout, `${json ? JSON.stringify(value, null, 2) : text()}\n`))

/** Asks the store, which is loaded then. */
const checkpointer = <A, E>(
  ask: (service: Checkpointer.Service) => Effect.Effect<A, E>
): Effect.Effect<A, E, Checkpointer.Checkpointer> =>
  Effect.flatMap(
    Effect.promise(() => import("../../checkpoint/Checkpointer.js")),
    (module) => Effect.flatMap(module.Checkpointer, ask)
  )

/**
 * Lists the stored runs, that with the newest checkpoint first.
 *
 * @since 0.1.0
 * @category commands
 */
export const threads = (settings: Settings, { json, limit }: ListOptions) =>
  layers
    .ifStored(
      settings,
      checkpointer((store) => store.threads({ limit })),
      Effect.succeed<ReadonlyArray<Checkpointer.Thread>>([])
    )
    .pipe(
      Effect.flatMap((found) =>
        print(json, found, () =>
          found.length === 0
            ? "nothing is stored yet; `holdfast research` makes a first run"
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

/**
 * Lists a run's checkpoints, the newest first.
 *
 * @since 0.1.0
 * @category commands
 */
export const history = (settings: Settings, { json, limit, thread }: ListOptions & { readonly thread: string }) =>
  layers
    .ifStored(
      settings,
      checkpointer((store) => store.history(thread, { limit })),
      Effect.fail(new CheckpointNotFoundError({ workflowId: thread }))
    )
    .pipe(
      Effect.flatMap((entries) =>
        print(json, entries, () =>
          terminal.columns([
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
      Effect.provide(layers.logging(settings))
    )
