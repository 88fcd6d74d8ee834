/**
 * Comma-separated text into rows of cells, each row with the line it begins on (RFC 4180: quotes, doubled quotes, line ends within quotes).
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"

/**
 * One row. Cells are as written, without their quotes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Row {
  /** The line of the text on which the row begins, from 1. */
  readonly line: number
  readonly cells: ReadonlyArray<string>
}

/**
 * A quote that is out of place, or one that is never closed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Malformed {
  readonly line: number
  /** Which cell of its row, from 1. */
  readonly column: number
  readonly problem: string
}

/**
 * Splits a text into rows. A byte-order mark is dropped, every kind of line end is accepted, and blank lines are skipped.
 *
 * @since 0.1.0
 * @category parsing
 */
export const rows = (input: string): Either.Either<ReadonlyArray<Row>, Malformed> => {
  const text = input.startsWith("\uFEFF") ? input.slice(1) : input
  const out: Array<Row> = []
  let cells: Array<string> = []
  let cell = ""
  let state: "start" | "plain" | "quoted" | "closed" = "start"
  let line = 1
  let began = 1
  const endRow = () => {
    if (cells.length > 0 || state !== "start" || cell !== "") {
      cells.push(cell)
      if (cells.length > 1 || cells.some((value) => value.trim() !== "")) out.push({ line: began, cells })
    }
    cells = []
    cell = ""
    state = "start"
  }
  for (let index = 0; index < text.length; index++) {
    const char = text.charAt(index)
    if (state === "quoted") {
      if (char !== '"') {
        cell += char
        if (char === "\n") line++
      } else if (text.charAt(index + 1) === '"') {
        cell += '"'
        index++
      } else {
        state = "closed"
      }
    } else if (char === ",") {
      cells.push(cell)
      cell = ""
      state = "start"
    } else if (char === "\n" || char === "\r") {
      if (char === "\r" && text.charAt(index + 1) === "\n") index++
      endRow()
      line++
      began = line
    } else if (char === '"') {
      if (state !== "start" || cell.trim() !== "") {
        return Either.left({ line, column: cells.length + 1, problem: "a quote stands within the cell" })
      }
      cell = ""
      state = "quoted"
    } else if (state === "closed") {
      if (char !== " " && char !== "\t") {
        return Either.left({ line, column: cells.length + 1, problem: "text follows the closing quote" })
      }
    } else {
      cell += char
      // blanks before a quote do not begin a cell
      if (char !== " " && char !== "\t") state = "plain"
    }
  }
  if (state === "quoted")
    return Either.left({ line: began, column: cells.length + 1, problem: "a quote is not closed" })
  endRow()
  return Either.right(out)
}
