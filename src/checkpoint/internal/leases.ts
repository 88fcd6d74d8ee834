/**
 * The SQL of a thread's lease: one row a thread, which names the run that writes it. A run takes the lease in the statement with which it reads
 * its first checkpoint, and every write of a run asks, in its own statement, whether the lease is still the run's. A lease that has ended, or
 * has expired, may be taken by another run; from then on the first one's writes are refused, however late they come.
 *
 * A run that finds its own name in the row may write also after the lease has expired: nobody else has written since. The row's name is a random
 * one for each run, so a row that was deleted and made again is never taken for an old one.
 *
 * @internal
 */
import type { Tables } from "./statements.js"

/** A lease as another run finds it. */
export interface Lease {
  readonly run: string
  /** JSON: what the holder's process says of itself. */
  readonly holder: string
  /** ISO times. `expires` is `-infinity` when the lease was given back. */
  readonly since: string
  readonly expires: string
}

/** What {@link taken} gives. */
export interface Taken {
  /** Counts the changes of the row; null if the lease is another run's. */
  readonly writes: number | null
  /** The row as the statement's snapshot has it, which is what the rows beside it were read from. */
  readonly before: (Lease & { readonly writes: number }) | null
}

/** The row that a write answers with. */
export interface WriteRow {
  /** Whether it was written. When it was not: whether it is there all the same, from an earlier try. */
  readonly written: boolean
  /** The {@link Lease} that was in the way, JSON. */
  readonly lease: string | null
}

const json = `json_build_object('run', run, 'holder', holder, 'since', since, 'expires', expires_at, 'writes', writes)`

/** A lease's end, this many seconds from now. `now()` would be the beginning of the transaction, which may have waited. */
const until = (seconds: string) => `clock_timestamp() + ${seconds} * interval '1 second'`

/**
 * Whether the row lets a write of `run` pass; null for a write that belongs to no run, such as LangGraph's `updateState`. `ended` is a run of
 * which this process knows that it is over.
 */
const passes = (run: string, ended: string) =>
  `(run = ${run} or (${run} is null and (run = ${ended} or expires_at <= clock_timestamp())))`

const allowed = (t: Tables, absent: string) => `
  allowed as materialized (
    select 1 from fence
    union all
    select 1 where ${absent}::boolean and not exists (select from ${t.leases} where thread_id = $1)
  )`

/**
 * For a checkpoint. Parameters from `at`: run, ended run, whether a thread without a lease may be written, seconds of the lease from now on, 0 to
 * end it. `$1` is the thread. What belongs to no run ends whatever lease stood there, so that a run which held it finds out.
 */
export const fence = (t: Tables, at: number): string => {
  const [run, ended, absent, seconds] = [`$${at}::text`, `$${at + 1}::text`, `$${at + 2}`, `$${at + 3}::float8`]
  return `fence as (
    update ${t.leases} set run = coalesce(${run}, gen_random_uuid()::text), writes = writes + 1,
      expires_at = case when ${run} is null or ${seconds} = 0 then '-infinity' else ${until(seconds)} end
    where thread_id = $1 and ${passes(run, ended)}
    returning run
  ),${allowed(t, absent)}`
}

/** As {@link fence}, without the seconds, for a task's writes: they leave the row as it is, so that tasks in parallel do not wait for each other. */
export const share = (t: Tables, at: number): string => {
  const [run, ended, absent] = [`$${at}::text`, `$${at + 1}::text`, `$${at + 2}`]
  return `fence as materialized (
    select run from ${t.leases} where thread_id = $1 and ${passes(run, ended)} for share
  ),${allowed(t, absent)}`
}

/** Answers a write with a {@link WriteRow}. `already` selects what an earlier try of the same write would have left. */
export const outcome = (t: Tables, already: string): string => `
  select exists (select from allowed) or exists (${already}) as written,
    case when not exists (select from allowed) then (select ${json}::text from ${t.leases} where thread_id = $1) end as lease`

/** Parameters from `at`: thread, run, holder, seconds, ended run. */
export const take = (t: Tables, at: number): string => {
  const [thread, run, holder, seconds, ended] = [0, 1, 2, 3, 4].map((index) => `$${at + index}`)
  return `lease as (
    insert into ${t.leases} as held (thread_id, run, holder, since, expires_at, writes)
    values (${thread}, ${run}, ${holder}, clock_timestamp(), ${until(`${seconds}::float8`)}, 0)
    on conflict (thread_id) do update set run = excluded.run, holder = excluded.holder, expires_at = excluded.expires_at,
      since = case when held.run = excluded.run then held.since else excluded.since end, writes = held.writes + 1
    where held.run = excluded.run or held.run = ${ended}::text or held.expires_at <= clock_timestamp()
    returning writes
  )`
}

/** What became of {@link take}: {@link Taken} as JSON. */
export const taken = (t: Tables, at: number): string =>
  `json_build_object('writes', (select writes from lease),
    'before', (select ${json} from ${t.leases} where thread_id = $${at}))::text`

/** Parameters: JSON list of `{ thread_id, run }`, seconds from now on, 0 to end the leases. Gives the runs that still had theirs. */
export const extend = (t: Tables): string => `
  update ${t.leases} l set writes = l.writes + 1,
    expires_at = case when $2::float8 = 0 then '-infinity' else ${until("$2::float8")} end
  from json_to_recordset($1::text::json) as r(thread_id text, run text)
  where l.thread_id = r.thread_id and l.run = r.run
  returning l.run`
