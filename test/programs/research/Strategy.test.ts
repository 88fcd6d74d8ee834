import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as fc from "fast-check"
import * as Performance from "../../../src/programs/research/Performance.js"
import * as Rule from "../../../src/programs/research/Rule.js"
import * as Strategy from "../../../src/programs/research/Strategy.js"
import { agrees, closesOf, get, isJson, selection, seriesOf } from "./support.js"

describe("positions", () => {
  it("of a crossover hold the day after the fast average is above the slow one", () => {
    //            averages of 1 / of 2 before the day:  -     -      2/1.5   3/2.5   1/2    0.5/.75
    assert.deepStrictEqual(Rule.positions(Rule.crossover(1, 2), [1, 2, 3, 1, 0.5, 9]), [0, 0, 1, 1, 0, 0])
  })

  it("of momentum hold the day after the price is above that of the lookback", () => {
    assert.deepStrictEqual(Rule.positions(Rule.momentum(2), [1, 5, 2, 2, 2, 9]), [0, 0, 0, 1, 0, 0])
  })

  it("of buy and hold always hold", () => {
    assert.deepStrictEqual(Rule.positions(Rule.buyAndHold, [3, 2, 1]), [1, 1, 1])
  })

  it("begin with the first day that has a signal", () => {
    const rising = Array.from({ length: 300 }, (_, day) => 100 + day)
    for (const rule of Rule.family) {
      assert.strictEqual(Rule.positions(rule, rising).indexOf(1), Rule.warmUp(rule), Rule.id(rule))
    }
  })

  it("never look ahead: later prices do not change a position, and the price of the day itself does not either", () => {
    fc.assert(
      fc.property(
        closesOf(280, 320),
        closesOf(280, 320),
        fc.integer({ min: 0, max: 279 }),
        fc.constantFrom(...Rule.family),
        (past, other, day, rule) => {
          const changed = [...past.slice(0, day), ...other.slice(day)]
          const before = Rule.positions(rule, past).slice(0, day + 1)
          assert.deepStrictEqual(Rule.positions(rule, changed).slice(0, day + 1), before)
        }
      ),
      { numRuns: 200 }
    )
  })

  it("do not depend on the unit of the price", () => {
    fc.assert(
      fc.property(closesOf(280, 300), fc.constantFrom(...Rule.family), (closes, rule) => {
        const doubled = closes.map((close) => close * 2)
        assert.deepStrictEqual(Rule.positions(rule, doubled), Rule.positions(rule, closes))
      }),
      { numRuns: 50 }
    )
  })
})

describe("the family", () => {
  it("has one name a rule", () => {
    assert.strictEqual(new Set(Rule.family.map(Rule.id)).size, Rule.family.length)
    assert.deepStrictEqual(Rule.id(Rule.crossover(50, 200)), "crossover-50-200")
    assert.include(Rule.describe(Rule.momentum(63)), "63 days")
  })

  it("comes back from JSON through its schema", () => {
    const decode = Schema.decodeUnknownSync(Schema.parseJson(Schema.Array(Rule.Rule)))
    assert.deepStrictEqual(decode(JSON.stringify(Rule.family)), Rule.family)
  })
})

