/**
 * JavaScript values as JSON and back, exactly. What JSON has no word for becomes a record `{ lc: 2, type, ... }`: in the form of LangGraph's own
 * serializer where that one has a form, else in a new one which it reads as plain data. Data of a user's that looks like such a record, or like
 * a LangChain object, is wrapped, so that it stays data.
 *
 * @internal
 */
import * as Predicate from "effect/Predicate"

/** Why a value cannot be stored; `path` says where it stands, such as `.messages[2].tool`. */
export class Unserializable extends Error {
  override readonly name = "Unserializable"
  readonly path: string
  constructor(path: string, what: string) {
    super(`${path === "" ? "it" : path} is ${what}`)
    this.path = path
  }
}

/** A class that may be stored and built again, given by whoever knows it. */
export interface Revivable {
  /** The record's id and the constructor's arguments, or `undefined` for an object that is none of this kind's. */
  readonly describe: (value: object) => { readonly id: ReadonlyArray<unknown>; readonly kwargs: object } | undefined
  /** Builds the object again, or gives `undefined` for an id that is not on the list. */
  readonly revive: (id: ReadonlyArray<unknown>, kwargs: Record<string, unknown>) => object | undefined
}

export interface Codec {
  /**
   * JSON text. With `jsonb` also fit for a `jsonb` column, which takes neither U+0000 nor a lone surrogate.
   * Throws {@link Unserializable}.
   */
  readonly encode: (value: unknown, options?: { readonly jsonb?: boolean }) => string
  /** What {@link encode} was given. Throws `SyntaxError` for what is no JSON. */
  readonly decode: (text: string) => unknown
}

/** Half of a surrogate pair, or U+0000: what no Postgres text holds. */
const unstorable = /\p{Surrogate}|\0/u

/** Whether Postgres can hold a text. */
export const isStorable = (text: string): boolean => !unstorable.test(text)

const typedArrays = {
  Uint8Array,
  Int8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array
}
type TypedArrayName = keyof typeof typedArrays
const isTypedArrayName = (name: string): name is TypedArrayName => Object.hasOwn(typedArrays, name)

/** Kinds of object whose content would be lost without a word. */
const opaque = new Set([
  "ArrayBuffer",
  "SharedArrayBuffer",
  "DataView",
  "Promise",
  "WeakMap",
  "WeakSet",
  "WeakRef",
  "Generator",
  "AsyncGenerator"
])

/** Keys with which plain data would be taken for a record or an object of LangChain's, or would reach a prototype. */
const reserved = new Set(["lc", "__lc_escaped__", "__proto__"])

/** Whether an object with this key is wrapped, see {@link reserved}. */
export const isReserved = (key: string): boolean => reserved.has(key)

const construct = (id: string, args: ReadonlyArray<unknown>, method: string | null = null, kwargs: object = {}) => ({
  lc: 2,
  type: "constructor",
  id: [id],
  method,
  args,
  kwargs
})

const step = (path: string, key: string): string =>
  /^[A-Za-z_$][\w$]*$/.test(key) ? `${path}.${key}` : `${path}[${JSON.stringify(key)}]`

/** The class of an object as its prototype names it, such as `Map` or `ArrayBuffer`. */
const kind = (value: object): string => Object.prototype.toString.call(value).slice(8, -1)

class Encoder {
  readonly ancestors = new Set<object>()
  readonly revivable: Revivable | undefined
  readonly jsonb: boolean
  constructor(revivable: Revivable | undefined, jsonb: boolean) {
    this.revivable = revivable
    this.jsonb = jsonb
  }

  value(value: unknown, path: string): unknown {
    switch (typeof value) {
      case "string":
        return this.jsonb && unstorable.test(value) ? { lc: 2, type: "string", value: JSON.stringify(value) } : value
      case "number":
        if (Number.isFinite(value) && !Object.is(value, -0)) return value
        return { lc: 2, type: "number", value: Object.is(value, -0) ? "-0" : String(value) }
      case "bigint":
        return { lc: 2, type: "bigint", value: String(value) }
      case "undefined":
        return { lc: 2, type: "undefined" }
      case "boolean":
        return value
      case "object":
        return value === null ? null : this.object(value, path)
      default:
        throw new Unserializable(path, `a ${typeof value}`)
    }
  }

  private object(value: object, path: string): unknown {
    if (this.ancestors.has(value)) throw new Unserializable(path, "a reference to an object that contains it")
    this.ancestors.add(value)
    const out = this.inside(value, path)
    this.ancestors.delete(value)
    return out
  }

