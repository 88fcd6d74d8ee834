/// <reference path="./pg.d.ts" />
/**
 * Statements sent straight to a connection, for who sends many: no fiber, no row of objects, no description of columns that the asker knows. One
 * that fails is told, and not tried again.
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import type * as Pg from "pg"

/** The bytes of a text as UTF-8. */
export interface Utf8 {
  readonly text: string
}

/** Text as the server writes it; a `Uint8Array` and {@link Utf8} are bytes, and travel as such. */
export type Parameter = string | Uint8Array | Utf8 | null

export interface Statement {
  readonly name: string
  readonly text: string
}

/** All columns as the server's text. `count`: the rows that it wrote, or read. */
export interface Answer {
  readonly rows: ReadonlyArray<ReadonlyArray<string | null>>
  readonly count: number
}

/** Is called once, and must not throw. */
export type Done = (answer: Answer | SqlError) => void

/** Sends a statement on a connection of its own: outside any transaction. */
export type Direct = (statement: Statement, parameters: ReadonlyArray<Parameter>, done: Done) => void

const clients = new WeakMap<SqlClient.SqlClient, Direct>()

/** How a client's statements are sent straight; `undefined` for one that knows no such way. */
export const of = (client: SqlClient.SqlClient): Direct | undefined => clients.get(client)

export const provide = (client: SqlClient.SqlClient, direct: Direct): void => {
  clients.set(client, direct)
}

/** Execute the portal to its end, and end the statement. */
const executeAndSync = Buffer.from([0x45, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0x53, 0, 0, 0, 4])

const textOf = (value: Parameter): string | undefined =>
  typeof value === "string" ? value : value === null || value instanceof Uint8Array ? undefined : value.text

/** The message Bind, with Execute and Sync behind it: one piece, one write. */
const bind = (name: string, parameters: ReadonlyArray<Parameter>): Buffer => {
  const count = parameters.length
  const sizes = new Array<number>(count)
  let size = 1 + 4 + 1 + Buffer.byteLength(name) + 1 + 2 + 2 * count + 2 + 2 + 2
  for (let index = 0; index < count; index++) {
    const value = parameters[index] ?? null
    const text = textOf(value)
    const bytes = text !== undefined ? Buffer.byteLength(text) : value instanceof Uint8Array ? value.byteLength : -1
    sizes[index] = bytes
    size += 4 + Math.max(bytes, 0)
  }
  const out = Buffer.allocUnsafe(size + executeAndSync.length)
  out[0] = 0x42
  out.writeInt32BE(size - 1, 1)
  out[5] = 0 // the unnamed portal
  let at = 6 + out.write(name, 6)
  out[at++] = 0
  at = out.writeInt16BE(count, at)
  for (const value of parameters) at = out.writeInt16BE(value === null || typeof value === "string" ? 0 : 1, at)
  at = out.writeInt16BE(count, at)
  for (let index = 0; index < count; index++) {
    const value = parameters[index] ?? null
    const text = textOf(value)
    at = out.writeInt32BE(sizes[index] ?? -1, at)
    if (text !== undefined) at += out.write(text, at)
    else if (value instanceof Uint8Array) {
      out.set(value, at)
      at += value.byteLength
    }
  }
  at = out.writeInt16BE(1, at)
  at = out.writeInt16BE(0, at) // all columns as text
  executeAndSync.copy(out, at)
  return out
}

/** A statement as `pg` takes one: it is told of each message. */
class Query {
  readonly name: string
  readonly text: string
  readonly #parameters: ReadonlyArray<Parameter>
  readonly #rows: Array<ReadonlyArray<string | null>> = []
  #count = 0
  /** Set by `pg`. */
  callback: Pg.Callback<Answer> | undefined

  constructor({ name, text }: Statement, parameters: ReadonlyArray<Parameter>) {
    this.name = name
    this.text = text
    this.#parameters = parameters
  }