describe("performance", () => {
  it("by hand: buys, holds, sells; pays for each trade", () => {
    const series = seriesOf([100, 110, 121, 60.5, 121])
    const found = Performance.measure(series, [0, 1, 1, 0, 1], { from: 1, to: 5 })
    // 10 % less the purchase, 10 %, the sale alone, 100 % less the purchase
    const earned = [0.099, 0.1, -0.001, 0.999]
    const growth = 1.099 * 1.1 * 0.999 * 1.999
    assert.strictEqual(found.days, 4)
    assert.closeTo(found.totalReturn, growth - 1, 1e-12)
    assert.strictEqual(found.turnover, 3)
    assert.closeTo(found.costs, 0.003, 1e-15)
    assert.strictEqual(found.turnoverPerYear, 3 * 63)
    assert.strictEqual(found.exposure, 0.75)
    assert.closeTo(found.maxDrawdown.value, -0.001, 1e-12)
    assert.deepStrictEqual([found.maxDrawdown.peak, found.maxDrawdown.trough], [series.dates[2], series.dates[3]])
    const mean = earned.reduce((a, b) => a + b) / 4
    const deviation = Math.sqrt(earned.reduce((total, value) => total + (value - mean) ** 2, 0) / 3)
    assert.closeTo(found.sharpe ?? Number.NaN, (mean / deviation) * Math.sqrt(252), 1e-9)
    assert.deepStrictEqual([found.from, found.to], [series.dates[1], series.dates[4]])
  })

  it("counts a fall from the first day on: the capital before the period is a high too", () => {
    const series = seriesOf([100, 50, 60])
    const { maxDrawdown } = Performance.measure(series, [1, 1, 1], { from: 1, to: 3 }, 1)
    assert.deepStrictEqual(maxDrawdown, { value: -0.5, peak: series.dates[0] ?? "", trough: series.dates[1] ?? "" })
  })

  it("of cash alone is nothing, with no Sharpe ratio", () => {
    const found = Performance.measure(seriesOf([1, 2, 3]), [0, 0, 0], { from: 0, to: 3 })
    isJson(found)
    assert.deepStrictEqual([found.sharpe, found.sharpeError, found.totalReturn, found.costs], [null, null, 0, 0])
  })

  it("of an empty period is nothing", () => {
    isJson(Performance.measure(seriesOf([1, 2]), [0, 0], { from: 2, to: 2 }))
  })

  it("of one who held before pays nothing to go on holding", () => {
    const series = seriesOf([100, 101, 103])
    const { costs, totalReturn, turnover } = Performance.measure(series, [1, 1, 1], { from: 1, to: 3 }, 1)
    agrees({ costs, totalReturn, turnover }, { costs: 0, totalReturn: 0.03, turnover: 0 }, "held", 1e-12)
  })

  it("has the standard error of Lo: for a ratio of 0 over a year it is 1", () => {
    assert.strictEqual(Performance.sharpeError(0, 252), 1)
    assert.closeTo(Performance.sharpeError(2, 1008) ?? Number.NaN, Math.sqrt((1 + 4 / 504) / 4), 1e-12)
  })

  it("costs turnover times 10 basis points, whatever the positions", () => {
    fc.assert(
      fc.property(
        closesOf(60, 60),
        fc.array(fc.constantFrom(0, 1), { minLength: 60, maxLength: 60 }),
        (closes, held) => {
          const series = seriesOf(closes)
          const found = Performance.measure(series, held, { from: 1, to: 60 })
          isJson(found)
          let trades = get(held, 1)
          let growth = 1
          for (let day = 1; day < 60; day++) {
            const traded = day === 1 ? get(held, 1) : Math.abs(get(held, day) - get(held, day - 1))
            if (day > 1) trades += traded
            growth *= 1 + get(held, day) * (get(closes, day) / get(closes, day - 1) - 1) - 0.001 * traded
          }
          agrees(
            { turnover: found.turnover, costs: found.costs, growth: found.totalReturn + 1 },
            { turnover: trades, costs: trades * 0.001, growth },
            "found"
          )
          assert.isTrue(found.maxDrawdown.value >= -1 && found.maxDrawdown.value <= 0)
        }
      ),
      { numRuns: 100 }
    )
  })
})

describe("the split", () => {
  it("is 50, 20 and 30 % of the days, by row", () => {
    assert.deepStrictEqual(Strategy.split(2306), {
      fit: { from: 0, to: 1153 },
      gate: { from: 1153, to: 1614 },
      report: { from: 1614, to: 2306 }
    })
    // 0.7 * 90 is a little less than 63 as a binary fraction
    assert.strictEqual(Strategy.split(90).report.from, 63)
  })
})

