import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as fc from "fast-check"
import * as QualityGate from "../../../src/programs/research/QualityGate.js"
import * as Rule from "../../../src/programs/research/Rule.js"
import * as Strategy from "../../../src/programs/research/Strategy.js"
import { isJson, selection, seriesOf } from "./support.js"

/** What the graph does with these functions, without a graph. */
const run = (ticker: string) => {
  const { series } = selection(ticker)
  const verdicts: Array<QualityGate.Verdict> = []
  for (;;) {
    const next = QualityGate.next(verdicts)
    if (next._tag !== "ChooseAgain") return { next, verdicts, series }
    const fit = Strategy.fit(series, next.excluded)
    if (fit._tag === "NoneLeft") return { next: QualityGate.nothingPassed(verdicts), verdicts, series }
    verdicts.push(QualityGate.judge(fit.rule, series))
  }
}

/** 1000 days: what they do in the first half, on the days of the gate, and after, by the move of an even and of an odd day. */
const shaped = (...moves: ReadonlyArray<readonly [until: number, even: number, odd: number]>) => {
  const closes = [100]
  let close = 100
  for (let day = 1; day < 1000; day++) {
    const [, even, odd] = moves.find(([until]) => day < until) ?? [0, 0, 0]
    close *= 1 + (day % 2 === 0 ? even : odd)
    closes.push(close)
  }
  return seriesOf(closes)
}

describe("the gate", () => {
  it("accepts a rule that keeps out of a fall", () => {
    const verdict = QualityGate.judge(
      Rule.momentum(63),
      shaped([500, 0.004, -0.002], [600, 0.006, -0.003], [700, -0.006, 0.003], [1000, 0.002, 0.001])
    )
    isJson(verdict)
    assert.strictEqual(verdict._tag, "Accepted", verdict.reason)
    assert.isTrue(verdict.checks.every(({ passed }) => passed))
    assert.strictEqual(verdict.checks.length, 5)
    assert.isAbove(verdict.performance.sharpe ?? 0, verdict.buyAndHold.sharpe ?? 0)
    assert.strictEqual(verdict.performance.days, 200)
    assert.include(verdict.reason, "momentum-63 was accepted")
  })

  it("rejects a rule that never held, whatever the market did", () => {
    const verdict = QualityGate.judge(Rule.crossover(10, 50), shaped([1000, -0.004, 0.002]))
    assert.strictEqual(verdict._tag, "Rejected")
    assert.isNull(verdict.performance.sharpe)
    assert.include(verdict.reason, "a Sharpe ratio of undefined is below 0.40")
  })

  it("rejects timing that does worse than holding, though it meets every threshold", () => {
    const verdict = QualityGate.judge(Rule.momentum(126), selection("SBUX").series)
    assert.strictEqual(verdict._tag, "Rejected", verdict.reason)
    const failed = verdict.checks.filter(({ passed }) => !passed).map(({ name }) => name)
    assert.deepStrictEqual(failed, ["sharpe against holding"])
    assert.include(verdict.reason, "below that of holding")
  })

  it("rejects too much trading, and too deep a fall", () => {
    const names = (verdict: QualityGate.Verdict) =>
      verdict.checks.filter(({ passed }) => !passed).map(({ name }) => name)
    // up two days, down two: a rule of one day trades every other day
    const restless = seriesOf(Array.from({ length: 1000 }, (_, day) => 100 + day + (day % 4 < 2 ? 30 : 0)))
    assert.include(names(QualityGate.judge(Rule.momentum(1), restless)), "turnover")
    const falling = shaped([500, 0.004, -0.002], [700, -0.01, 0.003], [1000, 0.004, -0.002])
    assert.include(names(QualityGate.judge(Rule.buyAndHold, falling)), "drawdown")
  })

  it("asks of buy and hold the thresholds alone, and says that it claims no edge", () => {
    const verdict = QualityGate.judge(Rule.buyAndHold, shaped([1000, 0.006, -0.003]))
    assert.strictEqual(verdict._tag, "Accepted", verdict.reason)
    assert.deepStrictEqual(
      verdict.checks.map(({ name }) => name),
      ["sharpe", "drawdown", "turnover"]
    )
    assert.include(verdict.reason, "claims no edge")
  })

  it("looks at no day after its own", () => {
    const { series } = selection("SBUX")
    fc.assert(
      fc.property(
        fc.integer({ min: 1614, max: 2305 }),
        fc.double({ min: 0.01, max: 100, noNaN: true }),
        fc.constantFrom(...Rule.family),
        (day, factor, rule) => {
          const closes = series.closes.map((close, index) => (index >= day ? close * factor : close))
          assert.deepStrictEqual(QualityGate.judge(rule, { ...series, closes }), QualityGate.judge(rule, series))
        }
      ),
      { numRuns: 15 }
    )
  })
})

describe("what follows", () => {
  const { series } = selection("IBM")
  const rejected = QualityGate.judge(Rule.crossover(50, 100), series)

  it("a rejection goes back with its reason and its rule, twice; then nothing passed", () => {
    assert.strictEqual(rejected._tag, "Rejected")
    assert.deepStrictEqual(QualityGate.next([rejected]), {
      _tag: "ChooseAgain",
      excluded: [Rule.crossover(50, 100)],
      reason: rejected.reason
    })
    assert.strictEqual(QualityGate.next([rejected, rejected])._tag, "ChooseAgain")
    assert.strictEqual(QualityGate.next([rejected, rejected, rejected])._tag, "NothingPassed")
    assert.strictEqual(QualityGate.next([])._tag, "ChooseAgain")
  })

  it("of the shipped prices: AAPL has a rule that passes, the others honestly have none", () => {
    const apple = run("AAPL")
    assert.deepStrictEqual(apple.next, { _tag: "Report", rule: Rule.crossover(10, 50) })
    assert.strictEqual(apple.verdicts.length, 1)
    // and the days that nobody looked at say that it was not worth it
    assert.include(Strategy.report(Rule.crossover(10, 50), apple.series).summary, "timing was worse")
    for (const [ticker, ...rules] of [
      ["MSFT", "crossover-10-100", "crossover-10-50", "crossover-20-100"],
      ["IBM", "crossover-50-100", "crossover-20-200", "crossover-10-100"],
      ["SBUX", "momentum-126", "momentum-252", "crossover-50-200"]
    ] as const) {
      const { next, verdicts } = run(ticker)
      assert.deepStrictEqual(
        verdicts.map(({ id }) => id),
        rules
      )
      assert.strictEqual(next._tag, "NothingPassed")
      assert.include(next._tag === "NothingPassed" ? next.reason : "", rules.join(", "))
    }
  })

  it("comes back from JSON through its schema", () => {
    const { next, verdicts } = run("MSFT")
    const decode = Schema.decodeUnknownSync(
      Schema.parseJson(Schema.Struct({ next: QualityGate.Next, verdicts: Schema.Array(QualityGate.Verdict) }))
    )
    assert.deepStrictEqual(decode(JSON.stringify({ next, verdicts })), { next, verdicts })
  })
})