  /** An error is one that was met before anything was sent. */
  submit(connection: Pg.Connection): Error | null {
    const { stream } = connection
    // one that is gone says so by its end
    if (!stream.writable) return null
    let message: Buffer
    try {
      message = bind(this.name, this.#parameters)
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error))
    }
    if (connection.parsedStatements[this.name] !== undefined) {
      stream.write(message)
      return null
    }
    stream.cork()
    connection.parse({ name: this.name, text: this.text })
    stream.write(message)
    stream.uncork()
    return null
  }

  handleDataRow(message: { readonly fields: ReadonlyArray<string | null> }): void {
    this.#rows.push(message.fields)
  }

  handleCommandComplete({ text }: { readonly text: string }): void {
    this.#count = Number(text.slice(text.lastIndexOf(" ") + 1))
  }

  handleError(error: Error): void {
    this.callback?.(error, { rows: [], count: 0 })
  }

  handleReadyForQuery(): void {
    this.callback?.(null, { rows: this.#rows, count: this.#count })
  }

  handleRowDescription(): void {}
  handleEmptyQuery(): void {}
  handlePortalSuspended(): void {}
  handleCopyData(): void {}
  handleCopyInResponse(connection: Pg.Connection): void {
    connection.sendCopyFail("no data was to come")
  }
}

/** A connection that says whether it can be used for another statement. */
export interface Connection extends Pg.Client {
  readonly usable: boolean
  readonly release: (error?: Error) => void
}

/** How long a connection that was not asked for is kept out of the pool, in milliseconds. */
const kept = 1000

/**
 * Connections that were asked for a moment ago: they need not go through the pool, which sets and clears two timers for each statement. As soon
 * as anybody else asks the pool, all that are at rest go back to it.
 */
export class Connections {
  readonly #connect: (callback: Pg.Callback<Connection | undefined>) => void
  readonly #isWanted: () => boolean
  #resting: Array<Connection> = []
  #used = false
  #closed = false
  #timer: NodeJS.Timeout | undefined

  /**
   * @param connect Asks the pool.
   * @param isWanted Whether others wait for a connection.
   */
  constructor(connect: (callback: Pg.Callback<Connection | undefined>) => void, isWanted: () => boolean) {
    this.#connect = connect
    this.#isWanted = isWanted
  }

  /** Gives all that rest back to the pool. */
  release(): void {
    if (this.#resting.length === 0) return
    const resting = this.#resting
    this.#resting = []
    for (const connection of resting) connection.release()
  }

  /** From now on none rests. */
  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
    this.release()
  }

  readonly send: Direct = (statement, parameters, done) => {
    for (let resting = this.#resting.pop(); resting !== undefined; resting = this.#resting.pop()) {
      if (resting.usable) {
        this.#on(resting, statement, parameters, done)
        return
      }
      resting.release(new Error("the connection was lost"))
    }
    this.#connect((cause, connection) => {
      if (connection === undefined) done(new SqlError({ cause, message: "Failed to acquire connection" }))
      else this.#on(connection, statement, parameters, done)
    })
  }

  #on(connection: Connection, statement: Statement, parameters: ReadonlyArray<Parameter>, done: Done): void {
    let answered = false
    connection.query(new Query(statement, parameters), (cause: Error | null, answer: Answer) => {
      if (answered) return
      answered = true
      if (cause === null && !this.#closed && connection.usable && !this.#isWanted()) this.#rest(connection)
      else connection.release()
      done(cause === null ? answer : new SqlError({ cause, message: "Failed to execute statement" }))
    })
  }

  #rest(connection: Connection): void {
    this.#resting.push(connection)
    this.#used = true
    this.#timer ??= setTimeout(this.#look, kept).unref()
  }

  readonly #look = (): void => {
    this.#timer = undefined
    if (this.#used && this.#resting.length > 0) {
      this.#used = false
      this.#timer = setTimeout(this.#look, kept).unref()
    } else this.release()
  }
}
