import { readFileSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as fc from "fast-check"
import { Findings } from "../../../src/programs/research/Findings.js"
import * as Market from "../../../src/programs/research/Market.js"
import type { Selection } from "../../../src/programs/research/Prices.js"
import * as Reversion from "../../../src/programs/research/Reversion.js"
import * as Risk from "../../../src/programs/research/Risk.js"
import * as Seasonality from "../../../src/programs/research/Seasonality.js"
import * as Statistics from "../../../src/programs/research/Statistics.js"
import * as Strategy from "../../../src/programs/research/Strategy.js"
import * as Technical from "../../../src/programs/research/Technical.js"
import * as Naive from "./naive.js"
import { agrees, closesOf, isJson, selection, seriesOf } from "./support.js"

const Expected = Schema.Struct({
  ticker: Schema.String,
  last: Schema.String,
  technical: Technical.Figures,
  risk: Risk.Figures,
  market: Market.Figures,
  seasonality: Seasonality.Figures,
  reversion: Reversion.Figures,
  buyAndHoldOutOfSample: Schema.Struct({ days: Schema.Int, sharpe: Schema.Finite, totalReturn: Schema.Finite })
})

const expected = Schema.decodeUnknownSync(Schema.parseJson(Schema.Record({ key: Schema.String, value: Expected })))(
  readFileSync(new URL("./figures.json", import.meta.url), "utf8")
)

const findings = ({ benchmark, series }: Selection) => ({
  technical: Technical.figures(series),
  risk: Risk.figures(series),
  market: Market.figures(series, benchmark),
  seasonality: Seasonality.figures(series),
  reversion: Reversion.figures(series)
})

const all = (chosen: Selection) => {
  const { report } = Strategy.split(chosen.series.closes.length)
  const { days, sharpe, totalReturn } = Strategy.buyAndHold(chosen.series, report)
  return { ...findings(chosen), buyAndHoldOutOfSample: { days, sharpe, totalReturn } }
}

describe("the figures of real prices", () => {
  it.each(Object.keys(expected))("%s agrees with the figures worked out independently", (ticker) => {
    const { last, ticker: name, ...figures } = expected[ticker] ?? assert.fail(ticker)
    const chosen = selection(ticker)
    assert.strictEqual(name, chosen.series.ticker)
    assert.strictEqual(last, chosen.series.dates.at(-1))
    agrees(all(chosen), figures, ticker)
  })

  it.each([
    "MSFT",
    "IBM",
    "SBUX",
    "AAPL",
    "GSPC"
  ])("%s agrees with its definitions, worked out another way", (ticker) => {
    const chosen = selection(ticker)
    agrees(all(chosen), Naive.figures(chosen.series, chosen.benchmark), ticker)
  })

  it("come back from JSON through their schemas", () => {
    const found = findings(selection("IBM"))
    assert.deepStrictEqual(Schema.decodeUnknownSync(Schema.parseJson(Findings))(JSON.stringify(found)), found)
    assert.deepStrictEqual(Schema.decodeUnknownSync(Findings)({}), {})
  })
})

describe("degenerate prices", () => {
  const constant = seriesOf(new Array<number>(600).fill(0.1))

  it("that never change have no figure that needs a change", () => {
    const found = findings({ series: constant, benchmark: constant })
    isJson(found)
    assert.closeTo(found.technical.sma50 ?? Number.NaN, 0.1, 1e-15)
    assert.deepStrictEqual(found.technical.rsi14, null)
    assert.deepStrictEqual(found.technical.momentum12_1, 0)
    assert.deepStrictEqual(found.risk.volatility, 0)
    assert.deepStrictEqual(found.risk.maxDrawdown, { value: 0, peak: null, trough: null })
    assert.deepStrictEqual(found.market, { beta: null, correlation: null, relativeReturn: 0 })
    assert.deepStrictEqual(found.reversion, { z20: null, ar1Slope: null, halfLifeDays: null })
    assert.deepStrictEqual(found.seasonality[3], { mean: 0, t: null, n: 2 })
  })

  it("that grow by the same share every day vary by rounding only, which is none", () => {
    const growing = seriesOf(Array.from({ length: 600 }, (_, day) => 1.0003 ** day))
    const found = findings({ series: growing, benchmark: growing })
    isJson(found)
    assert.deepStrictEqual(found.market.beta, null)
    assert.deepStrictEqual(found.technical.rsi14, 100)
    assert.deepStrictEqual(found.reversion.halfLifeDays, null)
  })

  it("that are too few have no figures of a year", () => {
    for (const length of [1, 2, 14, 20, 252]) {
      const short = seriesOf(Array.from({ length }, (_, day) => 100 + (day % 3)))
      const found = findings({ series: short, benchmark: short })
      isJson(found)
      assert.isNull(found.technical.momentum12_1)
      assert.isNull(found.risk.var95)
      assert.isNull(found.market.relativeReturn)
      assert.isNull(found.reversion.ar1Slope)
    }
  })

  it("of one day more than a year have all figures", () => {
    const series = seriesOf(Array.from({ length: 253 }, (_, day) => 100 + ((day * 7) % 13)))
    const { market, reversion, risk, technical } = findings({ series, benchmark: series })
    for (const value of [...Object.values(technical), ...Object.values(market), risk.var95, reversion.ar1Slope]) {
      assert.isNotNull(value)
    }
  })
})

describe("Wilder's RSI", () => {
  it("is 100 when nothing was lost, 0 when nothing was gained, 50 when both were alike", () => {
    assert.strictEqual(Technical.rsi([1, 2, 3, 4], 3), 100)
    assert.strictEqual(Technical.rsi([4, 3, 2, 1], 3), 0)
    assert.strictEqual(Technical.rsi([1, 2, 1], 2), 50)
  })

  it("smooths after its first window: gains 1, 1 then a loss of 3 give (1 + 0) / 2 over (0 + 3) / 2", () => {
    assert.closeTo(Technical.rsi([1, 2, 3, 0], 2) ?? Number.NaN, 25, 1e-12)
  })
})

describe("the maximum drawdown", () => {
  it("names the high it fell from and the low, the earliest of equal ones", () => {
    const { dates } = seriesOf([1, 2, 3, 4, 5, 6, 7])
    const of = (closes: ReadonlyArray<number>) => Risk.maxDrawdown({ closes, dates })
    assert.deepStrictEqual(of([10, 5, 20, 12, 20, 10, 15]), {
      value: -0.5,
      peak: dates[0] ?? "",
      trough: dates[1] ?? ""
    })
    assert.deepStrictEqual(of([10, 9, 20, 20, 10]), { value: -0.5, peak: dates[2] ?? "", trough: dates[4] ?? "" })
    assert.deepStrictEqual(of([1, 2, 3]), { value: 0, peak: null, trough: null })
  })
})

describe("the months", () => {
  const of = (...rows: ReadonlyArray<readonly [string, number]>) =>
    Seasonality.monthlyReturns({ dates: rows.map(([date]) => date), closes: rows.map(([, close]) => close) })

  it("count when they are complete and follow one another", () => {
    const found = of(["2020-11-30", 8], ["2020-12-01", 9], ["2020-12-31", 10], ["2021-01-29", 5], ["2021-02-01", 7])
    assert.deepStrictEqual(found, [
      { month: 12, value: 0.25 },
      { month: 1, value: -0.5 }
    ])
  })

  it("do not count across a gap", () => {
    assert.deepStrictEqual(of(["2020-01-31", 1], ["2020-03-31", 2], ["2020-04-30", 3], ["2020-05-01", 4]), [
      { month: 4, value: 0.5 }
    ])
  })
})

describe("quantiles of type 7", () => {
  it("interpolate between the neighbours", () => {
    assert.strictEqual(Statistics.quantile([4, 1, 3, 2], 0.5), 2.5)
    assert.strictEqual(Statistics.quantile([4, 1, 3, 2], 0), 1)
    assert.strictEqual(Statistics.quantile([4, 1, 3, 2], 1), 4)
    assert.strictEqual(Statistics.quantile([7], 0.05), 7)
  })
})

describe("for any prices", () => {
  const closes = closesOf(260, 340)

  it("the figures keep their bounds and survive JSON", () => {
    fc.assert(
      fc.property(closes, closes, (a, b) => {
        const length = Math.min(a.length, b.length)
        const series = seriesOf(a.slice(-length))
        const found = findings({ series, benchmark: seriesOf(b.slice(-length)) })
        isJson(found)
        const { market, reversion, risk, technical } = found
        if (technical.rsi14 !== null) assert.isTrue(technical.rsi14 >= 0 && technical.rsi14 <= 100)
        assert.isTrue(risk.maxDrawdown.value >= -1 && risk.maxDrawdown.value <= 0)
        assert.isAtLeast((risk.expectedShortfall95 ?? 0) - (risk.var95 ?? 0), -1e-12)
        assert.isAtLeast(risk.volatility ?? -1, 0)
        if (market.correlation !== null) assert.isTrue(Math.abs(market.correlation) <= 1)
        if (reversion.halfLifeDays !== null) assert.isAbove(reversion.halfLifeDays, 0)
      }),
      { numRuns: 60 }
    )
  })

  it("the unit of the price changes only what is in that unit", () => {
    fc.assert(
      fc.property(closes, fc.integer({ min: -20, max: 20 }), (own, power) => {
        const unit = 2 ** power
        const one = findings({ series: seriesOf(own), benchmark: seriesOf([...own].reverse()) })
        const scaled = own.map((close) => close * unit)
        const other = findings({ series: seriesOf(scaled), benchmark: seriesOf([...own].reverse()) })
        // a power of two scales without rounding, so these are the same to the last digit
        assert.deepStrictEqual(other.risk, one.risk)
        assert.deepStrictEqual(other.market, one.market)
        assert.deepStrictEqual(other.seasonality, one.seasonality)
        assert.deepStrictEqual(other.technical.rsi14, one.technical.rsi14)
        assert.deepStrictEqual(other.technical.momentum12_1, one.technical.momentum12_1)
        assert.deepStrictEqual(other.technical.sma50, (one.technical.sma50 ?? 0) * unit)
        assert.deepStrictEqual(other.reversion.z20, one.reversion.z20)
        agrees(other.reversion.ar1Slope, one.reversion.ar1Slope, "slope", 1e-6)
      }),
      { numRuns: 40 }
    )
  })

  it("a ticker against itself has a beta and a correlation of 1 and no relative return", () => {
    fc.assert(
      fc.property(closes, (own) => {
        const { beta, correlation, relativeReturn } = Market.figures(seriesOf(own), seriesOf(own))
        if (beta !== null) agrees({ beta, correlation }, { beta: 1, correlation: 1 }, "itself")
        assert.strictEqual(relativeReturn, 0)
      }),
      { numRuns: 30 }
    )
  })

  it("what is before a figure's window does not change it", () => {
    fc.assert(
      fc.property(closes, closes, (own, past) => {
        const short = seriesOf(own.slice(-253))
        const long = seriesOf([...past, ...own.slice(-253)])
        assert.deepStrictEqual(Technical.sma(long.closes, 200), Technical.sma(short.closes, 200))
        assert.deepStrictEqual(Technical.momentum12_1(long.closes), Technical.momentum12_1(short.closes))
        assert.deepStrictEqual(Risk.figures(long).var95, Risk.figures(short).var95)
        assert.deepStrictEqual(Risk.figures(long).volatility, Risk.figures(short).volatility)
        assert.deepStrictEqual(Market.figures(long, long), Market.figures(short, short))
        assert.deepStrictEqual(Reversion.figures(long), Reversion.figures(short))
      }),
      { numRuns: 30 }
    )
  })
})
