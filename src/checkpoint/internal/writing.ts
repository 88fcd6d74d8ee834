/**
 * The SQL that writes checkpoints and tasks' writes, of one thread or of several. A statement's text does not depend on how many rows it writes:
 * they come as JSON lists, their bytes as one `bytea` beside them. (Arrays of `bytea` travel as text, at twice their size.)
 *
 * @internal
 */
import * as leases from "./leases.js"
import type { Tables } from "./statements.js"

/**
 * Each answers with a {@link leases.WriteRow} for every item of its first parameter, a JSON list; `o` numbers them from 0.
 *
 * `put`: checkpoints, one a thread, beside their blobs and all bytes. `insertWrites` and `upsertWrites`: tasks, beside their writes and all bytes;
 * the first, or the last, write under an index stays.
 */
export interface Statements {
  readonly put: string
  readonly insertWrites: string
  readonly upsertWrites: string
  /** Whether what `insertWrites` or `upsertWrites` would write for one task is there: one row, `landed`. The same parameters, but of `areInserted` only the first two. */
  readonly areInserted: string
  readonly areUpserted: string
}

/** The columns of the lists. */
const checkpoint = `o int, thread text, ns text, id text, parent text, checkpoint jsonb, metadata jsonb, ${leases.guard}`
const task = `o int, thread text, ns text, id text, task text, path text, ${leases.guard}`
const blob = "o int, thread text, ns text, channel text, version text, type text, start int, size int"
const write = "o int, idx int, channel text, type text, start int, size int"

const list = (parameter: string, columns: string): string =>
  `json_to_recordset(${parameter}::text::json) as r(${columns})`

/** A row's bytes are a piece of one parameter, and nothing where there is none. */
const piece = "substring($3::bytea from r.start for r.size)"

/**
 * How long a statement that writes for several waits for a row of one of them, in milliseconds: after that each is written alone, with the
 * timeouts of the connection. It ends with the statement.
 */
const patience = "(select set_config('lock_timeout', '250', true)) patience cross join"

/** @param several Whether the statement is for several threads, of which none may keep the others waiting. */
export const make = (t: Tables, several: boolean): Statements => {
  const items = (columns: string) =>
    `item as materialized (select r.* from ${several ? patience : ""} ${list("$1", columns)})`
  const writes = (onConflict: string, already: string) => `
    with ${items(task)},
    ${leases.share(t)},
    written as (
      insert into ${t.writes} (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path)
      select i.thread, i.ns, i.id, i.task, r.idx, r.channel, r.type, ${piece}, i.path
      from ${list("$2", write)} join item i on i.o = r.o
      where ${leases.isAllowed("i")}
      on conflict (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) ${onConflict}
    )
    ${leases.outcome(t, already)}`
  /** Whether each row that was to be written has one like it; `and` says what likeness is beyond the key. */
  const all = (and: string) => `
    select not exists (
      select from ${list("$1", task).replace("as r", "as i")} join ${list("$2", write)} on r.o = i.o
      where not exists (
        select from ${t.writes} w
        where w.thread_id = i.thread and w.checkpoint_ns = i.ns and w.checkpoint_id = i.id and w.task_id = i.task and w.idx = r.idx ${and}
      )
    ) as landed`
  return {
    put: `
      with ${items(checkpoint)},
      ${leases.fence(t)},
      blobs as (
        insert into ${t.blobs} (thread_id, checkpoint_ns, channel, version, type, blob)
        select r.thread, r.ns, r.channel, r.version, r.type, ${piece}
        from ${list("$2", blob)}
        where ${leases.isAllowed("r")}
        on conflict (thread_id, checkpoint_ns, channel, version) do nothing
      ),
      written as (
        insert into ${t.checkpoints} (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
        select i.thread, i.ns, i.id, i.parent, i.checkpoint, i.metadata
        from item i
        where ${leases.isAllowed("i")}
        on conflict (thread_id, checkpoint_ns, checkpoint_id)
        do update set checkpoint = excluded.checkpoint, metadata = excluded.metadata
      )
      ${leases.outcome(t, `select from ${t.checkpoints} where thread_id = i.thread and checkpoint_ns = i.ns and checkpoint_id = i.id`)}`,
    insertWrites: writes(
      "do nothing",
      `select from ${t.writes} where thread_id = i.thread and checkpoint_ns = i.ns and checkpoint_id = i.id and task_id = i.task and idx >= 0`
    ),
    upsertWrites: writes(
      "do update set channel = excluded.channel, type = excluded.type, blob = excluded.blob",
      "select where false"
    ),
    areInserted: all(""),
    areUpserted: all(`and w.channel = r.channel and w.type = r.type and w.blob = ${piece}`)
  }
}
