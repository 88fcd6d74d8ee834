/**
 * Checkpoints as rows: what the saver and the checkpoint manager both stand on. Knows no LangGraph. Every operation is one statement, which may
 * run twice, so that a lost connection is retried; operations of several threads share one.
 *
 * @internal
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { DatabaseError } from "../../database/DatabaseError.js"
import * as Migrations from "../../database/Migrations.js"
import * as Transaction from "../../database/Transaction.js"
import type { CheckpointError } from "../CheckpointError.js"
import * as attempts from "./attempts.js"
import * as group from "./group.js"
import type * as leases from "./leases.js"
import * as loading from "./loading.js"
import * as maintenance from "./maintenance.js"
import * as migrations from "./migrations.js"
import * as prepared from "./prepared.js"
import * as rows from "./rows.js"
import * as statements from "./statements.js"
import * as writing from "./writing.js"

/** A value in bytes; none for a channel that is empty. */
export interface Piece {
  readonly type: string
  readonly bytes: Uint8Array | undefined
  /** The same, where it was read as text: who wants text need not ask for `bytes`. */
  readonly text?: string | undefined
}

export interface Blob extends Piece {
  readonly channel: string
  readonly version: string
}

/** Where a channel's value stands. */
export interface BlobKey {
  readonly threadId: string
  readonly namespace: string
  readonly channel: string
  readonly version: string
}

export interface Write extends Piece {
  readonly idx: number
  readonly channel: string
}

/** By which right a thread is written. */
export interface Guard {
  /** The run that writes, by the name that stands in its lease; `undefined` for what belongs to no run. */
  readonly run: string | undefined
  /** A run whose lease may be written over, because it is known to be over. */
  readonly ended?: string | undefined
  /** Whether a thread without a lease may be written: not by a run that has taken one, for then the thread was deleted. */
  readonly unleased: boolean
  /** How long the lease is good from now on; 0 ends it. */
  readonly seconds: number
}

/** A lease that is to be taken with the reading of a thread. */
export interface Claim {
  readonly threadId: string
  readonly run: string
  /** What the process says of itself, JSON. */
  readonly holder: string
  readonly seconds: number
  readonly ended: string | undefined
}

export interface Claimed {
  readonly rows: ReadonlyArray<Loaded>
  readonly lease: leases.Taken
}

/** Why a write was refused: the lease that was in the way, if there is one. Nothing was written. */
export interface Refused {
  readonly lease: leases.Lease | undefined
}

export interface NewCheckpoint {
  readonly threadId: string
  readonly namespace: string
  readonly checkpointId: string
  readonly parentId: string | undefined
  /** JSON, without channel values. */
  readonly checkpoint: string
  /** JSON. */
  readonly metadata: string
  readonly blobs: ReadonlyArray<Blob>
}

export interface NewWrites {
  readonly threadId: string
  readonly namespace: string
  readonly checkpointId: string
  readonly taskId: string
  readonly taskPath: string
  readonly writes: ReadonlyArray<Write>
  /** Whether a write that is there under the same index is replaced. */
  readonly replace: boolean
}

export interface Loaded {
  readonly threadId: string
  readonly namespace: string
  readonly checkpointId: string
  readonly parentId: string | undefined
  readonly checkpoint: string
  readonly metadata: string
  readonly values: Array<Piece & { readonly channel: string }>
  readonly writes: Array<Piece & { readonly channel: string; readonly taskId: string }>
  readonly sends: Array<Piece>
}

/** Which checkpoints; what is absent does not restrict. */
export interface Selection {
  readonly threadId?: string | undefined
  readonly namespace?: string | undefined
  readonly checkpointId?: string | undefined
  /** Only those older than this id. */
  readonly before?: string | undefined
  /** Only those after this one in the order of the answer: id, thread, namespace. */
  readonly after?: readonly [checkpointId: string, threadId: string, namespace: string] | undefined
  /** JSON that the metadata must contain. */
  readonly metadata?: string | undefined
  readonly limit?: number | undefined
}

