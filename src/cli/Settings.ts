/**
 * Everything that the environment can say to the command line, read and checked in one place before anything else happens: a malformed variable
 * ends every command at once, with its name and what it takes.
 *
 * @since 0.1.0
 */

import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Encryption from "../checkpoint/Encryption.js"
import * as Database from "../database/Database.js"
import * as Postgres from "../database/internal/postgres.js"
import * as Langfuse from "../langfuse/Langfuse.js"
import { type ConfigurationError, fromConfigError } from "../observability/ConfigurationError.js"
import * as environment from "../observability/internal/environment.js"
import * as Logging from "../observability/Logging.js"
import * as NarrativeModel from "../programs/research/NarrativeModel.js"
import * as age from "./internal/age.js"

/**
 * An environment variable.
 *
 * @since 0.1.0
 * @category models
 */
export interface Variable {
  readonly name: string
  /** What it is for. */
  readonly description: string
  /** What it takes. */
  readonly takes: string
  /** What holds when it is not set; absent where that is nothing. */
  readonly fallback?: string
  /** Whether its value must never be shown. */
  readonly secret?: boolean
}

const duration = "a duration above 0, such as 5 seconds"
const seconds = "a number of seconds above 0, at most 3600"

/**
 * Every variable that is read. An empty one counts as one that is not set.
 *
 * @since 0.1.0
 * @category configuration
 */
