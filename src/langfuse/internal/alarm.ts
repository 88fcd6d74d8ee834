/**
 * One timer, which keeps no process alive.
 *
 * @internal
 */
export class Alarm {
  private readonly ring: () => void
  private timer: NodeJS.Timeout | undefined
  private at = Number.POSITIVE_INFINITY

  constructor(ring: () => void) {
    this.ring = ring
  }

  /** By the monotonic clock; never, if that is infinite. Takes the place of what was set before. */
  set(at: number): void {
    if (at === this.at && this.timer !== undefined) return
    this.clear()
    this.at = at
    if (at === Number.POSITIVE_INFINITY) return
    this.timer = setTimeout(
      () => {
        this.timer = undefined
        this.ring()
      },
      Math.max(1, at - performance.now())
    )
    this.timer.unref()
  }

  clear(): void {
    clearTimeout(this.timer)
    this.timer = undefined
  }
}
