/**
 * Keys under which checkpoints are stored: AES-256-GCM over every channel's value and every pending write, and, if asked, over the metadata.
 *
 * Give it to `Checkpointer` and to `CheckpointManager` as the option `encryption`. Each value has a random nonce of 96 bits, and is bound to
 * its place (thread, namespace, channel and version, or checkpoint and task): moved to another place it does not open.
 *
 * @since 0.1.0
 */
import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject, randomBytes } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { ConfigurationError } from "../observability/ConfigurationError.js"
import * as environment from "../observability/internal/environment.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * The keys by id, 32 bytes each, in base64 or hexadecimal: as a record, or as text `id:key,id:key`. The first one writes, all of them read:
   * a new key is put before the others, which stay for as long as values under them are stored. An id is of letters, digits, `.`, `_` and `-`,
   * and stands readable beside each value.
   */
  readonly keys: string | Redacted.Redacted | Readonly<Record<string, string | Redacted.Redacted>>
  /**
   * Whether the metadata is encrypted too: all of it but LangGraph's own `source`, `step`, `parents` and counters, or only these keys. Such
   * metadata does not filter in the database: `list` reads on until enough is found. Default: `false`, but for the key `writes`, in which older
   * versions of LangGraph keep state.
   */
  readonly metadata?: boolean | ReadonlyArray<string> | undefined
  /** Whether values that were stored without encryption are read. Default: `false`. */
  readonly allowPlaintext?: boolean | undefined
}

/**
 * Keys that have been checked. Printed or logged it shows their ids.
 *
 * @since 0.1.0
 * @category models
 */
export interface Encryption {
  /** The id of the key that writes. */
  readonly current: string
  /** The ids of the keys that read, the current one first. */
  readonly ids: ReadonlyArray<string>
  readonly metadata: boolean | ReadonlyArray<string>
  readonly allowPlaintext: boolean
  /** Encrypts with the current key. `place` must be the same when it is opened. */
  readonly seal: (plain: Uint8Array, place: string) => Buffer
  /** Throws {@link KeyError}. */
  readonly open: (id: string, sealed: Uint8Array, place: string) => Buffer
}

/**
 * A value that the keys at hand do not open. The message names the key by its id, never the key.
 *
 * @since 0.1.0
 * @category errors
 */
export class KeyError extends Error {
  /**
   * @since 0.1.0
   */
  override readonly name = "KeyError"
  /**
   * @since 0.1.0
   */
  readonly keyId: string
  constructor(keyId: string, message: string) {
    super(message)
    this.keyId = keyId
  }
}

const setting = "HOLDFAST_ENCRYPTION_KEYS"
const expected = "id:key[,id:key ...], each key 32 bytes in base64 or hexadecimal"
const nonceBytes = 12
const tagBytes = 16

/** What the environment's variables take, for messages and documentation. */
const wanted = {
  HOLDFAST_ENCRYPTION_KEYS: expected,
  HOLDFAST_ENCRYPTION_METADATA: "true, false, or the keys to encrypt, separated by commas",
  HOLDFAST_ENCRYPTION_ALLOW_PLAINTEXT: "true or false"
} as const

/** 32 bytes, or nothing. `Buffer.from` skips what is no base64, so the text is checked first. */
const bytes = (text: string): Buffer | undefined => {
  if (/^[0-9a-f]{64}$/i.test(text)) return Buffer.from(text, "hex")
  if (!/^[\w+/-]{43}=?$/.test(text)) return undefined
  const key = Buffer.from(text, "base64")
  return key.length === 32 ? key : undefined
}

const entries = (keys: Options["keys"]): ReadonlyArray<readonly [id: string, key: string]> => {
  const plain = (value: string | Redacted.Redacted): string =>
    typeof value === "string" ? value : Redacted.value(value)
  if (typeof keys !== "string" && !Redacted.isRedacted(keys)) {
    return Object.entries(keys).map(([id, key]) => [id, plain(key).trim()])
  }
  return plain(keys)
    .split(",")
    .map((text) => text.trim())
    .filter((text) => text !== "")
    .map((text) => {
      const at = text.indexOf(":")
      return at < 0 ? ["", text] : [text.slice(0, at).trim(), text.slice(at + 1).trim()]
    })
}