export interface Store {
  readonly put: (checkpoint: NewCheckpoint, guard: Guard) => Effect.Effect<Refused | undefined, CheckpointError>
  /** Stores a checkpoint of one blob, unless one stands under the same channel and version already: whether it was stored. */
  readonly append: (
    checkpoint: Omit<NewCheckpoint, "blobs"> & { readonly blob: Blob }
  ) => Effect.Effect<boolean, CheckpointError>
  readonly putWrites: (writes: NewWrites, guard: Guard) => Effect.Effect<Refused | undefined, CheckpointError>
  /** Newest first. */
  readonly load: (operation: string, selection: Selection) => Effect.Effect<ReadonlyArray<Loaded>, CheckpointError>
  /** As {@link Store.load}, and takes the thread's lease in the same statement. */
  readonly claim: (operation: string, selection: Selection, claim: Claim) => Effect.Effect<Claimed, CheckpointError>
  /** Gives the runs that still had their leases. 0 seconds end them. */
  readonly extend: (
    held: ReadonlyArray<{ readonly threadId: string; readonly run: string }>,
    seconds: number
  ) => Effect.Effect<ReadonlyArray<string>, CheckpointError>
  /** Values by their places; those that are not there are left out. */
  readonly blobs: (
    operation: string,
    keys: ReadonlyArray<BlobKey>
  ) => Effect.Effect<ReadonlyArray<BlobKey & Piece>, CheckpointError>
  readonly deleteThread: (threadId: string) => Effect.Effect<void, CheckpointError>
  readonly overview: (
    operation: string,
    selection: Selection & { readonly limit: number }
  ) => Effect.Effect<ReadonlyArray<statements.OverviewRow>, CheckpointError>
  readonly newest: (limit: number) => Effect.Effect<ReadonlyArray<statements.OverviewRow>, CheckpointError>
  readonly maintenance: Effect.Effect<maintenance.Maintenance, CheckpointError>
}

export { workflowNamespace } from "./statements.js"

/** The condition and its parameters. */
const where = (selection: Selection): readonly [text: string, parameters: ReadonlyArray<string>] => {
  const parameters: Array<string> = []
  const next = (value: string) => `$${parameters.push(value)}`
  const conditions: Array<string> = []
  if (selection.threadId !== undefined) conditions.push(`thread_id = ${next(selection.threadId)}`)
  if (selection.namespace !== undefined) conditions.push(`checkpoint_ns = ${next(selection.namespace)}`)
  if (selection.checkpointId !== undefined) conditions.push(`checkpoint_id = ${next(selection.checkpointId)}`)
  if (selection.before !== undefined) conditions.push(`checkpoint_id < ${next(selection.before)}`)
  if (selection.metadata !== undefined) conditions.push(`metadata @> ${next(selection.metadata)}::text::jsonb`)
  if (selection.after !== undefined) {
    conditions.push(`(checkpoint_id, thread_id, checkpoint_ns) < (${selection.after.map(next).join(", ")})`)
  }
  return [conditions.length === 0 ? "" : `where ${conditions.join(" and ")}`, parameters]
}

/** A checkpoint by its id, or the newest of a thread. */
interface Key {
  readonly threadId: string
  readonly namespace: string
  readonly checkpointId: string | undefined
}

/** The one checkpoint that a selection names; nothing for one that may choose several. */
const single = (selection: Selection): Key | undefined => {
  const { after, before, checkpointId, limit, metadata, namespace, threadId } = selection
  if (threadId === undefined || namespace === undefined) return undefined
  if (before !== undefined || after !== undefined || metadata !== undefined) return undefined
  if (checkpointId === undefined ? limit !== 1 : limit === 0) return undefined
  return { threadId, namespace, checkpointId }
}

/** What the database says of a value that calls itself JSON and is no text, or we of one that is no JSON. */
const isNoText = (error: SqlError): boolean =>
  error.cause instanceof rows.Unclear || ["22021", "22P05"].includes(Transaction.code(error) ?? "")

