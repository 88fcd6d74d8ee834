/**
 * What can be wrong with a file of prices, or with what is asked of it.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * What can be wrong with prices.
 *
 * @since 0.1.0
 * @category errors
 */
export const Reason = Schema.Literal(
  "FileNotFound",
  "FileUnreadable",
  "EmptyFile",
  "NoDateColumn",
  "MalformedHeader",
  "MalformedRow",
  "MalformedDate",
  "MalformedNumber",
  "NonPositivePrice",
  "MissingPrice",
  "DatesOutOfOrder",
  "DuplicateDate",
  "UnknownTicker",
  "UnknownBenchmark",
  "TooFewDays"
)

/**
 * @since 0.1.0
 * @category errors
 */
export type Reason = typeof Reason.Type

/**
 * Prices that cannot be used. The message names file, line and column where there is one, and says what to do. Wrong use, not a fault of the
 * environment: no retry helps.
 *
 * @since 0.1.0
 * @category errors
 */
export class PricesError extends Schema.TaggedError<PricesError>()("PricesError", {
  reason: Reason,
  message: Schema.String,
  file: Schema.String,
  /** From 1; the header is usually line 1. */
  line: Schema.optional(Schema.Int),
  /** Which cell of the line, from 1. */
  column: Schema.optional(Schema.Int),
  /** The known tickers, when one is unknown. */
  known: Schema.optional(Schema.Array(Schema.String))
}) {}
