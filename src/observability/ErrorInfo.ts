/**
 * How any thrown or failed value is named in logs and traces.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Runtime from "effect/Runtime"
import * as Redaction from "./Redaction.js"

/**
 * A failure in two words: its class and what it says.
 *
 * @since 0.1.0
 * @category models
 */
export interface ErrorInfo {
  /** The `_tag` of a tagged error, else the `name` of an `Error`, else the JavaScript type. */
  readonly tag: string
  /** The error's message, redacted; never empty. */
  readonly message: string
}

/**
 * The names of the signals by which a LangGraph node asks for a pause or a jump. They are thrown, and are no errors.
 */
const controlFlowNames: ReadonlySet<string> = new Set([
  "GraphInterrupt",
  "NodeInterrupt",
  "GraphBubbleUp",
  "ParentCommand"
])

/**
 * What Effect has put around a failure that says nothing itself: the `UnknownException` of `Effect.tryPromise`, the `FiberFailure` with which
 * `Effect.runPromise` rejects.
 */
const unwrap = (error: unknown, depth = 0): unknown => {
  if (depth === 8) return error
  if (Runtime.isFiberFailure(error)) return unwrap(Cause.squash(error[Runtime.FiberFailureCauseId]), depth + 1)
  return Cause.isUnknownException(error) && error.error !== undefined ? unwrap(error.error, depth + 1) : error
}

/**
 * Whether a value is one of LangGraph's control-flow signals (`interrupt()`, `Command.PARENT` and their kin), or one that Effect has wrapped.
 * Recognised by shape, so that no LangGraph is loaded for it.
 *
 * @since 0.1.0
 * @category guards
 */
export const isControlFlow = (error: unknown): boolean => {
  const signal = unwrap(error)
  return (
    Predicate.isObject(signal) &&
    (("is_bubble_up" in signal && signal.is_bubble_up === true) ||
      ("name" in signal && typeof signal.name === "string" && controlFlowNames.has(signal.name)))
  )
}

/**
 * The class name of a failure.
 *
 * @since 0.1.0
 * @category getters
 */
export const tag = (error: unknown): string => {
  if (Predicate.isObject(error)) {
    if ("_tag" in error && typeof error._tag === "string") return error._tag
    if (error instanceof Error) return error.name === "" ? "Error" : error.name
    return "Object"
  }
  return typeof error
}

/**
 * The message of a failure, redacted. A tagged error without a message is named by its fields, an empty one by its tag.
 *
 * @since 0.1.0
 * @category getters
 */
export const message = (error: unknown): string => {
  if (typeof error === "string" && error !== "") return Redaction.text(error)
  if (Predicate.isObject(error)) {
    if ("message" in error && typeof error.message === "string" && error.message !== "") {
      return Redaction.text(error.message)
    }
    const fields = Object.entries(error).filter(([key]) => key !== "_tag" && key !== "name" && key !== "stack")
    if (fields.length > 0) return Redaction.json(Object.fromEntries(fields))
    return tag(error)
  }
  return String(error)
}

/**
 * Names one failure; what Effect has only wrapped (an `UnknownException`, a `FiberFailure`) by what is inside.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (error: unknown): ErrorInfo => {
  const inner = unwrap(error)
  return { tag: tag(inner), message: message(inner) }
}

/**
 * Names a cause by its first failure, else its first defect; an interruption is named `Interrupted`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromCause = (cause: Cause.Cause<unknown>): ErrorInfo => {
  const failure = Cause.failureOption(cause)
  if (Option.isSome(failure)) return make(failure.value)
  const defect = Cause.dieOption(cause)
  if (Option.isSome(defect)) return make(defect.value)
  return Cause.isEmpty(cause) ? { tag: "Empty", message: "no failure" } : { tag: "Interrupted", message: "interrupted" }
}

/**
 * One line for a failure: `Tag: message`, or the message alone when it already begins with its tag or is itself the failure (a thrown string).
 *
 * @since 0.1.0
 * @category rendering
 */
export const line = (info: ErrorInfo): string =>
  info.tag === "string" || info.message === info.tag || info.message.startsWith(`${info.tag}:`)
    ? info.message
    : `${info.tag}: ${info.message}`
