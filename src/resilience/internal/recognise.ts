/** Recognises one error by its shape; its chain of causes is walked by `Failure.classify`. No class is imported. */
import * as Predicate from "effect/Predicate"
import type { Failure } from "../Failure.js"
import * as RetryAfter from "./retryAfter.js"

export const { field } = RetryAfter

const permanent = (reason: string): Failure => ({ kind: "permanent", reason })
const transient = (reason: string): Failure => ({ kind: "transient", reason })
const decode: Failure = { kind: "transient", reason: "decode", maxRetries: 1 }
const cancelled: Failure = { kind: "cancelled", reason: "aborted" }

const table = <A>(...rows: ReadonlyArray<readonly [words: string, value: A]>): ReadonlyMap<string, A> =>
  new Map(rows.flatMap(([words, value]) => words.split(" ").map((word) => [word, value] as const)))

/** Codes of Node's sockets, DNS, TLS and undici, of OpenAI, Azure, Anthropic, Google and LangChain. */
const codes = table<Failure | "rate-limited" | "network">(
  ["EAI_AGAIN ECONNABORTED ECONNREFUSED ECONNRESET EHOSTDOWN EHOSTUNREACH ENETDOWN ENETRESET ENETUNREACH", "network"],
  ["ENOTFOUND EPIPE EPROTO ETIMEDOUT ERR_STREAM_PREMATURE_CLOSE ERR_NETWORK", "network"],
  ["UND_ERR_BODY_TIMEOUT UND_ERR_CONNECT_TIMEOUT UND_ERR_HEADERS_TIMEOUT", "network"],
  ["UND_ERR_RES_CONTENT_LENGTH_MISMATCH UND_ERR_SOCKET UND_ERR_CLOSED UND_ERR_DESTROYED", "network"],
  ["EADDRNOTAVAIL ESOCKETTIMEDOUT ERR_SOCKET_CLOSED ERR_SOCKET_CONNECTION_TIMEOUT", "network"],
  ["ERR_HTTP2_GOAWAY_SESSION ERR_HTTP2_SESSION_ERROR ERR_HTTP2_STREAM_CANCEL ERR_HTTP2_STREAM_ERROR", "network"],
  ["ABORT_ERR UND_ERR_ABORTED ERR_CANCELED MODEL_ABORTED", cancelled],
  ["CERT_HAS_EXPIRED DEPTH_ZERO_SELF_SIGNED_CERT SELF_SIGNED_CERT_IN_CHAIN", permanent("certificate")],
  ["UNABLE_TO_VERIFY_LEAF_SIGNATURE UNABLE_TO_GET_ISSUER_CERT_LOCALLY", permanent("certificate")],
  ["ERR_TLS_CERT_ALTNAME_INVALID", permanent("certificate")],
  ["ERR_INVALID_URL UND_ERR_INVALID_ARG UND_ERR_REQ_CONTENT_LENGTH_MISMATCH", permanent("invalid request")],
  ["context_length_exceeded string_above_max_length CONTEXT_OVERFLOW", permanent("context length")],
  ["content_filter content_policy_violation", permanent("content filter")],
  ["insufficient_quota billing_hard_limit_reached", permanent("quota used up")],
  ["invalid_api_key authentication_error MODEL_AUTHENTICATION", permanent("authentication")],
  ["permission_error", permanent("permission")],
  ["model_not_found MODEL_NOT_FOUND", permanent("model not found")],
  ["invalid_request_error INVALID_PROMPT_INPUT INVALID_TOOL_RESULTS", permanent("invalid request")],
  ["request_too_large MESSAGE_COERCION_FAILURE INVALID_CHAT_HISTORY", permanent("invalid request")],
  ["GRAPH_RECURSION_LIMIT INVALID_CONCURRENT_GRAPH_UPDATE INVALID_GRAPH_NODE_RETURN_VALUE", permanent("graph")],
  ["MISSING_CHECKPOINTER MULTIPLE_SUBGRAPHS UNREACHABLE_NODE", permanent("graph")],
  ["overloaded_error UNAVAILABLE", transient("overloaded")],
  ["api_error server_error", transient("server error")],
  ["timeout_error DEADLINE_EXCEEDED", transient("timeout")],
  ["OUTPUT_PARSING_FAILURE", decode],
  ["rate_limit_error rate_limit_exceeded MODEL_RATE_LIMIT RESOURCE_EXHAUSTED", "rate-limited"]
)

