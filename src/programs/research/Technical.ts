/**
 * Where the price stands against its own past.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type { Series } from "./Prices.js"
import * as Statistics from "./Statistics.js"

/**
 * The technical figures on the last day.
 *
 * @since 0.1.0
 * @category models
 */
export const Figures = Schema.Struct({
  /** Mean of the last 50 closes, in the price's unit; `null` with fewer. */
  sma50: Statistics.Figure,
  /** Mean of the last 200 closes, in the price's unit; `null` with fewer. */
  sma200: Statistics.Figure,
  /** The return of the last 12 months without the last one, as a fraction; `null` with fewer than 253 closes. */
  momentum12_1: Statistics.Figure,
  /** Wilder's relative strength index of 14 days, 0 to 100; `null` with fewer than 15 closes, or when the price never changed. */
  rsi14: Statistics.Figure
})

/**
 * @since 0.1.0
 * @category models
 */
export type Figures = typeof Figures.Type

/**
 * The simple moving average: the mean of the last `days` closes. `null` with fewer.
 *
 * @since 0.1.0
 * @category figures
 */
export const sma = (closes: ReadonlyArray<number>, days: number): Statistics.Figure => {
  const last = Statistics.window(closes, days)
  return last === null ? null : Statistics.finite(Statistics.mean(last))
}

/**
 * 12-1 month momentum: `P[-22] / P[-253] - 1`, with indices from the end and -1 the last close, a month being 21 trading days. The last month is
 * left out because returns reverse within a month. Jegadeesh & Titman (1993), "Returns to Buying Winners and Selling Losers", Journal of Finance
 * 48(1); the skipped month as in Fama & French (1996), Journal of Finance 51(1). `null` with fewer than 253 closes.
 *
 * @since 0.1.0
 * @category figures
 */
export const momentum12_1 = (closes: ReadonlyArray<number>): Statistics.Figure =>
  closes.length < 253 ? null : Statistics.finite(Statistics.at(closes, -22) / Statistics.at(closes, -253) - 1)

/**
 * Wilder's relative strength index: `100 - 100 / (1 + G / L)`. `G` and `L` are the average gain and loss: first the mean over the first `days`
 * changes of the whole series, then smoothed to its end by `A = (A (days - 1) + x) / days`. Wilder (1978), "New Concepts in Technical Trading
 * Systems". 100 when nothing was ever lost; `null` with fewer than `days + 1` closes, or when the price never changed, since it then has neither
 * strength nor weakness.
 *
 * @since 0.1.0
 * @category figures
 */
export const rsi = (closes: ReadonlyArray<number>, days: number): Statistics.Figure => {
  if (closes.length < days + 1) return null
  let gain = 0
  let loss = 0
  for (let index = 1; index < closes.length; index++) {
    const change = Statistics.at(closes, index) - Statistics.at(closes, index - 1)
    const up = Math.max(change, 0)
    const down = Math.max(-change, 0)
    if (index <= days) {
      gain += up / days
      loss += down / days
    } else {
      gain = (gain * (days - 1) + up) / days
      loss = (loss * (days - 1) + down) / days
    }
  }
  return gain + loss === 0 ? null : Statistics.finite(100 * (gain / (gain + loss)))
}

/**
 * All technical figures of a series.
 *
 * @since 0.1.0
 * @category figures
 */
export const figures = ({ closes }: Series): Figures => ({
  sma50: sma(closes, 50),
  sma200: sma(closes, 200),
  momentum12_1: momentum12_1(closes),
  rsi14: rsi(closes, 14)
})