const refused = (row: leases.WriteRow | undefined): Refused | undefined =>
  row === undefined || row[1]
    ? undefined
    : { lease: row[2] === null ? undefined : (JSON.parse(row[2]) as leases.Lease) } // the statement has built it

/**
 * Sets the tables up, unless they stand, and gives the operations on them.
 *
 * @param schema Default: `public`, as the official saver's.
 */
export const make = (schema = "public"): Effect.Effect<Store, CheckpointError | DatabaseError, SqlClient.SqlClient> =>
  Effect.gen(function* () {
    const client = yield* SqlClient.SqlClient
    const tables = statements.tables(schema)
    yield* Migrations.run("checkpoint", migrations.make(tables), { schema, requires: migrations.requires }).pipe(
      Effect.catchTag("SqlError", (error) =>
        Effect.fail(attempts.failed({ name: "setup", threadId: undefined }, error))
      )
    )
    const text = statements.make(tables)
    const run = prepared.make(client)
    // columns are read by the names they have, and JSON as text: neither a name transform nor a type parser of the client's touches them
    const sql = client.withoutTransforms()

    const bounds = yield* Transaction.Retries
    const within = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
      effect.pipe(
        Effect.provideService(Transaction.Retries, bounds),
        Effect.withTracerEnabled(false) // the observation is the operation, not its statement
      )
    const execute = <A extends object>(
      name: string,
      threadId: string | undefined,
      statement: string,
      parameters: ReadonlyArray<unknown>
    ): Effect.Effect<ReadonlyArray<A>, CheckpointError> =>
      within(attempts.read({ name, threadId }, sql.unsafe<A>(statement, parameters)))
    const landed = (statement: string, parameters: ReadonlyArray<unknown>) =>
      Effect.map(run(prepared.statement(statement), parameters), ([row]) => row?.[0] === true)

    /** Shares a statement with others, unless it belongs to a transaction. */
    const sharing = <A, B>(
      options: group.Options<A, B, CheckpointError, SqlError>
    ): Effect.Effect<group.Group<A, B, CheckpointError>> => {
      return Effect.map(
        within(group.make(options)),
        (share) => (item: A) =>
          Effect.contextWithEffect((context: Context.Context<never>) =>
            Option.isNone(Context.getOption(context, SqlClient.TransactionConnection))
              ? share(item)
              : within(options.one(item, undefined))
          )
      )
    }

    const alone = writing.make(tables, false)
    const together = writing.make(tables, true)
    const write = <A extends NewCheckpoint | NewWrites>(
      kind: "put" | "insertWrites" | "upsertWrites",
      options: {
        readonly name: string
        readonly parameters: (items: ReadonlyArray<rows.Guarded<A>>) => ReadonlyArray<unknown>
        /** Whether it is there, when an answer was lost. */
        readonly landed: (item: rows.Guarded<A>) => Effect.Effect<boolean, SqlError>
        readonly key: (it: A) => string
        readonly weight: (it: A) => number
      }
    ) => {
      const [one, many] = [prepared.statement(alone[kind]), prepared.statement(together[kind])]
      const send = (statement: prepared.Prepared, items: ReadonlyArray<rows.Guarded<A>>) =>
        Effect.map(
          Effect.suspend(() => run(statement, options.parameters(items))),
          (answer) => {
            const out = new Array<Refused | undefined>(items.length).fill(undefined)
            // the columns are those of the statement
            for (const row of answer as unknown as ReadonlyArray<leases.WriteRow>) out[row[0]] = refused(row)
            return out
          }
        )
      const allowed: Refused | undefined = undefined
      return sharing<rows.Guarded<A>, Refused | undefined>({
        one: (item, before) =>
          Effect.map(
            attempts.write(
              { name: options.name, threadId: item.it.threadId },
              {
                statement: send(one, [item]),
                landed: Effect.map(options.landed(item), (is) => (is ? [allowed] : undefined)),
                before
              }
            ),
            ([answer]) => answer
          ),
        many: (items) => send(many, items),
        key: ({ it }) => options.key(it),
        weight: ({ it }) => options.weight(it)
      })
    }
    const put = yield* write("put", {
      name: "put",
      parameters: rows.put,
      landed: ({ it }) => landed(text.isPut, [it.threadId, it.namespace, it.checkpointId, it.checkpoint, it.metadata]),
      key: (it: NewCheckpoint) => it.threadId,
      weight: (it) => rows.weight(it.blobs)
    })
    const writes = (kind: "insertWrites" | "upsertWrites", question: string, parameters: number) =>
      write(kind, {
        name: "putWrites",
        parameters: rows.writes,
        landed: (item) => landed(question, rows.writes([item]).slice(0, parameters)),
        key: (it: NewWrites) => JSON.stringify([it.threadId, it.namespace, it.checkpointId, it.taskId]),
        weight: (it) => rows.weight(it.writes)
      })
    const insertWrites = yield* writes("insertWrites", alone.areInserted, 2)
    const upsertWrites = yield* writes("upsertWrites", alone.areUpserted, 3)

    const asText = loading.make(tables, false)
    const inHex = loading.make(tables, true)
    /** Runs a statement that loads; once more in another form when a value is not what it calls itself. */
    const read = (
      statement: (from: loading.Statements) => string,
      parameters: ReadonlyArray<unknown>
    ): Effect.Effect<
      { readonly found: ReadonlyArray<Loaded>; readonly places: ReadonlyArray<number>; readonly lease: string | null },
      SqlError
    > => {
      const under = (from: loading.Statements) =>
        Effect.flatMap(run(prepared.statement(statement(from)), parameters), (answer) =>
          Effect.try({
            try: () => {
              const all = answer as unknown as ReadonlyArray<loading.Row> // the columns are those of the statement
              const some = all.filter((row) => row[0] !== null)
              return {
                found: some.map((row) => rows.loaded(row, from === inHex)),
                places: some.map((row) => row[0] ?? 0),
                lease: all[0]?.[13] ?? null
              }
            },
            catch: (cause) => new SqlError({ cause, message: "The row of a checkpoint cannot be read" })
          })
        )
      return Effect.catchIf(under(asText), isNoText, () => under(inHex))
    }
    const reading = (kind: "newest" | "byId", parameters: (items: ReadonlyArray<Key>) => ReadonlyArray<unknown>) => {
      const send = (items: ReadonlyArray<Key>) =>
        Effect.map(
          read((from) => from[kind], parameters(items)),
          ({ found, places }) => {
            const out = new Array<Loaded | undefined>(items.length).fill(undefined)
            for (const [index, place] of places.entries()) out[place] = found[index]
            return out
          }
        )
      return sharing<Key & { readonly operation: string }, Loaded | undefined>({
        one: (item) =>
          Effect.map(
            attempts.read({ name: item.operation, threadId: item.threadId }, send([item])),
            ([found]) => found
          ),
        many: send
      })
    }
    const threads = (items: ReadonlyArray<Key>) => [items.map((it) => it.threadId), items.map((it) => it.namespace)]
    const newest = yield* reading("newest", threads)
    const byId = yield* reading("byId", (items) => [...threads(items), items.map((it) => it.checkpointId)])

    return {
      put: (it, guard) => put({ it, guard }),
      append: ({ blob, ...it }) => {
        const parameters = [it.threadId, it.namespace, it.checkpointId, it.parentId ?? null, it.checkpoint, it.metadata]
        const statement = run(prepared.statement(text.append), [
          ...parameters,
          blob.channel,
          blob.version,
          blob.type,
          blob.bytes
        ])
        const question = landed(text.isPut, parameters.toSpliced(3, 1))
        return within(
          attempts.write(
            { name: "save", threadId: it.threadId },
            {
              statement: Effect.map(statement, ([row]) => row?.[1] === true),
              landed: Effect.map(question, (is) => (is ? true : undefined))
            }
          )
        )
      },
      putWrites: (it, guard) => (it.replace ? upsertWrites : insertWrites)({ it, guard }),
      load: (operation, selection) => {
        const key = single(selection)
        if (key !== undefined) {
          const found = (key.checkpointId === undefined ? newest : byId)({ ...key, operation })
          return Effect.map(found, (loaded) => (loaded === undefined ? [] : [loaded]))
        }
        const [condition, parameters] = where(selection)
        const chosen = read((from) => from.chosen(condition, selection.limit), parameters)
        const name = { name: operation, threadId: selection.threadId }
        return Effect.map(within(attempts.read(name, chosen)), ({ found }) => found)
      },
      claim: (operation, selection, { ended, holder, run, seconds, threadId }) => {
        const [condition, parameters] = where(selection)
        const all = [...parameters, threadId, run, holder, seconds, ended ?? null]
        const chosen = read((from) => from.chosen(condition, selection.limit, parameters.length + 1), all)
        return Effect.map(within(attempts.read({ name: operation, threadId }, chosen)), ({ found, lease }) => ({
          rows: found,
          lease: JSON.parse(lease ?? '{"writes":null,"before":null}') as leases.Taken // the statement has built it
        }))
      },
      extend: (held, seconds) =>
        held.length === 0
          ? Effect.succeed([])
          : execute<{ readonly run: string }>("lease", held[0]?.threadId, text.extendLeases, [
              JSON.stringify(held.map(({ threadId, run }) => ({ thread_id: threadId, run }))),
              seconds
            ]).pipe(Effect.map((rows) => rows.map((row) => row.run))),
      blobs: (operation, keys) =>
        execute<{ readonly i: number; readonly type: string; readonly blob: Uint8Array | null }>(
          operation,
          keys[0]?.threadId,
          text.blobs,
          [JSON.stringify(keys)]
        ).pipe(
          Effect.map((rows) =>
            rows.flatMap(({ blob, i, type }) => {
              const key = keys[i]
              return key === undefined ? [] : [{ ...key, type, bytes: blob ?? undefined }]
            })
          )
        ),
      deleteThread: (threadId) =>
        within(
          attempts.write(
            { name: "deleteThread", threadId },
            {
              statement: Effect.asVoid(run(prepared.statement(text.deleteThread), [threadId])),
              landed: Effect.map(landed(text.isDeleted, [threadId]), (is) => (is ? null : undefined))
            }
          )
        ).pipe(Effect.asVoid),
      overview: (operation, selection) =>
        Effect.suspend(() => {
          const [condition, parameters] = where(selection)
          return execute(operation, selection.threadId, text.overview(condition, selection.limit), parameters)
        }),
      newest: (limit) => execute("threads", undefined, text.newest(limit), [statements.workflowNamespace]),
      maintenance: Effect.succeed(
        maintenance.make(sql, schema, (name, threadId) => (error) => attempts.failed({ name, threadId }, error))
      )
    }
  })

