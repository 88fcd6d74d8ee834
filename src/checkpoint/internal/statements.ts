/**
 * The SQL, one statement an operation. A statement's text does not depend on how many rows it writes: they come as one JSON list, their bytes
 * as one `bytea` beside it.
 *
 * @internal
 */

import * as leases from "./leases.js"

/** The official saver's tables, quoted, in one schema. */
export interface Tables {
  readonly migrations: string
  readonly checkpoints: string
  readonly blobs: string
  readonly writes: string
  /** Who writes a thread; ours to add. */
  readonly leases: string
}

export const tables = (schema: string): Tables => {
  const prefix = `"${schema.replaceAll('"', '""')}".`
  return {
    migrations: `${prefix}checkpoint_migrations`,
    checkpoints: `${prefix}checkpoints`,
    blobs: `${prefix}checkpoint_blobs`,
    writes: `${prefix}checkpoint_writes`,
    leases: `${prefix}holdfast_leases`
  }
}

/** The channel of what a node sent to other nodes. */
export const TASKS = "__pregel_tasks"

/**
 * A row of {@link load}. `kind` is 0 for the checkpoint itself, 1 for a channel's value, 2 for a pending write, 3 for what the parent's tasks
 * sent, which checkpoints before format 4 leave there, 4 for the thread's lease. `checkpoint` counts the checkpoints of the answer from 0.
 */
export interface LoadRow {
  readonly kind: 0 | 1 | 2 | 3 | 4
  readonly checkpoint: number
  /** 0: the thread. 2: the task. */
  readonly a: string
  /** 0: the namespace. 1, 2: the channel. */
  readonly b: string
  /** 0: the checkpoint's id. 1, 2, 3: the serialization type; null where an official saver has stored none. */
  readonly c: string | null
  /** 0: the parent's id. */
  readonly d: string | null
  /** 0: the checkpoint and its metadata, JSON. 4: {@link leases.Taken} as JSON. */
  readonly body: string | null
  readonly metadata: string | null
  readonly blob: Uint8Array | null
}

export interface Statements {
  /**
   * Parameters: thread, namespace, checkpoint id, parent id, checkpoint JSON, metadata JSON, blobs' JSON, bytes, and those of
   * {@link leases.fence}. Answers with a {@link leases.WriteRow}.
   */
  readonly put: string
  /**
   * A checkpoint of one blob, unless a blob stands under the same channel and version. Parameters: thread, namespace, checkpoint id, parent id,
   * checkpoint JSON, metadata JSON, channel, version, type, bytes. Answers with a {@link leases.WriteRow}.
   */
  readonly append: string
  /**
   * Parameters: thread, namespace, checkpoint id, task, writes' JSON, bytes, task path, and those of {@link leases.fence}. The first write under
   * an index stays. Answers with a {@link leases.WriteRow}.
   */
  readonly insertWrites: string
  /** As {@link insertWrites}, but the last write under an index stays. */
  readonly upsertWrites: string
  /**
   * Whole checkpoints in one answer. `where` and `limit` choose them; the newest come first. With `lease`, the number of its first parameter, the
   * thread's lease is taken in the same statement, see {@link leases.take}.
   */
  readonly load: (where: string, limit: number | undefined, lease?: number) => string
  /** See {@link leases.extend}. */
  readonly extendLeases: string
  /** Parameters: a JSON list of `{ threadId, namespace, channel, version }`. Answers with the places in it, from 0, type and blob. */
  readonly blobs: string
  /** Parameters: thread. */
  readonly deleteThread: string
  /** Checkpoints without their values: what a list of threads or a history shows. */
  readonly overview: (where: string, limit: number) => string
  /** The newest checkpoint of each thread and of each workflow. Parameters: the workflows' namespace. */
  readonly newest: (limit: number) => string
}

