/**
 * Checkpoints as rows: what the saver and the checkpoint manager both stand on. Knows no LangGraph. Every operation is one statement, which may
 * run twice, so that a lost connection is retried.
 *
 * @internal
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { DatabaseError } from "../../database/DatabaseError.js"
import * as Migrations from "../../database/Migrations.js"
import * as Transaction from "../../database/Transaction.js"
import * as ErrorInfo from "../../observability/ErrorInfo.js"
import { CheckpointError } from "../CheckpointError.js"
import type * as leases from "./leases.js"
import * as migrations from "./migrations.js"
import * as statements from "./statements.js"

/** A value in bytes; none for a channel that is empty. */
export interface Piece {
  readonly type: string
  readonly bytes: Uint8Array | undefined
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
}

/** The namespace under which the phases of a workflow that is no graph stand beside the checkpoints of graphs. */
export const workflowNamespace = "holdfast:workflow"

const named = (threadId: string | undefined): string => (threadId === undefined ? "" : ` of "${threadId}"`)

/** What the database said, as the checkpoint's failure. */
const fromSqlError = (operation: string, threadId: string | undefined) => (error: SqlError) => {
  const said = ErrorInfo.message(error.cause ?? error)
  const advice = Transaction.isTransient(error)
    ? "the database could not be reached: check it and run again; what was saved before is safe"
    : "the database refused: check its schema, rights and space"
  return new CheckpointError({
    reason: "Database",
    operation,
    ...(threadId === undefined ? {} : { threadId }),
    message: `The ${operation} of a checkpoint${named(threadId)} failed: ${said}; ${advice}`,
    cause: error
  })
}

/** All bytes in one, and for each the place where it is; the first byte is number 1, as SQL counts. */
const pack = <A extends Piece, B extends object>(pieces: ReadonlyArray<A>, columns: (piece: A) => B) => {
  let at = 1
  const rows = pieces.map((piece) => {
    const size = piece.bytes?.byteLength
    const row = { ...columns(piece), type: piece.type, ...(size === undefined ? {} : { start: at, size }) }
    at += size ?? 0
    return row
  })
  const bytes = Buffer.concat(pieces.flatMap((piece) => (piece.bytes === undefined ? [] : [piece.bytes])))
  return { rows: JSON.stringify(rows), bytes }
}

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

const bytes = (row: statements.LoadRow): Piece => ({ type: row.c ?? "json", bytes: row.blob ?? undefined })

/** Puts the rows of an answer together. The checkpoints come first, in order. */
const assemble = (rows: ReadonlyArray<statements.LoadRow>): ReadonlyArray<Loaded> => {
  const out: Array<Loaded> = []
  for (const row of rows) {
    if (row.kind === 0) {
      out.push({
        threadId: row.a,
        namespace: row.b,
        checkpointId: row.c ?? "",
        parentId: row.d ?? undefined,
        checkpoint: row.body ?? "{}",
        metadata: row.metadata ?? "{}",
        values: [],
        writes: [],
        sends: []
      })
      continue
    }
    if (row.kind === 4) continue
    const owner = out[row.checkpoint]
    if (row.kind === 1) owner?.values.push({ channel: row.b, ...bytes(row) })
    else if (row.kind === 2) owner?.writes.push({ taskId: row.a, channel: row.b, ...bytes(row) })
    else owner?.sends.push(bytes(row))
  }
  return out
}

const refused = ([row]: ReadonlyArray<leases.WriteRow>): Refused | undefined =>
  row === undefined || row.written
    ? undefined
    : { lease: row.lease === null ? undefined : (JSON.parse(row.lease) as leases.Lease) } // the statement has built it

/**
 * Sets the tables up, unless they stand, and gives the operations on them.
 *
 * @param schema Default: `public`, as the official saver's.
 */
