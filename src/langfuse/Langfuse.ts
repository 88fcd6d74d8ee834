/**
 * Effect's spans as observations in Langfuse. Without keys everything runs the same, and one line says so. The Langfuse and OpenTelemetry
 * packages are loaded only when there are keys.
 *
 * @since 0.1.0
 */
import type { CallbackHandler } from "@langfuse/langchain"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import { ConfigurationError } from "../observability/ConfigurationError.js"
import * as ErrorInfo from "../observability/ErrorInfo.js"
import * as environment from "../observability/internal/environment.js"
import * as Observation from "../observability/Observation.js"
import type * as Bridge from "./internal/bridge.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly publicKey: string
  readonly secretKey: Redacted.Redacted
  /** Where Langfuse is. Default `https://cloud.langfuse.com`. */
  readonly baseUrl?: string | undefined
  /** What stands on every observation: environment, release, and if wanted a name, session, user, tags and metadata. */
  readonly trace?: Observation.TraceOptions | undefined
  /** Observations a request. Default 512. */
  readonly flushAt?: number | undefined
  /** The longest time between the end of an observation and its sending, while all is well. Default 1 second. */
  readonly flushInterval?: Duration.DurationInput | undefined
  /** How long one request may take. Default 5 seconds. */
  readonly requestTimeout?: Duration.DurationInput | undefined
  /** How long the closing of the scope waits for what is still to be sent. Default 5 seconds. */
  readonly flushTimeout?: Duration.DurationInput | undefined
  /** How many observations wait in memory, at most, while Langfuse takes none. Default 50,000. */
  readonly maxQueue?: number | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Whether observations go to Langfuse. */
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

const url = (text: string): string | undefined => {
  if (!URL.canParse(text)) return undefined
  const { protocol, search, hash } = new URL(text)
  return (protocol === "http:" || protocol === "https:") && search === "" && hash === ""
    ? text.replace(/\/+$/, "")
    : undefined
}

const expectedUrl = "a URL such as https://cloud.langfuse.com"
const expectedEnvironment =
  "at most 40 lower-case letters, digits, hyphens and underscores, not beginning with langfuse"
const isEnvironment = (text: string): boolean => /^(?!langfuse)[a-z0-9_-]{1,40}$/.test(text)

const invalid = (setting: string, expected: string, value: string): ConfigurationError =>
  new ConfigurationError({ setting, expected, problem: `it is ${JSON.stringify(value)}` })

const count = (items: number, word: string): string => `${items} ${word}${items === 1 ? "" : "s"}`

interface Started {
  readonly service: Service
  readonly bridge: Bridge.Bridge
}

