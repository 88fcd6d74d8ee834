/**
 * When is enough enough? A rule is a small value that counts results and says when the breaker must open. The state machine around it knows
 * no rule.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import { type Window as Counted, CountWindow, TimeWindow } from "../internal/breakerWindow.js"
import * as numbers from "../internal/numbers.js"

/**
 * What a rule's window holds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Tally {
  readonly calls: number
  readonly failures: number
  /** Calls that took longer than the rule's bound, failed or not; 0 where it has none. */
  readonly slow: number
}

/**
 * The count of one rule in one breaker.
 *
 * @since 0.1.0
 * @category models
 */
export interface Counter {
  /**
   * Takes in one result; true when the breaker must open. `durationMillis` and `nowMillis` (monotonic) are 0 unless the rule is `timed`.
   */
  readonly record: (success: boolean, durationMillis: number, nowMillis: number) => boolean
  /** The failures now counted. */
  readonly failureCount: () => number
  /** What the window holds. A rule without it has no window: the breaker tells what it counted since it last closed. */
  readonly tally?: ((nowMillis: number) => Tally) | undefined
}

/**
 * Decides when enough is enough. A rule keeps its own count and is asked after every counted call.
 *
 * @since 0.1.0
 * @category models
 */
export interface Rule {
  /** A fresh count. */
  readonly start: () => Counter
  /** Whether it looks at the time; reading the clock twice a call is what it costs. Default false. */
  readonly timed?: boolean | undefined
  /** A call that took longer than this, in milliseconds, is slow; a slow probe counts as a failed one. Default none is. */
  readonly slowerThanMillis?: number | undefined
}

/**
 * Opens after so many failures in a row.
 *
 * @since 0.1.0
 * @category rules
 * @throws `RangeError` when it is no whole number from 1.
 */
export const consecutive = (failures: number): Rule => {
  const threshold = numbers.count("CircuitBreaker.consecutive", failures)
  return {
    start: () => {
      let count = 0
      return {
        record: (success) => {
          count = success ? 0 : count + 1
          return count >= threshold
        },
        failureCount: () => count
      }
    }
  }
}

/**
 * What a ratio is taken of: the last so many `calls`, or the calls of the last `duration`. The latter are kept in `buckets` (default 10) of equal
 * length, and forgotten a bucket at a time: what is looked at is between `duration` less one bucket and `duration`.
 *
 * @since 0.1.0
 * @category models
 */
export type Window =
  | { readonly calls: number; readonly duration?: undefined }
  | { readonly duration: Duration.DurationInput; readonly buckets?: number | undefined; readonly calls?: undefined }

/**
 * @since 0.1.0
 * @category models
 */
