import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Csv from "../../../src/programs/research/Csv.js"
import * as Prices from "../../../src/programs/research/Prices.js"
import * as Strategy from "../../../src/programs/research/Strategy.js"
import { days, shipped } from "./support.js"

const parsed = (text: string) => Either.getOrThrow(Prices.parse(text, "prices.csv"))

const failure = (text: string): Prices.PricesError => {
  const result = Prices.parse(text, "prices.csv")
  return Either.isLeft(result) ? result.left : assert.fail("the text was accepted")
}

/** Reason and place of what is wrong with a text, and its message for those who read it. */
const fails = (text: string, reason: string, line: number | undefined, column: number | undefined, says: string) => {
  const error = failure(text)
  assert.strictEqual(error._tag, "PricesError")
  assert.deepStrictEqual([error.reason, error.line, error.column], [reason, line, column], error.message)
  assert.include(error.message, says)
  assert.include(error.message, "prices.csv")
  if (line !== undefined) assert.include(error.message, `line ${line}`)
  if (column !== undefined) assert.include(error.message, `column ${column}`)
}

const table = (count: number) =>
  ["Date,ABC,IDX", ...days(count).map((date, index) => `${date},${100 + (index % 7)},${50 + (index % 5)}`)].join("\n")

describe("a file of prices", () => {
  it("ships with the package", () => {
    assert.deepStrictEqual(shipped.tickers, ["MSFT", "IBM", "SBUX", "AAPL", "GSPC"])
    assert.strictEqual(shipped.dates.length, 2306)
    assert.strictEqual(shipped.dates[0], "2007-01-03")
    assert.strictEqual(shipped.dates.at(-1), "2016-03-01")
    assert.strictEqual(shipped.columns.get("MSFT")?.closes[0], 23.950705)
    assert.include(shipped.tickers, Prices.shippedBenchmark)
  })

  it.each([
    ["plain", "date,A,B\n2020-01-02,1,2\n2020-01-03,3,4\n"],
    ["quoted", '"A","Date","B"\n"1","2020-01-02","2"\n"3","2020-01-03","4"'],
    [
      "with a byte-order mark, Windows line ends and blank lines",
      "\uFEFFDATE,A,B\r\n2020-01-02,1,2\r\n\r\n2020-01-03,3,4\r\n\r\n"
    ],
    ["with blanks around cells", ' Date , A ,B\n2020-01-02, 1 , "2"\n2020-01-03,3.0,4e0'],
    ["with times of day", "Date,A,B\n2020-01-02 00:00:00-05:00,1,2\n2020-01-03T00:00:00Z,3,4"]
  ])("is read %s", (_, text) => {
    const prices = parsed(text)
    assert.deepStrictEqual(prices.tickers, ["A", "B"])
    assert.deepStrictEqual(prices.dates, ["2020-01-02", "2020-01-03"])
    assert.deepStrictEqual(prices.columns.get("A")?.closes, [1, 3])
    assert.deepStrictEqual(prices.columns.get("B")?.closes, [2, 4])
    assert.match(prices.sha256, /^[0-9a-f]{64}$/)
  })

  it("is refused with line and column, and with what to do", () => {
    fails("", "EmptyFile", undefined, undefined, "is empty")
    fails("\n \n", "EmptyFile", undefined, undefined, "is empty")
    fails("Date,A\n", "EmptyFile", undefined, undefined, "no prices")
    fails("day,A\n2020-01-02,1", "NoDateColumn", 1, undefined, 'name one "Date"')
    fails("Date;A\n2020-01-02;1", "NoDateColumn", 1, undefined, "commas")
    fails("Date,A,date\n2020-01-02,1,2", "MalformedHeader", 1, 3, "second column is called Date")
    fails("Date,A,A\n2020-01-02,1,2", "MalformedHeader", 1, 3, "called A")
    fails(",Date,A\n0,2020-01-02,1", "MalformedHeader", 1, 1, "no name")
    fails("Date\n2020-01-02", "MalformedHeader", 1, undefined, "no price column")
    fails("Date,A\n2020-01-02,1\n2020-01-03", "MalformedRow", 3, 1, "1 cells")
    fails("Date,A\n2020-01-02,1,446.6", "MalformedRow", 2, 3, "3 cells")
    fails('Date,A\n2020-01-02,"1\n2020-01-03,2', "MalformedRow", 2, 2, "not closed")
    fails('Date,A\n2020-01-02,"1"2', "MalformedRow", 2, 2, "closing quote")
    fails('Date,A\n2020-01-02,1"2"', "MalformedRow", 2, 2, "within the cell")
    fails("Date,A\n2020-01-02,1\n01/03/2020,2", "MalformedDate", 3, 1, "YYYY-MM-DD")
    fails("Date,A\n2020-02-30,1", "MalformedDate", 2, 1, "2020-02-30")
    fails("A,Date\n1,", "MalformedDate", 2, 2, '""')
    fails("Date,A\n2020-01-03,1\n2020-01-02,2", "DatesOutOfOrder", 3, 1, "Sort")
    fails("Date,A\n2020-01-02,1\n\n2020-01-02,2", "DuplicateDate", 4, 1, "twice")
    fails("Date,A,B\n2020-01-02,1,x", "MalformedNumber", 2, 3, '(B): "x"')
    for (const cell of ["NaN", "Infinity", "0x10", "1_000", '"1,446.6"', "$3", "1e99", "1 2"]) {
      fails(`Date,A\n2020-01-02,${cell}`, "MalformedNumber", 2, 2, "plain number")
    }
    for (const cell of ["0", "-1.5", "-0", "0.000"]) {
      fails(`Date,A\n2020-01-02,${cell}`, "NonPositivePrice", 2, 2, "above 0")
    }
  })

  it("is counted in lines of the text, also when a quoted cell holds one", () => {
    fails('Date,"A\nB"\n2020-01-02,1\n2020-01-03,x', "MalformedNumber", 4, 2, "(A\nB)")
    const { line } = Either.getOrThrow(Either.map(Csv.rows('a\r\n"b\r\nc"\rd'), (rows) => rows[2] ?? assert.fail()))
    assert.strictEqual(line, 4)
  })

  it.effect("is read from the disk", () =>
    Effect.gen(function* () {
      const prices = yield* Prices.load(Prices.shipped)
      assert.strictEqual(prices.file, Prices.shipped)
      assert.strictEqual(prices.sha256, shipped.sha256)
    }).pipe(Effect.provide(NodeFileSystem.layer))
  )

  it.effect("that is not there, or is none, is said to be so", () =>
    Effect.gen(function* () {
      const missing = yield* Effect.flip(Prices.load("nowhere/prices.csv"))
      assert.deepStrictEqual([missing.reason, missing.file], ["FileNotFound", "nowhere/prices.csv"])
      assert.include(missing.message, "does not exist")
      const folder = yield* Effect.flip(Prices.load("src"))
      assert.strictEqual(folder.reason, "FileUnreadable")
    }).pipe(Effect.provide(NodeFileSystem.layer))
  )
})

