/** What the proofs by many faults share. */
import { createHash } from "node:crypto"

declare module "vitest" {
  export interface ProvidedContext {
    /** How much of it: all, or the share of a CI run. */
    readonly chaos: {
      readonly faults: number
      /** On each database. */
      readonly kills: number
    }
  }
}

/** Numbers from 0 to 1 that a seed decides (mulberry32). */
export const randomOf = (seed: number): (() => number) => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

/** Bytes that their name decides, so that what was written can be told without keeping it. */
export const bytesOf = (name: string, size: number): Uint8Array => {
  const parts: Array<Buffer> = []
  for (let length = 0; length < size; length += 64) {
    parts.push(createHash("sha512").update(`${name} ${length}`).digest())
  }
  return new Uint8Array(Buffer.concat(parts).subarray(0, size))
}

/** Rows under a heading, for the log. */
export const table = (heading: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string | number>>): string => {
  const all = [heading, ...rows].map((row) => row.map(String))
  const widths = heading.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)))
  return all.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")).join("\n")
}
