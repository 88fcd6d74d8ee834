/**
 * Daily prices from any CSV file with a date column and one price column a ticker. Whatever is wrong with the file is found before anything is
 * computed, and is said with its line and column.
 *
 * What is validated: every cell of every column, whether its ticker is asked for or not, so that a broken file is not found one ticker at a
 * time. A blank cell is the exception, since a ticker may have been listed late or have no price on a day: it only matters for a ticker that
 * is asked for. There, blanks before the first price mean that it was not listed yet, and the series begins with the first price; a blank after
 * that is an error, because a gap would make a return of several days look like one of a day.
 *
 * @since 0.1.0
 */
import { fileURLToPath } from "node:url"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as PricesCsv from "./PricesCsv.js"
import { PricesError, type Reason } from "./PricesError.js"

/**
 * The closing prices of one ticker, oldest first. Both arrays have the same length.
 *
 * @since 0.1.0
 * @category models
 */
export interface Series {
  readonly ticker: string
  /** ISO dates, `YYYY-MM-DD`, strictly ascending. */
  readonly dates: ReadonlyArray<string>
  readonly closes: ReadonlyArray<number>
}

/**
 * A file of prices.
 *
 * @since 0.1.0
 * @category models
 */
export interface Prices {
  readonly file: string
  /** The SHA-256 of the text, in hex: tells whether a resumed run reads what the first one read. */
  readonly sha256: string
  /** In the order of the file's columns. */
  readonly tickers: ReadonlyArray<string>
  readonly dates: ReadonlyArray<string>
  /** By ticker, one entry a date; `null` where the cell is blank. */
  readonly columns: ReadonlyMap<string, Column>
}

/**
 * One ticker's column.
 *
 * @since 0.1.0
 * @category models
 */
export interface Column {
  /** From 1. */
  readonly number: number
  readonly closes: ReadonlyArray<number | null>
  /** The lines of the blank cells, by row index. */
  readonly blanks: ReadonlyMap<number, number>
}

/**
 * What a run works on: a ticker and its benchmark over the same days.
 *
 * @since 0.1.0
 * @category models
 */
export interface Selection {
  readonly series: Series
  readonly benchmark: Series
}

export {
  /**
   * @since 0.1.0
   * @category errors
   */
  PricesError
} from "./PricesError.js"

/**
 * Where the prices that ship with the package are.
 *
 * @since 0.1.0
 * @category constants
 */
export const shipped: string = fileURLToPath(new URL("./data/stockdata.csv", import.meta.url))

/**
 * The benchmark of the shipped prices, the S&P 500 index.
 *
 * @since 0.1.0
 * @category constants
 */
export const shippedBenchmark = "GSPC"

/**
 * The fewest days of prices a run takes: 504, two years of trading days. A year's figures need 253 prices (252 returns and the price before
 * them). The strategy needs more: half of the days to fit on, 20 % to judge on, 30 % to report on. With 504 days that is 252, 100 and 152, so
 * that a rule is fitted on a year, of which its first signal may use half, and a Sharpe ratio never rests on less than 100 days.
 *
 * @since 0.1.0
 * @category constants
 */
export const minimumDays = 504

/**
 * Reads the text of a CSV file. `file` is only named in errors.
 *
 * The first line names the columns: one is called `date` (in any case) and holds ISO dates, oldest first; every other is a ticker. Cells may be
 * quoted; a byte-order mark, any line end, and blank lines are accepted. A time of day after a date is dropped.
 *
 * @since 0.1.0
 * @category parsing
 */
export const parse: (text: string, file: string) => Either.Either<Prices, PricesError> = PricesCsv.parse

/**
 * Reads a file of prices.
 *
 * @since 0.1.0
 * @category parsing
 */
export const load = (path: string): Effect.Effect<Prices, PricesError, FileSystem.FileSystem> =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const text = yield* Effect.mapError(fs.readFileString(path), (error) =>
      error._tag === "SystemError" && error.reason === "NotFound"
        ? new PricesError({
            reason: "FileNotFound",
            file: path,
            message: `${path} does not exist. Give the path of a CSV file with a date column and one price column a ticker.`
          })
        : new PricesError({
            reason: "FileUnreadable",
            file: path,
            message: `${path} cannot be read: ${error.message}. Give the path of a CSV file that you may read.`
          })
    )
    return yield* parse(text, path)
  })

