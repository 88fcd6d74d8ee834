/**
 * The public face: one namespace a module, and every error class by its name. Importing it loads no LangGraph, no Langfuse or OpenTelemetry
 * SDK and no database driver: a module that needs one loads it when its layer is built. What extends LangGraph's own classes is in
 * `holdfast/langgraph`.
 *
 * @since 0.1.0
 */

/**
 * An agent: a function with an id, and the policy that hardens it.
 *
 * @since 0.1.0
 * @category modules
 */
export * as Agent from "./agent/Agent.js"
export { OnceError } from "./agent/Agent.js"
/**
 * Many agents, required and optional, and an honest account of what is missing.
 *
 * @since 0.1.0
 * @category modules
 */
export * as Swarm from "./agent/Swarm.js"
export { CriticalDegradationError } from "./agent/Swarm.js"
export {
  CheckpointError,
  CheckpointNotFoundError,
  StaleCheckpointError,
  ThreadBusyError
} from "./checkpoint/CheckpointError.js"
/**
 * The state of a workflow that is no graph, saved phase by phase.
 *
 * @since 0.1.0
 * @category modules
 */
export * as CheckpointManager from "./checkpoint/CheckpointManager.js"
/**
 * Keys under which checkpoints are stored.
 *
 * @since 0.1.0
 * @category modules
 */
export * as Encryption from "./checkpoint/Encryption.js"
/**
 * How long checkpoints are kept.
 *
 * @since 0.1.0
 * @category modules
 */
export * as Retention from "./checkpoint/Retention.js"
/**
 * A `SqlClient`: Postgres, or the embedded one.
 *
 * @since 0.1.0
 * @category modules
 */
export * as Database from "./database/Database.js"
export { DatabaseError } from "./database/DatabaseError.js"
/**
 * Steps that bring a database to the shape a module needs, run once.
 *
 * @since 0.1.0
 * @category modules
 */
export * as Migrations from "./database/Migrations.js"
/**
 * Transactions whose lost connection is an error that can be retried.
 *
 * @since 0.1.0
 * @category modules
 */
export * as Transaction from "./database/Transaction.js"
export { GraphError, NodeFailedError, NotWaitingError } from "./graph/GraphError.js"
/**
 * Carries Effect spans into Langfuse.
 *
 * @since 0.1.0
 * @category modules
 */
export * as Langfuse from "./langfuse/Langfuse.js"
/**
 * How agents have stood up to failures: figures from the observations in Langfuse, and objectives.
 *
 * @since 0.1.0
 * @category modules
 */
export * as Report from "./langfuse/Report.js"
export { ReportError } from "./langfuse/ReportError.js"
export { ConfigurationError } from "./observability/ConfigurationError.js"
/**
 * Log lines that carry the trace.
 *
 * @since 0.1.0
 * @category modules
 */
export * as Logging from "./observability/Logging.js"
/**
 * The vocabulary of what is seen in Langfuse, as annotations of Effect spans.
 *
 * @since 0.1.0
 * @category modules
 */
export * as Observation from "./observability/Observation.js"
/**
 * What a run did, recorded and drawn without any backend.
 *
 * @since 0.1.0
 * @category modules
 */
export * as Trace from "./observability/Trace.js"
/**
 * A bounded number of calls at once, and a bounded line of those who wait.
 *
 * @since 0.1.0
 * @category modules
 */
export * as Bulkhead from "./resilience/Bulkhead.js"
export { BulkheadFullError } from "./resilience/Bulkhead.js"
/**
 * Faults injected on purpose, reproducibly.
 *
 * @since 0.1.0
 * @category modules
 */
export * as Chaos from "./resilience/Chaos.js"
export { ChaosError } from "./resilience/Chaos.js"
/**
 * Stops calling what keeps failing, and tries again later.
 *
 * @since 0.1.0
 * @category modules
 */
export * as CircuitBreaker from "./resilience/CircuitBreaker.js"
export { CircuitBreakerOpenError, CircuitBreakerStoreError } from "./resilience/CircuitBreaker.js"
/**
 * Which kind of failure an error is, and so whether trying again is worth it.
 *
 * @since 0.1.0
 * @category modules
 */
export * as Failure from "./resilience/Failure.js"
/**
 * Another way to an answer when the first one fails.
 *
 * @since 0.1.0
 * @category modules
 */
export * as Fallback from "./resilience/Fallback.js"
export { FallbackExhaustedError } from "./resilience/Fallback.js"
/**
 * A second attempt beside one that is slow.
 *
 * @since 0.1.0
 * @category modules
 */
export * as Hedge from "./resilience/Hedge.js"
/**
 * No more calls in a time than has been agreed.
 *
 * @since 0.1.0
 * @category modules
 */
export * as RateLimit from "./resilience/RateLimit.js"
export { RateLimitError } from "./resilience/RateLimit.js"
/**
 * How much retrying a process can afford.
 *
 * @since 0.1.0
 * @category modules
 */
export * as RetryBudget from "./resilience/RetryBudget.js"
/**
 * Retries on a Schedule.
 *
 * @since 0.1.0
 * @category modules
 */
export * as RetryPolicy from "./resilience/RetryPolicy.js"
/**
 * The last good answers, for when nothing else works.
 *
 * @since 0.1.0
 * @category modules
 */
export * as StaleCache from "./resilience/StaleCache.js"
/**
 * Time limits: of one attempt, and of all of them.
 *
 * @since 0.1.0
 * @category modules
 */
export * as Timeout from "./resilience/Timeout.js"

export { AgentTimeoutError } from "./resilience/Timeout.js"
