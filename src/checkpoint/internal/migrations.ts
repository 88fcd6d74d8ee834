/**
 * The official saver's tables, so that either saver opens what the other has set up.
 *
 * @internal
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import type { Migration } from "../../database/Migrations.js"
import type { Tables } from "./statements.js"

/**
 * The official saver's own steps, in its order: a step's place in this list is the version it notes in `checkpoint_migrations`. Each may meet
 * a table that is there already.
 */
const official = (tables: Tables): ReadonlyArray<string> => [
  `create table if not exists ${tables.migrations} (v integer primary key)`,
  `create table if not exists ${tables.checkpoints} (
    thread_id text not null,
    checkpoint_ns text not null default '',
    checkpoint_id text not null,
    parent_checkpoint_id text,
    type text,
    checkpoint jsonb not null,
    metadata jsonb not null default '{}',
    primary key (thread_id, checkpoint_ns, checkpoint_id)
  )`,
  `create table if not exists ${tables.blobs} (
    thread_id text not null,
    checkpoint_ns text not null default '',
    channel text not null,
    version text not null,
    type text not null,
    blob bytea,
    primary key (thread_id, checkpoint_ns, channel, version)
  )`,
  `create table if not exists ${tables.writes} (
    thread_id text not null,
    checkpoint_ns text not null default '',
    checkpoint_id text not null,
    task_id text not null,
    idx integer not null,
    channel text not null,
    type text,
    blob bytea not null,
    primary key (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
  )`,
  `alter table ${tables.blobs} alter column blob drop not null`
]

/** What brings a database, empty or set up by the official saver, to the shape that the statements want. */
export const make = (tables: Tables): ReadonlyArray<Migration> => [
  {
    id: 1,
    name: "create_checkpoint_tables",
    up: Effect.flatMap(
      SqlClient.SqlClient,
      Effect.fnUntraced(function* (sql) {
        for (const [version, statement] of official(tables).entries()) {
          yield* sql.unsafe(statement)
          yield* sql.unsafe(`insert into ${tables.migrations} (v) values ($1) on conflict (v) do nothing`, [version])
        }
      })
    )
  },
  {
    // the column of later savers, by which they order a checkpoint's pending writes
    id: 2,
    name: "add_task_path",
    up: Effect.flatMap(SqlClient.SqlClient, (sql) =>
      sql.unsafe(`alter table ${tables.writes} add column if not exists task_path text not null default ''`)
    )
  },
  {
    // one writer a thread; room in the pages, for a row changes with every checkpoint
    id: 3,
    name: "create_leases",
    up: Effect.flatMap(SqlClient.SqlClient, (sql) =>
      sql.unsafe(`create table if not exists ${tables.leases} (
        thread_id text primary key,
        run text not null,
        holder text not null,
        since timestamptz not null,
        expires_at timestamptz not null,
        writes bigint not null
      ) with (fillfactor = 50)`)
    )
  },
  {
    // what `list` filters by; where the tables are another role's it goes without
    id: 4,
    name: "index_metadata",
    up: Effect.flatMap(
      SqlClient.SqlClient,
      Effect.fnUntraced(function* (sql) {
        const [found] = yield* sql.unsafe<{ readonly owned: boolean }>(
          `select pg_has_role(c.relowner, 'usage') and has_schema_privilege(c.relnamespace, 'create') as owned
           from pg_class c where c.oid = $1::regclass`,
          [tables.checkpoints]
        )
        if (found?.owned !== true) return
        // an index of a large table takes its time
        yield* sql.unsafe("set local statement_timeout = 0")
        yield* sql.unsafe(
          `create index if not exists checkpoints_metadata_idx on ${tables.checkpoints} using gin (metadata jsonb_path_ops)`
        )
      })
    )
  }
]

/** What the statements name: where it stands, a role that may create nothing opens the database. */
export const requires: Readonly<Record<string, ReadonlyArray<string>>> = {
  checkpoints: ["thread_id", "checkpoint_ns", "checkpoint_id", "parent_checkpoint_id", "checkpoint", "metadata"],
  checkpoint_blobs: ["thread_id", "checkpoint_ns", "channel", "version", "type", "blob"],
  checkpoint_writes: [
    "thread_id",
    "checkpoint_ns",
    "checkpoint_id",
    "task_id",
    "idx",
    "channel",
    "type",
    "blob",
    "task_path"
  ],
  holdfast_leases: ["thread_id", "run", "holder", "since", "expires_at", "writes"]
}
