/**
 * Statements that are planned once a connection. `@effect/sql-pg` names none, so that the server parses and plans each anew, which takes longer
 * than to run it.
 *
 * @internal
 */
import { createHash } from "node:crypto"
import type * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Transaction from "../../database/Transaction.js"

/** A row as its columns, in order. */
export type Row = ReadonlyArray<unknown>

export interface Prepared {
  readonly text: string
  /** The same for the same text, whoever makes it. */
  readonly name: string
}

/** By their text: there are few of them, and a hash takes a while. */
const statements = new Map<string, Prepared>()

export const statement = (text: string): Prepared => {
  const known = statements.get(text)
  if (known !== undefined) return known
  const made = { text, name: `holdfast_${createHash("sha1").update(text).digest("base64url")}` }
  statements.set(text, made)
  return made
}

/** Runs a statement, in the transaction that is open, if there is one. */
export type Execute = (
  prepared: Prepared,
  parameters: ReadonlyArray<unknown>
) => Effect.Effect<ReadonlyArray<Row>, SqlError>

/** Whether a client is `@effect/sql-pg`'s, whose raw execution takes whatever `pg` takes. */
const isPg = (client: SqlClient.SqlClient): boolean => "~@effect/sql-pg/PgClient" in client

/** Whether a client's statements are sent by name. */
export interface Names {
  used: boolean
}

/**
 * What is said of a name by a pooler that hands each statement to another connection: the statement is not there, or is there already. And by a
 * server whose tables were changed under the plan.
 */
export const refused = (error: SqlError): "never" | "once" | undefined => {
  const code = Transaction.code(error)
  return code === "26000" || code === "42P05" ? "never" : code === "0A000" ? "once" : undefined
}

const rowsOf = (result: unknown): ReadonlyArray<Row> =>
  Predicate.hasProperty(result, "rows") && Array.isArray(result.rows) ? result.rows : []

/** How a client's statements get a connection: that of the transaction that is open, or one of the pool for as long as it is asked. */
const acquirer = (client: SqlClient.SqlClient): Effect.Effect<Connection, SqlError> | undefined => {
  const found: unknown = Reflect.get(client.unsafe("select 1"), "acquirer") // a public field of a statement's class, which its type does not show
  return Effect.isEffect(found) ? (found as Effect.Effect<Connection, SqlError>) : undefined
}

export const make = (client: SqlClient.SqlClient, names: Names): Execute => {
  // the observation is the operation, not its statement
  const plain: Execute = ({ text }, parameters) =>
    Effect.withTracerEnabled(client.unsafe(text, parameters).values, false)
  const connection = isPg(client) ? acquirer(client) : undefined
  if (connection === undefined) return plain
  return ({ name, text }, parameters) =>
    Effect.flatMap(connection, (on) => {
      // the text is handed to `pg` as it is, and `pg` takes an object in its place
      const raw = (query: object) => Effect.map(on.executeRaw(query as unknown as string, parameters), rowsOf)
      const unnamed = raw({ text, rowMode: "array" })
      if (!names.used) return unnamed
      return Effect.catchAll(raw({ name, text, rowMode: "array" }), (error) => {
        const why = refused(error)
        if (why === undefined) return Effect.fail(error)
        if (why === "never") names.used = false
        return unnamed
      })
    })
}
