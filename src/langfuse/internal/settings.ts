/** What the variables and options may be, and what is said when they are not. Loads neither Langfuse nor OpenTelemetry. */
import { join } from "node:path"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { ConfigurationError } from "../../observability/ConfigurationError.js"
import * as environment from "../../observability/internal/environment.js"
import * as Privacy from "../../observability/internal/privacy.js"
import * as Redaction from "../../observability/Redaction.js"
import type { Options } from "../Langfuse.js"

/** Without slashes at its end. */
const url = (text: string): string | undefined => {
  if (!URL.canParse(text)) return undefined
  const { hash, protocol, search } = new URL(text)
  return (protocol === "http:" || protocol === "https:") && search === "" && hash === ""
    ? text.replace(/\/+$/, "")
    : undefined
}

const endpoint = (text: string): string | undefined => {
  if (!URL.canParse(text)) return undefined
  const { hash, protocol } = new URL(text)
  return (protocol === "http:" || protocol === "https:") && hash === "" ? text : undefined
}

const expected = {
  url: "a URL such as https://cloud.langfuse.com",
  endpoint: "the URL of an OTLP endpoint for traces, such as http://localhost:4318/v1/traces",
  headers: "headers such as name=value,other=value",
  environment: "at most 40 lower-case letters, digits, hyphens and underscores, not beginning with langfuse",
  compression: "auto, gzip or none",
  onOff: "on or off",
  count: "a whole number from 1 to 10000",
  seconds: "a number of seconds above 0, at most 3600",
  rate: "a number from 0 to 1",
  length: `a whole number from 1 to ${Privacy.longest}`,
  pattern: "a regular expression that does not match the empty text",
  fields: "names of fields separated by commas, * for any letters"
} as const

const isEnvironment = (text: string): boolean => /^(?!langfuse)[a-z0-9_-]{1,40}$/.test(text)

const invalid = (setting: string, expected: string, value: string): ConfigurationError =>
  new ConfigurationError({ setting, expected, problem: `it is ${JSON.stringify(Redaction.text(value))}` })

const swapped = (publicKey: string, secretKey: string): ConfigurationError | undefined => {
  if (!publicKey.startsWith("sk-lf-") && !secretKey.startsWith("pk-lf-")) return undefined
  const [setting, expected, problem] = publicKey.startsWith("sk-lf-")
    ? ["LANGFUSE_PUBLIC_KEY", "a key such as pk-lf-...", "it is a secret key (sk-lf-...)"]
    : ["LANGFUSE_SECRET_KEY", "a key such as sk-lf-...", "it is a public key (pk-lf-...)"]
  return new ConfigurationError({ setting, expected, problem })
}

const pair = (publicKey: string | undefined, secretKey: string | undefined): ConfigurationError | undefined => {
  if (publicKey !== undefined && secretKey !== undefined) return swapped(publicKey, secretKey)
  if (publicKey === undefined && secretKey === undefined) return undefined
  const [missing, present] =
    publicKey === undefined
      ? (["LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"] as const)
      : (["LANGFUSE_SECRET_KEY", "LANGFUSE_PUBLIC_KEY"] as const)
  return new ConfigurationError({
    setting: missing,
    expected: "the key that belongs to it, or neither of the two to run without Langfuse",
    problem: `it is not set, and ${present} is`
  })
}

const isCount = (value: number): boolean => Number.isInteger(value) && value >= 1 && value <= 10_000
const isSeconds = (value: number): boolean => value > 0 && value <= 3600
const isRate = (value: number): boolean => value >= 0 && value <= 1
const isLength = (value: number): boolean => Number.isInteger(value) && value >= 1 && value <= Privacy.longest

const field = /^[\w.*-]+$/

/** What is wrong with what was asked for, if anything is. */
const wrongIn = (options: Options): ConfigurationError | undefined => {
  const { flushAt = 1, maxBatchBytes = 1, maxQueue = 1, maxQueueBytes = 1, privacy = {}, sampleRate = 1 } = options
  if (!isCount(flushAt)) return invalid("LANGFUSE_FLUSH_AT", expected.count, String(flushAt))
  for (const [name, value] of Object.entries({ maxBatchBytes, maxQueue, maxQueueBytes })) {
    if (!(value >= 1)) return invalid(name, "a number above 0", String(value))
  }
  const { flushInterval = 1, requestTimeout = 1 } = options
  for (const [name, value] of Object.entries({
    LANGFUSE_FLUSH_INTERVAL: flushInterval,
    LANGFUSE_TIMEOUT: requestTimeout
  })) {
    const millis = Duration.toMillis(value)
    if (!isSeconds(millis / 1000)) return invalid(name, expected.seconds, `${millis / 1000}`)
  }
  if (!isRate(sampleRate)) return invalid("LANGFUSE_SAMPLE_RATE", expected.rate, String(sampleRate))
  const { fields = [], maxLength = 1, patterns = [] } = privacy
  if (!isLength(maxLength)) return invalid("HOLDFAST_TRACE_MAX_LENGTH", expected.length, String(maxLength))
  const pattern = patterns.find((each) => !Privacy.isPattern(each))
  if (pattern !== undefined) return invalid("HOLDFAST_REDACT_PATTERN", expected.pattern, pattern.source)
  const name = fields.find((each) => !field.test(each))
  return name === undefined ? undefined : invalid("HOLDFAST_REDACT_FIELDS", expected.fields, name)
}

