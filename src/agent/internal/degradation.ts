/** What is missing from a swarm's findings, how much that is, and when it is too much. */
import * as Schema from "effect/Schema"
import * as ErrorInfo from "../../observability/ErrorInfo.js"
import * as Failure from "../../resilience/Failure.js"

/**
 * How much is missing: 0 when at least 80 % of the agents succeeded, 1 when at least 50 %, 2 when fewer.
 *
 * @since 0.1.0
 * @category models
 */
export type DegradationLevel = 0 | 1 | 2

/**
 * An agent that gave nothing.
 *
 * @since 0.1.0
 * @category models
 */
export interface FailedAgent<out E = unknown> {
  /** Its name in the swarm. */
  readonly agent: string
  readonly required: boolean
  /** Its typed error, or its defect. */
  readonly error: E
}

/**
 * Why a finding is missing: its agent `failed`, was `late` (the swarm's deadline had passed), or was `stopped` or never begun because the swarm
 * could no longer succeed.
 *
 * @since 0.1.0
 * @category models
 */
export type Reason = "failed" | "late" | "stopped"

/**
 * A finding that is missing.
 *
 * @since 0.1.0
 * @category models
 */
export interface Gap<out E = unknown> extends FailedAgent<E> {
  readonly _tag: "Gap"
  readonly reason: Reason
  /** How much it counts. */
  readonly weight: number
}

/**
 * A finding that is there.
 *
 * @since 0.1.0
 * @category models
 */
export interface Found<out Name = string, out A = unknown> {
  readonly _tag: "Found"
  /** Its agent's name in the swarm. */
  readonly agent: Name
  readonly required: boolean
  /** How much it counts. */
  readonly weight: number
  readonly value: A
}

/**
 * What a swarm found. `findings` has a key for each agent that succeeded.
 *
 * @since 0.1.0
 * @category models
 */
export interface Result<out Findings, out E = unknown> {
  readonly findings: Partial<Findings>
  readonly failed: ReadonlyArray<Gap<E>>
  readonly degradationLevel: DegradationLevel
  /** The share of all agents that succeeded, by weight, 0 to 1. */
  readonly successRate: number
}

/**
 * An agent that was interrupted, or never begun, because its swarm could no longer succeed.
 *
 * @since 0.1.0
 * @category errors
 */
export class AgentStoppedError extends Schema.TaggedError<AgentStoppedError>("holdfast/AgentStoppedError")(
  "AgentStoppedError",
  { agent: Schema.String, swarm: Schema.String }
) {
  override get message(): string {
    return `"${this.agent}" was stopped: too many required agents of "${this.swarm}" had failed`
  }

  /** Nothing is known against the agent. */
  get failure(): Failure.Failure {
    return { kind: "cancelled", reason: "swarm given up" }
  }
}

/**
 * Too many of the required agents failed. Carries what was found all the same.
 *
 * @since 0.1.0
 * @category errors
 */
export class CriticalDegradationError extends Schema.TaggedError<CriticalDegradationError>(
  "holdfast/CriticalDegradationError"
)("CriticalDegradationError", {
  swarm: Schema.String,
  /** The share of required agents that had failed, by weight, 0 to 1. */
  failedShare: Schema.Number,
  /** The share that would have been borne. */
  threshold: Schema.Number,
  /** All that gave nothing, those that were stopped with an {@link AgentStoppedError} too. */
  failed: Schema.Array(
    Schema.Struct({
      agent: Schema.String,
      required: Schema.Boolean,
      error: Schema.Unknown,
      reason: Schema.optional(Schema.Literal("failed", "late", "stopped")),
      weight: Schema.optional(Schema.Number)
    })
  ),
  /** What the other agents found, by name. */
  findings: Schema.Record({ key: Schema.String, value: Schema.Unknown })
}) {
  override get message(): string {
    const lost = this.failed.filter((each) => each.required && each.reason !== "stopped")
    const each = lost.map(({ agent, error }) => `${agent}: ${ErrorInfo.line(ErrorInfo.make(error))}`)
    const percent = (share: number) => `${Math.round(share * 100)} %`
    return `${percent(this.failedShare)} of the required agents of "${this.swarm}" failed, more than the ${percent(this.threshold)} it can bear (${each.join("; ")})`
  }

  /** Worth another try when any required agent's error is. */
  get failure(): Failure.Failure {
    const retryable = this.failed.some((each) => each.required && Failure.isRetryable(Failure.classify(each.error)))
    return { kind: retryable ? "transient" : "permanent", reason: "critical degradation" }
  }
}

/**
 * What a swarm tells while it runs: each finding and each gap as it comes, and at the end the result.
 *
 * @since 0.1.0
 * @category streaming
 */
export type Event<Findings, E> =
  | { readonly [K in keyof Findings]: Found<K, Findings[K]> }[keyof Findings]
  | Gap<E | AgentStoppedError>
  | Completed<Findings, E>

/**
 * The last event of a run that succeeds.
 *
 * @since 0.1.0
 * @category streaming
 */
export interface Completed<out Findings, out E> {
  readonly _tag: "Completed"
  /** The same that `run` would have given. */
  readonly result: Result<Findings, E>
}

/** How one agent of a swarm ended. */
export type Outcome = Found | Gap

export interface Limits {
  readonly critical: number
  readonly healthy: number
  readonly degraded: number
}

/** Weights are added in any order: a share that is a threshold but for rounding is that threshold. */
const rounding = 1e-9

const weigh = (all: ReadonlyArray<{ readonly weight: number }>): number =>
  all.reduce((sum, { weight }) => sum + weight, 0)

/** The share of the required agents that is lost for good. One that was only stopped might have succeeded. */
export const lostShare = (required: ReadonlyArray<{ readonly weight: number }>, outcomes: Iterable<Outcome>): number =>
  weigh([...outcomes].filter((each) => each._tag === "Gap" && each.required && each.reason !== "stopped")) /
  weigh(required)

export const isCritical = (share: number, limits: Limits): boolean => share > limits.critical + rounding

export const findingsOf = (outcomes: ReadonlyArray<Outcome>): Record<string, unknown> =>
  Object.fromEntries(outcomes.flatMap((each) => (each._tag === "Found" ? [[each.agent, each.value]] : [])))

const isGap = (outcome: Outcome): outcome is Gap => outcome._tag === "Gap"

export const resultOf = (
  outcomes: ReadonlyArray<Outcome>,
  { degraded, healthy }: Limits
): Result<Record<string, unknown>> => {
  const successRate = weigh(outcomes.filter((each) => !isGap(each))) / weigh(outcomes)
  return {
    findings: findingsOf(outcomes),
    failed: outcomes.filter(isGap),
    successRate,
    degradationLevel: successRate >= healthy - rounding ? 0 : successRate >= degraded - rounding ? 1 : 2
  }
}

export const errorOf = (
  swarm: string,
  failedShare: number,
  threshold: number,
  { failed, findings }: Result<Record<string, unknown>>
): CriticalDegradationError =>
  new CriticalDegradationError({
    swarm,
    failedShare,
    threshold,
    failed: failed.map(({ agent, error, reason, required, weight }) => ({ agent, required, error, reason, weight })),
    findings
  })
