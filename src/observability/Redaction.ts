/**
 * What must never leave the process: keys, tokens and passwords are cut out of text before it becomes an attribute or a log line.
 *
 * @since 0.1.0
 */
import * as Inspectable from "effect/Inspectable"
import * as Redacted from "effect/Redacted"

const mark = "<redacted>"

/** Shapes of secrets in free text: each keeps its first group and loses the rest. */
const shapes: ReadonlyArray<RegExp> = [
  // API keys by prefix: OpenAI and Anthropic (sk-...), Langfuse (pk-lf-, sk-lf-), GitHub, Slack, AWS, Google
  /()\b(?:sk|pk|rk)-(?:[a-z]{1,8}-)*[A-Za-z0-9_-]{8,}/g,
  /()\b(?:gh[opsur]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|xox[abprs]-[A-Za-z0-9-]{10,}|AKIA[0-9A-Z]{16}|AIza[\w-]{35})/g,
  // Authorization values
  /\b((?:Bearer|Basic)\s+)[A-Za-z0-9+/=._~-]{8,}/gi,
  // the password of a URL
  /(\b[a-z][a-z0-9+.-]*:\/\/[^\s:@/]*:)[^\s@/]+(?=@)/gi,
  // JSON web tokens
  /()\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*/g,
  // name=value and "name": "value" of what is called a secret, also inside JSON text that is itself in a JSON string
  /((?:api[_-]?key|secret[_-]?key|access[_-]?token|auth[_-]?token|password|passwd|client[_-]?secret)(?:\\*["'])?\s*[:=]\s*(?:\\*["'])?)(?:[^\s"',;&}\\]|\\+[^\s"',;&}\\])+/gi
]

/** What every shape above has in it. One look for all of them: most texts have none. */
const hint = /[spr]k-|gh[opsur]_|github_pat_|xox|akia|aiza|bearer|basic|:\/\/|eyj|key|token|passw|secret/i

const secretField =
  /^(?:.*(?:api[_-]?key|secret|password|passwd|authorization|access[_-]?token|auth[_-]?token|credential).*)$/i

/**
 * Cuts known shapes of secrets out of a text.
 *
 * @since 0.1.0
 * @category redaction
 */
export const text = (value: string): string =>
  hint.test(value) ? shapes.reduce((out, shape) => out.replace(shape, `$1${mark}`), value) : value

/**
 * A value as JSON text, with secrets cut out: fields that are named like a secret, `Redacted` values, and known shapes in any string.
 * Cycles, bigints and values that cannot be serialised are named, never thrown.
 *
 * @since 0.1.0
 * @category redaction
 */
export const json = (value: unknown): string => {
  if (typeof value === "number" || typeof value === "boolean") return JSON.stringify(value)
  const seen: Array<object> = []
  const clean = (field: string, current: unknown): unknown => {
    if (typeof current === "string") return secretField.test(field) ? mark : text(current)
    if (typeof current === "bigint") return `${current}`
    if (typeof current === "function" || typeof current === "symbol") return Inspectable.toStringUnknown(current)
    if (typeof current !== "object" || current === null) return current
    if (Redacted.isRedacted(current)) return mark
    if (seen.includes(current)) return "<circular>"
    seen.push(current)
    try {
      if ("toJSON" in current && typeof current.toJSON === "function") return clean(field, current.toJSON())
      if (current instanceof Error) return { name: current.name, message: text(current.message) }
      if (current instanceof Map) return clean(field, Object.fromEntries(current))
      if (current instanceof Set) return clean(field, [...current])
      if (Array.isArray(current)) return current.map((item) => clean(field, item))
      return Object.fromEntries(Object.entries(current).map(([key, item]) => [key, clean(key, item)]))
    } catch (error) {
      return `<unserialisable: ${text(String(error))}>`
    } finally {
      seen.pop()
    }
  }
  return JSON.stringify(clean("", value)) ?? "undefined"
}
