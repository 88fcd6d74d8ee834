/**
 * Checkpoints as rows: what the saver and the checkpoint manager both stand on. Knows no LangGraph. Every operation is one statement, which may
 * run twice, so that a lost connection is retried.
 *
 * @internal
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import type { DatabaseError } from "../../database/DatabaseError.js"
import * as Migrations from "../../database/Migrations.js"
import * as Transaction from "../../database/Transaction.js"
import type { CheckpointError } from "../CheckpointError.js"
import * as attempts from "./attempts.js"
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

export interface Write extends Piece {
  readonly idx: number
  readonly channel: string
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
  readonly put: (checkpoint: NewCheckpoint) => Effect.Effect<void, CheckpointError>
  readonly putWrites: (writes: NewWrites) => Effect.Effect<void, CheckpointError>
  /** Newest first. */
  readonly load: (operation: string, selection: Selection) => Effect.Effect<ReadonlyArray<Loaded>, CheckpointError>
  readonly deleteThread: (threadId: string) => Effect.Effect<void, CheckpointError>
  readonly overview: (
    operation: string,
    selection: Selection & { readonly limit: number }
  ) => Effect.Effect<ReadonlyArray<statements.OverviewRow>, CheckpointError>
  readonly newest: (limit: number) => Effect.Effect<ReadonlyArray<statements.OverviewRow>, CheckpointError>
}

/** The namespace under which the phases of a workflow that is no graph stand beside the checkpoints of graphs. */
export const workflowNamespace = "holdfast:workflow"

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
    const owner = out[row.checkpoint]
    if (row.kind === 1) owner?.values.push({ channel: row.b, ...bytes(row) })
    else if (row.kind === 2) owner?.writes.push({ taskId: row.a, channel: row.b, ...bytes(row) })
    else owner?.sends.push(bytes(row))
  }
  return out
}

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
    yield* Migrations.run("checkpoint", migrations.make(tables), { schema, requires: migrations.requires }).pipe(
      Effect.catchTag("SqlError", (error) =>
        Effect.fail(attempts.failed({ name: "setup", threadId: undefined }, error))
      )
    )
    const text = statements.make(tables)

    const bounds = yield* Transaction.Retries
    const within = <A>(effect: Effect.Effect<A, CheckpointError>): Effect.Effect<A, CheckpointError> =>
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

    /** `landed` answers with one row, `landed`, which says whether what `statement` would write is there. */
    const write = (
      name: string,
      threadId: string,
      [statement, parameters]: readonly [text: string, parameters: ReadonlyArray<unknown>],
      [question, about]: readonly [text: string, parameters: ReadonlyArray<unknown>]
    ): Effect.Effect<void, CheckpointError> =>
      within(
        attempts.write(
          { name, threadId },
          {
            statement: sql.unsafe(statement, parameters),
            landed: sql
              .unsafe<{ landed: boolean }>(question, about)
              .pipe(Effect.map((rows) => (rows[0]?.landed === true ? [] : undefined)))
          }
        )
      )

    return {
      put: (it) =>
        Effect.suspend(() => {
          // in order, so that two writers of the same rows wait for each other and do not deadlock
          const sorted = [...it.blobs].sort((a, b) => (a.channel < b.channel ? -1 : 1))
          const packed = pack(sorted, ({ channel, version }) => ({ channel, version }))
          const key = [it.threadId, it.namespace, it.checkpointId]
          const body = [it.checkpoint, it.metadata]
          const parameters = [...key, it.parentId ?? null, ...body, packed.rows, packed.bytes]
          return write("put", it.threadId, [text.put, parameters], [text.isPut, [...key, ...body]])
        }),
      putWrites: (it) =>
        Effect.suspend(() => {
          const packed = pack(it.writes, ({ idx, channel }) => ({ idx, channel }))
          const parameters = [it.threadId, it.namespace, it.checkpointId, it.taskId, packed.rows, packed.bytes]
          return write(
            "putWrites",
            it.threadId,
            [it.replace ? text.upsertWrites : text.insertWrites, [...parameters, it.taskPath]],
            [it.replace ? text.areUpserted : text.areInserted, it.replace ? parameters : parameters.slice(0, 5)]
          )
        }),
      load: (operation, selection) =>
        Effect.suspend(() => {
          const [condition, parameters] = where(selection)
          const statement = text.load(condition, selection.limit)
          return execute<statements.LoadRow>(operation, selection.threadId, statement, parameters)
        }).pipe(Effect.map(assemble)),
      deleteThread: (threadId) =>
        write("deleteThread", threadId, [text.deleteThread, [threadId]], [text.isDeleted, [threadId]]),
      overview: (operation, selection) =>
        Effect.suspend(() => {
          const [condition, parameters] = where(selection)
          return execute(operation, selection.threadId, text.overview(condition, selection.limit), parameters)
        }),
      newest: (limit) => execute("threads", undefined, text.newest(limit), [workflowNamespace])
    }
  })