describe("a selection", () => {
  const prices = parsed(table(Prices.minimumDays))
  const rejected = (from: Prices.Prices, ticker: string, benchmark: string): Prices.PricesError => {
    const result = Prices.select(from, { ticker, benchmark })
    return Either.isLeft(result) ? result.left : assert.fail("the selection was accepted")
  }

  it("takes a ticker and its benchmark, in any case", () => {
    const { benchmark, series } = Either.getOrThrow(Prices.select(prices, { ticker: "abc", benchmark: "Idx" }))
    assert.deepStrictEqual([series.ticker, benchmark.ticker], ["ABC", "IDX"])
    assert.deepStrictEqual(series.dates, benchmark.dates)
    assert.deepStrictEqual(series.closes.slice(0, 3), [100, 101, 102])
    assert.deepStrictEqual(benchmark.closes.slice(0, 3), [50, 51, 52])
  })

  it("does not guess between tickers that differ in case alone", () => {
    const both = parsed("Date,Ab,aB\n2020-01-02,1,2")
    assert.strictEqual(rejected(both, "AB", "aB").reason, "UnknownTicker")
    const exact = Prices.select(both, { ticker: "aB", benchmark: "Ab", minimumDays: 1 })
    assert.deepStrictEqual(Either.getOrThrow(exact).series.closes, [2])
  })

  it("lists the known tickers when one is unknown", () => {
    const ticker = rejected(shipped, "TSLA", "GSPC")
    assert.strictEqual(ticker.reason, "UnknownTicker")
    assert.deepStrictEqual(ticker.known, shipped.tickers)
    assert.include(ticker.message, '"TSLA"')
    assert.include(ticker.message, "MSFT, IBM, SBUX, AAPL, GSPC")
    const benchmark = rejected(prices, "ABC", "GSPC")
    assert.strictEqual(benchmark.reason, "UnknownBenchmark")
    assert.include(benchmark.message, "--benchmark")
    assert.include(benchmark.message, "ABC, IDX")
  })

  it("needs two years of days, and says so", () => {
    const error = rejected(parsed(table(Prices.minimumDays - 1)), "ABC", "IDX")
    assert.strictEqual(error.reason, "TooFewDays")
    assert.include(error.message, `${Prices.minimumDays - 1} days`)
    assert.include(error.message, `at least ${Prices.minimumDays}`)
    const { fit, gate, report } = Strategy.split(Prices.minimumDays)
    assert.deepStrictEqual([fit.to, gate.to - gate.from, report.to - report.from], [252, 100, 152])
  })

  it("begins when both are listed, and accepts no gap after that", () => {
    const text = "Date,A,B\n2020-01-02,,1\n2020-01-03,5,2\n2020-01-06,6,3\n2020-01-07,7,\n2020-01-08,8,5"
    const gaps = parsed(text)
    const late = Either.getOrThrow(Prices.select(gaps, { ticker: "A", benchmark: "A", minimumDays: 1 }))
    assert.deepStrictEqual(late.series, {
      ticker: "A",
      dates: ["2020-01-03", "2020-01-06", "2020-01-07", "2020-01-08"],
      closes: [5, 6, 7, 8]
    })
    const hole = rejected(gaps, "A", "B")
    assert.deepStrictEqual([hole.reason, hole.line, hole.column], ["MissingPrice", 5, 3])
    assert.include(hole.message, "2020-01-07")
    const cut = parsed(text.replace("07,7,\n", "07,7,4\n"))
    const { benchmark, series } = Either.getOrThrow(Prices.select(cut, { ticker: "A", benchmark: "B", minimumDays: 1 }))
    assert.deepStrictEqual(series.closes, [5, 6, 7, 8])
    assert.deepStrictEqual(benchmark.closes, [2, 3, 4, 5])
    assert.strictEqual(benchmark.dates[0], "2020-01-03")
  })

  it("of a ticker without any price has no days", () => {
    assert.strictEqual(rejected(parsed("Date,A,B\n2020-01-02,,1"), "A", "B").reason, "TooFewDays")
  })
})