  private list(items: Iterable<unknown>, path: string): Array<unknown> {
    const out: Array<unknown> = []
    for (const item of items) out.push(this.value(item, `${path}[${out.length}]`))
    return out
  }

  private inside(value: object, path: string): unknown {
    if (Array.isArray(value)) return this.list(value, path)
    if (value instanceof Map) {
      return construct("Map", [Array.from(value, ([key, item], index) => this.list([key, item], `${path}<${index}>`))])
    }
    if (value instanceof Set) return construct("Set", [this.list(value, path)])
    if (value instanceof Date) return construct("Date", [Number.isNaN(value.getTime()) ? null : value.toISOString()])
    if (value instanceof RegExp) return construct("RegExp", [this.value(value.source, path), value.flags])
    if (value instanceof Error) return this.error(value, path)
    // boxed, as JSON has it: without the box
    if (value instanceof Number || value instanceof String || value instanceof Boolean || value instanceof BigInt) {
      return this.value(value.valueOf(), path)
    }
    if (value instanceof Uint8Array) return construct("Uint8Array", [Array.from(value)], "from")
    if (ArrayBuffer.isView(value) && isTypedArrayName(kind(value))) {
      return construct(kind(value), [this.list(value as unknown as Iterable<number | bigint>, path)]) // every typed array iterates its numbers
    }
    if (opaque.has(kind(value))) throw new Unserializable(path, `of the kind ${kind(value)}`)
    const described = this.revivable?.describe(value)
    if (described !== undefined) {
      return { lc: 1, type: "constructor", id: described.id, kwargs: this.fields(described.kwargs, path) }
    }
    if ("lc_serializable" in value && "lc_id" in value) {
      throw new Unserializable(path, `a LangChain object that may not be stored (${String(value.lc_id)})`)
    }
    if ("lg_name" in value && value.lg_name === "DeltaSnapshot" && "value" in value) {
      return { lc: 2, type: "delta_snapshot", value: this.value(value.value, path) }
    }
    if ("lg_name" in value && value.lg_name === "Send" && "node" in value && "args" in value) {
      const timeout = "timeout" in value && value.timeout !== undefined ? { timeout: value.timeout } : {}
      return this.fields({ node: value.node, args: value.args, ...timeout }, path)
    }
    if ("toJSON" in value && typeof value.toJSON === "function") {
      const json: unknown = value.toJSON()
      if (json !== value) return this.value(json, path)
    }
    // such as `Headers`, a `Blob` or an iterator: what it holds is not in its fields
    if (kind(value) !== "Object" && Object.keys(value).length === 0) {
      throw new Unserializable(path, `of the kind ${kind(value)}`)
    }
    return this.fields(value, path)
  }

  /** As LangGraph's serializer, which knows the message alone; the name is kept beside it. */
  private error(error: Error, path: string): unknown {
    const kwargs = error.name === "Error" ? {} : { name: this.value(error.name, path) }
    return construct("Error", [this.value(error.message, path)], null, kwargs)
  }

  private fields(value: object, path: string): unknown {
    const entries = Object.entries(value)
    const plain = entries.every(([key]) => !reserved.has(key) && !(this.jsonb && unstorable.test(key)))
    if (plain) {
      const out: Record<string, unknown> = {}
      for (const [key, item] of entries) out[key] = this.value(item, step(path, key))
      return out
    }
    const wrapped = entries.map(([key, item]) => [this.value(key, path), this.value(item, step(path, key))])
    return { lc: 2, type: "object", value: wrapped }
  }
}

const isPairs = (value: unknown): value is Array<[unknown, unknown]> =>
  Array.isArray(value) && value.every((pair) => Array.isArray(pair) && pair.length === 2)

const own = (target: object, key: string, value: unknown): void => {
  Object.defineProperty(target, key, { value, writable: true, enumerable: true, configurable: true })
}

