/**
 * Statements that are tried again while what fails them passes. One that writes is not repeated blindly: when its answer was lost, the database
 * is asked first whether it took place.
 *
 * @internal
 */
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Transaction from "../../database/Transaction.js"
import * as ErrorInfo from "../../observability/ErrorInfo.js"
import { CheckpointError, type Written } from "../CheckpointError.js"

/** What is being done, for the message of a failure. */
export interface Operation {
  readonly name: string
  readonly threadId: string | undefined
}

const consequence: Readonly<Record<Written, string>> = {
  no: "Nothing was written.",
  unknown: "Whether it was written is not known: load the thread, or do the same again, which does no harm."
}

/** What the database said, as the checkpoint's failure. */
export const failed = ({ name, threadId }: Operation, error: SqlError, written?: Written): CheckpointError => {
  const said = ErrorInfo.message(error.cause ?? error)
  const advice = Transaction.isTransient(error)
    ? "the database could not be reached: check it and run again; what was saved before is safe"
    : "the database refused: check its schema, rights and space"
  return new CheckpointError({
    reason: "Database",
    operation: name,
    ...(threadId === undefined ? {} : { threadId }),
    ...(written === undefined ? {} : { written }),
    message: `The ${name} of a checkpoint${threadId === undefined ? "" : ` of "${threadId}"`} failed: ${said}; ${advice}${written === undefined ? "" : `. ${consequence[written]}`}`,
    cause: error
  })
}

/** Runs a statement that only reads. */
export const read = <A>(
  operation: Operation,
  statement: Effect.Effect<A, SqlError>
): Effect.Effect<A, CheckpointError> =>
  statement.pipe(
    Transaction.retryTransient(),
    Effect.mapError((error) => failed(operation, error))
  )

export interface Write<A> {
  /** Is a transaction of its own, and leaves the same behind when it runs twice. */
  readonly statement: Effect.Effect<A, SqlError>
  /** Asked when an answer was lost: what the statement would have answered, if it took place; else `undefined`. */
  readonly landed: Effect.Effect<A | undefined, SqlError>
  /** How an earlier statement failed that was to write the same. */
  readonly before?: SqlError | undefined
}

/** Runs a statement that writes. When it has succeeded it is committed. */
export const write = <A>(operation: Operation, write: Write<A>): Effect.Effect<A, CheckpointError> =>
  Effect.suspend(() => {
    let doubt = write.before !== undefined && Transaction.mayHaveHappened(write.before)
    const statement = Effect.tapError(write.statement, (error) =>
      Effect.sync(() => {
        doubt ||= Transaction.mayHaveHappened(error)
      })
    )
    const attempt = Effect.gen(function* () {
      const before = doubt ? yield* write.landed : undefined
      return before === undefined ? yield* statement : before
    })
    return attempt.pipe(
      Transaction.retryTransient(),
      Effect.mapError((error) => failed(operation, error, doubt ? "unknown" : "no"))
    )
  })
