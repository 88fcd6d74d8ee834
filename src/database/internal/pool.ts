/// <reference path="./pg.d.ts" />
/**
 * Connections to a server: of several hosts the one that takes writes; dropped when the server falls silent, and never used again when they are
 * in doubt.
 */
import type * as Pg from "pg"
import * as Transaction from "../Transaction.js"
import * as Direct from "./direct.js"

export interface Settings {
  /** The same database on one host or several, in the order of trying. */
  readonly urls: readonly [string, ...ReadonlyArray<string>]
  /** Whether a host that only takes reads is passed over. */
  readonly writable: boolean
  readonly max: number
  readonly connectMillis: number
  /** 0 for none, as the two that follow. */
  readonly statementMillis: number
  readonly lockMillis: number
  /** How long a server may say nothing before it is asked whether it still works. */
  readonly silenceMillis: number
  readonly applicationName: string
}

export interface Pool {
  readonly pool: Pg.Pool
  readonly direct: Direct.Direct
  /** From now on connections are made without timeouts of the server's, for a pooler that does not take them. */
  readonly withoutTimeouts: () => void
  /** Ends all connections, and cuts those that do not end within a second. */
  readonly close: () => Promise<void>
}

/** An error that says of itself what `Transaction.isTransient` asks. */
const problem = (code: string, message: string, cause?: unknown) =>
  Object.assign(new Error(message, cause === undefined ? undefined : { cause }), { code })

/** What the server says of the process that should be answering. */
type Verdict = "working" | "lost" | "unreachable" | "unknown"

const verdict = (own: boolean, state: unknown): Verdict => {
  if (!own) return "unknown" // a pooler stands between: the number is none of the server's
  if (state === "active" || state === "fastpath function call") return "working"
  return state === "hidden" || state === "disabled" ? "unknown" : "lost"
}

