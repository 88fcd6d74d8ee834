/**
 * The public face: one namespace a module. Importing it loads no LangGraph, no Langfuse or OpenTelemetry SDK and no database driver; a module
 * that needs one of them loads it when its layer is built. What extends LangGraph's classes is in `holdfast/langgraph`.
 *
 * @since 0.1.0
 */

/**
 * The vocabulary of what is seen in Langfuse, as annotations of Effect spans.
 *
 * @since 0.1.0
 */
export * as Observation from "./observability/Observation.js"
/**
 * What a run did, recorded and printed without any backend.
 *
 * @since 0.1.0
 */
export * as Trace from "./observability/Trace.js"
/**
 * Which kind of failure an error is, and so whether trying again is worth it.
 *
 * @since 0.1.0
 */
export * as Failure from "./resilience/Failure.js"
/**
 * Retries on a Schedule.
 *
 * @since 0.1.0
 */
export * as RetryPolicy from "./resilience/RetryPolicy.js"
/**
 * Time limits: of one attempt, and of all of them.
 *
 * @since 0.1.0
 */
export * as Timeout from "./resilience/Timeout.js"
