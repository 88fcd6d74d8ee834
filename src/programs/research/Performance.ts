/**
 * What positions earned over a period, after costs.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type { Series } from "./Prices.js"
import * as Risk from "./Risk.js"
import * as Statistics from "./Statistics.js"

/**
 * Days by row index, from `from` (with it) to `to` (without it).
 *
 * @since 0.1.0
 * @category models
 */
export const Period = Schema.Struct({ from: Schema.NonNegativeInt, to: Schema.NonNegativeInt })

/**
 * @since 0.1.0
 * @category models
 */
export type Period = typeof Period.Type

/**
 * The figures of a period.
 *
 * @since 0.1.0
 * @category models
 */
export const Performance = Schema.Struct({
  /** The first day. */
  from: Schema.String,
  /** The last day. */
  to: Schema.String,
  days: Schema.NonNegativeInt,
  /** Annualised, without a risk-free rate; `null` when the returns did not vary, as when nothing was ever held. */
  sharpe: Statistics.Figure,
  /** The standard error of the Sharpe ratio, annualised; `null` with it. */
  sharpeError: Statistics.Figure,
  /** A fraction, compounded, after costs. */
  totalReturn: Schema.Finite,
  /** A year's standard deviation of returns, as a fraction; `null` with fewer than 2 days. */
  volatility: Statistics.Figure,
  /** Of the capital, from the day before the period on. */
  maxDrawdown: Risk.MaxDrawdown,
  /** The sum of the changes of position, each buying or selling of everything counting 1. */
  turnover: Schema.Finite,
  /** The turnover of a year of 252 days. */
  turnoverPerYear: Schema.Finite,
  /** The sum of what was paid for trading, as fractions of the capital of each day. */
  costs: Schema.Finite,
  /** The mean position: the share of the days that was invested. */
  exposure: Schema.Finite
})

/**
 * @since 0.1.0
 * @category models
 */
export type Performance = typeof Performance.Type

/**
 * What a trade costs: 10 basis points (0.1 %) of what is traded, for each unit of change of the position. Buying with all of the capital costs 0.1 %
 * of it, selling everything another 0.1 %.
 *
 * @since 0.1.0
 * @category constants
 */
export const costPerTrade = 0.001

/**
 * The Sharpe ratio: mean over sample deviation of daily returns, times `sqrt(252)`, without a risk-free rate. Sharpe (1966), "Mutual Fund Performance",
 * Journal of Business 39(1); annualised as for returns that are independent over time (Lo 2002, "The Statistics of Sharpe Ratios", Financial Analysts
 * Journal 58(4)). `null` with fewer than 2 returns, or when they did not vary.
 *
 * @since 0.1.0
 * @category figures
 */
export const sharpe = (returns: ReadonlyArray<number>): Statistics.Figure => {
  const deviation = Statistics.divisor(returns)
  return deviation === null
    ? null
    : Statistics.finite((Statistics.mean(returns) / deviation) * Math.sqrt(Statistics.tradingDays))
}

/**
 * The standard error of an annualised Sharpe ratio over `days` independent daily returns: `sqrt((1 + s^2 / 2) / days) * sqrt(252)`, `s` being the daily
 * ratio (Lo 2002, equation 9).
 *
 * @since 0.1.0
 * @category figures
 */
export const sharpeError = (annual: Statistics.Figure, days: number): Statistics.Figure =>
  annual === null || days === 0 ? null : Statistics.finite(Math.sqrt((Statistics.tradingDays + annual ** 2 / 2) / days))

/**
 * Accounts for the positions over a period. A day earns `position * return - costPerTrade * |position - position of the day before|`, the return being
 * `P[t] / P[t-1] - 1`. Row 0 has no return and is left out.
 *
 * A period is accounted for on its own: unless `held` says what was held before it, the capital is in cash, so whoever holds on the first day pays for
 * having bought. Nothing is paid for selling at its end, since nothing is sold.
 *
 * @since 0.1.0
 * @category figures
 */
export const measure = (
  series: Pick<Series, "closes" | "dates">,
  positions: ReadonlyArray<number>,
  period: Period,
  held = 0
): Performance => {
  const first = Math.max(period.from, 1)
  const end = Math.min(period.to, series.closes.length)
  const returns: Array<number> = []
  const capital: Array<number> = [1]
  let before = held
  let turnover = 0
  let exposure = 0
  let growth = 1
  for (let day = first; day < end; day++) {
    const position = Statistics.at(positions, day)
    const traded = Math.abs(position - before)
    const move = Statistics.at(series.closes, day) / Statistics.at(series.closes, day - 1) - 1
    // no more than all can be lost, not even by a cost on top of a fall to nothing
    const earned = Math.max(-1, position * move - costPerTrade * traded)
    before = position
    turnover += traded
    exposure += position
    growth = Math.min(growth * (1 + earned), Number.MAX_VALUE)
    returns.push(earned)
    capital.push(growth)
  }
  const days = returns.length
  const annual = sharpe(returns)
  return {
    from: series.dates[first] ?? "",
    to: series.dates[end - 1] ?? "",
    days,
    sharpe: annual,
    sharpeError: sharpeError(annual, days),
    totalReturn: growth - 1,
    volatility: Risk.volatility(returns),
    maxDrawdown: Risk.maxDrawdown({ closes: capital, dates: series.dates.slice(first - 1, end) }),
    turnover,
    turnoverPerYear: days === 0 ? 0 : (turnover * Statistics.tradingDays) / days,
    costs: turnover * costPerTrade,
    exposure: days === 0 ? 0 : exposure / days
  }
}
