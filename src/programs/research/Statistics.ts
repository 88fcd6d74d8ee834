/**
 * The few statistics that the figures share. A sample's deviation and covariance divide by n - 1. Where nothing is defined, the answer is
 * `null`, never NaN or an infinity.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * A figure as it is stored and printed: a finite number, or `null` where it is not defined (its module says when).
 *
 * @since 0.1.0
 * @category models
 */
export const Figure = Schema.NullOr(Schema.Finite)

/**
 * @since 0.1.0
 * @category models
 */
export type Figure = typeof Figure.Type

/**
 * Trading days in a year, by which daily figures are annualised.
 *
 * @since 0.1.0
 * @category constants
 */
export const tradingDays = 252

/**
 * The value at an index; a negative one counts from the end, -1 being the last. A place outside of the values is a defect of the caller.
 *
 * @since 0.1.0
 * @category getters
 */
export const at = (values: ReadonlyArray<number>, index: number): number => {
  const value = values.at(index)
  if (value === undefined) throw new RangeError(`index ${index} is outside of ${values.length} values`)
  return value
}

/**
 * The last `count` values, or `null` if there are fewer.
 *
 * @since 0.1.0
 * @category getters
 */
export const window = (values: ReadonlyArray<number>, count: number): ReadonlyArray<number> | null =>
  values.length < count ? null : values.slice(values.length - count)

/**
 * The value, or `null` where it is not finite. A negative zero, which JSON does not keep, becomes zero.
 *
 * @since 0.1.0
 * @category getters
 */
export const finite = (value: number): Figure => (Number.isFinite(value) ? value + 0 : null)

/**
 * The arithmetic mean of at least one value.
 *
 * @since 0.1.0
 * @category statistics
 */
export const mean = (values: ReadonlyArray<number>): number => {
  let sum = 0
  for (const value of values) sum += value
  return sum / values.length
}

/**
 * The covariance of two samples of the same size, at least 2: the sum of the products of the deviations from the means, over n - 1.
 *
 * @since 0.1.0
 * @category statistics
 */
export const covariance = (xs: ReadonlyArray<number>, ys: ReadonlyArray<number>): number => {
  const meanX = mean(xs)
  const meanY = mean(ys)
  let sum = 0
  for (const [index, x] of xs.entries()) sum += (x - meanX) * (at(ys, index) - meanY)
  return sum / (xs.length - 1)
}

/**
 * The standard deviation of a sample of at least 2, over n - 1.
 *
 * @since 0.1.0
 * @category statistics
 */
export const deviation = (values: ReadonlyArray<number>): number => Math.sqrt(covariance(values, values))

/**
 * The standard deviation of a sample as a divisor: `null` when there are fewer than 2 values, or when it is no more than rounding would leave
 * of equal ones. `scale` is the size of what the values were computed from: 1 for returns (a ratio minus 1), the price for prices.
 *
 * @since 0.1.0
 * @category statistics
 */
export const divisor = (values: ReadonlyArray<number>, scale = 1): Figure => {
  if (values.length < 2) return null
  const value = deviation(values)
  return value > 1e-12 * Math.abs(scale) ? finite(value) : null
}

/**
 * The `p` quantile of at least one value by linear interpolation between the order statistics around `(n - 1) p`: type 7 of Hyndman & Fan
 * (1996), "Sample Quantiles in Statistical Packages", The American Statistician 50(4).
 *
 * @since 0.1.0
 * @category statistics
 */
export const quantile = (values: ReadonlyArray<number>, p: number): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const place = (sorted.length - 1) * p
  const below = Math.floor(place)
  const low = at(sorted, below)
  const high = at(sorted, Math.min(below + 1, sorted.length - 1))
  return low + (place - below) * (high - low)
}

/**
 * Simple daily returns, `P[t] / P[t-1] - 1`: one fewer than there are prices.
 *
 * @since 0.1.0
 * @category statistics
 */
export const returns = (closes: ReadonlyArray<number>): ReadonlyArray<number> =>
  closes.slice(1).map((close, index) => close / at(closes, index) - 1)
