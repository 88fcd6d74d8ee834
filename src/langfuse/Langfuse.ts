/**
 * Effect's spans as observations in Langfuse. Without keys everything runs the same, and one line says so. The Langfuse and OpenTelemetry
 * packages are loaded only when there are keys.
 *
 * @since 0.1.0
 */
import type { CallbackHandler } from "@langfuse/langchain"
import type * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import type { ConfigurationError } from "../observability/ConfigurationError.js"
import * as ErrorInfo from "../observability/ErrorInfo.js"
import type * as Privacy from "../observability/internal/privacy.js"
import * as Observation from "../observability/Observation.js"
import type * as Bridge from "./internal/bridge.js"
import * as settings from "./internal/settings.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Langfuse's keys: both, or neither to send to {@link Options.otlp} only. */
  readonly publicKey?: string | undefined
  readonly secretKey?: Redacted.Redacted | undefined
  /** Where Langfuse is. Default `https://cloud.langfuse.com`. */
  readonly baseUrl?: string | undefined
  /** What stands on every observation: environment, release, and if wanted a name, session, user, tags and metadata. */
  readonly trace?: Observation.TraceOptions | undefined
  /** Observations a request. Default 512. */
  readonly flushAt?: number | undefined
  /** Bytes a request, before compression: below what Langfuse (4.5 MB) and proxies (nginx: 1 MiB) take. Default 1,000,000. */
  readonly maxBatchBytes?: number | undefined
  /** Whether requests are compressed. Default `auto`: with gzip, but not on the way to the same machine. */
  readonly compression?: "auto" | "gzip" | "none" | undefined
  /** The longest time between the end of an observation and its sending, while all is well. Default 0.3 seconds. */
  readonly flushInterval?: Duration.DurationInput | undefined
  /** How long one request may take. Default 5 seconds. */
  readonly requestTimeout?: Duration.DurationInput | undefined
  /** How long the closing of the scope waits for what is still to be sent. Default 5 seconds. */
  readonly flushTimeout?: Duration.DurationInput | undefined
  /** The first pause after a request that failed; each next one is twice as long, up to 30 seconds. Default 1 second. */
  readonly retryInterval?: Duration.DurationInput | undefined
  /** How many observations wait in memory, at most. Default 50,000. */
  readonly maxQueue?: number | undefined
  /** About how many bytes they may hold. Default 128 MiB. */
  readonly maxQueueBytes?: number | undefined
  /** Where waits what Langfuse does not take; `false` for nowhere but in memory. */
  readonly outbox?: OutboxOptions | false | undefined
  /** What of inputs, outputs and texts leaves the process, beside the secrets that never do. */
  readonly privacy?: PrivacyOptions | undefined
  /**
   * Which share of traces is sent, from 0 to 1, default 1. A trace is sent with its scores, or nothing of it: its id decides, as in Langfuse's own
   * SDK.
   */
  readonly sampleRate?: number | undefined
  /**
   * What becomes of each score before it is sent: another name, a `configId`, a comment; `undefined` for none. Those that are made here are
   * `retry_attempts`, `fallback_level` and `degradation_level`. Default: as they are.
   */
  readonly scores?: ((score: Observation.Score) => Observation.Score | undefined) | undefined
  /**
   * Whether the application's own OpenTelemetry and this are one: observations stand under its active span, and it gets a span with the same ids
   * for each, so that both show one tree. Default false: they know nothing of each other, and a trace begins here.
   */
  readonly joinOpenTelemetry?: boolean | undefined
  /** A second place for the observations: an OTLP endpoint that takes JSON, with a queue and an outbox of its own. */
  readonly otlp?: OtlpOptions | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export type PrivacyOptions = Privacy.Options

/**
 * What waits for a server is in the database, if the layer is built where there is one of Postgres's kind (see `Database`); else in a folder.
 *
 * @since 0.1.0
 * @category models
 */
