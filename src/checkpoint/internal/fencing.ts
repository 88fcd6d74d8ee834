/**
 * One writer a thread. A run takes its thread's lease with its first reading; each of its writes carries the run's name, and the statement refuses
 * it when the lease is another's. Nothing here makes a round trip of its own but where another run is, or was, in the way.
 *
 * @internal
 */
import type { RunnableConfig } from "@langchain/core/runnables"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import { type CheckpointError, ThreadBusyError } from "../CheckpointError.js"
import type { Lease } from "./leases.js"
import * as runs from "./runs.js"
import type * as store from "./store.js"

export interface Options {
  /** How long a lease is good that nobody renews. */
  readonly lease: Duration.Duration
  /** How long to wait for another run to end. */
  readonly wait: Duration.Duration
  /** Whether no other process can have the database open. */
  readonly alone: boolean
}

export interface Fencing {
  /** Reads a thread; if a run begins with this, takes the lease. */
  readonly read: (
    operation: string,
    selection: store.Selection & { readonly threadId: string },
    config: RunnableConfig
  ) => Effect.Effect<ReadonlyArray<store.Loaded>, CheckpointError | ThreadBusyError>
  /** Writes to a thread, if this run may. With `last` the lease ends with this write. */
  readonly write: (
    operation: string,
    threadId: string,
    config: RunnableConfig,
    last: boolean,
    write: (guard: store.Guard) => Effect.Effect<store.Refused | undefined, CheckpointError>
  ) => Effect.Effect<void, CheckpointError | ThreadBusyError>
  /** Whether {@link Fencing.read} would take no lease. */
  readonly isRead: (threadId: string, config: RunnableConfig) => boolean
  /** As {@link Fencing.write}, where nothing has to be waited for; else `undefined` is said, and nothing was written. */
  readonly writeNow: (
    threadId: string,
    config: RunnableConfig,
    last: boolean,
    write: (guard: store.Guard, done: store.Done<store.Refused | undefined>) => void,
    done: store.Done<void>
  ) => void
}

/** A lease lives by the database's clock: waiting for one is real waiting, also where a test has stopped the time. */
const clock = Clock.make()
/**
 * How long to wait at least for a run of another process, in milliseconds. It gives its lease back some milliseconds after it has ended: whoever is
 * told of its end may be here sooner.
 */
const grace = 250

const pause = (millis: number) => Effect.sleep(Duration.millis(millis)).pipe(Effect.withClock(clock))

const busy = (reason: "held" | "lost", operation: string, threadId: string, lease: Lease | null) =>
  new ThreadBusyError({
    reason,
    operation,
    threadId,
    ...(lease === null
      ? {}
      : {
          holder: runs.describe(lease),
          since: new Date(lease.since),
          ...(lease.expires === "-infinity" ? {} : { expires: new Date(lease.expires) })
        })
  })

/** How long a saver that closes waits for its leases to be given back. A server that is gone ends them by itself. */
const patienceAtTheEnd = 2_000

/** Waits for it so long, in a fiber of its own: in a finalizer nothing else ends what tries again and again. */
const giveBack = (told: Effect.Effect<unknown>): Effect.Effect<void> =>
  Effect.flatMap(Effect.runtime<never>(), (runtime) =>
    Effect.async<void>((resume) => {
      const fiber = Runtime.runFork(runtime)(Effect.interruptible(told))
      const timer = setTimeout(() => {
        fiber.unsafeInterruptAsFork(FiberId.none)
        resume(Effect.void)
      }, patienceAtTheEnd)
      fiber.addObserver(() => {
        clearTimeout(timer)
        resume(Effect.void)
      })
    })
  )

