/**
 * No more in a time than has been agreed: `@effect/experimental`'s RateLimiter around an effect, with a typed rejection. Its store decides who
 * shares the limit: a process with the one in memory, a fleet with Redis.
 *
 * @since 0.1.0
 */
import * as RateLimiter from "@effect/experimental/RateLimiter"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Observation from "../observability/Observation.js"
import type * as Failure from "./Failure.js"
import * as numbers from "./internal/numbers.js"
import * as Timeout from "./Timeout.js"

/**
 * A call above the limit, or one that the limiter's store could not be asked about (`reason` is `store`).
 *
 * @since 0.1.0
 * @category errors
 */
export class RateLimitError extends Schema.TaggedError<RateLimitError>("holdfast/RateLimitError")("RateLimitError", {
  key: Schema.String,
  reason: Schema.Literal("exceeded", "store"),
  /** How many calls a window has. */
  limit: Schema.Number,
  /** When it may be let through, in milliseconds from now. */
  retryAfterMillis: Schema.Number
}) {
  override get message(): string {
    const wait = Duration.format(Duration.millis(Math.ceil(this.retryAfterMillis)))
    return this.reason === "exceeded"
      ? `the rate limit of "${this.key}" (${this.limit} a window) is reached; try again in ${wait}`
      : `the rate limit of "${this.key}" could not be asked for`
  }

  /** Worth another try when the window has room again. */
  get failure(): Failure.Failure {
    return this.reason === "exceeded"
      ? { kind: "rate-limited", reason: "rate limit", retryAfterMillis: Math.ceil(this.retryAfterMillis) }
      : { kind: "transient", reason: "rate limit store" }
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** What is limited: whoever names the same key, of the same store, shares the limit. */
  readonly key: string
  /** The calls, or the tokens, of a window. A whole number from 1. */
  readonly limit: number
  /** How long a window is. Above 0. */
  readonly window: Duration.DurationInput
  /** How many tokens a call takes. At most the limit. Default 1. */
  readonly tokens?: number | undefined
  /** Default `token-bucket`: room comes back evenly. `fixed-window`: all at once. */
  readonly algorithm?: "fixed-window" | "token-bucket" | undefined
  /** How long a call may wait for room; never beyond its deadline. Default 0: it is rejected at once. */
  readonly maxWait?: Duration.DurationInput | undefined
  /** What a store that fails does to a call: lets it through (default), or rejects it. */
  readonly onStoreFailure?: "allow" | "reject" | undefined
}

/**
 * Lets an effect run when the limit has room. A rejection is a `rate_limit_rejection` observation, a wait is told by
 * `rate_limit_wait_seconds`. Those who wait are let through in no certain order.
 *
 * @since 0.1.0
 * @category operators
 * @throws `RangeError` when a number or a duration makes no sense.
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { RateLimit } from "holdfast"
 *
 * declare const ask: Effect.Effect<string, Error>
 *
 * const program = ask.pipe(
 *   RateLimit.limit({ key: "model", limit: 60, window: "1 minute", maxWait: "10 seconds" }),
 *   Effect.provide(RateLimit.layerMemory)
 * )
 * ```
 */
export const limit: {
  (
    options: Options
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | RateLimitError, R | RateLimiter.RateLimiter>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    options: Options
  ): Effect.Effect<A, E | RateLimitError, R | RateLimiter.RateLimiter>
} = dual(
  2,
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    options: Options
  ): Effect.Effect<A, E | RateLimitError, R | RateLimiter.RateLimiter> => Effect.zipRight(admission(options), self)
)

/** Ends when there is room. */
const admission = (options: Options): Effect.Effect<void, RateLimitError, RateLimiter.RateLimiter> => {
  const { algorithm = "token-bucket", key, onStoreFailure = "allow" } = options
  const limit = numbers.count("RateLimit: limit", options.limit)
  const tokens = numbers.count("RateLimit: tokens", options.tokens ?? 1)
  if (tokens > limit) throw new RangeError(`RateLimit: tokens must be at most the limit of ${limit}, got ${tokens}`)
  const window = numbers.millis("RateLimit: window", options.window)
  if (!(window > 0 && window < Infinity)) throw new RangeError(`RateLimit: window must be above 0, got ${window} ms`)
  const maxWait = numbers.millis("RateLimit: maxWait", options.maxWait ?? 0)

  const reject = (error: RateLimitError): Effect.Effect<never, RateLimitError> =>
    Effect.zipRight(
      Observation.event("rate_limit_rejection", {
        level: "WARNING",
        statusMessage: error.message,
        metadata: { rate_limit: key, reason: error.reason, retry_after_seconds: error.retryAfterMillis / 1000 }
      }),
      Effect.fail(error)
    )

  const unknown: Effect.Effect<void, RateLimitError> =
    onStoreFailure === "allow"
      ? Observation.event("rate_limit_store_failure", {
          level: "WARNING",
          statusMessage: `the rate limit of "${key}" could not be asked for: the call is let through`,
          metadata: { rate_limit: key }
        })
      : Effect.suspend(() => reject(new RateLimitError({ key, reason: "store", limit, retryAfterMillis: 0 })))

  return Effect.flatMap(RateLimiter.RateLimiter, (limiter) => {
    const consume = limiter.consume({ algorithm, key, limit, onExceeded: "fail", tokens, window })
    // asked again after each wait, and not reserved ahead: a call that gives up has then used nothing of the limit
    const ask = (waited: number): Effect.Effect<void, RateLimitError> =>
      Effect.matchEffect(consume, {
        onSuccess: () =>
          waited === 0
            ? Effect.void
            : Observation.annotate({ metadata: { rate_limit: key, rate_limit_wait_seconds: waited / 1000 } }),
        onFailure: (error) => {
          if (error.reason === "StoreError") return unknown
          // a store's clock may be a little off: never a wait of nothing
          const wait = Math.max(1, Math.ceil(Duration.toMillis(error.retryAfter)))
          return Effect.flatMap(Timeout.remainingMillis, (remaining) =>
            waited + wait > maxWait || wait >= remaining
              ? reject(new RateLimitError({ key, reason: "exceeded", limit, retryAfterMillis: wait }))
              : Effect.zipRight(Effect.sleep(wait), ask(waited + wait))
          )
        }
      })
    return ask(0)
  })
}

/**
 * A limiter for one process. For a fleet, `RateLimiter.layer` of `@effect/experimental` over its Redis store.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<RateLimiter.RateLimiter> = Layer.provide(
  RateLimiter.layer,
  RateLimiter.layerStoreMemory
)
