/**
 * In what form a value is stored: what its column `type` says after the serializer's own type, in the order in which it was done.
 *
 * - `+of=VERSION`: the difference to the value of the same channel at this version
 * - `+br`: compressed with Brotli
 * - `+aes=KEY`: encrypted with AES-256-GCM under the key of this id
 * - `+raw`: nothing was done; so that a serializer's own type that ends in one of these stays what it is
 *
 * @internal
 */
import { promisify } from "node:util"
import {
  type BrotliOptions,
  brotliCompress,
  brotliCompressSync,
  brotliDecompress,
  brotliDecompressSync,
  constants
} from "node:zlib"

export interface Form {
  /** The serializer's. */
  readonly type: string
  readonly base: string | undefined
  readonly compressed: boolean
  readonly key: string | undefined
  readonly raw: boolean
}

const written = /^(.*?)(?:\+of=([\d.]+))?(\+br)?(?:\+aes=([\w.-]+))?(\+raw)?$/s

export const parse = (type: string): Form => {
  if (!type.includes("+")) return { type, base: undefined, compressed: false, key: undefined, raw: false }
  const [, own = type, base, compressed, key, raw] = written.exec(type) ?? []
  // with `+raw` the rest is the serializer's
  if (raw !== undefined) {
    return { type: type.slice(0, -raw.length), base: undefined, compressed: false, key: undefined, raw: true }
  }
  return { type: own, base, compressed: compressed !== undefined, key, raw: false }
}

export const print = ({ base, compressed, key, type }: Omit<Form, "raw">): string => {
  const done = `${base === undefined ? "" : `+of=${base}`}${compressed ? "+br" : ""}${key === undefined ? "" : `+aes=${key}`}`
  if (done !== "") return `${type}${done}`
  const read = parse(type)
  return read.type === type && !read.raw ? type : `${type}+raw`
}

/** Bytes below which a thread of the pool costs more than the work. */
const small = 8192

/** Below this nothing is gained. */
const least = 200

const compressing = promisify(brotliCompress)
const decompressing = promisify(brotliDecompress)

const options = (size: number): BrotliOptions => ({
  // 4 takes 1.2 ms for 100 KB of text, on a thread of the pool; 5 takes half as much again for 4 % less
  params: {
    [constants.BROTLI_PARAM_QUALITY]: 4,
    [constants.BROTLI_PARAM_SIZE_HINT]: size,
    [constants.BROTLI_PARAM_LGWIN]: 20
  }
})

/** What compression makes of it; nothing where it does not pay. */
export const compress = async (bytes: Uint8Array): Promise<Buffer | undefined> => {
  if (bytes.length < least) return undefined
  const out =
    bytes.length < small
      ? brotliCompressSync(bytes, options(bytes.length))
      : await compressing(bytes, options(bytes.length))
  return out.length < bytes.length * 0.9 ? out : undefined
}

export const decompressSync = (bytes: Uint8Array): Buffer => brotliDecompressSync(bytes)

export const decompress = async (bytes: Uint8Array): Promise<Buffer> =>
  bytes.length < small ? brotliDecompressSync(bytes) : await decompressing(bytes)
