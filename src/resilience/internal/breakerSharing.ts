/**
 * Keeps the breakers of one registry in step with a store: one fiber writes what moved here and reads what moved elsewhere. A call only ever asks
 * for a probe's lease, and only while the store answers.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Observation from "../../observability/Observation.js"
import { CircuitBreakerStoreError, type Shared, type StoreService } from "../CircuitBreaker/Store.js"
import type { SharedOptions } from "../CircuitBreaker.js"
import type { Entry, Restore, Sharing } from "./breakerGuard.js"
import * as numbers from "./numbers.js"

export interface Times {
  readonly poll: number
  readonly store: number
  readonly lease: number
}

/** @throws `RangeError` when a duration makes no sense. */
export const timesOf = (options: SharedOptions): Times => {
  const above = (what: string, input: Duration.DurationInput): number => {
    const millis = numbers.millis(`CircuitBreaker.layerRegistryShared: ${what}`, input)
    if (millis > 0 && millis < Number.POSITIVE_INFINITY) return millis
    throw new RangeError(`CircuitBreaker.layerRegistryShared: ${what} must be above 0 and finite, got ${millis} ms`)
  }
  return {
    poll: above("pollInterval", options.pollInterval ?? 250),
    store: above("storeTimeout", options.storeTimeout ?? 1000),
    lease: above("leaseTimeout", options.leaseTimeout ?? 100)
  }
}

/** What moved here and is still to be written: another one with each move. */
interface Move {
  /** Some of it was done by hand: then it is written whatever is there. */
  readonly byHand: boolean
  /** It began as closed: it holds against others who say closed too. A probe's failure does not, they know better. */
  readonly wasClosed: boolean
}

/** One breaker, and what is known of it there. */
interface Member {
  readonly entry: Entry
  /** The version there that the state here stands for; absent until the store was first asked. */
  known: number | undefined
  unwritten: Move | undefined
  /** Until when, in monotonic milliseconds, not to ask again for a lease that was denied. */
  deniedUntil: number
  readonly settled: Array<{ readonly lease: string; readonly success: boolean }>
}

/** After a denied lease others are rejected unasked for so long, in milliseconds: all probes being elsewhere must not make a query a call. */
const denial = 50

/** For so long, in milliseconds, it must have answered before that is said: one that comes and goes does not fill the log. */
const calm = 2000

const inTime = <A>(
  effect: Effect.Effect<A, CircuitBreakerStoreError>,
  millis: number
): Effect.Effect<A, CircuitBreakerStoreError> =>
  // disconnected: a driver that cannot be interrupted at once is not waited for
  Effect.timeoutFail(Effect.disconnect(effect), {
    duration: millis,
    onTimeout: () =>
      new CircuitBreakerStoreError({ operation: "sync", message: `the store gave no answer within ${millis} ms` })
  }).pipe(
    Effect.catchAllDefect((cause) =>
      Effect.fail(new CircuitBreakerStoreError({ operation: "sync", message: "the store died", cause }))
    )
  )

const sayFailing = (message: string): Effect.Effect<void> =>
  Effect.zipRight(
    Effect.logWarning(`circuit breakers go by what this process knows: ${message}`),
    Observation.event("circuit_breaker_store", {
      type: "event",
      level: "WARNING",
      statusMessage: message,
      metadata: { shared: false }
    })
  )

const sayAnswering = (): Effect.Effect<void> =>
  Effect.zipRight(
    Effect.logInfo("circuit breakers share their state again"),
    Observation.event("circuit_breaker_store", {
      type: "event",
      statusMessage: "the store answers again",
      metadata: { shared: true }
    })
  )

