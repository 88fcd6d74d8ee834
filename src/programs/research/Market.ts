/**
 * How a ticker moves with its benchmark.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type { Series } from "./Prices.js"
import * as Statistics from "./Statistics.js"

/**
 * The figures against the benchmark, of the last 252 returns of both; `null` with fewer.
 *
 * @since 0.1.0
 * @category models
 */
export const Figures = Schema.Struct({
  /** How much of a benchmark's move it makes; `null` also when the benchmark did not vary. */
  beta: Statistics.Figure,
  /** From -1 to 1; `null` also when either did not vary. */
  correlation: Statistics.Figure,
  /** How much more it returned than the benchmark, as a fraction of the benchmark's growth. */
  relativeReturn: Statistics.Figure
})

/**
 * @since 0.1.0
 * @category models
 */
export type Figures = typeof Figures.Type

/**
 * Beta: `cov(r, b) / var(b)` of a ticker's and a benchmark's returns on the same days. Sharpe (1964), "Capital Asset Prices", Journal of Finance
 * 19(3). `null` when the benchmark did not vary.
 *
 * @since 0.1.0
 * @category figures
 */
export const beta = (returns: ReadonlyArray<number>, benchmark: ReadonlyArray<number>): Statistics.Figure =>
  Statistics.divisor(benchmark) === null
    ? null
    : Statistics.finite(Statistics.covariance(returns, benchmark) / Statistics.covariance(benchmark, benchmark))

/**
 * Pearson's correlation: `cov(r, b) / (sd(r) sd(b))`, Pearson (1895), Proceedings of the Royal Society of London 58. `null` when either did not
 * vary.
 *
 * @since 0.1.0
 * @category figures
 */
export const correlation = (returns: ReadonlyArray<number>, benchmark: ReadonlyArray<number>): Statistics.Figure => {
  const own = Statistics.divisor(returns)
  const other = Statistics.divisor(benchmark)
  if (own === null || other === null) return null
  // rounding may leave a perfect correlation a digit beyond 1
  return Math.max(-1, Math.min(1, Statistics.covariance(returns, benchmark) / (own * other)))
}

/**
 * The relative return of a year: `(P[-1] / P[-253]) / (B[-1] / B[-253]) - 1`, the geometric excess return (Bacon, "Practical Portfolio Performance
 * Measurement and Attribution"). `null` with fewer than 253 closes of either.
 *
 * @since 0.1.0
 * @category figures
 */
export const relativeReturn = (closes: ReadonlyArray<number>, benchmark: ReadonlyArray<number>): Statistics.Figure =>
  Math.min(closes.length, benchmark.length) < 253
    ? null
    : Statistics.finite(
        Statistics.at(closes, -1) /
          Statistics.at(closes, -253) /
          (Statistics.at(benchmark, -1) / Statistics.at(benchmark, -253)) -
          1
      )

/**
 * All figures of a series against its benchmark. Both must end on the same days, as `Prices.select` gives them.
 *
 * @since 0.1.0
 * @category figures
 */
export const figures = (series: Series, benchmark: Series): Figures => {
  const own = Statistics.window(Statistics.returns(series.closes), Statistics.tradingDays)
  const other = Statistics.window(Statistics.returns(benchmark.closes), Statistics.tradingDays)
  return own === null || other === null
    ? { beta: null, correlation: null, relativeReturn: null }
    : {
        beta: beta(own, other),
        correlation: correlation(own, other),
        relativeReturn: relativeReturn(series.closes, benchmark.closes)
      }
}