export interface OutboxOptions {
  /** Where there is no database. Default `.holdfast/outbox`. */
  readonly folder?: string | undefined
  /** Compressed bytes that wait, at most: beyond, the oldest are lost. Default 128 MiB. */
  readonly maxBytes?: number | undefined
  /** How long something waits, at most. Default 7 days. */
  readonly maxAge?: Duration.DurationInput | undefined
  /** How long copies of all observations are kept, delivered or not, for `Report` to read without Langfuse. Default none. */
  readonly keep?: Duration.DurationInput | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface OtlpOptions {
  /** With its path, such as `http://localhost:4318/v1/traces`. */
  readonly endpoint: string
  /** Such as an `authorization`. */
  readonly headers?: Readonly<Record<string, Redacted.Redacted>> | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Whether observations go to Langfuse or to an OTLP endpoint. */
  readonly enabled: boolean
  /** See {@link callbackHandler}. */
  readonly callbackHandler: Effect.Effect<Option.Option<CallbackHandler>>
  /** Sends what waits, within the flush timeout. Never fails. */
  readonly flush: Effect.Effect<void>
}

const said = new Set<string>()

/** Once a process: what is so for the whole run need not be said at every call. */
const sayOnce = (line: string): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (said.has(line)) return Effect.void
    said.add(line)
    return Effect.logInfo(line)
  })

const off = (why: string): Service => ({
  enabled: false,
  callbackHandler: Effect.as(sayOnce(`LangChain is not traced: ${why}`), Option.none()),
  flush: Effect.void
})

const withoutKeys = "LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are not set"

/**
 * The bridge in force. A reference, so that code which asks for a handler needs no Langfuse: without a layer there is none.
 *
 * @since 0.1.0
 * @category tags
 */
export class Langfuse extends Context.Reference<Langfuse>()("holdfast/Langfuse", {
  defaultValue: (): Service => off("there is no Langfuse layer")
}) {}

/**
 * LangChain's callback handler, whose observations nest under the Effect span in which the call is made; nothing without keys, which is said
 * once. Give it to the call itself (`model.invoke(messages, { callbacks: [handler], signal })`): a handler given to a whole graph makes
 * observations of the graph's nodes beside those that Effect makes.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import type { BaseChatModel } from "@langchain/core/language_models/chat_models"
 * import { Effect, Option } from "effect"
 * import { Langfuse, Observation } from "holdfast"
 *
 * const ask = (model: BaseChatModel, question: string) =>
 *   Effect.flatMap(Langfuse.callbackHandler, (handler) =>
 *     Effect.tryPromise((signal) => model.invoke(question, { callbacks: Option.toArray(handler), signal }))
 *   ).pipe(Observation.span("ask", { type: "agent" }))
 * ```
 */
export const callbackHandler: Effect.Effect<Option.Option<CallbackHandler>> = Effect.flatMap(
  Langfuse,
  (langfuse) => langfuse.callbackHandler
)

/**
 * Sends what waits, within the flush timeout. Never fails.
 *
 * @since 0.1.0
 * @category accessors
 */
export const flush: Effect.Effect<void> = Effect.flatMap(Langfuse, (langfuse) => langfuse.flush)

interface Started {
  readonly service: Service
  readonly bridge: Bridge.Bridge
}

const mebibyte = 1_048_576

