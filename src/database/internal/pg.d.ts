/** What we use of `pg`, which brings no types along. */
declare module "pg" {
  import type { EventEmitter } from "node:events"
  import type { Duplex } from "node:stream"

  export type Callback<A> = (error: Error | null | undefined, result: A) => void

  export interface Result {
    readonly rows: ReadonlyArray<Readonly<Record<string, unknown>>>
  }

  export interface Options {
    readonly connectionString?: string
    readonly application_name?: string
    readonly connectionTimeoutMillis?: number
    readonly statement_timeout?: number
    readonly lock_timeout?: number
    readonly keepAlive?: boolean
    readonly keepAliveInitialDelayMillis?: number
  }

  export interface PoolOptions extends Options {
    readonly max?: number
    readonly Client?: typeof Client
  }

  export interface Connection extends EventEmitter {
    readonly stream: Duplex & { readonly bytesRead?: number }
    /** The texts of the statements that the server knows, by their names. */
    readonly parsedStatements: Readonly<Record<string, string>>
    parse(statement: { readonly name: string; readonly text: string }): void
    sendCopyFail(reason: string): void
  }

  export class Client extends EventEmitter {
    constructor(options: Options)
    readonly connection: Connection
    /** The server process that answers, as it said itself. */
    readonly processID: number | null
    connect(): Promise<this>
    connect(callback: Callback<unknown>): void
    query(text: string, values?: ReadonlyArray<unknown>): Promise<Result>
    query(text: unknown, values?: unknown, callback?: unknown): unknown
    end(): Promise<void>
    end(callback: () => void): void
  }

  export type PoolClient = Client

  export class Pool extends EventEmitter {
    constructor(options: PoolOptions)
    readonly options: Options
    /** How many wait for a connection. */
    readonly waitingCount: number
    connect(): Promise<PoolClient>
    connect(callback: (error: Error | undefined, client: PoolClient | undefined, release: () => void) => void): void
    query(text: string): Promise<Result>
    end(): Promise<void>
  }
}
