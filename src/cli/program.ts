/**
 * The research program under the command line: runs it with progress, and prints what it came to. Loads LangGraph.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Checkpointer from "../checkpoint/Checkpointer.js"
import * as Graph from "../graph/Graph.js"
import * as Langfuse from "../langfuse/Langfuse.js"
import * as Trace from "../observability/Trace.js"
import type * as NarrativeModel from "../programs/research/NarrativeModel.js"
import * as Question from "../programs/research/Question.js"
import * as Research from "../programs/research/Research.js"
import * as State from "../programs/research/State.js"
import { invocation } from "./internal/invocation.js"
import * as terminal from "./internal/terminal.js"
import * as layers from "./layers.js"
import * as Progress from "./Progress.js"
import * as Result from "./Result.js"
import { UsageError } from "./UsageError.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly threadId: string
  readonly json: boolean
  readonly model: NarrativeModel.Options
}

/** LangChain's callbacks, where there is a Langfuse to hear them. */
const callbacks = Effect.map(Langfuse.callbackHandler, (handler) => Option.toArray(handler))

const print = (run: Result.Run, json: boolean): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (run.state.outcome?._tag === "Failed") process.exitCode = 1
    const style = { color: terminal.hasColor(process.stdout), width: terminal.widthOf(process.stdout) }
    return terminal.write(
      process.stdout,
      json ? `${JSON.stringify(Result.document(run), null, 2)}\n` : Result.text(run, style)
    )
  })

/** Runs with progress on standard error, then prints the result. */
const runAndPrint = (
  prepared: Question.Prepared,
  options: Options & Pick<Research.RunOptions, "interrupted"> & { readonly resumed?: Result.Run["resumed"] }
) =>
  Effect.gen(function* () {
    const { interrupted, json, model, resumed, threadId } = options
    const checkpointer = yield* Checkpointer.Checkpointer
    const recorder = yield* Trace.Recorder
    const state = yield* Effect.scoped(
      Effect.zipRight(
        Progress.show(process.stderr),
        Research.run(prepared, { threadId, checkpointer, model, callbacks, resumed, interrupted })
      )
    ).pipe(
      Effect.onInterrupt(() =>
        terminal.write(process.stderr, `stopped; go on with: ${invocation} resume ${threadId}\n`)
      )
    )
    yield* print({ threadId, state, resumed, spans: yield* recorder.spans }, json)
  })

/**
 * A run from the start. A thread that was `named` must not be stored yet.
 *
 * @since 0.1.0
 * @category running
 */
export const start = (prepared: Question.Prepared, options: Options & { readonly named: boolean }) =>
  Effect.zipRight(options.named ? assertNew(options.threadId) : Effect.void, runAndPrint(prepared, options))

const assertNew = (threadId: string) =>
  Checkpointer.history(threadId, { limit: 1 }).pipe(
    Effect.zipRight(
      new UsageError({
        message: `the thread "${threadId}" is stored already; go on with \`holdfast resume ${threadId}\`, or take another name`
      })
    ),
    Effect.catchTag("CheckpointNotFoundError", () => Effect.void)
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
 * Goes on with a stored run; one that has ended is only shown.
 *
 * @since 0.1.0
 * @category running
 */
export const goOn = (options: Options) =>
  Effect.gen(function* () {
    const prepared = yield* Question.reload(yield* requestOf(options.threadId))
    yield* Effect.provide(goOnWith(prepared, options), layers.tracing)
  })

const goOnWith = (prepared: Question.Prepared, { json, model, threadId }: Options) =>
  Effect.gen(function* () {
    const checkpointer = yield* Checkpointer.Checkpointer
    const graph = yield* Research.graph(prepared, checkpointer, { model, callbacks })
    const snapshot = yield* Graph.state(graph, threadId)
    const written = snapshot.createdAt === undefined ? Date.now() : Date.parse(snapshot.createdAt)
    const resumed = { next: snapshot.next, ageSeconds: Math.max(0, (Date.now() - written) / 1000) }
    if (snapshot.next.length > 0) {
      return yield* runAndPrint(prepared, { threadId, json, model, resumed, interrupted: snapshot.metadata })
    }
    const state = yield* Schema.decodeUnknown(State.State)(snapshot.values)
    yield* print({ threadId, state, resumed, spans: [] }, json)
  })
