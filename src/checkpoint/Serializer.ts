/**
 * How a graph's state becomes bytes: LangGraph's serializer protocol. What LangGraph's own serializer has written is read, and what this one
 * writes is read by that one wherever it has a form for the value.
 *
 * @since 0.1.0
 */
import { Document } from "@langchain/core/documents"
import * as Messages from "@langchain/core/messages"
import { ChatPromptValue, ImagePromptValue, StringPromptValue } from "@langchain/core/prompt_values"
import { DeltaSnapshot, type SerializerProtocol } from "@langchain/langgraph-checkpoint"
import { CheckpointError } from "./CheckpointError.js"
import * as Codec from "./internal/codec.js"

/**
 * A class of LangChain's making, or yours derived from its `Serializable`.
 *
 * @since 0.1.0
 * @category models
 */
export type SerializableClass = new (kwargs: never) => object

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * Further classes that may be built when a checkpoint is read, by their LangChain id joined with slashes, such as
   * `"my_company/tools/Ticket"`. Default: LangChain's messages, `Document` and prompt values. All others are refused when they are
   * written and stay plain data when they are read.
   */
  readonly classes?: Readonly<Record<string, SerializableClass>> | undefined
}

/**
 * LangGraph's serializer protocol, and JSON text for a `jsonb` column.
 *
 * @since 0.1.0
 * @category models
 */
export interface Serializer extends SerializerProtocol {
  readonly dumpsTyped: (value: unknown) => Promise<[string, Uint8Array]>
  readonly loadsTyped: (type: string, data: Uint8Array | string) => Promise<unknown>
  /**
   * As {@link dumpsTyped}, at once. Throws `CheckpointError` (`Unserializable`).
   *
   * @since 0.2.0
   */
  readonly dumps: (value: unknown) => [string, Uint8Array]
  /**
   * As {@link loadsTyped}, at once. Throws `CheckpointError` (`Undecodable`).
   *
   * @since 0.2.0
   */
  readonly loads: (type: string, data: Uint8Array | string) => unknown
  /**
   * As {@link dumps}, JSON as text and bytes as they are.
   *
   * @since 0.2.0
   */
  readonly encode: (value: unknown) => string | Uint8Array
  /** Text that a `jsonb` column takes. Throws `CheckpointError` (`Unserializable`). */
  readonly toJsonb: (value: unknown) => string
  /** What {@link toJsonb} was given. */
  readonly fromJsonb: (text: string) => unknown
}

/** The classes that a checkpoint may hold unless more are named; found by package, folder and name. */
const defaults: ReadonlyMap<string, SerializableClass> = (() => {
  const out = new Map<string, SerializableClass>()
  for (const [name, value] of Object.entries(Messages)) {
    // not by instanceof, for which the class has rules of its own
    if (
      typeof value === "function" &&
      Object.prototype.isPrototypeOf.call(Messages.BaseMessage.prototype, value.prototype)
    ) {
      out.set(`langchain_core/messages/${name}`, value as SerializableClass) // it is a class, and derives from the base
    }
  }
  out.set("langchain_core/documents/Document", Document as SerializableClass) // its constructor wants fields, which is all that matters here
  for (const value of [StringPromptValue, ChatPromptValue, ImagePromptValue]) {
    out.set(`langchain_core/prompt_values/${value.name}`, value as SerializableClass) // its constructor wants fields, too
  }
  return out
})()

/** LangChain's ids say package, folders and name; older ones name the file as well. */
const find = (classes: ReadonlyMap<string, SerializableClass>, id: ReadonlyArray<unknown>) => {
  const exact = classes.get(id.join("/"))
  return (
    exact ?? (id[0] === "langchain_core" ? classes.get(`${id[0]}/${String(id[1])}/${String(id.at(-1))}`) : undefined)
  )
}

const snakeCase = (key: string): string =>
  key
    .replace(/([A-Z]+)([A-Z][a-z0-9]+)/g, "$1_$2")
    .replace(/([a-z0-9])([A-Z])/g, "$1_$2")
    .replace(/[-_\s]+/g, "_")
    .toLowerCase()

const camelCase = (key: string): string =>
  /[-_\s]/.test(key)
    ? key
        .replace(/[-_\s]+/g, "_")
        .toLowerCase()
        .replace(/_+([a-z0-9])/g, (_, char: string) => char.toUpperCase())
    : key

/** The names that a class, and those it derives from, give to constructor arguments when they are stored. */
const aliases = (prototype: object): Record<string, string> => {
  const out: Record<string, string> = {}
  for (let current: object | null = prototype; current !== null; current = Object.getPrototypeOf(current)) {
    Object.assign(out, Reflect.get(current, "lc_aliases"))
  }
  return out
}

/** An object of LangChain's `Serializable`, as far as it matters here. */
interface SerializableLike {
  readonly lc_id: ReadonlyArray<string>
  readonly lc_kwargs: Record<string, unknown>
}

