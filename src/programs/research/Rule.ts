/**
 * The declared family of trading rules, and the positions each takes. A position is the share of the capital that is in the ticker: 1 or 0, the rest
 * being cash that earns nothing. No rule sells short, because what borrowing a share costs is not known here.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as Statistics from "./Statistics.js"

/**
 * Invested while the mean of the last `fast` closes is above the mean of the last `slow` ones. Brock, Lakonishok & LeBaron (1992), "Simple Technical
 * Trading Rules and the Stochastic Properties of Stock Returns", Journal of Finance 47(5).
 *
 * @since 0.1.0
 * @category models
 */
export const Crossover = Schema.TaggedStruct("Crossover", { fast: Schema.Int, slow: Schema.Int })

/**
 * Invested while the last close is above the one `lookback` days before it. Moskowitz, Ooi & Pedersen (2012), "Time Series Momentum", Journal of
 * Financial Economics 104(2), without its short side and its scaling by volatility.
 *
 * @since 0.1.0
 * @category models
 */
export const Momentum = Schema.TaggedStruct("Momentum", { lookback: Schema.Int })

/**
 * Always invested.
 *
 * @since 0.1.0
 * @category models
 */
export const BuyAndHold = Schema.TaggedStruct("BuyAndHold", {})

/**
 * A trading rule.
 *
 * @since 0.1.0
 * @category models
 */
export const Rule = Schema.Union(Crossover, Momentum, BuyAndHold)

/**
 * @since 0.1.0
 * @category models
 */
export type Rule = typeof Rule.Type

/**
 * Buying and holding.
 *
 * @since 0.1.0
 * @category constructors
 */
export const buyAndHold: Rule = { _tag: "BuyAndHold" }

/**
 * A moving-average crossover.
 *
 * @since 0.1.0
 * @category constructors
 */
export const crossover = (fast: number, slow: number): Rule => ({ _tag: "Crossover", fast, slow })

/**
 * Time-series momentum.
 *
 * @since 0.1.0
 * @category constructors
 */
export const momentum = (lookback: number): Rule => ({ _tag: "Momentum", lookback })

/**
 * The family, declared before any price was looked at, and small, so that the best of it owes little to luck: buy and hold; crossovers of 10, 20
 * and 50 days over 50, 100 and 200; momentum of 3, 6 and 12 months of 21 days. Ties go to the earlier.
 *
 * @since 0.1.0
 * @category constants
 */
export const family: ReadonlyArray<Rule> = [
  buyAndHold,
  crossover(10, 50),
  crossover(10, 100),
  crossover(10, 200),
  crossover(20, 50),
  crossover(20, 100),
  crossover(20, 200),
  crossover(50, 100),
  crossover(50, 200),
  momentum(63),
  momentum(126),
  momentum(252)
]

/**
 * A short stable name, such as `crossover-50-200`.
 *
 * @since 0.1.0
 * @category getters
 */
export const id = (rule: Rule): string => {
  switch (rule._tag) {
    case "BuyAndHold":
      return "buy-and-hold"
    case "Crossover":
      return `crossover-${rule.fast}-${rule.slow}`
    case "Momentum":
      return `momentum-${rule.lookback}`
  }
}

/**
 * What the rule does, in words that fit into a sentence.
 *
 * @since 0.1.0
 * @category getters
 */
export const describe = (rule: Rule): string => {
  switch (rule._tag) {
    case "BuyAndHold":
      return "buy and hold"
    case "Crossover":
      return `hold while the ${rule.fast}-day average is above the ${rule.slow}-day average`
    case "Momentum":
      return `hold while the price is above that of ${rule.lookback} days before`
  }
}

/**
 * How many prices there must be before a day for the rule to have a signal for it. Until then its position is 0.
 *
 * @since 0.1.0
 * @category getters
 */
export const warmUp = (rule: Rule): number => {
  switch (rule._tag) {
    case "BuyAndHold":
      return 0
    case "Crossover":
      return Math.max(rule.fast, rule.slow)
    case "Momentum":
      return rule.lookback + 1
  }
}

/** The mean of the `days` closes before a day. Summed afresh for each day, so that nothing but those closes can change it, not even in rounding. */
const average = (closes: ReadonlyArray<number>, day: number, days: number): number => {
  let sum = 0
  for (let index = day - days; index < day; index++) sum += Statistics.at(closes, index)
  return sum / days
}

/** Whether to hold on a day, from the closes before it. */
const holds = (rule: Rule, closes: ReadonlyArray<number>, day: number): boolean => {
  switch (rule._tag) {
    case "BuyAndHold":
      return true
    case "Crossover":
      // by more than rounding can make two averages of the same prices differ
      return average(closes, day, rule.fast) > average(closes, day, rule.slow) * (1 + 1e-12)
    case "Momentum":
      return Statistics.at(closes, day - 1) > Statistics.at(closes, day - 1 - rule.lookback)
  }
}

/**
 * The position of each day, which its return is earned with. That of day `t` uses the closes up to `t - 1` alone: it is decided after that close and
 * held over the move to the next.
 *
 * @since 0.1.0
 * @category positions
 */
export const positions = (rule: Rule, closes: ReadonlyArray<number>): ReadonlyArray<0 | 1> => {
  const needed = warmUp(rule)
  return closes.map((_, day) => (day >= needed && holds(rule, closes, day) ? 1 : 0))
}
