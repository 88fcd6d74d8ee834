/**
 * Steps that bring a database to the shape that a module needs, each run once for all processes.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as ErrorInfo from "../observability/ErrorInfo.js"
import { DatabaseError } from "./DatabaseError.js"
import * as Transaction from "./Transaction.js"

/**
 * One step. It runs in a transaction of its own, together with the note that it ran, so it happens wholly or not at all.
 *
 * @since 0.1.0
 * @category models
 */
export interface Migration {
  /** 1, 2, 3, ...: the order. Never changed once released. */
  readonly id: number
  /** What it does, such as `create_checkpoints`. Never changed once released. */
  readonly name: string
  readonly up: Effect.Effect<unknown, SqlError, SqlClient.SqlClient>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The schema in which the note of what ran is kept; made if it is missing. Default: the first of the search path. */
  readonly schema?: string | undefined
  /**
   * The columns, by table, without which the program cannot do. When a step may not run because the role has no right to it, and these stand
   * already, made by other means or noted where this role cannot see it, the program goes on without the step. Default: every step must run.
   */
  readonly requires?: Readonly<Record<string, ReadonlyArray<string>>> | undefined
}

/** The table that notes what ran. */
const table = "holdfast_migrations"

const quote = (identifier: string): string => `"${identifier.replaceAll('"', '""')}"`

/** Any fixed number: whoever holds this advisory lock is the one who migrates this database. */
const lockKey = "7455117340"

const invalid = (namespace: string, message: string) =>
  new DatabaseError({
    reason: "MigrationFailed",
    location: namespace,
    message: `Migrations of "${namespace}": ${message}`
  })

/** The list must be in order, or two programs would disagree about it. */
const check = (namespace: string, migrations: ReadonlyArray<Migration>): DatabaseError | undefined => {
  let last = 0
  for (const migration of migrations) {
    if (!Number.isSafeInteger(migration.id) || migration.id <= last) {
      return invalid(namespace, `id ${migration.id} comes after ${last}; ids are whole numbers that grow from 1`)
    }
    last = migration.id
  }
  return undefined
}

/**
 * What ran, by id. `undefined` when even the table is not there. Asked of the catalogue's rows: `to_regclass` answers from a cache, which
 * inside a transaction may still say no when another process has made the table while this one waited for the lock.
 */
const applied = Effect.fnUntraced(function* (
  sql: SqlClient.SqlClient,
  namespace: string,
  schema: string | undefined,
  name: string
) {
  const found = yield* sql`
    select 1 from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relname = ${table} and n.nspname = coalesce(${schema ?? null}::text, current_schema())`
  if (found.length === 0) return undefined
  const rows = yield* sql<{ id: number; name: string }>`
    select id, name from ${sql.literal(name)} where namespace = ${namespace}`
  return new Map(rows.map((row) => [row.id, row.name]))
})

/** The first that is still to run; an error when the database has another one under its id. */
const pending = (
  namespace: string,
  migrations: ReadonlyArray<Migration>,
  ran: ReadonlyMap<number, string> | undefined
): Effect.Effect<Migration | undefined, DatabaseError> => {
  for (const migration of migrations) {
    const name = ran?.get(migration.id)
    if (name === undefined) return Effect.succeed(migration)
    if (name !== migration.name) {
      return Effect.fail(
        invalid(
          namespace,
          `number ${migration.id} is "${name}" in this database and "${migration.name}" in this program; they do not belong together`
        )
      )
    }
  }
  return Effect.succeed(undefined)
}

/** Takes the lock until the end of the transaction. Waiting for another process is no slow statement. */
const lock = (sql: SqlClient.SqlClient) =>
  Effect.zipRight(
    sql.unsafe("set local statement_timeout = 0; set local lock_timeout = '120s'"),
    sql`select pg_advisory_xact_lock(${lockKey}::bigint)`
  )

const createTable = Effect.fnUntraced(function* (sql: SqlClient.SqlClient, schema: string | undefined, name: string) {
  if (schema !== undefined) {
    // `create schema if not exists` wants the right to create one even when it is there
    const found = yield* sql`select 1 from pg_namespace where nspname = ${schema}`
    if (found.length === 0) yield* sql`create schema ${sql.literal(quote(schema))}`
  }
  yield* sql`create table if not exists ${sql.literal(name)} (
    namespace text not null,
    id integer not null,
    name text not null,
    applied_at timestamptz not null default now(),
    primary key (namespace, id)
  )`
})

/** A step's failure, unless it is one after which the whole transaction is worth another try. */
const failed = (namespace: string, migration: Migration, error: SqlError): SqlError | DatabaseError =>
  Transaction.isTransient(error)
    ? error
    : new DatabaseError({
        reason: "MigrationFailed",
        location: namespace,
        message: `Migration ${migration.id} "${migration.name}" of "${namespace}" failed and was rolled back: ${ErrorInfo.message(error.cause ?? error)}`,
        cause: error
      })

