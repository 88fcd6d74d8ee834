/**
 * A module of the user's that cannot be loaded.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * The file, and why it does not load.
 *
 * @since 0.1.0
 * @category errors
 */
export class ModuleError extends Schema.TaggedError<ModuleError>("holdfast/ModuleError")("ModuleError", {
  file: Schema.String,
  message: Schema.String,
  cause: Schema.optional(Schema.Defect)
}) {}
