/**
 * The names by which things are known from the outside. Two copies of the package in one process know each other's values and services by them, and
 * an error that crossed a process is decoded by its own: a name that changes breaks both, and no type shows it.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import { globalValue } from "effect/GlobalValue"
import * as Bulkhead from "../../src/resilience/Bulkhead.js"
import * as Chaos from "../../src/resilience/Chaos.js"
import * as CircuitBreaker from "../../src/resilience/CircuitBreaker.js"
import * as Failure from "../../src/resilience/Failure.js"
import * as Fallback from "../../src/resilience/Fallback.js"
import * as Hedge from "../../src/resilience/Hedge.js"
import * as RateLimit from "../../src/resilience/RateLimit.js"
import * as RetryBudget from "../../src/resilience/RetryBudget.js"
import * as RetryPolicy from "../../src/resilience/RetryPolicy.js"
import * as StaleCache from "../../src/resilience/StaleCache.js"
import * as Timeout from "../../src/resilience/Timeout.js"

describe("identities", () => {
  it("values carry a type id that is the same in every copy", () => {
    const made: ReadonlyArray<readonly [name: string, id: symbol, value: object]> = [
      ["holdfast/Bulkhead", Bulkhead.TypeId, Bulkhead.make("a")],
      ["holdfast/CircuitBreaker", CircuitBreaker.TypeId, CircuitBreaker.make("a")],
      ["holdfast/Hedge", Hedge.TypeId, Hedge.make("a")],
      ["holdfast/RetryPolicy", RetryPolicy.TypeId, RetryPolicy.make()],
      ["holdfast/StaleCache", StaleCache.TypeId, StaleCache.make()]
    ]
    for (const [name, id, value] of made) {
      assert.strictEqual(id, Symbol.for(name))
      assert.strictEqual(Reflect.get(value, id), id, name)
    }
  })

  it("guards know their own and take anything", () => {
    const guards: ReadonlyArray<readonly [(value: unknown) => boolean, object]> = [
      [Bulkhead.isBulkhead, Bulkhead.make("a")],
      [CircuitBreaker.isCircuitBreaker, CircuitBreaker.make("a")],
      [Hedge.isHedge, Hedge.make("a")],
      [RetryPolicy.isRetryPolicy, RetryPolicy.make()]
    ]
    for (const [is, own] of guards) {
      for (const value of [undefined, null, 0, "text", Symbol.for("holdfast"), () => own, {}, []])
        assert.isFalse(is(value))
      assert.deepStrictEqual(
        guards.map(([, value]) => is(value)),
        guards.map(([, value]) => value === own)
      )
    }
  })

  it("services have keys of their own", () => {
    assert.deepStrictEqual(
      [
        Chaos.Chaos,
        CircuitBreaker.Registry,
        CircuitBreaker.Store,
        Failure.CurrentClassifier,
        RetryBudget.RetryBudget
      ].map(({ key }) => key),
      [
        "holdfast/Chaos",
        "holdfast/CircuitBreaker/Registry",
        "holdfast/CircuitBreaker/Store",
        "holdfast/Failure/CurrentClassifier",
        "holdfast/RetryBudget"
      ]
    )
  })

  it("errors have identifiers of their own, beside their tags", () => {
    const errors = [
      Bulkhead.BulkheadFullError,
      Chaos.ChaosError,
      CircuitBreaker.CircuitBreakerOpenError,
      CircuitBreaker.CircuitBreakerStoreError,
      Fallback.FallbackExhaustedError,
      RateLimit.RateLimitError,
      Timeout.AgentTimeoutError
    ]
    for (const error of errors) assert.strictEqual(error.identifier, `holdfast/${error._tag}`)
    assert.deepStrictEqual(
      errors.map(({ _tag }) => _tag),
      [
        "BulkheadFullError",
        "ChaosError",
        "CircuitBreakerOpenError",
        "CircuitBreakerStoreError",
        "FallbackExhaustedError",
        "RateLimitError",
        "AgentTimeoutError"
      ]
    )
  })

  it("what a process has one of is found by every copy", () => {
    assert.strictEqual(
      globalValue<FiberRef.FiberRef<number>>("holdfast/Timeout/CurrentDeadline", () => FiberRef.unsafeMake(0)),
      Timeout.CurrentDeadline
    )
    const budget = Effect.runSync(RetryBudget.RetryBudget)
    assert.strictEqual(
      globalValue<RetryBudget.Service>("holdfast/RetryBudget/process", () => RetryBudget.unlimited),
      budget
    )
    assert.strictEqual(Context.get(Context.empty(), RetryBudget.RetryBudget), budget)
  })
})
