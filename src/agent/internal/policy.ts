/** What hardens an agent, as a person writes it. */
import type * as Duration from "effect/Duration"
import type * as Bulkhead from "../../resilience/Bulkhead.js"
import type * as CircuitBreaker from "../../resilience/CircuitBreaker.js"
import type * as Failure from "../../resilience/Failure.js"
import type * as Hedge from "../../resilience/Hedge.js"
import type * as RateLimit from "../../resilience/RateLimit.js"
import type * as RetryPolicy from "../../resilience/RetryPolicy.js"
import type * as Timeout from "../../resilience/Timeout.js"

/**
 * What hardens an agent. Everything has a default, and `false` turns a part off.
 *
 * @since 0.1.0
 * @category models
 */
export interface Policy {
  /** Default: 3 attempts, base 1 s, factor 2, cap 60 s, jitter 0.5 to 1.5, `Retry-After` honoured. */
  readonly retry?: RetryPolicy.RetryPolicy | RetryPolicy.Options | false | undefined
  /** The bound of one attempt. Default 30 seconds. */
  readonly timeout?: Duration.DurationInput | false | undefined
  /** The bound of all attempts and their pauses together. Default none. */
  readonly deadline?: Duration.DurationInput | false | undefined
  /**
   * Default: opens after 5 failures in a row, probes after 60 s, closes after 2 successes. One breaker an agent id a registry, or one for all
   * whose options have the same `name` and `key`, such as a provider and a model: the options with which it is first asked for make it.
   */
  readonly circuitBreaker?: CircuitBreaker.Options | false | undefined
  /** What the breaker counts: each `attempt` (default), or a `call` with all its retries as one. */
  readonly countAs?: "attempt" | "call" | undefined
  /**
   * How many calls run and wait at once. Options make one for the agent's id; a `Bulkhead` of your own may be shared with others. Default none.
   */
  readonly bulkhead?: Bulkhead.Bulkhead | Bulkhead.Options | false | undefined
  /**
   * How many calls begin in a time, under the agent's id or the `key` given, by the `RateLimiter` that is provided, else by one of the process in
   * memory. A call with all its retries counts once. Default none.
   */
  readonly rateLimit?: (Omit<RateLimit.Options, "key"> & { readonly key?: string | undefined }) | false | undefined
  /**
   * A second attempt beside one that is slow, under breaker and timeout like the first: only for what may be done twice. Options make one for
   * the agent's id. Default none.
   */
  readonly hedge?: Hedge.Hedge | Hedge.Options | false | undefined
  /** Sorts this agent's errors. Default: the classifier in force. */
  readonly classify?: Failure.Classifier | undefined
}

/**
 * The errors that the operators add to an agent's own. Any of them may be put to work while the agent runs, see `Agent.policies`.
 *
 * @since 0.1.0
 * @category errors
 */
export type PolicyError =
  | Timeout.AgentTimeoutError
  | CircuitBreaker.CircuitBreakerOpenError
  | Bulkhead.BulkheadFullError
  | RateLimit.RateLimitError

/**
 * Overrides of policies: an agent's id, or `"*"` for every agent, and what is to be different. What an agent's own entry says goes before what
 * `"*"` says, both go before what the agent was made with, and what is absent stays as it is. A part such as `retry` is replaced as a whole.
 *
 * @since 0.1.0
 * @category reconfiguration
 */
export type Policies = Readonly<Record<string, Policy>>
