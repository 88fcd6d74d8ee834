/**
 * The SQL for one thread at a time, with a parameter for each value: the server has half the work of a statement for several, which takes lists. A
 * statement for so many values is prepared for each number of them, up to {@link most}.
 *
 * A write says by the number of rows that it has written whether it was allowed. When it was not, or is not certain to have been, the statement for
 * several is asked, which knows why.
 *
 * @internal
 */
import * as leases from "./leases.js"
import * as loading from "./loading.js"
import type { Tables } from "./statements.js"

/** With more values the statement for several serves as well. */
export const most = 8

/** `run`: a run that has the thread's lease. `none`: no run, such as LangGraph's `updateState`. */
export type By = "run" | "none"

/**
 * A row of what is read. `c`, the checkpoint: its id, its parent's, the checkpoint and its metadata as JSON; thread and namespace where they were not
 * asked for. `b`, a value: its channel, nothing, its type and text. `w`, a pending write: its channel, its task, its type and text.
 */
export type Row = readonly [
  place: string,
  kind: string,
  a: string,
  b: string | null,
  c: string,
  d: string,
  threadId?: string,
  namespace?: string
]

export interface Statements {
  /**
   * Parameters: thread, namespace, checkpoint id, parent id, checkpoint JSON, metadata JSON; run and seconds, or a run that is over; for each blob
   * channel, version, type, bytes. It has written one row.
   */
  readonly put: (by: By, blobs: number) => string
  /** Parameters: thread, namespace, checkpoint id, task, path; run, or a run that is over; for each write index, channel, type, bytes. */
  readonly insertWrites: (by: By, writes: number) => string
  readonly upsertWrites: (by: By, writes: number) => string
  /** The checkpoint and all that belongs to it, a {@link Row} each. Parameters: thread, namespace, and the id for `byId`. */
  readonly newest: string
  readonly byId: string
  /** The same for several. Parameter: a JSON list of `{ o, thread, ns, id }`. */
  readonly newestOf: string
  readonly byIds: string
  /** The checkpoints that `where` and `limit` choose; their places are their order. */
  readonly chosen: (where: string, limit: number | undefined) => string
}

/** A list of values of four columns, from a parameter on. The first row says the types. */
const values = (from: number, count: number, types: readonly [string, string, string, string]): string =>
  Array.from({ length: count }, (_, row) => {
    const cells = types.map((type, column) => `$${from + row * 4 + column}${row === 0 ? `::${type}` : ""}`)
    return `(${cells.join(", ")})`
  }).join(", ")