const start = (options: Options): Effect.Effect<Started, ConfigurationError, Scope.Scope> =>
  Effect.gen(function* () {
    const baseUrl = url(options.baseUrl ?? "https://cloud.langfuse.com")
    if (baseUrl === undefined) return yield* invalid("LANGFUSE_BASE_URL", expectedUrl, options.baseUrl ?? "")
    const named = options.trace?.environment
    if (named !== undefined && !isEnvironment(named)) {
      return yield* invalid("LANGFUSE_TRACING_ENVIRONMENT", expectedEnvironment, named)
    }
    const flushTimeout = Duration.toMillis(options.flushTimeout ?? "5 seconds")
    // its loggers are the ones in force here: whoever closes the scope may have others
    const runtime = yield* Effect.runtime<never>()
    const log = (line: Effect.Effect<void>): void => Runtime.runSync(runtime)(line)
    const module = yield* Effect.promise(() => import("./internal/bridge.js"))
    const bridge = yield* module.make({
      baseUrl,
      publicKey: options.publicKey,
      secretKey: options.secretKey,
      requestTimeoutMillis: Duration.toMillis(options.requestTimeout ?? "5 seconds"),
      intervalMillis: Duration.toMillis(options.flushInterval ?? "1 second"),
      maxBatch: options.flushAt ?? 512,
      maxQueue: options.maxQueue ?? 50_000,
      trace: options.trace ?? {},
      onProblem: (reason) => log(Effect.logWarning(`Langfuse at ${baseUrl} takes no observations: ${reason}`)),
      onRecovery: () => log(Effect.logInfo(`Langfuse at ${baseUrl} takes observations again`))
    })
    const flush = Effect.promise(() => bridge.flush(flushTimeout)).pipe(
      Effect.catchAllDefect((defect) =>
        Effect.sync(() => log(Effect.logWarning(`Langfuse: ${ErrorInfo.line(ErrorInfo.make(defect))}`)))
      )
    )
    yield* Effect.addFinalizer(() =>
      Effect.zipRight(
        flush,
        Effect.sync(() => {
          const { observations, reason, scores } = bridge.close()
          if (observations + scores === 0) return
          const lost =
            scores === 0
              ? count(observations, "observation")
              : `${count(observations, "observation")} and ${count(scores, "score")}`
          log(Effect.logWarning(`${lost} did not reach Langfuse at ${baseUrl}: ${reason ?? "no answer in time"}`))
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
 * Sends every Effect span made under it to Langfuse as an observation, and every score. When its scope closes, what is still here is sent
 * within `flushTimeout`; what cannot be delivered is counted in one warning, and fails nothing. Fails with `ConfigurationError` if an option
 * is malformed.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (options: Options): Layer.Layer<Langfuse, ConfigurationError> =>
  Layer.unwrapScoped(Effect.map(start(options), provide))

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

const secondsOf = (name: string): Effect.Effect<Duration.Duration | undefined, ConfigurationError> =>
  Effect.map(
    environment.number(name, "a number of seconds above 0, at most 3600", (value) => value > 0 && value <= 3600),
    (value) => (value === undefined ? undefined : Duration.seconds(value))
  )

/**
 * Options from the environment; nothing if neither key is set. Fails with `ConfigurationError` if one key is set without the other, or if a
 * variable is malformed. Empty variables count as absent.
 *
 * - `LANGFUSE_PUBLIC_KEY`, `LANGFUSE_SECRET_KEY`
 * - `LANGFUSE_BASE_URL`, default `https://cloud.langfuse.com` (`LANGFUSE_BASEURL` is its older name)
 * - `LANGFUSE_TRACING_ENVIRONMENT` and `LANGFUSE_RELEASE`, which stand on every observation
 * - `LANGFUSE_FLUSH_AT`, observations a request, default 512
 * - `LANGFUSE_FLUSH_INTERVAL`, seconds, default 1
 * - `LANGFUSE_TIMEOUT`, seconds a request may take, default 5
 * - `HOLDFAST_FLUSH_TIMEOUT`, seconds that the end of the program waits for delivery, default 5
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromEnvironment: Effect.Effect<Option.Option<Options>, ConfigurationError> = Effect.gen(function* () {
  const publicKey = yield* environment.text("LANGFUSE_PUBLIC_KEY")
  const secretKey = yield* environment.text("LANGFUSE_SECRET_KEY")
  const urlSetting = (name: string) => environment.setting({ name, expected: expectedUrl, parse: url })
  const options = {
    baseUrl: (yield* urlSetting("LANGFUSE_BASE_URL")) ?? (yield* urlSetting("LANGFUSE_BASEURL")),
    trace: {
      environment: yield* environment.setting({
        name: "LANGFUSE_TRACING_ENVIRONMENT",
        expected: expectedEnvironment,
        parse: (text) => (isEnvironment(text) ? text : undefined)
      }),
      release: yield* environment.text("LANGFUSE_RELEASE")
    },
    flushAt: yield* environment.number(
      "LANGFUSE_FLUSH_AT",
      "a whole number from 1 to 10000",
      (value) => Number.isInteger(value) && value >= 1 && value <= 10_000
    ),
    flushInterval: yield* secondsOf("LANGFUSE_FLUSH_INTERVAL"),
    requestTimeout: yield* secondsOf("LANGFUSE_TIMEOUT"),
    flushTimeout: yield* secondsOf("HOLDFAST_FLUSH_TIMEOUT")
  }
  if (publicKey === undefined && secretKey === undefined) return Option.none()
  if (publicKey === undefined || secretKey === undefined) {
    const [missing, present] =
      publicKey === undefined
        ? (["LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"] as const)
        : (["LANGFUSE_SECRET_KEY", "LANGFUSE_PUBLIC_KEY"] as const)
    return yield* new ConfigurationError({
      setting: missing,
      expected: "the key that belongs to it, or neither of the two to run without Langfuse",
      problem: `it is not set, and ${present} is`
    })
  }
  return Option.some({ ...options, publicKey, secretKey: Redacted.make(secretKey) })
})

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
      onSome: (options) => Effect.map(start(options), provide)
    })
  )
)
