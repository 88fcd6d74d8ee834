/**
 * Checkpoints as rows: what the saver and the checkpoint manager both stand on. Knows no LangGraph. Every operation is one statement, which may
 * run twice, so that a lost connection is retried; operations of several threads share one.
 *
 * @internal
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { DatabaseError } from "../../database/DatabaseError.js"
import * as Direct from "../../database/internal/direct.js"
import * as Migrations from "../../database/Migrations.js"
import * as Transaction from "../../database/Transaction.js"
import type { CheckpointError } from "../CheckpointError.js"
import * as attempts from "./attempts.js"
import type * as leases from "./leases.js"
import * as maintenance from "./maintenance.js"
import * as migrations from "./migrations.js"
import * as prepared from "./prepared.js"
import * as sharing from "./sharing.js"
import * as statements from "./statements.js"

/** A value in bytes; none for a channel that is empty. */
export interface Piece {
  readonly type: string
  readonly bytes: Uint8Array | undefined
  /** The same, where it is at hand as text: who wants text need not ask for `bytes`. */
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
  /** In place of the checkpoint its ancestors, nearest first, with these channels only, see `loading.Statements.line`. Asks for thread and namespace. */
  readonly line?: ReadonlyArray<string> | undefined
}

/** Is called once: `undefined` when it has to be asked the long way, by the effect of the same name. */
export type Done<A> = (exit: Exit.Exit<A, CheckpointError> | undefined) => void

/** Operations without a fiber, each with the outcome of the effect of its name. */
export interface Quick {
  readonly put: (checkpoint: NewCheckpoint, guard: Guard, done: Done<Refused | undefined>) => void
  readonly putWrites: (writes: NewWrites, guard: Guard, done: Done<Refused | undefined>) => void
  readonly load: (operation: string, selection: Selection, done: Done<ReadonlyArray<Loaded>>) => void
}

export interface Store {
  /** The quick way, where there is one. It belongs to no transaction. */
  readonly quick: Quick | undefined
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

/** The one checkpoint that a selection names; nothing for one that may choose several. */
const single = (selection: Selection): sharing.Key | undefined => {
  const { after, before, checkpointId, limit, line, metadata, namespace, threadId } = selection
  if (threadId === undefined || namespace === undefined || line !== undefined) return undefined
  if (before !== undefined || after !== undefined || metadata !== undefined) return undefined
  if (checkpointId === undefined ? limit !== 1 : limit === 0) return undefined
  return { threadId, namespace, checkpointId }
}

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
    const names: prepared.Names = { used: true }
    const run = prepared.make(client, names)
    // columns are read by the names they have, and JSON as text: neither a name transform nor a type parser of the client's touches them
    const sql = client.withoutTransforms()

    const bounds = yield* Transaction.Retries
    const within = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
      Effect.provideService(effect, Transaction.Retries, bounds)
    const execute = <A extends object>(
      name: string,
      threadId: string | undefined,
      statement: string,
      parameters: ReadonlyArray<unknown>
    ): Effect.Effect<ReadonlyArray<A>, CheckpointError> =>
      Effect.withTracerEnabled(within(attempts.read({ name, threadId }, sql.unsafe<A>(statement, parameters))), false)
    const direct = Direct.of(client)
    const { byId, insertWrites, landed, newest, put, quickly, read, upsertWrites } = yield* sharing.make(
      { tables, run, direct, names, isPut: text.isPut },
      within
    )
    const quick: Quick = {
      put: (it, guard, done) => put.quick({ it, guard }, done),
      putWrites: (it, guard, done) => (it.replace ? upsertWrites : insertWrites).quick({ it, guard }, done),
      load: (operation, selection, done) => {
        const key = single(selection)
        if (key !== undefined) {
          const found = key.checkpointId === undefined ? newest : byId
          found.quick({ ...key, operation }, (exit) =>
            done(Exit.map(exit, (loaded) => (loaded === undefined ? [] : [loaded])))
          )
        } else if (quickly === undefined || selection.line !== undefined) done(undefined)
        else {
          const [condition, parameters] = where(selection)
          quickly.chosen(condition, selection.limit, parameters, (found) => done(found && Exit.succeed(found)))
        }
      }
    }

    return {
      quick: direct === undefined ? undefined : quick,
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
        const { checkpointId, line } = selection
        const chosen =
          line === undefined
            ? read((from) => from.chosen(condition, selection.limit), parameters)
            : read(
                (from) => from.line(checkpointId === undefined),
                [
                  selection.threadId,
                  selection.namespace,
                  JSON.stringify(line),
                  ...(checkpointId === undefined ? [] : [checkpointId])
                ]
              )
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
              statement: Effect.asVoid(Effect.withTracerEnabled(sql.unsafe(text.deleteThread(threadId)), false)),
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

/** Opens a store for an operation, in whose name it fails. One that writes has written nothing then. */
export type Open = (operation: string, threadId?: string, writes?: boolean) => Effect.Effect<Store, CheckpointError>

/**
 * A store that is opened when it is first asked.
 *
 * @param current The store, while it is open.
 */
export const lazy = (opened: Open, current: () => Store | undefined): Store => ({
  get quick() {
    return current()?.quick
  },
  put: (it, guard) => Effect.flatMap(opened("put", it.threadId, true), (rows) => rows.put(it, guard)),
  append: (it) => Effect.flatMap(opened("save", it.threadId, true), (rows) => rows.append(it)),
  putWrites: (it, guard) => Effect.flatMap(opened("putWrites", it.threadId, true), (rows) => rows.putWrites(it, guard)),
  load: (operation, selection) =>
    Effect.flatMap(opened(operation, selection.threadId), (rows) => rows.load(operation, selection)),
  claim: (operation, selection, claim) =>
    Effect.flatMap(opened(operation, claim.threadId), (rows) => rows.claim(operation, selection, claim)),
  // what holds nothing opens nothing
  extend: (held, seconds) =>
    held.length === 0 ? Effect.succeed([]) : Effect.flatMap(opened("lease"), (rows) => rows.extend(held, seconds)),
  blobs: (operation, keys) => Effect.flatMap(opened(operation), (rows) => rows.blobs(operation, keys)),
  deleteThread: (threadId) =>
    Effect.flatMap(opened("deleteThread", threadId, true), (rows) => rows.deleteThread(threadId)),
  overview: (operation, selection) =>
    Effect.flatMap(opened(operation, selection.threadId), (rows) => rows.overview(operation, selection)),
  newest: (limit) => Effect.flatMap(opened("threads"), (rows) => rows.newest(limit)),
  maintenance: Effect.flatMap(opened("maintenance"), (rows) => rows.maintenance)
})
