/** A clock that stands still while anything works, and jumps to the next timer when nothing does. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as Scheduler from "effect/Scheduler"

interface Timer {
  readonly at: number
  readonly ring: () => void
}

export interface VirtualClock extends Clock.Clock {
  /** When the next timer is due, in milliseconds since the run began. */
  readonly next: () => number | undefined
  /** Goes to that time and rings what is due then. */
  readonly goTo: (millis: number) => void
}

/** From 0, as Effect's own test clock. */
export const makeClock = (): VirtualClock => {
  let now = 0
  /** In the order in which they are due; of the same time in the order in which they were set. */
  const timers: Array<Timer> = []
  const set = (timer: Timer): void => {
    let place = timers.length
    while (place > 0 && (timers[place - 1]?.at ?? 0) > timer.at) place--
    timers.splice(place, 0, timer)
  }
  return {
    [Clock.ClockTypeId]: Clock.ClockTypeId,
    unsafeCurrentTimeMillis: () => now,
    unsafeCurrentTimeNanos: () => BigInt(Math.round(now * 1e6)),
    currentTimeMillis: Effect.sync(() => now),
    currentTimeNanos: Effect.sync(() => BigInt(Math.round(now * 1e6))),
    sleep: (duration) =>
      Effect.async((resume) => {
        const millis = Duration.toMillis(duration)
        if (millis === Infinity) return
        const timer: Timer = { at: now + millis, ring: () => resume(Effect.void) }
        set(timer)
        return Effect.sync(() => {
          const place = timers.indexOf(timer)
          if (place >= 0) timers.splice(place, 1)
        })
      }),
    next: () => timers[0]?.at,
    goTo: (millis) => {
      now = Math.max(now, millis)
      for (let first = timers[0]; first !== undefined && first.at <= now; first = timers[0]) {
        timers.shift()
        first.ring()
      }
    }
  }
}

export interface Limits {
  /** How late it may become. */
  readonly timeoutMillis: number
  /** For how long, in real time, nothing must have happened before the clock jumps. */
  readonly settleMillis: number
  /** For how long, in real time, a run without a timer may do nothing before it counts as hung. */
  readonly patienceMillis: number
}

/**
 * How a run ended. `hung`: nothing was left that could wake it. `endless`: it was still at work when its time was over.
 */
export type Ended<A, E> =
  | { readonly _tag: "exit"; readonly exit: Exit.Exit<A, E> }
  | { readonly _tag: "hung" | "endless" }

/** Turns of Node's loop without a step of a fiber: what promises and streams take to hand a result on is over by then. */
const quietTurns = 4

/** What of Node's own is under way and will call back, other than sockets and timers, which may stand for ever. */
const isAtWork = (): boolean =>
  process.getActiveResourcesInfo().some((name) => /Req|ConnectWrap|WriteWrap|Request$/.test(name))

/** Runs an effect under the clock, which jumps whenever all is quiet. */
export const drive = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  clock: VirtualClock,
  { patienceMillis, settleMillis, timeoutMillis }: Limits
): Effect.Effect<Ended<A, E>, never, R> => {
  let steps = 0
  let waiting = 0
  const base = Scheduler.defaultScheduler
  const scheduler: Scheduler.Scheduler = {
    shouldYield: (fiber) => base.shouldYield(fiber),
    scheduleTask: (task, priority, fiber) => {
      waiting++
      base.scheduleTask(
        () => {
          waiting--
          steps++
          task()
        },
        priority,
        fiber
      )
    }
  }
  return Effect.flatMap(
    Effect.forkDaemon(self.pipe(Effect.withClock(clock), Effect.withScheduler(scheduler))),
    (fiber) =>
      Effect.async<Ended<A, E>>((resume) => {
        let over = false
        const end = (ended: Ended<A, E>): void => {
          if (over) return
          over = true
          resume(Effect.succeed(ended))
          if (ended._tag !== "exit") fiber.unsafeInterruptAsFork(FiberId.none)
        }
        fiber.addObserver((exit) => end({ _tag: "exit", exit }))
        let seen = -1
        let quiet = 0
        let since = performance.now()
        const look = (): void => {
          if (over) return
          if (steps !== seen || waiting > 0 || isAtWork()) {
            seen = steps
            quiet = 0
            since = performance.now()
          } else if (++quiet >= quietTurns) {
            jump(performance.now() - since)
            return
          }
          again()
        }
        /** On to the next timer, if all has been still for long enough. */
        const jump = (stillMillis: number): void => {
          const next = clock.next()
          if (stillMillis < (next === undefined ? patienceMillis : settleMillis)) again(1)
          else if (next === undefined) end({ _tag: "hung" })
          else if (next > timeoutMillis) end({ _tag: "endless" })
          else {
            clock.goTo(next)
            seen = -1
            again()
          }
        }
        const again = (millis?: number): void => {
          if (millis === undefined) setImmediate(look)
          else setTimeout(look, millis)
        }
        again()
        return Effect.sync(() => {
          over = true
          fiber.unsafeInterruptAsFork(FiberId.none)
        })
      })
  )
}
