/**
 * The text of a CSV file into prices: which column is what, and every cell checked.
 *
 * @since 0.1.0
 */
import { createHash } from "node:crypto"
import * as Either from "effect/Either"
import * as Csv from "./Csv.js"
import type { Prices } from "./Prices.js"
import { PricesError, type Reason } from "./PricesError.js"

const number = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,3})?$/i

/** Beyond these a ratio or a square of prices could overflow, and no price is there. */
const smallest = 1e-50
const largest = 1e50

const isoDate = /^(\d{4}-\d{2}-\d{2})(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?(?:Z|[+-]\d{2}:?\d{2}))?)?$/

/** The date of an ISO date or date-time that is in the calendar. */
const parseDate = (text: string): string | undefined => {
  const date = isoDate.exec(text.trim())?.[1]
  if (date === undefined) return undefined
  const time = Date.parse(`${date}T00:00:00Z`)
  return !Number.isNaN(time) && new Date(time).toISOString().startsWith(date) ? date : undefined
}

/**
 * A cell for a message, shortened.
 *
 * @since 0.1.0
 * @category rendering
 */
export const quote = (cell: string): string => JSON.stringify(cell.length > 40 ? `${cell.slice(0, 40)}...` : cell)

/** The name of a column for a message, such as ` (AAPL)`. */
const named = (header: Csv.Row, column: number): string => {
  const name = header.cells[column - 1]?.trim()
  return name === undefined || name === "" ? "" : ` (${name})`
}

type Header = {
  readonly date: number
  readonly tickers: ReadonlyArray<{ readonly name: string; readonly index: number }>
}

const parseHeader = (row: Csv.Row, file: string): Either.Either<Header, PricesError> => {
  const names = row.cells.map((cell) => cell.trim())
  const fail = (reason: Reason, text: string, column?: number) =>
    Either.left(
      new PricesError({
        reason,
        file,
        line: row.line,
        ...(column === undefined ? {} : { column }),
        message: `${file}, line ${row.line}${column === undefined ? "" : `, column ${column}`}: ${text}`
      })
    )
  const dates = names.flatMap((name, index) => (name.toLowerCase() === "date" ? [index] : []))
  const [date, second] = dates
  if (date === undefined) {
    const hint = /[;\t]/.test(row.cells.join(" "))
      ? "Separate the columns by commas, and name"
      : "The first line must name the columns: name"
    return fail("NoDateColumn", `no column is called Date. ${hint} one "Date" and each other by its ticker.`)
  }
  if (second !== undefined) {
    return fail("MalformedHeader", "a second column is called Date. Keep one of them.", second + 1)
  }
  const tickers: Array<{ readonly name: string; readonly index: number }> = []
  const seen = new Set<string>()
  for (const [index, name] of names.entries()) {
    if (index === date) continue
    if (name === "")
      return fail("MalformedHeader", "the column has no name. Give it its ticker, or remove it.", index + 1)
    if (seen.has(name))
      return fail("MalformedHeader", `a second column is called ${name}. Keep one of them.`, index + 1)
    seen.add(name)
    tickers.push({ name, index })
  }
  return tickers.length === 0
    ? fail("MalformedHeader", "there is no price column. Add one column a ticker beside the date.")
    : Either.right({ date, tickers })
}

/**
 * Reads the text of a CSV file. `file` is only named in errors.
 *
 * The first line names the columns: one is called `date` (in any case) and holds ISO dates, oldest first; every other is a ticker. Cells may be
 * quoted; a byte-order mark, any line end, and blank lines are accepted. A time of day after a date is dropped.
 *
 * @since 0.1.0
 * @category parsing
 */
export const parse = (text: string, file: string): Either.Either<Prices, PricesError> =>
  Either.gen(function* () {
    const scanned = yield* Either.mapLeft(
      Csv.rows(text),
      ({ line, column, problem }) =>
        new PricesError({
          reason: "MalformedRow",
          file,
          line,
          column,
          message: `${file}, line ${line}, column ${column}: ${problem}. Quote a whole cell or nothing of it.`
        })
    )
    const [first, ...body] = scanned
    if (first === undefined) {
      return yield* Either.left(
        new PricesError({
          reason: "EmptyFile",
          file,
          message: `${file} is empty. It must hold a line that names the columns, then a line a day.`
        })
      )
    }
    const header = yield* parseHeader(first, file)
    if (body.length === 0) {
      return yield* Either.left(
        new PricesError({
          reason: "EmptyFile",
          file,
          message: `${file} has no prices: nothing follows the line that names the columns.`
        })
      )
    }
    const dates: Array<string> = []
    const columns = header.tickers.map(({ index, name }) => ({
      name,
      index,
      closes: [] as (number | null)[],
      blanks: new Map<number, number>()
    }))
    let previous = ""
    for (const row of body) {
      const fail = (reason: Reason, column: number, text: string) =>
        Either.left(
          new PricesError({
            reason,
            file,
            line: row.line,
            column,
            message: `${file}, line ${row.line}, column ${column}${named(first, column)}: ${text}`
          })
        )
      if (row.cells.length !== first.cells.length) {
        return yield* fail(
          "MalformedRow",
          Math.min(row.cells.length, first.cells.length) + (row.cells.length > first.cells.length ? 1 : 0),
          `the line has ${row.cells.length} cells, the first line names ${first.cells.length} columns. ` +
            "Give every line one cell a column; a blank one is fine."
        )
      }
      const dateCell = row.cells[header.date] ?? ""
      const date = parseDate(dateCell)
      if (date === undefined) {
        return yield* fail(
          "MalformedDate",
          header.date + 1,
          `${quote(dateCell)} is not a date. Write it as YYYY-MM-DD.`
        )
      }
      if (date === previous) {
        return yield* fail("DuplicateDate", header.date + 1, `${date} is there twice. Keep one line a day.`)
      }
      if (date < previous) {
        const text = `${date} comes after ${previous}. Sort the lines by date, oldest first, each date once.`
        return yield* fail("DatesOutOfOrder", header.date + 1, text)
      }
      previous = date
      for (const { index, closes, blanks } of columns) {
        const cell = (row.cells[index] ?? "").trim()
        if (cell === "") {
          blanks.set(dates.length, row.line)
          closes.push(null)
          continue
        }
        const value = number.test(cell) ? Number(cell) : Number.NaN
        if (value <= 0) {
          return yield* fail("NonPositivePrice", index + 1, `${cell} is not a price. Every price must be above 0.`)
        }
        if (!(value >= smallest && value <= largest)) {
          const text = `${quote(cell)} is not a price. Write a plain number, such as 1234.56.`
          return yield* fail("MalformedNumber", index + 1, text)
        }
        closes.push(value)
      }
      dates.push(date)
    }
    return {
      file,
      sha256: createHash("sha256").update(text).digest("hex"),
      tickers: columns.map(({ name }) => name),
      dates,
      columns: new Map(columns.map(({ name, index, closes, blanks }) => [name, { number: index + 1, closes, blanks }]))
    }
  })
