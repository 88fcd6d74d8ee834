/** A `SqlClient` over PGlite, with the compiler of `@effect/sql-pg`. Loaded only when an embedded database is opened. */

import type * as Reactivity from "@effect/experimental/Reactivity"
import * as SqlClient from "@effect/sql/SqlClient"
import type { Connection, Row } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import { makeCompiler } from "@effect/sql-pg/PgClient"
import type { PGlite, Results } from "@electric-sql/pglite"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as FifoLock from "./fifoLock.js"
import * as Values from "./pgliteValues.js"

/** Rows a chunk of a stream; as many as sql-pg's cursor takes. */
const streamChunk = 128

type Mode = "object" | "array"
type Transform = ((rows: ReadonlyArray<Row>) => ReadonlyArray<Row>) | undefined

const failure = (cause: unknown) => new SqlError({ cause, message: "Failed to execute statement" })

/** Sends one statement; several at once when there are no parameters, as `pg` does. */
const send = async (db: PGlite, sql: string, params: ReadonlyArray<unknown>, rowMode: Mode) => {
  if (params.length === 0) return db.exec(sql, { rowMode })
  return [await db.query<Row>(sql, params.map(Values.parameter), { rowMode })]
}

/** The rows of one statement, or, as sql-pg has it, a list of rows for each of several. */
const rowsOf = (results: ReadonlyArray<Results>): ReadonlyArray<never> => {
  const lists = results.map((result) => result.rows)
  const rows: ReadonlyArray<unknown> = lists.length === 1 ? (lists[0] ?? []) : lists
  // the interface of @effect/sql is untyped here: what a row holds only the statement's author knows
  return rows as ReadonlyArray<never>
}

/**
 * How statements reach the one session that PGlite has. `shared` takes the lock for each statement. Otherwise (a transaction, or a reserved
 * connection) the lock is kept from the statement that opens a transaction to the one that ends it: whoever reserves a connection for ever
 * does not stop all others.
 */
class PgliteConnection implements Connection {
  private ticket: FifoLock.Ticket | undefined
  private readonly own = FifoLock.make()
  private readonly db: PGlite
  private readonly lock: FifoLock.FifoLock
  private readonly shared: boolean

  constructor(db: PGlite, lock: FifoLock.FifoLock, shared: boolean) {
    this.db = db
    this.lock = lock
    this.shared = shared
  }

  private run(
    sql: string,
    params: ReadonlyArray<unknown>,
    mode: Mode
  ): Effect.Effect<ReadonlyArray<Results>, SqlError> {
    return this.shared ? this.runShared(sql, params, mode) : this.runPinned(sql, params, mode)
  }

  private runShared(sql: string, params: ReadonlyArray<unknown>, mode: Mode) {
    return this.locked(this.lock, () =>
      Effect.tryPromise({
        try: async () => {
          const results = await send(this.db, sql, params, mode)
          if (!this.db.isInTransaction()) return results
          await this.db.exec("ROLLBACK")
          throw new Error(
            "a transaction was begun outside of withTransaction or a reserved connection; it was rolled back"
          )
        },
        catch: failure
      }).pipe(Effect.uninterruptible)
    )
  }

  private runPinned(sql: string, params: ReadonlyArray<unknown>, mode: Mode) {
    return this.locked(this.own, () =>
      Effect.suspend(() => {
        // BEGIN was interrupted or never got its turn: there is nothing to roll back
        if (this.ticket === undefined && sql === "ROLLBACK") return Effect.succeed([])
        const ticket = this.ticket ?? this.lock.enqueue()
        return this.lock.wait(ticket).pipe(
          Effect.interruptible,
          Effect.zipRight(
            Effect.tryPromise({ try: () => send(this.db, sql, params, mode), catch: failure }).pipe(
              Effect.uninterruptible
            )
          ),
          Effect.ensuring(
            Effect.sync(() => {
              if (ticket.state === "held" && !this.db.closed && this.db.isInTransaction()) {
                this.ticket = ticket
              } else {
                this.ticket = undefined
                this.lock.release(ticket)
              }
            })
          )
        )
      })
    )
  }

  /** Runs with a lock's ticket that is given back whatever happens. */
  private locked<A>(
    lock: FifoLock.FifoLock,
    use: (ticket: FifoLock.Ticket) => Effect.Effect<A, SqlError>
  ): Effect.Effect<A, SqlError> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        const ticket = lock.enqueue()
        return Effect.interruptible(lock.wait(ticket)).pipe(
          Effect.zipRight(restore(use(ticket))),
          Effect.ensuring(Effect.sync(() => lock.release(ticket)))
        )
      })
    )
  }

  /** Ends what was left open. */
  readonly release: Effect.Effect<void> = Effect.suspend(() => {
    const ticket = this.ticket
    if (ticket === undefined) return Effect.void
    return Effect.promise(() => this.db.exec("ROLLBACK")).pipe(
      Effect.ignore,
      Effect.ensuring(
        Effect.sync(() => {
          this.ticket = undefined
          this.lock.release(ticket)
        })
      )
    )
  })

  execute(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return Effect.map(this.run(sql, params, "object"), (results) => {
      const rows = rowsOf(results)
      return transformRows === undefined ? rows : transformRows(rows)
    })
  }

  executeUnprepared(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return this.execute(sql, params, transformRows)
  }

  executeValues(sql: string, params: ReadonlyArray<unknown>) {
    return Effect.map(this.run(sql, params, "array"), rowsOf)
  }

  executeRaw(sql: string, params: ReadonlyArray<unknown>) {
    return Effect.map(this.run(sql, params, "object"), (results) => {
      const raw = results.map((result) => ({ ...result, rowCount: result.rowCount ?? null }))
      return raw.length === 1 ? raw[0] : raw
    })
  }

  executeStream(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return Stream.unwrap(
      Effect.map(this.execute(sql, params, transformRows), (rows) =>
        Stream.rechunk(Stream.fromChunk(Chunk.unsafeFromArray(rows)), streamChunk)
      )
    )
  }
}

/** A client over an open PGlite, which stays the caller's to close. `turnMillis`: how long a statement waits for its turn. */
export const make = (
  db: PGlite,
  options: { readonly turnMillis: number }
): Effect.Effect<SqlClient.SqlClient, never, Reactivity.Reactivity> => {
  // parameters arrive as text or bytes already
  for (const type of Object.keys(db.serializers)) db.serializers[type] = (value) => value
  const lock = FifoLock.make(options.turnMillis)
  return SqlClient.make({
    acquirer: Effect.succeed(new PgliteConnection(db, lock, true)),
    transactionAcquirer: Effect.acquireRelease(
      Effect.sync(() => new PgliteConnection(db, lock, false)),
      (connection) => connection.release
    ),
    compiler: makeCompiler(),
    spanAttributes: [
      ["db.system.name", "postgresql"],
      ["db.namespace", "pglite"]
    ]
  })
}
