/** What the place that we write to can do. */
import * as Effect from "effect/Effect"

/** Writes, and waits until it is written or whoever read it has gone, which is no failure of ours: `holdfast threads | head -1`. */
export const write = (stream: NodeJS.WritableStream, text: string): Effect.Effect<void> =>
  Effect.async((resume) => {
    stream.write(text, () => resume(Effect.void))
  })

/** Whether colour is wanted: `NO_COLOR` (no-color.org) says no, `FORCE_COLOR` yes, else a terminal decides. */
export const hasColor = (stream: NodeJS.WriteStream): boolean => {
  if ((process.env["NO_COLOR"] ?? "") !== "") return false
  const forced = process.env["FORCE_COLOR"]
  if (forced !== undefined && forced !== "") return forced !== "0"
  return stream.isTTY === true && process.env["TERM"] !== "dumb"
}

/** Whether lines can be redrawn. */
export const canRedraw = (stream: NodeJS.WriteStream): boolean =>
  stream.isTTY === true && process.env["TERM"] !== "dumb"

/** The columns to write in: the terminal's, else `COLUMNS`, else 100. */
export const widthOf = (stream: NodeJS.WriteStream): number => {
  const declared = Number(process.env["COLUMNS"])
  const columns = stream.columns ?? (Number.isInteger(declared) && declared > 0 ? declared : 100)
  return Math.max(40, columns)
}

const codes = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const

export type Style = keyof typeof codes

/** Colours text, or leaves it as it is. */
export type Paint = (style: Style, text: string) => string

export const painter =
  (color: boolean): Paint =>
  (style, text) =>
    color && text !== "" ? `\u001b[${codes[style]}m${text}\u001b[0m` : text

/** Breaks text into lines at spaces, but not before a percent sign. A word longer than a line stands alone. */
export const wrap = (text: string, width: number): ReadonlyArray<string> => {
  const lines: Array<string> = []
  let line = ""
  for (const word of text.split(/\s+(?!%)/).filter((each) => each !== "")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line)
      line = word
    } else {
      line = line === "" ? word : `${line} ${word}`
    }
  }
  return line === "" ? lines : [...lines, line]
}

/** Cuts text to so many columns. */
export const cut = (text: string, width: number): string =>
  text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`

/** Rows under each other, each column as wide as its longest cell. */
export const columns = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd()
    )
    .join("\n")
}
