import type { Percentiles } from "../Report.js"

/** The smallest of the values that is not below so great a share of them; `sorted` ascends and is not empty. */
const nearestRank = (sorted: Float64Array, percent: number): number => {
  // whole numbers, for the rank must not depend on how a fraction is rounded
  const rank = Math.ceil((sorted.length * percent) / 100)
  return sorted[Math.max(0, rank - 1)] ?? Number.NaN
}

/**
 * By nearest rank: each is one of the values. Nothing of no values.
 *
 * @internal
 */
export const percentiles = (values: ReadonlyArray<number>): Percentiles | undefined => {
  if (values.length === 0) return undefined
  const sorted = Float64Array.from(values).sort()
  return {
    p50: nearestRank(sorted, 50),
    p95: nearestRank(sorted, 95),
    p99: nearestRank(sorted, 99),
    max: nearestRank(sorted, 100),
    mean: values.reduce((sum, value) => sum + value, 0) / values.length
  }
}
