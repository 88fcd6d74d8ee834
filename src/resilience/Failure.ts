/**
 * What kind of failure is this? Every operator asks this one question before it retries, counts or falls back.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as ErrorInfo from "../observability/ErrorInfo.js"
import * as RetryAfter from "./internal/retryAfter.js"

/**
 * - `transient`: may pass; worth another try.
 * - `rate-limited`: the other side asks for patience; worth another try after `retryAfterMillis`.
 * - `permanent`: the same call will fail again.
 * - `cancelled`: somebody stopped it. No failure.
 * - `control-flow`: a LangGraph pause or jump. No failure.
 *
 * @since 0.1.0
 * @category models
 */
export type Kind = "transient" | "rate-limited" | "permanent" | "cancelled" | "control-flow"

/**
 * What is known of a failure.
 *
 * @since 0.1.0
 * @category models
 */
export interface Failure {
  readonly kind: Kind
  /** How long the other side asks to wait, in milliseconds. */
  readonly retryAfterMillis?: number | undefined
  /** The most further tries this failure is worth, whatever the policy allows: one for an answer that does not decode. */
  readonly maxRetries?: number | undefined
  /** What was recognised, such as `http 503`, `ECONNRESET` or `context length`. */
  readonly reason: string
}

/**
 * Sorts an error.
 *
 * @since 0.1.0
 * @category models
 */
export type Classifier = (error: unknown) => Failure

/** Codes of Node sockets, DNS and undici that speak of the network and not of the request. */
const networkCodes: ReadonlySet<string> = new Set([
  "EAI_AGAIN",
  "ECONNABORTED",
  "ECONNREFUSED",
  "ECONNRESET",
  "EHOSTDOWN",
  "EHOSTUNREACH",
  "ENETDOWN",
  "ENETRESET",
  "ENETUNREACH",
  "ENOTFOUND",
  "EPIPE",
  "EPROTO",
  "ETIMEDOUT",
  "ERR_STREAM_PREMATURE_CLOSE",
  "UND_ERR_ABORTED",
  "UND_ERR_BODY_TIMEOUT",
  "UND_ERR_CONNECT_TIMEOUT",
  "UND_ERR_HEADERS_TIMEOUT",
  "UND_ERR_RES_CONTENT_LENGTH_MISMATCH",
  "UND_ERR_SOCKET"
])

/** Refusals that another model may not share, by the codes of OpenAI, Azure, Anthropic and LangChain. */
const permanentCodes: ReadonlyMap<string, string> = new Map([
  ["context_length_exceeded", "context length"],
  ["string_above_max_length", "context length"],
  ["CONTEXT_OVERFLOW", "context length"],
  ["content_filter", "content filter"],
  ["content_policy_violation", "content filter"],
  ["insufficient_quota", "quota used up"],
  ["billing_hard_limit_reached", "quota used up"],
  ["invalid_api_key", "authentication"],
  ["authentication_error", "authentication"],
  ["permission_error", "permission"],
  ["MODEL_AUTHENTICATION", "authentication"],
  ["MODEL_NOT_FOUND", "model not found"],
  ["INVALID_PROMPT_INPUT", "invalid prompt"]
])

const transientCodes: ReadonlyMap<string, string> = new Map([
  ["overloaded_error", "overloaded"],
  ["api_error", "server error"],
  ["server_error", "server error"],
  ["timeout_error", "timeout"]
])

const limitedCodes: ReadonlySet<string> = new Set(["rate_limit_error", "rate_limit_exceeded", "MODEL_RATE_LIMIT"])

/** Messages by which providers without a code of their own say that the prompt is too long or was filtered. */
const contextLength =
  /maximum context length|context.?length.?exceeded|prompt is too long|too many tokens in the (?:prompt|request)/i
const contentFilter = /content (?:filter|management policy|policy violation)|response was filtered/i

/** Answers that were there but did not make sense. A second answer may. */
const decodeErrors: ReadonlySet<string> = new Set(["ParseError", "OutputParserException", "SyntaxError", "ZodError"])

/** Mistakes of a program: the same code will make them again. */
const programErrors: ReadonlySet<string> = new Set([
  "TypeError",
  "RangeError",
  "ReferenceError",
  "EvalError",
  "URIError"
])

