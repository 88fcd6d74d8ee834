/**
 * The SQL that reads whole checkpoints: one row each.
 *
 * @internal
 */
import * as leases from "./leases.js"
import { TASKS, type Tables } from "./statements.js"

/** What stands between the values of a {@link Row}: JSON holds no such character outside of its escapes. */
export const separator = "\u001e"

/**
 * A checkpoint with all that belongs to it. Values come as a JSON list of what each is, and beside it one text of all values: those of the type
 * `json` as they are, others in hexadecimal. (A row, a field and a `bytea` each cost `pg` more than a value itself.) The first column is null, as
 * the others are, where there is no checkpoint.
 */
export type Row = readonly [
  /** Its number in the lists of parameters, from 0. */
  place: number | null,
  threadId: string,
  namespace: string,
  checkpointId: string,
  parentId: string | null,
  checkpoint: string,
  metadata: string,
  /** A list of `[type, channel]`. */
  channels: string | null,
  values: string | null,
  /** A list of `[type, channel, task]`, in the order of the writes. */
  writes: string | null,
  written: string | null,
  /** A list of `[type]`: what the parent's tasks sent, which checkpoints before format 4 leave there. */
  sends: string | null,
  sent: string | null,
  /** {@link leases.Taken} as JSON, if a lease was to be taken. */
  lease: string | null
]

export interface Statements {
  /** The newest checkpoint of each thread and namespace. Parameter: a JSON list of `{ o, thread, ns }`, numbered by `o` from 0. */
  readonly newest: string
  /** As {@link newest}, of `{ o, thread, ns, id }`. */
  readonly byId: string
  /**
   * The checkpoints that `where` and `limit` choose, newest first. With `lease`, the number of its first parameter, the thread's lease is taken in
   * the same statement, see {@link leases.take}.
   */
  readonly chosen: (where: string, limit: number | undefined, lease?: number) => string
  /**
   * The ancestors of a checkpoint, nearest first, from which delta channels are put together, with those channels only: each back to the nearest
   * that holds a value of its own. Parameters: thread, namespace, a JSON list of channels, and the checkpoint's id unless it is the `newest`.
   */
  readonly line: (newest: boolean) => string
}

const columns = "c.thread_id, c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id, c.checkpoint, c.metadata"
const order = ["checkpoint_id", "thread_id", "checkpoint_ns"]
const newestFirst = (table: string) => order.map((column) => `${table}.${column} desc`).join(", ")

/**
 * The list in the one parameter. The planner takes it for a hundred rows, and would make much of them; of what stands in a range it expects one,
 * whatever the parameter: with arrays, whose length it sees, it would plan anew each time, which takes three times as long as the reading.
 */
export const keys = (columns: string): string =>
  `(select * from json_to_recordset($1::text::json) as k(${columns}) where k.o between 0 and 1000000) k`

/** @param hex All values in hexadecimal, whatever their type. */
export const make = (t: Tables, hex: boolean): Statements => {
  const body = hex
    ? "coalesce(encode(p.blob, 'hex'), '')"
    : "coalesce(case when p.type = 'json' then convert_from(p.blob, 'UTF8') else encode(p.blob, 'hex') end, '')"
  /** The two columns of a kind of values. */
  const parts = (head: string) =>
    `json_agg(json_build_array(${head}))::text as heads, string_agg(${body}, chr(30)) as bodies`
  // an official saver may have stored no type
  const value = "coalesce(type, 'json') as type, blob"
  // a query of its own for each blob (offset 0), by its key: a join might read all blobs of a long thread
  // `only`: no other channels than those that the column of this name lists
  const whole = (checkpoints: string, only = false) => `
    select cp.place, cp.thread_id, cp.checkpoint_ns, cp.checkpoint_id, cp.parent_checkpoint_id,
      cp.checkpoint::text as checkpoint, cp.metadata::text as metadata, v.heads as channels, v.bodies as "values",
      w.heads as writes, w.bodies as written, s.heads as sends, s.bodies as sent
    from (${checkpoints}) cp
    cross join lateral (
      select ${parts("p.type, p.channel")}
      from jsonb_each_text(cp.checkpoint -> 'channel_versions') version
      cross join lateral (
        select channel, ${value} from ${t.blobs}
        where ${only ? "version.key = any(cp.only) and" : ""} thread_id = cp.thread_id and checkpoint_ns = cp.checkpoint_ns
          and channel = version.key and version = version.value
        offset 0
      ) p
    ) v
    cross join lateral (
      select ${parts("p.type, p.channel, p.task_id")}
      from (
        select task_id, channel, ${value} from ${t.writes}
        where ${only ? "channel = any(cp.only) and" : ""} thread_id = cp.thread_id and checkpoint_ns = cp.checkpoint_ns and checkpoint_id = cp.checkpoint_id
        order by task_path collate "C", task_id collate "C", idx
      ) p
    ) w
    cross join lateral (
      select ${parts("p.type")}
      from (
        select ${value} from ${t.writes}
        where (cp.checkpoint ->> 'v')::numeric < 4 and thread_id = cp.thread_id and checkpoint_ns = cp.checkpoint_ns
          and checkpoint_id = cp.parent_checkpoint_id and channel = '${TASKS}'
        order by task_path collate "C", task_id collate "C", idx
      ) p
    ) s`
  return {
    newest: whole(`
      select k.o as place, c.* from ${keys("o int, thread text, ns text")}
      cross join lateral (
        select ${columns} from ${t.checkpoints} c where c.thread_id = k.thread and c.checkpoint_ns = k.ns
        order by c.checkpoint_id desc limit 1
      ) c`),
    byId: whole(`
      select k.o as place, c.* from ${keys("o int, thread text, ns text, id text")}
      cross join lateral (
        select ${columns} from ${t.checkpoints} c
        where c.thread_id = k.thread and c.checkpoint_ns = k.ns and c.checkpoint_id = k.id
        offset 0
      ) c`),
    chosen: (where, limit, lease) => {
      const found = whole(`
        select 0 as place, ${columns} from ${t.checkpoints} c ${where}
        order by ${newestFirst("c")} ${limit === undefined ? "" : `limit ${limit}`}`)
      return lease === undefined
        ? `${found} order by ${newestFirst("cp")}`
        : `with ${leases.take(t, lease)}
          select found.*, ${leases.taken(t, lease)} as lease from (select) one left join (${found}) found on true
          order by ${newestFirst("found")}`
    },
    line: (newest) => `
      with recursive line as (
        select 0 as place, ${columns}, array(select json_array_elements_text($3::text::json)) as only
        from (
          select * from ${t.checkpoints} where thread_id = $1 and checkpoint_ns = $2 ${newest ? "" : "and checkpoint_id = $4"}
          order by checkpoint_id desc limit 1
        ) c
        union all
        select line.place + 1, ${columns}, needed.channels
        from line
        cross join lateral (
          select array(
            select channel from unnest(line.only) channel
            where line.place = 0 or not exists (
              select from ${t.blobs} b where b.thread_id = $1 and b.checkpoint_ns = $2 and b.channel = channel.channel
                and b.version = line.checkpoint -> 'channel_versions' ->> channel.channel and b.type <> 'empty'
            )
          ) as channels
        ) needed
        join ${t.checkpoints} c
          on c.thread_id = $1 and c.checkpoint_ns = $2 and c.checkpoint_id = line.parent_checkpoint_id
        where cardinality(needed.channels) > 0
      )
      ${whole("select * from line where place > 0", true)} order by cp.place`
  }
}