/** The keys, or what is wrong with them, said without them. */
const read = (keys: Options["keys"]): ReadonlyMap<string, KeyObject> | string => {
  const out = new Map<string, KeyObject>()
  for (const [index, [id, text]] of entries(keys).entries()) {
    const place = `its ${["first", "second", "third"][index] ?? `${index + 1}th`} key`
    // an id that is none may be a key that was pasted without one
    if (!/^[\w.-]{1,40}$/.test(id))
      return `${place} has no id of at most 40 letters, digits, dots, hyphens and underscores`
    const key = bytes(text)
    if (key === undefined) return `${place} is not 32 bytes`
    if (out.has(id)) return `two keys have one id`
    out.set(id, createSecretKey(key))
  }
  return out.size === 0 ? "it holds no key" : out
}

const problem = (what: string): ConfigurationError => new ConfigurationError({ setting, expected, problem: what })

/** The keys themselves stand in the closure, where nothing that prints an object finds them. */
const fromKeys = (keys: ReadonlyMap<string, KeyObject>, options: Omit<Options, "keys">): Encryption => {
  const ids = [...keys.keys()]
  const [current = ""] = ids
  const named = (id: string): KeyObject => {
    const key = keys.get(id)
    if (key === undefined) {
      throw new KeyError(id, `it is encrypted with the key "${id}", which is not among those given (${ids.join(", ")})`)
    }
    return key
  }
  return {
    current,
    ids,
    metadata: options.metadata ?? false,
    allowPlaintext: options.allowPlaintext ?? false,
    seal: (plain, place) => {
      const nonce = randomBytes(nonceBytes)
      const cipher = createCipheriv("aes-256-gcm", named(current), nonce).setAAD(Buffer.from(place))
      return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
    },
    open: (id, sealed, place) => {
      const key = named(id)
      const damaged = `it does not open with the key "${id}": another key has this id, or the value was changed or moved`
      if (sealed.length < nonceBytes + tagBytes) throw new KeyError(id, damaged)
      const decipher = createDecipheriv("aes-256-gcm", key, sealed.subarray(0, nonceBytes))
        .setAAD(Buffer.from(place))
        .setAuthTag(sealed.subarray(sealed.length - tagBytes))
      try {
        return Buffer.concat([decipher.update(sealed.subarray(nonceBytes, sealed.length - tagBytes)), decipher.final()])
      } catch {
        throw new KeyError(id, damaged)
      }
    }
  }
}

/**
 * Checks the keys. Throws `ConfigurationError`, which does not show them, at once: a key that is malformed is a mistake of the program's
 * configuration.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { Config, Effect, Layer } from "effect"
 * import { Database, Encryption } from "holdfast"
 * import { Checkpointer } from "holdfast/langgraph"
 *
 * const storage = Layer.unwrapEffect(
 *   Effect.map(Config.redacted("CHECKPOINT_KEYS"), (keys) =>
 *     Checkpointer.layer({ encryption: Encryption.make({ keys, metadata: true }) })
 *   )
 * ).pipe(Layer.provide(Database.layer))
 * ```
 */
export const make = (options: Options): Encryption => {
  const keys = read(options.keys)
  if (typeof keys === "string") throw problem(keys)
  return fromKeys(keys, options)
}

const flag = (text: string): boolean | undefined =>
  /^true$/i.test(text) ? true : /^false$/i.test(text) ? false : undefined

/**
 * What the environment says; nothing without keys.
 *
 * - `HOLDFAST_ENCRYPTION_KEYS`: `id:key,id:key`, the first writes
 * - `HOLDFAST_ENCRYPTION_METADATA`: `true`, `false` (the default) or a list of metadata keys
 * - `HOLDFAST_ENCRYPTION_ALLOW_PLAINTEXT`: `true` or `false` (the default)
 *
 * @since 0.1.0
 * @category configuration
 */
export const fromEnvironment: Effect.Effect<Option.Option<Encryption>, ConfigurationError> = Effect.gen(function* () {
  const keys = Option.fromNullable(yield* environment.text(setting)).pipe(Option.map(Redacted.make))
  const metadata = yield* environment.setting<boolean | ReadonlyArray<string>>({
    name: "HOLDFAST_ENCRYPTION_METADATA",
    expected: wanted.HOLDFAST_ENCRYPTION_METADATA,
    parse: (text) => {
      const names = text.split(",").map((name) => name.trim())
      return flag(text) ?? (names.includes("") ? undefined : names)
    }
  })
  const allowPlaintext = yield* environment.setting({
    name: "HOLDFAST_ENCRYPTION_ALLOW_PLAINTEXT",
    expected: wanted.HOLDFAST_ENCRYPTION_ALLOW_PLAINTEXT,
    parse: flag
  })
  if (Option.isNone(keys)) return Option.none()
  const checked = read(keys.value)
  return typeof checked === "string"
    ? yield* problem(checked)
    : Option.some(fromKeys(checked, { metadata, allowPlaintext }))
})
