/**
 * A value as its difference to an earlier one: what stands in both is named by its place, the rest is carried along.
 *
 * The form: the first 8 bytes of the value's SHA-256, its length, then pairs of carried bytes (length, bytes) and a piece of the base (offset,
 * length). Numbers are LEB128.
 *
 * @internal
 */
import { createHash } from "node:crypto"

/** Bytes that must agree for a piece to be found; shorter ones cost as much to name as to carry. */
const block = 16

/** The hash of a window is a polynomial of its bytes, so that it can be moved on by one byte. */
const factor = 0x01000193
const leaving = (() => {
  let out = 1
  for (let index = 1; index < block; index++) out = Math.imul(out, factor)
  return out
})()

const hashAt = (bytes: Uint8Array, at: number): number => {
  let hash = 0
  for (let index = at; index < at + block; index++) hash = (Math.imul(hash, factor) + (bytes[index] ?? 0)) | 0
  return hash
}

/** Where the base's blocks are, by their hash. */
export interface Index {
  readonly bytes: Uint8Array
  /** Offset plus one of a block with this hash; the later of two. */
  readonly table: Int32Array
}

const slot = (hash: number, mask: number): number => (Math.imul(hash, 0x9e3779b1) >>> 8) & mask

export const index = (bytes: Uint8Array): Index => {
  let size = 256
  while (size < bytes.length / (block / 2)) size *= 2
  const table = new Int32Array(size)
  for (let at = 0; at + block <= bytes.length; at += block) table[slot(hashAt(bytes, at), size - 1)] = at + 1
  return { bytes, table }
}

const checksum = (bytes: Uint8Array): Buffer => createHash("sha256").update(bytes).digest().subarray(0, 8)

/** How far two places agree. */
const agree = (base: Uint8Array, from: number, target: Uint8Array, at: number): number => {
  const most = Math.min(base.length - from, target.length - at)
  let length = 0
  while (length < most && base[from + length] === target[at + length]) length++
  return length
}

class Writer {
  readonly parts: Array<Uint8Array> = []
  numbers: Array<number> = []
  number(value: number): void {
    let rest = value
    while (rest > 127) {
      this.numbers.push((rest & 127) | 128)
      rest >>>= 7
    }
    this.numbers.push(rest)
  }
  bytes(bytes: Uint8Array): void {
    this.parts.push(Uint8Array.from(this.numbers), bytes)
    this.numbers = []
  }
}

export const encode = (base: Index, target: Uint8Array): Buffer => {
  const { bytes, table } = base
  const mask = table.length - 1
  const out = new Writer()
  out.number(target.length)
  let carried = 0
  // where the base would go on if only bytes had been replaced since the last piece
  let drift = 0
  const emit = (at: number, from: number, length: number): void => {
    out.number(at - carried)
    out.bytes(target.subarray(carried, at))
    out.number(from)
    out.number(length)
    carried = at + length
    drift = from - at
  }
  let at = 0
  let hash = target.length >= block ? hashAt(target, 0) : 0
  while (at + block <= target.length) {
    const straight = at + drift
    let from = straight
    let length = straight >= 0 && straight < bytes.length ? agree(bytes, straight, target, at) : 0
    if (length < 4 * block) {
      const found = (table[slot(hash, mask)] ?? 0) - 1
      if (found >= 0 && found !== straight) {
        const other = agree(bytes, found, target, at)
        if (other > length) {
          from = found
          length = other
        }
      }
    }
    if (length >= block) {
      let back = 0
      while (at - back > carried && from - back > 0 && bytes[from - back - 1] === target[at - back - 1]) back++
      emit(at - back, from - back, length + back)
      at = carried
      if (at + block <= target.length) hash = hashAt(target, at)
    } else {
      const first = target[at] ?? 0
      const next = target[at + block] ?? 0
      hash = (Math.imul((hash - Math.imul(first, leaving)) | 0, factor) + next) | 0
      at++
    }
  }
  if (carried < target.length) {
    out.number(target.length - carried)
    out.bytes(target.subarray(carried))
  } else {
    out.bytes(new Uint8Array(0))
  }
  return Buffer.concat([checksum(target), ...out.parts])
}

/** The value again. Throws when it is damaged, or when this is not the base that it was made with. */
export const decode = (base: Uint8Array, delta: Uint8Array): Buffer => {
  let at = 8
  const number = (): number => {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      const byte = delta[at++]
      if (byte === undefined) throw new Error("a difference to an earlier value is cut off")
      value += (byte & 127) * 2 ** shift
      if (byte < 128) return value
    }
  }
  const length = number()
  const parts: Array<Uint8Array> = []
  let done = 0
  const take = (bytes: Uint8Array): void => {
    parts.push(bytes)
    done += bytes.length
  }
  while (done < length) {
    const carried = number()
    take(delta.subarray(at, at + carried))
    at += carried
    if (done >= length) break
    const from = number()
    take(base.subarray(from, from + number()))
    if (at >= delta.length && done < length) break
  }
  const out = Buffer.concat(parts)
  if (out.length !== length || !checksum(out).equals(delta.subarray(0, 8))) {
    throw new Error("a difference to an earlier value does not fit that value: one of them is damaged")
  }
  return out
}
