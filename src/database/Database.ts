/**
 * The database: a Postgres server, or Postgres embedded in the process. Both give the same `SqlClient`, and the same SQL runs on both.
 *
 * Importing this module loads no driver: each is loaded when its layer is built.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Config from "effect/Config"
import * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Inspectable from "effect/Inspectable"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as ConfigurationError from "../observability/ConfigurationError.js"
import { DatabaseError } from "./DatabaseError.js"
import * as Embedded from "./internal/embedded.js"
import * as Postgres from "./internal/postgres.js"
import * as Transaction from "./Transaction.js"

export {
  /**
   * @since 0.1.0
   * @category errors
   */
  DatabaseError
}

/**
 * Which database this is.
 *
 * @since 0.1.0
 * @category services
 */
export class Info extends Context.Tag("holdfast/Database/Info")<
  Info,
  {
    readonly kind: "postgres" | "embedded"
    /** The server without its password, the data folder, or `memory`. */
    readonly location: string
  }
>() {}

/**
 * @since 0.1.0
 * @category models
 */
export interface PostgresOptions {
  /**
   * Such as `postgres://user:password@host:5432/database`, with the parameters that `pg` takes. The host's name is looked up for every
   * connection. Several hosts, `host1:5432,host2:5432`, are tried in turn, and one that takes writes is chosen, unless
   * `target_session_attrs=any` says otherwise.
   */
  readonly url: Redacted.Redacted
  /** Connections in the pool. Default: 10. */
  readonly maxConnections?: number | undefined
  /** How long a connection may take, and how long a statement waits for a free one. Default: 5 seconds. */
  readonly connectTimeout?: Duration.DurationInput | undefined
  /** How often to try at the start, 250 ms, 500 ms, 1 s, ... apart. Default: 5. */
  readonly connectAttempts?: number | undefined
  /** After which the server cancels a statement; 0 for never. Default: 60 seconds. A pooler that does not pass it on goes without. */
  readonly statementTimeout?: Duration.DurationInput | undefined
  /** After which the server gives up a statement that waits for a lock; 0 for never. Default: 10 seconds. A pooler: as above. */
  readonly lockTimeout?: Duration.DurationInput | undefined
  /**
   * After which a connection that owes an answer and has sent nothing is looked into, over a second one: if the server is at work on the
   * statement the wait goes on, else the connection is dropped and the statement fails with a transient `SqlError`. 0 for never. Default: 5 seconds.
   */
  readonly silenceTimeout?: Duration.DurationInput | undefined
  /** How often what passes (a lost connection, a deadlock) is tried, at most, by what retries: migrations and checkpoints. Default: 20. */
  readonly retryAttempts?: number | undefined
  /** For how long, at most. Default: 30 seconds. */
  readonly retryTime?: Duration.DurationInput | undefined
  /** What the server lists the connections under. Default: `holdfast`. */
  readonly applicationName?: string | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface EmbeddedOptions {
  /** The folder that holds the data; made if it is missing. Absent: in memory, gone with the layer. */
  readonly dataDir?: string | undefined
}

/**
 * Either kind: with a `url` Postgres, without it embedded.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends EmbeddedOptions, Omit<PostgresOptions, "url"> {
  readonly url?: Redacted.Redacted | undefined
}

/** What each setting of the environment takes, for messages and `--help`. */
const expected = {
  DATABASE_URL: Postgres.urlExpected,
  HOLDFAST_DATA_DIR: "a folder",
  HOLDFAST_DATABASE_POOL_SIZE: "a whole number above 0",
  HOLDFAST_DATABASE_CONNECT_TIMEOUT: "a duration above 0, such as 5 seconds",
  HOLDFAST_DATABASE_CONNECT_ATTEMPTS: "a whole number above 0",
  HOLDFAST_DATABASE_STATEMENT_TIMEOUT: "a duration, such as 60 seconds, or 0 for none",
  HOLDFAST_DATABASE_LOCK_TIMEOUT: "a duration, such as 10 seconds, or 0 for none",
  HOLDFAST_DATABASE_SILENCE_TIMEOUT: "a duration, such as 5 seconds, or 0 for none",
  HOLDFAST_DATABASE_RETRY_ATTEMPTS: "a whole number above 0",
  HOLDFAST_DATABASE_RETRY_TIME: "a duration, such as 30 seconds, or 0 for none"
} as const

const invalid = (problem: string) => ConfigError.InvalidData([], problem)

/** An empty variable counts as one that is not set. */
const optional = <A>(
  name: keyof typeof expected,
  description: string,
  parse: (text: string) => Either.Either<A, string>
): Config.Config<A | undefined> =>
  Config.string().pipe(
    Config.mapOrFail((text) =>
      text.trim() === "" ? Either.right(undefined) : Either.mapLeft(parse(text.trim()), invalid)
    ),
    // inside, so that a failure knows the name
    Config.nested(name),
    Config.withDefault(undefined),
    Config.withDescription(`${description}: ${expected[name]}`)
  )

const count = (text: string): Either.Either<number, string> => {
  const value = Number(text)
  return Number.isSafeInteger(value) && value > 0 ? Either.right(value) : Either.left(`it is "${text}"`)
}

const duration = (text: string): Either.Either<Duration.Duration, string> =>
  Either.fromOption(
    // a negative one would count as 0
    text === "0" ? Option.some(Duration.zero) : text.startsWith("-") ? Option.none() : Duration.decodeUnknown(text),
    () => `it is "${text}"`
  )

const positive = (text: string): Either.Either<Duration.Duration, string> =>
  Either.filterOrLeft(duration(text), Duration.greaterThan(Duration.zero), () => `it is "${text}"`)

/**
 * The settings of the environment. An empty variable counts as one that is not set.
 *
 * - `DATABASE_URL`: a Postgres server; without it the database is embedded
 * - `HOLDFAST_DATA_DIR`: the folder of the embedded database (`.holdfast`)
 * - `HOLDFAST_DATABASE_POOL_SIZE`: connections to the server (10)
 * - `HOLDFAST_DATABASE_CONNECT_TIMEOUT`: how long a connection may take, and how long a statement waits for a free one (5 seconds)
 * - `HOLDFAST_DATABASE_CONNECT_ATTEMPTS`: how often to try before the server counts as unreachable (5)
 * - `HOLDFAST_DATABASE_STATEMENT_TIMEOUT`: after which the server cancels a statement, 0 for never (60 seconds)
 * - `HOLDFAST_DATABASE_LOCK_TIMEOUT`: after which the server gives up a statement that waits for a lock, 0 for never (10 seconds)
 * - `HOLDFAST_DATABASE_SILENCE_TIMEOUT`: after which a server that owes an answer is asked whether it still works, 0 for never (5 seconds)
 * - `HOLDFAST_DATABASE_RETRY_ATTEMPTS`: tries of a migration's or checkpoint's statement, where the failure is one that passes (20)
 * - `HOLDFAST_DATABASE_RETRY_TIME`: after which no further try is begun (30 seconds)
 *
 * @since 0.1.0
 * @category config
 */
export const config: Config.Config<Options> = Config.all({
  url: Config.redacted("DATABASE_URL").pipe(
    Config.option,
    Config.map((url) => (Option.isSome(url) && Redacted.value(url.value).trim() !== "" ? url.value : undefined)),
    Config.withDescription(`The Postgres server; without it the database is embedded: ${expected.DATABASE_URL}`)
  ),
  dataDir: optional("HOLDFAST_DATA_DIR", "Where the embedded database lives", Either.right).pipe(
    Config.map((folder) => folder ?? ".holdfast")
  ),
  maxConnections: optional("HOLDFAST_DATABASE_POOL_SIZE", "Connections to the server", count),
  connectTimeout: optional("HOLDFAST_DATABASE_CONNECT_TIMEOUT", "How long a connection may take", positive),
  connectAttempts: optional("HOLDFAST_DATABASE_CONNECT_ATTEMPTS", "How often to try to connect at the start", count),
  statementTimeout: optional("HOLDFAST_DATABASE_STATEMENT_TIMEOUT", "When the server cancels a statement", duration),
  lockTimeout: optional("HOLDFAST_DATABASE_LOCK_TIMEOUT", "When it gives up waiting for a lock", duration),
  silenceTimeout: optional(
    "HOLDFAST_DATABASE_SILENCE_TIMEOUT",
    "When a silent server is asked whether it works",
    duration
  ),
  retryAttempts: optional("HOLDFAST_DATABASE_RETRY_ATTEMPTS", "How often to try what may pass", count),
  retryTime: optional("HOLDFAST_DATABASE_RETRY_TIME", "For how long to try what may pass", duration)
})

const whole = (value: unknown): Either.Either<number, string> =>
  typeof value === "number" && Number.isSafeInteger(value) && value > 0
    ? Either.right(value)
    : Either.left("a whole number above 0")

const time = (value: unknown): Either.Either<Duration.Duration, string> =>
  Either.fromOption(
    typeof value === "number" && !(value >= 0) ? Option.none() : Duration.decodeUnknown(value),
    () => "a duration, such as 5 seconds"
  )

const someTime = (value: unknown): Either.Either<Duration.Duration, string> =>
  Either.filterOrLeft(time(value), Duration.greaterThan(Duration.zero), () => "a duration above 0, such as 5 seconds")

/** An option as it is used. What comes from a program may be anything: its types do not hold a value that was computed. */
const wanted = <A>(
  setting: keyof PostgresOptions,
  value: unknown,
  read: (value: unknown) => Either.Either<A, string>
) =>
  Either.mapLeft(
    read(value),
    (expected) =>
      new ConfigurationError.ConfigurationError({
        setting,
        expected,
        problem: `it is ${Inspectable.toStringUnknown(value, 0)}`
      })
  )

const embedded = (options: EmbeddedOptions) =>
  Effect.map(Embedded.open(options.dataDir), (client) =>
    Context.make(SqlClient.SqlClient, client).pipe(
      Context.add(Info, { kind: "embedded", location: options.dataDir ?? "memory" })
    )
  )

const open = Effect.fnUntraced(function* (
  options: Options,
  source: Postgres.Source
): Effect.fn.Return<
  Context.Context<SqlClient.SqlClient | Info>,
  ConfigurationError.ConfigurationError | DatabaseError,
  Scope.Scope
> {
  if (options.url === undefined) return yield* embedded(options)
  const location = yield* Postgres.location(options.url, source)
  const retries = {
    attempts: yield* wanted("retryAttempts", options.retryAttempts ?? 20, whole),
    time: yield* wanted("retryTime", options.retryTime ?? "30 seconds", time)
  }
  const client = yield* Postgres.connect(
    {
      url: options.url,
      source,
      maxConnections: yield* wanted("maxConnections", options.maxConnections ?? 10, whole),
      connectTimeout: yield* wanted("connectTimeout", options.connectTimeout ?? "5 seconds", someTime),
      connectAttempts: yield* wanted("connectAttempts", options.connectAttempts ?? 5, whole),
      statementTimeout: yield* wanted("statementTimeout", options.statementTimeout ?? "60 seconds", time),
      lockTimeout: yield* wanted("lockTimeout", options.lockTimeout ?? "10 seconds", time),
      silenceTimeout: yield* wanted("silenceTimeout", options.silenceTimeout ?? "5 seconds", time),
      applicationName: options.applicationName ?? "holdfast"
    },
    location
  )
  return Context.make(SqlClient.SqlClient, client).pipe(
    Context.add(Info, { kind: "postgres", location }),
    Context.add(Transaction.Retries, retries)
  )
})

/**
 * Opens a database until the scope closes. Fails with `ConfigurationError` for a malformed URL or another option that cannot be used, and with `DatabaseError` when the server
 * cannot be reached or refuses, or when the folder is in use (the message names the process) or cannot be used.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options
): Effect.Effect<
  Context.Context<SqlClient.SqlClient | Info>,
  ConfigurationError.ConfigurationError | DatabaseError,
  Scope.Scope
> => open(options, "DATABASE_URL")

/**
 * A Postgres server. Everything closes with the layer.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { Redacted } from "effect"
 * import { Database } from "holdfast"
 *
 * const layer = Database.layerPostgres({ url: Redacted.make("postgres://localhost/agents"), maxConnections: 20 })
 * ```
 */
export const layerPostgres = (
  options: PostgresOptions
): Layer.Layer<SqlClient.SqlClient | Info, ConfigurationError.ConfigurationError | DatabaseError> =>
  Layer.scopedContext(open(options, "url"))

/**
 * Postgres inside this process (PGlite): in a folder that one process at a time may open, or, without `dataDir`, in memory. What was committed
 * survives the death of the process; nothing is flushed for a power cut. There is one connection: a transaction keeps all others waiting.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerEmbedded = (options: EmbeddedOptions = {}): Layer.Layer<SqlClient.SqlClient | Info, DatabaseError> =>
  Layer.scopedContext(embedded(options))

/**
 * Either kind, from a `Config`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Config.Wrap<Options>
): Layer.Layer<SqlClient.SqlClient | Info, ConfigurationError.ConfigurationError | DatabaseError> =>
  Layer.scopedContext(
    Config.unwrap(options).pipe(
      Effect.mapError((error) => ConfigurationError.fromConfigError(error, expected)),
      Effect.flatMap(make)
    )
  )

/**
 * The database of the environment, see {@link config}: Postgres if `DATABASE_URL` is set, else embedded in `HOLDFAST_DATA_DIR`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<SqlClient.SqlClient | Info, ConfigurationError.ConfigurationError | DatabaseError> =
  layerConfig(config)
