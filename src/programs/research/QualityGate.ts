/**
 * The gate between a rule that looked good and a rule that is reported. It judges on the 20 % of the days after those of the fit, against buy and hold.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as Performance from "./Performance.js"
import type { Series } from "./Prices.js"
import * as Rule from "./Rule.js"
import * as Statistics from "./Statistics.js"
import * as Strategy from "./Strategy.js"

/**
 * What the gate asks of every rule, set before any result was seen.
 *
 * - `sharpe`: at least 0.4 after costs, about what the American stock market has paid for its risk over a century (Mehra & Prescott 1985, "The Equity
 *   Premium", Journal of Monetary Economics 15(2): 6.2 % over a deviation of 16.7 %).
 * - `maxDrawdown`: never more than 40 % below a high, from which it takes a gain of two thirds to return.
 * - `turnoverPerYear`: at most 24, a round trip a month, 2.4 % of the capital a year in costs. Beyond that the result hangs on the assumed cost.
 *
 * @since 0.1.0
 * @category constants
 */
export const thresholds = { sharpe: 0.4, maxDrawdown: -0.4, turnoverPerYear: 24 } as const

/**
 * How often a rejection goes back to choose another rule. Each look at the days of the gate uses them up a little: the best of many rules passes by
 * luck.
 *
 * @since 0.1.0
 * @category constants
 */
export const maximumReturns = 2

/**
 * One thing asked of a rule.
 *
 * @since 0.1.0
 * @category models
 */
export const Check = Schema.Struct({
  name: Schema.Literal("sharpe", "sharpe against holding", "drawdown", "drawdown against holding", "turnover"),
  passed: Schema.Boolean,
  value: Statistics.Figure,
  limit: Statistics.Figure,
  /** What was asked and what was found, as a clause. */
  sentence: Schema.String
})

/**
 * @since 0.1.0
 * @category models
 */
export type Check = typeof Check.Type

const fields = {
  id: Schema.String,
  rule: Rule.Rule,
  /** On the days of the gate, after costs. */
  performance: Performance.Performance,
  /** On the same days, of one who held all along, without costs. */
  buyAndHold: Performance.Performance,
  checks: Schema.Array(Check),
  /** The verdict in a sentence. */
  reason: Schema.String
}

/**
 * @since 0.1.0
 * @category models
 */
export const Accepted = Schema.TaggedStruct("Accepted", fields)

/**
 * @since 0.1.0
 * @category models
 */
export type Accepted = typeof Accepted.Type

/**
 * @since 0.1.0
 * @category models
 */
export const Rejected = Schema.TaggedStruct("Rejected", fields)

/**
 * @since 0.1.0
 * @category models
 */
export type Rejected = typeof Rejected.Type

/**
 * What the gate says of one rule.
 *
 * @since 0.1.0
 * @category models
 */
export const Verdict = Schema.Union(Accepted, Rejected)

/**
 * @since 0.1.0
 * @category models
 */
export type Verdict = typeof Verdict.Type

/**
 * What follows from the verdicts so far.
 *
 * @since 0.1.0
 * @category models
 */
export const Next = Schema.Union(
  /** Report the rule on the last days. */
  Schema.TaggedStruct("Report", { rule: Rule.Rule }),
  /** Choose again without these rules. */
  Schema.TaggedStruct("ChooseAgain", { excluded: Schema.Array(Rule.Rule), reason: Schema.String }),
  /** The honest end: nothing passed, nothing is reported. */
  Schema.TaggedStruct("NothingPassed", { reason: Schema.String })
)

/**
 * @since 0.1.0
 * @category models
 */
export type Next = typeof Next.Type

const ratio = (value: Statistics.Figure): string => (value === null ? "undefined" : value.toFixed(2))
const percent = (value: Statistics.Figure): string => (value === null ? "undefined" : `${(value * 100).toFixed(1)} %`)

const check = (
  name: Check["name"],
  value: Statistics.Figure,
  limit: Statistics.Figure,
  passed: boolean,
  [label, good, bad, render]: readonly [string, string, string, (value: Statistics.Figure) => string]
): Check => ({
  name,
  passed,
  value,
  limit,
  sentence: `${label} of ${render(value)} is ${passed ? good : bad} ${render(limit)}`
})

const atLeast = (value: Statistics.Figure, limit: Statistics.Figure): boolean =>
  value !== null && (limit === null || value >= limit)