/** A store that is opened when it is first asked. */
export const lazy = (opened: Effect.Effect<Store, CheckpointError>): Store => ({
  put: (checkpoint, guard) => Effect.flatMap(opened, (rows) => rows.put(checkpoint, guard)),
  append: (checkpoint) => Effect.flatMap(opened, (rows) => rows.append(checkpoint)),
  putWrites: (writes, guard) => Effect.flatMap(opened, (rows) => rows.putWrites(writes, guard)),
  load: (operation, selection) => Effect.flatMap(opened, (rows) => rows.load(operation, selection)),
  claim: (operation, selection, claim) => Effect.flatMap(opened, (rows) => rows.claim(operation, selection, claim)),
  extend: (held, seconds) => Effect.flatMap(opened, (rows) => rows.extend(held, seconds)),
  blobs: (operation, keys) => Effect.flatMap(opened, (rows) => rows.blobs(operation, keys)),
  deleteThread: (threadId) => Effect.flatMap(opened, (rows) => rows.deleteThread(threadId)),
  overview: (operation, selection) => Effect.flatMap(opened, (rows) => rows.overview(operation, selection)),
  newest: (limit) => Effect.flatMap(opened, (rows) => rows.newest(limit)),
  maintenance: Effect.flatMap(opened, (rows) => rows.maintenance)
})
