/** Finds what the command line library would take for an argument: an option that is none. */
import { stripVTControlCharacters } from "node:util"
import * as CliConfig from "@effect/cli/CliConfig"
import * as Command from "@effect/cli/Command"
import * as CommandDescriptor from "@effect/cli/CommandDescriptor"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as HashMap from "effect/HashMap"
import { UsageError } from "../UsageError.js"

const builtIn = ["--help", "-h", "--version", "--wizard", "--completions", "--log-level"]

/** The number of edits between two words (Levenshtein), to guess what was meant. */
const distance = (a: string, b: string): number => {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, swap))
    }
    row = next
  }
  return row[b.length] ?? 0
}

/** The mistake in these arguments, if one of them is an option that the command does not have, or one that lacks its value. */
export const mistake = <Name extends string, R, E, A>(
  args: ReadonlyArray<string>,
  root: Command.Command<Name, R, E, A>,
  /** The commands below those that have some. */
  groups: Readonly<Record<string, HashMap.HashMap<string, CommandDescriptor.Command<unknown>>>> = {}
): UsageError | undefined => {
  const [name, next] = args.filter((arg) => !arg.startsWith("-"))
  const found = name === undefined ? undefined : HashMap.get(Command.getSubcommands(root), name)
  if (name === undefined || found === undefined || found._tag === "None") return undefined
  const below = groups[name]
  const inner = next === undefined || below === undefined ? undefined : HashMap.get(below, next)
  const [command, title] =
    inner?._tag === "Some" ? ([inner.value, `${name} ${next}`] as const) : ([found.value, name] as const)
  const help = stripVTControlCharacters(HelpDoc.toAnsiText(CommandDescriptor.getHelp(command, CliConfig.defaultConfig)))
  const known = [...builtIn, ...(help.match(/(?<![\w-])--?[a-z][a-z-]*/g) ?? [])]
  const unknown = args.find((arg) => isOption(arg) && !known.includes(arg.split("=")[0] ?? arg))
  if (unknown !== undefined) {
    const near = known
      .filter((each) => distance(each, unknown) <= 2)
      .sort((a, b) => distance(a, unknown) - distance(b, unknown))
    const hint = near.length > 0 ? `did you mean ${near[0]}?` : `see \`holdfast ${title} --help\`.`
    return new UsageError({ message: `unknown option ${unknown} of \`holdfast ${title}\`; ${hint}` })
  }
  const lacking = args.find((arg, index) => {
    const next = args[index + 1]
    return known.includes(arg) && new RegExp(`${arg} [A-Z]`).test(help) && (next === undefined || isOption(next))
  })
  return lacking === undefined
    ? undefined
    : new UsageError({ message: `${lacking} needs a value; see \`holdfast ${title} --help\`.` })
}

/** Words with letters; a negative number is a value. */
const isOption = (arg: string): boolean => /^--?[a-z]/i.test(arg)

/** `--option=value` as two words, of the option that may stand more than once: of such the library takes only the two. */
export const parted = (args: ReadonlyArray<string>): ReadonlyArray<string> =>
  args.flatMap((arg) => /^(--objective)=(.*)$/s.exec(arg)?.slice(1) ?? [arg])
