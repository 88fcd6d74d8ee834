/**
 * The strategy: how the days are divided, which rule is chosen, and what it did on days that nothing before has looked at.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as Performance from "./Performance.js"
import type { Series } from "./Prices.js"
import * as Rule from "./Rule.js"
import * as Statistics from "./Statistics.js"

/**
 * The three periods, which do not overlap.
 *
 * @since 0.1.0
 * @category models
 */
export const Split = Schema.Struct({
  /** The first 50 % of the days, which a rule is chosen on. */
  fit: Performance.Period,
  /** The next 20 %, which the choice is judged on. */
  gate: Performance.Period,
  /** The last 30 %, which an accepted rule is reported on. */
  report: Performance.Period
})

/**
 * @since 0.1.0
 * @category models
 */
export type Split = typeof Split.Type

/**
 * How one rule of the family did on the days of the fit.
 *
 * @since 0.1.0
 * @category models
 */
export const Candidate = Schema.Struct({
  id: Schema.String,
  rule: Rule.Rule,
  sharpe: Statistics.Figure,
  turnoverPerYear: Schema.Finite,
  totalReturn: Schema.Finite,
  /** Why it could not be chosen; absent if it could. */
  out: Schema.optional(
    Schema.Literal(
      /** It was rejected before. */
      "excluded",
      /** Its first signal would take more than half of the days of the fit. */
      "too slow",
      /** Its returns did not vary, so there is nothing to compare. */
      "no sharpe"
    )
  )
})

/**
 * @since 0.1.0
 * @category models
 */
export type Candidate = typeof Candidate.Type

/**
 * A rule was chosen.
 *
 * @since 0.1.0
 * @category models
 */
export const Chosen = Schema.TaggedStruct("Chosen", {
  id: Schema.String,
  rule: Rule.Rule,
  /** What it does, in words. */
  description: Schema.String,
  /** On the days of the fit, after costs. */
  performance: Performance.Performance,
  /** The whole family, in its order. */
  candidates: Schema.Array(Candidate)
})

/**
 * @since 0.1.0
 * @category models
 */
export type Chosen = typeof Chosen.Type

/**
 * No rule could be chosen: all are out.
 *
 * @since 0.1.0
 * @category models
 */
export const NoneLeft = Schema.TaggedStruct("NoneLeft", {
  reason: Schema.String,
  candidates: Schema.Array(Candidate)
})

/**
 * @since 0.1.0
 * @category models
 */
export type NoneLeft = typeof NoneLeft.Type

/**
 * What `fit` came to.
 *
 * @since 0.1.0
 * @category models
 */
export const Fit = Schema.Union(Chosen, NoneLeft)

/**
 * @since 0.1.0
 * @category models
 */
export type Fit = typeof Fit.Type

/**
 * A rule on the last 30 % of the days, beside buy and hold.
 *
 * @since 0.1.0
 * @category models
 */
export const Report = Schema.Struct({
  id: Schema.String,
  rule: Rule.Rule,
  description: Schema.String,
  /** After costs. */
  performance: Performance.Performance,
  /** Of one who held all along, without costs. */
  buyAndHold: Performance.Performance,
  /** How the two compare, in a sentence. */
  summary: Schema.String
})

/**
 * @since 0.1.0
 * @category models
 */
export type Report = typeof Report.Type

/**
 * Divides `days` rows: rows below `floor(0.5 n)` to fit on, below `floor(0.7 n)` to judge on, the rest to report on. In whole numbers, so that 0.7 n is
 * not rounded down by the binary fraction.
 *
 * @since 0.1.0
 * @category periods
 */
export const split = (days: number): Split => {
  const half = Math.floor(days / 2)
  const late = Math.floor((days * 7) / 10)
  return { fit: { from: 0, to: half }, gate: { from: half, to: late }, report: { from: late, to: days } }
}

/**
 * A rule over a period, after costs. Its signals may use prices from before the period, which are past by then.
 *
 * @since 0.1.0
 * @category figures
 */
export const measure = (rule: Rule.Rule, series: Series, period: Performance.Period): Performance.Performance =>
  Performance.measure(series, Rule.positions(rule, series.closes), period)

/**
 * Buy and hold over a period, to compare with: of one who has held since before it and pays nothing. A rule has to beat it with its costs.
 *
 * @since 0.1.0
 * @category figures
 */
