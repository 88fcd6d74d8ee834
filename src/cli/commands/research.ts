/**
 * `holdfast research` and `holdfast resume`: what is asked is checked first, then the database is opened while the program is loaded.
 *
 * @since 0.1.0
 */
import { randomBytes } from "node:crypto"
import { resolve } from "node:path"
import * as Effect from "effect/Effect"
import { CheckpointNotFoundError } from "../../checkpoint/CheckpointError.js"
import * as Question from "../../programs/research/Question.js"
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

/** A name that says what it was and when, and that nobody else has. */
const newThread = (ticker: string): string => {
  const time = new Date().toISOString().replace(/[-:]/g, "").replace("T", "-").slice(0, 15)
  return `${ticker.replace(/[^\w]/g, "").toLowerCase() || "research"}-${time}-${randomBytes(2).toString("hex")}`
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
    const threadId = options.thread ?? newThread(prepared.request.ticker)
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
export const resume = (settings: Settings, { json, thread: threadId }: ResumeOptions) =>
  layers
    .ifStored(
      settings,
      Effect.flatMap(program, ({ goOn }) => goOn({ threadId, json, model: settings.model })),
      Effect.fail(new CheckpointNotFoundError({ workflowId: threadId }))
    )
    .pipe(Effect.provide(layers.logging(settings)))
