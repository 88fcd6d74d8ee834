/**
 * Ids that sort by the time they were made, as LangGraph's checkpoints have them (UUID version 6).
 *
 * @internal
 */
import { randomBytes } from "node:crypto"

/** From the first day of the Gregorian calendar to 1970, in steps of 100 ns. */
const epoch = 122192928000000000n

/** The time in an id, or nothing for an id of another kind. */
const ticks = (id: string): bigint | undefined => {
  const found = /^([0-9a-f]{8})-([0-9a-f]{4})-6([0-9a-f]{3})-/.exec(id)
  return found === null ? undefined : BigInt(`0x${found[1]}${found[2]}${found[3]}`)
}

/** An id for this moment, in milliseconds since 1970, that sorts after `previous` even when a clock went back. */
export const make = (millis: number, previous: string | undefined): string => {
  const now = BigInt(Math.trunc(millis)) * 10_000n + epoch
  const before = previous === undefined ? undefined : ticks(previous)
  const time = (before !== undefined && before >= now ? before + 1n : now).toString(16).padStart(15, "0")
  const random = randomBytes(8).toString("hex")
  return `${time.slice(0, 8)}-${time.slice(8, 12)}-6${time.slice(12, 15)}-8${random.slice(0, 3)}-${random.slice(4)}`
}
