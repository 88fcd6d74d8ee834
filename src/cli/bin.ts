#!/usr/bin/env node
/**
 * The executable. Help and version are answered from text rendered at build time, because loading the program takes several times as long as
 * starting Node does; all else goes to the program.
 *
 * @since 0.1.0
 */
import { readFileSync } from "node:fs"

/** One text as the program prints it, with and without ANSI colour. */
interface Rendered {
  readonly color: string
  readonly plain: string
}

/** `help.json`: the version, and a page a command, that of the program itself under the empty name. */
interface Help {
  readonly version: Rendered
  readonly pages: Readonly<Record<string, Rendered>>
}

const isHelpFlag = (arg: string | undefined): boolean => arg === "--help" || arg === "-h"

/** The text these arguments ask for, if it was rendered. */
const lookup = (help: Help, args: ReadonlyArray<string>): Rendered | undefined => {
  const [first, second] = args
  if (first === undefined) return help.pages[""]
  if (args.length === 1 && isHelpFlag(first)) return help.pages[""]
  if (args.length === 1 && first === "--version") return help.version
  return args.length === 2 && isHelpFlag(second) && Object.hasOwn(help.pages, first) ? help.pages[first] : undefined
}

/** The program's own rule, see `internal/terminal.ts`, which costs nothing to repeat and something to load. */
const isColored = (): boolean => {
  if ((process.env["NO_COLOR"] ?? "") !== "") return false
  const forced = process.env["FORCE_COLOR"]
  if (forced !== undefined && forced !== "") return forced !== "0"
  return process.stdout.isTTY === true && process.env["TERM"] !== "dumb"
}

/** Prints what was rendered for these arguments; `false` when the live program has to answer. */
const answer = (args: ReadonlyArray<string>): boolean => {
  if (args.length > 2) return false
  let help: Help
  try {
    help = JSON.parse(readFileSync(new URL("help.json", import.meta.url), "utf8"))
  } catch {
    return false
  }
  const text = lookup(help, args)
  if (text === undefined) return false
  // A reader that stops early, such as `head`, is no failure.
  process.stdout.on("error", () => {})
  process.stdout.write(isColored() ? text.color : text.plain)
  return true
}

if (!answer(process.argv.slice(2))) {
  // until the program has been loaded there is nothing to be ended in order
  process.once("SIGINT", () => process.exit(130))
  process.once("SIGTERM", () => process.exit(143))
  await import("./main.js")
}