/** The value of a constructor record, whose arguments are decoded; `undefined` for what no encoder has written. */
const rebuild = (name: unknown, record: Record<string, unknown>): object | undefined => {
  const args = record["args"]
  if (typeof name !== "string" || !Array.isArray(args)) return undefined
  const [first, second] = args
  switch (name) {
    case "Map":
      return isPairs(first) ? new Map(first) : undefined
    case "Set":
      return Array.isArray(first) ? new Set(first) : undefined
    case "Date":
      return first === null ? new Date(Number.NaN) : typeof first === "string" ? new Date(first) : undefined
    case "RegExp":
      try {
        return typeof first === "string" && typeof second === "string" ? new RegExp(first, second) : undefined
      } catch {
        return undefined // flags or syntax of another engine: the record is shown as it is
      }
    case "Error": {
      if (typeof first !== "string") return undefined
      const error = new Error(first)
      const kwargs = record["kwargs"]
      if (Predicate.hasProperty(kwargs, "name") && typeof kwargs.name === "string") error.name = kwargs.name
      return error
    }
    case "BigInt64Array":
    case "BigUint64Array":
      return Array.isArray(first) && first.every(Predicate.isBigInt) ? new typedArrays[name](first) : undefined
    default:
      return isTypedArrayName(name) && Array.isArray(first) && first.every(Predicate.isNumber)
        ? new typedArrays[name](first as never) // numbers go into every array that is no BigInt one, and those stand above
        : undefined
  }
}

class Decoder {
  readonly revivable: Revivable | undefined
  readonly snapshot: (value: unknown) => unknown
  constructor(revivable: Revivable | undefined, snapshot: (value: unknown) => unknown) {
    this.revivable = revivable
    this.snapshot = snapshot
  }

  /** Works in place: what it is given comes straight from `JSON.parse` and belongs to nobody else. */
  value(value: unknown): unknown {
    if (typeof value !== "object" || value === null) return value
    if (Array.isArray(value)) {
      for (let index = 0; index < value.length; index++) {
        const item: unknown = value[index]
        if (typeof item === "object" && item !== null) value[index] = this.value(item)
      }
      return value
    }
    const record = value as Record<string, unknown> // an object out of JSON has string keys and no other
    if (record["lc"] === 1 && record["type"] === "constructor" && Array.isArray(record["id"]))
      return this.instance(record)
    for (const key of Object.keys(record)) {
      const item = record[key]
      if (typeof item === "object" && item !== null) record[key] = this.value(item)
    }
    return record["lc"] === 2 ? this.record(record) : record
  }

  private record(record: Record<string, unknown>): unknown {
    const held = record["value"]
    switch (record["type"]) {
      case "undefined":
        return undefined
      case "delta_snapshot":
        return Object.hasOwn(record, "value") ? this.snapshot(held) : record
      case "string":
        return typeof held === "string" ? (JSON.parse(held) as unknown) : record
      case "number":
        return typeof held === "string" ? Number(held) : record
      case "bigint":
        return typeof held === "string" && /^-?\d+$/.test(held) ? BigInt(held) : record
      case "object": {
        if (!isPairs(held)) return record
        const out = {}
        for (const [key, item] of held) own(out, String(key), item)
        return out
      }
      case "constructor": {
        const id = record["id"]
        return (Array.isArray(id) && id.length === 1 ? rebuild(id[0], record) : undefined) ?? record
      }
      default:
        return record
    }
  }

  private instance(record: Record<string, unknown>): unknown {
    const id = record["id"]
    const kwargs = this.arguments(record["kwargs"])
    const built = Predicate.isRecord(kwargs) && Array.isArray(id) ? this.revivable?.revive(id, kwargs) : undefined
    if (built !== undefined) return built
    own(record, "kwargs", kwargs)
    return record
  }

  /** LangChain marks data that looks like an object of its own, inside an object's arguments, by a wrapper of its own. */
  private arguments(value: unknown): unknown {
    if (Array.isArray(value)) return value.map((item) => this.arguments(item))
    if (!Predicate.isRecord(value)) return value
    if (value["lc"] === 1 || value["lc"] === 2) return this.value(value)
    const keys = Object.keys(value)
    if (keys.length === 1 && keys[0] === "__lc_escaped__") return value["__lc_escaped__"]
    const out = {}
    for (const key of keys) own(out, key, this.arguments(value[key]))
    return out
  }
}

/**
 * @param options.revivable LangChain objects that may be stored; without it none may.
 * @param options.snapshot Makes a `DeltaSnapshot` of its value; without it the value stands for itself.
 */
export const make = (
  options: { readonly revivable?: Revivable; readonly snapshot?: (value: unknown) => unknown } = {}
): Codec => {
  const decoder = new Decoder(options.revivable, options.snapshot ?? ((value) => value))
  return {
    encode: (value, { jsonb = false } = {}) => JSON.stringify(new Encoder(options.revivable, jsonb).value(value, "")),
    decode: (text) => decoder.value(JSON.parse(text))
  }
}
