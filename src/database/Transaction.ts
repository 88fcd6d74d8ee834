/**
 * Transactions that tell the truth: a connection that is lost on the way is a `SqlError`, not a defect, so that it can be retried.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Predicate from "effect/Predicate"
import * as Random from "effect/Random"

/**
 * SQLSTATEs, and classes of them, after which the same statements may well succeed; 08P01 is a misunderstanding, which stays one. 25006 is what
 * a server says that has become a standby: the connection is given up with it, and the next one finds its successor.
 */
const transientState = /^(?:08(?!P01)\w{3}|25006|40001|40P01|53300|55P03|57P0[123])$/

/** With these the server ended the session; whether before the statement's end or after it, nobody was told. */
const endedState = /^(?:08\w{3}|25P03|57P0\w|XX\w{3})$/

/** What Node and `pg` say of a connection that could not be made or was lost. */
const transientCode = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN"
])
/** No connection was made: nothing can have been sent. */
const unconnectedCode = new Set(["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "ENOTFOUND", "EAI_AGAIN"])

const transientMessage =
  /connection (?:terminated|timed out|ended)|connection error and is not queryable|timeout e(?:xceeded|xpired)|timeout when trying to connect|socket hang up/i

/**
 * The code of a failure: a SQLSTATE such as `23505`, or Node's, such as `ECONNREFUSED`. Looks into the causes.
 *
 * @since 0.1.0
 * @category getters
 */
export const code = (error: unknown): string | undefined => {
  let current = error
  for (let depth = 0; depth < 5 && Predicate.isObject(current); depth++) {
    if ("code" in current && typeof current.code === "string") return current.code
    if ("errors" in current && Array.isArray(current.errors)) current = current.errors[0]
    else current = "cause" in current ? current.cause : undefined
  }
  return undefined
}

/** Whether a code is a SQLSTATE, which a server has said, and none of Node's: it has five signs, a digit among them. */
const isState = (code: string): boolean => /^(?=.*\d)[0-9A-Z]{5}$/.test(code)

/**
 * Whether a statement that failed like this may have been carried out all the same: it was sent, and what became of it is not known. A server
 * that says no has rolled it back, and without a connection it was never sent.
 *
 * @since 0.1.0
 * @category guards
 */
export const mayHaveHappened = (error: unknown): boolean => {
  if (error instanceof SqlError && error.message?.startsWith("Failed to acquire connection")) return false
  const found = code(error)
  if (found === undefined) return true
  return isState(found) ? endedState.test(found) : !unconnectedCode.has(found) && found !== "NO_TURN"
}

/**
 * Whether the same statements may succeed when they are run again: the connection was lost or not to be had, the server is starting or
 * stopping, or the transaction lost a race (serialisation failure, deadlock).
 *
 * @since 0.1.0
 * @category guards
 */
export const isTransient = (error: unknown): boolean => {
  const found = code(error)
  if (found !== undefined) return transientState.test(found) || transientCode.has(found)
  let current = error
  for (let depth = 0; depth < 5 && Predicate.isObject(current); depth++) {
    if ("message" in current && typeof current.message === "string" && transientMessage.test(current.message)) {
      return true
    }
    current = "cause" in current ? current.cause : undefined
  }
  return false
}

/** The SqlError that a BEGIN, COMMIT or ROLLBACK died of. */
const sqlDefect = (cause: Cause.Cause<unknown>): SqlError | undefined => {
  for (const defect of Cause.defects(cause)) {
    if (defect instanceof SqlError) return defect
  }
  return undefined
}

/**
 * Runs an effect in a transaction of this client, or in a savepoint when one is open. If the effect fails, that is the failure, even when
 * the rollback could not be sent; if the commit fails, the failure is a `SqlError`, and whether it took place is not known.
 *
 * @since 0.1.0
 * @category operators
 */
export const runWith = (
  client: Pick<SqlClient.SqlClient, "withTransaction">
): (<A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | SqlError, R>) => {
  const withTransaction = client.withTransaction
  return <A, E, R>(self: Effect.Effect<A, E, R>) =>
    Effect.suspend(() => {
      let body: Exit.Exit<A, E> | undefined
      return withTransaction(
        Effect.onExit(self, (exit) =>
          Effect.sync(() => {
            body = exit
          })
        )
      ).pipe(
        Effect.catchAllCause((cause): Effect.Effect<never, E | SqlError> => {
          if (body !== undefined && Exit.isFailure(body)) return Effect.failCause(body.cause)
          const defect = sqlDefect(cause)
          return defect === undefined
            ? Effect.failCause(cause)
            : Effect.fail(new SqlError({ cause: defect.cause, message: "The transaction could not be committed" }))
        })
      )
    })
}

/**
 * Runs an effect in a transaction, or in a savepoint when one is open, see {@link runWith}. Nested transactions must not run concurrently:
 * they share one connection.
 *
 * @since 0.1.0
 * @category operators
 */
export const run = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R | SqlClient.SqlClient> =>
  Effect.flatMap(SqlClient.SqlClient, (client) => runWith(client)(self))

/**
 * How long what fails with a passing failure is tried again.
 *
 * @since 0.1.0
 * @category models
 */
export interface RetryOptions {
  /** Tries in all. Default: that of {@link Retries}. */
  readonly attempts?: number | undefined
  /** After which no further try is begun. Default: that of {@link Retries}. */
  readonly time?: Duration.DurationInput | undefined
}

/**
 * The bounds of retrying where none are given: 20 tries within 30 seconds, long enough for a server that restarts or hands over to another.
 * `Database.layer` provides those of its options.
 *
 * @since 0.1.0
 * @category references
 */
export class Retries extends Context.Reference<Retries>()("holdfast/Transaction/Retries", {
  defaultValue: (): { readonly attempts: number; readonly time: Duration.Duration } => ({
    attempts: 20,
    time: Duration.seconds(30)
  })
}) {}

/** 20 ms, 40 ms, ... up to 2 s, each with jitter from a half to one and a half. */
const pauseMillis = (attempt: number, random: number): number =>
  Math.min(20 * 2 ** (attempt - 1), 2000) * (0.5 + random)

/**
 * Runs an effect again while it fails with a transient `SqlError`, after 20 ms, 40 ms, ..., 2 s, with jitter; a pause that would outlast the
 * time is not begun. Only for what may run twice: a statement whose answer was lost may have taken place, see {@link mayHaveHappened}.
 *
 * @since 0.1.0
 * @category operators
 */
export const retryTransient: {
  (options?: RetryOptions): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, options?: RetryOptions): Effect.Effect<A, E, R>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(self: Effect.Effect<A, E, R>, options?: RetryOptions) =>
    Effect.catchAll(self, (first) =>
      Effect.gen(function* () {
        const bounds = yield* Retries
        const attempts = options?.attempts ?? bounds.attempts
        const end = (yield* now) + Duration.toMillis(options?.time ?? bounds.time)
        let error = first
        for (let attempt = 1; attempt < attempts; attempt++) {
          if (!(error instanceof SqlError && isTransient(error))) break
          const pause = pauseMillis(attempt, yield* Random.next)
          if ((yield* now) + pause > end) break
          yield* Effect.sleep(pause)
          const result = yield* Effect.either(self)
          if (Either.isRight(result)) return result.right
          error = result.left
        }
        return yield* Effect.fail(error)
      })
    )
)

/** Milliseconds of a clock that is never set back. */
const now = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos / 1_000_000n))
