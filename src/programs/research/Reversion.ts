/**
 * Whether the price is stretched, and whether it tends to come back.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type { Series } from "./Prices.js"
import * as Statistics from "./Statistics.js"

/**
 * The figures of mean reversion on the last day.
 *
 * @since 0.1.0
 * @category models
 */
export const Figures = Schema.Struct({
  /** How many deviations the last close is above the mean of the last 20; `null` with fewer, or when they did not vary. */
  z20: Statistics.Figure,
  /** The pull back to the mean, a day; `null` with fewer than 253 closes, or when they did not vary. Negative when there is one. */
  ar1Slope: Statistics.Figure,
  /** Days until half of a gap is closed; `null` when the price does not revert: the slope is not between -1 and 0, or is `null`. */
  halfLifeDays: Statistics.Figure
})

/**
 * @since 0.1.0
 * @category models
 */
export type Figures = typeof Figures.Type

/**
 * The last close against the last `days` of which it is one: `(P[-1] - mean) / sd`, the deviation over n - 1. As in Bollinger (2001), "Bollinger on
 * Bollinger Bands", whose bands are two deviations from the mean of 20 days.
 *
 * @since 0.1.0
 * @category figures
 */
export const zScore = (closes: ReadonlyArray<number>, days: number): Statistics.Figure => {
  const last = Statistics.window(closes, days)
  if (last === null || last.length === 0) return null
  const mean = Statistics.mean(last)
  const deviation = Statistics.divisor(last, mean)
  return deviation === null ? null : Statistics.finite((Statistics.at(last, -1) - mean) / deviation)
}

/**
 * The slope of an AR(1) fit: least squares of the change of the log price, `ln P[t] - ln P[t-1]`, on its level `ln P[t-1]`, with an intercept, over
 * all changes of the closes given. The regression of Dickey & Fuller (1979), Journal of the American Statistical Association 74(366), without lags.
 * A slope below 0 is what small samples show of a random walk too, so it is a description and no test. `null` with fewer than 3 closes, or when they
 * did not vary.
 *
 * @since 0.1.0
 * @category figures
 */
export const ar1Slope = (closes: ReadonlyArray<number>): Statistics.Figure => {
  const logs = closes.map(Math.log)
  const levels = logs.slice(0, -1)
  if (levels.length < 2 || Statistics.divisor(levels) === null) return null
  const changes = levels.map((level, index) => Statistics.at(logs, index + 1) - level)
  return Statistics.finite(Statistics.covariance(levels, changes) / Statistics.covariance(levels, levels))
}

/**
 * The half-life of a gap under an AR(1) slope: `-ln 2 / ln(1 + slope)` days, the time in which an Ornstein-Uhlenbeck process (Uhlenbeck & Ornstein
 * 1930, Physical Review 36) closes half of it; Poterba & Summers (1988), "Mean Reversion in Stock Prices", Journal of Financial Economics 22(1).
 * `null` unless the slope is between -1 and 0.
 *
 * @since 0.1.0
 * @category figures
 */
export const halfLife = (slope: Statistics.Figure): Statistics.Figure =>
  slope === null || slope >= 0 || slope <= -1 ? null : Statistics.finite(-Math.LN2 / Math.log1p(slope))

/**
 * All figures of mean reversion of a series: 20 days for the z-score, the last 252 changes for the AR(1) fit.
 *
 * @since 0.1.0
 * @category figures
 */
export const figures = ({ closes }: Pick<Series, "closes">): Figures => {
  const year = Statistics.window(closes, Statistics.tradingDays + 1)
  const slope = year === null ? null : ar1Slope(year)
  return { z20: zScore(closes, 20), ar1Slope: slope, halfLifeDays: halfLife(slope) }
}