export const make = (rows: store.Store, options: Options): Effect.Effect<Fencing, never, Scope.Scope> =>
  Effect.gen(function* () {
    const runtime = yield* Effect.runtime<never>()
    const seconds = Duration.toSeconds(options.lease)
    const patience = Duration.toMillis(options.wait)
    // what cannot be told to the database now ends by itself later
    const tell = (runs: ReadonlyArray<runs.Run>, seconds: number) =>
      Effect.catchAllCause(
        rows.extend(
          runs.map(({ name, threadId }) => ({ threadId, run: name })),
          seconds
        ),
        () => Effect.succeed([])
      )
    const held = new runs.Held(
      { lease: Duration.toMillis(options.lease) },
      {
        renew: (due) => Runtime.runPromise(runtime)(tell(due, seconds)),
        release: (ended) => Runtime.runPromise(runtime)(Effect.asVoid(tell(ended, 0)))
      }
    )
    yield* Effect.addFinalizer(() => Effect.suspend(() => giveBack(tell(held.clear(), 0))))

    /**
     * Asks until the answer is not that another run is in the way, or patience ends. `ask` is told of a run that is over although its lease is
     * not, and answers with what it got, or with the lease that it met: `null` if that has gone by now.
     */
    const patiently = <A>(
      operation: string,
      threadId: string,
      ask: (
        ended: string | undefined
      ) => Effect.Effect<{ readonly got: A } | { readonly met: Lease | null }, CheckpointError | ThreadBusyError>
    ): Effect.Effect<A, CheckpointError | ThreadBusyError> =>
      Effect.gen(function* () {
        const started = performance.now()
        let graced: number | undefined
        let ended = held.endedOn(threadId)?.name
        for (let round = 0; ; round++) {
          const answer = yield* ask(ended)
          if ("got" in answer) return answer.got
          const { met } = answer
          if (met !== null && met.run !== ended && runs.isOver(met, options.alone)) {
            ended = met.run
            continue
          }
          const now = performance.now()
          if (met !== null && runs.isElsewhere(met)) graced ??= now + grace
          const left = Math.max(started + patience, graced ?? 0) - now
          if (met !== null && left <= 0 && !runs.isEnding(met)) return yield* busy("held", operation, threadId, met)
          // a lease that came or went while the statement ran is looked at again at once
          if (met !== null || round > 2)
            yield* pause(Math.min(10 * 1.5 ** Math.min(round, 10), 500, Math.max(left, 10)))
        }
      })

    const during = <A, E>(run: runs.Run, self: Effect.Effect<A, E>): Effect.Effect<A, E> =>
      Effect.suspend(() => {
        held.enter(run)
        return Effect.ensuring(
          self,
          Effect.sync(() => held.leave(run))
        )
      })

    /** Refuses at once what begins while a run of this saver has the thread: without asking the database, which would answer later. */
    const besideNone = (operation: string, threadId: string, name: string): Effect.Effect<void, ThreadBusyError> =>
      Effect.gen(function* () {
        while (true) {
          const other = held.otherOn(threadId, name)
          if (other === undefined || patience > 0) return
          if (other.owns && !other.isEnding) {
            const lease = { run: other.name, holder: runs.holder(), since: other.since.toISOString() }
            return yield* busy("held", operation, threadId, { ...lease, expires: "-infinity" })
          }
          yield* other.owns ? pause(2) : Effect.promise(() => other.claim)
        }
      })

    const claim = (
      operation: string,
      selection: store.Selection & { readonly threadId: string },
      run: runs.Run
    ): Effect.Effect<ReadonlyArray<store.Loaded>, CheckpointError | ThreadBusyError> => {
      const { threadId } = selection
      const taken = patiently(operation, threadId, (ended) =>
        Effect.gen(function* () {
          const known = held.endedOn(threadId)?.name
          const claimed = yield* rows.claim(operation, selection, {
            threadId,
            run: run.name,
            holder: runs.holder(),
            seconds,
            ended
          })
          const { before, writes } = claimed.lease
          if (writes === null) return { met: before }
          held.own(run)
          // What was read is as old as the statement's beginning: not old enough to miss what the last holder wrote, if that one had given the
          // lease back by then, or is a run of this process that has ended.
          const isCurrent = before === null ? writes === 0 : before.writes + 1 === writes
          const isAfter = before === null || before.expires === "-infinity" || [run.name, known].includes(before.run)
          return { got: isCurrent && isAfter ? claimed.rows : yield* rows.load(operation, selection) }
        })
      )
      return Effect.suspend(() => {
        let known = () => {}
        run.claim = new Promise<void>((resolve) => {
          known = resolve
        })
        return Effect.onExit(taken, () =>
          Effect.sync(() => {
            if (!run.owns) held.drop(run)
            known()
          })
        )
      })
    }

    const callerOf = (config: RunnableConfig, threadId: string): runs.Identity | undefined =>
      runs.of(config, threadId) ?? runs.ambient(threadId)

    return {
      read: (operation, selection, config) =>
        Effect.suspend(() => {
          const { threadId } = selection
          const identity = runs.beginning(config, threadId)
          if (identity === undefined || held.get(identity.name)?.owns === true) return rows.load(operation, selection)
          if (identity.lost !== undefined) return busy("lost", operation, threadId, identity.lost)
          const begin = Effect.suspend(() => {
            const run = held.add(identity.name, threadId, config.signal)
            return during(run, claim(operation, selection, run))
          })
          return Effect.zipRight(besideNone(operation, threadId, identity.name), begin)
        }),
      write: (operation, threadId, config, last, write) => {
        const fenced = (identity: runs.Identity) => {
          if (identity.lost !== undefined) return busy("lost", operation, threadId, identity.lost)
          const run = held.add(identity.name, threadId, config.signal)
          const guarded = Effect.suspend(() => {
            const ends = last && run.calls === 1
            run.finished = last
            run.released = false
            run.renewed = performance.now()
            return Effect.flatMap(
              write({ run: run.name, unleased: !run.owns, seconds: ends ? 0 : seconds }),
              (refused): Effect.Effect<void, ThreadBusyError> => {
                if (refused === undefined) {
                  run.released = ends
                  return Effect.void
                }
                identity.lost = refused.lease ?? null
                held.drop(run)
                return busy("lost", operation, threadId, identity.lost)
              }
            )
          })
          // the last checkpoint ends the lease, which a write beside it must still find
          const alone = last ? Effect.promise(() => held.alone(run)) : Effect.void
          return during(run, Effect.zipRight(alone, guarded))
        }
        return Effect.suspend(() => {
          const own = callerOf(config, threadId)
          if (own === undefined) {
            return patiently(operation, threadId, (ended) =>
              Effect.map(write({ run: undefined, ended, unleased: true, seconds: 0 }), (refused) =>
                refused === undefined ? { got: undefined } : { met: refused.lease ?? null }
              )
            )
          }
          return fenced(own)
        })
      },
      isRead: (threadId, config) => {
        const identity = runs.beginning(config, threadId)
        return identity === undefined || held.get(identity.name)?.owns === true
      },
      writeNow: (threadId, config, last, write, done) => {
        const own = callerOf(config, threadId)
        if (own === undefined) {
          write({ run: undefined, ended: held.endedOn(threadId)?.name, unleased: true, seconds: 0 }, (exit) =>
            done(
              exit === undefined || (Exit.isSuccess(exit) && exit.value !== undefined) ? undefined : Exit.asVoid(exit)
            )
          )
          return
        }
        // the last checkpoint waits until it is alone
        if (own.lost !== undefined || (last && (held.get(own.name)?.calls ?? 0) > 0)) return done(undefined)
        const run = held.add(own.name, threadId, config.signal)
        held.enter(run)
        run.finished = last
        run.released = false
        run.renewed = performance.now()
        write({ run: run.name, unleased: !run.owns, seconds: last ? 0 : seconds }, (exit) => {
          const isRefused = exit !== undefined && Exit.isSuccess(exit) && exit.value !== undefined
          if (isRefused) {
            own.lost = exit.value.lease ?? null
            held.drop(run)
          } else run.released = last && exit !== undefined && Exit.isSuccess(exit)
          // what goes the long way is its run's next call
          if (exit === undefined) run.finished = false
          held.leave(run)
          done(isRefused || exit === undefined ? undefined : Exit.asVoid(exit))
        })
      }
    }
  })
