/**
 * Logs that carry the trace: one line an entry, on standard error, so that standard output is the program's result alone.
 *
 * @since 0.1.0
 */
import { format as formatArguments } from "node:util"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import type { ConfigurationError } from "./ConfigurationError.js"
import * as console_ from "./internal/console.js"
import * as environment from "./internal/environment.js"
import * as record from "./internal/record.js"

/**
 * How an entry is written: a JSON object a line, for machines; a readable line, for people; or, with `auto`, readable if standard error is a
 * terminal and JSON otherwise.
 *
 * @since 0.1.0
 * @category models
 */
export type Format = "json" | "pretty" | "auto"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The least severe level that is written. Default `Info`. */
  readonly level?: LogLevel.LogLevel | undefined
  /** Default `auto`. */
  readonly format?: Format | undefined
}

let guarded = false

/** A reader of standard error that has gone away (`holdfast ... 2>&1 | head`) must not end the program with an EPIPE. */
const writeError = (line: string): void => {
  if (!guarded) {
    guarded = true
    process.stderr.on("error", () => {})
  }
  process.stderr.write(`${line}\n`)
}

/**
 * A logger that writes to standard error. A JSON line has `time` (ISO), `level`, `message`, `fiber`, and where there are such: `trace_id` and
 * `span_id`, the `annotations` in force, `spans` (milliseconds by log span), `error` (`tag`, `message`, and its `cause` in the same form) and
 * `also` (what else failed). Secrets are cut out, see `Redaction`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (format: Format = "auto"): Logger.Logger<unknown, void> => {
  const terminal = process.stderr.isTTY === true
  if (format === "json" || (format === "auto" && !terminal)) {
    return Logger.make((options) => writeError(record.json(record.make(options))))
  }
  const color = terminal && (process.env["NO_COLOR"] ?? "") === ""
  return Logger.make((options) => writeError(record.pretty(record.make(options), color)))
}

/**
 * Replaces Effect's default logger.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { Effect, LogLevel } from "effect"
 * import { Logging } from "holdfast"
 *
 * const program = Effect.logDebug("asking the model").pipe(
 *   Effect.annotateLogs("agent_id", "narrative"),
 *   Effect.provide(Logging.layer({ level: LogLevel.Debug, format: "json" }))
 * )
 * ```
 */
export const layer = (options: Options = {}): Layer.Layer<never> =>
  Layer.merge(
    Logger.replace(Logger.defaultLogger, make(options.format)),
    Logger.minimumLogLevel(options.level ?? LogLevel.Info)
  )

/**
 * The same from a `Config`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (config: Config.Config.Wrap<Options>): Layer.Layer<never, ConfigError.ConfigError> =>
  Layer.unwrapEffect(Effect.map(Config.unwrap(config), layer))

const levels: Readonly<Record<string, LogLevel.LogLevel>> = {
  all: LogLevel.All,
  trace: LogLevel.Trace,
  debug: LogLevel.Debug,
  info: LogLevel.Info,
  warn: LogLevel.Warning,
  warning: LogLevel.Warning,
  error: LogLevel.Error,
  fatal: LogLevel.Fatal,
  none: LogLevel.None,
  off: LogLevel.None
}

/**
 * Options from the environment: `HOLDFAST_LOG_LEVEL` (`trace`, `debug`, `info`, `warn`, `error`, `fatal` or `none`, default `info`) and
 * `HOLDFAST_LOG_FORMAT` (`json`, `pretty` or `auto`, default `auto`). Case does not matter. Anything else is a `ConfigurationError`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromEnvironment: Effect.Effect<Options, ConfigurationError> = Effect.all({
  level: environment.setting({
    name: "HOLDFAST_LOG_LEVEL",
    expected: "trace, debug, info, warn, error, fatal or none",
    parse: (text) => (Object.hasOwn(levels, text.toLowerCase()) ? levels[text.toLowerCase()] : undefined)
  }),
  format: environment.setting<Format>({
    name: "HOLDFAST_LOG_FORMAT",
    expected: "json, pretty or auto",
    parse: (text) => {
      const format = text.toLowerCase()
      return format === "json" || format === "pretty" || format === "auto" ? format : undefined
    }
  })
})

/**
 * {@link layer} with {@link fromEnvironment}.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerEnvironment: Layer.Layer<never, ConfigurationError> = Layer.unwrapEffect(
  Effect.map(fromEnvironment, layer)
)

const methods = {
  trace: Effect.logTrace,
  debug: Effect.logDebug,
  log: Effect.logInfo,
  info: Effect.logInfo,
  warn: Effect.logWarning,
  error: Effect.logError
} as const

/**
 * Until the scope closes, what libraries write with the global `console` (LangChain's warnings, the Langfuse SDK's) becomes log entries of the
 * loggers in force here, marked `source: "console"`, and nothing of it goes to standard output. An entry written inside a running fiber
 * carries that fiber's trace. What is printed on purpose through Effect's `Console` still goes where it went.
 *
 * @since 0.1.0
 * @category operators
 */
export const captureConsole: Effect.Effect<void, never, Scope.Scope> = Effect.gen(function* () {
  yield* Effect.withConsoleScoped(console_.direct())
  const runtime = yield* Effect.runtime<never>()
  yield* Effect.acquireRelease(
    Effect.sync(() => {
      const target = globalThis.console
      const names: ReadonlyArray<keyof typeof methods> = ["trace", "debug", "log", "info", "warn", "error"]
      const originals = names.map((name) => [name, target[name]] as const)
      const originalError = target.error
      let inside = false
      for (const name of names) {
        target[name] = (...args: ReadonlyArray<unknown>) => {
          // a logger that itself writes with the global console must not come back here
          if (inside) return originalError.apply(target, [...args])
          inside = true
          try {
            const errors = args.filter((arg) => arg instanceof Error)
            const words = args.filter((arg) => !(arg instanceof Error))
            const message = words.length > 0 ? [formatArguments(...words), ...errors] : errors
            const current = Fiber.getCurrentFiber()
            const here = Option.isSome(current)
              ? Runtime.make({
                  ...runtime,
                  context: current.value.currentContext,
                  fiberRefs: current.value.getFiberRefs()
                })
              : runtime
            Runtime.runSync(here)(Effect.annotateLogs(methods[name](...message), "source", "console"))
          } finally {
            inside = false
          }
        }
      }
      return originals
    }),
    (originals) =>
      Effect.sync(() => {
        for (const [name, original] of originals) globalThis.console[name] = original
      })
  )
})

/**
 * {@link captureConsole} for as long as the layer lives. Put it on top of the logging layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerCaptureConsole: Layer.Layer<never> = Layer.scopedDiscard(captureConsole)
