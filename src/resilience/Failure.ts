/**
 * What kind of failure is this? Every operator asks this one question before it retries, counts or falls back.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as Runtime from "effect/Runtime"
import * as ErrorInfo from "../observability/ErrorInfo.js"
import * as classes from "./internal/classes.js"
import * as recogniser from "./internal/recognise.js"

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
 * What a failure is about, finer than its {@link Kind}: what a policy or a fallback can be chosen by. A transient or permanent failure of which
 * nothing more is known belongs to `transient` or `permanent`.
 *
 * - `timeout`: an attempt's or a deadline's end, 408, 504, a socket's timeout.
 * - `overloaded`: 503, 529, and what Anthropic and Google call so. `server-error`: any other 5xx. `connection`: a network that failed.
 * - `decode`: an answer that does not decode. `context-length`, `content-filter`: what another model may still answer.
 * - `circuit-open`, `bulkhead-full`: a rejection of our own.
 *
 * @since 0.1.0
 * @category models
 */
export type Class =
  | "bulkhead-full"
  | "cancelled"
  | "circuit-open"
  | "connection"
  | "content-filter"
  | "context-length"
  | "control-flow"
  | "decode"
  | "defect"
  | "overloaded"
  | "permanent"
  | "rate-limited"
  | "server-error"
  | "timeout"
  | "transient"

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
  /** What it is about, where the reason alone does not tell. See {@link classOf}. */
  readonly class?: Class | undefined
}

/**
 * Sorts an error. `now` tells the wall clock's time in milliseconds, against which a Retry-After that is a date is read; the operators pass
 * Effect's Clock.
 *
 * @since 0.1.0
 * @category models
 */
export type Classifier = (error: unknown, now?: () => number) => Failure

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
  Predicate.isObject(value) &&
  kinds.has(recogniser.field(value, "kind")) &&
  typeof recogniser.field(value, "reason") === "string"

/**
 * Sorts any error: by the `failure` that it carries itself, by HTTP status and Retry-After, by the codes of OpenAI, Anthropic, Google and
 * LangChain, by the codes of sockets and undici, by name, through its chain of causes, and of an `AggregateError` by what it holds. Shapes decide, no
 * class is imported. What nobody
 * recognises is `transient`, save for mistakes of a program (`TypeError` and its kin), which are `permanent`.
 *
 * An `AbortError` is `cancelled`, unless it names as its cause what is known to be a failure, such as a timeout.
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
export const classify: Classifier = (error, now = Date.now): Failure => classifyWithin(8, error, now)

/** Through so many errors, one the cause of the other: a chain may lead back into itself. */
const classifyWithin = (errors: number, error: unknown, now: () => number): Failure => {
  let current: unknown = error
  let outermost: unknown = error
  let aborted: Failure | undefined
  for (let left = errors; left > 0 && Predicate.isObject(current); left--) {
    if (Cause.isUnknownException(current)) {
      // a wrapper: it has nothing of its own to say
      if (outermost === current) outermost = current.error
      current = current.error
      continue
    }
    if (ErrorInfo.isControlFlow(current)) return { kind: "control-flow", reason: ErrorInfo.tag(current) }
    if (Runtime.isFiberFailure(current)) return fromCause(current[Runtime.FiberFailureCauseId], classify, now)
    const declared = recogniser.field(current, "failure")
    const failure = isFailure(declared) ? declared : recogniser.recognise(current, now)
    if (failure?.kind === "cancelled") aborted ??= failure
    else if (failure !== undefined) return failure
    const all = recogniser.field(current, "errors")
    if (current instanceof AggregateError && Array.isArray(all) && all.length > 0) {
      return ofAlternatives(all.map((each) => classifyWithin(left - 1, each, now)))
    }
    current = recogniser.field(current, "cause")
  }
  return aborted ?? recogniser.unexplained(outermost)
}