const start = (options: Options): Effect.Effect<Started, ConfigurationError, Scope.Scope> =>
  Effect.gen(function* () {
    const { langfuse, otlp } = yield* settings.targets(options)
    const flushTimeout = Duration.toMillis(options.flushTimeout ?? "5 seconds")
    // its loggers are the ones in force here: whoever closes the scope may have others
    const runtime = yield* Effect.runtime<never>()
    const log = (line: Effect.Effect<void>): void => Runtime.runSync(runtime)(line)
    const warn = (line: string): void => log(Effect.logWarning(line))
    const [module, outbox] = yield* Effect.promise(() =>
      Promise.all([import("./internal/bridge.js"), import("./internal/outboxOpen.js")])
    )
    const store = options.outbox === false ? undefined : yield* outbox.open(options.outbox ?? {}, warn)
    const bridge = yield* module.make({
      langfuse,
      otlp,
      store,
      compression: options.compression ?? "auto",
      requestTimeoutMillis: Duration.toMillis(options.requestTimeout ?? "5 seconds"),
      intervalMillis: Duration.toMillis(options.flushInterval ?? "300 millis"),
      backoffMillis: Duration.toMillis(options.retryInterval ?? "1 second"),
      maxBatch: options.flushAt ?? 512,
      maxBytes: options.maxBatchBytes ?? 1_000_000,
      maxQueue: options.maxQueue ?? 50_000,
      maxQueueBytes: options.maxQueueBytes ?? 128 * mebibyte,
      flushMillis: flushTimeout,
      trace: options.trace ?? {},
      privacy: settings.asked(options.privacy),
      sampleRate: options.sampleRate ?? 1,
      scores: options.scores,
      joinOpenTelemetry: options.joinOpenTelemetry ?? false,
      warn,
      info: (line) => log(Effect.logInfo(line))
    })
    const flush = Effect.promise(() => bridge.flush(flushTimeout)).pipe(
      Effect.catchAllDefect((defect) => Effect.sync(() => warn(`Langfuse: ${ErrorInfo.line(ErrorInfo.make(defect))}`)))
    )
    yield* Effect.addFinalizer(() =>
      Effect.zipRight(
        flush,
        Effect.map(Effect.promise(bridge.close), (lines) => {
          for (const line of lines) warn(line)
        })
      )
    )
    return {
      bridge,
      service: {
        enabled: true,
        callbackHandler: Effect.map(
          Effect.promise(() => bridge.callbackHandler()),
          Option.some
        ),
        flush
      }
    }
  })

const provide = ({ bridge, service }: Started): Layer.Layer<Langfuse> =>
  Layer.mergeAll(
    Layer.setTracer(bridge.tracer),
    Layer.succeed(Observation.ScoreSink, { emit: bridge.score }),
    Layer.succeed(Langfuse, service)
  )

/**
 * Sends every Effect span made under it to Langfuse as an observation, and every score. What Langfuse does not take within a second is kept in
 * the outbox: in the database if the layer is built where there is one (`Layer.provide(Database.layer)`), else in a folder. When its scope
 * closes, what is still here is sent within `flushTimeout`, or goes to the outbox too. It fails nothing. Fails with `ConfigurationError` if an
 * option is malformed.
 *
 * While it is open, a process that ends for want of work, by a signal that nobody hears or by an error that nobody catches flushes first.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (options: Options): Layer.Layer<Langfuse, ConfigurationError> =>
  Layer.unwrapScoped(Effect.map(start(options), provide))

/**
 * What a check has found.
 *
 * @since 0.1.0
 * @category models
 */
export interface Finding {
  readonly check: "langfuse" | "keys" | "clock" | "delivery" | "otlp"
  readonly status: "ok" | "warning" | "problem"
  readonly message: string
}

/**
 * Asks Langfuse, and the OTLP endpoint if there is one, whether they would take what is sent to them: address, keys and their region, clock, a
 * request with nothing in it. Sends nothing that stays. Fails with `ConfigurationError` if an option is malformed.
 *
 * @since 0.1.0
 * @category diagnosis
 */
export const diagnose = (options: Options): Effect.Effect<ReadonlyArray<Finding>, ConfigurationError> =>
  Effect.flatMap(settings.targets(options), (targets) =>
    Effect.promise(async () => {
      const module = await import("./internal/diagnose.js")
      return module.diagnose({ ...targets, timeoutMillis: Duration.toMillis(options.requestTimeout ?? "5 seconds") })
    })
  )

/**
 * What became of the observations, or of the scores, for one server, over all processes that share an outbox.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeliverySummary {
  readonly kind: "observations" | "scores"
  readonly target: string
  /** In the memory of the process that noted its figures last, as it did. */
  readonly queued: number
  readonly sent: number
  /** Wait in the outbox, by Langfuse's public key; under the empty one, for any. */
  readonly waiting: ReadonlyArray<{ readonly account: string; readonly items: number }>
  /** On disk, compressed. */
  readonly bytes: number
  /** Since when the oldest waits. */
  readonly oldest: Date | undefined
  readonly refused: number
  /** Set aside, the newest first: what the server will never take. */
  readonly refusals: ReadonlyArray<{
    /** `trace id/span id`, or the id of a score. */
    readonly id: string
    readonly name: string
    readonly reason: string
    readonly at: Date
  }>
  /** Found no room in memory or in the outbox. */
  readonly lost: number
  /** What went wrong the last time, unless it has gone right since. */
  readonly problem: string | undefined
}

