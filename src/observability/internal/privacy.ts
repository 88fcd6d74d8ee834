/**
 * What of a run may leave the process, beside the secrets that never do: whole inputs and outputs, what a program's own patterns and fields name,
 * and how much of one value.
 */
import * as Observation from "../Observation.js"
import * as Redaction from "../Redaction.js"

export interface Options {
  /** Whether what observations were given is sent. Default true. */
  readonly inputs?: boolean | undefined
  /** Whether what they answered is sent. Default true. */
  readonly outputs?: boolean | undefined
  /** What else is cut out of every text, name and message: each match of each. The flag `g` is implied. */
  readonly patterns?: ReadonlyArray<RegExp> | undefined
  /**
   * Names of fields whose values are cut out, at any depth of inputs, outputs and metadata, and in `name=value` of texts; of attributes, too.
   * Case does not matter, `*` stands for any letters: `ssn`, `patient_*`.
   */
  readonly fields?: ReadonlyArray<string> | undefined
  /** Characters of one input, output, message or metadata value; more is cut, and says so. Default, and at most, 1,000,000. */
  readonly maxLength?: number | undefined
  /** Whether stack traces, with paths of this machine, are sent: those of failures as metadata `stack_trace`, and those in texts. Default false. */
  readonly stackTraces?: boolean | undefined
}

/**
 * The options as they are applied, before anything becomes an attribute.
 */
export interface Privacy {
  /** Of a name or comment. */
  readonly text: (value: string) => string
  /** Of an attribute's value: text, number, boolean or list of texts. `undefined` is not to be said at all. */
  readonly attribute: (name: string, value: unknown) => unknown
}

/**
 * Characters of one value, at most, whatever the options say: with more, an observation would be larger than Langfuse takes.
 */
export const longest = 1_000_000

/** Where what went in stands: ours, LangChain's by Langfuse's handler, and the conventions of other instrumentations. */
const inputName =
  /^(?:langfuse\.(?:observation|trace)\.input|input\.value|gen_ai\.(?:prompt|input|system_instructions|tool\.call\.arguments)|llm\.(?:prompts|input_messages)|ai\.(?:prompt|toolCall\.args))/
const outputName =
  /^(?:langfuse\.(?:observation|trace)\.output|output\.value|gen_ai\.(?:completion|output|tool\.call\.result)|llm\.(?:completions|output_messages)|ai\.(?:response|result|toolCall\.result))/

/** The last part of an attribute's name: what the program called it. */
const ownName = (name: string): string => {
  const { metadata, traceMetadata } = Observation.Attribute
  for (const prefix of [metadata, traceMetadata]) if (name.startsWith(prefix)) return name.slice(prefix.length)
  return name
}

const fieldPattern = (fields: ReadonlyArray<string>): string =>
  fields.map((field) => field.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replace(/\*/g, "[\\w-]*")).join("|")

const isContainer = (text: string): boolean => /^\s*[[{"]/.test(text)

/**
 * Whether a pattern can be used: one that matches nothing at all would stand between all letters.
 */
export const isPattern = (pattern: RegExp): boolean => "".search(pattern) === -1

export const make = (options: Options): Privacy => {
  const { fields = [], inputs = true, outputs = true } = options
  const maxLength = Math.min(longest, options.maxLength ?? longest)
  const patterns = (options.patterns ?? []).map(
    ({ flags, source }) => new RegExp(source, [...new Set(`${flags}g`.replace("y", ""))].join(""))
  )
  const names = fieldPattern(fields)
  const isField = names === "" ? () => false : RegExp.prototype.test.bind(new RegExp(`^(?:${names})$`, "i"))
  const assigned = names === "" ? undefined : Redaction.assignment(names)

  const plain = (value: string): string => {
    let out = value
    for (const pattern of patterns) out = out.replace(pattern, Redaction.mark)
    return assigned === undefined ? out : out.replace(assigned, `$1${Redaction.mark}`)
  }

  /** JSON text inside JSON, as tools' arguments are, is looked into. */
  const inside = (value: unknown, isNamed: boolean): unknown => {
    if (value === null || typeof value === "boolean") return value
    if (Array.isArray(value)) return value.map((item) => inside(item, isNamed))
    if (typeof value === "object") {
      return Object.fromEntries(
        Object.entries(value).map(([key, item]) => [plain(key), inside(item, isNamed || isField(key))])
      )
    }
    if (isNamed) return Redaction.mark
    if (typeof value === "string") return text(value)
    return plain(String(value)) === String(value) ? value : Redaction.mark
  }

  const text = (value: string): string => {
    if (isContainer(value)) {
      try {
        return JSON.stringify(inside(JSON.parse(value), false))
      } catch {
        // it only begins like JSON
      }
    }
    return plain(value)
  }
  const cleaned = patterns.length > 0 || fields.length > 0 ? text : (value: string) => value

  return {
    text: (value) => Redaction.bounded(cleaned(value), maxLength),
    attribute: (name, value) => {
      if ((!inputs && inputName.test(name)) || (!outputs && outputName.test(name))) return undefined
      if (isField(ownName(name))) return Redaction.mark
      if (typeof value === "string") return Redaction.bounded(cleaned(value), maxLength)
      if (Array.isArray(value)) return value.map((item) => (typeof item === "string" ? cleaned(item) : item))
      return typeof value === "number" && cleaned(String(value)) !== String(value) ? Redaction.mark : value
    }
  }
}
