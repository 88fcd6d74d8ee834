// The floor: bare `pg`, one prepared statement that writes or reads the same rows, with no serializer, no check and no error handling.
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

export const floor = (url) => {
  const pool = new pg.Pool({ connectionString: url, max: poolSize })
  const run = (statement, values) => pool.query({ ...statement, values })
  return {
    end: () => pool.end(),
    put: (thread, id, body, metadata, blobs) =>
      run(put(blobs.length), [thread, "", id, null, body, metadata, ...blobs.flat()]),
    putWrites: (thread, id, task, rows) => run(putWrites(rows.length), [thread, "", id, task, ...rows.flat()]),
    select: (thread) => run(select, [thread, ""]),
    list: (thread) => run(list, [thread, ""])
  }
}
