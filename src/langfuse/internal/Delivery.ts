/**
 * How one attempt to deliver ended. What was not taken is either kept and sent again, or refused for good.
 *
 * @internal
 */
export type Outcome =
  | { readonly _tag: "Taken" }
  | { readonly _tag: "Later"; readonly reason: string; readonly afterMillis?: number | undefined }
  | { readonly _tag: "Refused"; readonly reason: string }

/** @internal */
export interface Item {
  /** Its JSON. */
  readonly json: string
  /** Items of one request share it. */
  readonly group: string
}

/** @internal */
export interface Options {
  readonly send: (items: ReadonlyArray<Item>, signal: AbortSignal) => Promise<Outcome>
  /** Items a request. */
  readonly maxBatch: number
  /** Bytes a request, by the length of the JSON. */
  readonly maxBytes: number
  /** Items kept in memory; what comes beyond is lost, and counted. */
  readonly maxQueue: number
  /** Milliseconds between an item's arrival and its request, at most, while all is well. */
  readonly intervalMillis: number
  /** Called at the first problem, and again after each recovery. */
  readonly onProblem: (reason: string) => void
  readonly onRecovery: () => void
}

const firstBackoffMillis = 1_000
const maxBackoffMillis = 30_000
/** At the end there is no time for patience: about a second in all, if the server answers at once that it does not. */
const closingBackoffMillis: ReadonlyArray<number> = [100, 300, 900]

/**
 * A queue that empties itself to a server in the background: batches by count, bytes and time, one request at a time, in order. What the server
 * cannot take now stays at the head and is sent again. Its timers keep no process alive.
 *
 * @internal
 */
export class Delivery {
  private readonly options: Options
  private readonly queue: Array<Item> = []
  private readonly abort = new AbortController()
  private timer: NodeJS.Timeout | undefined
  private running: Promise<void> | undefined
  private failures = 0
  private closing = false
  private lostCount = 0
  private lastReason: string | undefined

  constructor(options: Options) {
    this.options = options
  }

  /** What was lost for good, and what is still here. */
  get undelivered(): number {
    return this.lostCount + this.queue.length
  }

  /** Why the last request that failed did so. */
  get reason(): string | undefined {
    return this.lastReason
  }

  offer(item: Item): void {
    if (this.queue.length >= this.options.maxQueue) {
      this.lose(1, `more than ${this.options.maxQueue} wait to be sent`)
      return
    }
    this.queue.push(item)
    if (this.failures > 0) return
    if (this.queue.length >= this.options.maxBatch) this.run()
    else this.wait(this.options.intervalMillis)
  }

  /** Sends until nothing waits, or until the server has said often enough that it takes nothing. Never rejects. */
  async flush(): Promise<void> {
    this.closing = true
    try {
      for (let round = 0; this.queue.length > 0 && !this.abort.signal.aborted; ) {
        const before = this.queue.length
        await this.run()
        if (this.queue.length === 0) return
        if (this.queue.length < before) {
          round = 0
          continue
        }
        const pause = closingBackoffMillis[round++]
        if (pause === undefined) return
        await this.pause(pause)
      }
    } finally {
      this.closing = false
      if (this.queue.length > 0 && !this.abort.signal.aborted) this.wait(firstBackoffMillis)
    }
  }

  /** Ends the request in flight and everything else. */
  close(): void {
    this.abort.abort()
    clearTimeout(this.timer)
    this.timer = undefined
  }

  private pause(millis: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, millis)
      this.abort.signal.addEventListener(
        "abort",
        () => {
          clearTimeout(timer)
          resolve()
        },
        { once: true }
      )
    })
  }

  private wait(millis: number): void {
    if (this.timer !== undefined || this.abort.signal.aborted) return
    this.timer = setTimeout(() => {
      this.timer = undefined
      this.run()
    }, millis)
    this.timer.unref()
  }

  private run(): Promise<void> {
    this.running ??= this.drain().finally(() => {
      this.running = undefined
    })
    return this.running
  }

  private async drain(): Promise<void> {
    clearTimeout(this.timer)
    this.timer = undefined
    while (this.queue.length > 0 && !this.abort.signal.aborted) {
      const batch = this.nextBatch()
      const outcome = await this.send(batch)
      if (outcome._tag === "Later") {
        this.problem(outcome.reason)
        const backoff = Math.min(maxBackoffMillis, firstBackoffMillis * 2 ** Math.min(this.failures++, 10))
        if (!this.closing) this.wait(Math.max(backoff, outcome.afterMillis ?? 0))
        return
      }
      this.queue.splice(0, batch.length)
      if (outcome._tag === "Refused") {
        this.lose(batch.length, outcome.reason)
      } else if (this.failures > 0) {
        this.failures = 0
        if (!this.closing) this.options.onRecovery()
      }
    }
  }

  private async send(batch: ReadonlyArray<Item>): Promise<Outcome> {
    try {
      return await this.options.send(batch, this.abort.signal)
    } catch (error) {
      return { _tag: "Later", reason: String(error) }
    }
  }

  private nextBatch(): ReadonlyArray<Item> {
    const first = this.queue[0]
    let bytes = 0
    let count = 0
    for (const item of this.queue) {
      bytes += item.json.length
      if (count === this.options.maxBatch || item.group !== first?.group) break
      if (count > 0 && bytes > this.options.maxBytes) break
      count++
    }
    return this.queue.slice(0, count)
  }

  private lose(count: number, reason: string): void {
    this.lostCount += count
    this.problem(reason)
  }

  private problem(reason: string): void {
    const known = this.lastReason === reason
    this.lastReason = reason
    if (!known && !this.closing && this.failures === 0) this.options.onProblem(reason)
  }
}
