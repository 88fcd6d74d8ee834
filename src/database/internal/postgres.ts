/** A `SqlClient` over a Postgres server, through `@effect/sql-pg`, which is loaded only here. */
import * as Reactivity from "@effect/experimental/Reactivity"
import type * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { ConfigurationError } from "../../observability/ConfigurationError.js"
import * as Redaction from "../../observability/Redaction.js"
import { DatabaseError } from "../DatabaseError.js"
import * as Transaction from "../Transaction.js"
import * as Direct from "./direct.js"
import * as Pool from "./pool.js"

/** Where a program has a URL from: from the environment, or its own. */
export type Source = "DATABASE_URL" | "url"

export interface Settings {
  readonly url: Redacted.Redacted
  readonly source: Source
  readonly maxConnections: number
  readonly connectTimeout: Duration.Duration
  readonly connectAttempts: number
  readonly statementTimeout: Duration.Duration
  readonly lockTimeout: Duration.Duration
  readonly silenceTimeout: Duration.Duration
  readonly applicationName: string
}

export const urlExpected = "a URL such as postgres://user@host:5432/database"

const malformed = (source: Source, problem: string) =>
  new ConfigurationError({ setting: source, expected: urlExpected, problem })

const called = (source: Source): string => (source === "url" ? "its URL" : source)

/** The parts around the list of hosts: `postgres://user@a:5432,b:5432/db`. */
const parts = /^([a-z]+:\/\/(?:[^@/?#]*@)?)([^/?#@]*)(.*)$/s

/** One URL a host. The user's name and password may hold any sign but those that end them. */
const each = (text: string): readonly [string, ...ReadonlyArray<string>] => {
  const [, before = "", list = "", after = ""] = parts.exec(text) ?? []
  const [first, ...others] = list.split(",").map((host) => `${before}${host}${after}`)
  return first === undefined || others.length === 0 ? [text] : [first, ...others]
}

const sessions = ["any", "read-write", "primary"]

/** The URL of each host, and whether a host must take writes: by default if there are several. */
const hosts = (redacted: Redacted.Redacted, source: Source) =>
  Effect.suspend(() => {
    const urls = each(Redacted.value(redacted).trim())
    const wanted = new URL(urls[0]).searchParams.get("target_session_attrs") ?? (urls.length > 1 ? "primary" : "any")
    return sessions.includes(wanted)
      ? Effect.succeed({ urls, writable: wanted !== "any" })
      : Effect.fail(malformed(source, `its target_session_attrs is none of ${sessions.join(", ")}`))
  })

/** Where a URL points, without password and parameters; an error when it is none that we take. Neither shows the URL itself. */
export const location = (
  redacted: Redacted.Redacted,
  source: Source = "DATABASE_URL"
): Effect.Effect<string, ConfigurationError> =>
  Effect.gen(function* () {
    const [first, ...others] = yield* Effect.forEach(each(Redacted.value(redacted).trim()), (text) =>
      locationOf(text, source)
    )
    yield* hosts(redacted, source)
    const more = others.map((other) => `,${new URL(other).host}`).join("")
    return first === undefined ? "" : first.replace(/^([a-z]+:\/\/[^/]*)/, `$1${more}`)
  })

const locationOf = (text: string, source: Source): Effect.Effect<string, ConfigurationError> =>
  Effect.suspend(() => {
    let url: URL
    try {
      url = new URL(text)
      decodeURIComponent(url.username + url.password + url.pathname)
    } catch {
      return Effect.fail(
        malformed(source, "it is no URL (signs such as / ? # @ % in a user name or password must be percent-encoded)")
      )
    }
    if (url.protocol !== "postgres:" && url.protocol !== "postgresql:") {
      return Effect.fail(malformed(source, `it begins with ${Redaction.text(url.protocol)} where postgres: belongs`))
    }
    // an @ that ended no user name: a sign of the password was taken for the end of the host
    if (url.username === "" && text.includes("@") && !text.startsWith(`${url.protocol}//@`)) {
      return Effect.fail(malformed(source, "signs such as / ? # in its user name or password must be percent-encoded"))
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

const unusable = (where: string, source: Source, attempts: number) => (error: SqlError) => {
  if (Transaction.isTransient(error)) {
    return new DatabaseError({
      reason: "Unreachable",
      location: where,
      message: `The database at ${where} cannot be reached (${attempts} attempts; the last: ${said(error)}). Start it, or correct ${called(source)}${source === "url" ? "" : `; without ${source} an embedded database is used`}.`,
      cause: error
    })
  }
  return new DatabaseError({
    reason: "Refused",
    location: where,
    message: `The database at ${where} refused the connection: ${said(error)}. Correct the user, password, database name or parameters in ${called(source)}.`,
    cause: error
  })
}

/** 0 stands for no limit. */
const millis = (duration: Duration.Duration): number =>
  Duration.isFinite(duration) ? Math.round(Duration.toMillis(duration)) : 0

/** Opens a pool and connects, with bounded retries while the server cannot be reached. The pool ends with the scope. */
export const connect = (
  settings: Settings,
  where: string
): Effect.Effect<SqlClient.SqlClient, DatabaseError | ConfigurationError, Scope.Scope> =>
  Effect.gen(function* () {
    const { urls, writable } = yield* hosts(settings.url, settings.source)
    const [driver, pg] = yield* Effect.tryPromise({
      try: () => Promise.all([import("@effect/sql-pg/PgClient"), import("pg")]),
      catch: (cause) =>
        new DatabaseError({
          reason: "DriverMissing",
          location: where,
          message: "A Postgres server needs the package @effect/sql-pg: npm install @effect/sql-pg",
          cause
        })
    })
    const opened = yield* Effect.acquireRelease(
      Effect.sync(() =>
        Pool.make(pg, {
          urls,
          writable,
          max: settings.maxConnections,
          connectMillis: Duration.toMillis(settings.connectTimeout),
          statementMillis: millis(settings.statementTimeout),
          lockMillis: millis(settings.lockTimeout),
          silenceMillis: millis(settings.silenceTimeout),
          applicationName: settings.applicationName
        })
      ),
      (pool) => Effect.promise(pool.close).pipe(Effect.interruptible, Effect.timeoutOption("2 seconds"))
    )
    const attempt = Effect.tryPromise({
      try: () => opened.pool.query("select 1"),
      catch: (cause) => new SqlError({ cause, message: "Failed to connect" })
    })
    yield* attempt.pipe(
      // a pooler such as PgBouncer takes no timeouts when a connection is made: there the server's own hold
      Effect.catchIf(
        (error) => /unsupported startup parameter/i.test(said(error)),
        () => Effect.zipRight(Effect.sync(opened.withoutTimeouts), attempt)
      ),
      Effect.retry({
        times: settings.connectAttempts - 1,
        schedule: Schedule.exponential(Duration.millis(250)),
        while: Transaction.isTransient
      }),
      Effect.mapError(unusable(where, settings.source, settings.connectAttempts))
    )
    const client = yield* driver
      .fromPool({ acquire: Effect.succeed(opened.pool) })
      .pipe(Effect.mapError(unusable(where, settings.source, 1)), Effect.provide(Reactivity.layer))
    Direct.provide(client, opened.direct)
    return Object.assign(client, { withTransaction: Transaction.runWith(client) })
  })
