/** A `SqlClient` over a Postgres server, through `@effect/sql-pg`, which is loaded only here. */
import * as Reactivity from "@effect/experimental/Reactivity"
import type * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { ConfigurationError } from "../../observability/ConfigurationError.js"
import * as Redaction from "../../observability/Redaction.js"
import { DatabaseError } from "../DatabaseError.js"
import * as Transaction from "../Transaction.js"

export interface Settings {
  readonly url: Redacted.Redacted
  readonly maxConnections: number
  readonly connectTimeout: Duration.Duration
  readonly connectAttempts: number
  readonly statementTimeout: Duration.Duration
  readonly applicationName: string
}

export const urlExpected = "a URL such as postgres://user@host:5432/database"

const malformed = (problem: string) =>
  new ConfigurationError({ setting: "DATABASE_URL", expected: urlExpected, problem })

/** Where a URL points, without password and parameters; an error when it is none that `pg` takes. Neither shows the URL itself. */
export const location = (redacted: Redacted.Redacted): Effect.Effect<string, ConfigurationError> =>
  Effect.suspend(() => {
    const text = Redacted.value(redacted).trim()
    let url: URL
    try {
      url = new URL(text)
      decodeURIComponent(url.username + url.password + url.pathname)
    } catch {
      return Effect.fail(
        malformed("it is no URL (signs such as / ? # @ % in a user name or password must be percent-encoded)")
      )
    }
    if (url.protocol !== "postgres:" && url.protocol !== "postgresql:") {
      return Effect.fail(malformed(`it begins with ${Redaction.text(url.protocol)} where postgres: belongs`))
    }
    // an @ that ended no user name: a sign of the password was taken for the end of the host
    if (url.username === "" && text.includes("@") && !text.startsWith(`${url.protocol}//@`)) {
      return Effect.fail(malformed("signs such as / ? # in its user name or password must be percent-encoded"))
    }
    const user = url.username === "" ? "" : `${url.username}@`
    const host = url.host === "" ? (url.searchParams.get("host") ?? "localhost") : url.host
    return Effect.succeed(`postgres://${user}${host}${url.pathname}`)
  })

/** The text of the innermost cause: what the system or the server said. */
const said = (error: unknown): string => {
  let current = error
  while (current instanceof Error) {
    const inner: unknown = current instanceof AggregateError ? current.errors[0] : current.cause
    if (!(inner instanceof Error)) break
    current = inner
  }
  return current instanceof Error && current.message !== "" ? Redaction.text(current.message) : "no answer"
}

const unusable = (where: string, attempts: number) => (error: SqlError) => {
  if (Transaction.isTransient(error)) {
    return new DatabaseError({
      reason: "Unreachable",
      location: where,
      message: `The database at ${where} cannot be reached (${attempts} attempts; the last: ${said(error)}). Start it, or correct DATABASE_URL; without DATABASE_URL an embedded database is used.`,
      cause: error
    })
  }
  return new DatabaseError({
    reason: "Refused",
    location: where,
    message: `The database at ${where} refused the connection: ${said(error)}. Correct the user, password, database name or parameters in DATABASE_URL.`,
    cause: error
  })
}

/** The URL with the statement timeout as a parameter, which is how `pg` sends it when a connection is made. A URL's own wins. */
const withTimeout = (url: string, timeout: Duration.Duration): string => {
  const millis = Duration.isFinite(timeout) ? Math.round(Duration.toMillis(timeout)) : 0
  if (millis === 0 || /[?&]statement_timeout=/.test(url)) return url
  return `${url}${url.includes("?") ? "&" : "?"}statement_timeout=${millis}`
}

/** Connects, with bounded retries while the server cannot be reached. The pool ends with the scope. */
export const connect = (
  settings: Settings,
  where: string
): Effect.Effect<SqlClient.SqlClient, DatabaseError, Scope.Scope> =>
  Effect.gen(function* () {
    const driver = yield* Effect.tryPromise({
      try: () => import("@effect/sql-pg/PgClient"),
      catch: (cause) =>
        new DatabaseError({
          reason: "DriverMissing",
          location: where,
          message: "DATABASE_URL needs the package @effect/sql-pg: npm install @effect/sql-pg",
          cause
        })
    })
    const url = Redacted.value(settings.url).trim()
    const attempt = (url: string) =>
      driver.make({
        url: Redacted.make(url),
        maxConnections: settings.maxConnections,
        connectTimeout: settings.connectTimeout,
        applicationName: settings.applicationName
      })
    const client = yield* attempt(withTimeout(url, settings.statementTimeout)).pipe(
      // a pooler such as PgBouncer takes no statement timeout when a connection is made: there the server's own holds
      Effect.catchIf(
        (error) => /unsupported startup parameter/i.test(said(error)),
        () => attempt(url)
      ),
      Effect.retry({
        times: settings.connectAttempts - 1,
        schedule: Schedule.exponential(Duration.millis(250)),
        while: Transaction.isTransient
      }),
      Effect.mapError(unusable(where, settings.connectAttempts)),
      Effect.provide(Reactivity.layer)
    )
    return Object.assign(client, { withTransaction: Transaction.runWith(client) })
  })
