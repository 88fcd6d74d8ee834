/**
 * What must never leave the process: keys, tokens and passwords are cut out of text before it becomes an attribute or a log line.
 *
 * @since 0.1.0
 */
import * as Inspectable from "effect/Inspectable"
import * as Redacted from "effect/Redacted"
import * as secrets from "./internal/secrets.js"

/**
 * What stands in the place of a secret.
 *
 * @since 0.1.0
 * @category constants
 */
export const mark = "<redacted>"

/** `password=x` is the shortest that is looked for, but for the password of a URL. */
const minLength = 8

/**
 * Cuts known shapes of secrets out of a text.
 *
 * @since 0.1.0
 * @category redaction
 */
export const text = (value: string): string =>
  value.length >= minLength && secrets.mayHold(value)
    ? secrets.shapes.reduce((out, shape) => out.replace(shape, `$1${mark}`), value)
    : value

/**
 * Whether a field, header or attribute of this name holds a secret, whatever its value looks like.
 *
 * @since 0.1.0
 * @category guards
 */
export const isSecretName: (name: string) => boolean = secrets.isSecretName

/**
 * Finds `name=value` and `"name": "value"` in a text, for names that are given as a regular expression. Each match keeps its first group, which
 * ends where the value begins.
 *
 * @since 0.1.0
 * @category redaction
 */
export const assignment: (names: string) => RegExp = secrets.assignment

/** A pair or a list of names and values in turn, as raw headers are: whether the text before is the name of a secret, and nothing else. */
const isSecretAfter = (before: unknown): boolean =>
  typeof before === "string" &&
  /^[\w-]{0,40}(?:key|token|secret|password|authorization|cookie|credentials?)$/i.test(before) &&
  isSecretName(before)

/** `{ name: "x-api-key", value }`, as headers and settings are often written. */
const holdsSecretValue = (value: object): boolean => {
  const name = "name" in value ? value.name : "key" in value ? value.key : undefined
  return "value" in value && typeof name === "string" && isSecretName(name)
}

/**
 * A value as JSON text, with secrets cut out: fields that are named like a secret with all that is in them, `Redacted` values, and known shapes
 * in any string or field name. Cycles, bigints and values that cannot be serialised are named, never thrown.
 *
 * @since 0.1.0
 * @category redaction
 */
export const json = (value: unknown): string => {
  if (typeof value === "number" || typeof value === "boolean") return JSON.stringify(value)
  const seen: Array<object> = []
  const clean = (isSecret: boolean, current: unknown): unknown => {
    if (typeof current === "string") return isSecret ? mark : text(current)
    if (typeof current === "number") return isSecret ? mark : current
    if (typeof current === "bigint") return isSecret ? mark : `${current}`
    if (typeof current === "function" || typeof current === "symbol") return Inspectable.toStringUnknown(current)
    if (typeof current !== "object" || current === null) return current
    if (Redacted.isRedacted(current)) return mark
    if (seen.includes(current)) return "<circular>"
    seen.push(current)
    try {
      if ("toJSON" in current && typeof current.toJSON === "function") return clean(isSecret, current.toJSON())
      if (current instanceof Error) return { name: current.name, message: clean(isSecret, current.message) }
      if (current instanceof Map) return clean(isSecret, Object.fromEntries(current))
      if (current instanceof Set) return clean(isSecret, [...current])
      if (Array.isArray(current)) {
        return current.map((item, index) =>
          clean(isSecret || (typeof item === "string" && isSecretAfter(current[index - 1])), item)
        )
      }
      const isHeld = holdsSecretValue(current)
      return Object.fromEntries(
        Object.entries(current).map(([key, item]) => [
          text(key),
          clean(isSecret || isSecretName(key) || (isHeld && key === "value"), item)
        ])
      )
    } catch (error) {
      return `<unserialisable: ${text(String(error))}>`
    } finally {
      seen.pop()
    }
  }
  return JSON.stringify(clean(false, value)) ?? "undefined"
}

/** Frames of a stack, also in JSON text: lines that begin with `at` and end with a place. */
const frames =
  /(?:(?:\r?\n|\\+n)\s*at (?:[^\n\\"]|\\(?!n))*?(?:(?:[/\\]|node:)[^\s"]*?:\d+:\d+\)?|\((?:<anonymous>|native|index \d+)\)))+/g

/**
 * Cuts the frames of stack traces out of a text: they are paths of this machine.
 *
 * @since 0.1.0
 * @category redaction
 */
export const withoutStack = (value: string): string =>
  value.length > 16 && value.includes(" at ") ? value.replace(frames, "") : value

/**
 * A text of at most so many characters; a longer one is cut, and says how much is missing.
 *
 * @since 0.1.0
 * @category redaction
 */
export const bounded = (value: string, maxLength: number): string => {
  if (value.length <= maxLength || (value.length < maxLength + 80 && /… <cut: \d+ of \d+ characters>$/.test(value))) {
    return value
  }
  // not between the halves of one character
  const isHigh = (value.charCodeAt(maxLength - 1) & 0xfc00) === 0xd800
  const kept = value.slice(0, isHigh ? maxLength - 1 : maxLength)
  return `${kept}… <cut: ${value.length - kept.length} of ${value.length} characters>`
}
