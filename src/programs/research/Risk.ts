/**
 * How much can be lost, and how fast.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type { Series } from "./Prices.js"
import * as Statistics from "./Statistics.js"

/**
 * The deepest fall from a high.
 *
 * @since 0.1.0
 * @category models
 */
export const MaxDrawdown = Schema.Struct({
  /** A fraction from -1 to 0; 0 when there never was a fall. */
  value: Schema.Finite,
  /** The day of the high it fell from; `null` when there never was a fall. */
  peak: Schema.NullOr(Schema.String),
  /** The day of the low; `null` when there never was a fall. */
  trough: Schema.NullOr(Schema.String)
})

/**
 * @since 0.1.0
 * @category models
 */
export type MaxDrawdown = typeof MaxDrawdown.Type

/**
 * The figures of risk. But for the drawdown they are of the last 252 returns, and `null` with fewer.
 *
 * @since 0.1.0
 * @category models
 */
export const Figures = Schema.Struct({
  /** A year's standard deviation of returns, as a fraction. */
  volatility: Statistics.Figure,
  /** Over the whole series. */
  maxDrawdown: MaxDrawdown,
  /** One day's value at risk at 95 %, as a fraction: a loss is positive. */
  var95: Statistics.Figure,
  /** The mean loss of the days at or beyond the value at risk, as a fraction: a loss is positive. */
  expectedShortfall95: Statistics.Figure
})

/**
 * @since 0.1.0
 * @category models
 */
export type Figures = typeof Figures.Type

/**
 * The deepest fall: the least of `P[t] / max(P[0..t]) - 1` over the whole series, with the day of the high and of the low. Of equal highs or falls,
 * the earliest. Grossman & Zhou (1993), "Optimal Investment Strategies for Controlling Drawdowns", Mathematical Finance 3(3).
 *
 * @since 0.1.0
 * @category figures
 */
export const maxDrawdown = ({ closes, dates }: Pick<Series, "closes" | "dates">): MaxDrawdown => {
  let high = 0
  let highDay: string | null = null
  let deepest: MaxDrawdown = { value: 0, peak: null, trough: null }
  for (const [index, close] of closes.entries()) {
    const date = dates[index] ?? null
    if (highDay === null || close > high) {
      high = close
      highDay = date
    }
    const fall = close / high - 1
    if (fall < deepest.value) deepest = { value: fall, peak: highDay, trough: date }
  }
  return deepest
}

/**
 * Annualised volatility: the sample standard deviation (over n - 1) of returns, times `sqrt(252)`. Hull, "Options, Futures, and Other
 * Derivatives", on estimating volatility from historical data, with simple returns in place of logarithmic ones.
 *
 * @since 0.1.0
 * @category figures
 */
export const volatility = (returns: ReadonlyArray<number>): Statistics.Figure =>
  returns.length < 2 ? null : Statistics.finite(Statistics.deviation(returns) * Math.sqrt(Statistics.tradingDays))

/**
 * Historical value at risk: minus the `1 - level` quantile of returns, with linear interpolation (type 7 of Hyndman & Fan 1996). Jorion, "Value at
 * Risk", on historical simulation.
 *
 * @since 0.1.0
 * @category figures
 */
export const valueAtRisk = (returns: ReadonlyArray<number>, level: number): Statistics.Figure =>
  returns.length === 0 ? null : Statistics.finite(-Statistics.quantile(returns, 1 - level))

/**
 * Historical expected shortfall: minus the mean of the returns at or below the quantile of the value at risk. Acerbi & Tasche (2002), "On the
 * Coherence of Expected Shortfall", Journal of Banking & Finance 26(7).
 *
 * @since 0.1.0
 * @category figures
 */
export const expectedShortfall = (returns: ReadonlyArray<number>, level: number): Statistics.Figure => {
  if (returns.length === 0) return null
  const quantile = Statistics.quantile(returns, 1 - level)
  return Statistics.finite(-Statistics.mean(returns.filter((value) => value <= quantile)))
}

/**
 * All figures of risk of a series.
 *
 * @since 0.1.0
 * @category figures
 */
export const figures = (series: Series): Figures => {
  const year = Statistics.window(Statistics.returns(series.closes), Statistics.tradingDays)
  return {
    volatility: year === null ? null : volatility(year),
    maxDrawdown: maxDrawdown(series),
    var95: year === null ? null : valueAtRisk(year, 0.95),
    expectedShortfall95: year === null ? null : expectedShortfall(year, 0.95)
  }
}