export const buyAndHold = (series: Series, period: Performance.Period): Performance.Performance =>
  Performance.measure(series, Rule.positions(Rule.buyAndHold, series.closes), period, 1)

/** Higher Sharpe ratio first, then the lower turnover; the sort is stable, so the family's order decides last. */
const better = (a: Candidate, b: Candidate): number =>
  (b.sharpe ?? Number.NEGATIVE_INFINITY) - (a.sharpe ?? Number.NEGATIVE_INFINITY) ||
  a.turnoverPerYear - b.turnoverPerYear

/**
 * Chooses the rule with the best Sharpe ratio after costs on the first 50 % of the days; prices after them are cut off before anything is computed.
 *
 * Every rule is measured over the same days: from the first on which the slowest of them has a signal. A rule whose first signal would take more than
 * half of the days is left out, so that with a short history only the quicker ones compete. Rules that were rejected before are given as `excluded`.
 * Ties go to the lower turnover, then to the earlier in the family.
 *
 * @since 0.1.0
 * @category choosing
 */
export const fit = (series: Series, excluded: ReadonlyArray<Rule.Rule> = []): Fit => {
  const { to } = split(series.closes.length).fit
  const past: Series = { ticker: series.ticker, dates: series.dates.slice(0, to), closes: series.closes.slice(0, to) }
  const isSlow = (rule: Rule.Rule) => Rule.warmUp(rule) > to / 2
  const from = Rule.family.reduce((latest, rule) => (isSlow(rule) ? latest : Math.max(latest, Rule.warmUp(rule))), 0)
  const gone = new Set(excluded.map(Rule.id))
  const candidates = Rule.family.map((rule): Candidate => {
    const id = Rule.id(rule)
    const { sharpe, totalReturn, turnoverPerYear } = measure(rule, past, { from, to })
    const out = gone.has(id) ? "excluded" : isSlow(rule) ? "too slow" : sharpe === null ? "no sharpe" : undefined
    return { id, rule, sharpe, totalReturn, turnoverPerYear, ...(out === undefined ? {} : { out }) }
  })
  const [best] = candidates.filter(({ out }) => out === undefined).sort(better)
  return best === undefined
    ? {
        _tag: "NoneLeft",
        reason:
          gone.size === 0
            ? "No rule could be measured: the prices do not vary, or there are too few of them."
            : "No rule is left to choose from beside those rejected.",
        candidates
      }
    : {
        _tag: "Chosen",
        id: best.id,
        rule: best.rule,
        description: Rule.describe(best.rule),
        performance: measure(best.rule, past, { from, to }),
        candidates
      }
}

/** Says plainly whether timing was worth it, and how much chance is in the figures. */
const compare = (rule: Rule.Rule, own: Performance.Performance, held: Performance.Performance): string => {
  const figures = ({ maxDrawdown, sharpe, totalReturn }: Performance.Performance) =>
    `${percent(totalReturn)}, Sharpe ratio ${sharpe === null ? "undefined" : sharpe.toFixed(2)}, worst drawdown ${percent(maxDrawdown.value)}`
  const sentence =
    rule._tag === "BuyAndHold"
      ? `From ${own.from} to ${own.to} buying and holding returned ${figures(own)} after costs.`
      : `From ${own.from} to ${own.to} ${Rule.id(rule)} returned ${figures(own)} after costs; ` +
        `holding returned ${figures(held)}: timing was ${verdict(own.sharpe, held.sharpe)} by Sharpe ratio.`
  return own.sharpeError === null
    ? sentence
    : `${sentence} Over ${own.days} days a Sharpe ratio has a standard error of ${own.sharpeError.toFixed(2)}.`
}

const percent = (value: number): string => `${(value * 100).toFixed(1)} %`

const verdict = (own: Statistics.Figure, held: Statistics.Figure): string =>
  own === null || held === null ? "not comparable" : own > held ? "better" : own < held ? "worse" : "no better"

/**
 * A rule on the last 30 % of the days beside buy and hold. Only for a rule that the gate accepted: once looked at, these days can judge nothing more.
 *
 * @since 0.1.0
 * @category figures
 */
export const report = (rule: Rule.Rule, series: Series): Report => {
  const period = split(series.closes.length).report
  const performance = measure(rule, series, period)
  const held = buyAndHold(series, period)
  return {
    id: Rule.id(rule),
    rule,
    description: Rule.describe(rule),
    performance,
    buyAndHold: held,
    summary: compare(rule, performance, held)
  }
}