const transientStatuses: ReadonlySet<number> = new Set([408, 425])

const field = (error: object, key: string): unknown =>
  key in error ? (error as Record<string, unknown>)[key] : undefined

/** The words by which an error says what it is: its own and those of the body that it carries. */
const codesOf = (error: object): ReadonlyArray<string> => {
  const body = field(error, "error")
  const inner = Predicate.isObject(body) ? field(body, "error") : undefined
  return [error, body, inner]
    .filter(Predicate.isObject)
    .flatMap((level) => [field(level, "code"), field(level, "type"), field(level, "lc_error_code")])
    .filter(Predicate.isString)
}

const statusOf = (error: object): number | undefined => {
  const response = field(error, "response")
  const status = [
    field(error, "status"),
    field(error, "statusCode"),
    ...(Predicate.isObject(response) ? [field(response, "status"), field(response, "statusCode")] : [])
  ].find((candidate) => typeof candidate === "number" && candidate >= 100 && candidate < 600)
  return status as number | undefined
}

/** A 409 is safe to repeat where the server says so, or where the request was idempotent. */
const conflict = (error: object): Failure => {
  const request = field(error, "request") ?? field(error, "config")
  const method = Predicate.isObject(request) ? field(request, "method") : undefined
  const idempotent = typeof method === "string" && /^(?:get|head|put|delete|options)$/i.test(method)
  const safe = idempotent || RetryAfter.header(error, "x-should-retry") === "true"
  return { kind: safe ? "transient" : "permanent", reason: "http 409" }
}

const fromStatus = (error: object, status: number, now: () => number): Failure | undefined => {
  const reason = `http ${status}`
  const retryAfterMillis = RetryAfter.millis(error, now)
  const wait = retryAfterMillis === undefined ? {} : { retryAfterMillis }
  if (status === 429) return { kind: "rate-limited", reason, ...wait }
  if (RetryAfter.header(error, "x-should-retry") === "false") return { kind: "permanent", reason }
  if (status === 409) return conflict(error)
  if (transientStatuses.has(status)) return { kind: "transient", reason, ...wait }
  // 501 and 505 say that the server will never do it
  if (status >= 500)
    return status === 501 || status === 505 ? { kind: "permanent", reason } : { kind: "transient", reason, ...wait }
  return status >= 400 ? { kind: "permanent", reason } : undefined
}

const fromName = (error: object): Failure | undefined => {
  const name = ErrorInfo.tag(error)
  if (name === "AbortError" || field(error, "code") === "ABORT_ERR" || name === "APIUserAbortError") {
    return { kind: "cancelled", reason: "aborted" }
  }
  if (name === "TimeoutException" || name === "TimeoutError" || name === "APIConnectionTimeoutError") {
    return { kind: "transient", reason: "timeout" }
  }
  if (name === "APIConnectionError") return { kind: "transient", reason: "connection" }
  if (name === "ContextOverflowError") return { kind: "permanent", reason: "context length" }
  if (decodeErrors.has(name)) return { kind: "transient", reason: "decode", maxRetries: 1 }
  return undefined
}

const fromCodes = (error: object, now: () => number): Failure | undefined => {
  for (const code of codesOf(error)) {
    const permanent = permanentCodes.get(code)
    if (permanent !== undefined) return { kind: "permanent", reason: permanent }
    if (limitedCodes.has(code)) {
      const retryAfterMillis = RetryAfter.millis(error, now)
      return { kind: "rate-limited", reason: code, ...(retryAfterMillis === undefined ? {} : { retryAfterMillis }) }
    }
    const transient = transientCodes.get(code)
    if (transient !== undefined) return { kind: "transient", reason: transient }
    if (networkCodes.has(code)) return { kind: "transient", reason: code }
    if (code === "OUTPUT_PARSING_FAILURE") return { kind: "transient", reason: "decode", maxRetries: 1 }
  }
  return undefined
}