/** One step in one transaction: the first that is still to run by then. `undefined` when none is left. */
const step = (
  sql: SqlClient.SqlClient,
  namespace: string,
  migrations: ReadonlyArray<Migration>,
  schema: string | undefined,
  name: string
): Effect.Effect<Migration | undefined, SqlError | DatabaseError, SqlClient.SqlClient> =>
  Transaction.runWith(sql)(
    Effect.gen(function* () {
      yield* lock(sql)
      let ran = yield* applied(sql, namespace, schema, name)
      if (ran === undefined) {
        yield* createTable(sql, schema, name)
        ran = new Map()
      }
      const next = yield* pending(namespace, migrations, ran)
      if (next === undefined) return undefined
      yield* Effect.mapError(next.up, (error) => failed(namespace, next, error))
      yield* sql`insert into ${sql.literal(name)} (namespace, id, name) values (${namespace}, ${next.id}, ${next.name})`
      return next
    })
  ).pipe(Transaction.retryTransient())

const insufficientPrivilege = "42501"

/** A role without the right to a step does without it, if what the program needs stands. The catalogue is open to every role. */
const without = Effect.fnUntraced(function* (
  sql: SqlClient.SqlClient,
  namespace: string,
  { requires, schema }: Options,
  error: SqlError | DatabaseError
) {
  if (requires === undefined) return yield* Effect.fail(error)
  const rows = yield* sql<{ relation: string; name: string }>`
    select c.relname as relation, a.attname as name from pg_catalog.pg_attribute a
    join pg_catalog.pg_class c on c.oid = a.attrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = coalesce(${schema ?? null}::text, current_schema()) and a.attnum > 0 and not a.attisdropped`.pipe(
    Transaction.retryTransient()
  )
  const found = new Set(rows.map(({ relation, name }) => `${relation}.${name}`))
  const missing = Object.entries(requires)
    .flatMap(([relation, columns]) => columns.map((column) => `${relation}.${column}`))
    .filter((column) => !found.has(column))
  if (missing.length === 0) {
    // the catalogue shows also what a role may not touch
    const [own] = yield* sql<{ schema: string; usable: boolean; role: string }>`
      select nspname as schema, has_schema_privilege(oid, 'usage') as usable, current_user as role from pg_catalog.pg_namespace
      where nspname = coalesce(${schema ?? null}::text, current_schema())`.pipe(Transaction.retryTransient())
    if (own?.usable !== false) return
    return yield* new DatabaseError({
      reason: "Refused",
      location: namespace,
      message: `The tables of "${namespace}" stand, but the role "${own.role}" may not use their schema: grant usage on schema "${own.schema}" to it, with select, insert, update and delete on its tables`,
      cause: error
    })
  }
  return yield* new DatabaseError({
    reason: "MigrationFailed",
    location: namespace,
    message: `Migrations of "${namespace}": this role may not run them (${ErrorInfo.message(error.cause ?? error)}), and without them there is no ${missing.join(", ")}. Open the database once with a role that may create tables and owns those that stand, or grant those rights.`,
    cause: error
  })
})

/**
 * Runs what has not run yet of a module's migrations, in order, and gives what it ran. Any number of processes may do so at once: each step
 * runs once. When all is there already it only reads, so it needs no right to create anything; see {@link Options} for a role that may not
 * even read the note of what ran.
 *
 * Fails with `DatabaseError` (`MigrationFailed`) when a step fails or the database has another step under the same id, and with `SqlError`
 * when the database cannot be asked. Steps above the list's last one, from a newer program, are left alone.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { SqlClient } from "@effect/sql"
 * import { Effect } from "effect"
 * import { Migrations } from "holdfast"
 *
 * const migrate = Migrations.run("orders", [
 *   {
 *     id: 1,
 *     name: "create_orders",
 *     up: Effect.flatMap(SqlClient.SqlClient, (sql) => sql`create table orders (id text primary key)`)
 *   }
 * ])
 * ```
 */
export const run = (
  namespace: string,
  migrations: ReadonlyArray<Migration>,
  options: Options = {}
): Effect.Effect<ReadonlyArray<Migration>, SqlError | DatabaseError, SqlClient.SqlClient> =>
  Effect.gen(function* () {
    const wrong = check(namespace, migrations)
    if (wrong !== undefined) return yield* Effect.fail(wrong)
    const sql = yield* SqlClient.SqlClient
    const name = options.schema === undefined ? table : `${quote(options.schema)}.${table}`
    const done: Array<Migration> = []
    const steps = Effect.gen(function* () {
      let next = yield* pending(
        namespace,
        migrations,
        yield* Transaction.retryTransient(applied(sql, namespace, options.schema, name))
      )
      while (next !== undefined) {
        next = yield* step(sql, namespace, migrations, options.schema, name)
        if (next !== undefined) done.push(next)
      }
    })
    yield* Effect.catchAll(steps, (error) =>
      Transaction.code(error) === insufficientPrivilege ? without(sql, namespace, options, error) : Effect.fail(error)
    )
    return done
  }).pipe(Effect.withSpan("run_migrations", { attributes: { namespace }, captureStackTrace: false }))
