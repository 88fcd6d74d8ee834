/** Whether an answer has the shape that a question asks for. */
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as Config from "../Config.js"

type Json = Readonly<Record<string, unknown>>

const typeOf = (value: unknown): string =>
  value === null
    ? "null"
    : Array.isArray(value)
      ? "array"
      : typeof value === "number" && Number.isInteger(value)
        ? "integer"
        : typeof value

const isOfType = (value: unknown, type: unknown): boolean => {
  const actual = typeOf(value)
  return Array.isArray(type)
    ? type.some((each) => isOfType(value, each))
    : type === actual || (type === "number" && actual === "integer")
}

const list = (value: unknown): ReadonlyArray<unknown> => (Array.isArray(value) ? value : [])
const record = (value: unknown): Json => (Predicate.isRecord(value) ? value : {})
const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)

const bounds: ReadonlyArray<
  readonly [keyword: string, measure: (value: unknown) => number | undefined, least: boolean]
> = [
  ["minimum", (value) => (typeof value === "number" ? value : undefined), true],
  ["maximum", (value) => (typeof value === "number" ? value : undefined), false],
  ["minLength", (value) => (typeof value === "string" ? [...value].length : undefined), true],
  ["maxLength", (value) => (typeof value === "string" ? [...value].length : undefined), false],
  ["minItems", (value) => (Array.isArray(value) ? value.length : undefined), true],
  ["maxItems", (value) => (Array.isArray(value) ? value.length : undefined), false]
]

/**
 * What is wrong with a value by a JSON Schema; nothing where it fits. Of JSON Schema there is what describes shapes: types, enumerations, properties,
 * items, bounds, patterns, `anyOf`, `oneOf`, `allOf` and `$ref` within the document. What else a schema says is not looked at.
 */
export const problem = (
  value: unknown,
  schema: unknown,
  path = "the answer",
  root: unknown = schema
): string | undefined => {
  if (schema === false) return `${path} is not wanted`
  if (!Predicate.isRecord(schema)) return undefined
  const at = (inner: unknown, next: unknown, where: string) => problem(inner, next, where, root)
  if (typeof schema["$ref"] === "string" && schema["$ref"].startsWith("#/")) {
    const target = schema["$ref"]
      .slice(2)
      .split("/")
      .reduce<unknown>((inner, key) => record(inner)[key], root)
    const found = at(value, target, path)
    if (found !== undefined) return found
  }
  if (schema["type"] !== undefined && !isOfType(value, schema["type"])) {
    return `${path} must be ${list(schema["type"]).length > 0 ? list(schema["type"]).join(" or ") : String(schema["type"])}, not ${typeOf(value)}`
  }
  if ("const" in schema && !same(value, schema["const"])) return `${path} must be ${JSON.stringify(schema["const"])}`
  if (Array.isArray(schema["enum"]) && !schema["enum"].some((each) => same(each, value))) {
    return `${path} must be one of ${schema["enum"].map((each) => JSON.stringify(each)).join(", ")}, not ${JSON.stringify(value)}`
  }
  for (const [keyword, measure, least] of bounds) {
    const bound = schema[keyword]
    const size = measure(value)
    if (typeof bound !== "number" || size === undefined) continue
    if (least ? size < bound : size > bound) return `${path}: ${keyword} is ${bound}, it has ${size}`
  }
  if (
    typeof schema["pattern"] === "string" &&
    typeof value === "string" &&
    !new RegExp(schema["pattern"], "u").test(value)
  ) {
    return `${path} must match ${schema["pattern"]}`
  }
  if (Predicate.isRecord(value)) {
    const properties = record(schema["properties"])
    const lacking = list(schema["required"]).find((key) => !Object.hasOwn(value, String(key)))
    if (lacking !== undefined) return `${path} lacks "${String(lacking)}"`
    for (const [key, inner] of Object.entries(value)) {
      const expected = Object.hasOwn(properties, key) ? properties[key] : schema["additionalProperties"]
      const found = at(inner, expected, `${path}.${key}`)
      if (found !== undefined) return found
    }
  }
  if (Array.isArray(value)) {
    for (const [index, inner] of value.entries()) {
      const found = at(inner, schema["items"], `${path}[${index}]`)
      if (found !== undefined) return found
    }
  }
  for (const part of list(schema["allOf"])) {
    const found = at(value, part, path)
    if (found !== undefined) return found
  }
  const choices = [...list(schema["anyOf"]), ...list(schema["oneOf"])]
  const tried = choices.map((choice) => at(value, choice, path))
  return choices.length > 0 && tried.every((found) => found !== undefined) ? tried.join(", or ") : undefined
}

/** The JSON Schema that a question brings with it. */
export const schemaOf = (question: unknown): unknown =>
  Predicate.hasProperty(question, "schema") && Predicate.isRecord(question.schema) ? question.schema : undefined

/** What is wrong with an answer to a node's question, by the project's Schema for it and by the question's own. */
export const refusal = (
  answer: unknown,
  question: unknown,
  node: string | undefined,
  expected: Config.Config["answer"]
): string | undefined => {
  const own = Schema.isSchema(expected) ? expected : node === undefined ? undefined : expected?.[node]
  if (own !== undefined) {
    const checked = Schema.decodeUnknownEither(own)(answer)
    if (checked._tag === "Left") {
      const [first] = ParseResult.ArrayFormatter.formatErrorSync(checked.left)
      const path = first === undefined || first.path.length === 0 ? "the answer" : `the answer.${first.path.join(".")}`
      return `${path}: ${first?.message ?? "it does not decode"}`
    }
  }
  return Option.getOrUndefined(Option.fromNullable(problem(answer, schemaOf(question))))
}
