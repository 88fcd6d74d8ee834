import { readFileSync } from "node:fs"
import { assert } from "@effect/vitest"
import * as Either from "effect/Either"
import * as fc from "fast-check"
import * as Prices from "../../../src/programs/research/Prices.js"

/** The shipped prices. */
export const shipped: Prices.Prices = Either.getOrThrow(
  Prices.parse(readFileSync(Prices.shipped, "utf8"), "stockdata.csv")
)

/** A ticker of the shipped prices with its benchmark. */
export const selection = (ticker: string): Prices.Selection =>
  Either.getOrThrow(Prices.select(shipped, { ticker, benchmark: Prices.shippedBenchmark }))

/** Days one after the other, weekends and all. */
export const days = (count: number): ReadonlyArray<string> =>
  Array.from({ length: count }, (_, index) => new Date(Date.UTC(2001, 0, 1 + index)).toISOString().slice(0, 10))

/** A series of the given closes. */
export const seriesOf = (closes: ReadonlyArray<number>): Prices.Series => ({
  ticker: "TEST",
  dates: days(closes.length),
  closes
})

/** Closes that start at 100 and move by up to 10 % a day, in steps of 0.1 %, so that what moves moves by more than rounding. */
export const closesOf = (shortest: number, longest: number): fc.Arbitrary<ReadonlyArray<number>> =>
  fc.array(fc.integer({ min: -100, max: 100 }), { minLength: shortest - 1, maxLength: longest - 1 }).map((moves) => {
    const closes = [100]
    let close = 100
    for (const move of moves) {
      close *= 1 + move / 1000
      closes.push(close)
    }
    return closes
  })

/** The value at an index that the test knows to be there. */
export const get = (values: ReadonlyArray<number>, index: number): number => values.at(index) ?? Number.NaN

/** Same shape, same text, and every number within a relative tolerance. */
export const agrees = (actual: unknown, expected: unknown, where: string, tolerance = 1e-9): void => {
  if (typeof expected === "number" && typeof actual === "number") {
    assert.isAtMost(
      Math.abs(actual - expected),
      tolerance * Math.max(Math.abs(actual), Math.abs(expected)),
      `${where}: ${actual} is not ${expected}`
    )
  } else if (typeof expected === "object" && expected !== null && typeof actual === "object" && actual !== null) {
    assert.sameMembers(Object.keys(actual), Object.keys(expected), where)
    const entries = new Map<string, unknown>(Object.entries(actual))
    for (const [key, value] of Object.entries(expected)) agrees(entries.get(key), value, `${where}.${key}`, tolerance)
  } else {
    assert.strictEqual(actual, expected, where)
  }
}

/** Every number in a value is finite: it survives JSON. */
export const isJson = (value: unknown): void => {
  assert.deepStrictEqual(JSON.parse(JSON.stringify(value)), value)
}
