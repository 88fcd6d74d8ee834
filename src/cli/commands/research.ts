/**
 * `holdfast research`, and `holdfast resume` of what it has run: what is asked is checked first, then the database is opened while the program is loaded.
 *
 * @since 0.1.0
 */
import { resolve } from "node:path"
import * as Effect from "effect/Effect"
import * as Question from "../../programs/research/Question.js"
import { threadName } from "../internal/threadName.js"
import * as layers from "../layers.js"
import type { Settings } from "../Settings.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface ResearchOptions extends Question.Question {
  readonly thread?: string | undefined
  readonly json: boolean
}

/**
 * @since 0.1.0
 * @category models
 */
export interface ResumeOptions {
  readonly thread: string
  readonly json: boolean
}

const program = Effect.promise(() => import("../program.js"))

/**
 * Runs the research program from the start. Everything that can be wrong with the question is found before the database is opened.
 *
 * @since 0.1.0
 * @category commands
 */
export const research = (settings: Settings, options: ResearchOptions) =>
  Effect.gen(function* () {
    const prepared = yield* Question.prepare({
      ...options,
      prices: options.prices === undefined ? undefined : resolve(options.prices)
    })
    const threadId = options.thread ?? threadName(prepared.request.ticker)
    yield* Effect.flatMap(program, ({ start }) =>
      start(prepared, { threadId, json: options.json, model: settings.model, named: options.thread !== undefined })
    ).pipe(Effect.provide(layers.running(settings)))
  }).pipe(Effect.provide(layers.logging(settings)))

/**
 * Goes on with a run at its last checkpoint; one that has ended is only shown again.
 *
 * @since 0.1.0
 * @category commands
 */
export const goOn = (settings: Settings, { json, thread: threadId }: ResumeOptions) =>
  Effect.flatMap(program, (module) => module.goOn({ threadId, json, model: settings.model }))
