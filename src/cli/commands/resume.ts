/**
 * `holdfast resume`: finds the program that wrote the thread, and goes on with it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { CheckpointNotFoundError } from "../../checkpoint/CheckpointError.js"
import * as layers from "../layers.js"
import type * as Project from "../Project.js"
import type { Settings } from "../Settings.js"
import { UsageError } from "../UsageError.js"
import * as research from "./research.js"
import * as run from "./run.js"

/**
 * Goes on with a stored thread. A thread that records no program is taken for one of the research program, unless a module is named.
 *
 * @since 0.1.0
 * @category commands
 */
export const resume = (settings: Settings, project: Project.Project, options: run.ResumeOptions) =>
  layers
    .ifStored(
      settings,
      Effect.gen(function* () {
        const { answer, json, module, thread } = options
        if (module !== undefined || (yield* run.isOurs(thread))) return yield* run.resume(project, options)
        if (answer !== undefined) {
          return yield* new UsageError({
            message: `the thread "${thread}" waits for no answer: the research program asks nothing`
          })
        }
        yield* research.goOn(settings, { thread, json })
      }),
      Effect.fail(new CheckpointNotFoundError({ workflowId: options.thread }))
    )
    .pipe(Effect.provide(layers.logging(settings)))