/** Names of classes; the SDKs that Stainless generates name theirs by the constructor alone. */
const names = table<Failure>(
  ["AbortError APIUserAbortError ModelAbortError CanceledError", cancelled],
  ["TimeoutException TimeoutError APIConnectionTimeoutError", transient("timeout")],
  ["APIConnectionError", transient("connection")],
  ["ThrottlingException TooManyRequestsException", { kind: "rate-limited", reason: "throttled" }],
  ["ContextOverflowError", permanent("context length")],
  ["ContentFilterFinishReasonError", permanent("content filter")],
  ["ParseError OutputParserException SyntaxError ZodError $ZodError LengthFinishReasonError", decode]
)

/** Messages by which providers without a code of their own say that the prompt is too long or was filtered. */
const contextLength = new RegExp(
  [
    "maximum context length",
    "context.?length.?exceeded",
    "exceeds? (?:the )?context (?:window|limit)",
    "input tokens exceed",
    "input token count .{0,40}exceeds the maximum",
    "(?:prompt|input) is too long",
    "too many tokens in the (?:prompt|request)",
    "tokens in the prompt cannot exceed"
  ].join("|"),
  "i"
)
const contentFilter =
  /content (?:filter|management policy|policy violation)|response was filtered|blocked due to (?:safety|prohibited|recitation)|rejected as a result of our safety system/i

/** Mistakes of a program: the same code will make them again. */
const programErrors: ReadonlySet<string> = new Set([
  "TypeError",
  "RangeError",
  "ReferenceError",
  "EvalError",
  "URIError"
])

/** What `fetch` says, as a TypeError, of a network that failed. */
const fetchFailed = /^(?:fetch failed|failed to fetch|terminated|network ?error)/i

/** LangChain's own mark, the same in every copy of its core. */
const langchainRetryable = Symbol.for("langchain.errors.retryable")

const objectField = (error: object, key: string): object | undefined => {
  const value = field(error, key)
  return Predicate.isObject(value) ? value : undefined
}

const namesOf = (error: object): ReadonlyArray<string> => {
  const constructor = field(error, "constructor")
  return [
    field(error, "_tag"),
    field(error, "name"),
    typeof constructor === "function" ? constructor.name : undefined
  ].filter(Predicate.isString)
}

/** The words by which an error says what it is: its own and those of the body that it carries. */
const codesOf = (error: object): ReadonlyArray<string> => {
  const response = objectField(error, "response")
  const body = objectField(error, "error") ?? (response && objectField(response, "data"))
  return [error, body, body && objectField(body, "error")]
    .filter(Predicate.isNotUndefined)
    .flatMap((level) => ["code", "type", "lc_error_code", "status"].map((key) => field(level, key)))
    .filter(Predicate.isString)
}

const asStatus = (value: unknown, from: number): number | undefined => {
  const status = typeof value === "string" && /^\d{3}$/.test(value) ? Number(value) : value
  return typeof status === "number" && status >= from && status < 600 ? status : undefined
}

const statusOf = (error: object): number | undefined => {
  const response = objectField(error, "response")
  const aws = objectField(error, "$metadata")
  return (
    asStatus(field(error, "status"), 100) ??
    asStatus(field(error, "statusCode"), 100) ??
    (response && (asStatus(field(response, "status"), 100) ?? asStatus(field(response, "statusCode"), 100))) ??
    (aws && asStatus(field(aws, "httpStatusCode"), 100)) ??
    // Google's clients; other numbers called code (of DOM exceptions, of gRPC) are small
    asStatus(field(error, "code"), 400)
  )
}

