import { join } from "node:path"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Database from "../../database/Database.js"
import * as figures from "./figures.js"
import type { Bounds, Store } from "./outbox.js"
import * as OutboxFolder from "./outboxFolder.js"
import * as OutboxStore from "./outboxStore.js"

interface Options {
  readonly folder?: string | undefined
  readonly maxBytes?: number | undefined
  readonly maxAge?: Duration.DurationInput | undefined
  readonly keep?: Duration.DurationInput | undefined
}

const defaultBytes = 134_217_728
const defaultAge = Duration.days(7)

/** The tables' SQL is Postgres's. */
const isPostgres = (sql: SqlClient.SqlClient): boolean => sql.onDialectOrElse({ pg: () => true, orElse: () => false })

/**
 * The outbox that belongs here: tables where there is a Postgres database in the context, else a folder. Nothing is made until it is used.
 *
 * @internal
 */
export const open = (options: Options, warn: (line: string) => void): Effect.Effect<Store> =>
  Effect.gen(function* () {
    const maxBytes = options.maxBytes ?? defaultBytes
    const maxAge = Duration.decode(options.maxAge ?? defaultAge)
    const holds = `${Math.round(maxBytes / 1_048_576)} MB and ${Duration.format(maxAge)}`
    let told = false
    const bounds: Bounds = {
      maxBytes,
      maxAgeMillis: Duration.toMillis(maxAge),
      keepMillis: options.keep === undefined ? undefined : Duration.toMillis(options.keep),
      onEvicted: ({ kind, target }, items) => {
        figures.make(kind, target).lost(items)
        if (!told) warn(`The outbox holds no more than ${holds}: the oldest ${items} ${kind} for ${target} are lost`)
        told = true
      }
    }
    const sql = yield* Effect.serviceOption(SqlClient.SqlClient)
    if (Option.isNone(sql) || !isPostgres(sql.value)) {
      return OutboxFolder.make(options.folder ?? join(".holdfast", "outbox"), bounds)
    }
    const info = yield* Effect.serviceOption(Database.Info)
    const where = Option.match(info, {
      onNone: () => "",
      onSome: ({ kind, location }) =>
        kind === "postgres" ? ` of ${location}` : ` of the embedded database in ${location}`
    })
    return OutboxStore.make(sql.value, `the table holdfast_outbox${where}`, bounds)
  })