describe("the fit", () => {
  const { series } = selection("AAPL")

  it("takes the best Sharpe ratio after costs of the family", () => {
    const fit = Strategy.fit(series)
    if (fit._tag !== "Chosen") return assert.fail(fit.reason)
    assert.deepStrictEqual(
      fit.candidates.map(({ id }) => id),
      Rule.family.map(Rule.id)
    )
    assert.strictEqual(fit.performance.sharpe, Math.max(...fit.candidates.map(({ sharpe }) => sharpe ?? -99)))
    assert.isTrue(fit.performance.to < (series.dates[1153] ?? ""))
    assert.deepStrictEqual(Schema.decodeUnknownSync(Schema.parseJson(Strategy.Fit))(JSON.stringify(fit)), fit)
  })

  it("leaves out what was rejected, until nothing is left", () => {
    const excluded: Array<Rule.Rule> = []
    for (const _ of Rule.family) {
      const fit = Strategy.fit(series, excluded)
      if (fit._tag !== "Chosen") return assert.fail(fit.reason)
      assert.notInclude(excluded.map(Rule.id), fit.id)
      excluded.push(fit.rule)
    }
    const none = Strategy.fit(series, excluded)
    assert.strictEqual(none._tag, "NoneLeft")
    assert.isTrue(none.candidates.every(({ out }) => out === "excluded"))
    isJson(none)
  })

  it("does not look beyond the first half of the days", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1153, max: 2305 }),
        fc.double({ min: 0.01, max: 100, noNaN: true }),
        (day, factor) => {
          const closes = series.closes.map((close, index) => (index >= day ? close * factor : close))
          assert.deepStrictEqual(Strategy.fit({ ...series, closes }), Strategy.fit(series))
        }
      ),
      { numRuns: 10 }
    )
  })

  it("lets only the quicker rules compete when the history is short", () => {
    const short = { ...series, dates: series.dates.slice(0, 504), closes: series.closes.slice(0, 504) }
    const slow = Strategy.fit(short).candidates.filter(({ out }) => out === "too slow")
    assert.deepStrictEqual(
      slow.map(({ id }) => id),
      ["crossover-10-200", "crossover-20-200", "crossover-50-200", "momentum-126", "momentum-252"]
    )
    const fit = Strategy.fit(short)
    if (fit._tag !== "Chosen") return assert.fail(fit.reason)
    assert.strictEqual(fit.performance.days, 152)
  })

  it("breaks ties by turnover, then by the family's order", () => {
    // rises every day, so that every rule holds all the time and is paid the same
    const rising = seriesOf(Array.from({ length: 1200 }, (_, day) => 100 * 1.001 ** day * (day % 2 === 0 ? 1 : 1.0004)))
    const fit = Strategy.fit(rising)
    if (fit._tag !== "Chosen") return assert.fail(fit.reason)
    assert.strictEqual(new Set(fit.candidates.map(({ sharpe }) => sharpe)).size, 1)
    assert.strictEqual(fit.id, "buy-and-hold")
    const again = Strategy.fit(rising, [Rule.buyAndHold])
    assert.strictEqual(again._tag === "Chosen" ? again.id : again.reason, "crossover-10-50")
  })

  it("of prices that do not vary finds only buy and hold, which loses its cost, and then nothing", () => {
    const flat = seriesOf(new Array<number>(1200).fill(0.1))
    for (const rule of Rule.family) {
      const held = Rule.positions(rule, flat.closes).includes(1)
      assert.strictEqual(held, rule._tag === "BuyAndHold", `${Rule.id(rule)} follows rounding`)
    }
    const fit = Strategy.fit(flat)
    if (fit._tag !== "Chosen") return assert.fail(fit.reason)
    assert.strictEqual(fit.id, "buy-and-hold")
    assert.isBelow(fit.performance.sharpe ?? 0, 0)
    const none = Strategy.fit(flat, [Rule.buyAndHold])
    assert.strictEqual(none._tag, "NoneLeft")
    isJson([fit, none])
  })
})

describe("the report", () => {
  it("is of the last 30 % of the days, beside one who held all along", () => {
    const { series } = selection("AAPL")
    const report = Strategy.report(Rule.crossover(50, 200), series)
    isJson(report)
    assert.strictEqual(report.performance.days, 692)
    assert.strictEqual(report.performance.from, series.dates[1614])
    assert.closeTo(report.buyAndHold.sharpe ?? Number.NaN, 0.8595297559447691, 1e-9)
    assert.closeTo(report.buyAndHold.totalReturn, 0.6540947838277607, 1e-9)
    assert.strictEqual(report.buyAndHold.costs, 0)
    assert.include(report.summary, "crossover-50-200 returned")
  })

  it("of buy and hold differs from having held by the one purchase", () => {
    const { buyAndHold, performance, summary } = Strategy.report(Rule.buyAndHold, selection("MSFT").series)
    assert.strictEqual(performance.turnover, 1)
    assert.isBelow(performance.totalReturn, buyAndHold.totalReturn)
    assert.isAbove(performance.totalReturn, buyAndHold.totalReturn - 0.002)
    assert.include(summary, "buying and holding")
  })
})
