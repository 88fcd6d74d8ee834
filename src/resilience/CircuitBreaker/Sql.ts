/**
 * Breakers that share their state through Postgres, or the embedded one: any number of processes, one table.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { DatabaseError } from "../../database/DatabaseError.js"
import * as Migrations from "../../database/Migrations.js"
import * as ErrorInfo from "../../observability/ErrorInfo.js"
import type { State } from "../CircuitBreaker.js"
import { CircuitBreakerStoreError, type Shared, Store, type StoreService } from "./Store.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The schema of the table `holdfast_circuit_breakers`; made if it is missing. Default: the first of the search path. */
  readonly schema?: string | undefined
}

interface Row {
  readonly id: string
  readonly version: number
  readonly state: State
  readonly failure_count: number
  readonly openings: number
  readonly successes: number
  readonly remaining: number
}

const shared = (row: Row): Shared => ({
  id: row.id,
  version: row.version,
  state: row.state,
  failureCount: row.failure_count,
  openings: row.openings,
  successes: row.successes,
  remainingMillis: row.remaining
})

const quote = (identifier: string): string => `"${identifier.replaceAll('"', '""')}"`

/** All times are the server's, in milliseconds since 1970: the processes' clocks need not agree. Leases are `{ name: when it ends }`. */
const clock = "(extract(epoch from clock_timestamp()) * 1000)::float8"

const create = (table: string): ReadonlyArray<Migrations.Migration> => [
  {
    id: 1,
    name: "create_circuit_breakers",
    up: Effect.flatMap(SqlClient.SqlClient, (sql) =>
      sql.unsafe(`create table if not exists ${table} (
        id text primary key,
        version integer not null,
        state text not null,
        failure_count integer not null,
        openings integer not null,
        successes integer not null,
        open_until float8 not null,
        leases jsonb not null default '{}'
      )`)
    )
  }
]

/** A break without end, or as good as: later than any clock will say, and still a finite number. */
const longest = 1e15

const make = (sql: SqlClient.SqlClient, options: Options): StoreService => {
  const name = "holdfast_circuit_breakers"
  const table = options.schema === undefined ? name : `${quote(options.schema)}.${name}`
  const columns = `id, version, state, failure_count, openings, successes,
    case when state = 'open' then greatest(0, open_until - ${clock}) else 0 end as remaining`
  const running = `(select coalesce(jsonb_object_agg(key, value), '{}') from jsonb_each(b.leases) where value::text::float8 > ${clock})`
  const begins = `(b.state = 'open' and b.open_until <= ${clock})`

  let migrated = false
  /** Not when the layer is built: a database that is away then must not keep a program from starting. */
  const migrate = Effect.suspend(() =>
    migrated
      ? Effect.void
      : Migrations.run("circuit-breaker", create(table), options).pipe(
          Effect.provideService(SqlClient.SqlClient, sql),
          Effect.tap(() => {
            migrated = true
          })
        )
  )

  const ask = <A>(
    operation: CircuitBreakerStoreError["operation"],
    effect: Effect.Effect<A, SqlError | DatabaseError>
  ): Effect.Effect<A, CircuitBreakerStoreError> =>
    Effect.zipRight(migrate, effect).pipe(
      Effect.mapError((cause) => {
        const why = ErrorInfo.message(cause._tag === "SqlError" ? (cause.cause ?? cause) : cause)
        return new CircuitBreakerStoreError({ operation, message: `the database failed: ${why}`, cause })
      }),
      // the statements of a store are no part of whatever trace is under way
      Effect.withTracerEnabled(false)
    )

  const first = (statement: string, parameters: ReadonlyArray<unknown>) =>
    Effect.map(sql.unsafe<Row>(statement, parameters), ([row]) => (row === undefined ? undefined : shared(row)))

  const one = (id: string) => first(`select ${columns} from ${table} where id = $1`, [id])

  return {
    read: (ids) =>
      ask(
        "read",
        Effect.map(
          sql.unsafe<Row>(`select ${columns} from ${table} where id in (select jsonb_array_elements_text($1::jsonb))`, [
            JSON.stringify(ids)
          ]),
          (rows) => rows.map(shared)
        )
      ),
    write: (next, expected) =>
      ask(
        "write",
        Effect.gen(function* () {
          const written = yield* first(
            `insert into ${table} as b (id, version, state, failure_count, openings, successes, open_until)
            values ($1, 1, $2, $3, $4, $5, ${clock} + $6::float8)
            on conflict (id) do update set version = b.version + 1, state = excluded.state,
              failure_count = excluded.failure_count, openings = excluded.openings, successes = excluded.successes,
              open_until = excluded.open_until, leases = '{}'
            where $7::integer is null or b.version = $7::integer
            returning ${columns}`,
            [
              next.id,
              next.state,
              next.failureCount,
              next.openings,
              next.successes,
              Math.min(next.remainingMillis, longest),
              expected ?? null
            ]
          )
          if (written !== undefined) return { written: true, current: written }
          const current = yield* one(next.id)
          // nobody deletes rows but a person: then what is here is as good as any
          return { written: false, current: current ?? { ...next, version: 0 } }
        })
      ),
    // One statement each: the row's lock orders them, and what waited for it looks at the row again.
    lease: ({ expiresAfterMillis, id, lease, permits }) =>
      ask(
        "lease",
        Effect.gen(function* () {
          const granted = yield* first(
            `update ${table} as b set
              leases = ${running} || jsonb_build_object($2::text, ${clock} + $3::float8),
              successes = case when ${begins} then 0 else b.successes end,
              version = case when ${begins} then b.version + 1 else b.version end,
              state = 'half-open'
            where id = $1 and (${begins} or (b.state = 'half-open'
              and (select count(*) from jsonb_each(b.leases) where value::text::float8 > ${clock}) < $4::integer))
            returning ${columns}`,
            [id, lease, Math.min(expiresAfterMillis, longest), permits]
          )
          return granted === undefined
            ? { granted: false, current: yield* one(id) }
            : { granted: true, current: granted }
        })
      ),
    settle: ({ id, lease, success, successThreshold }) =>
      ask(
        "settle",
        Effect.gen(function* () {
          const closes = "(b.state = 'half-open' and b.successes + $3::integer >= $4::integer)"
          const settled = yield* first(
            `update ${table} as b set
              leases = case when ${closes} then '{}' else b.leases - $2::text end,
              version = case when ${closes} then b.version + 1 else b.version end,
              failure_count = case when ${closes} then 0 else b.failure_count end,
              openings = case when ${closes} then 0 else b.openings end,
              successes = case when ${closes} then 0 else b.successes + $3::integer end,
              state = case when ${closes} then 'closed' else b.state end
            where id = $1 and b.leases ? $2::text
            returning ${columns}`,
            [id, lease, success ? 1 : 0, successThreshold]
          )
          return settled ?? (yield* one(id))
        })
      )
  }
}

/**
 * A store in the database in force. It sets its table up when it is first asked; a database that is away is a store that fails, which no call
 * notices.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerStoreSql = (options: Options = {}): Layer.Layer<Store, never, SqlClient.SqlClient> =>
  Layer.effect(
    Store,
    Effect.map(SqlClient.SqlClient, (sql) => make(sql, options))
  )