const fromObject = (error: object, now: () => number): Failure | undefined => {
  const declared = field(error, "failure")
  if (isFailure(declared)) return declared
  const status = statusOf(error)
  const text = field(error, "message")
  if (typeof text === "string" && (status === undefined || (status >= 400 && status < 500 && status !== 429))) {
    if (contextLength.test(text)) return { kind: "permanent", reason: "context length" }
    if (contentFilter.test(text)) return { kind: "permanent", reason: "content filter" }
  }
  return (
    fromCodesBeforeStatus(error, status, now) ??
    (status === undefined ? undefined : fromStatus(error, status, now)) ??
    fromName(error) ??
    fromCodes(error, now)
  )
}

/** With a status, only a code that says more than it (a used-up quota is a 429 that no patience cures) is heard first. */
const fromCodesBeforeStatus = (error: object, status: number | undefined, now: () => number): Failure | undefined => {
  if (status === undefined) return undefined
  const failure = fromCodes(error, now)
  return failure?.kind === "permanent" ? failure : undefined
}

const kinds: ReadonlySet<unknown> = new Set<Kind>([
  "transient",
  "rate-limited",
  "permanent",
  "cancelled",
  "control-flow"
])

/**
 * Whether a value is a {@link Failure}. An error may carry its own as a field named `failure`.
 *
 * @since 0.1.0
 * @category guards
 */
export const isFailure = (value: unknown): value is Failure =>
  Predicate.isObject(value) && kinds.has(field(value, "kind")) && typeof field(value, "reason") === "string"

/**
 * Sorts any error: by the `failure` that it carries itself, by HTTP status and Retry-After, by the codes of OpenAI, Anthropic and LangChain,
 * by the codes of sockets and undici, by name, and through its chain of causes. Shapes decide, no class is imported. What nobody
 * recognises is `transient`, save for mistakes of a program (`TypeError` and its kin), which are `permanent`.
 *
 * @since 0.1.0
 * @category classification
 * @example
 * ```ts
 * import { Failure } from "holdfast"
 *
 * Failure.classify({ status: 429, headers: { "retry-after": "2" } })
 * // { kind: "rate-limited", reason: "http 429", retryAfterMillis: 2000 }
 * ```
 */
export const classify = (error: unknown, now: () => number = Date.now): Failure => {
  let current: unknown = error
  for (let depth = 0; depth < 8 && Predicate.isObject(current); depth++) {
    if (ErrorInfo.isControlFlow(current)) return { kind: "control-flow", reason: ErrorInfo.tag(current) }
    const failure = fromObject(current, now)
    if (failure !== undefined) return failure
    current = current instanceof Cause.UnknownException ? current.error : field(current, "cause")
  }
  if (Predicate.isObject(error) && programErrors.has(ErrorInfo.tag(error)) && field(error, "cause") === undefined) {
    return { kind: "permanent", reason: ErrorInfo.tag(error) }
  }
  return { kind: "transient", reason: "unknown" }
}

/**
 * Sorts a cause: a failure by its error, a defect as permanent, an interruption as cancelled.
 *
 * @since 0.1.0
 * @category classification
 */
export const fromCause = (cause: Cause.Cause<unknown>, classifier: Classifier = classify): Failure => {
  const failure = Cause.failureOption(cause)
  if (Option.isSome(failure)) return classifier(failure.value)
  const defect = Cause.dieOption(cause)
  if (Option.isSome(defect)) {
    return ErrorInfo.isControlFlow(defect.value)
      ? { kind: "control-flow", reason: ErrorInfo.tag(defect.value) }
      : { kind: "permanent", reason: "defect" }
  }
  return { kind: "cancelled", reason: "interrupted" }
}

/**
 * Whether it is a failure at all: interruption and control flow are none.
 *
 * @since 0.1.0
 * @category guards
 */
export const isReal = (failure: Failure): boolean => failure.kind !== "cancelled" && failure.kind !== "control-flow"

/**
 * Whether another try of the same call may succeed.
 *
 * @since 0.1.0
 * @category guards
 */
export const isRetryable = (failure: Failure): boolean =>
  failure.kind === "transient" || failure.kind === "rate-limited"

/**
 * The classifier in force where an operator is not given one of its own. Provide another to change it for a whole program.
 *
 * @since 0.1.0
 * @category services
 */
export class CurrentClassifier extends Context.Reference<CurrentClassifier>()("holdfast/Failure/CurrentClassifier", {
  defaultValue: (): Classifier => classify
}) {}
