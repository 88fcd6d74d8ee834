/**
 * How a failure ends the program: one message and an exit code.
 *
 * @since 0.1.0
 */
import * as ErrorInfo from "../observability/ErrorInfo.js"

/**
 * - 0: done, 1: failed, 2: wrong use, 3: an objective is missed, 4: waiting for a person; 130 and 143 for SIGINT and SIGTERM.
 *
 * @since 0.1.0
 * @category models
 */
export type ExitCode = 0 | 1 | 2 | 3 | 4 | 130 | 143

/** What the user can put right at the command line or in the environment variables. */
const wrongUse: ReadonlySet<string> = new Set([
  "ConfigurationError",
  "PricesError",
  "PricesChangedError",
  "CheckpointNotFoundError",
  "UsageError"
])

/**
 * The exit code for an error.
 *
 * @since 0.1.0
 * @category getters
 */
export const exitCode = (error: unknown): ExitCode => (wrongUse.has(ErrorInfo.tag(error)) ? 2 : 1)

/**
 * What to say of an error: its message, and where it is not one of ours also its class.
 *
 * @since 0.1.0
 * @category getters
 */
export const message = (error: unknown): string => {
  const info = ErrorInfo.make(error)
  return typeof error === "object" && error !== null && "_tag" in error ? info.message : ErrorInfo.line(info)
}
