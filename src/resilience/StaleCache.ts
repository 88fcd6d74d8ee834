/**
 * The last good answers, kept for when nothing else works. It answers nothing while all is well, and never holds a failure.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as numbers from "./internal/numbers.js"

/**
 * @since 0.1.0
 * @category symbols
 */
export const TypeId: unique symbol = Symbol.for("holdfast/StaleCache")

/**
 * @since 0.1.0
 * @category symbols
 */
export type TypeId = typeof TypeId

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The most answers held; the oldest goes first. A whole number from 1. Default 1000. */
  readonly capacity?: number | undefined
  /** The oldest answer that is still served. Default 1 hour; `Infinity` for any. */
  readonly maxAge?: Duration.DurationInput | undefined
}

/**
 * An answer, and whether it is one of old.
 *
 * @since 0.1.0
 * @category models
 */
export interface Answer<out A> {
  readonly value: A
  /** Whether it comes from the cache, because all else failed. */
  readonly stale: boolean
  /** How long ago it was given, in milliseconds; 0 when it is fresh. */
  readonly ageMillis: number
}

/**
 * Good answers by key. It holds the values themselves, not copies.
 *
 * @since 0.1.0
 * @category models
 */
export interface StaleCache<in out A> {
  readonly [TypeId]: TypeId
  /** Keeps the last good answer to a key. */
  readonly set: (key: string, value: A) => Effect.Effect<void>
  /** The last good answer to a key, unless it is too old. */
  readonly get: (key: string) => Effect.Effect<Answer<A> | undefined>
  /** Forgets a key. */
  readonly invalidate: (key: string) => Effect.Effect<void>
  /** How many answers are held. */
  readonly size: Effect.Effect<number>
}

interface Entry<A> {
  readonly value: A
  readonly at: number
}

/**
 * An empty cache.
 *
 * @since 0.1.0
 * @category constructors
 * @throws `RangeError` when the capacity is no whole number from 1, or the age is negative or NaN.
 * @example
 * ```ts
 * import { StaleCache } from "holdfast"
 *
 * const answers = StaleCache.make<string>({ capacity: 500, maxAge: "10 minutes" })
 * ```
 */
export const make = <A>(options: Options = {}): StaleCache<A> => {
  const capacity = numbers.count("StaleCache: capacity", options.capacity ?? 1000)
  const maxAge = numbers.millis("StaleCache: maxAge", options.maxAge ?? "1 hour")
  // in the order in which they were written, so that the oldest is first
  const entries = new Map<string, Entry<A>>()

  const now = Effect.map(Effect.clock, numbers.monotonic)
  const shrink = (time: number): void => {
    for (const [key, { at }] of entries) {
      if (entries.size <= capacity && time - at <= maxAge) return
      entries.delete(key)
    }
  }
  return {
    [TypeId]: TypeId,
    set: (key, value) =>
      Effect.map(now, (time) => {
        entries.delete(key)
        entries.set(key, { value, at: time })
        shrink(time)
      }),
    get: (key) =>
      Effect.map(now, (time) => {
        shrink(time)
        const entry = entries.get(key)
        return entry === undefined
          ? undefined
          : { value: entry.value, stale: true, ageMillis: Math.max(0, time - entry.at) }
      }),
    invalidate: (key) => Effect.sync(() => entries.delete(key)),
    size: Effect.sync(() => entries.size)
  }
}
