import type { Figures, Refusal, Shelf } from "./outbox.js"

/**
 * What is told to whoever looks after it.
 *
 * @internal
 */
export interface Listener {
  /** The server takes nothing: once, and again after each recovery. */
  readonly problem: (reason: string) => void
  readonly recovery: () => void
  readonly refused: (refusal: Refusal, kept: boolean) => void
  /** So many of a request, the server did not say which. */
  readonly rejected: (items: number, reason: string) => void
  readonly lost: (items: number, reason: string) => void
  readonly shelfProblem: (error: unknown) => void
  readonly figures: (figures: { readonly queued: number; readonly stored: number; readonly sent: number }) => void
}

/**
 * The figures of a lane: told to the listener as they are, and added up in the outbox for those who look from outside.
 *
 * @internal
 */
export class Ledger {
  /** What this process has stored and not seen delivered. */
  stored = 0
  lost = 0
  private queued = 0
  private problem: string | undefined
  private noted: Figures = { sent: 0, refused: 0, lost: 0 }
  private readonly options: {
    readonly counts: { readonly sent: number; readonly refused: number }
    readonly shelf: Shelf | undefined
    readonly listener: Listener
    readonly onError: (error: unknown) => void
  }

  constructor(options: Ledger["options"]) {
    this.options = options
  }

  report(queued: number): void {
    const { counts, listener } = this.options
    listener.figures({ queued, stored: this.stored, sent: counts.sent })
  }

  async note(queued: number, problem: string | undefined): Promise<void> {
    this.report(queued)
    const { refused, sent } = this.options.counts
    const added = {
      sent: sent - this.noted.sent,
      refused: refused - this.noted.refused,
      lost: this.lost - this.noted.lost
    }
    this.noted = { sent, refused, lost: this.lost }
    const isNew = queued !== this.queued || problem !== this.problem
    if (added.sent + added.refused + added.lost === 0 && !isNew) return
    this.queued = queued
    this.problem = problem
    await this.options.shelf?.note({ added, queued, problem }).catch(this.options.onError)
  }
}
