import { randomUUID } from "node:crypto"
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { DatabaseError } from "../../database/DatabaseError.js"
import * as Migrations from "../../database/Migrations.js"
import * as Transaction from "../../database/Transaction.js"
import type { Bounds, Figures, Kind, Lane, Refusal, Summary, Word } from "./outbox.js"

/** How long a deliverer that says nothing more keeps the lane. */
const leaseSeconds = 30
/** How often one that is at work says so. */
const renewMillis = 10_000
/** How many payloads are read at once. */
const rowsAtOnce = 20
/** The room of a row beside its content. */
const rowBytes = 150

const migrations: ReadonlyArray<Migrations.Migration> = [
  {
    id: 1,
    name: "create_outbox",
    up: Effect.flatMap(SqlClient.SqlClient, (sql) =>
      Effect.all(
        [
          sql`create table holdfast_outbox (
            id bigint generated always as identity primary key,
            kind text not null,
            target text not null,
            account text not null,
            items integer not null,
            bytes integer not null,
            payload bytea not null,
            created_at timestamptz not null default now()
          )`,
          // it is compressed already
          sql`alter table holdfast_outbox alter column payload set storage external`,
          sql`create index holdfast_outbox_lane on holdfast_outbox (kind, target, id)`,
          sql`create table holdfast_outbox_refused (
            kind text not null,
            target text not null,
            item_id text not null,
            name text not null,
            reason text not null,
            payload bytea not null,
            refused_at timestamptz not null default now(),
            primary key (kind, target, item_id)
          )`,
          sql`create table holdfast_outbox_lanes (
            kind text not null,
            target text not null,
            owner text,
            owned_until timestamptz,
            sent bigint not null default 0,
            refused bigint not null default 0,
            lost bigint not null default 0,
            queued integer not null default 0,
            problem text,
            updated_at timestamptz not null default now(),
            primary key (kind, target)
          )`
        ],
        { discard: true }
      )
    )
  },
  {
    id: 2,
    name: "create_outbox_copies",
    up: Effect.flatMap(SqlClient.SqlClient, (sql) =>
      Effect.all(
        [
          sql`create table holdfast_outbox_copies (
            id bigint generated always as identity primary key,
            bytes integer not null,
            payload bytea not null,
            created_at timestamptz not null default now()
          )`,
          sql`alter table holdfast_outbox_copies alter column payload set storage external`
        ],
        { discard: true }
      )
    )
  }
]

/** @internal */
export interface Table {
  readonly setup: Effect.Effect<void, SqlError | DatabaseError>
  readonly isThere: Effect.Effect<boolean, SqlError>
  readonly put: (lane: Lane, payload: Uint8Array, items: number) => Effect.Effect<string, SqlError>
  readonly next: (
    lane: Lane,
    except: ReadonlyArray<string>
  ) => Effect.Effect<{ readonly id: string; readonly payload: Uint8Array } | "busy" | undefined, SqlError>
  readonly remove: (id: string) => Effect.Effect<void, SqlError>
  readonly release: (lane: Lane) => Effect.Effect<void, SqlError>
  readonly disown: (lane: Lane) => Effect.Effect<void, SqlError>
  readonly refuse: (lane: Lane, payload: Uint8Array, refusal: Refusal) => Effect.Effect<void, SqlError>
  readonly note: (lane: Lane, word: Word) => Effect.Effect<void, SqlError>
  /** Removes what is too old or too much, oldest first; how many items of which lane. */
  readonly evict: Effect.Effect<ReadonlyArray<Evicted>, SqlError>
  readonly summaries: Effect.Effect<ReadonlyArray<Summary>, SqlError>
  readonly keep: (payload: Uint8Array) => Effect.Effect<void, SqlError>
  /** Removes copies that are too old or too much, oldest first. */
  readonly evictCopies: (keepMillis: number) => Effect.Effect<void, SqlError>
  readonly hasCopies: Effect.Effect<boolean, SqlError>
  /** Some of the payloads that were stored since, after the one of that id. */
  readonly stored: (
    which: "waiting" | "copies",
    since: Date,
    after: string
  ) => Effect.Effect<ReadonlyArray<{ readonly id: string; readonly payload: Uint8Array }>, SqlError>
}

interface LaneRow {
  readonly kind: Kind
  readonly target: string
}

/** @internal */
export interface Evicted extends LaneRow {
  readonly items: number
}

/** A text that Postgres takes: it knows no NUL. */
const storable = (text: string): string => text.replaceAll("\u0000", "\ufffd")