/** A 409 is safe to repeat where the request was idempotent. */
const isIdempotent = (error: object): boolean => {
  const request = objectField(error, "request") ?? objectField(error, "config")
  const method = request && field(request, "method")
  return typeof method === "string" && /^(?:get|head|put|delete|options)$/i.test(method)
}

const withWait = (failure: Failure, error: object, now: () => number): Failure => {
  const retryAfterMillis = RetryAfter.millis(error, now)
  return retryAfterMillis === undefined ? failure : { ...failure, retryAfterMillis }
}

const fromStatus = (error: object, status: number, now: () => number): Failure | undefined => {
  if (status < 400) return undefined
  const reason = `http ${status}`
  const advice = RetryAfter.header(error, "x-should-retry")
  if (advice === "false") return permanent(reason)
  if (status === 429) return withWait({ kind: "rate-limited", reason }, error, now)
  // 501 and 505 say that the server will never do it
  const passes =
    advice === "true" ||
    status === 408 ||
    status === 425 ||
    (status === 409 && isIdempotent(error)) ||
    (status >= 500 && status !== 501 && status !== 505)
  return passes ? withWait(transient(reason), error, now) : permanent(reason)
}

const fromName = (error: object): Failure | undefined => {
  const own = namesOf(error)
  for (const name of own) {
    const failure = names.get(name)
    if (failure !== undefined) return failure
  }
  // the errors of @effect/platform's HTTP client, told apart by their reason
  const reason = field(error, "reason")
  if (own.includes("ResponseError") && (reason === "Decode" || reason === "EmptyBody")) return decode
  if (own.includes("RequestError") && (reason === "Encode" || reason === "InvalidUrl")) {
    return permanent("invalid request")
  }
  return undefined
}

const fromCodes = (error: object, now: () => number): Failure | undefined => {
  for (const code of codesOf(error)) {
    const failure = codes.get(code)
    if (failure === "network") return transient(code)
    if (failure === "rate-limited") return withWait({ kind: "rate-limited", reason: code }, error, now)
    if (failure !== undefined) return failure
  }
  return undefined
}

const fromMessage = (error: object): Failure | undefined => {
  const text = field(error, "message")
  if (typeof text !== "string") return undefined
  if (contextLength.test(text)) return permanent("context length")
  return contentFilter.test(text) ? permanent("content filter") : undefined
}

const fromMark = (error: object): Failure | undefined => {
  const mark = field(error, langchainRetryable)
  return mark === true ? transient("marked retryable") : mark === false ? permanent("marked not retryable") : undefined
}

/** What one error says of itself, or nothing. */
export const recognise = (error: object, now: () => number): Failure | undefined => {
  const status = statusOf(error)
  if (status === undefined) {
    return fromMessage(error) ?? fromName(error) ?? fromCodes(error, now) ?? fromMark(error)
  }
  // a code says more than its status: a used-up quota is a 429 that no patience cures
  const code = fromCodes(error, now)
  if (code?.kind === "permanent" && code.reason !== "invalid request") return code
  const text = status >= 400 && status < 500 && status !== 429 ? fromMessage(error) : undefined
  return text ?? fromStatus(error, status, now) ?? fromName(error) ?? code ?? fromMark(error)
}

/** What can still be said of an error that nothing in its chain of causes explains. */
export const unexplained = (error: unknown): Failure => {
  if (!Predicate.isObject(error)) return transient("unknown")
  const name = namesOf(error).find((each) => programErrors.has(each))
  if (name === undefined) return transient("unknown")
  const text = field(error, "message")
  return typeof text === "string" && fetchFailed.test(text) ? transient("connection") : permanent(name)
}