/** Of several failures at once the one that says most: a single permanent one makes another try pointless. */
const ranks: Readonly<Record<Kind, number>> = {
  cancelled: 0,
  transient: 1,
  "rate-limited": 2,
  permanent: 3,
  "control-flow": 4
}

const both = (left: Failure, right: Failure): Failure => {
  const retryAfterMillis = Math.max(left.retryAfterMillis ?? 0, right.retryAfterMillis ?? 0)
  const maxRetries = Math.min(left.maxRetries ?? Infinity, right.maxRetries ?? Infinity)
  const { class: own, kind, reason } = ranks[right.kind] > ranks[left.kind] ? right : left
  return {
    kind,
    reason,
    ...(own === undefined ? {} : { class: own }),
    ...(retryAfterMillis > 0 ? { retryAfterMillis } : {}),
    ...(maxRetries < Infinity ? { maxRetries } : {})
  }
}

/** Of ways that were tried side by side and have all failed: another try is worth it when it is for any of them. */
const ofAlternatives = (failures: ReadonlyArray<Failure>): Failure => {
  const signal = failures.find(({ kind }) => kind === "control-flow")
  if (signal !== undefined) return signal
  const retryable = failures.filter(isRetryable)
  return (retryable.length > 0 ? retryable : failures).reduce(both)
}

/**
 * Sorts a cause: a failure by its error, a defect as permanent, an interruption as cancelled. Where several came together, control flow goes
 * before a defect, a defect before failures, and among failures the worst one decides. No classifier is asked about control flow.
 *
 * @since 0.1.0
 * @category classification
 */
export const fromCause = (
  cause: Cause.Cause<unknown>,
  classifier: Classifier = classify,
  now?: () => number
): Failure => {
  if (cause._tag === "Fail" && !ErrorInfo.isControlFlow(cause.error)) return classifier(cause.error, now)
  const errors = Chunk.toReadonlyArray(Cause.failures(cause))
  const defects = Chunk.toReadonlyArray(Cause.defects(cause))
  const signal = [...errors, ...defects].find(ErrorInfo.isControlFlow)
  if (signal !== undefined) return classify(signal)
  if (defects.length > 0) return { kind: "permanent", reason: "defect" }
  const [first, ...others] = errors.map((error) => classifier(error, now))
  return first === undefined ? { kind: "cancelled", reason: "interrupted" } : others.reduce(both, first)
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
 * What a failure is about: its own `class` if it names one, else what its kind and reason tell.
 *
 * @since 0.1.0
 * @category getters
 * @example
 * ```ts
 * import { Failure } from "holdfast"
 *
 * Failure.classOf(Failure.classify({ status: 529 }))
 * // "overloaded"
 * ```
 */
export const classOf: (failure: Failure) => Class = classes.classOf

/**
 * A classifier that asks a function first, and another classifier (default {@link classify}) of what the function does not know. The function
 * is given the error itself, out of what Effect has wrapped around it; control flow is never asked about.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { Failure } from "holdfast"
 *
 * const classifier = Failure.extend((error) =>
 *   error instanceof SyntaxError ? { kind: "permanent", reason: "bad JSON" } : undefined
 * )
 * ```
 */
export const extend =
  (recognise: (error: unknown, now: () => number) => Failure | undefined, base: Classifier = classify): Classifier =>
  (error, now = Date.now) => {
    if (ErrorInfo.isControlFlow(error)) return base(error, now)
    return recognise(Cause.isUnknownException(error) ? error.error : error, now) ?? base(error, now)
  }

/**
 * The classifier in force where an operator is not given one of its own. Provide another to change it for a whole program.
 *
 * @since 0.1.0
 * @category services
 */
export class CurrentClassifier extends Context.Reference<CurrentClassifier>()("holdfast/Failure/CurrentClassifier", {
  defaultValue: (): Classifier => classify
}) {}

/**
 * Replaces the classifier of all that is run inside. To add to the one there is, see {@link extend}.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (classifier: Classifier): Layer.Layer<CurrentClassifier> =>
  Layer.succeed(CurrentClassifier, classifier)