export const make = (driver: typeof Pg, settings: Settings): Pool => {
  const { urls, silenceMillis, connectMillis } = settings
  const clients = new Set<Pg.Client>()
  let host = 0
  let timeouts = true

  const url = (): string => urls[host % urls.length] ?? urls[0]
  /** The next host is tried next, unless somebody has moved on already. */
  const leave = (from: string): void => {
    if (url() === from) host = (host + 1) % urls.length
  }

  /** Asks, over a connection of its own, whether a process of the server is at work on a statement. */
  const ask = async (processId: number | null): Promise<Verdict> => {
    const probe = new driver.Client({
      connectionString: url(),
      application_name: settings.applicationName,
      connectionTimeoutMillis: connectMillis
    })
    probe.on("error", () => {})
    const timer = setTimeout(() => probe.connection.stream.destroy(), connectMillis)
    timer.unref()
    try {
      await probe.connect()
      const { rows } = await probe.query(
        "select pg_backend_pid() as own, (select coalesce(state, 'hidden') from pg_stat_activity where pid = $1) as state",
        [processId]
      )
      return verdict(rows[0]?.["own"] === probe.processID, rows[0]?.["state"])
    } catch (error) {
      const code = Transaction.code(error)
      // one that starts or stops has no statement of ours; one that is full says nothing of it
      return code !== undefined && /^\d/.test(code) && !code.startsWith("57P") ? "unknown" : "unreachable"
    } finally {
      clearTimeout(timer)
      probe.connection.stream.destroy()
    }
  }

  class Client extends driver.Client {
    readonly #url: string
    /** Statements that the server has not answered. */
    #open = 0
    #timer: NodeJS.Timeout | undefined
    #retired: Error | undefined
    #lost = false
    #release: ((error?: Error) => void) | undefined

    constructor(options: Pg.Options) {
      const connectionString = url()
      super({
        ...options,
        connectionString,
        ...(timeouts ? { statement_timeout: settings.statementMillis, lock_timeout: settings.lockMillis } : {})
      })
      this.#url = connectionString
      clients.add(this)
      // whoever uses it hears of an error from its statement; one that nobody listens to would end the process
      this.on("error", () => {
        this.#lost = true
      })
      this.on("end", () => {
        this.#lost = true
        clients.delete(this)
        clearTimeout(this.#timer)
      })
      this.connection.on("errorMessage", (message) => {
        // what took writes takes reads only: it has become a standby
        if (Transaction.code(message) === "25006") this.#retire(problem("25006", "the server takes no writes any more"))
      })
    }

    #retire(reason: Error): void {
      this.#retired = reason
      leave(this.#url)
    }

    /** Whether it may be asked for another statement. */
    get usable(): boolean {
      return !this.#lost && this.#open === 0 && this.#retired === undefined
    }

    override connect(): Promise<this>
    override connect(callback: Pg.Callback<unknown>): void
    override connect(callback?: Pg.Callback<unknown>): Promise<this> | undefined {
      if (callback === undefined) {
        return new Promise((resolve, reject) => this.connect((error) => (error ? reject(error) : resolve(this))))
      }
      const refuse = (error: Error): void => {
        leave(this.#url)
        callback(error, undefined)
      }
      const checked = (error: Error | null | undefined): void => {
        if (error) refuse(error)
        else if (!settings.writable) callback(null, this)
        else {
          super.query("show transaction_read_only", [], (failure: Error | null, result: Pg.Result) => {
            const standby = !failure && result.rows[0]?.["transaction_read_only"] === "on"
            const refusal = standby ? problem("25006", "the server is a standby, which takes no writes") : failure
            if (!refusal) callback(null, this)
            else {
              this.end(() => {})
              refuse(refusal)
            }
          })
        }
      }
      super.connect(checked)
      return undefined
    }

    // the pool sets it: what is given back while a statement is under way, or retired, goes no further
    set release(release: (error?: Error) => void) {
      this.#release = release
    }

    get release(): (error?: Error) => void {
      return (error) =>
        this.#release?.(error ?? this.#retired ?? (this.#open > 0 ? new Error("a statement is under way") : undefined))
    }

    override query(text: string, values?: ReadonlyArray<unknown>): Promise<Pg.Result>
    override query(text: unknown, values?: unknown, callback?: unknown): unknown
    override query(text: unknown, values?: unknown, callback?: unknown): unknown {
      const answer = callback ?? values
      // a cursor is asked for its rows as they are wanted, and may wait
      if (typeof answer !== "function") return super.query(text, values)
      let answered = false
      this.#open++
      this.#watch()
      return super.query(text, callback === undefined ? undefined : values, (error: unknown, result: unknown) => {
        if (!answered) this.#open--
        answered = true
        answer(error, result)
      })
    }

    #watch(silent = 0, doubted = false): void {
      if (this.#timer !== undefined || silenceMillis === 0) return
      const heard = this.connection.stream.bytesRead
      const wait = doubted ? Math.min(silenceMillis, 1000) : silenceMillis
      this.#timer = setTimeout(async () => {
        const isSilent = () => this.#open > 0 && heard === this.connection.stream.bytesRead
        const millis = silent + wait
        const found = !isSilent() ? undefined : doubted ? "unreachable" : await ask(this.processID)
        this.#timer = undefined
        if (!clients.has(this) || this.#open === 0) return
        if (!isSilent() || found === undefined) return this.#watch()
        const overdue = settings.statementMillis > 0 && millis > settings.statementMillis + silenceMillis
        if (found === "unreachable" || (found === "unknown" && overdue)) {
          const error = problem("ETIMEDOUT", `the server has been silent for ${millis} ms and is not at work`)
          this.connection.stream.destroy(error)
          return
        }
        // an answer may be on its way just now
        this.#watch(millis, found === "lost")
      }, wait)
      this.#timer.unref()
    }
  }

  class Pool extends driver.Pool {
    override connect(...asked: ReadonlyArray<never>): never {
      // what rests beside the pool is in it, for all that others can see
      direct.release()
      return super.connect(...(asked as [])) as never // in whichever of its two forms it was asked
    }

    /** For {@link direct}, none of whose connections rest when it asks. */
    direct(callback: Pg.Callback<Client | undefined>): void {
      super.connect((error, client) => callback(error, client as Client | undefined)) // it makes clients of this class
    }
  }

  const pool = new Pool({
    connectionString: urls[0],
    max: settings.max,
    connectionTimeoutMillis: connectMillis,
    application_name: settings.applicationName,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    Client
  })
  pool.on("error", () => {})
  const direct: Direct.Connections = new Direct.Connections(
    (callback) => pool.direct(callback),
    () => pool.waitingCount > 0
  )
  return {
    pool,
    direct: direct.send,
    withoutTimeouts: () => {
      timeouts = false
    },
    close: async () => {
      const timer = setTimeout(() => {
        for (const client of clients) client.connection.stream.destroy()
      }, 1000)
      direct.close()
      await pool.end()
      clearTimeout(timer)
    }
  }
}
