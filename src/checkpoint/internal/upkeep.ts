/**
 * The SQL of pruning, expiring and copying. `$1` is the thread, where there is one.
 *
 * @internal
 */
import { TASKS, tables as tablesOf } from "./statements.js"

/** Channels of LangGraph's own, which are no delta channels. */
const structure = "^(__|branch:|join:)"

/** No thread has this name. */
const sweep = "holdfast:sweep"

/** How the serializer writes the snapshot of a delta channel. */
const snapshot = '{"lc":2,"type":"delta_snapshot"'

const named = (list: string): string => `json_to_recordset(${list}::text::json) as named(ns text, id text)`

export const make = (schema: string) => {
  const t = tablesOf(schema)
  const versions = (alias: string) =>
    `jsonb_each_text(case when jsonb_typeof(${alias}.checkpoint -> 'channel_versions') = 'object' then ${alias}.checkpoint -> 'channel_versions' else '{}' end)`
  /** The values that some checkpoints hold, and those that these are differences to. */
  const live = (remaining: string) => `
    held as materialized (
      select distinct c.checkpoint_ns as ns, v.key as channel, v.value as version
      from ${t.checkpoints} c cross join lateral ${versions("c")} v where c.thread_id = $1 ${remaining}
    ),
    live as materialized (
      select ns, channel, version from held
      union
      select b.checkpoint_ns, b.channel, substring(b.type from '[+]of=([0-9.]+)')
      from held join ${t.blobs} b on b.thread_id = $1 and b.checkpoint_ns = held.ns and b.channel = held.channel and b.version = held.version
      where b.type like '%+of=%'
      union
      select w.checkpoint_ns, w.channel, substring(w.type from '[+]of=([0-9.]+)')
      from ${t.writes} w join ${t.checkpoints} c on c.thread_id = w.thread_id and c.checkpoint_ns = w.checkpoint_ns and c.checkpoint_id = w.checkpoint_id
      where w.thread_id = $1 and w.type like '%+of=%' ${remaining}
    )`
  const dead = `select b.checkpoint_ns as ns, b.channel, b.version, pg_column_size(b.blob) as size from ${t.blobs} b
    where b.thread_id = $1 and not exists (
      select from live where live.ns = b.checkpoint_ns and live.channel = b.channel and live.version = b.version
    )`
  const spared = `and (c.checkpoint_ns, c.checkpoint_id) not in (select ns, id from ${named("$2")})`
  const page = `
    recursive page(thread_id, n) as (
      (select thread_id, 1 from ${t.checkpoints} where $1::text is null or thread_id > $1 order by thread_id limit 1)
      union all
      select (select c.thread_id from ${t.checkpoints} c where c.thread_id > page.thread_id order by c.thread_id limit 1), n + 1
      from page where page.thread_id is not null and n < $2
    )`
  const busy = (thread: string) =>
    `exists (select from ${t.leases} l where l.thread_id = ${thread} and l.expires_at > clock_timestamp())`
  const sizes = {
    checkpoints: (alias: string) => `pg_column_size(${alias}.checkpoint) + pg_column_size(${alias}.metadata)`,
    values: (alias: string) => `coalesce(pg_column_size(${alias}.blob), 0)`
  }
  const chunk = (table: string, size: (alias: string) => string) => `
    with gone as (
      delete from ${table} x where ctid = any(array(select ctid from ${table} where thread_id = $1 limit $2)) returning ${size("x")} as size
    ) select count(*)::int as count, coalesce(sum(size), 0)::float8 as bytes from gone`
  return {
    tables: t,
    /** A thread's checkpoints, newest first in each namespace. */
    nodes: `
      select checkpoint_ns as namespace, checkpoint_id as id, parent_checkpoint_id as parent, checkpoint ->> 'ts' as ts,
        case when jsonb_typeof(metadata -> 'parents') = 'object' then (metadata -> 'parents')::text end as parents,
        case when jsonb_typeof(checkpoint -> 'v') = 'number' then (checkpoint ->> 'v')::numeric < 4 else false end
          and exists (select from ${t.writes} w where w.thread_id = c.thread_id and w.checkpoint_ns = c.checkpoint_ns
            and w.checkpoint_id = c.parent_checkpoint_id and w.channel = '${TASKS}') as leans
      from ${t.checkpoints} c where thread_id = $1 order by checkpoint_ns, checkpoint_id desc`,
    /** Delta channels: those that LangGraph counts, have a snapshot, or were written without that the next checkpoint holds a value. */
    deltas: `
      select distinct c.checkpoint_ns as namespace, k.channel from ${t.checkpoints} c
      cross join lateral jsonb_object_keys(
        case when jsonb_typeof(c.metadata -> 'counters_since_delta_snapshot') = 'object' then c.metadata -> 'counters_since_delta_snapshot' else '{}' end
      ) k(channel) where c.thread_id = $1
      union
      select distinct checkpoint_ns, channel from ${t.blobs} where thread_id = $1 and channel !~ '${structure}'
        and (type like '%+snap+%' or (type = 'json' and substring(blob from 1 for ${snapshot.length}) = convert_to('${snapshot}', 'UTF8')))
      union
      select distinct w.checkpoint_ns, w.channel from ${t.writes} w
      join ${t.checkpoints} c on c.thread_id = w.thread_id and c.checkpoint_ns = w.checkpoint_ns and c.parent_checkpoint_id = w.checkpoint_id
      where w.thread_id = $1 and w.channel !~ '${structure}' and not exists (
        select from ${t.blobs} b where b.thread_id = c.thread_id and b.checkpoint_ns = c.checkpoint_ns and b.channel = w.channel
          and b.version = c.checkpoint -> 'channel_versions' ->> w.channel and b.type <> 'empty'
      )`,
    /** Which checkpoints hold a value of these channels. Parameters: thread, JSON list of `{ namespace, channel }`. */
    holders: `
      select c.checkpoint_ns as namespace, c.checkpoint_id as id, b.channel
      from json_to_recordset($2::text::json) as d(namespace text, channel text)
      join ${t.checkpoints} c on c.thread_id = $1 and c.checkpoint_ns = d.namespace
      join ${t.blobs} b on b.thread_id = $1 and b.checkpoint_ns = d.namespace and b.channel = d.channel
        and b.version = c.checkpoint -> 'channel_versions' ->> d.channel
      where b.type <> 'empty'`,
    /** Keeps runs from beginning or writing until the transaction ends. */
    lock: `select expires_at > clock_timestamp() as busy from ${t.leases} where thread_id = $1 for update`,
    busy: `select ${busy("$1")} as busy`,
    /** Checkpoints that follow on one of these and are not known. Parameters: thread, JSON list of `{ ns, id }`, the known ones likewise. */
    strangers: `
      select c.checkpoint_id as id from ${named("$2")} join ${t.checkpoints} c
        on c.thread_id = $1 and c.checkpoint_ns = named.ns and c.parent_checkpoint_id = named.id
      where (c.checkpoint_ns, c.checkpoint_id) not in (select ns, id from ${named("$3")}) limit 1`,
    /** Parameters: thread, JSON list of `{ ns, id }`. */
    remove: `
      with named as materialized (select ns, id from ${named("$2")}),
      w as (
        delete from ${t.writes} x using named where x.thread_id = $1 and x.checkpoint_ns = named.ns and x.checkpoint_id = named.id
        returning pg_column_size(x.blob) as size
      ),
      c as (
        delete from ${t.checkpoints} x using named where x.thread_id = $1 and x.checkpoint_ns = named.ns and x.checkpoint_id = named.id
        returning pg_column_size(x.checkpoint) + pg_column_size(x.metadata) as size
      )
      select (select count(*) from c)::int as count,
        coalesce((select sum(size) from c), 0)::float8 + coalesce((select sum(size) from w), 0)::float8 as bytes`,
    /** Values that no checkpoint holds. Parameters: thread, most of them. */
    removeDead: `
      with ${live("")}, dead as materialized (${dead} limit $2),
      gone as (
        delete from ${t.blobs} b using dead
        where b.thread_id = $1 and b.checkpoint_ns = dead.ns and b.channel = dead.channel and b.version = dead.version returning dead.size
      )
      select count(*)::int as count, coalesce(sum(size), 0)::float8 as bytes from gone`,
    /** Writes to checkpoints that were never stored, beside newer ones that were. */
    removeLost: `
      delete from ${t.writes} w where w.thread_id = $1
        and not exists (select from ${t.checkpoints} c where c.thread_id = $1 and c.checkpoint_ns = w.checkpoint_ns and c.checkpoint_id = w.checkpoint_id)
        and exists (select from ${t.checkpoints} c where c.thread_id = $1 and c.checkpoint_ns = w.checkpoint_ns and c.checkpoint_id > w.checkpoint_id)`,
    /** What {@link remove} and {@link removeDead} would free. Parameters: thread, JSON list of `{ ns, id }`. */
    weigh: `
      with ${live(spared)}, named as materialized (select ns, id from ${named("$2")})
      select coalesce((select sum(size) from (${dead}) dead), 0)::float8
        + coalesce((select sum(pg_column_size(w.blob)) from named join ${t.writes} w on w.thread_id = $1 and w.checkpoint_ns = named.ns and w.checkpoint_id = named.id), 0)::float8
        + coalesce((select sum(pg_column_size(c.checkpoint) + pg_column_size(c.metadata)) from named join ${t.checkpoints} c on c.thread_id = $1 and c.checkpoint_ns = named.ns and c.checkpoint_id = named.id), 0)::float8
        as bytes`,
    /** Threads in order. Parameters: the one before, or null; how many. */
    threads: `with ${page} select thread_id as id from page where thread_id is not null order by n`,
    /** Threads in order, and whether all of each is older. Parameters: the one before, or null; how many; an ISO time. */
    idle: `
      with ${page}
      select page.thread_id as id,
        coalesce((select c.checkpoint ->> 'ts' from ${t.checkpoints} c where c.thread_id = page.thread_id and c.checkpoint_ns = ''
          order by c.checkpoint_id desc limit 1), '') collate "C" < $3
        and not exists (select from ${t.checkpoints} c where c.thread_id = page.thread_id and coalesce(c.checkpoint ->> 'ts', '9') collate "C" >= $3)
        and not ${busy("page.thread_id")} as idle
      from page where thread_id is not null order by n`,
    /** Whether there is the thread, and all of it is older. Parameters: thread, an ISO time. */
    isIdle: `
      select count(*)::int as checkpoints, coalesce(bool_and(coalesce(checkpoint ->> 'ts', '9') collate "C" < $2), false) as idle
      from ${t.checkpoints} where thread_id = $1`,
    /** What a whole thread takes. */
    weighThread: `
      select coalesce((select sum(${sizes.checkpoints("c")}) from ${t.checkpoints} c where thread_id = $1), 0)::float8
        + coalesce((select sum(${sizes.values("b")}) from ${t.blobs} b where thread_id = $1), 0)::float8
        + coalesce((select sum(${sizes.values("w")}) from ${t.writes} w where thread_id = $1), 0)::float8 as bytes`,
    /** A part of a whole thread each. Parameters: thread, how many. */
    chunks: [
      chunk(t.writes, sizes.values),
      chunk(t.blobs, sizes.values),
      chunk(t.checkpoints, sizes.checkpoints)
    ] as const,
    removeLease: `delete from ${t.leases} where thread_id = $1`,
    /** Copies what is not encrypted. Parameters: thread, the new one. */
    copy: [
      `insert into ${t.checkpoints} (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata)
        select $2, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint,
          case when metadata ->> 'thread_id' = $1 then jsonb_set(metadata, '{thread_id}', to_jsonb($2::text)) else metadata end
        from ${t.checkpoints} where thread_id = $1`,
      `insert into ${t.blobs} (thread_id, checkpoint_ns, channel, version, type, blob)
        select $2, checkpoint_ns, channel, version, type, blob from ${t.blobs} where thread_id = $1 and type not like '%+aes=%'`,
      `insert into ${t.writes} (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path)
        select $2, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path
        from ${t.writes} where thread_id = $1 and coalesce(type, '') not like '%+aes=%'`
    ] as const,
    /** Whether a thread holds anything. */
    exists: `
      select exists (select from ${t.checkpoints} where thread_id = $1) as checkpoints,
        exists (select from ${t.blobs} where thread_id = $1) or exists (select from ${t.writes} where thread_id = $1) as rest`,
    /** Encrypted values after a place. Parameters: thread, namespace, channel, version, how many. */
    sealedBlobs: `
      select checkpoint_ns as namespace, channel, version, type, blob from ${t.blobs}
      where thread_id = $1 and type like '%+aes=%' and (checkpoint_ns, channel, version) > ($2, $3, $4)
      order by checkpoint_ns, channel, version limit $5`,
    insertBlob: `insert into ${t.blobs} (thread_id, checkpoint_ns, channel, version, type, blob) values ($1, $2, $3, $4, $5, $6)`,
    /** Encrypted writes after a place. Parameters: thread, namespace, checkpoint, task, index, how many. */
    sealedWrites: `
      select checkpoint_ns as namespace, checkpoint_id as checkpoint, task_id as task, idx, channel, type, blob, task_path as path from ${t.writes}
      where thread_id = $1 and type like '%+aes=%' and (checkpoint_ns, checkpoint_id, task_id, idx) > ($2, $3, $4, $5::int)
      order by checkpoint_ns, checkpoint_id, task_id, idx limit $6`,
    insertWrite: `
      insert into ${t.writes} (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path)
      values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
    /** Documents with an encrypted part, in a thread's copy. */
    sealedDocuments: `
      select checkpoint_ns as namespace, checkpoint_id as id, checkpoint::text as checkpoint, metadata::text as metadata
      from ${t.checkpoints} where thread_id = $1 and (checkpoint ? 'holdfast:sealed' or metadata ? 'holdfast:sealed')`,
    updateDocument: `
      update ${t.checkpoints} set checkpoint = $4::text::jsonb, metadata = $5::text::jsonb
      where thread_id = $1 and checkpoint_ns = $2 and checkpoint_id = $3`,
    /** The right to sweep, a lease among the threads'. Parameters: who asks, seconds. */
    claimSweep: `
      insert into ${t.leases} as held (thread_id, run, holder, since, expires_at, writes)
      values ('${sweep}', gen_random_uuid()::text, $1, clock_timestamp(), clock_timestamp() + $2::float8 * interval '1 second', 0)
      on conflict (thread_id) do update
        set run = excluded.run, holder = excluded.holder, since = excluded.since, expires_at = excluded.expires_at, writes = held.writes + 1
        where held.expires_at <= clock_timestamp()
      returning run`,
    /** Parameters: the name that it was given, seconds. */
    extendSweep: `
      update ${t.leases} set expires_at = clock_timestamp() + $2::float8 * interval '1 second'
      where thread_id = '${sweep}' and run = $1 returning run`
  }
}

export type Upkeep = ReturnType<typeof make>
