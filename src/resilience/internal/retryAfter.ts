/** Reads `Retry-After` and its kin from whatever carries headers. */
import * as Predicate from "effect/Predicate"

const asText = (value: unknown): string | undefined =>
  typeof value === "string" || typeof value === "number"
    ? String(value)
    : Array.isArray(value)
      ? asText(value[0])
      : undefined

const read = (headers: unknown, name: string): string | undefined => {
  if (!Predicate.isObject(headers)) return undefined
  if ("get" in headers && typeof headers.get === "function") return asText(headers.get(name))
  for (const [key, value] of Object.entries(headers)) if (key.toLowerCase() === name) return asText(value)
  return undefined
}

/** A header of the response that an error carries, by its lower-case name. */
export const header = (error: object, name: string): string | undefined => {
  const carriers: Array<unknown> = [error]
  if ("response" in error) carriers.push(error.response)
  for (const carrier of carriers) {
    if (!Predicate.isObject(carrier) || !("headers" in carrier)) continue
    const value = read(carrier.headers, name)
    if (value !== undefined) return value
  }
  return undefined
}

const whole = (millis: number): number | undefined =>
  Number.isFinite(millis) ? Math.max(0, Math.ceil(millis)) : undefined

const decimal = /^\d+(?:\.\d+)?$/

/**
 * How long the other side asks to wait, in milliseconds: `retry-after-ms`, else `retry-after` in seconds or as an HTTP date (RFC 9110, 10.2.3),
 * else a `retryAfterMillis` or `retryAfter` (seconds) of the error's own. What cannot be read is no request to wait.
 */
export const millis = (error: object, now: () => number): number | undefined => {
  const exact = header(error, "retry-after-ms")?.trim()
  if (exact !== undefined && decimal.test(exact)) return whole(Number(exact))
  const value = header(error, "retry-after")?.trim()
  if (value !== undefined) {
    if (decimal.test(value)) return whole(Number(value) * 1000)
    // a date names its day and month in letters; `Date.parse` would make something of "-5" too
    const wait = /^[a-z]{3}/i.test(value) ? whole(Date.parse(value) - now()) : undefined
    if (wait !== undefined) return wait
  }
  if ("retryAfterMillis" in error && typeof error.retryAfterMillis === "number") return whole(error.retryAfterMillis)
  if ("retryAfter" in error && typeof error.retryAfter === "number") return whole(error.retryAfter * 1000)
  return undefined
}
