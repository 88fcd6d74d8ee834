/**
 * A second attempt beside a first one that is slow. What is answered first counts, the other attempt is interrupted: a few more calls for a
 * much shorter tail of slow ones. Only for what may be done twice.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Observation from "../observability/Observation.js"
import * as contest from "./internal/contest.js"
import { Latencies } from "./internal/latencies.js"
import * as numbers from "./internal/numbers.js"
import * as RetryBudget from "./RetryBudget.js"

/**
 * @since 0.1.0
 * @category symbols
 */
export const TypeId: unique symbol = Symbol.for("holdfast/Hedge")

/**
 * @since 0.1.0
 * @category symbols
 */
export type TypeId = typeof TypeId

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** When the second attempt begins, if the first has not answered. With a percentile: not before, and as long as too little is measured. */
  readonly after?: Duration.DurationInput | undefined
  /**
   * The share of calls, between 0 and 1, that answer before the second attempt begins: measured, of the last `sample` calls that answered.
   * Default 0.95 where `after` is absent, else none.
   */
  readonly percentile?: number | undefined
  /** How many calls are measured. A whole number from 1. Default 100. */
  readonly sample?: number | undefined
  /** How many must be measured before the percentile counts. A whole number from 1, at most the sample. Default 20. */
  readonly minimum?: number | undefined
  /** How many second attempts each call pays for, or a budget of your own. Default 0.1: at most 10 % more calls. */
  readonly budget?: number | RetryBudget.Service | undefined
  /** Whether to wait for the finalizers and uninterruptible parts of the slower attempt (default), or to let them end in the background. */
  readonly wait?: boolean | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Snapshot {
  /** After how many milliseconds a second attempt would begin now; absent as long as too little is measured. */
  readonly delayMillis: number | undefined
  /** How many calls have been measured, at most the sample. */
  readonly measured: number
}

/**
 * What has been measured, and the budget: whoever shares it shares both.
 *
 * @since 0.1.0
 * @category models
 */
export interface Hedge {
  readonly [TypeId]: TypeId
  readonly name: string
  readonly snapshot: Effect.Effect<Snapshot>
  /** Runs an effect, and another beside it when the first is slow. */
  readonly run: <A, E, R, A2, E2, R2>(
    self: Effect.Effect<A, E, R>,
    that: Effect.Effect<A2, E2, R2>
  ) => Effect.Effect<A | A2, E | E2, R | R2>
}

/**
 * Whether a value is a {@link Hedge}.
 *
 * @since 0.1.0
 * @category guards
 */
export const isHedge = (value: unknown): value is Hedge =>
  typeof value === "object" && value !== null && TypeId in value

/**
 * A hedge: nothing measured yet, nothing paid for.
 *
 * @since 0.1.0
 * @category constructors
 * @throws `RangeError` when a number or the duration makes no sense.
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Hedge } from "holdfast"
 *
 * declare const ask: Effect.Effect<string, Error>
 *
 * const hedge = Hedge.make("model", { percentile: 0.95, after: "300 millis" })
 * const program = ask.pipe(Hedge.hedge(hedge))
 * ```
 */