/**
 * Nothing where it asks for nothing.
 *
 * @internal
 */
export const asked = (options: Privacy.Options | undefined): Privacy.Options | undefined => {
  if (options === undefined) return undefined
  const { fields = [], inputs = true, maxLength, outputs = true, patterns = [], stackTraces = false } = options
  const isPlain = inputs && outputs && fields.length + patterns.length === 0 && maxLength === undefined
  return isPlain && !stackTraces ? undefined : options
}

/**
 * Where the options send to, checked.
 *
 * @internal
 */
export const targets = (options: Options) =>
  Effect.gen(function* () {
    const { publicKey, secretKey } = options
    const wrong = pair(publicKey, secretKey === undefined ? undefined : Redacted.value(secretKey))
    if (wrong !== undefined) return yield* wrong
    const baseUrl = url(options.baseUrl ?? "https://cloud.langfuse.com")
    if (baseUrl === undefined) return yield* invalid("LANGFUSE_BASE_URL", expected.url, options.baseUrl ?? "")
    const named = options.trace?.environment
    if (named !== undefined && !isEnvironment(named)) {
      return yield* invalid("LANGFUSE_TRACING_ENVIRONMENT", expected.environment, named)
    }
    const wrongAsked = wrongIn(options)
    if (wrongAsked !== undefined) return yield* wrongAsked
    const { otlp } = options
    if (otlp !== undefined && endpoint(otlp.endpoint) === undefined) {
      return yield* invalid("HOLDFAST_OTLP_ENDPOINT", expected.endpoint, otlp.endpoint)
    }
    return {
      langfuse: publicKey === undefined || secretKey === undefined ? undefined : { baseUrl, publicKey, secretKey },
      otlp: otlp === undefined ? undefined : { url: otlp.endpoint, headers: otlp.headers ?? {} }
    }
  })

const secondsOf = (name: string): Effect.Effect<Duration.Duration | undefined, ConfigurationError> =>
  Effect.map(environment.number(name, expected.seconds, isSeconds), (value) =>
    value === undefined ? undefined : Duration.seconds(value)
  )

const wordOf = <A extends string>(name: string, expected: string, words: ReadonlyArray<A>) =>
  environment.setting({ name, expected, parse: (text) => words.find((word) => word === text.toLowerCase()) })