const isSerializable = (value: object): value is SerializableLike =>
  "lc_serializable" in value &&
  value.lc_serializable === true &&
  "lc_id" in value &&
  Array.isArray(value.lc_id) &&
  "lc_kwargs" in value &&
  typeof value.lc_kwargs === "object" &&
  value.lc_kwargs !== null

/** Constructor arguments that are keys and passwords are no state, and must not reach a database. */
const hasSecrets = (value: object): boolean =>
  "lc_secrets" in value && typeof value.lc_secrets === "object" && Object.keys(value.lc_secrets ?? {}).length > 0

const isDocument = (value: object): value is Document => value.constructor === Document

const revivable = (classes: ReadonlyMap<string, SerializableClass>): Codec.Revivable => ({
  // not by its toJSON, which turns a Map, a Date or bytes in the arguments into an empty object
  describe: (value) => {
    if (isDocument(value)) {
      const { pageContent, metadata, id } = value
      const kwargs = { page_content: pageContent, metadata, ...(id === undefined ? {} : { id }) }
      return { id: ["langchain_core", "documents", "Document"], kwargs }
    }
    if (!isSerializable(value)) return undefined
    const id = value.lc_id
    if (find(classes, id) === undefined || hasSecrets(value)) return undefined
    const names = aliases(value)
    const kwargs: Record<string, unknown> = {}
    for (const key of Object.keys(value.lc_kwargs)) {
      kwargs[names[key] ?? snakeCase(key)] = key in value ? Reflect.get(value, key) : value.lc_kwargs[key]
    }
    return { id, kwargs }
  },
  revive: (id, kwargs) => {
    const found = find(classes, id)
    if (found === undefined) return undefined
    const names = Object.fromEntries(Object.entries(aliases(found.prototype)).map(([key, alias]) => [alias, key]))
    const fields: Record<string, unknown> = {}
    for (const key of Object.keys(kwargs)) fields[names[key] ?? camelCase(key)] = kwargs[key]
    return new found(fields as never) // the class itself said what it wants, when it was stored
  }
})

const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8", { fatal: true })

/** Runs what may throw, and says it in this module's error. */
const attempt = <A>(operation: "serialize" | "deserialize", evaluate: () => A): A => {
  try {
    return evaluate()
  } catch (cause) {
    const reason = operation === "serialize" ? "Unserializable" : "Undecodable"
    const hint =
      operation === "serialize"
        ? "store plain data, or leave it out of the state"
        : "the stored value is damaged, or was written by another serializer"
    const said = cause instanceof Error ? cause.message : String(cause)
    throw new CheckpointError({
      reason,
      operation,
      message: `A value cannot be ${operation}d: ${said}; ${hint}`,
      cause
    })
  }
}

/**
 * The serializer. What comes back is what went in: `undefined`, `NaN`, the infinities, `-0`, `bigint`, `Date`, `Map`, `Set`, `RegExp`, bytes and
 * typed arrays, LangChain messages and documents, plain objects whatever their keys. An `Error` comes back with name and message. An object
 * with a `toJSON` method comes back as what that gave, an instance of any other class as a plain object. Functions, symbols, cycles, promises,
 * buffers without a type, and LangChain objects off the list are refused with a `CheckpointError` that names the place.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { MemorySaver } from "@langchain/langgraph"
 * import { Serializer } from "holdfast/langgraph"
 *
 * const saver = new MemorySaver(Serializer.make())
 * ```
 */
export const make = (options: Options = {}): Serializer => {
  const classes = new Map([...defaults, ...Object.entries(options.classes ?? {})])
  const codec = Codec.make({ revivable: revivable(classes), snapshot: (value) => new DeltaSnapshot(value) })
  const encode: Serializer["encode"] = (value) =>
    value instanceof Uint8Array ? value : attempt("serialize", () => codec.encode(value))
  const dumps: Serializer["dumps"] = (value) => {
    const encoded = encode(value)
    return typeof encoded === "string" ? ["json", encoder.encode(encoded)] : ["bytes", encoded]
  }
  const loads: Serializer["loads"] = (type, data) => {
    // a copy: a driver hands out a Buffer, which holds on to all that came with it
    if (type === "bytes") return typeof data === "string" ? encoder.encode(data) : new Uint8Array(data)
    return attempt("deserialize", () => {
      if (type !== "json") throw new Error(`unknown serialization type "${type}"`)
      return codec.decode(typeof data === "string" ? data : decoder.decode(data))
    })
  }
  return {
    dumps,
    loads,
    encode,
    dumpsTyped: async (value) => dumps(value),
    loadsTyped: async (type, data) => loads(type, data),
    toJsonb: (value) => attempt("serialize", () => codec.encode(value, { jsonb: true })),
    fromJsonb: (text) => attempt("deserialize", () => codec.decode(text))
  }
}
