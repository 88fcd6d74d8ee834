/**
 * How much retrying a process can afford. When everything fails, every call asks for its retries at once, and the outage is multiplied: a budget
 * lets retries through only as a share of the calls. One bucket is shared by all that runs in a process, unless a layer provides another.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import { globalValue } from "effect/GlobalValue"
import * as Layer from "effect/Layer"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How many retries each call pays for. Default 0.2: retries add at most 20 % of the calls. */
  readonly ratio?: number | undefined
  /** The retries a second that are allowed whatever the calls are, so that a quiet program can retry too. Default 10. */
  readonly minPerSecond?: number | undefined
  /** The most retries that calls can pay for in advance, so that a good day does not pay for a storm. Default 100. */
  readonly burst?: number | undefined
}

/**
 * The bucket. All is synchronous: it is asked where a call has just failed, and told of every call.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** A call begins, and pays in its share. Done for every call that may be retried: it must cost next to nothing. */
  readonly deposit: () => void
  /** Takes one retry out; false when there is none left. `now` is monotonic, in milliseconds. */
  readonly withdraw: (now: number) => boolean
  /** How many retries could be taken out at that time, a fraction included. */
  readonly available: (now: number) => number
}

const amount = (what: string, value: number): number => {
  if (value >= 0 && value < Infinity) return value
  throw new RangeError(`RetryBudget: ${what} must be a number from 0 up, got ${value}`)
}

/** Sums of a fraction such as 0.2 fall short of the whole by their rounding. */
const whole = 1 - 1e-9

class Bucket implements Service {
  private paid = 0
  private reserve: number
  private readonly reserveLimit: number
  private filledAt: number | undefined

  constructor(
    private readonly ratio: number,
    private readonly minPerSecond: number,
    private readonly burst: number
  ) {
    // a minimum below one a second must still be able to grow to a whole retry
    this.reserveLimit = minPerSecond === 0 ? 0 : Math.max(1, minPerSecond)
    this.reserve = this.reserveLimit
  }

  readonly deposit = (): void => {
    const paid = this.paid + this.ratio
    this.paid = paid < this.burst ? paid : this.burst
  }

  readonly withdraw = (now: number): boolean => {
    this.fill(now)
    if (this.reserve >= whole) this.reserve -= 1
    else if (this.paid >= whole) this.paid -= 1
    else return false
    return true
  }

  readonly available = (now: number): number => {
    this.fill(now)
    return Math.max(0, this.reserve) + Math.max(0, this.paid)
  }

  private fill(now: number): void {
    // time that steps back refills nothing, and what follows is measured from there
    const elapsed = Math.max(0, now - (this.filledAt ?? now))
    this.filledAt = now
    this.reserve = Math.min(this.reserveLimit, this.reserve + (elapsed / 1000) * this.minPerSecond)
  }
}

/**
 * A budget: a token bucket that each call fills by `ratio`, and time by `minPerSecond`.
 *
 * Since it was made, it has let through at most `ratio` times the calls, plus `minPerSecond` for each second and one more.
 *
 * @since 0.1.0
 * @category constructors
 * @throws `RangeError` when a number is negative, infinite or NaN.
 */
export const make = (options: Options = {}): Service =>
  new Bucket(
    amount("ratio", options.ratio ?? 0.2),
    amount("minPerSecond", options.minPerSecond ?? 10),
    amount("burst", options.burst ?? 100)
  )

/**
 * No bound at all.
 *
 * @since 0.1.0
 * @category constructors
 */
export const unlimited: Service = { deposit: () => {}, withdraw: () => true, available: () => Infinity }

/**
 * The budget in force. The default one is the process's.
 *
 * @since 0.1.0
 * @category services
 */
export class RetryBudget extends Context.Reference<RetryBudget>()("holdfast/RetryBudget", {
  defaultValue: (): Service => globalValue("holdfast/RetryBudget/process", () => make())
}) {}

/**
 * A budget of its own for all that is run inside.
 *
 * @since 0.1.0
 * @category layers
 * @throws `RangeError` when a number is negative, infinite or NaN.
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { RetryBudget, RetryPolicy } from "holdfast"
 *
 * declare const ask: Effect.Effect<string, Error>
 *
 * const program = ask.pipe(RetryPolicy.retry({}), Effect.provide(RetryBudget.layer({ ratio: 0.1, minPerSecond: 1 })))
 * ```
 */
export const layer = (options: Options = {}): Layer.Layer<RetryBudget> => {
  make(options)
  return Layer.sync(RetryBudget, () => make(options))
}

/**
 * Lets every retry through that the policy wants.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerUnlimited: Layer.Layer<RetryBudget> = Layer.succeed(RetryBudget, unlimited)
