/** Numbers that a person writes, checked where they are written; and the time that the operators go by. */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/**
 * A duration as milliseconds. `Duration.decode` makes negative and NaN ones zero: a mistake that would turn a bound into none or into an
 * instant one, so they are refused here. `Infinity` is kept.
 *
 * @throws `RangeError`
 */
export const millis = (what: string, input: Duration.DurationInput): number => {
  const wrong = (got: unknown) => new RangeError(`${what} must be a duration from 0 up, got ${got}`)
  if (typeof input === "number" || typeof input === "bigint") {
    if (!(input >= 0)) throw wrong(input)
  } else if (typeof input === "string") {
    if (input.startsWith("-")) throw wrong(`"${input}"`)
  } else if (!Duration.isDuration(input) && !input.every((part) => part >= 0)) {
    throw wrong(`[${input.join(", ")}]`)
  }
  try {
    return Duration.toMillis(input)
  } catch {
    throw wrong(`"${String(input)}"`)
  }
}

/**
 * A whole number from 1.
 *
 * @throws `RangeError`
 */
export const count = (what: string, value: number): number => {
  if (Number.isInteger(value) && value >= 1) return value
  throw new RangeError(`${what} must be a whole number from 1, got ${value}`)
}

/**
 * Milliseconds that never step back with the wall clock. `Clock.currentTimeNanos` is not asked: under TestClock it dies at an instant that
 * is no whole nanosecond, which any jittered pause leads to.
 */
export const monotonic = (clock: Clock.Clock): number =>
  // the same time, without a bigint for each look
  clock === liveClock ? performance.now() : Number(clock.unsafeCurrentTimeNanos()) / 1e6

const liveClock: Clock.Clock = Effect.runSync(Effect.clock)