/** As `OTEL_EXPORTER_OTLP_HEADERS` is written: pairs with commas between, values percent-encoded. */
const headersOf = (text: string): Readonly<Record<string, Redacted.Redacted>> | undefined => {
  const headers: Record<string, Redacted.Redacted> = {}
  for (const entry of text.split(",")) {
    const [, name, value] = /^\s*([\w!#$%&'*+.^`|~-]+)\s*=\s*([\x20-\x7e]*?)\s*$/.exec(entry) ?? []
    if (name === undefined || value === undefined) return undefined
    try {
      headers[name.toLowerCase()] = Redacted.make(decodeURIComponent(value))
    } catch {
      return undefined
    }
  }
  return headers
}

/** @internal */
export const outbox = Effect.gen(function* () {
  const asked = yield* wordOf("HOLDFAST_OUTBOX", expected.onOff, ["on", "off"])
  const megabytes = yield* environment.number(
    "HOLDFAST_OUTBOX_MAX_MB",
    "a number of megabytes above 0",
    (value) => value > 0
  )
  const age = (name: string) =>
    environment.setting({
      name,
      expected: "a duration above 0, such as 7 days",
      parse: (text) =>
        Option.getOrUndefined(Option.filter(Duration.decodeUnknown(text), Duration.greaterThan(Duration.zero)))
    })
  const maxAge = yield* age("HOLDFAST_OUTBOX_MAX_AGE")
  const keep = yield* age("HOLDFAST_OUTBOX_KEEP")
  const folder = (yield* environment.text("HOLDFAST_DATA_DIR")) ?? ".holdfast"
  if (asked === "off") return false as const
  return {
    folder: join(folder, "outbox"),
    maxBytes: megabytes === undefined ? undefined : Math.round(megabytes * 1_048_576),
    maxAge,
    keep
  }
})

const onOff = (name: string): Effect.Effect<boolean | undefined, ConfigurationError> =>
  Effect.map(wordOf(name, expected.onOff, ["on", "off"]), (word) => (word === undefined ? undefined : word === "on"))

const patternOf = (text: string): RegExp | undefined => {
  try {
    const pattern = new RegExp(text, "gu")
    return Privacy.isPattern(pattern) ? pattern : undefined
  } catch {
    return undefined
  }
}

const fieldsOf = (text: string): ReadonlyArray<string> | undefined => {
  const names = text.split(",").map((name) => name.trim())
  return names.every((name) => field.test(name)) ? names : undefined
}

const privacy = Effect.gen(function* () {
  const pattern = yield* environment.setting({
    name: "HOLDFAST_REDACT_PATTERN",
    expected: expected.pattern,
    parse: patternOf
  })
  return {
    inputs: yield* onOff("HOLDFAST_TRACE_INPUTS"),
    outputs: yield* onOff("HOLDFAST_TRACE_OUTPUTS"),
    stackTraces: yield* onOff("HOLDFAST_TRACE_STACKS"),
    maxLength: yield* environment.number("HOLDFAST_TRACE_MAX_LENGTH", expected.length, isLength),
    patterns: pattern === undefined ? [] : [pattern],
    fields:
      (yield* environment.setting({
        name: "HOLDFAST_REDACT_FIELDS",
        expected: expected.fields,
        parse: fieldsOf
      })) ?? []
  }
})

/** @internal */
export const fromEnvironment: Effect.Effect<Option.Option<Options>, ConfigurationError> = Effect.gen(function* () {
  const publicKey = yield* environment.text("LANGFUSE_PUBLIC_KEY")
  const secretKey = yield* environment.text("LANGFUSE_SECRET_KEY")
  const urlSetting = (name: string) => environment.setting({ name, expected: expected.url, parse: url })
  const options = {
    baseUrl:
      (yield* urlSetting("LANGFUSE_BASE_URL")) ??
      (yield* urlSetting("LANGFUSE_BASEURL")) ??
      (yield* urlSetting("LANGFUSE_HOST")),
    trace: {
      environment: yield* environment.setting({
        name: "LANGFUSE_TRACING_ENVIRONMENT",
        expected: expected.environment,
        parse: (text) => (isEnvironment(text) ? text : undefined)
      }),
      release: yield* environment.text("LANGFUSE_RELEASE")
    },
    flushAt: yield* environment.number("LANGFUSE_FLUSH_AT", expected.count, isCount),
    flushInterval: yield* secondsOf("LANGFUSE_FLUSH_INTERVAL"),
    requestTimeout: yield* secondsOf("LANGFUSE_TIMEOUT"),
    flushTimeout: yield* secondsOf("HOLDFAST_FLUSH_TIMEOUT"),
    compression: yield* wordOf("HOLDFAST_COMPRESSION", expected.compression, ["auto", "gzip", "none"]),
    outbox: yield* outbox,
    sampleRate: yield* environment.number("LANGFUSE_SAMPLE_RATE", expected.rate, isRate),
    privacy: yield* privacy,
    joinOpenTelemetry: yield* onOff("HOLDFAST_JOIN_OPENTELEMETRY")
  }
  const otlpEndpoint = yield* environment.setting({
    name: "HOLDFAST_OTLP_ENDPOINT",
    expected: expected.endpoint,
    parse: endpoint
  })
  const headers = yield* environment.setting({
    name: "HOLDFAST_OTLP_HEADERS",
    expected: expected.headers,
    parse: headersOf,
    secret: true
  })
  if (headers !== undefined && otlpEndpoint === undefined) {
    return yield* new ConfigurationError({
      setting: "HOLDFAST_OTLP_ENDPOINT",
      expected: expected.endpoint,
      problem: "it is not set, and HOLDFAST_OTLP_HEADERS is"
    })
  }
  const wrong = pair(publicKey, secretKey)
  if (wrong !== undefined) return yield* wrong
  const otlp = otlpEndpoint === undefined ? undefined : { endpoint: otlpEndpoint, headers }
  const isKept = options.outbox !== false && options.outbox.keep !== undefined
  if (publicKey === undefined && otlp === undefined && !isKept) return Option.none()
  return Option.some({
    ...options,
    publicKey,
    secretKey: secretKey === undefined ? undefined : Redacted.make(secretKey),
    otlp
  })
})
