/**
 * Effects for a caller who knows promises only.
 *
 * @internal
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as RuntimeFlags from "effect/RuntimeFlags"
import type * as Scope from "effect/Scope"
import { CheckpointError, type Written } from "../CheckpointError.js"

export interface Runner {
  /** Runs at once, up to the first wait. Rejects with the effect's own error, always an `Error`. */
  readonly run: <A>(operation: string, threadId: string | undefined, effect: Effect.Effect<A, Error>) => Promise<A>
  /** The same, where nobody sees what is observed. */
  readonly runUntraced: Runner["run"]
  /**
   * Begins at once what calls back, and runs an effect, as {@link runUntraced}, only where that has not succeeded. Absent where operations belong to
   * a transaction.
   */
  readonly quick:
    | (<A, E extends Error>(
        operation: string,
        threadId: string | undefined,
        begin: (done: (exit: Exit.Exit<A, E> | undefined) => void) => void,
        otherwise: (exit: Exit.Exit<A, E> | undefined) => Effect.Effect<A, Error>
      ) => Promise<A>)
    | undefined
}

const writing: ReadonlyArray<string> = ["put", "putWrites", "deleteThread"]

const closed = (operation: string, threadId: string | undefined, written: Written): CheckpointError =>
  new CheckpointError({
    reason: "Closed",
    operation,
    ...(threadId === undefined ? {} : { threadId }),
    ...(writing.includes(operation) ? { written } : {}),
    message: `The ${operation} of a checkpoint${threadId === undefined ? "" : ` of "${threadId}"`} came when the layer that gives the checkpointer was closed: keep it open until the graph has ended`
  })

/** What LangGraph is to see: the error itself, for it looks at its name. */
const toError = (cause: Cause.Cause<Error>, otherwise: () => CheckpointError): Error => {
  if (Cause.isInterruptedOnly(cause)) return otherwise()
  // a failure under a span is a proxy of the error that knows the span: the caller gets the error
  const error = Cause.originalError(Cause.squash(cause))
  return error instanceof Error ? error : new Error(String(error), { cause: error })
}

/**
 * A runner whose scope ends only when what is under way has been done, for at most 5 seconds: LangGraph does not wait for its last writes
 * when a run is aborted, and a checkpoint that is being written is worth the wait.
 */
export const make: Effect.Effect<Runner, never, Scope.Scope> = Effect.gen(function* () {
  const runtime = yield* Effect.runtime<never>()
  const fibers = new Set<Fiber.RuntimeFiber<unknown, unknown>>()
  /** What ends a call that has begun the quick way. */
  const calls = new Set<() => void>()
  let open = true
  // what follows on a write that has just ended is begun within the same turn: LangGraph chains its checkpoints
  const drain = Effect.gen(function* () {
    while (fibers.size > 0 || calls.size > 0) {
      yield* Fiber.awaitAll([...fibers])
      yield* Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))
    }
  })
  yield* Effect.addFinalizer(() =>
    Effect.timeoutOption(drain, "5 seconds").pipe(
      Effect.zipRight(
        Effect.suspend(() => {
          open = false
          for (const end of calls) end()
          return Fiber.interruptAll([...fibers])
        })
      )
    )
  )
  const running =
    (runtime: Runtime.Runtime<never>): Runner["run"] =>
    (operation, threadId, effect) =>
      new Promise((resolve, reject) => {
        if (!open) {
          reject(closed(operation, threadId, "no"))
          return
        }
        const fiber = Runtime.runFork(runtime, effect)
        fibers.add(fiber)
        fiber.addObserver((exit) => {
          fibers.delete(fiber)
          if (Exit.isSuccess(exit)) resolve(exit.value)
          else reject(toError(exit.cause, () => closed(operation, threadId, "unknown")))
        })
      })
  const runUntraced = running(yield* untraced)
  const quick = <A, E extends Error>(
    operation: string,
    threadId: string | undefined,
    begin: (done: (exit: Exit.Exit<A, E> | undefined) => void) => void,
    otherwise: (exit: Exit.Exit<A, E> | undefined) => Effect.Effect<A, Error>
  ): Promise<A> =>
    new Promise((resolve, reject) => {
      if (!open) {
        reject(closed(operation, threadId, "no"))
        return
      }
      const end = () => reject(closed(operation, threadId, "unknown"))
      calls.add(end)
      begin((exit) => {
        calls.delete(end)
        if (exit !== undefined && Exit.isSuccess(exit)) resolve(exit.value)
        else resolve(runUntraced(operation, threadId, otherwise(exit)))
      })
    })
  const isWithin = Option.isSome(Context.getOption(runtime.context, SqlClient.TransactionConnection))
  return { run: running(runtime), runUntraced, quick: isWithin ? undefined : quick }
})

/** A runtime in which nothing is observed, and fibers are not counted: a quarter of what a short one costs. */
export const untraced: Effect.Effect<Runtime.Runtime<never>> = Effect.map(
  Effect.withTracerEnabled(Effect.runtime<never>(), false),
  Runtime.disableRuntimeFlag(RuntimeFlags.RuntimeMetrics)
)