export const make = (schema = "public"): Effect.Effect<Store, CheckpointError | DatabaseError, SqlClient.SqlClient> =>
  Effect.gen(function* () {
    const client = yield* SqlClient.SqlClient
    // columns are read by the names they have, and JSON as text: neither a name transform nor a type parser of the client's touches them
    const sql = client.withoutTransforms()
    const tables = statements.tables(schema)
    yield* Migrations.run("checkpoint", migrations.make(tables), { schema }).pipe(
      Effect.catchTag("SqlError", (error) => Effect.fail(fromSqlError("setup", undefined)(error)))
    )
    const text = statements.make(tables)

    const execute = <A extends object>(
      operation: string,
      threadId: string | undefined,
      statement: string,
      parameters: ReadonlyArray<unknown>
    ): Effect.Effect<ReadonlyArray<A>, CheckpointError> =>
      sql.unsafe<A>(statement, parameters).pipe(
        Transaction.retryTransient(),
        Effect.mapError(fromSqlError(operation, threadId)),
        Effect.withTracerEnabled(false) // the observation is the operation, not its statement
      )

    return {
      put: (it, guard) =>
        Effect.suspend(() => {
          // in order, so that two writers of the same rows wait for each other and do not deadlock
          const sorted = [...it.blobs].sort((a, b) => (a.channel < b.channel ? -1 : 1))
          const packed = pack(sorted, ({ channel, version }) => ({ channel, version }))
          return execute<leases.WriteRow>("put", it.threadId, text.put, [
            it.threadId,
            it.namespace,
            it.checkpointId,
            it.parentId ?? null,
            it.checkpoint,
            it.metadata,
            packed.rows,
            packed.bytes,
            guard.run ?? null,
            guard.ended ?? null,
            guard.unleased,
            guard.seconds
          ])
        }).pipe(Effect.map(refused)),
      append: ({ blob, ...it }) =>
        execute<leases.WriteRow>("save", it.threadId, text.append, [
          it.threadId,
          it.namespace,
          it.checkpointId,
          it.parentId ?? null,
          it.checkpoint,
          it.metadata,
          blob.channel,
          blob.version,
          blob.type,
          blob.bytes
        ]).pipe(Effect.map((rows) => refused(rows) === undefined)),
      putWrites: (it, guard) =>
        Effect.suspend(() => {
          const packed = pack(it.writes, ({ idx, channel }) => ({ idx, channel }))
          const statement = it.replace ? text.upsertWrites : text.insertWrites
          return execute<leases.WriteRow>("putWrites", it.threadId, statement, [
            it.threadId,
            it.namespace,
            it.checkpointId,
            it.taskId,
            packed.rows,
            packed.bytes,
            it.taskPath,
            guard.run ?? null,
            guard.ended ?? null,
            guard.unleased
          ])
        }).pipe(Effect.map(refused)),
      load: (operation, selection) =>
        Effect.suspend(() => {
          const [condition, parameters] = where(selection)
          const statement = text.load(condition, selection.limit)
          return execute<statements.LoadRow>(operation, selection.threadId, statement, parameters)
        }).pipe(Effect.map(assemble)),
      claim: (operation, selection, claim) =>
        Effect.suspend(() => {
          const [condition, parameters] = where(selection)
          const statement = text.load(condition, selection.limit, parameters.length + 1)
          return execute<statements.LoadRow>(operation, selection.threadId, statement, [
            ...parameters,
            claim.threadId,
            claim.run,
            claim.holder,
            claim.seconds,
            claim.ended ?? null
          ])
        }).pipe(
          Effect.map((rows) => {
            const said = rows.find((row) => row.kind === 4)?.body
            return {
              rows: assemble(rows),
              lease: JSON.parse(said ?? '{"writes":null,"before":null}') as leases.Taken // the statement has built it
            }
          })
        ),
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
      deleteThread: (threadId) => execute("deleteThread", threadId, text.deleteThread, [threadId]).pipe(Effect.asVoid),
      overview: (operation, selection) =>
        Effect.suspend(() => {
          const [condition, parameters] = where(selection)
          return execute(operation, selection.threadId, text.overview(condition, selection.limit), parameters)
        }),
      newest: (limit) => execute("threads", undefined, text.newest(limit), [workflowNamespace])
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
  newest: (limit) => Effect.flatMap(opened, (rows) => rows.newest(limit))
})
