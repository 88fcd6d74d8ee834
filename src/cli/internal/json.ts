/** JSON from the command line, and values as JSON for it. */
import { readFileSync } from "node:fs"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Failure from "../Failure.js"
import { UsageError } from "../UsageError.js"

/** What `JSON|@file|-` means: the text itself, a file's, or standard input's. */
export const read = (option: string, text: string): Effect.Effect<unknown, UsageError> =>
  Effect.gen(function* () {
    const source = text === "-" ? "standard input" : text.startsWith("@") ? text.slice(1) : undefined
    const content = yield* Effect.try({
      try: () => (text === "-" ? readFileSync(0, "utf8") : source === undefined ? text : readFileSync(source, "utf8")),
      catch: (error) => new UsageError({ message: `--${option}: ${source} cannot be read: ${Failure.message(error)}` })
    })
    return yield* Effect.try({
      try: (): unknown => JSON.parse(content),
      catch: (error) =>
        new UsageError({
          message: `--${option}: ${source ?? JSON.stringify(text)} is no JSON: ${Failure.message(error)}${source === undefined && /^[\w ]+$/.test(text) ? `; a text needs quotes of its own: '"${text}"'` : ""}`
        })
    })
  })

/** LangChain's messages as what a person looks for in them. */
const plain = (value: unknown): unknown => {
  if (typeof value === "bigint") return `${value}`
  if (!Predicate.isObject(value)) return value
  const type =
    Predicate.hasProperty(value, "getType") && Predicate.isFunction(value.getType) ? value.getType() : undefined
  if (typeof type !== "string" || !Predicate.hasProperty(value, "content")) {
    return value instanceof Map ? Object.fromEntries(value) : value instanceof Set ? [...value] : value
  }
  const more = ["name", "tool_calls", "tool_call_id", "usage_metadata"] as const
  return {
    type,
    content: value.content,
    ...Object.fromEntries(
      more.flatMap((key) => {
        const part: unknown = Reflect.get(value, key)
        return part === undefined || (Array.isArray(part) && part.length === 0) ? [] : [[key, part]]
      })
    )
  }
}

/** A value as it is printed. Never throws: what cannot be written says so. */
export const show = (value: unknown, indent?: number): string => {
  const seen: Array<object> = []
  const clean = (current: unknown): unknown => {
    const made = plain(current)
    if (!Predicate.isObject(made)) return made
    if (current instanceof Error) return { name: current.name, message: current.message }
    if (seen.includes(made) || (Predicate.isObject(current) && seen.includes(current))) return "<circular>"
    if (made === current && "toJSON" in made && typeof made.toJSON === "function") return made.toJSON()
    seen.push(Predicate.isObject(current) ? current : made)
    const out = Array.isArray(made)
      ? made.map(clean)
      : Object.fromEntries(Object.entries(made).map(([key, inner]) => [key, clean(inner)]))
    seen.pop()
    return out
  }
  try {
    return JSON.stringify(clean(value), null, indent) ?? "null"
  } catch (error) {
    return JSON.stringify(`<${String(error)}>`)
  }
}