/** What connects breakers to a store, until the scope closes. */
export const make = (store: StoreService, times: Times): Effect.Effect<(entry: Entry) => Sharing, never, Scope.Scope> =>
  Effect.gen(function* () {
    const clock = yield* Effect.clock
    const now = () => numbers.monotonic(clock)
    const members = new Map<string, Member>()
    const wake = yield* Effect.makeLatch()
    /** Since when it answers; absent while it does not, or was not asked yet. */
    let answersSince: number | undefined
    /** Whether the last that was said is that it fails. */
    let said = false
    /** Since when the background waits for the store; infinite while it does not. */
    let waitingSince = Number.POSITIVE_INFINITY

    const failed = (error: CircuitBreakerStoreError): Effect.Effect<void> =>
      Effect.suspend(() => {
        answersSince = undefined
        if (said) return Effect.void
        said = true
        return Effect.uninterruptible(sayFailing(error.message))
      })

    /**
     * Takes an answer over, unless something moved here that is still to be written: that is newer. `before` is what was known when it was asked
     * for: an answer that is older was on its way while a newer one came, but a store that is behind even that was emptied and begins anew.
     */
    const heed = (member: Member, shared: Shared | undefined, before: number | undefined): Effect.Effect<void> =>
      Effect.withFiberRuntime((fiber) => {
        if (shared === undefined || member.unwritten !== undefined) return Effect.void
        const known = member.known ?? 0
        const emptied = shared.version < (before ?? 0)
        if (shared.version <= known && !emptied) {
          member.known = known
          return Effect.void
        }
        member.known = shared.version
        member.entry.adopt(fiber, shared, now(), emptied ? Number.POSITIVE_INFINITY : shared.version - known)
        return Effect.void
      })

    const settle = (member: Member): Effect.Effect<void, CircuitBreakerStoreError> =>
      Effect.suspend(() => {
        const [next] = member.settled
        if (next === undefined) return Effect.void
        const { id, settings } = member.entry
        const { successThreshold } = settings()
        const before = member.known
        return inTime(store.settle({ id, ...next, successThreshold }), times.store).pipe(
          Effect.tap(() => Effect.sync(() => member.settled.shift())),
          Effect.flatMap((shared) => heed(member, shared, before)),
          Effect.zipRight(settle(member))
        )
      })

    const write = (member: Member, expected: number | undefined): Effect.Effect<void, CircuitBreakerStoreError> =>
      Effect.suspend(() => {
        const { entry, unwritten } = member
        if (unwritten === undefined) return Effect.void
        const { machine } = entry
        const next = {
          id: entry.id,
          state: machine.state,
          failureCount: machine.failureCount(),
          openings: machine.openings,
          successes: machine.successes,
          remainingMillis: machine.retryAfterMillis(now())
        }
        return Effect.flatMap(
          inTime(store.write(next, unwritten.byHand ? undefined : expected), times.store),
          ({ current, written }) => {
            const insists = unwritten.wasClosed && current.state === "closed" && next.state !== "closed"
            if (!written && insists) return write(member, current.version)
            if (written) member.known = current.version
            // what moved meanwhile is written with the next round
            if (member.unwritten !== unwritten) return Effect.void
            member.unwritten = undefined
            return written ? Effect.void : heed(member, current, expected)
          }
        )
      })

    const read = (asked: ReadonlyArray<Member>): Effect.Effect<void, CircuitBreakerStoreError> =>
      Effect.suspend(() => {
        const before = asked.map(({ known }) => known)
        return Effect.flatMap(inTime(store.read(asked.map(({ entry }) => entry.id)), times.store), (found) => {
          const byId = new Map(found.map((shared) => [shared.id, shared]))
          return Effect.forEach(
            asked,
            (member, index) => {
              const shared = byId.get(member.entry.id)
              if (shared !== undefined) return heed(member, shared, before[index])
              // nobody has shared it yet, or the store was emptied: then what is known here is all there is
              member.known = 0
              if (member.entry.machine.state !== "closed") member.unwritten ??= { byHand: false, wasClosed: false }
              return Effect.void
            },
            { discard: true }
          )
        })
      })

    const round = Effect.suspend(() => {
      const all = [...members.values()]
      if (all.length === 0) return Effect.void
      return Effect.forEach(all, settle, { discard: true }).pipe(
        Effect.zipRight(Effect.forEach(all, (member) => write(member, member.known ?? 0), { discard: true })),
        Effect.zipRight(read(all)),
        Effect.zipRight(
          Effect.suspend(() => {
            answersSince ??= now()
            if (!said || now() - answersSince < calm) return Effect.void
            said = false
            return sayAnswering()
          })
        ),
        Effect.catchAll(failed)
      )
    })

    const step = Effect.suspend(() => {
      wake.unsafeClose()
      waitingSince = now()
      return Effect.ensuring(
        round,
        Effect.sync(() => {
          waitingSince = Number.POSITIVE_INFINITY
        })
      )
    })
    yield* Effect.forkScoped(Effect.forever(Effect.zipRight(step, Effect.timeoutOption(wake.await, times.poll))))

    const leaseOf = (member: Member, restore: Restore): Effect.Effect<string | undefined | false> =>
      Effect.suspend(() => {
        const at = now()
        const slow = at - waitingSince > times.lease
        if (answersSince === undefined || slow || member.unwritten !== undefined) return Effect.succeed(undefined)
        if (at < member.deniedUntil && member.deniedUntil - at <= denial) return Effect.succeed(false as const)
        const { id, settings } = member.entry
        const { halfOpenWaitMillis, permits } = settings()
        const lease = crypto.randomUUID()
        const before = member.known
        const asked = inTime(store.lease({ id, lease, permits, expiresAfterMillis: halfOpenWaitMillis }), times.lease)
        // it may have been granted, or may yet be, to nobody
        const giveBack = () => {
          member.settled.push({ lease, success: false })
          wake.unsafeOpen()
        }
        return Effect.onInterrupt(restore(asked), () => Effect.sync(giveBack)).pipe(
          Effect.flatMap(({ current, granted }) => {
            // the store was emptied: there is nobody to share with
            if (current === undefined) return Effect.succeed(undefined)
            if (!granted) member.deniedUntil = now() + denial
            return Effect.as(heed(member, current, before), granted ? lease : (false as const))
          }),
          Effect.catchAll((error) => {
            giveBack()
            return Effect.as(failed(error), undefined)
          })
        )
      })

    return (entry: Entry): Sharing => {
      const member: Member = {
        entry,
        known: undefined,
        unwritten: undefined,
        deniedUntil: 0,
        settled: []
      }
      members.set(entry.id, member)
      wake.unsafeOpen()
      return {
        moved: (byHand, from) => {
          // half-open comes of a lease, which the store has noted itself
          if (!byHand && entry.machine.state === "half-open") return
          const before = member.unwritten
          member.unwritten = {
            byHand: byHand || before?.byHand === true,
            wasClosed: before === undefined ? from === "closed" : before.wasClosed
          }
          wake.unsafeOpen()
        },
        lease: (restore) => leaseOf(member, restore),
        settle: (lease, success) => {
          member.settled.push({ lease, success })
          wake.unsafeOpen()
        }
      }
    }
  })