/**
 * What is in the outbox, and the figures of the delivery: of the database if there is one in the context, else of the folder. Changes nothing.
 *
 * @since 0.1.0
 * @category diagnosis
 */
export const deliveries = (
  options: OutboxOptions = {}
): Effect.Effect<ReadonlyArray<DeliverySummary>, Cause.UnknownException> =>
  Effect.gen(function* () {
    const outbox = yield* Effect.promise(() => import("./internal/outboxOpen.js"))
    const store = yield* outbox.open(options, () => {})
    return yield* Effect.tryPromise(store.summaries)
  })

/**
 * {@link layerWith} from a `Config`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  config: Config.Config.Wrap<Options>
): Layer.Layer<Langfuse, ConfigurationError | ConfigError.ConfigError> =>
  Layer.unwrapEffect(Effect.map(Config.unwrap(config), layerWith))

/**
 * Options from the environment; nothing if neither a key nor an OTLP endpoint is set, nor copies are to be kept. Fails with `ConfigurationError` if one key is set without
 * the other, or if a variable is malformed. Empty variables count as absent.
 *
 * - `LANGFUSE_PUBLIC_KEY`, `LANGFUSE_SECRET_KEY`
 * - `LANGFUSE_BASE_URL`, default `https://cloud.langfuse.com` (`LANGFUSE_BASEURL` and `LANGFUSE_HOST` are older names)
 * - `LANGFUSE_TRACING_ENVIRONMENT` and `LANGFUSE_RELEASE`, which stand on every observation
 * - `LANGFUSE_FLUSH_AT`, observations a request, default 512
 * - `LANGFUSE_FLUSH_INTERVAL`, seconds, default 0.3
 * - `LANGFUSE_TIMEOUT`, seconds a request may take, default 5
 * - `HOLDFAST_FLUSH_TIMEOUT`, seconds that the end of the program waits for delivery, default 5
 * - `LANGFUSE_SAMPLE_RATE`, which share of traces is sent, from 0 to 1, default 1
 * - `HOLDFAST_TRACE_INPUTS`, `HOLDFAST_TRACE_OUTPUTS`, `HOLDFAST_TRACE_STACKS`: `on` or `off`; `HOLDFAST_TRACE_MAX_LENGTH`, characters of one value;
 *   `HOLDFAST_REDACT_PATTERN`, a regular expression; `HOLDFAST_REDACT_FIELDS`, names separated by commas: see {@link Options.privacy}
 * - `HOLDFAST_JOIN_OPENTELEMETRY`: `on` or `off`, default `off`
 * - `HOLDFAST_COMPRESSION`: `auto`, `gzip` or `none`, default `auto`
 * - `HOLDFAST_OTLP_ENDPOINT`, `HOLDFAST_OTLP_HEADERS`: a second place for the observations
 * - `HOLDFAST_OUTBOX`: `on` or `off`, default `on`; `HOLDFAST_OUTBOX_MAX_MB`, default 128; `HOLDFAST_OUTBOX_MAX_AGE`, default 7 days;
 *   `HOLDFAST_OUTBOX_KEEP`, default none. Where there is no database it is the folder `outbox` in `HOLDFAST_DATA_DIR`
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromEnvironment: Effect.Effect<Option.Option<Options>, ConfigurationError> = settings.fromEnvironment

/**
 * {@link layerWith} with {@link fromEnvironment}. Without keys nothing is sent, and one line of the log says why.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Langfuse, ConfigurationError> = Layer.unwrapScoped(
  Effect.flatMap(
    fromEnvironment,
    Option.match({
      onNone: () => Effect.as(sayOnce(`Langfuse is off: ${withoutKeys}`), Layer.succeed(Langfuse, off(withoutKeys))),
      onSome: (options) =>
        Effect.zipRight(
          options.publicKey === undefined ? sayOnce(`Langfuse is off: ${withoutKeys}`) : Effect.void,
          Effect.map(start(options), provide)
        )
    })
  )
)