/** A row of {@link Statements.overview} and {@link Statements.newest}. */
export interface OverviewRow {
  readonly thread_id: string
  readonly checkpoint_ns: string
  readonly checkpoint_id: string
  readonly parent_checkpoint_id: string | null
  readonly checkpoint: string
  readonly metadata: string
  /** Checkpoints of this thread in this namespace. */
  readonly total: number
  /** JSON: a list of `{ channel, empty, version, type, value }`; base64 of the value for the channels that name nodes. */
  readonly channels: string | null
  /** JSON: a list of `{ channel, type, task, value }`, interruptions and errors; value in base64. */
  readonly signals: string | null
}

/** The rows of a write: their bytes are a piece of one parameter, and nothing where there is none. */
const piece = (bytes: string): string => `substring(${bytes}::bytea from r.start for r.size)`

export const make = (t: Tables): Statements => {
  const writes = (onConflict: string, already: string) => `
    with ${leases.share(t, 8)},
    written as (
      insert into ${t.writes} (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path)
      select $1, $2, $3, $4, r.idx, r.channel, r.type, ${piece("$6")}, $7
      from json_to_recordset($5::text::json) as r(idx int, channel text, type text, start int, size int)
      where exists (select from allowed)
      on conflict (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) ${onConflict}
    )
    ${leases.outcome(t, already)}`
  const overview = (checkpoints: string) => `
    select cp.thread_id, cp.checkpoint_ns, cp.checkpoint_id, cp.parent_checkpoint_id, cp.total,
      cp.checkpoint::text as checkpoint, cp.metadata::text as metadata,
      (
        select json_agg(json_build_object('channel', bl.channel, 'empty', bl.type = 'empty',
          'version', bl.version, 'type', bl.type, 'value',
          case when bl.channel = '${TASKS}' or bl.channel like 'join:%' then encode(bl.blob, 'base64') end))::text
        from jsonb_each_text(cp.checkpoint -> 'channel_versions') v
        join ${t.blobs} bl on bl.thread_id = cp.thread_id and bl.checkpoint_ns = cp.checkpoint_ns
          and bl.channel = v.key and bl.version = v.value
      ) as channels,
      (
        select json_agg(json_build_object('channel', w.channel, 'type', w.type, 'task', w.task_id, 'value', encode(w.blob, 'base64'))
          order by w.task_path, w.task_id, w.idx)::text
        from ${t.writes} w
        where w.thread_id = cp.thread_id and w.checkpoint_ns = cp.checkpoint_ns and w.checkpoint_id = cp.checkpoint_id
          and w.channel in ('__interrupt__', '__error__')
      ) as signals
    from (${checkpoints}) cp
    order by cp.checkpoint_id desc`
  return {
    put: `
      with ${leases.fence(t, 9)},
      blobs as (
        insert into ${t.blobs} (thread_id, checkpoint_ns, channel, version, type, blob)
        select $1, $2, r.channel, r.version, r.type, ${piece("$8")}
        from json_to_recordset($7::text::json) as r(channel text, version text, type text, start int, size int)
        where exists (select from allowed)
        on conflict (thread_id, checkpoint_ns, channel, version) do nothing
      ),
      written as (
        insert into ${t.checkpoints} (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
        select $1, $2, $3, $4, $5::text::jsonb, $6::text::jsonb
        where exists (select from allowed)
        on conflict (thread_id, checkpoint_ns, checkpoint_id)
        do update set checkpoint = excluded.checkpoint, metadata = excluded.metadata
      )
      ${leases.outcome(t, `select from ${t.checkpoints} where thread_id = $1 and checkpoint_ns = $2 and checkpoint_id = $3`)}`,
    append: `
      with fresh as (
        insert into ${t.blobs} (thread_id, checkpoint_ns, channel, version, type, blob)
        values ($1, $2, $7, $8, $9, $10::bytea)
        on conflict (thread_id, checkpoint_ns, channel, version) do nothing
        returning 1
      ),
      written as (
        insert into ${t.checkpoints} (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
        select $1, $2, $3, $4, $5::text::jsonb, $6::text::jsonb
        where exists (select from fresh)
        on conflict (thread_id, checkpoint_ns, checkpoint_id) do nothing
      )
      select exists (select from fresh) or exists (
        select from ${t.checkpoints} where thread_id = $1 and checkpoint_ns = $2 and checkpoint_id = $3
      ) as written, null::text as lease`,
    insertWrites: writes(
      "do nothing",
      `select from ${t.writes} where thread_id = $1 and checkpoint_ns = $2 and checkpoint_id = $3 and task_id = $4 and idx >= 0`
    ),
    upsertWrites: writes(
      "do update set channel = excluded.channel, type = excluded.type, blob = excluded.blob",
      "select where false"
    ),
    load: (where, limit, lease) => `
      with ${lease === undefined ? "" : `${leases.take(t, lease)},`}
      cp as materialized (
        select thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata,
          (row_number() over (order by checkpoint_id desc, thread_id desc, checkpoint_ns desc))::int - 1 as place
        from ${t.checkpoints} ${where}
        order by checkpoint_id desc, thread_id desc, checkpoint_ns desc
        ${limit === undefined ? "" : `limit ${limit}`}
      )
      select kind, checkpoint, a, b, c, d, body, metadata, blob from (
      select 0 as kind, place as checkpoint, thread_id as a, checkpoint_ns as b, checkpoint_id as c, parent_checkpoint_id as d,
        checkpoint::text as body, metadata::text as metadata, null::bytea as blob, null::text as path, 0 as idx
      from cp
      union all
      select 1, cp.place, '', bl.channel, bl.type, null, null, null, bl.blob, null, 0
      from cp
      cross join lateral jsonb_each_text(cp.checkpoint -> 'channel_versions') v
      join ${t.blobs} bl on bl.thread_id = cp.thread_id and bl.checkpoint_ns = cp.checkpoint_ns
        and bl.channel = v.key and bl.version = v.value
      union all
      select 2, cp.place, w.task_id, w.channel, w.type, null, null, null, w.blob, w.task_path, w.idx
      from cp
      join ${t.writes} w on w.thread_id = cp.thread_id and w.checkpoint_ns = cp.checkpoint_ns
        and w.checkpoint_id = cp.checkpoint_id
      union all
      select 3, cp.place, w.task_id, w.channel, w.type, null, null, null, w.blob, w.task_path, w.idx
      from cp
      join ${t.writes} w on w.thread_id = cp.thread_id and w.checkpoint_ns = cp.checkpoint_ns
        and w.checkpoint_id = cp.parent_checkpoint_id and w.channel = '${TASKS}'
      where (cp.checkpoint ->> 'v')::numeric < 4
      ${lease === undefined ? "" : `union all select 4, 0, '', '', null, null, ${leases.taken(t, lease)}, null, null, null, 0`}
      ) parts order by kind, checkpoint, path collate "C", a collate "C", idx`,
    extendLeases: leases.extend(t),
    blobs: `
      select (k.at - 1)::int as i, bl.type, bl.blob
      from rows from (json_to_recordset($1::text::json) as ("threadId" text, namespace text, channel text, version text))
        with ordinality as k("threadId", namespace, channel, version, at)
      join ${t.blobs} bl on bl.thread_id = k."threadId" and bl.checkpoint_ns = k.namespace
        and bl.channel = k.channel and bl.version = k.version`,
    deleteThread: `
      with gone_lease as (delete from ${t.leases} where thread_id = $1),
        gone_writes as (delete from ${t.writes} where thread_id = $1),
        gone_blobs as (delete from ${t.blobs} where thread_id = $1)
      delete from ${t.checkpoints} where thread_id = $1`,
    overview: (where, limit) =>
      overview(`select cp.*, 0 as total from ${t.checkpoints} cp ${where} order by checkpoint_id desc limit ${limit}`),
    newest: (limit) =>
      overview(`select * from (
        select distinct on (thread_id, checkpoint_ns) cp.*,
          (count(*) over (partition by thread_id, checkpoint_ns))::int as total
        from ${t.checkpoints} cp where checkpoint_ns in ('', $1)
        order by thread_id, checkpoint_ns, checkpoint_id desc
      ) each_newest order by checkpoint_id desc limit ${limit}`)
  }
}
