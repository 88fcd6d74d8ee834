// The floor: bare `pg` (or PGlite), one prepared statement that writes or reads the same rows, with no serializer, no check and no error handling.
import { PGlite } from "@electric-sql/pglite"
import { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint"
import pg from "pg"
import { poolSize } from "./savers.mjs"

const key = "thread_id, checkpoint_ns, checkpoint_id"

/** As many rows of blobs as there are channels, and the checkpoint. */
const put = (channels) => ({
  name: `floor_put_${channels}`,
  text: `with blobs as (
      insert into checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob) values ${Array.from(
        { length: channels },
        (_, index) => `($1, $2, $${7 + index * 4}, $${8 + index * 4}, $${9 + index * 4}, $${10 + index * 4})`
      ).join(", ")} on conflict do nothing
    ) insert into checkpoints (${key}, parent_checkpoint_id, checkpoint, metadata) values ($1, $2, $3, $4, $5, $6)
    on conflict (${key}) do update set checkpoint = excluded.checkpoint, metadata = excluded.metadata`
})

const putWrites = (count) => ({
  name: `floor_writes_${count}`,
  text: `insert into checkpoint_writes (${key}, task_id, idx, channel, type, blob) values ${Array.from(
    { length: count },
    (_, index) => `($1, $2, $3, $4, $${5 + index * 4}, $${6 + index * 4}, $${7 + index * 4}, $${8 + index * 4})`
  ).join(", ")} on conflict do nothing`
})

const select = {
  name: "floor_select",
  text: `with cp as (
      select * from checkpoints where thread_id = $1 and checkpoint_ns = $2 order by checkpoint_id desc limit 1
    )
    select 0 as kind, checkpoint_id as a, checkpoint::text as b, convert_to(metadata::text, 'UTF8') as c from cp
    union all select 1, bl.channel, bl.type, bl.blob from cp cross join lateral jsonb_each_text(cp.checkpoint -> 'channel_versions') v
      join checkpoint_blobs bl on bl.thread_id = $1 and bl.checkpoint_ns = $2 and bl.channel = v.key and bl.version = v.value
    union all select 2, w.task_id, w.channel, w.blob from cp join checkpoint_writes w
      on w.thread_id = $1 and w.checkpoint_ns = $2 and w.checkpoint_id = cp.checkpoint_id`
}

const list = {
  name: "floor_list",
  text: select.text.replace("limit 1", "limit 10")
}

const operations = (run) => ({
  put: (thread, id, body, metadata, blobs, parent = null) =>
    run(put(blobs.length), [thread, "", id, parent, body, metadata, ...blobs.flat()]),
  putWrites: (thread, id, task, rows) => run(putWrites(rows.length), [thread, "", id, task, ...rows.flat()]),
  select: (thread) => run(select, [thread, ""]),
  list: (thread) => run(list, [thread, ""])
})

export const floor = (url) => {
  const pool = new pg.Pool({ connectionString: url, max: poolSize })
  return { end: () => pool.end(), ...operations((statement, values) => pool.query({ ...statement, values })) }
}

const tables = `
  create table checkpoints (thread_id text not null, checkpoint_ns text not null default '', checkpoint_id text not null,
    parent_checkpoint_id text, type text, checkpoint jsonb not null, metadata jsonb not null default '{}', primary key (${key}));
  create table checkpoint_blobs (thread_id text not null, checkpoint_ns text not null default '', channel text not null, version text not null,
    type text not null, blob bytea, primary key (thread_id, checkpoint_ns, channel, version));
  create table checkpoint_writes (thread_id text not null, checkpoint_ns text not null default '', checkpoint_id text not null,
    task_id text not null, idx integer not null, channel text not null, type text, blob bytea not null, primary key (${key}, task_id, idx));`

/** The same statements on PGlite, which knows no names. */
export const embeddedFloor = async () => {
  const database = await PGlite.create()
  await database.exec(tables)
  return { end: () => database.close(), ...operations(({ text }, values) => database.query(text, values)) }
}

const encode = (value) => Buffer.from(JSON.stringify(value))

/** A saver that does no more than these statements: what a graph takes at least when its checkpoints are stored. It reads no thread. */
export class FloorSaver extends BaseCheckpointSaver {
  constructor(bare) {
    super()
    this.bare = bare
  }
  async put({ configurable }, checkpoint, metadata, versions) {
    const { channel_values, ...body } = checkpoint
    const blobs = Object.entries(versions).map(([channel, version]) => {
      return [channel, String(version), "json", encode(channel_values[channel] ?? null)]
    })
    const { checkpoint_id, thread_id } = configurable
    await this.bare.put(thread_id, checkpoint.id, JSON.stringify(body), JSON.stringify(metadata), blobs, checkpoint_id)
    return { configurable: { thread_id, checkpoint_ns: "", checkpoint_id: checkpoint.id } }
  }
  async putWrites({ configurable }, writes, task) {
    const rows = writes.map(([channel, value], index) => [index, channel, "json", encode(value ?? null)])
    await this.bare.putWrites(configurable.thread_id, configurable.checkpoint_id, task, rows)
  }
  async getTuple({ configurable }) {
    await this.bare.select(configurable.thread_id)
    return undefined
  }
}
