/**
 * Why there is no report.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("holdfast/ReportError")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * - `NoSource`: there are neither Langfuse's keys nor an outbox in which something is
 * - `Unauthorized`: Langfuse refuses the keys
 * - `Unreachable`: nobody answers, after all attempts
 * - `RateLimited`: Langfuse asks to wait for longer than the report waits
 * - `Refused`: Langfuse does not answer this question
 * - `Unreadable`: what was answered, or what the outbox holds, cannot be understood
 *
 * @since 0.1.0
 * @category models
 */
export const Reason = Schema.Literal("NoSource", "Unauthorized", "Unreachable", "RateLimited", "Refused", "Unreadable")

/**
 * @since 0.1.0
 * @category models
 */
export type Reason = typeof Reason.Type

/**
 * Observations that cannot be read. The message names who was asked, and what to do; it never holds a key.
 *
 * @since 0.1.0
 * @category errors
 */
export class ReportError extends Schema.TaggedError<ReportError>("holdfast/ReportError")("ReportError", {
  reason: Reason,
  /** Who was asked, such as `Langfuse at https://cloud.langfuse.com`. */
  source: Schema.String,
  message: Schema.String,
  cause: Schema.optional(Schema.Defect)
}) {
  /**
   * @since 0.1.0
   */
  readonly [TypeId]: typeof TypeId = TypeId
}

/**
 * Whether a value is a {@link ReportError}.
 *
 * @since 0.1.0
 * @category guards
 */
export const isReportError = (u: unknown): u is ReportError => Predicate.hasProperty(u, TypeId)
