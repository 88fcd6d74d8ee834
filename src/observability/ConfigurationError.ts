/**
 * A setting that cannot be used, said so that it can be put right.
 *
 * @since 0.1.0
 */
import type * as ConfigError from "effect/ConfigError"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Redaction from "./Redaction.js"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("holdfast/ConfigurationError")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * A setting has a value that it does not take, or none where one is needed. Never carries the value of a secret.
 *
 * @since 0.1.0
 * @category errors
 */
export class ConfigurationError extends Schema.TaggedError<ConfigurationError>("holdfast/ConfigurationError")(
  "ConfigurationError",
  {
    /** The environment variable, option or flag. */
    setting: Schema.String,
    /** What it takes, such as `a whole number above 0`. */
    expected: Schema.String,
    /** What is wrong with what it has, such as `"abc" is no number`. */
    problem: Schema.String
  }
) {
  /**
   * @since 0.1.0
   */
  readonly [TypeId]: typeof TypeId = TypeId

  /**
   * @since 0.1.0
   */
  override get message(): string {
    const expected = this.expected === "" ? "" : ` It takes ${this.expected}.`
    return `${this.setting} cannot be used: ${this.problem}.${expected}`
  }
}

/**
 * Whether a value is a {@link ConfigurationError}.
 *
 * @since 0.1.0
 * @category guards
 */
export const isConfigurationError = (u: unknown): u is ConfigurationError => Predicate.hasProperty(u, TypeId)

/** The last full stop goes, so that the problem stands inside a sentence. */
const clause = (text: string): string => Redaction.text(text).replace(/\.+$/, "")

/**
 * The first thing that a failed `Config` complains of, with what the setting takes from a table by its name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromConfigError = (
  error: ConfigError.ConfigError,
  expected: Readonly<Record<string, string>> = {}
): ConfigurationError => {
  if (error._op === "And" || error._op === "Or") return fromConfigError(error.left, expected)
  const setting = error.path.join("_")
  return new ConfigurationError({
    setting: setting === "" ? "The configuration" : setting,
    expected: expected[setting] ?? "",
    problem: error._op === "MissingData" ? "it is not set" : clause(error.message)
  })
}
