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
export type WriteRow = readonly [
  /** Its number in the list of writes, from 0. */
  o: number,
  /** Whether it was written. When it was not: whether it is there all the same, from an earlier try. */
  written: boolean,
  /** The {@link Lease} that was in the way, JSON. */
  lease: string | null
]

const json = `json_build_object('run', run, 'holder', holder, 'since', since, 'expires', expires_at, 'writes', writes)`

/** A lease's end, this many seconds from now. `now()` would be the beginning of the transaction, which may have waited. */
export const until = (seconds: string) => `clock_timestamp() + ${seconds} * interval '1 second'`

/**
 * Whether the row `l` lets the write `i` pass. Its run is null for a write that belongs to no run, such as LangGraph's `updateState`; `ended` is a
 * run of which this process knows that it is over.
 */
const passes = "(l.run = i.run or (i.run is null and (l.run = i.ended or l.expires_at <= clock_timestamp())))"

/** The planner takes a list for a hundred rows, and would read all leases for them; of what stands in a range it expects one. */
const few = "(select * from item where o between 0 and 1000000) i"

const allowed = (t: Tables) => `
  allowed as materialized (
    select o from fence
    union all
    select i.o from ${few} where i.unleased and not exists (select from ${t.leases} l where l.thread_id = i.thread)
  )`

/** The columns of `item`, a list of writes, that say by which right each is made. */
export const guard = "run text, ended text, unleased boolean, seconds float8"

/**
 * For checkpoints, of which there is one a thread: `allowed` holds the numbers `o` of those of `item` that may be written. What belongs to no run
 * ends whatever lease stood there, so that a run which held it finds out.
 */
export const fence = (t: Tables): string => `fence as (
    update ${t.leases} l set run = coalesce(i.run, gen_random_uuid()::text), writes = l.writes + 1,
      expires_at = case when i.run is null or i.seconds = 0 then '-infinity' else ${until("i.seconds")} end
    from ${few}
    where l.thread_id = i.thread and ${passes}
    returning i.o
  ),${allowed(t)}`

/** As {@link fence}, for tasks' writes: they leave the row as it is, so that tasks in parallel do not wait for each other. */
export const share = (t: Tables): string => `fence as materialized (
    select i.o from ${few} join ${t.leases} l on l.thread_id = i.thread where ${passes} for share of l
  ),${allowed(t)}`

/** Whether `i` is allowed. A query of its own: a join might change the order in which rows are written. */
export const isAllowed = (row: string): string => `(select true from allowed where allowed.o = ${row}.o)`

/** Answers each of `item` with a {@link WriteRow}. `already` selects what an earlier try of the write `i` would have left. */
export const outcome = (t: Tables, already: string): string => `
  select i.o, a.o is not null or exists (${already}) as written,
    case when a.o is null then (select ${json}::text from ${t.leases} l where l.thread_id = i.thread) end as lease
  from item i left join allowed a on a.o = i.o`

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
