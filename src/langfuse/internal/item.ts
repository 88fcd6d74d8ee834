import { Buffer } from "node:buffer"

/**
 * What is delivered: an observation or a score, ready for the wire, secrets cut out.
 *
 * @internal
 */
export interface Item {
  /** Its JSON, on one line. */
  readonly json: string
  /** What items of one request share, JSON on one line: resource and scope of an observation. */
  readonly group: string
}

/**
 * An item in memory. Its JSON may be made only when it is asked for.
 *
 * @internal
 */
export interface Waiting extends Item {
  /** About how many bytes it holds; asked at every arrival, so it must be quick. */
  readonly size: number
}

/** @internal */
export const bytesOf = (item: Item): number => Buffer.byteLength(item.json)

/**
 * Runs of items, each small enough for a request. One that is larger than that alone is alone.
 *
 * @internal
 */
export const chunks = (
  items: ReadonlyArray<Item>,
  maxCount: number,
  maxBytes: number
): ReadonlyArray<ReadonlyArray<Item>> => {
  const out: Array<ReadonlyArray<Item>> = []
  let from = 0
  let bytes = 0
  for (let index = 0; index < items.length; index++) {
    const item = items[index]
    const size = item === undefined ? 0 : bytesOf(item) + 1
    if (index > from && (index - from === maxCount || bytes + size > maxBytes)) {
      out.push(items.slice(from, index))
      from = index
      bytes = 0
    }
    bytes += size
  }
  if (from < items.length) out.push(items.slice(from))
  return out
}
