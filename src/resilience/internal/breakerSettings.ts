/** What a person writes of a breaker, checked once and made into what the machine reads. */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import type * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"
import * as Runtime from "effect/Runtime"
import * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as ScheduleIntervals from "effect/ScheduleIntervals"
import { consecutive } from "../CircuitBreaker/Rule.js"
import type { Opening, Options } from "../CircuitBreaker.js"
import type * as Failure from "../Failure.js"
import type { Settings as MachineSettings } from "./breaker.js"
import * as numbers from "./numbers.js"

/** The break that any failure to work one out comes to. */
export const defaultBreakMillis = 60_000

type AnyFiber = Fiber.RuntimeFiber<unknown, unknown>

/** How long the next break is, in milliseconds. May throw what the user's function throws. */
export type Pause = (opening: Opening, fiber: AnyFiber, clock: Clock.Clock) => number

export interface Settings extends MachineSettings {
  readonly timed: boolean
  readonly pause: Pause
  readonly classify: Failure.Classifier | undefined
}

/** All that a fiber runs in, but for an interruption that is on its way to it. */
export const runtimeOf = (fiber: AnyFiber): Runtime.Runtime<never> =>
  Runtime.make({
    context: fiber.currentContext,
    runtimeFlags: Runtime.defaultRuntime.runtimeFlags,
    fiberRefs: FiberRefs.delete(fiber.getFiberRefs(), FiberRef.interruptedCause)
  })

/** Steps a schedule as often as the breaker has opened since it was last closed; one that has ended keeps its last pause. */
const bySchedule = (schedule: Schedule.Schedule<unknown, Opening>): Pause => {
  let state: unknown = schedule.initial
  let steps = 0
  let last = defaultBreakMillis
  let ended = false
  return (opening, fiber, clock) => {
    if (opening.openings <= steps) {
      state = schedule.initial
      steps = 0
      last = defaultBreakMillis
      ended = false
    }
    const at = clock.unsafeCurrentTimeMillis()
    // openings that others brought about are stepped over too
    for (; steps < opening.openings; steps++) {
      if (ended) continue
      const [next, , decision] = Runtime.runSync(runtimeOf(fiber))(schedule.step(at, opening, state))
      state = next
      if (ScheduleDecision.isContinue(decision)) last = Math.max(0, ScheduleIntervals.start(decision.intervals) - at)
      else ended = true
    }
    return last
  }
}

const pauseOf = (what: string, resetAfter: Options["resetAfter"]): Pause => {
  if (Schedule.isSchedule(resetAfter)) return bySchedule(resetAfter)
  if (typeof resetAfter === "function") return (opening) => numbers.millis(what, resetAfter(opening))
  const millis = numbers.millis(what, resetAfter ?? defaultBreakMillis)
  return () => millis
}

/** @throws `RangeError` when a number makes no sense. */
export const settingsOf = (name: string, options: Options): Settings => {
  const what = `circuit breaker "${name}": `
  const rule = options.rule ?? consecutive(numbers.count(`${what}failureThreshold`, options.failureThreshold ?? 5))
  const halfOpenWaitMillis = numbers.millis(`${what}halfOpenWait`, options.halfOpenWait ?? "60 seconds")
  if (halfOpenWaitMillis === 0) throw new RangeError(`${what}halfOpenWait must be above 0`)
  return {
    rule,
    timed: rule.timed === true || rule.slowerThanMillis !== undefined,
    pause: pauseOf(`${what}resetAfter`, options.resetAfter),
    successThreshold: numbers.count(`${what}successThreshold`, options.successThreshold ?? 2),
    permits: numbers.count(`${what}halfOpenPermits`, options.halfOpenPermits ?? 1),
    halfOpenWaitMillis,
    classify: options.classify
  }
}

/** A duration in words, for messages. */
export const words = (millis: number): string => Duration.format(Duration.millis(Math.ceil(millis)))
