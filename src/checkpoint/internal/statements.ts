/**
 * The SQL, one statement an operation.
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

/** The namespace under which the phases of a workflow that is no graph stand beside the checkpoints of graphs. */
export const workflowNamespace = "holdfast:workflow"

/** The channel of what a node sent to other nodes. */
export const TASKS = "__pregel_tasks"

export interface Statements {
  /**
   * A checkpoint of one blob, unless a blob stands under the same channel and version. Parameters: thread, namespace, checkpoint id, parent id,
   * checkpoint JSON, metadata JSON, channel, version, type, bytes. Answers with a {@link leases.WriteRow}.
   */
  readonly append: string
  /**
   * Each asks whether what a statement would write is there: one row, `landed`. Parameters of `isPut`: thread, namespace, checkpoint id,
   * checkpoint JSON, metadata JSON. Of `isDeleted`: thread.
   */
  readonly isPut: string
  readonly isDeleted: string
  /** See {@link leases.extend}. */
  readonly extendLeases: string
  /** Parameters: a JSON list of `{ threadId, namespace, channel, version }`. Answers with the places in it, from 0, type and blob. */
  readonly blobs: string
  /**
   * In steps of one request: a statement sees what was committed when it began, and by taking the lease the first one waits for whoever writes
   * under it. A block takes no parameters.
   */
  readonly deleteThread: (threadId: string) => string
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

export const make = (t: Tables): Statements => {
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
    isPut: `select exists (
      select from ${t.checkpoints} where thread_id = $1 and checkpoint_ns = $2 and checkpoint_id = $3
        and checkpoint = $4::text::jsonb and metadata = $5::text::jsonb
    ) as landed`,
    isDeleted: `select not exists (select from ${t.checkpoints} where thread_id = $1)
      and not exists (select from ${t.blobs} where thread_id = $1)
      and not exists (select from ${t.writes} where thread_id = $1) as landed`,
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
      select 0 as o, exists (select from fresh) or exists (
        select from ${t.checkpoints} where thread_id = $1 and checkpoint_ns = $2 and checkpoint_id = $3
      ) as written, null::text as lease`,
    extendLeases: leases.extend(t),
    blobs: `
      select (k.at - 1)::int as i, bl.type, bl.blob
      from rows from (json_to_recordset($1::text::json) as ("threadId" text, namespace text, channel text, version text))
        with ordinality as k("threadId", namespace, channel, version, at)
      join ${t.blobs} bl on bl.thread_id = k."threadId" and bl.checkpoint_ns = k.namespace
        and bl.channel = k.channel and bl.version = k.version`,
    deleteThread: (threadId) => {
      const thread = `convert_from(decode('${Buffer.from(threadId).toString("hex")}', 'hex'), 'UTF8')`
      return `do $delete_thread$ begin
        delete from ${t.leases} where thread_id = ${thread};
        delete from ${t.writes} where thread_id = ${thread};
        delete from ${t.blobs} where thread_id = ${thread};
        delete from ${t.checkpoints} where thread_id = ${thread};
      end $delete_thread$`
    },
    overview: (where, limit) =>
      overview(`select cp.*, 0 as total from ${t.checkpoints} cp ${where} order by checkpoint_id desc limit ${limit}`),
    // from thread to thread over the key, which is as long as there are threads; a scan would be as long as there are checkpoints
    newest: (limit) =>
      `with recursive thread(id) as (
        (select thread_id from ${t.checkpoints} order by thread_id limit 1)
        union all
        select (select c.thread_id from ${t.checkpoints} c where c.thread_id > thread.id order by c.thread_id limit 1)
        from thread where thread.id is not null
      ), head as (
        select thread.id as thread_id, newest.checkpoint_ns, newest.checkpoint_id
        from thread cross join (values (''), ($1)) namespace(name) cross join lateral (
          select c.checkpoint_ns, c.checkpoint_id from ${t.checkpoints} c
          where c.thread_id = thread.id and c.checkpoint_ns = namespace.name order by c.checkpoint_id desc limit 1
        ) newest
        where thread.id is not null order by newest.checkpoint_id desc limit ${limit}
      )
      ${overview(`select c.*, (
          select count(*) from ${t.checkpoints} each where each.thread_id = c.thread_id and each.checkpoint_ns = c.checkpoint_ns
        )::int as total
        from head join ${t.checkpoints} c using (thread_id, checkpoint_ns, checkpoint_id)`)}`
  }
}