export interface RatioOptions {
  /** From this share on it opens: above 0, at most 1. Default 0.5. */
  readonly ratio?: number | undefined
  /** Default the last 100 calls. */
  readonly window?: Window | undefined
  /** With fewer calls in the window it never opens. Default 10, or as many as the window holds when that is fewer. */
  readonly minimumCalls?: number | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface SlowCallOptions extends RatioOptions {
  /** A call that takes longer is slow, whether it fails or not. */
  readonly slowerThan: Duration.DurationInput
}

const share = (what: string, value: number): number => {
  if (value > 0 && value <= 1) return value
  throw new RangeError(`${what} must be above 0 and at most 1, got ${value}`)
}

/** Checks the options once and gives what makes a fresh window. */
const windowed = (what: string, options: RatioOptions) => {
  const limit = share(`${what}: ratio`, options.ratio ?? 0.5)
  const window = options.window ?? { calls: 100 }
  let fresh: () => Counted
  let most = Number.POSITIVE_INFINITY
  if (window.duration === undefined) {
    const size = numbers.count(`${what}: window.calls`, window.calls)
    most = size
    fresh = () => new CountWindow(size)
  } else {
    const millis = numbers.millis(`${what}: window.duration`, window.duration)
    if (!(millis > 0 && millis < Number.POSITIVE_INFINITY)) {
      throw new RangeError(`${what}: window.duration must be above 0 and finite, got ${millis} ms`)
    }
    const buckets = numbers.count(`${what}: window.buckets`, window.buckets ?? 10)
    fresh = () => new TimeWindow(millis, buckets)
  }
  const minimum = numbers.count(`${what}: minimumCalls`, options.minimumCalls ?? Math.min(10, most))
  if (minimum > most) {
    throw new RangeError(
      `${what}: minimumCalls must be at most the window's ${most} calls, got ${minimum}: it would never open`
    )
  }
  return { limit, minimum, fresh, timed: window.duration !== undefined }
}

const tallyOf = ({ calls, failures, slow }: Tally): Tally => ({ calls, failures, slow })

/**
 * Opens when the share of failures among the calls of a window reaches a bound.
 *
 * @since 0.1.0
 * @category rules
 * @throws `RangeError` when a number makes no sense.
 * @example
 * ```ts
 * import { CircuitBreaker } from "holdfast"
 *
 * // half of the calls of the last 30 seconds failed, and there were at least 20
 * const rule = CircuitBreaker.failureRatio({ ratio: 0.5, window: { duration: "30 seconds" }, minimumCalls: 20 })
 * ```
 */
export const failureRatio = (options: RatioOptions = {}): Rule => {
  const { fresh, limit, minimum, timed } = windowed("CircuitBreaker.failureRatio", options)
  return {
    timed,
    start: () => {
      const window = fresh()
      return {
        record: (success, _, now) => {
          window.add(success ? 0 : 1, now)
          // a division is exact where it matters: 3 of 30 is 0.1
          return window.calls >= minimum && window.failures / window.calls >= limit
        },
        failureCount: () => window.failures,
        tally: (now) => {
          window.look(now)
          return tallyOf(window)
        }
      }
    }
  }
}

/**
 * Opens when the share of slow calls among the calls of a window reaches a bound. While half-open, a slow probe counts as a failed one.
 *
 * @since 0.1.0
 * @category rules
 * @throws `RangeError` when a number makes no sense.
 * @example
 * ```ts
 * import { CircuitBreaker } from "holdfast"
 *
 * const rule = CircuitBreaker.slowCallRatio({ slowerThan: "5 seconds", ratio: 0.8, window: { calls: 50 } })
 * ```
 */
export const slowCallRatio = (options: SlowCallOptions): Rule => {
  const what = "CircuitBreaker.slowCallRatio"
  const { fresh, limit, minimum } = windowed(what, options)
  const slowerThanMillis = numbers.millis(`${what}: slowerThan`, options.slowerThan)
  return {
    timed: true,
    slowerThanMillis,
    start: () => {
      const window = fresh()
      return {
        record: (success, duration, now) => {
          window.add((success ? 0 : 1) | (duration > slowerThanMillis ? 2 : 0), now)
          return window.calls >= minimum && window.slow / window.calls >= limit
        },
        failureCount: () => window.failures,
        tally: (now) => {
          window.look(now)
          return tallyOf(window)
        }
      }
    }
  }
}

/**
 * Opens when any of the rules does. Its figures are the largest of each rule's.
 *
 * @since 0.1.0
 * @category rules
 * @throws `RangeError` without a rule.
 * @example
 * ```ts
 * import { CircuitBreaker } from "holdfast"
 *
 * const rule = CircuitBreaker.anyOf(
 *   CircuitBreaker.consecutive(5),
 *   CircuitBreaker.failureRatio({ window: { duration: "1 minute" }, minimumCalls: 20 }),
 *   CircuitBreaker.slowCallRatio({ slowerThan: "10 seconds" })
 * )
 * ```
 */
export const anyOf = (...rules: ReadonlyArray<Rule>): Rule => {
  if (rules.length === 0) throw new RangeError("CircuitBreaker.anyOf: name at least one rule")
  const slowest = Math.min(...rules.map((rule) => rule.slowerThanMillis ?? Number.POSITIVE_INFINITY))
  return {
    timed: rules.some((rule) => rule.timed === true),
    ...(slowest === Number.POSITIVE_INFINITY ? {} : { slowerThanMillis: slowest }),
    start: () => {
      const counters = rules.map((rule) => rule.start())
      const windows = counters.flatMap(({ tally }) => (tally === undefined ? [] : [tally]))
      return {
        record: (success, duration, now) => {
          let open = false
          // every rule must see every result
          for (let i = 0; i < counters.length; i++)
            if (counters[i]?.record(success, duration, now) === true) open = true
          return open
        },
        failureCount: () => Math.max(...counters.map((counter) => counter.failureCount())),
        ...(windows.length === 0
          ? {}
          : {
              tally: (now: number) => {
                const all = windows.map((tally) => tally(now))
                return {
                  calls: Math.max(...all.map(({ calls }) => calls)),
                  failures: Math.max(...all.map(({ failures }) => failures)),
                  slow: Math.max(...all.map(({ slow }) => slow))
                }
              }
            })
      }
    }
  }
}
