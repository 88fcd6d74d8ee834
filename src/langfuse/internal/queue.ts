import type { Item } from "./item.js"

/**
 * An item that waits in memory.
 *
 * @internal
 */
export interface Entry {
  readonly item: Item
  /** When it came, by the monotonic clock. */
  readonly at: number
  /** About how many bytes it holds. */
  readonly size: number
}

/**
 * First in, first out, in constant time; what was taken may come back to its place.
 *
 * @internal
 */
export class Queue {
  private entries: Array<Entry | undefined> = []
  private head = 0
  private size = 0

  get length(): number {
    return this.entries.length - this.head
  }

  /** About how many bytes wait. */
  get bytes(): number {
    return this.size
  }

  /** When the first one came. */
  get oldest(): number | undefined {
    return this.entries[this.head]?.at
  }

  push(entry: Entry): void {
    this.entries.push(entry)
    this.size += entry.size
  }

  /** Takes the first ones, up to a count, and only those that came until then. */
  take(count: number, until = Number.POSITIVE_INFINITY): Array<Entry> {
    const out: Array<Entry> = []
    while (out.length < count) {
      const entry = this.entries[this.head]
      if (entry === undefined || entry.at > until) break
      this.entries[this.head++] = undefined
      this.size -= entry.size
      out.push(entry)
    }
    if (this.head === this.entries.length) {
      this.entries = []
      this.head = 0
    } else if (this.head > 1024 && this.head * 2 > this.entries.length) {
      this.entries = this.entries.slice(this.head)
      this.head = 0
    }
    return out
  }

  /** Puts back what was taken, by the time at which it came. */
  restore(entries: ReadonlyArray<Entry>): void {
    const all = [...entries, ...this.take(this.length)].sort((a, b) => a.at - b.at)
    for (const entry of all) this.push(entry)
  }
}
