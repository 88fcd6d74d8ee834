/**
 * Records whose fields SQL looks into: a checkpoint and its metadata. Their own fields must stand in the JSON as they are, also under a name that
 * the codec would wrap the whole record for.
 *
 * @internal
 */
import * as Predicate from "effect/Predicate"
import * as Codec from "./codec.js"

/** Text that a `jsonb` column takes, and back. */
export interface Json {
  readonly toJsonb: (value: unknown) => string
  readonly fromJsonb: (text: string) => unknown
}

/** The field of metadata that holds those whose names mean something else in JSON. */
const escaped = "holdfast:escaped"

const isOdd = (key: string): boolean => Codec.isReserved(key) || key === escaped || !Codec.isStorable(key)

const set = (target: object, key: string, value: unknown): void => {
  Object.defineProperty(target, key, { value, writable: true, enumerable: true, configurable: true })
}

/** Metadata, or a filter over it: what contains what is the same for the text as for the record. */
export const encode = (json: Json, record: object): string => {
  const keys = Object.keys(record)
  if (!keys.some(isOdd)) return json.toJsonb(record)
  const plain = {}
  const odd = {}
  for (const key of keys) set(isOdd(key) ? odd : plain, key, Reflect.get(record, key))
  return json.toJsonb({ ...plain, [escaped]: odd })
}

export const decode = (json: Json, text: string): unknown => {
  const record = json.fromJsonb(text)
  if (!Predicate.isRecord(record) || !Object.hasOwn(record, escaped)) return record
  const { [escaped]: odd, ...plain } = record
  if (!Predicate.isRecord(odd)) return record
  for (const key of Object.keys(odd)) set(plain, key, odd[key])
  return plain
}

/**
 * A checkpoint without its values. The versions of its channels stand there under the channels' own names, whatever those are. Throws for what
 * could not be read back.
 */
export const encodeCheckpoint = (json: Json, checkpoint: object): string => {
  const { channel_versions: versions = {}, ...rest }: { readonly channel_versions?: object } = checkpoint
  const odd = Object.keys(rest).find(isOdd)
  if (odd !== undefined) throw new Error(`a checkpoint cannot have a field ${JSON.stringify(odd)}`)
  for (const [channel, version] of Object.entries(versions)) {
    if (!Codec.isStorable(channel)) {
      throw new Error(`the name of the channel ${JSON.stringify(channel)} holds a character that Postgres cannot store`)
    }
    if (typeof version === "string" ? !Codec.isStorable(version) : !Number.isFinite(version)) {
      throw new Error(`the version of the channel ${JSON.stringify(channel)} is ${String(version)}`)
    }
  }
  const head = json.toJsonb(rest)
  return `${head.slice(0, -1)}${head === "{}" ? "" : ","}"channel_versions":${JSON.stringify(versions)}}`
}