export const variables: ReadonlyArray<Variable> = [
  {
    name: "DATABASE_URL",
    description: "the Postgres server; without it the database is embedded in HOLDFAST_DATA_DIR",
    takes: "a URL such as postgres://user@host:5432/database",
    secret: true
  },
  {
    name: "HOLDFAST_DATA_DIR",
    description: "the folder of the embedded database",
    takes: "a folder",
    fallback: ".holdfast"
  },
  {
    name: "HOLDFAST_DATABASE_POOL_SIZE",
    description: "connections to the server",
    takes: "a whole number above 0",
    fallback: "10"
  },
  {
    name: "HOLDFAST_DATABASE_CONNECT_TIMEOUT",
    description: "how long a connection may take, and how long a statement waits for a free one",
    takes: duration,
    fallback: "5 seconds"
  },
  {
    name: "HOLDFAST_DATABASE_CONNECT_ATTEMPTS",
    description: "how often to try before the server counts as unreachable",
    takes: "a whole number above 0",
    fallback: "5"
  },
  {
    name: "HOLDFAST_DATABASE_STATEMENT_TIMEOUT",
    description: "after which the server cancels a statement",
    takes: "a duration, such as 60 seconds, or 0 for none",
    fallback: "60 seconds"
  },
  {
    name: "HOLDFAST_DATABASE_LOCK_TIMEOUT",
    description: "after which the server gives up a statement that waits for a lock",
    takes: "a duration, such as 10 seconds, or 0 for none",
    fallback: "10 seconds"
  },
  {
    name: "HOLDFAST_DATABASE_SILENCE_TIMEOUT",
    description: "after which a server that owes an answer is asked whether it still works",
    takes: "a duration, such as 5 seconds, or 0 for none",
    fallback: "5 seconds"
  },
  {
    name: "HOLDFAST_DATABASE_RETRY_ATTEMPTS",
    description: "how often to try a checkpoint's statement, where the failure is one that passes",
    takes: "a whole number above 0",
    fallback: "20"
  },
  {
    name: "HOLDFAST_DATABASE_RETRY_TIME",
    description: "for how long to try it",
    takes: "a duration, such as 30 seconds, or 0 for none",
    fallback: "30 seconds"
  },
  {
    name: "HOLDFAST_CHECKPOINT_COMPRESSION",
    description: "whether checkpoints are compressed; the official saver does not read those that are",
    takes: "true or false",
    fallback: "false"
  },
  {
    name: "HOLDFAST_CHECKPOINT_TTL",
    description: "threads go that nobody has written to for so long; without it none go",
    takes: age.expected
  },
  {
    name: "HOLDFAST_CHECKPOINT_SWEEP_INTERVAL",
    description: "how often old threads are looked for while a run goes on",
    takes: age.expected,
    fallback: "1 hour"
  },
  {
    name: "HOLDFAST_ENCRYPTION_KEYS",
    description:
      "the keys under which checkpoints are stored, the first one writes; without it they are stored as they are",
    takes: "id:key[,id:key ...], each key 32 bytes in base64 or hexadecimal",
    secret: true
  },
  {
    name: "HOLDFAST_ENCRYPTION_METADATA",
    description: "whether the metadata of checkpoints is encrypted, too",
    takes: "true, false, or the keys to encrypt, separated by commas",
    fallback: "false"
  },
  {
    name: "HOLDFAST_ENCRYPTION_ALLOW_PLAINTEXT",
    description: "whether checkpoints that were stored without encryption are read, too",
    takes: "true or false",
    fallback: "false"
  },
  {
    name: "LANGFUSE_PUBLIC_KEY",
    description: "with the secret key: runs are traced to Langfuse",
    takes: "a key such as pk-lf-..."
  },
  {
    name: "LANGFUSE_SECRET_KEY",
    description: "the key that belongs to the public one",
    takes: "a key such as sk-lf-...",
    secret: true
  },
  {
    name: "LANGFUSE_BASE_URL",
    description: "where Langfuse is (LANGFUSE_BASEURL and LANGFUSE_HOST are older names of it)",
    takes: "a URL such as https://cloud.langfuse.com",
    fallback: "https://cloud.langfuse.com"
  },
  {
    name: "LANGFUSE_TRACING_ENVIRONMENT",
    description: "stands on every observation",
    takes: "at most 40 lower-case letters, digits, hyphens and underscores, not beginning with langfuse",
    fallback: "default"
  },
  { name: "LANGFUSE_RELEASE", description: "stands on every observation", takes: "text" },
  {
    name: "LANGFUSE_FLUSH_AT",
    description: "observations a request",
    takes: "a whole number from 1 to 10000",
    fallback: "512"
  },
  {
    name: "LANGFUSE_FLUSH_INTERVAL",
    description: "the longest time between the end of an observation and its sending",
    takes: seconds,
    fallback: "0.3"
  },
  { name: "LANGFUSE_TIMEOUT", description: "how long one request may take", takes: seconds, fallback: "5" },
  {
    name: "LANGFUSE_SAMPLE_RATE",
    description: "which share of traces is sent",
    takes: "a number from 0 to 1",
    fallback: "1"
  },
  {
    name: "HOLDFAST_TRACE_INPUTS",
    description: "whether what observations were given is sent",
    takes: "on or off",
    fallback: "on"
  },
  {
    name: "HOLDFAST_TRACE_OUTPUTS",
    description: "whether what observations answered is sent",
    takes: "on or off",
    fallback: "on"
  },
  {
    name: "HOLDFAST_TRACE_MAX_LENGTH",
    description: "characters of one value; more is cut",
    takes: "a whole number from 1 to 1000000",
    fallback: "1000000"
  },
  {
    name: "HOLDFAST_TRACE_STACKS",
    description: "whether stack traces are sent, with paths of this machine",
    takes: "on or off",
    fallback: "off"
  },
  {
    name: "HOLDFAST_REDACT_PATTERN",
    description: "what else is cut out of all that is sent",
    takes: "a regular expression that does not match the empty text"
  },
  {
    name: "HOLDFAST_REDACT_FIELDS",
    description: "fields whose values are cut out of all that is sent",
    takes: "names of fields separated by commas, * for any letters"
  },
  {
    name: "HOLDFAST_JOIN_OPENTELEMETRY",
    description: "whether the application's own OpenTelemetry sees the same tree",
    takes: "on or off",
    fallback: "off"
  },
  {
    name: "HOLDFAST_FLUSH_TIMEOUT",
    description: "how long the end of the program waits for delivery",
    takes: seconds,
    fallback: "5"
  },
  {
    name: "HOLDFAST_COMPRESSION",
    description: "whether observations are compressed on their way; auto is gzip, but not to the same machine",
    takes: "auto, gzip or none",
    fallback: "auto"
  },
  {
    name: "HOLDFAST_OTLP_ENDPOINT",
    description: "a second place for the observations, or the only one",
    takes: "the URL of an OTLP endpoint for traces, such as http://localhost:4318/v1/traces"
  },
  {
    name: "HOLDFAST_OTLP_HEADERS",
    description: "what the OTLP endpoint wants in the header, values percent-encoded",
    takes: "headers such as name=value,other=value",
    secret: true
  },
  {
    name: "HOLDFAST_OUTBOX",
    description: "whether what a server does not take is kept for the next process",
    takes: "on or off",
    fallback: "on"
  },
  {
    name: "HOLDFAST_OUTBOX_MAX_MB",
    description: "how much is kept; beyond, the oldest is lost",
    takes: "a number of megabytes above 0",
    fallback: "128"
  },
  {
    name: "HOLDFAST_OUTBOX_MAX_AGE",
    description: "how long it is kept",
    takes: "a duration above 0, such as 7 days",
    fallback: "7 days"
  },
  {
    name: "HOLDFAST_OUTBOX_KEEP",
    description: "how long a copy of every observation is kept, which the report reads where there is no Langfuse",
    takes: "a duration above 0, such as 7 days"
  },
  {
    name: "OPENAI_API_KEY",
    description: "the key of an OpenAI-compatible endpoint; without it a template writes the narrative",
    takes: "a key",
    secret: true
  },
  {
    name: "OPENAI_BASE_URL",
    description: "the endpoint's base, up to and with /v1",
    takes: "an http or https URL such as http://localhost:11434/v1",
    fallback: "https://api.openai.com/v1"
  },
  {
    name: "OPENAI_MODEL",
    description: "the model that writes the narrative",
    takes: "a model's name",
    fallback: NarrativeModel.defaultModel
  },
  {
    name: "HOLDFAST_LOG_LEVEL",
    description: "the least severe level that is logged",
    takes: "trace, debug, info, warn, error, fatal or none",
    fallback: "info"
  },
  {
    name: "HOLDFAST_LOG_FORMAT",
    description: "how an entry is written; auto is pretty in a terminal and JSON elsewhere",
    takes: "json, pretty or auto",
    fallback: "auto"
  },
  { name: "NO_COLOR", description: "no colour, whatever the terminal can do", takes: "anything" },
  { name: "FORCE_COLOR", description: "colour although there is no terminal; 0 for none", takes: "anything" },
  {
    name: "COLUMNS",
    description: "the width where there is no terminal",
    takes: "a number of columns",
    fallback: "100"
  }
]

