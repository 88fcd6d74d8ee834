/**
 * `holdfast research` and `holdfast resume`.
 *
 * @since 0.1.0
 */
import { randomBytes } from "node:crypto"
import { resolve } from "node:path"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Checkpointer from "../../checkpoint/Checkpointer.js"
import * as Graph from "../../graph/Graph.js"
import * as Langfuse from "../../langfuse/Langfuse.js"
import { fromConfigError } from "../../observability/ConfigurationError.js"
import * as Trace from "../../observability/Trace.js"
import * as NarrativeModel from "../../programs/research/NarrativeModel.js"
import * as Research from "../../programs/research/Research.js"
import * as State from "../../programs/research/State.js"
import * as terminal from "../internal/terminal.js"
import * as layers from "../layers.js"
import * as Progress from "../Progress.js"
import * as Report from "../Report.js"
import { UsageError } from "../UsageError.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface ResearchOptions extends Research.Question {
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

const model = Effect.mapError(NarrativeModel.config, (error) => fromConfigError(error))

/** LangChain's callbacks, where there is a Langfuse to hear them. */
const callbacks = Effect.map(Langfuse.callbackHandler, (handler) => Option.toArray(handler))

/** A name that says what it was and when, and that nobody else has. */
const newThread = (ticker: string): string => {
  const time = new Date().toISOString().replace(/[-:]/g, "").replace("T", "-").slice(0, 15)
  return `${ticker.replace(/[^\w]/g, "").toLowerCase() || "research"}-${time}-${randomBytes(2).toString("hex")}`
}

const print = (run: Report.Run, json: boolean): Effect.Effect<void> =>
  Effect.sync(() => {
    const style = { color: terminal.hasColor(process.stdout), width: terminal.widthOf(process.stdout) }
    process.stdout.write(json ? `${JSON.stringify(Report.document(run), null, 2)}\n` : Report.text(run, style))
    if (run.state.outcome?._tag === "Failed") process.exitCode = 1
  })

/** Runs with progress on standard error, then prints the result. */
const runAndPrint = (
  prepared: Research.Prepared,
  options: {
    readonly threadId: string
    readonly json: boolean
    readonly model: NarrativeModel.Options
    readonly resumed?: Report.Run["resumed"]
  }
) =>
  Effect.gen(function* () {
    const { json, resumed, threadId } = options
    const checkpointer = yield* Checkpointer.Checkpointer
    const recorder = yield* Trace.Recorder
    const state = yield* Effect.scoped(
      Effect.zipRight(
        Progress.show,
        Research.run(prepared, { threadId, checkpointer, model: options.model, callbacks, resumed })
      )
    ).pipe(
      Effect.onInterrupt(() =>
        Effect.sync(() => {
          process.stderr.write(`stopped; go on with: npx holdfast resume ${threadId}\n`)
        })
      )
    )
    yield* print({ threadId, state, resumed, spans: yield* recorder.spans }, json)
  })

/**
 * Runs the research program from the start. Everything that can be wrong with the question is found before the database is opened.
 *
 * @since 0.1.0
 * @category commands
 */
export const research = (options: ResearchOptions) =>
  Effect.gen(function* () {
    const narrator = yield* model
    const prepared = yield* Research.prepare({
      ...options,
      prices: options.prices === undefined ? undefined : resolve(options.prices)
    })
    const threadId = options.thread ?? newThread(prepared.request.ticker)
    yield* Effect.gen(function* () {
      if (options.thread !== undefined) yield* assertNew(options.thread)
      yield* runAndPrint(prepared, { threadId, json: options.json, model: narrator })
    }).pipe(Effect.provide(layers.storage), Effect.provide(layers.tracing))
  }).pipe(Effect.provide(layers.logging))

const assertNew = (threadId: string) =>
  Effect.flatMap(Checkpointer.Checkpointer, (checkpointer) =>
    Effect.flatMap(Effect.option(checkpointer.history(threadId, { limit: 1 })), (entries) =>
      Option.isNone(entries)
        ? Effect.void
        : Effect.fail(
            new UsageError({
              message: `the thread "${threadId}" is stored already; go on with \`holdfast resume ${threadId}\`, or take another name`
            })
          )
    )
  )

/** The request that a thread began with: in its state, or, when it was killed at once, still in its input. */
const requestOf = (threadId: string) =>
  Effect.gen(function* () {
    const checkpointer = yield* Checkpointer.Checkpointer
    yield* checkpointer.history(threadId, { limit: 1 })
    const tuple = yield* Effect.tryPromise({
      try: () => checkpointer.getTuple({ configurable: { thread_id: threadId } }),
      catch: (error) => new Graph.GraphError({ threadId, error })
    })
    const values: Record<string, unknown> = tuple?.checkpoint.channel_values ?? {}
    const input = values["__start__"]
    const request =
      values["request"] ??
      (typeof input === "object" && input !== null && "request" in input ? input.request : undefined)
    return yield* Schema.decodeUnknown(State.Request)(request).pipe(
      Effect.mapError(
        () =>
          new UsageError({
            message: `the thread "${threadId}" was not written by the research program, which is all that can be resumed here`
          })
      )
    )
  })

/**
 * Goes on with a run at its last checkpoint; one that has ended is only shown again.
 *
 * @since 0.1.0
 * @category commands
 */
export const resume = (options: ResumeOptions) => {
  const { json, thread: threadId } = options
  const going = Effect.gen(function* () {
    const narrator = yield* model
    const request = yield* requestOf(threadId)
    const prepared = yield* Research.reload(request)
    const checkpointer = yield* Checkpointer.Checkpointer
    const graph = yield* Research.graph(prepared, checkpointer, { model: narrator, callbacks })
    const snapshot = yield* Graph.state(graph, threadId)
    const written = snapshot.createdAt === undefined ? Date.now() : Date.parse(snapshot.createdAt)
    const resumed = { next: snapshot.next, ageSeconds: Math.max(0, (Date.now() - written) / 1000) }
    if (snapshot.next.length > 0) return yield* runAndPrint(prepared, { threadId, json, model: narrator, resumed })
    const state = yield* Schema.decodeUnknown(State.State)(snapshot.values)
    return yield* print({ threadId, state, resumed, spans: [] }, json)
  })
  return layers
    .ifStored(going, Effect.fail(new Checkpointer.CheckpointNotFoundError({ workflowId: threadId })))
    .pipe(Effect.provide(layers.tracing), Effect.provide(layers.logging))
}