export const make = (t: Tables): Statements => {
  /** Allowed is a run whose name stands in the lease, which lives on by it. */
  const ofRun = `fence as (
      update ${t.leases} set writes = writes + 1,
        expires_at = case when $8::float8 = 0 then '-infinity' else ${leases.until("$8::float8")} end
      where thread_id = $1 and run = $7 returning 1
    )`
  const isOver = (ended: string) => `(run = ${ended}::text or expires_at <= clock_timestamp())`
  const orFree = `fence as materialized (
      select 1 from over union all select 1 where not exists (select from ${t.leases} where thread_id = $1)
    )`
  const ofNone = `over as (
      update ${t.leases} set run = gen_random_uuid()::text, writes = writes + 1, expires_at = '-infinity'
      where thread_id = $1 and ${isOver("$7")} returning 1
    ), ${orFree}`
  const writes =
    (onConflict: string): Statements["insertWrites"] =>
    (by, count) =>
      `
      with ${
        by === "run"
          ? `fence as materialized (select 1 from ${t.leases} where thread_id = $1 and run = $6 for share)`
          : `over as materialized (select 1 from ${t.leases} where thread_id = $1 and ${isOver("$6")} for share), ${orFree}`
      }
      insert into ${t.writes} (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
      select $1, $2, $3, $4, $5, v.* from fence cross join (values ${values(7, count, ["int", "text", "text", "bytea"])}) v
      on conflict (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) ${onConflict}`

  const text = (row: string) =>
    `coalesce(case when coalesce(${row}.type, 'json') = 'json' then convert_from(${row}.blob, 'UTF8') else encode(${row}.blob, 'hex') end, '')`
  /** `checkpoints` has the columns of the table and `place`. A query of its own for each blob (offset 0): a join might read all of a long thread's. */
  const whole = (checkpoints: string, isNamed: boolean) => {
    const [names, none] = isNamed ? [", cp.thread_id, cp.checkpoint_ns", ", null, null"] : ["", ""]
    return `
      with cp as materialized (${checkpoints})
      select cp.place, 'c', cp.checkpoint_id, cp.parent_checkpoint_id, cp.checkpoint::text, cp.metadata::text${names} from cp
      union all
      select cp.place, 'b', b.channel, null, coalesce(b.type, 'json'), ${text("b")}${none}
      from cp cross join lateral jsonb_each_text(cp.checkpoint -> 'channel_versions') version
      cross join lateral (
        select channel, type, blob from ${t.blobs}
        where thread_id = cp.thread_id and checkpoint_ns = cp.checkpoint_ns
          and channel = version.key and version = version.value
        offset 0
      ) b
      union all
      select cp.place, 'w', w.channel, w.task_id, coalesce(w.type, 'json'), ${text("w")}${none}
      from cp cross join lateral (
        select channel, task_id, type, blob from ${t.writes}
        where thread_id = cp.thread_id and checkpoint_ns = cp.checkpoint_ns and checkpoint_id = cp.checkpoint_id
        order by task_path collate "C", task_id collate "C", idx
      ) w`
  }
  const columns = "c.thread_id, c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id, c.checkpoint, c.metadata"
  const one = (and: string) => `
    select 0 as place, ${columns} from ${t.checkpoints} c where thread_id = $1 and checkpoint_ns = $2 ${and}
    order by checkpoint_id desc limit 1`
  const several = (keys: string, and: string) => `
    select k.o as place, c.* from ${loading.keys(keys)} cross join lateral (
      select ${columns} from ${t.checkpoints} c where c.thread_id = k.thread and c.checkpoint_ns = k.ns ${and}
      order by c.checkpoint_id desc limit 1
    ) c`
  return {
    put: (by, blobs) => `
      with ${by === "run" ? ofRun : ofNone}${
        blobs === 0
          ? ""
          : `,
      blobs as (
        insert into ${t.blobs} (thread_id, checkpoint_ns, channel, version, type, blob)
        select $1, $2, v.* from fence
        cross join (values ${values(by === "run" ? 9 : 8, blobs, ["text", "text", "text", "bytea"])}) v
        on conflict (thread_id, checkpoint_ns, channel, version) do nothing
      )`
      }
      insert into ${t.checkpoints} (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
      select $1, $2, $3, $4, $5::jsonb, $6::jsonb from fence
      on conflict (thread_id, checkpoint_ns, checkpoint_id)
      do update set checkpoint = excluded.checkpoint, metadata = excluded.metadata`,
    insertWrites: writes("do nothing"),
    upsertWrites: writes("do update set channel = excluded.channel, type = excluded.type, blob = excluded.blob"),
    newest: whole(one(""), false),
    byId: whole(one("and checkpoint_id = $3"), false),
    newestOf: whole(several("o int, thread text, ns text", ""), false),
    byIds: whole(several("o int, thread text, ns text, id text", "and c.checkpoint_id = k.id"), false),
    chosen: (where, limit) =>
      whole(
        `select row_number() over () as place, c.* from (
          select ${columns} from ${t.checkpoints} c ${where}
          order by checkpoint_id desc, thread_id desc, checkpoint_ns desc ${limit === undefined ? "" : `limit ${limit}`}
        ) c`,
        true
      )
  }
}
