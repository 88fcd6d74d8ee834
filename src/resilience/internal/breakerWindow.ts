/** Windows over the last results: fixed arrays and running sums, so that one more result allocates nothing and loops over nothing. */

/** What one result was: bit 0 a failure, bit 1 slow. */
export type Result = number

export interface Window {
  readonly calls: number
  readonly failures: number
  readonly slow: number
  readonly add: (result: Result, now: number) => void
  /** Forgets what is too old by now. */
  readonly look: (now: number) => void
}

/** The last so many calls. */
export class CountWindow implements Window {
  calls = 0
  failures = 0
  slow = 0
  private readonly ring: Uint8Array
  private next = 0

  constructor(private readonly size: number) {
    this.ring = new Uint8Array(size)
  }

  add(result: Result): void {
    if (this.calls === this.size) {
      const oldest = this.ring[this.next] ?? 0
      this.failures -= oldest & 1
      this.slow -= oldest >> 1
    } else this.calls++
    this.ring[this.next] = result
    this.failures += result & 1
    this.slow += result >> 1
    this.next = this.next + 1 === this.size ? 0 : this.next + 1
  }

  look(): void {}
}

/** The calls of the last while, in buckets. A clock that steps back moves no result: the newest bucket is now. */
export class TimeWindow implements Window {
  calls = 0
  failures = 0
  slow = 0
  /** Calls, failures and slow ones of each bucket, one after the other. */
  private readonly ring: Float64Array
  private readonly width: number
  private at = 0
  private tick = Number.NaN

  constructor(
    millis: number,
    private readonly buckets: number
  ) {
    this.ring = new Float64Array(3 * buckets)
    this.width = millis / buckets
  }

  look(now: number): void {
    const tick = Math.floor(now / this.width)
    if (tick === this.tick) return
    const steps = Math.min(this.buckets, tick - this.tick)
    this.tick = tick
    for (let i = 0; i < steps; i++) {
      this.at = this.at + 1 === this.buckets ? 0 : this.at + 1
      const from = 3 * this.at
      this.calls -= this.ring[from] ?? 0
      this.failures -= this.ring[from + 1] ?? 0
      this.slow -= this.ring[from + 2] ?? 0
      this.ring.fill(0, from, from + 3)
    }
  }

  add(result: Result, now: number): void {
    this.look(now)
    const from = 3 * this.at
    this.ring[from] = (this.ring[from] ?? 0) + 1
    this.ring[from + 1] = (this.ring[from + 1] ?? 0) + (result & 1)
    this.ring[from + 2] = (this.ring[from + 2] ?? 0) + (result >> 1)
    this.calls++
    this.failures += result & 1
    this.slow += result >> 1
  }
}
