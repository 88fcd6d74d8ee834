import type { Later } from "./outcome.js"

const maxBackoffMillis = 30_000

/**
 * When to try again after a failure: each pause is twice as long as the one before, and none is shorter than the server asked for.
 *
 * @internal
 */
export class Patience {
  /** Failures in a row. */
  failures = 0
  /** Nothing is sent before, by the monotonic clock. */
  until = 0
  /** The last failure, unless it has gone well since. */
  later: Later | undefined
  private readonly firstMillis: number

  constructor(firstMillis: number) {
    this.firstMillis = firstMillis
  }

  failed(later: Later): void {
    const now = performance.now()
    // requests that fail together are one failure
    if (now >= this.until) {
      const growing = Math.min(maxBackoffMillis, this.firstMillis * 2 ** Math.min(this.failures++, 10))
      // of many processes that lost one server, not all come back at the same moment
      this.until = now + growing * (0.75 + Math.random() / 2)
    }
    this.until = Math.max(this.until, now + (later.afterMillis ?? 0))
    this.later = later
  }

  /** Whether there was a failure before. */
  succeeded(): boolean {
    const failed = this.failures > 0
    this.failures = 0
    this.until = 0
    this.later = undefined
    return failed
  }

  /** The end is near: the pause is over, unless the server has asked for it. */
  hurry(): void {
    if (this.later?.afterMillis === undefined) this.until = 0
  }

  /** When to try once more at the end, if a pause is left for it and it may be of use. */
  again(now: number, pause: number | undefined): number | undefined {
    if (pause === undefined || this.later?.settings !== undefined) return undefined
    return this.later?.afterMillis === undefined ? now + pause : this.until
  }
}
