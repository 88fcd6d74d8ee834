import * as ErrorInfo from "../../observability/ErrorInfo.js"
import { chunks, type Item, type Waiting } from "./item.js"
import type { Store } from "./outbox.js"

/** What waits to be written at most: a store that takes nothing must not fill the memory. */
const maxWaiting = 10_000
/** How many are made JSON of before others have their turn. */
const slice = 50

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

interface Options {
  readonly maxBatch: number
  readonly maxBytes: number
  readonly intervalMillis: number
  readonly warn: (line: string) => void
}

/**
 * Writes a copy of each observation into the outbox, for who wants to read them without the server. Never holds up what is delivered.
 *
 * @internal
 */
export class Copies {
  private waiting: Array<Waiting> = []
  private timer: NodeJS.Timeout | undefined
  private writing: Promise<void> = Promise.resolve()
  private told = false
  private readonly store: Pick<Store, "keep" | "location">
  private readonly options: Options

  constructor(store: Pick<Store, "keep" | "location">, options: Options) {
    this.store = store
    this.options = options
  }

  offer(item: Waiting): void {
    if (this.waiting.length >= maxWaiting) {
      this.tell("more of them are made than it takes")
      return
    }
    this.waiting.push(item)
    if (this.waiting.length >= this.options.maxBatch) this.write()
    else this.timer ??= setTimeout(() => this.write(), this.options.intervalMillis).unref()
  }

  /** Ends when all is written, or after the time. Never rejects. */
  async flush(timeoutMillis: number): Promise<void> {
    this.write()
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, timeoutMillis)
    })
    await Promise.race([this.writing, late]).finally(() => clearTimeout(timer))
  }

  private write(): void {
    clearTimeout(this.timer)
    this.timer = undefined
    this.writing = this.writing.then(() => this.writeAll())
  }

  private async writeAll(): Promise<void> {
    const { maxBatch, maxBytes } = this.options
    const taken = this.waiting
    this.waiting = []
    const items: Array<Item> = []
    for (const [index, item] of taken.entries()) {
      try {
        items.push({ group: item.group, json: item.json })
      } catch {
        // what cannot be written as JSON is told of by who delivers it
      }
      if (index % slice === slice - 1) await turn()
    }
    try {
      for (const chunk of chunks(items, maxBatch, maxBytes)) await this.store.keep(chunk)
    } catch (error) {
      this.tell(ErrorInfo.make(error).message)
    }
  }

  private tell(reason: string): void {
    if (!this.told) this.options.warn(`Observations are not copied into ${this.store.location}: ${reason}`)
    this.told = true
  }
}
