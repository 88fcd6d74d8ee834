/**
 * Whether some calendar months were better than others.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type { Series } from "./Prices.js"
import * as Statistics from "./Statistics.js"

/**
 * One calendar month over the years.
 *
 * @since 0.1.0
 * @category models
 */
export const Month = Schema.Struct({
  /** Mean return, as a fraction; `null` with no such month. */
  mean: Statistics.Figure,
  /** The mean over its standard error; beyond about 2 it is unlikely to be chance. `null` with fewer than 2 such months, or when they did not vary. */
  t: Statistics.Figure,
  /** How many such months there are. */
  n: Schema.NonNegativeInt
})

/**
 * @since 0.1.0
 * @category models
 */
export type Month = typeof Month.Type

/**
 * The months of the year, as keys.
 *
 * @since 0.1.0
 * @category models
 */
export const MonthNumber = Schema.Literal("1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12")

/**
 * @since 0.1.0
 * @category models
 */
export type MonthNumber = typeof MonthNumber.Type

/**
 * By month of the year, `"1"` (January) to `"12"`; every month is there.
 *
 * @since 0.1.0
 * @category models
 */
export const Figures = Schema.Record({ key: MonthNumber, value: Month })

/**
 * @since 0.1.0
 * @category models
 */
export type Figures = typeof Figures.Type

/** Months since the year 0, so that successive ones differ by 1. */
const monthOf = (date: string): number => Number(date.slice(0, 4)) * 12 + Number(date.slice(5, 7)) - 1

/**
 * The return of each complete calendar month: its last close over the last close of the month before, minus 1. A month is complete when a day of
 * a later month follows in the series, so the last one never is; and the month before must be there, so the first one has no return.
 *
 * @since 0.1.0
 * @category figures
 */
export const monthlyReturns = ({
  closes,
  dates
}: Pick<Series, "closes" | "dates">): ReadonlyArray<{ readonly month: number; readonly value: number }> => {
  const ends: Array<{ readonly month: number; readonly close: number }> = []
  for (const [index, date] of dates.entries()) {
    const following = dates[index + 1]
    if (following !== undefined && monthOf(following) !== monthOf(date)) {
      ends.push({ month: monthOf(date), close: Statistics.at(closes, index) })
    }
  }
  return ends.flatMap(({ close, month }, index) => {
    const before = ends[index - 1]
    return before !== undefined && before.month === month - 1
      ? [{ month: (month % 12) + 1, value: close / before.close - 1 }]
      : []
  })
}

/**
 * Mean return by calendar month with its t statistic, `mean / (sd / sqrt(n))`, the deviation over n - 1. Rozeff & Kinney (1976), "Capital Market
 * Seasonality", Journal of Financial Economics 3(4); Student (1908), Biometrika 6(1). With twelve months looked at, one beyond 2 is more likely than
 * not by chance alone.
 *
 * @since 0.1.0
 * @category figures
 */
export const figures = (series: Pick<Series, "closes" | "dates">): Figures => {
  const all = monthlyReturns(series)
  const month = (number: number): Month => {
    const values = all.filter((entry) => entry.month === number).map((entry) => entry.value)
    const deviation = Statistics.divisor(values)
    return {
      mean: values.length === 0 ? null : Statistics.finite(Statistics.mean(values)),
      t:
        deviation === null ? null : Statistics.finite(Statistics.mean(values) / (deviation / Math.sqrt(values.length))),
      n: values.length
    }
  }
  return {
    "1": month(1),
    "2": month(2),
    "3": month(3),
    "4": month(4),
    "5": month(5),
    "6": month(6),
    "7": month(7),
    "8": month(8),
    "9": month(9),
    "10": month(10),
    "11": month(11),
    "12": month(12)
  }
}