export const make = (name: string, options: Options = {}): Hedge => {
  const after = options.after === undefined ? undefined : numbers.millis("Hedge: after", options.after)
  const percentile = options.percentile ?? (after === undefined ? 0.95 : undefined)
  if (percentile !== undefined && !(percentile > 0 && percentile < 1)) {
    throw new RangeError(`Hedge: percentile must be between 0 and 1, got ${percentile}`)
  }
  const sample = numbers.count("Hedge: sample", options.sample ?? 100)
  const minimum = numbers.count("Hedge: minimum", options.minimum ?? Math.min(20, sample))
  if (minimum > sample) throw new RangeError(`Hedge: minimum must be at most the sample of ${sample}, got ${minimum}`)
  const { budget: chosen = 0.1, wait = true } = options
  const budget =
    typeof chosen === "number"
      ? RetryBudget.make({ ratio: chosen, minPerSecond: 0, burst: Math.max(10, chosen) })
      : chosen
  const latencies = new Latencies(sample)

  const delay = (): number | undefined => {
    const measured =
      percentile === undefined || latencies.count < minimum ? undefined : latencies.percentile(percentile)
    return measured === undefined || after === undefined ? (measured ?? after) : Math.max(measured, after)
  }

  const run: Hedge["run"] = (self, that) =>
    Effect.flatMap(Effect.clock, (clock) => {
      budget.deposit()
      const delayMillis = delay()
      const began = numbers.monotonic(clock)
      let outcome: contest.Outcome | undefined
      const ended = (how: contest.Outcome) => {
        outcome = how
        return Observation.annotate({ metadata: { hedge: name, hedge_outcome: how } })
      }
      const answered =
        delayMillis === undefined || delayMillis === Infinity
          ? self
          : contest.run(
              self,
              observed(name, delayMillis, that, () => outcome === "lost"),
              {
                delayMillis,
                wait,
                ended,
                mayBegin: () => budget.withdraw(numbers.monotonic(clock))
              }
            )
      // where the second attempt was first, the first one would have taken at least as long
      return percentile === undefined
        ? answered
        : Effect.tap(answered, () => latencies.record(numbers.monotonic(clock) - began))
    })

  return {
    [TypeId]: TypeId,
    name,
    snapshot: Effect.sync(() => ({ delayMillis: delay(), measured: latencies.count })),
    run
  }
}

/** The second attempt as an observation of its own. To have been slower is no fault. */
const observed = <A, E, R>(
  name: string,
  delayMillis: number,
  that: Effect.Effect<A, E, R>,
  isLost: () => boolean
): Effect.Effect<A, E, R> =>
  Observation.span(
    Effect.onInterrupt(that, () =>
      isLost()
        ? Observation.annotate({ level: "DEFAULT", statusMessage: "the first attempt answered before" })
        : Effect.void
    ),
    "hedge",
    { metadata: { hedge: name, delay_seconds: delayMillis / 1000 } }
  ) as Effect.Effect<A, E, R> // the span only adds what it then provides: R is as it was

/**
 * Runs an effect, and again beside itself when it is slow. The first answer counts, and the other attempt is interrupted. A failure before the
 * second attempt has begun passes at once; after that the other attempt may still answer, and two failures are told together. LangGraph's
 * signals and interruptions end both.
 *
 * The second attempt is a `hedge` observation; the one in force tells in `hedge_outcome` whether it `won`, `lost`, `failed` or was `denied` by
 * the budget.
 *
 * @since 0.1.0
 * @category operators
 */
export const hedge: {
  (hedge: Hedge): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, hedge: Hedge): Effect.Effect<A, E, R>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, hedge: Hedge) => hedge.run(self, self))

/**
 * The same with another effect as the second attempt, such as another model or another region.
 *
 * @since 0.1.0
 * @category operators
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Hedge } from "holdfast"
 *
 * declare const ask: Effect.Effect<string, Error>
 * declare const askElsewhere: Effect.Effect<string, Error>
 *
 * const hedge = Hedge.make("model", { after: "2 seconds" })
 * const program = ask.pipe(Hedge.hedgeWith(hedge, () => askElsewhere))
 * ```
 */
export const hedgeWith: {
  <A2, E2, R2>(
    hedge: Hedge,
    that: () => Effect.Effect<A2, E2, R2>
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A | A2, E | E2, R | R2>
  <A, E, R, A2, E2, R2>(
    self: Effect.Effect<A, E, R>,
    hedge: Hedge,
    that: () => Effect.Effect<A2, E2, R2>
  ): Effect.Effect<A | A2, E | E2, R | R2>
} = dual(
  3,
  <A, E, R, A2, E2, R2>(
    self: Effect.Effect<A, E, R>,
    hedge: Hedge,
    that: () => Effect.Effect<A2, E2, R2>
  ): Effect.Effect<A | A2, E | E2, R | R2> => hedge.run(self, Effect.suspend(that))
)
