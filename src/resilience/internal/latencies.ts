/** The last so many measurements, in order of size: a percentile is one look, a measurement two short searches. */
export class Latencies {
  private readonly ring: Array<number> = []
  private readonly sorted: Array<number> = []
  private oldest = 0

  constructor(private readonly capacity: number) {}

  get count(): number {
    return this.ring.length
  }

  record(millis: number): void {
    if (this.ring.length < this.capacity) {
      this.ring.push(millis)
    } else {
      this.sorted.splice(this.position(this.ring[this.oldest] ?? 0), 1)
      this.ring[this.oldest] = millis
      this.oldest = (this.oldest + 1) % this.capacity
    }
    this.sorted.splice(this.position(millis), 0, millis)
  }

  /** The smallest measurement that so great a share of them do not exceed (nearest rank); `undefined` without any. */
  percentile(share: number): number | undefined {
    return this.sorted[Math.max(0, Math.ceil(share * this.sorted.length) - 1)]
  }

  /** Where a number is, or would be, the first of its like. */
  private position(millis: number): number {
    let low = 0
    let high = this.sorted.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.sorted[middle] ?? 0) < millis) low = middle + 1
      else high = middle
    }
    return low
  }
}
