import { Alarm } from "./alarm.js"
import { Changes } from "./changes.js"
import { chunks, type Item, type Waiting } from "./item.js"
import { Keeper } from "./keeper.js"
import { Ledger, type Listener } from "./ledger.js"
import type { Shelf } from "./outbox.js"
import type { Later } from "./outcome.js"
import { Patience } from "./patience.js"
import { type Entry, Queue } from "./queue.js"
import { setAside, type Wire } from "./send.js"

/** @internal */
export interface Options extends Wire {
  readonly shelf: Shelf | undefined
  readonly listener: Listener
  /** Items a request. */
  readonly maxBatch: number
  /** Bytes a request, before compression. */
  readonly maxBytes: number
  /** Items, and about how many bytes, kept in memory; what comes beyond is lost, and counted. */
  readonly maxQueue: number
  readonly maxQueueBytes: number
  /** Milliseconds between an item's arrival and its request, at most, while all is well. */
  readonly intervalMillis: number
  /** How old an item may be before it is either taken by the server or in the outbox. */
  readonly shelveMillis: number
  /** The first pause after a failure; each next one is twice as long, up to half a minute. */
  readonly backoffMillis: number
}

/** How often a lane looks for what others have left behind. */
const lookMillis = 30_000
/** How soon, where another process delivers. */
const busyMillis = 5_000
/** Requests at once while much waits in memory: with one, a distant server is idle most of the time. */
const maxFlights = 4
/** What is about to be due is taken along. */
const slackMillis = 200

/** Something on its way to the server. */
interface Flight {
  readonly entries: ReadonlyArray<Entry>
  readonly encoding: Promise<ReadonlyArray<Item>>
  /** Once they have their JSON: what is still to be taken. */
  items: ReadonlyArray<Item> | undefined
  done: boolean
  /** The copy in the outbox, made when the server is slow or fails. */
  copy: Promise<void> | undefined
  copied: string | undefined
}

/**
 * A queue that empties itself to a server in the background: batches by count, bytes and time. What the server does not take within a second
 * goes to the outbox, and from there in order; while something waits there, nothing overtakes it. Without an outbox it waits in memory. Its
 * timers keep no process alive.
 *
 * @internal
 */
export class Delivery {
  private readonly options: Options
  private readonly queue = new Queue()
  private readonly flights = new Set<Flight>()
  private readonly abort = new AbortController()
  private readonly sender: ReturnType<typeof setAside>
  private readonly changes = new Changes()
  private readonly alarm = new Alarm(() => this.tick())
  private flushing = 0
  private told = false
  private readonly patience: Patience
  /** The outbox may hold something of this lane's, and from when on it is to be sent. */
  private backlogFrom: number | undefined
  private lookAt = 0
  private puts = 0
  private draining: Promise<void> | undefined
  private shelving: Promise<void> | undefined
  private moving = 0
  /** Flights that came back, and are on their way into the outbox. */
  private returning = 0
  private readonly keeper: Keeper
  private readonly ledger: Ledger

  constructor(options: Options) {
    this.options = options
    this.patience = new Patience(options.backoffMillis)
    this.keeper = new Keeper(options)
    this.sender = setAside(options, {
      signal: this.abort.signal,
      taken: () => this.recovered(),
      refused: (item, refusal) => this.keeper.refuse(item, refusal),
      rejected: options.listener.rejected
    })
    this.ledger = new Ledger({
      counts: this.sender,
      shelf: options.shelf,
      listener: options.listener,
      onError: (error) => this.keeper.broke(error)
    })
    if (options.shelf !== undefined) {
      // what another process has left behind is looked for at once
      this.backlogFrom = 0
      this.arm()
    }
  }

  /** What is in memory, what this process has stored and not seen delivered, and what is gone for good. */
  get left(): { readonly memory: number; readonly stored: number; readonly lost: number } {
    return { memory: this.inMemory, stored: this.ledger.stored, lost: this.ledger.lost }
  }

  /** Why nothing is taken. */
  get reason(): string | undefined {
    return this.patience.later?.reason
  }

  private get inMemory(): number {
    let flying = 0
    for (const flight of this.flights) if (flight.copied === undefined) flying += flight.entries.length
    return this.queue.length + flying + this.moving
  }

  offer(item: Waiting): void {
    const { maxBatch, maxQueue, maxQueueBytes } = this.options
    const { size } = item
    const { queue } = this
    if (this.abort.signal.aborted || queue.length >= maxQueue || queue.bytes + size > maxQueueBytes) {
      this.lose(1, this.abort.signal.aborted ? "it came after the end" : `more than ${maxQueue} wait in memory`)
      return
    }
    queue.push({ item, at: performance.now(), size })
    if (queue.length === 1) this.arm()
    else if (queue.length % maxBatch === 0) this.pump()
  }

