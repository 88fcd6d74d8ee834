import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as fc from "fast-check"
import type { Findings } from "../../../src/programs/research/Findings.js"
import * as Market from "../../../src/programs/research/Market.js"
import * as Narrative from "../../../src/programs/research/Narrative.js"
import * as Reversion from "../../../src/programs/research/Reversion.js"
import * as Risk from "../../../src/programs/research/Risk.js"
import * as Seasonality from "../../../src/programs/research/Seasonality.js"
import * as Technical from "../../../src/programs/research/Technical.js"
import { closesOf, selection, seriesOf } from "./support.js"

const { benchmark, series } = selection("AAPL")

const findings: Findings = {
  technical: Technical.figures(series),
  risk: Risk.figures(series),
  market: Market.figures(series, benchmark),
  seasonality: Seasonality.figures(series),
  reversion: Reversion.figures(series)
}

const input = (found: Findings): Narrative.Input => ({
  ticker: "AAPL",
  benchmark: "GSPC",
  asOf: "2016-03-01",
  findings: found
})

const isProse = Schema.is(Narrative.Prose)

describe("the template", () => {
  it("tells the figures", () => {
    assert.deepStrictEqual(Narrative.template(input(findings)), {
      headline: "AAPL on 2016-03-01: in a downtrend, behind GSPC by 15.1 % over a year, with 27.6 % volatility",
      paragraphs: [
        "AAPL is in a downtrend by its moving averages: the mean of the last 50 closes is 98.85, 12.6 % below that of the last 200, 113.10. " +
          "Over the twelve months before the last one it lost 23.6 %. " +
          "Wilder's RSI of 14 days stands at 58.9, neither overbought nor oversold.",
        "Returns of the last year varied by 27.6 %, annualised. " +
          "On one day in twenty it lost 2.7 % or more, and 4.0 % on the average of those days. " +
          "The worst fall in these prices was 60.9 %, from 2007-12-28 to 2009-01-20.",
        "Over the last year it fell behind GSPC by 15.1 %. " +
          "Its beta is 1.18: a move of 1 % in GSPC came with one of 1.18 % on average. " +
          "The correlation is 0.72, so 52 % of its variance moves with GSPC.",
        "By calendar month April was the best, 7.5 % on average over 9 years, and January the worst, -4.8 %. " +
          "March, April, May and July have a t-statistic of 2 or more in size, which among twelve months may still be luck.",
        "The last close is 2.8 standard deviations above its 20-day mean, which is a stretch. " +
          "Gaps to its mean of the last year closed by half in about 44 trading days, if it reverts at all."
      ]
    })
  })

  it("works without any of the findings, and names what is missing", () => {
    const agents = ["technical", "risk", "market", "seasonality", "reversion"] as const
    for (let mask = 0; mask < 2 ** agents.length; mask++) {
      const missing = agents.filter((_, index) => (mask & (1 << index)) !== 0)
      const left = Object.fromEntries(Object.entries(findings).filter(([key]) => !missing.some((name) => name === key)))
      const prose = Narrative.template(input(left))
      assert.isTrue(isProse(prose))
      const last = prose.paragraphs.at(-1) ?? ""
      for (const agent of agents) {
        assert.strictEqual(
          last.startsWith("Missing") && last.includes(agent),
          missing.includes(agent),
          `${mask} ${agent}`
        )
      }
    }
    assert.strictEqual(Narrative.template(input({})).headline, "AAPL on 2016-03-01")
  })

  it("is prose for any prices, with no undefined figure in it", () => {
    fc.assert(
      fc.property(closesOf(1, 400), (closes) => {
        const any = seriesOf(closes)
        const prose = Narrative.template(
          input({
            technical: Technical.figures(any),
            risk: Risk.figures(any),
            market: Market.figures(any, any),
            seasonality: Seasonality.figures(any),
            reversion: Reversion.figures(any)
          })
        )
        assert.isTrue(isProse(prose))
        assert.notMatch([prose.headline, ...prose.paragraphs].join(" "), /null|NaN|undefined|Infinity/)
      }),
      { numRuns: 100 }
    )
  })
})

describe("the prompt", () => {
  it("carries the figures and asks for JSON", () => {
    const { system, user } = Narrative.prompt(input(findings))
    assert.include(system, '"headline"')
    assert.include(user, "AAPL")
    assert.include(user, JSON.stringify(findings))
  })
})
