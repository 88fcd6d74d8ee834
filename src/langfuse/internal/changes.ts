/**
 * Lets somebody wait for what happens next.
 *
 * @internal
 */
export class Changes {
  private waiters: Array<() => void> = []

  happened(): void {
    const { waiters } = this
    this.waiters = []
    for (const waiter of waiters) waiter()
  }

  /** Until something happens, or the time is over. Keeps the process alive. */
  next(millis: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.max(0, millis))
      this.waiters.push(() => {
        clearTimeout(timer)
        resolve()
      })
    })
  }

  /** Whatever happens, unless it is the end. */
  async sleep(millis: number, signal: AbortSignal): Promise<void> {
    const until = performance.now() + millis
    for (let left = millis; left > 0 && !signal.aborted; left = until - performance.now()) await this.next(left)
  }
}
