/**
 * In what form a value is stored: what its column `type` says after the serializer's own type, in the order in which it was done.
 *
 * - `+snap`: nothing was done yet; it is the snapshot of a delta channel, which whoever prunes must know
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
  readonly snapshot: boolean
  readonly base: string | undefined
  readonly compressed: boolean
  readonly key: string | undefined
  readonly raw: boolean
}

const written = /^(.*?)(\+snap)?(?:\+of=([\d.]+))?(\+br)?(?:\+aes=([\w.-]+))?(\+raw)?$/s

export const parse = (type: string): Form => {
  const plain = { snapshot: false, base: undefined, compressed: false, key: undefined, raw: false }
  if (!type.includes("+")) return { ...plain, type }
  const [, own = type, snapshot, base, compressed, key, raw] = written.exec(type) ?? []
  // with `+raw` the rest is the serializer's
  if (raw !== undefined) {
    return { ...plain, type: type.slice(0, -raw.length), raw: true }
  }
  return { type: own, snapshot: snapshot !== undefined, base, compressed: compressed !== undefined, key, raw: false }
}

export const print = ({ base, compressed, key, snapshot, type }: Omit<Form, "raw">): string => {
  const done = `${base === undefined ? "" : `+of=${base}`}${compressed ? "+br" : ""}${key === undefined ? "" : `+aes=${key}`}`
  if (done !== "") return `${type}${snapshot ? "+snap" : ""}${done}`
  const read = parse(type)
  return read.type === type && !read.raw ? type : `${type}+raw`
}

/** How the serializer writes a `DeltaSnapshot`. */
const snapshotHead = Buffer.from('{"lc":2,"type":"delta_snapshot"')

export const isSnapshot = (type: string, bytes: Uint8Array): boolean =>
  type === "json" && snapshotHead.equals(bytes.subarray(0, snapshotHead.length))

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
