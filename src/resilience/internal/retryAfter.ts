/** Reads `Retry-After` and its kin from whatever carries headers. */
import * as Predicate from "effect/Predicate"

/** A field of any object; one whose getter throws is not there. */
export const field = (error: object, key: PropertyKey): unknown => {
  try {
    return Reflect.get(error, key)
  } catch {
    return undefined
  }
}

const asText = (value: unknown): string | undefined =>
  typeof value === "string" || typeof value === "number"
    ? String(value)
    : Array.isArray(value)
      ? asText(value[0])
      : value instanceof Uint8Array
        ? new TextDecoder().decode(value)
        : undefined

/** Headers as pairs: from a `Map`, an array of pairs, the flat array of undici and `rawHeaders`, or a plain object. */
const pairsOf = (headers: object): Iterable<readonly [unknown, unknown]> => {
  if (headers instanceof Map) return headers
  if (!Array.isArray(headers)) return Object.entries(headers)
  if (headers.every((each) => Array.isArray(each))) return headers.map(([key, value]) => [key, value])
  return headers.flatMap((key, index) => (index % 2 === 0 ? [[key, headers[index + 1]]] : []))
}

const read = (headers: object, name: string): string | undefined => {
  if ("get" in headers && typeof headers.get === "function") {
    const value = asText(headers.get(name))
    if (value !== undefined) return value
  }
  for (const [key, value] of pairsOf(headers)) if (asText(key)?.toLowerCase() === name) return asText(value)
  return undefined
}

/** A header of the response that an error carries, by its lower-case name. What cannot be read is not there. */
export const header = (error: object, name: string): string | undefined => {
  for (const carrier of [error, field(error, "response")]) {
    const headers = Predicate.isObject(carrier) ? field(carrier, "headers") : undefined
    if (!Predicate.isObject(headers)) continue
    try {
      const value = read(headers, name)
      if (value !== undefined) return value
    } catch {
      // headers of a kind that is not known here
    }
  }
  return undefined
}

const whole = (millis: number): number | undefined =>
  Number.isFinite(millis) ? Math.max(0, Math.ceil(millis)) : undefined

/** The time of an HTTP date. Its oldest form, C's asctime, names no zone and means GMT. */
const timeOf = (date: string): number => Date.parse(/gmt|utc|[+-]\d{4}$/i.test(date) ? date : `${date} GMT`)

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
    const wait = /^[a-z]{3}/i.test(value) ? whole(timeOf(value) - now()) : undefined
    if (wait !== undefined) return wait
  }
  const own = field(error, "retryAfterMillis")
  if (typeof own === "number") return whole(own)
  const seconds = field(error, "retryAfter")
  return typeof seconds === "number" ? whole(seconds * 1000) : undefined
}
