/** What stands around and between an agent's attempts beside retry, breaker and timeout: bulkhead, rate limit, hedge. */
import * as RateLimiter from "@effect/experimental/RateLimiter"
import * as Effect from "effect/Effect"
import { globalValue } from "effect/GlobalValue"
import * as Option from "effect/Option"
import * as Bulkhead from "../../resilience/Bulkhead.js"
import * as Hedge from "../../resilience/Hedge.js"
import * as RateLimit from "../../resilience/RateLimit.js"
import type { Policy } from "../Agent.js"

/** One an agent id and options object: agents derived from one another, which hand the same options on, share it. */
const memoized = <Options extends object, A>(make: (id: string, options: Options) => A) => {
  const made = new WeakMap<Options, Map<string, A>>()
  return (id: string, options: Options): A => {
    const byId = made.get(options) ?? new Map<string, A>()
    made.set(options, byId)
    const existing = byId.get(id)
    if (existing !== undefined) return existing
    const fresh = make(id, options)
    byId.set(id, fresh)
    return fresh
  }
}

const makeBulkhead = memoized(Bulkhead.make)
const makeHedge = memoized(Hedge.make)

const processLimiter = globalValue("holdfast/Agent/RateLimiter", () =>
  Effect.runSync(Effect.cached(Effect.provide(RateLimiter.RateLimiter, RateLimit.layerMemory)))
)

/** Of the limiter that is provided, else of the process's. */
const asking = (options: RateLimit.Options): Effect.Effect<void, RateLimit.RateLimitError> => {
  const admit = RateLimit.limit(Effect.void, options)
  return Effect.flatMap(Effect.serviceOption(RateLimiter.RateLimiter), (provided) =>
    Option.isSome(provided)
      ? Effect.provideService(admit, RateLimiter.RateLimiter, provided.value)
      : Effect.provideServiceEffect(admit, RateLimiter.RateLimiter, processLimiter)
  )
}

export interface Admission {
  readonly bulkhead: Bulkhead.Bulkhead | undefined
  readonly rateLimit: Effect.Effect<void, RateLimit.RateLimitError> | undefined
  readonly hedge: Hedge.Hedge | undefined
  /** In words that a trace can hold. */
  readonly metadata: Readonly<Record<string, unknown>>
}

/** @throws `RangeError` when a number makes no sense. */
export const of = (id: string, { bulkhead, hedge, rateLimit }: Policy): Admission | undefined => {
  if (!bulkhead && !hedge && !rateLimit) return undefined
  const gate = bulkhead ? (Bulkhead.isBulkhead(bulkhead) ? bulkhead : makeBulkhead(id, bulkhead)) : undefined
  return {
    bulkhead: gate,
    rateLimit: rateLimit ? asking({ ...rateLimit, key: rateLimit.key ?? id }) : undefined,
    hedge: hedge ? (Hedge.isHedge(hedge) ? hedge : makeHedge(id, hedge)) : undefined,
    metadata: {
      bulkhead_concurrency: gate?.concurrency,
      rate_limit_calls: rateLimit ? rateLimit.limit : undefined,
      hedged: hedge ? true : undefined
    }
  }
}

/** Around a whole call: a call that the bulkhead rejects uses nothing of the rate limit. */
export const admitted = <A, E, R>(
  admission: Admission | undefined,
  call: Effect.Effect<A, E, R>
): Effect.Effect<A, E | Bulkhead.BulkheadFullError | RateLimit.RateLimitError, R> => {
  const limited = admission?.rateLimit === undefined ? call : Effect.zipRight(admission.rateLimit, call)
  return admission?.bulkhead === undefined ? limited : admission.bulkhead.protect(limited)
}

/** Around one attempt. */
export const hedged = <A, E, R>(
  admission: Admission | undefined,
  attempt: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => admission?.hedge?.run(attempt, attempt) ?? attempt
