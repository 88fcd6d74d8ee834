/**
 * Words of the command line that make no sense.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * Wrong use, in one sentence that says what is right.
 *
 * @since 0.1.0
 * @category errors
 */
export class UsageError extends Schema.TaggedError<UsageError>("holdfast/UsageError")("UsageError", {
  message: Schema.String
}) {}
