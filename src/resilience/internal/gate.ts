/** Permits, and who waits for one in which order. All is synchronous, so that nothing comes between a look and a change. */

import type { BulkheadFullError } from "../Bulkhead.js"

/** One who waits. What befalls it before it listens is kept until it does. */
export class Waiter {
  private woken = false
  private rejection: BulkheadFullError | undefined
  private listener: ((rejection: BulkheadFullError | undefined) => void) | undefined
  /** Whether a permit has been handed to it. */
  granted = false

  /** Ends its waiting, with a permit or with a rejection. */
  wake(rejection?: BulkheadFullError): void {
    this.woken = true
    this.rejection = rejection
    this.listener?.(rejection)
  }

  onWake(listener: (rejection: BulkheadFullError | undefined) => void): void {
    if (this.woken) listener(this.rejection)
    else this.listener = listener
  }
}

export class Gate {
  running = 0
  private readonly line = new Set<Waiter>()

  constructor(private readonly concurrency: number) {}

  get queued(): number {
    return this.line.size
  }

  /** Takes a permit, if one is free: then nobody waits, because permits are handed over. */
  enter(): boolean {
    if (this.running >= this.concurrency) return false
    this.running++
    return true
  }

  enqueue(): Waiter {
    const waiter = new Waiter()
    this.line.add(waiter)
    return waiter
  }

  /** Leaves the line; false for one that is no longer in it. */
  leave(waiter: Waiter): boolean {
    return this.line.delete(waiter)
  }

  /** Stops waiting; a permit that was handed over in the meantime goes on to the next. */
  abandon(waiter: Waiter): void {
    this.leave(waiter)
    if (waiter.granted) this.release()
  }

  /** Gives a permit back: to the first in the line, without a moment in which a newcomer could take it. */
  release(): void {
    const [first] = this.line
    if (first === undefined) {
      this.running--
      return
    }
    this.line.delete(first)
    first.granted = true
    first.wake()
  }
}