/**
 * Judges a rule on the days between 50 % and 70 %. Its signals may use earlier prices; later ones are cut off before anything is computed.
 *
 * Every rule must meet the `thresholds`. A rule that times its trades must also do at least as well, after its costs, as holding without them, in Sharpe
 * ratio and in depth of the worst drawdown: else there is no reason to trade. Buy and hold is a rule like any other when the fit chose it: it passes on
 * the thresholds alone, since against itself it neither has nor claims an edge. That is an answer too: no timing was worth its costs, and holding was
 * sound. A Sharpe ratio that is not defined, as of a rule that never held, does not pass.
 *
 * @since 0.1.0
 * @category judging
 */
export const judge = (rule: Rule.Rule, series: Series): Verdict => {
  const { gate } = Strategy.split(series.closes.length)
  const known: Series = {
    ticker: series.ticker,
    dates: series.dates.slice(0, gate.to),
    closes: series.closes.slice(0, gate.to)
  }
  const own = Strategy.measure(rule, known, gate)
  const held = Strategy.buyAndHold(known, gate)
  const fall = own.maxDrawdown.value
  const heldFall = held.maxDrawdown.value
  const sharpe = (name: Check["name"], limit: Statistics.Figure, above: string, below: string) =>
    check(name, own.sharpe, limit, atLeast(own.sharpe, limit), ["a Sharpe ratio", above, below, ratio])
  const drawdown = (name: Check["name"], limit: number, above: string, below: string) =>
    check(name, fall, limit, fall >= limit, ["a worst drawdown", above, below, percent])
  const checks = [
    sharpe("sharpe", thresholds.sharpe, "at least", "below"),
    drawdown("drawdown", thresholds.maxDrawdown, "no deeper than", "deeper than"),
    check(
      "turnover",
      own.turnoverPerYear,
      thresholds.turnoverPerYear,
      own.turnoverPerYear <= thresholds.turnoverPerYear,
      ["a turnover", "at most", "above", (value) => `${ratio(value)} a year`]
    ),
    ...(rule._tag === "BuyAndHold"
      ? []
      : [
          sharpe("sharpe against holding", held.sharpe, "at least that of holding,", "below that of holding,"),
          drawdown(
            "drawdown against holding",
            heldFall,
            "no deeper than that of holding,",
            "deeper than that of holding,"
          )
        ])
  ]
  const failed = checks.filter(({ passed }) => !passed)
  const days = `On ${own.days} days from ${own.from} to ${own.to}`
  const verdict = { id: Rule.id(rule), rule, performance: own, buyAndHold: held, checks }
  if (failed.length > 0) {
    const reason = `${days}, ${Rule.id(rule)} was rejected: ${failed.map(({ sentence }) => sentence).join("; ")}.`
    return { _tag: "Rejected", ...verdict, reason }
  }
  const passed = checks.map(({ sentence }) => sentence).join("; ")
  const edge = rule._tag === "BuyAndHold" ? " It claims no edge: no rule that times its trades was chosen over it." : ""
  return { _tag: "Accepted", ...verdict, reason: `${days}, ${Rule.id(rule)} was accepted: ${passed}.${edge}` }
}

/**
 * What follows from the verdicts on one series, oldest first: report the rule that was accepted last; or choose again without the rejected ones, at most
 * `maximumReturns` times; or end with nothing.
 *
 * @since 0.1.0
 * @category judging
 */
export const next = (verdicts: ReadonlyArray<Verdict>): Next => {
  const last = verdicts.at(-1)
  if (last?._tag === "Accepted") return { _tag: "Report", rule: last.rule }
  const excluded = verdicts.map(({ rule }) => rule)
  return verdicts.length <= maximumReturns
    ? { _tag: "ChooseAgain", excluded, reason: last?.reason ?? "No rule was judged yet." }
    : nothingPassed(verdicts)
}

/**
 * The end when no rule passed, in a sentence; also for when `Strategy.fit` has none left to choose.
 *
 * @since 0.1.0
 * @category judging
 */
export const nothingPassed = (verdicts: ReadonlyArray<Verdict>): Extract<Next, { readonly _tag: "NothingPassed" }> => ({
  _tag: "NothingPassed",
  reason:
    verdicts.length === 0
      ? "Nothing passed: there was no rule to judge."
      : `Nothing passed: of the ${verdicts.length === 1 ? "rule" : `${verdicts.length} rules`} judged ` +
        `(${verdicts.map(({ id }) => id).join(", ")}), none was good enough on days it was not fitted on. ` +
        "No strategy is reported, and the last 30 % of the days stay unseen."
})
