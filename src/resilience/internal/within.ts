/** Ends an effect when its time is over. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as Runtime from "effect/Runtime"

type AnyFiber = Fiber.RuntimeFiber<unknown, unknown>

export const clockOf = (fiber: AnyFiber): Clock.Clock => Context.get(fiber.currentDefaultServices, Clock.Clock)

/** Longer than a timer of Node's can be: 24.8 days. */
const longestTimer = 2 ** 31 - 1

const liveClock: Clock.Clock = Effect.runSync(Effect.clock)

const runtimeOf = <R>(fiber: AnyFiber): Runtime.Runtime<R> =>
  Runtime.make({
    context: fiber.currentContext as Context.Context<R>, // what the fiber runs in is what its effect asks for
    runtimeFlags: Runtime.defaultRuntimeFlags,
    fiberRefs: fiber.getFiberRefs()
  })

type Timer = NodeJS.Timeout | { readonly sleeper: Fiber.RuntimeFiber<void>; readonly elapsed: () => void }

/** Calls back once when the time is over, unless it is stopped before. Under another Clock than the real one, such as a test's, a fiber sleeps. */
const startTimer = (fiber: AnyFiber, millis: number, elapsed: () => void): Timer => {
  if (clockOf(fiber) === liveClock && millis <= longestTimer) return setTimeout(elapsed, millis)
  const sleeper = Runtime.runFork(runtimeOf<never>(fiber), Effect.sleep(millis))
  sleeper.addObserver(elapsed)
  return { sleeper, elapsed }
}

const stopTimer = (timer: Timer): void => {
  if ("sleeper" in timer) {
    timer.sleeper.removeObserver(timer.elapsed)
    timer.sleeper.unsafeInterruptAsFork(FiberId.none)
  } else clearTimeout(timer)
}

/** Whether an interruption of this fiber would reach no other: it has forked none that is still running. */
const isChildless = (fiber: AnyFiber): boolean => {
  const children: unknown =
    "getChildren" in fiber && typeof fiber.getChildren === "function" ? fiber.getChildren() : undefined
  return children instanceof Set && children.size === 0
}

/**
 * In the fiber's own run: when the time is over, it is interrupted with a mark, and taken up again with the error where the mark comes out. So a call
 * in time costs a timer and nothing else. (A fiber for the body costs 4 times as much, `Effect.timeout`, which races two, 10 times.)
 */
const inPlace = <A, E, R, T>(
  fiber: AnyFiber,
  self: Effect.Effect<A, E, R>,
  millis: number,
  onTimeout: () => T
): Effect.Effect<A, E | T, R> =>
  Effect.uninterruptibleMask((restore) => {
    // made when it is needed, as all that only a timeout needs
    let mark: FiberId.Runtime | undefined
    const timer = startTimer(fiber, millis, () => {
      mark = FiberId.unsafeMake()
      fiber.unsafeInterruptAsFork(mark)
    })
    return Effect.matchCauseEffect(restore(self), {
      onFailure: (cause): Effect.Effect<A, E | T> => {
        stopTimer(timer)
        return mark === undefined ? Exit.failCause(cause) : recover(fiber, mark, restore(Effect.failSync(onTimeout)))
      },
      onSuccess: (value): Effect.Effect<A, E | T> => {
        stopTimer(timer)
        return mark === undefined ? Exit.succeed(value) : recover(fiber, mark, restore(Effect.failSync(onTimeout)))
      }
    })
  })

/**
 * Takes the mark back, and fails where interruptions are as they were outside: whoever else has interrupted the fiber goes first, and where nobody
 * may, as in a finalizer, it is the timeout that ended the body.
 */
const recover = <T>(fiber: AnyFiber, mark: FiberId.Runtime, failed: Effect.Effect<never, T>): Effect.Effect<never, T> =>
  Effect.suspend(() => {
    // the signal has come in even if the body ended by itself: a fiber looks what it was told before every step
    const interrupted = fiber.getFiberRef(FiberRef.interruptedCause)
    const others = Cause.filter(interrupted, (cause) => !(cause._tag === "Interrupt" && cause.fiberId === mark))
    return Effect.zipRight(FiberRef.set(FiberRef.interruptedCause, others), failed)
  })

/**
 * In a fiber of its own.
 *
 * Effect's own timeouts and races tie their fibers to a scope. Inside a concurrent `Effect.forEach` that is not the fiber that waits, so when a
 * sibling fails, `Effect.timeoutFail` goes on waiting for its timer and `Effect.raceFirst` leaves its body running. Here whoever waits holds
 * the body, and ends it in every way out.
 */
const forked = <A, E, R, T>(
  fiber: AnyFiber,
  self: Effect.Effect<A, E, R>,
  millis: number,
  wait: boolean,
  onTimeout: () => T
): Effect.Effect<A, E | T, R> =>
  Effect.async<A, E | T>((resume) => {
    const body = Runtime.runFork(runtimeOf<R>(fiber), self, { immediate: false })
    const stop = wait ? Fiber.interrupt(body) : Fiber.interruptFork(body)
    const ended = (exit: Exit.Exit<A, E>) => {
      stopTimer(timer)
      resume(exit._tag === "Failure" ? exit : Effect.zipRight(body.inheritAll, exit))
    }
    const timer = startTimer(fiber, millis, () => {
      body.removeObserver(ended)
      resume(Effect.uninterruptible(Effect.zipRight(stop, Effect.failSync(onTimeout))))
    })
    body.addObserver(ended)
    return Effect.suspend(() => {
      stopTimer(timer)
      body.removeObserver(ended)
      return stop
    })
  })

/** What has no time left is not begun; what has all the time is left alone. */
export const within = <A, E, R, T>(
  fiber: AnyFiber,
  self: Effect.Effect<A, E, R>,
  millis: number,
  wait: boolean,
  onTimeout: () => T
): Effect.Effect<A, E | T, R> => {
  if (millis === Number.POSITIVE_INFINITY || Exit.isExit(self)) return self
  if (millis <= 0) return Effect.failSync(onTimeout)
  return wait && isChildless(fiber)
    ? inPlace(fiber, self, millis, onTimeout)
    : forked(fiber, self, millis, wait, onTimeout)
}
