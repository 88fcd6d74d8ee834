/**
 * Every failure of a run and how it was recovered, read off the observations themselves: what the trace does not show is not claimed here.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { CriticalDegradationError } from "../../agent/Swarm.js"
import * as ErrorInfo from "../../observability/ErrorInfo.js"
import type * as Trace from "../../observability/Trace.js"
import { CircuitBreakerOpenError } from "../../resilience/CircuitBreaker.js"
import * as Fault from "../../resilience/Failure.js"
import { FallbackExhaustedError } from "../../resilience/Fallback.js"

/**
 * One failed attempt, timeout or rejection.
 *
 * @since 0.1.0
 * @category models
 */
export const Failure = Schema.Struct({
  node: Schema.String,
  /** Which run of the node it was, from 1. */
  round: Schema.Int,
  /** The agent that was asked. */
  agent: Schema.String,
  /** The agent of its fallback chain that failed; the same as `agent` for the primary. */
  by: Schema.String,
  attempt: Schema.Int,
  errorType: Schema.String,
  message: Schema.String,
  /**
   * `retry`: a later attempt worked. `fallback`: another agent took over. `again`: this call of the agent failed, and a later one in the same node
   * worked. `none`: the agent failed.
   */
  recovery: Schema.Literal("retry", "fallback", "again", "none"),
  /** The attempt, the agent or the call that worked; null where none did. */
  recoveredBy: Schema.NullOr(Schema.String)
})

/**
 * @since 0.1.0
 * @category models
 */
export type Failure = typeof Failure.Type

/**
 * A circuit breaker that changed its state.
 *
 * @since 0.1.0
 * @category models
 */
export const Transition = Schema.Struct({
  node: Schema.String,
  round: Schema.Int,
  agent: Schema.String,
  from: Schema.String,
  to: Schema.String,
  failureCount: Schema.Int
})

/**
 * @since 0.1.0
 * @category models
 */
export type Transition = typeof Transition.Type

/**
 * What went wrong in one run of a node.
 *
 * @since 0.1.0
 * @category models
 */
export interface Recovery {
  readonly failures: ReadonlyArray<Failure>
  readonly transitions: ReadonlyArray<Transition>
}

const text = (value: unknown): string => (typeof value === "string" ? value : "")
const number = (value: unknown): number => (typeof value === "number" ? value : 0)
const idOf = (span: Trace.SpanData): string => text(span.metadata["agent_id"])

/**
 * An error in words that are the same from run to run: how long an open breaker still rejects is left out, within other errors too.
 *
 * @since 0.1.0
 * @category errors
 */
export const describe = (error: unknown): ErrorInfo.ErrorInfo => {
  if (error instanceof CircuitBreakerOpenError) {
    return { tag: error._tag, message: rejection(error.breaker, error.state, error.failureCount) }
  }
  if (error instanceof FallbackExhaustedError) {
    return ErrorInfo.make(
      new FallbackExhaustedError({
        agent: error.agent,
        errors: error.errors.map((each) => ({ ...each, error: worded(each.error) }))
      })
    )
  }
  if (error instanceof CriticalDegradationError) {
    return ErrorInfo.make(
      new CriticalDegradationError({
        ...error,
        failed: error.failed.map((each) => ({ ...each, error: worded(each.error) }))
      })
    )
  }
  return ErrorInfo.make(error)
}

const worded = (error: unknown): unknown => {
  const { message, tag } = describe(error)
  return { _tag: tag, message }
}

const rejection = (breaker: string, state: string, failureCount: number): string =>
  state === "open"
    ? `circuit breaker "${breaker}" is open after ${failureCount} failures`
    : `circuit breaker "${breaker}" is half-open and all its probes are under way`

/**
 * Whether another call, after a pause, may do better: for a failure that passes, and for a breaker that such failures have opened.
 *
 * @since 0.1.0
 * @category errors
 */
export const mayPass = (error: unknown): boolean =>
  error instanceof CircuitBreakerOpenError || Fault.isRetryable(Fault.classify(error))

/**
 * Reads the failures below one span, oldest first.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromSpans = (
  spans: ReadonlyArray<Trace.SpanData>,
  root: { readonly spanId: string; readonly node: string; readonly round: number }
): Recovery => {
  const { node, round } = root
  const children = new Map<string, Array<Trace.SpanData>>()
  for (const span of spans) {
    if (span.parentId === undefined) continue
    const siblings = children.get(span.parentId)
    if (siblings === undefined) children.set(span.parentId, [span])
    else siblings.push(span)
  }
  const below = (spanId: string): ReadonlyArray<Trace.SpanData> =>
    (children.get(spanId) ?? []).flatMap((child) => [child, ...below(child.spanId)])
  const agents = below(root.spanId).filter((span) => span.type === "agent")

  const failures = agents.flatMap((agent, index) => {
    const tried = (children.get(agent.spanId) ?? []).filter((span) => span.name === "retry_execution")
    const winner = tried.find((each) => each.metadata["retry_succeeded"] === true)
    const calls = agents.filter((other) => idOf(other) === idOf(agent))
    const later = calls.find((other) => agents.indexOf(other) > index && other.metadata["success"] === true)
    return tried.flatMap((execution) =>
      (children.get(execution.spanId) ?? [])
        .filter((span) => span.name === "attempt" && (span.level === "WARNING" || span.level === "ERROR"))
        .map(
          (attempt): Failure => ({
            node,
            round,
            agent: idOf(agent),
            by: idOf(execution),
            attempt: number(attempt.metadata["attempt"]),
            errorType: text(attempt.metadata["error_type"]),
            message: messageOf(execution, attempt),
            ...(winner === execution
              ? { recovery: "retry", recoveredBy: `attempt ${number(winner.metadata["attempts_needed"])}` }
              : winner !== undefined
                ? { recovery: "fallback", recoveredBy: idOf(winner) }
                : later !== undefined
                  ? { recovery: "again", recoveredBy: `call ${calls.indexOf(later) + 1}` }
                  : { recovery: "none", recoveredBy: null })
          })
        )
    )
  })

  const transitions = agents.flatMap((agent) =>
    below(agent.spanId)
      .filter((span) => span.name === "circuit_breaker_transition")
      .map(
        (span): Transition => ({
          node,
          round,
          agent: idOf(agent),
          from: text(span.metadata["from"]),
          to: text(span.metadata["to"]),
          failureCount: number(span.metadata["failure_count"])
        })
      )
  )
  return { failures, transitions }
}

/**
 * The error's own words, from the history, as far as they are the same from run to run: the attempt's status message also tells of the pause that
 * followed, a rejection of how long it will last, a deadline of what was left of it.
 */
const messageOf = (execution: Trace.SpanData, attempt: Trace.SpanData): string => {
  const { circuit_state, error_type, failure_count } = attempt.metadata
  if (error_type === "CircuitBreakerOpenError") {
    return rejection(idOf(execution), text(circuit_state), number(failure_count))
  }
  const history: unknown = execution.metadata["retry_history"]
  const record: unknown = Array.isArray(history)
    ? history.find((each) => each?.attempt === attempt.metadata["attempt"])
    : undefined
  const message =
    typeof record === "object" && record !== null && "message" in record
      ? text(record.message)
      : (attempt.statusMessage ?? "")
  return error_type === "AgentTimeoutError" && message.endsWith("its deadline")
    ? `"${idOf(execution)}" gave no answer within its deadline of ${number(execution.metadata["deadline_seconds"])} s`
    : message
}