/** @internal */
export const make = (sql: SqlClient.SqlClient, bounds: Bounds): Table => {
  const owner = randomUUID()
  const renewed = new Map<string, number>()
  const laneOf = ({ kind, target }: Lane): string => `${kind} ${target}`

  /** One statement decides: the lane is free, or ours, or its holder has been silent for too long. */
  const hold = (lane: Lane): Effect.Effect<boolean, SqlError> =>
    Effect.suspend(() => {
      if ((renewed.get(laneOf(lane)) ?? Number.NEGATIVE_INFINITY) + renewMillis > performance.now()) {
        return Effect.succeed(true)
      }
      return Effect.map(
        sql`
          insert into holdfast_outbox_lanes as lane (kind, target, owner, owned_until)
          values (${lane.kind}, ${lane.target}, ${owner}, now() + make_interval(secs => ${leaseSeconds}))
          on conflict (kind, target) do update set owner = excluded.owner, owned_until = excluded.owned_until
          where lane.owner is null or lane.owner = excluded.owner or lane.owned_until < now()
          returning owner`,
        (rows) => {
          if (rows.length > 0) renewed.set(laneOf(lane), performance.now())
          else renewed.delete(laneOf(lane))
          return rows.length > 0
        }
      )
    })

  const any = (ids: ReadonlyArray<string>): string => `{${ids.join(",")}}`

  const head = ({ account, kind, target }: Lane, except: ReadonlyArray<string>) => sql<{
    readonly id: string
    readonly payload: Uint8Array
  }>`
    select id::text as id, payload from holdfast_outbox
    where kind = ${kind} and target = ${target} and account in ('', ${account}) and id <> all (${any(except)}::bigint[])
    order by holdfast_outbox.id limit 1`

  return {
    setup: Effect.asVoid(Effect.provideService(Migrations.run("outbox", migrations), SqlClient.SqlClient, sql)),
    isThere: Effect.map(
      sql<{ readonly there: boolean }>`select to_regclass('holdfast_outbox') is not null as there`,
      (rows) => rows[0]?.there === true
    ),
    put: ({ account, kind, target }, payload, items) =>
      Effect.map(
        sql<{ readonly id: string }>`
          insert into holdfast_outbox (kind, target, account, items, bytes, payload)
          values (${kind}, ${target}, ${account}, ${items}, ${payload.length + rowBytes}, ${payload})
          returning id::text as id`,
        (rows) => rows[0]?.id ?? ""
      ).pipe(Transaction.retryTransient({ attempts: 3 })),
    next: (lane, except) =>
      Effect.gen(function* () {
        if (!renewed.has(laneOf(lane))) {
          const [waiting] = yield* sql`
            select 1 from holdfast_outbox
            where kind = ${lane.kind} and target = ${lane.target} and account in ('', ${lane.account})
              and id <> all (${any(except)}::bigint[])
            limit 1`
          if (waiting === undefined) return undefined
        }
        if (!(yield* hold(lane))) return "busy" as const
        const [row] = yield* head(lane, except)
        return row
      }),
    remove: (id) => Effect.asVoid(sql`delete from holdfast_outbox where id = ${id}::bigint`),
    release: (lane) =>
      Effect.suspend(() => {
        if (!renewed.delete(laneOf(lane))) return Effect.void
        return Effect.asVoid(sql`
          update holdfast_outbox_lanes set owner = null, owned_until = null
          where kind = ${lane.kind} and target = ${lane.target} and owner = ${owner}`)
      }),
    disown: ({ account, kind, target }) =>
      Effect.asVoid(sql`
        update holdfast_outbox set account = '' where kind = ${kind} and target = ${target} and account = ${account}`),
    refuse: ({ kind, target }, payload, { id, name, reason }) =>
      Effect.asVoid(sql`
        insert into holdfast_outbox_refused (kind, target, item_id, name, reason, payload)
        values (${kind}, ${target}, ${storable(id)}, ${storable(name)}, ${storable(reason)}, ${payload})
        on conflict do nothing`),
    note: ({ kind, target }, { added: { lost, refused, sent }, problem, queued }) =>
      Effect.asVoid(sql`
        insert into holdfast_outbox_lanes as lane (kind, target, sent, refused, lost, queued, problem)
        values (${kind}, ${target}, ${sent}, ${refused}, ${lost}, ${queued}, ${problem === undefined ? null : storable(problem)})
        on conflict (kind, target) do update set
          sent = lane.sent + excluded.sent, refused = lane.refused + excluded.refused, lost = lane.lost + excluded.lost,
          queued = excluded.queued, problem = excluded.problem, updated_at = now()`),
    evict: Effect.gen(function* () {
      yield* sql`delete from holdfast_outbox_refused where refused_at < now() - make_interval(secs => ${bounds.maxAgeMillis / 1000})`
      return yield* sql<Evicted>`
        with gone as (delete from holdfast_outbox using (
          select id, created_at, sum(bytes) over (order by id desc) as total from holdfast_outbox
        ) as known
        where holdfast_outbox.id = known.id
          and (known.total > ${bounds.maxBytes} or known.created_at < now() - make_interval(secs => ${bounds.maxAgeMillis / 1000}))
          returning kind, target, items),
        lanes as (select kind, target, sum(items)::integer as items from gone group by kind, target),
        noted as (
          insert into holdfast_outbox_lanes as lane (kind, target, lost) select kind, target, items from lanes
          on conflict (kind, target) do update set lost = lane.lost + excluded.lost)
        select kind, target, items from lanes`
    }),
    keep: (payload) =>
      sql`insert into holdfast_outbox_copies (bytes, payload) values (${payload.length + rowBytes}, ${payload})`.pipe(
        Transaction.retryTransient({ attempts: 3 }),
        Effect.asVoid
      ),
    evictCopies: (keepMillis) =>
      Effect.asVoid(sql`
        delete from holdfast_outbox_copies using (
          select id, created_at, sum(bytes) over (order by id desc) as total from holdfast_outbox_copies
        ) as known
        where holdfast_outbox_copies.id = known.id
          and (known.total > ${bounds.maxBytes} or known.created_at < now() - make_interval(secs => ${keepMillis / 1000}))`),
    hasCopies: Effect.map(
      sql<{ readonly there: boolean }>`select to_regclass('holdfast_outbox_copies') is not null as there`,
      (rows) => rows[0]?.there === true
    ),
    stored: (which, since, after) =>
      which === "waiting"
        ? sql`
            select id::text as id, payload from holdfast_outbox
            where kind = 'observations' and id > ${after}::bigint and created_at >= ${since}
            order by holdfast_outbox.id limit ${rowsAtOnce}`
        : sql`
            select id::text as id, payload from holdfast_outbox_copies
            where id > ${after}::bigint and created_at >= ${since}
            order by holdfast_outbox_copies.id limit ${rowsAtOnce}`,
    summaries: Effect.gen(function* () {
      const waiting = yield* sql<
        LaneRow & { readonly account: string; readonly items: number; readonly bytes: number; readonly oldest: Date }
      >`
        select kind, target, account, sum(items)::integer as items, sum(bytes)::float8 as bytes, min(created_at) as oldest
        from holdfast_outbox group by kind, target, account order by kind, target, account`
      const refusals = yield* sql<LaneRow & Refusal & { readonly at: Date }>`
        select kind, target, item_id as id, name, reason, refused_at as at from holdfast_outbox_refused
        order by refused_at desc, item_id limit 1000`
      const lanes = yield* sql<LaneRow & Figures & { readonly queued: number; readonly problem: string | null }>`
        select kind, target, sent::float8 as sent, refused::float8 as refused, lost::float8 as lost, queued, problem
        from holdfast_outbox_lanes order by kind, target`
      const keys = new Map([...lanes, ...waiting, ...refusals].map((row) => [`${row.kind} ${row.target}`, row]))
      return [...keys.values()].map(({ kind, target }): Summary => {
        const isHere = (row: LaneRow): boolean => row.kind === kind && row.target === target
        const lane = lanes.find(isHere)
        const parcels = waiting.filter(isHere)
        const oldest = parcels.map((row) => row.oldest.getTime())
        return {
          kind,
          target,
          waiting: parcels.map(({ account, items }) => ({ account, items })),
          bytes: parcels.reduce((sum, { bytes }) => sum + bytes, 0),
          oldest: oldest.length === 0 ? undefined : new Date(Math.min(...oldest)),
          refusals: refusals.filter(isHere).map(({ at, id, name, reason }) => ({ at, id, name, reason })),
          queued: lane?.queued ?? 0,
          sent: lane?.sent ?? 0,
          refused: lane?.refused ?? 0,
          lost: lane?.lost ?? 0,
          problem: lane?.problem ?? undefined
        }
      })
    })
  }
}