  /**
   * Ends when nothing waits, when the server takes nothing, or after the time; what is left then is in the outbox, if that takes it. Never
   * rejects.
   */
  async flush(timeoutMillis: number): Promise<void> {
    const deadline = performance.now() + timeoutMillis
    // with an outbox nothing is gained by patience
    const pauses = this.options.shelf === undefined ? [100, 300, 900] : [200]
    this.flushing++
    this.patience.hurry()
    try {
      while (this.waits && !this.abort.signal.aborted) {
        const now = performance.now()
        if (now >= deadline) break
        if (now < this.patience.until) {
          const until = this.patience.again(now, pauses.shift())
          if (until === undefined || until >= deadline) break
          await this.changes.sleep(until - now, this.abort.signal)
          this.patience.until = 0
        }
        this.pump()
        await this.changes.next(this.isBusy ? deadline - performance.now() : 1)
      }
      if (!this.abort.signal.aborted) await this.shelve(Number.POSITIVE_INFINITY)
    } finally {
      this.flushing--
      await this.ledger.note(this.inMemory, this.reason)
      this.arm()
    }
  }

  /** Ends the requests in flight and everything else, and lets another process deliver. */
  async close(): Promise<void> {
    this.abort.abort()
    this.alarm.clear()
    this.changes.happened()
    await this.options.shelf?.release().catch(() => {})
  }

  private get waits(): boolean {
    return this.queue.length > 0 || this.isBusy || this.backlogFrom !== undefined
  }

  private get isBusy(): boolean {
    return this.flights.size > 0 || this.draining !== undefined || this.shelving !== undefined
  }

  /** Requests at once: after a failure, one finds out whether the server is back. */
  private get maxFlights(): number {
    return this.patience.failures > 0 ? 1 : maxFlights
  }

  /** When there is something to send or to look for. */
  private sendDue(): number {
    const { intervalMillis, shelf } = this.options
    if (this.draining !== undefined) return Number.POSITIVE_INFINITY
    if (shelf !== undefined && this.backlogFrom !== undefined) return Math.max(this.backlogFrom, this.patience.until)
    const look = shelf === undefined ? Number.POSITIVE_INFINITY : this.lookAt
    const { oldest } = this.queue
    if (oldest === undefined || this.flights.size >= this.maxFlights) return look
    return Math.min(look, Math.max(oldest + intervalMillis, this.patience.until))
  }

  /** When something has been in memory for long enough. */
  private shelveDue(): number {
    const { shelf, shelveMillis } = this.options
    if (shelf === undefined || this.shelving !== undefined) return Number.POSITIVE_INFINITY
    let oldest = this.queue.oldest ?? Number.POSITIVE_INFINITY
    for (const { copy, entries, items } of this.flights) {
      if (copy === undefined && items !== undefined) oldest = Math.min(oldest, entries[0]?.at ?? oldest)
    }
    return Math.max(oldest + shelveMillis, this.keeper.brokenUntil)
  }

  private arm(): void {
    if (!this.abort.signal.aborted) this.alarm.set(Math.min(this.sendDue(), this.shelveDue()))
  }

  private tick(): void {
    const now = performance.now()
    const { shelf, shelveMillis } = this.options
    if (shelf !== undefined && this.backlogFrom === undefined && now >= this.lookAt) this.backlogFrom = now
    this.pump()
    // what cannot be sent anyway goes all at once
    const until = this.patience.failures > 0 ? Number.POSITIVE_INFINITY : now - shelveMillis + slackMillis
    if (now >= this.shelveDue()) void this.shelve(until)
    this.arm()
  }

  private pump(): void {
    const now = performance.now()
    const { intervalMillis, maxBatch, shelf } = this.options
    if (this.abort.signal.aborted || now < this.patience.until || this.draining !== undefined) return
    // what is on its way into the outbox goes before
    if (shelf !== undefined && this.moving + this.returning > 0) return
    if (shelf !== undefined && this.backlogFrom !== undefined) {
      if (this.flushing === 0 && now < this.backlogFrom) return
      this.draining = this.drain(shelf).finally(() => {
        this.draining = undefined
        this.ended()
      })
      return
    }
    while (this.flights.size < this.maxFlights) {
      const { length, oldest } = this.queue
      if (oldest === undefined) break
      if (this.flushing === 0 && length < maxBatch && now < oldest + intervalMillis) break
      this.fly(this.queue.take(maxBatch))
    }
    this.ledger.report(this.inMemory)
  }

  private ended(): void {
    this.pump()
    this.arm()
    this.changes.happened()
  }

  private fly(entries: ReadonlyArray<Entry>): void {
    const encoding = this.sender.encode(entries)
    const flight: Flight = { entries, encoding, items: undefined, done: false, copy: undefined, copied: undefined }
    this.flights.add(flight)
    void this.land(flight).finally(() => {
      this.flights.delete(flight)
      this.ended()
    })
  }

