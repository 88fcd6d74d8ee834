import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"
import * as HashMap from "effect/HashMap"
import * as List from "effect/List"
import type * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Tracer from "effect/Tracer"
import * as ErrorInfo from "../ErrorInfo.js"
import * as Redaction from "../Redaction.js"

/**
 * An error and what caused it.
 *
 * @internal
 */
export interface ErrorRecord extends ErrorInfo.ErrorInfo {
  readonly cause?: ErrorRecord
}

/**
 * A log entry as data. The order of the fields is the order in a line.
 *
 * @internal
 */
export interface LogRecord {
  readonly time: string
  readonly level: string
  readonly message: string
  readonly fiber: string
  readonly trace_id?: string
  readonly span_id?: string
  readonly annotations?: Readonly<Record<string, unknown>>
  /** Milliseconds since each log span began. */
  readonly spans?: Readonly<Record<string, number>>
  readonly error?: ErrorRecord
  /** What else failed, beside the first. */
  readonly also?: ReadonlyArray<ErrorRecord>
}

/** Deep enough for any real chain, and an end for one that bites its tail. */
const maxDepth = 8

const errorRecord = (error: unknown, depth = 0): ErrorRecord => {
  const info = ErrorInfo.make(error)
  const cause = Predicate.isObject(error) && "cause" in error ? error.cause : undefined
  if (cause === undefined || cause === null || depth === maxDepth) return info
  return { ...info, cause: Cause.isCause(cause) ? first(cause, depth + 1) : errorRecord(cause, depth + 1) }
}

const all = (cause: Cause.Cause<unknown>): ReadonlyArray<unknown> => [
  ...Chunk.toReadonlyArray(Cause.failures(cause)),
  ...Chunk.toReadonlyArray(Cause.defects(cause))
]

const first = (cause: Cause.Cause<unknown>, depth: number): ErrorRecord => {
  const errors = all(cause)
  return errors.length > 0 ? errorRecord(errors[0], depth) : ErrorInfo.fromCause(cause)
}

/** @internal */
export const make = (options: Logger.Logger.Options<unknown>): LogRecord => {
  const parts: ReadonlyArray<unknown> = Array.isArray(options.message) ? options.message : [options.message]
  const errors: Array<ErrorRecord> = []
  const words: Array<string> = []
  for (const part of parts) {
    if (typeof part === "string") words.push(Redaction.text(part))
    else if (part instanceof Error) errors.push(errorRecord(part))
    else words.push(Redaction.json(part))
  }
  if (!Cause.isEmpty(options.cause)) {
    const causes = all(options.cause)
    errors.unshift(
      ...(causes.length > 0 ? causes.map((error) => errorRecord(error)) : [ErrorInfo.fromCause(options.cause)])
    )
  }
  const [error, ...also] = errors
  const span = Context.getOption(FiberRefs.getOrDefault(options.context, FiberRef.currentContext), Tracer.ParentSpan)
  const now = options.date.getTime()
  return {
    time: options.date.toISOString(),
    level: options.logLevel.label,
    message: words.length > 0 ? words.join(" ") : error === undefined ? "" : ErrorInfo.line(error),
    fiber: FiberId.threadName(options.fiberId),
    ...(Option.isSome(span) ? { trace_id: span.value.traceId, span_id: span.value.spanId } : {}),
    ...(HashMap.size(options.annotations) > 0
      ? { annotations: Object.fromEntries(HashMap.toEntries(options.annotations)) }
      : {}),
    ...(List.isCons(options.spans)
      ? { spans: Object.fromEntries(Array.from(options.spans, (span) => [span.label, now - span.startTime])) }
      : {}),
    ...(error === undefined ? {} : { error }),
    ...(also.length > 0 ? { also } : {})
  }
}

/**
 * One line of JSON, whatever the values are.
 *
 * @internal
 */
export const json = (record: LogRecord): string => Redaction.json(record)

const levelCodes: Readonly<Record<string, string>> = {
  TRACE: "2",
  DEBUG: "34",
  INFO: "32",
  WARN: "33",
  ERROR: "31",
  FATAL: "1;31"
}

/** Control characters but the line feed: a message must not move the cursor. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const clean = (text: string): string => text.replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, " ")

/**
 * A line for people, and one more for each error and its causes.
 *
 * @internal
 */
export const pretty = (record: LogRecord, color: boolean): string => {
  const paint = (code: string, text: string): string => (color ? `\u001b[${code}m${text}\u001b[0m` : text)
  const value = (it: unknown): string =>
    typeof it === "string" && /^\S+$/.test(it) ? Redaction.text(it) : Redaction.json(it)
  const clock = record.time.slice(11, 23)
  const fields = [
    ...Object.entries(record.annotations ?? {}).map(([key, it]) => `${key}=${value(it)}`),
    ...Object.entries(record.spans ?? {}).map(([key, millis]) => `${key}=${millis}ms`)
  ]
  const code = levelCodes[record.level] ?? "0"
  let out = `${paint("2", clock)} ${paint(code, record.level.padEnd(5))} ${clean(record.message)}`
  if (fields.length > 0) out += `  ${paint("2", clean(fields.join(" ")))}`
  const errors = [...(record.error === undefined ? [] : [record.error]), ...(record.also ?? [])]
  for (const error of errors) {
    const line = ErrorInfo.line(error)
    if (line !== record.message) out += `\n    ${paint(code, clean(line))}`
    for (let cause = error.cause; cause !== undefined; cause = cause.cause) {
      out += `\n      ${paint("2", `caused by ${clean(ErrorInfo.line(cause))}`)}`
    }
  }
  return out
}
