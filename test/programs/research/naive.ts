/** The figures once more, from their definitions alone and in other ways than the modules take, to hold these against. */
import type { Series } from "../../../src/programs/research/Prices.js"
import { get } from "./support.js"

const sum = (values: ReadonlyArray<number>) => values.reduce((total, value) => total + value, 0)
const mean = (values: ReadonlyArray<number>) => sum(values) / values.length

const returns = (closes: ReadonlyArray<number>) =>
  closes.flatMap((close, i) => (i === 0 ? [] : [close / get(closes, i - 1) - 1]))

/** From the differences of all pairs, which needs no mean. */
const variance = (values: ReadonlyArray<number>) => {
  let total = 0
  for (const a of values) for (const b of values) total += (a - b) ** 2
  return total / (2 * values.length * (values.length - 1))
}

/** The slope of y on x, by the normal equations. */
const slope = (xs: ReadonlyArray<number>, ys: ReadonlyArray<number>) => {
  const n = xs.length
  const xy = sum(xs.map((x, i) => x * get(ys, i)))
  return (n * xy - sum(xs) * sum(ys)) / (n * sum(xs.map((x) => x * x)) - sum(xs) ** 2)
}

const technical = ({ closes }: Series) => {
  const changes = closes.flatMap((close, i) => (i === 0 ? [] : [close - get(closes, i - 1)]))
  const smooth = (of: (change: number) => number): number =>
    changes.slice(14).reduce((average, change) => (13 * average + of(change)) / 14, mean(changes.slice(0, 14).map(of)))
  const strength = smooth((change) => (change > 0 ? change : 0)) / smooth((change) => (change < 0 ? -change : 0))
  return {
    sma50: sum(closes.slice(-50)) / 50,
    sma200: sum(closes.slice(-200)) / 200,
    momentum12_1: get(closes, closes.length - 22) / get(closes, closes.length - 253) - 1,
    rsi14: 100 - 100 / (1 + strength)
  }
}

const risk = ({ closes, dates }: Series) => {
  const year = returns(closes).slice(-252)
  const sorted = [...year].sort((a, b) => a - b)
  // (252 - 1) * 0.05 = 12.55
  const quantile = 0.45 * get(sorted, 12) + 0.55 * get(sorted, 13)
  let worst = { value: 0, peak: "", trough: "" }
  for (let low = 0; low < closes.length; low++) {
    for (let high = 0; high < low; high++) {
      const value = get(closes, low) / get(closes, high) - 1
      if (value < worst.value) worst = { value, peak: dates[high] ?? "", trough: dates[low] ?? "" }
    }
  }
  return {
    volatility: Math.sqrt(252 * variance(year)),
    maxDrawdown: worst,
    var95: -quantile,
    expectedShortfall95: -mean(sorted.slice(0, 13))
  }
}

const market = (series: Series, benchmark: Series) => {
  const own = returns(series.closes).slice(-252)
  const other = returns(benchmark.closes).slice(-252)
  const up = slope(other, own)
  return {
    beta: up,
    // the geometric mean of the two regression slopes
    correlation: Math.sign(up) * Math.sqrt(up * slope(own, other)),
    relativeReturn:
      (get(series.closes, -1) * get(benchmark.closes, -253)) / (get(series.closes, -253) * get(benchmark.closes, -1)) -
      1
  }
}

const seasonality = ({ closes, dates }: Series) => {
  const ends = new Map(dates.map((date, i) => [date.slice(0, 7), get(closes, i)]))
  // the last month is not over
  ends.delete((dates.at(-1) ?? "").slice(0, 7))
  const months = Array.from({ length: 12 }, (_, index) => {
    const values: Array<number> = []
    for (let year = 1990; year < 2030; year++) {
      const end = ends.get(`${year}-${String(index + 1).padStart(2, "0")}`)
      const before = ends.get(index === 0 ? `${year - 1}-12` : `${year}-${String(index).padStart(2, "0")}`)
      if (end !== undefined && before !== undefined) values.push(end / before - 1)
    }
    const average = mean(values)
    const t = average / Math.sqrt(variance(values) / values.length)
    return [String(index + 1), { mean: average, t, n: values.length }] as const
  })
  return Object.fromEntries(months)
}

const reversion = ({ closes }: Series) => {
  const last = closes.slice(-20)
  const logs = closes.slice(-253).map((close) => Math.log(close))
  const pull = slope(
    logs.slice(0, -1),
    logs.slice(1).map((log, i) => log - get(logs, i))
  )
  return {
    z20: (get(closes, -1) - mean(last)) / Math.sqrt(variance(last)),
    ar1Slope: pull,
    halfLifeDays: pull < 0 && pull > -1 ? -Math.log(2) / Math.log(1 + pull) : null
  }
}

const buyAndHoldOutOfSample = ({ closes }: Series) => {
  const start = Math.floor((closes.length * 7) / 10)
  const late = returns(closes).slice(start - 1)
  return {
    days: late.length,
    sharpe: (mean(late) / Math.sqrt(variance(late))) * Math.sqrt(252),
    totalReturn: get(closes, -1) / get(closes, start - 1) - 1
  }
}

export const figures = (series: Series, benchmark: Series) => ({
  technical: technical(series),
  risk: risk(series),
  market: market(series, benchmark),
  seasonality: seasonality(series),
  reversion: reversion(series),
  buyAndHoldOutOfSample: buyAndHoldOutOfSample(series)
})
