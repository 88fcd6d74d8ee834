import type { Item } from "./item.js"
import type { Ledger, Listener } from "./ledger.js"
import type { Refusal, Shelf } from "./outbox.js"

/**
 * A lane's part of the outbox, which may fail: then it is left alone for a while, and what waits stays in memory. What is put and removed is in the
 * ledger.
 *
 * @internal
 */
export class Keeper {
  /** Nothing is put before, by the monotonic clock. */
  brokenUntil = 0
  private writing: Promise<unknown> = Promise.resolve()
  private readonly options: {
    readonly shelf: Shelf | undefined
    readonly listener: Pick<Listener, "refused" | "shelfProblem">
    /** How long it is left alone. */
    readonly backoffMillis: number
  }

  constructor(options: Keeper["options"]) {
    this.options = options
  }

  get isBroken(): boolean {
    return performance.now() < this.brokenUntil
  }

  broke(error: unknown): void {
    this.brokenUntil = performance.now() + this.options.backoffMillis
    this.options.listener.shelfProblem(error)
  }

  /** One writing after the other, so that it is in order. */
  inTurn<A>(write: () => Promise<A>): Promise<A> {
    const written = this.writing.then(write)
    this.writing = written.catch(() => {})
    return written
  }

  /** The parcel's id, or nothing if it could not be put. */
  async put(ledger: Ledger, items: ReadonlyArray<Item>): Promise<string | undefined> {
    try {
      const id = await this.options.shelf?.put(items)
      if (id !== undefined) ledger.stored += items.length
      return id
    } catch (error) {
      this.broke(error)
      return undefined
    }
  }

  async remove(ledger: Ledger, id: string, items: number): Promise<void> {
    ledger.stored = Math.max(0, ledger.stored - items)
    await this.options.shelf?.remove(id).catch((error) => this.broke(error))
  }

  async refuse(item: Item, refusal: Refusal): Promise<void> {
    const kept = await (this.options.shelf?.refuse(item, refusal) ?? Promise.reject()).then(
      () => true,
      () => false
    )
    this.options.listener.refused(refusal, kept)
  }

  /** The server does not know the account: what is stored is anybody's. */
  disown(): void {
    void this.options.shelf?.disown().catch((error) => this.broke(error))
  }
}
