/** What a report says, in figures. */

/**
 * By nearest rank, so that each but the mean is one of the values. Seconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Percentiles {
  readonly p50: number
  readonly p95: number
  readonly p99: number
  readonly max: number
  readonly mean: number
}

/**
 * Calls of agents, which are the observations `agent_<id>`.
 *
 * @since 0.1.0
 * @category models
 */
export interface CallFigures {
  readonly total: number
  /** By the agent or by one of its fallbacks (`success` is true). */
  readonly answered: number
  /** `success` is false. */
  readonly failed: number
  /** Interrupted, paused or not ended: no part of any rate. */
  readonly unfinished: number
  /** `answered / (answered + failed)`, 0 to 1. */
  readonly availability: number | undefined
}

/**
 * Executions: one agent of a chain with all its tries (the observations `retry_execution`), or a use of `RetryPolicy.retry` on its own. Those
 * that were interrupted do not count.
 *
 * @since 0.1.0
 * @category models
 */
export interface RetryFigures {
  readonly executions: number
  /** Worked in the end. */
  readonly succeeded: number
  /** Took more than one try. */
  readonly retried: number
  /** Took more than one try, and worked in the end. */
  readonly rescued: number
  /** `rescued / retried`, 0 to 1: how often trying again was of use. */
  readonly successRate: number | undefined
  /** Tries an execution. */
  readonly meanAttempts: number | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface FallbackFigures {
  /** Calls in which a fallback was asked (`fallback_level` above 0). */
  readonly asked: number
  /** Of these, those that a fallback answered. */
  readonly answered: number
  /** `asked` as a share of the calls that ended, 0 to 1. */
  readonly rate: number | undefined
}

/**
 * Runs of swarms.
 *
 * @since 0.1.0
 * @category models
 */
export interface DegradationFigures {
  readonly runs: number
  /** Their level was above 0, or they failed. */
  readonly degraded: number
  /** Too many required agents failed. */
  readonly failed: number
  /** How many runs ended at level 0, 1 and 2. */
  readonly levels: readonly [number, number, number]
  /** `degraded / runs`, 0 to 1. */
  readonly rate: number | undefined
}

/**
 * Calls that were answered after something in them had failed: the seconds from the end of the first failure to the answer.
 *
 * @since 0.1.0
 * @category models
 */
export interface RecoveryFigures extends Percentiles {
  readonly calls: number
}

/**
 * The failures of one class in one agent.
 *
 * @since 0.1.0
 * @category models
 */
export interface FailureFigures {
  /** The agent of the chain that failed, a fallback under its own id; absent outside of agents. */
  readonly agent: string | undefined
  /** The class of the error, such as `AgentTimeoutError`. */
  readonly errorType: string
  /** Tries that failed with it. */
  readonly attempts: number
  /** Executions that were refused with it before a first try, such as by a bulkhead. */
  readonly executions: number
  /** Calls that ended with it. */
  readonly calls: number
}

/**
 * A circuit breaker that moved.
 *
 * @since 0.1.0
 * @category models
 */
export interface BreakerFigures {
  /** Its name, with `/key` if it has one. */
  readonly breaker: string
  /** How often it ceased to let calls through: opened, or was isolated or forced open. */
  readonly openings: number
  /** How often a probe failed, and it stayed open. */
  readonly reopenings: number
  /** From each opening to the next closing, or to the end of the period, together. */
  readonly openSeconds: number
  readonly longestSeconds: number | undefined
  /** Of those that closed: the mean time until it let calls through again. */
  readonly meanSeconds: number | undefined
  /** Whether it had not closed at the end of the period. */
  readonly isOpen: boolean
}

/**
 * All calls of one agent, inside of others' too.
 *
 * @since 0.1.0
 * @category models
 */
export interface AgentFigures {
  readonly agent: string
  readonly calls: CallFigures
  readonly latency: Percentiles | undefined
  readonly retry: RetryFigures
  readonly fallback: FallbackFigures
}

/**
 * What is undefined has nothing to be worked out from.
 *
 * @since 0.1.0
 * @category models
 */
export interface Figures {
  /** How many were read. */
  readonly observations: number
  readonly traces: number
  /** The outermost calls: those that no other call (with `agent`: of this agent) is around. */
  readonly calls: CallFigures
  /** Of the outermost calls that were answered or failed, seconds. */
  readonly latency: Percentiles | undefined
  readonly retry: RetryFigures
  readonly fallback: FallbackFigures
  /** Nothing with `agent`: a swarm is more than one. */
  readonly degradation: DegradationFigures
  readonly recovery: RecoveryFigures | undefined
  /** The most frequent first. */
  readonly failures: ReadonlyArray<FailureFigures>
  /** The one that opened most often first. */
  readonly breakers: ReadonlyArray<BreakerFigures>
  /** The one that was called most often first. */
  readonly agents: ReadonlyArray<AgentFigures>
}
