/** Reads `Retry-After` and its kin from whatever carries headers. */
import * as Predicate from "effect/Predicate"

const read = (headers: unknown, name: string): string | undefined => {
  if (!Predicate.isObject(headers)) return undefined
  if ("get" in headers && typeof headers.get === "function") {
    const value: unknown = headers.get(name)
    return typeof value === "string" ? value : undefined
  }
  for (const [key, value] of Object.entries(headers)) {
    if (key.toLowerCase() === name && (typeof value === "string" || typeof value === "number")) return String(value)
  }
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

const positive = (millis: number): number | undefined =>
  Number.isFinite(millis) ? Math.max(0, Math.ceil(millis)) : undefined

/**
 * How long the other side asks to wait, in milliseconds: `retry-after-ms`, else `retry-after` in seconds or as an HTTP date (RFC 9110, 10.2.3),
 * else a `retryAfterMillis` or `retryAfter` (seconds) of the error's own.
 */
export const millis = (error: object, now: () => number): number | undefined => {
  const exact = header(error, "retry-after-ms")
  if (exact !== undefined && exact.trim() !== "" && Number.isFinite(Number(exact))) return positive(Number(exact))
  const value = header(error, "retry-after")?.trim()
  if (value !== undefined && value !== "") {
    return /^[\d.]+$/.test(value) ? positive(Number(value) * 1000) : positive(Date.parse(value) - now())
  }
  if ("retryAfterMillis" in error && typeof error.retryAfterMillis === "number") return positive(error.retryAfterMillis)
  if ("retryAfter" in error && typeof error.retryAfter === "number") return positive(error.retryAfter * 1000)
  return undefined
}
