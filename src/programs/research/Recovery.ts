/**
 * Every failure of a run and how it was recovered, read off the observations themselves: what the trace does not show is not claimed here.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type * as Trace from "../../observability/Trace.js"

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
  /** `retry`: a later attempt worked. `fallback`: another agent took over. `none`: this call of the agent failed. */
  recovery: Schema.Literal("retry", "fallback", "none"),
  /** The attempt or the agent that worked; null where none did. */
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

  const failures = agents.flatMap((agent) => {
    const tried = (children.get(agent.spanId) ?? []).filter((span) => span.name === "retry_execution")
    const winner = tried.find((each) => each.metadata["retry_succeeded"] === true)
    return tried.flatMap((execution) =>
      (children.get(execution.spanId) ?? [])
        .filter((span) => span.name === "attempt" && (span.level === "WARNING" || span.level === "ERROR"))
        .map((attempt): Failure => {
          const recovery = winner === undefined ? "none" : winner === execution ? "retry" : "fallback"
          return {
            node,
            round,
            agent: text(agent.metadata["agent_id"]),
            by: text(execution.metadata["agent_id"]),
            attempt: number(attempt.metadata["attempt"]),
            errorType: text(attempt.metadata["error_type"]),
            message: messageOf(execution, attempt),
            recovery,
            recoveredBy:
              winner === undefined
                ? null
                : recovery === "retry"
                  ? `attempt ${number(winner.metadata["attempts_needed"])}`
                  : text(winner.metadata["agent_id"])
          }
        })
    )
  })

  const transitions = agents.flatMap((agent) =>
    below(agent.spanId)
      .filter((span) => span.name === "circuit_breaker_transition")
      .map(
        (span): Transition => ({
          node,
          round,
          agent: text(agent.metadata["agent_id"]),
          from: text(span.metadata["from"]),
          to: text(span.metadata["to"]),
          failureCount: number(span.metadata["failure_count"])
        })
      )
  )
  return { failures, transitions }
}

/** The error's own words, from the history; the attempt's status message also tells of the pause that followed. */
const messageOf = (execution: Trace.SpanData, attempt: Trace.SpanData): string => {
  const history: unknown = execution.metadata["retry_history"]
  const record: unknown = Array.isArray(history)
    ? history.find((each) => each?.attempt === attempt.metadata["attempt"])
    : undefined
  return typeof record === "object" && record !== null && "message" in record
    ? text(record.message)
    : (attempt.statusMessage ?? "")
}
