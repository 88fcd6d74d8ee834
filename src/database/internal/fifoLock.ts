/** A lock that is handed over in the order of asking. A semaphore would let newcomers pass those who wait, and writers would starve. */
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"

/** A place in the queue. Whoever has one gives it back with `release`, held or not, once or often. */
export interface Ticket {
  state: "waiting" | "held" | "released"
  resume: ((effect: Effect.Effect<void, SqlError>) => void) | undefined
}

export interface FifoLock {
  readonly enqueue: () => Ticket
  /** Waits for the turn; fails when it does not come within the time. */
  readonly wait: (ticket: Ticket) => Effect.Effect<void, SqlError>
  readonly release: (ticket: Ticket) => void
}

export const make = (timeoutMillis?: number | undefined): FifoLock => {
  // a Set keeps the order of insertion and forgets in constant time
  const queue = new Set<Ticket>()
  let holder: Ticket | undefined

  const grant = (ticket: Ticket): void => {
    holder = ticket
    ticket.state = "held"
    ticket.resume?.(Effect.void)
  }

  const enqueue = (): Ticket => {
    const ticket: Ticket = { state: "waiting", resume: undefined }
    if (holder === undefined) grant(ticket)
    else queue.add(ticket)
    return ticket
  }

  const release = (ticket: Ticket): void => {
    ticket.state = "released"
    if (holder !== ticket) {
      queue.delete(ticket)
      return
    }
    holder = undefined
    for (const next of queue) {
      queue.delete(next)
      grant(next)
      return
    }
  }

  const wait = (ticket: Ticket): Effect.Effect<void, SqlError> =>
    Effect.suspend(() =>
      ticket.state === "held"
        ? Effect.void
        : Effect.async<void, SqlError>((resume) => {
            const expire = () => {
              ticket.resume = undefined
              resume(
                Effect.fail(
                  new SqlError({
                    cause: Object.assign(new Error(`no turn within ${timeoutMillis} ms`), { code: "NO_TURN" }),
                    message:
                      "The embedded database has one connection, and it was not free in time: a transaction is held open, or waits for a statement outside of it"
                  })
                )
              )
            }
            const timer = timeoutMillis === undefined ? undefined : setTimeout(expire, timeoutMillis)
            ticket.resume = (effect) => {
              clearTimeout(timer)
              ticket.resume = undefined
              resume(effect)
            }
            return Effect.sync(() => {
              clearTimeout(timer)
              ticket.resume = undefined
            })
          })
    )

  return { enqueue, wait, release }
}