const takes: Readonly<Record<string, string>> = Object.fromEntries(variables.map((each) => [each.name, each.takes]))

/**
 * What the environment says.
 *
 * @since 0.1.0
 * @category models
 */
export interface Settings {
  readonly logging: Logging.Options
  readonly database: Database.Options
  readonly checkpoints: { readonly compression: boolean; readonly encryption: Encryption.Encryption | undefined }
  /** Nothing is swept without `ttl`. */
  readonly sweeper: { readonly ttl: Duration.Duration | undefined; readonly interval: Duration.Duration | undefined }
  /** None without keys. */
  readonly langfuse: Option.Option<Langfuse.Options>
  readonly model: NarrativeModel.Options
}

/**
 * Reads and checks all of it; the first variable that is malformed is the error.
 *
 * @since 0.1.0
 * @category configuration
 */
export const load: Effect.Effect<Settings, ConfigurationError> = Effect.all({
  logging: Logging.fromEnvironment,
  database: Database.config.pipe(
    Effect.mapError((error) => fromConfigError(error, takes)),
    Effect.tap(({ url }) => (url === undefined ? Effect.void : Postgres.location(url, "DATABASE_URL")))
  ),
  checkpoints: Effect.all({
    compression: Effect.map(
      environment.setting({
        name: "HOLDFAST_CHECKPOINT_COMPRESSION",
        expected: takes["HOLDFAST_CHECKPOINT_COMPRESSION"] ?? "",
        parse: (text) => (/^true$/i.test(text) ? true : /^false$/i.test(text) ? false : undefined)
      }),
      (value) => value ?? false
    ),
    encryption: Effect.map(Encryption.fromEnvironment, Option.getOrUndefined)
  }),
  sweeper: Effect.all({
    ttl: environment.setting({ name: "HOLDFAST_CHECKPOINT_TTL", expected: age.expected, parse: age.parse }),
    interval: environment.setting({
      name: "HOLDFAST_CHECKPOINT_SWEEP_INTERVAL",
      expected: age.expected,
      parse: age.parse
    })
  }),
  langfuse: Langfuse.fromEnvironment,
  model: Effect.mapError(NarrativeModel.config, (error) => fromConfigError(error, takes))
})