/** A ticker as the file writes it: the exact name, else the only one that differs in case alone. */
const resolve = (prices: Prices, ticker: string): string | undefined => {
  if (prices.columns.has(ticker)) return ticker
  const alike = prices.tickers.filter((known) => known.toLowerCase() === ticker.trim().toLowerCase())
  return alike.length === 1 ? alike[0] : undefined
}

/** The prices of a ticker from its first one on, and the row that one is in. */
const listed = (
  prices: Prices,
  ticker: string,
  column: Column
): Either.Either<{ readonly from: number; readonly closes: ReadonlyArray<number> }, PricesError> => {
  const from = column.closes.findIndex((close) => close !== null)
  const closes: Array<number> = []
  for (const [index, close] of column.closes.entries()) {
    if (close !== null) {
      closes.push(close)
    } else if (index > from && from >= 0) {
      const line = column.blanks.get(index) ?? 0
      return Either.left(
        new PricesError({
          reason: "MissingPrice",
          file: prices.file,
          line,
          column: column.number,
          message:
            `${prices.file}, line ${line}, column ${column.number} (${ticker}): there is no price on ${prices.dates[index]}. ` +
            "Fill it in, or remove the line; only days before the first price may be blank."
        })
      )
    }
  }
  return Either.right({ from: from < 0 ? column.closes.length : from, closes })
}

/**
 * Takes a ticker and its benchmark from the prices, over the days that both have. Tickers are found in any case; the result has the file's
 * spelling. Fails for an unknown ticker or benchmark (the known ones are listed), for a blank cell after the first price, and when there are
 * fewer than `minimumDays` (default: the module's).
 *
 * @since 0.1.0
 * @category selecting
 */
export const select = (
  prices: Prices,
  options: { readonly ticker: string; readonly benchmark: string; readonly minimumDays?: number | undefined }
): Either.Either<Selection, PricesError> =>
  Either.gen(function* () {
    const known = prices.tickers
    const unknown = (reason: Reason, what: string, name: string, how: string) =>
      Either.left(
        new PricesError({
          reason,
          file: prices.file,
          known,
          message: `${what} ${PricesCsv.quote(name)} is not in ${prices.file}. ${how} one of: ${known.join(", ")}.`
        })
      )
    const take = (name: string) => {
      const ticker = resolve(prices, name)
      const column = ticker === undefined ? undefined : prices.columns.get(ticker)
      return ticker === undefined || column === undefined ? undefined : { ticker, column }
    }
    const asked = take(options.ticker)
    if (asked === undefined) return yield* unknown("UnknownTicker", "The ticker", options.ticker, "Ask for")
    const against = take(options.benchmark)
    if (against === undefined) {
      return yield* unknown("UnknownBenchmark", "The benchmark", options.benchmark, "Name with --benchmark")
    }
    const own = yield* listed(prices, asked.ticker, asked.column)
    const other = yield* listed(prices, against.ticker, against.column)
    const from = Math.max(own.from, other.from)
    const dates = prices.dates.slice(from)
    const needed = options.minimumDays ?? minimumDays
    if (dates.length < needed) {
      const both = asked.ticker === against.ticker ? asked.ticker : `${asked.ticker} and ${against.ticker}`
      return yield* Either.left(
        new PricesError({
          reason: "TooFewDays",
          file: prices.file,
          message:
            `${prices.file} has ${dates.length} days with prices of ${both}; at least ${needed} are needed ` +
            "(two years: one to fit a strategy on, and days to judge and to report it on). Give a file with a longer history."
        })
      )
    }
    const cut = (ticker: string, column: typeof own): Series => ({
      ticker,
      dates,
      closes: column.closes.slice(from - column.from)
    })
    return { series: cut(asked.ticker, own), benchmark: cut(against.ticker, other) }
  })
