/**
 * Transactions that tell the truth: a connection that is lost on the way is a `SqlError`, not a defect, so that it can be retried.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"

/** SQLSTATEs, and classes of them, after which the same statements may well succeed; 08P01 is a misunderstanding, which stays one. */
const transientState = /^(?:08(?!P01)\w{3}|40001|40P01|53300|55P03|57P0[123])$/

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
 * Runs an effect again while it fails with a transient `SqlError`, after 20 ms, 40 ms, ... with jitter. Only for what may run twice:
 * a commit whose answer was lost may have taken place.
 *
 * @since 0.1.0
 * @category operators
 */
export const retryTransient: {
  (options?: {
    readonly attempts?: number | undefined
  }): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, options?: { readonly attempts?: number | undefined }): Effect.Effect<A, E, R>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(self: Effect.Effect<A, E, R>, options?: { readonly attempts?: number | undefined }) =>
    Effect.retry(self, {
      times: (options?.attempts ?? 5) - 1,
      schedule: Schedule.jittered(Schedule.exponential(Duration.millis(20))),
      while: (error) => error instanceof SqlError && isTransient(error)
    })
)
