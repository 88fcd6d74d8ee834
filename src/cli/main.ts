/**
 * Runs the command line: signals in, exit code out.
 *
 * @since 0.1.0
 */
import { existsSync, readFileSync, statSync } from "node:fs"
import { stripVTControlCharacters } from "node:util"
import * as Command from "@effect/cli/Command"
import * as ValidationError from "@effect/cli/ValidationError"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import { command, groups } from "./command.js"
import * as Failure from "./Failure.js"
import * as terminal from "./internal/terminal.js"
import * as usage from "./internal/usage.js"
import { UsageError } from "./UsageError.js"

/** How long a run that was asked to stop may take to write its checkpoint and deliver its spans. */
const graceMillis = 4500

const { version }: { readonly version: string } = JSON.parse(
  readFileSync(new URL("../../package.json", import.meta.url), "utf8")
)

/** The command line library colours always; where colour is not wanted it is taken out again. */
const withPlainConsole = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.consoleWith((console) =>
    Effect.withConsole(self, {
      ...console,
      log: (...values) => Effect.sync(() => process.stdout.write(`${plain(process.stdout, values)}\n`)),
      error: (...values) => Effect.sync(() => say(`holdfast: ${plain(process.stderr, values).trim()}`))
    })
  )

const plain = (stream: NodeJS.WriteStream, values: ReadonlyArray<unknown>): string => {
  const text = values.join(" ")
  return terminal.hasColor(stream) ? text : stripVTControlCharacters(text)
}

const say = (text: string): void => {
  process.stderr.write(`${text}\n`)
}

/** What the program ends with. What the library has already said is not said again. */
const exitCodeOf = (exit: Exit.Exit<unknown, unknown>): number => {
  if (exit._tag === "Success") return typeof process.exitCode === "number" ? process.exitCode : 0
  if (Cause.isInterruptedOnly(exit.cause)) return 1
  const error = Cause.squash(exit.cause)
  if (ValidationError.isValidationError(error)) {
    say("See `holdfast --help`, or a command's own --help.")
    return 2
  }
  say(`holdfast: ${Failure.message(error)}`)
  return Failure.exitCode(error)
}

const main = Effect.suspend(() => {
  const args = usage.parted(process.argv)
  const mistake = usage.mistake(args.slice(2), command, groups)
  return mistake === undefined ? Command.run(command, { name: "holdfast", version })(args) : Effect.fail(mistake)
}).pipe(Effect.provide(NodeContext.layer), withPlainConsole)

/** A `.env` in the current folder fills in what the environment does not say. */
const loadDotEnv = Effect.try({
  try: () => {
    if (existsSync(".env") && statSync(".env").isFile()) process.loadEnvFile(".env")
  },
  catch: (error) => new UsageError({ message: `.env cannot be read: ${Failure.message(error)}` })
})

const fiber = Effect.runFork(Effect.zipRight(loadDotEnv, main))

let stopping: number | undefined
const stop = (code: number) => () => {
  if (stopping !== undefined) process.exit(code)
  stopping = code
  fiber.unsafeInterruptAsFork(FiberId.none)
  setTimeout(() => process.exit(code), graceMillis).unref()
}
// in place of those that `bin.ts` has put there for the time of loading
process.removeAllListeners("SIGINT").on("SIGINT", stop(130))
process.removeAllListeners("SIGTERM").on("SIGTERM", stop(143))

// Whoever reads our output may stop reading: `holdfast threads | head -1` is no failure.
process.stdout.on("error", () => {})
process.stderr.on("error", () => {})

fiber.addObserver((exit) => process.exit(stopping ?? exitCodeOf(exit)))