  private async land(flight: Flight): Promise<void> {
    flight.items = await flight.encoding
    this.arm()
    const left = await this.sender.deliver(flight.items)
    flight.done = left === undefined
    if (left === undefined) {
      await flight.copy
      // what is not removed is sent again, which does no harm
      if (flight.copied !== undefined) await this.keeper.remove(this.ledger, flight.copied, flight.items.length)
      return
    }
    if (flight.copy === undefined) flight.items = left.rest
    this.pause(left.later)
    this.returning++
    await this.keeper
      .inTurn(() => this.copy(flight))
      .finally(() => {
        this.returning--
      })
    if (flight.copied !== undefined) return this.backlog(0)
    this.restore(flight.items, flight.entries[0]?.at ?? 0)
  }

  private restore(items: ReadonlyArray<Item>, at: number): void {
    this.queue.restore(items.map((item) => ({ item, at, size: item.json.length })))
  }

  /** Copies what is in flight into the outbox, up to this one or all, oldest first. */
  private async copy(last?: Flight): Promise<void> {
    if (this.options.shelf === undefined || this.keeper.isBroken) return
    for (const flight of this.flights) {
      if (!flight.done && flight.copy === undefined) {
        flight.copy = this.copyOne(flight)
        await flight.copy
      }
      if (flight === last) return
    }
  }

  private async copyOne(flight: Flight): Promise<void> {
    const encoded = await flight.encoding
    flight.copied = await this.keeper.put(this.ledger, flight.items ?? encoded)
    if (flight.copied === undefined) flight.copy = undefined
  }

  /** Delivers what the outbox holds, oldest first. */
  private async drain(shelf: Shelf): Promise<void> {
    try {
      while (!this.abort.signal.aborted && performance.now() >= this.patience.until) {
        const { puts } = this
        const flying = new Set<string>()
        for (const { copied } of this.flights) if (copied !== undefined) flying.add(copied)
        const parcel = await shelf.next(flying)
        if (parcel === undefined || parcel === "busy") {
          this.lookAt = performance.now() + (parcel === "busy" ? busyMillis : lookMillis)
          if (puts === this.puts || parcel === "busy") this.backlogFrom = undefined
          void this.ledger.note(this.inMemory, this.reason)
          if (parcel === "busy" || this.backlogFrom === undefined) return
          continue
        }
        const left = await this.sender.deliver(parcel.items)
        if (left !== undefined) return this.pause(left.later)
        await this.keeper.remove(this.ledger, parcel.id, parcel.items.length)
      }
    } catch (error) {
      this.keeper.broke(error)
      this.backlogFrom = undefined
      this.lookAt = performance.now() + busyMillis
    } finally {
      // whoever can deliver may
      await shelf.release().catch(() => {})
    }
  }

  /** Puts into the outbox what came until then: what waits, and copies of what is in flight. */
  private async shelve(until: number): Promise<void> {
    if (this.options.shelf === undefined) return
    while (this.shelving !== undefined) await this.shelving
    this.shelving = this.keeper
      .inTurn(() => this.shelveNow(until))
      .finally(() => {
        this.shelving = undefined
        this.ended()
      })
    return this.shelving
  }

  private async shelveNow(until: number): Promise<void> {
    const { intervalMillis, maxBatch, maxBytes } = this.options
    let oldest: Flight | undefined
    for (const flight of this.flights) if ((flight.entries[0]?.at ?? 0) <= until) oldest = flight
    if (oldest !== undefined) await this.copy(oldest)
    while (!this.keeper.isBroken) {
      const entries = this.queue.take(maxBatch, until)
      const [first] = entries
      if (first === undefined) return
      this.moving = entries.length
      let items = await this.sender.encode(entries)
      for (const chunk of chunks(items, maxBatch, maxBytes)) {
        if ((await this.keeper.put(this.ledger, chunk)) === undefined) {
          this.restore(items, first.at)
          break
        }
        items = items.slice(chunk.length)
        this.backlog(first.at + intervalMillis)
      }
      this.moving = 0
    }
  }

  private backlog(from: number): void {
    this.puts++
    this.backlogFrom = Math.min(this.backlogFrom ?? Number.POSITIVE_INFINITY, from)
  }

  private lose(items: number, reason: string): void {
    this.ledger.lost += items
    this.options.listener.lost(items, reason)
  }

  private pause(later: Later): void {
    if (this.abort.signal.aborted) return
    const { listener } = this.options
    const refusedKeys = this.patience.later?.settings === "keys"
    this.patience.failed(later)
    if (!this.told && this.flushing === 0) {
      this.told = true
      listener.problem(later.reason)
    }
    if (later.settings === "keys" && !refusedKeys) this.keeper.disown()
    void this.ledger.note(this.inMemory, this.reason)
  }

  private recovered(): void {
    if (!this.patience.succeeded()) return
    if (this.told) this.options.listener.recovery()
    this.told = false
  }
}
