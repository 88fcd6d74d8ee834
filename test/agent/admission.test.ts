/** Bulkhead, rate limit and hedge as parts of an agent's policy: where they stand, and who shares them. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as TestClock from "effect/TestClock"
import * as Agent from "../../src/agent/Agent.js"
import * as Trace from "../../src/observability/Trace.js"
import * as Bulkhead from "../../src/resilience/Bulkhead.js"
import * as CircuitBreaker from "../../src/resilience/CircuitBreaker.js"
import * as Hedge from "../../src/resilience/Hedge.js"
import * as RateLimit from "../../src/resilience/RateLimit.js"
import * as Timeout from "../../src/resilience/Timeout.js"
import { finish, permanent, transient, tree } from "../resilience/support.js"
import { once, own, timed } from "./support.js"

const failureOf = (exit: Exit.Exit<unknown, unknown>): unknown =>
  Exit.isFailure(exit) ? Cause.originalError(Cause.squash(exit.cause)) : undefined

/** An agent that takes its time, and how many of its runs there were at once and in all. */
const busy = (id: string, policy: Agent.Policy, millis = 100) => {
  const seen = { running: 0, most: 0, began: 0 }
  const run = (_: string) =>
    Effect.acquireUseRelease(
      Effect.sync(() => {
        seen.began++
        seen.most = Math.max(seen.most, ++seen.running)
      }),
      () => Effect.sleep(millis),
      () => Effect.sync(() => seen.running--)
    )
  return { agent: Agent.make(id, run, { ...once, ...policy }), seen }
}

const many = <A, E, R>(times: number, self: Effect.Effect<A, E, R>) =>
  timed(
    Effect.all(
      Array.from({ length: times }, () => Effect.exit(self)),
      { concurrency: "unbounded" }
    )
  ).pipe(Effect.map(([exit, millis]) => [Exit.isSuccess(exit) ? exit.value : [], millis] as const))

describe("Agent: bulkhead", () => {
  it.effect("so many run, so many wait, the rest is rejected and the fallback takes over", () =>
    Effect.gen(function* () {
      const { agent, seen } = busy("a", { bulkhead: { concurrency: 2, queue: 2 } })
      const [exits, millis] = yield* many(6, agent.invoke(""))
      assert.deepStrictEqual([seen.most, seen.began, millis], [2, 4, 200])
      const rejected = exits.map(failureOf).filter((error) => error !== undefined)
      assert.strictEqual(rejected.length, 2)
      for (const error of rejected) assert.instanceOf(error, Bulkhead.BulkheadFullError)
      const saved = agent.pipe(Agent.orElse(Agent.make("b", (_: string) => Effect.void, once)))
      const [answers] = yield* many(6, saved.invoke(""))
      assert.isTrue(answers.every(Exit.isSuccess))
    }).pipe(own)
  )

  it.effect("a call holds its place with all its attempts and pauses", () =>
    Effect.gen(function* () {
      let tried = 0
      const agent = Agent.make("a", (_: string) => Effect.suspend(() => Effect.fail(transient(tried++))), {
        retry: { maxAttempts: 2, base: "10 seconds", jitter: false },
        circuitBreaker: false,
        bulkhead: { concurrency: 1 }
      })
      const [, millis] = yield* many(3, agent.invoke(""))
      assert.deepStrictEqual([tried, millis], [6, 30_000])
    }).pipe(own)
  )

  it.effect("the deadline bounds the waiting", () =>
    Effect.gen(function* () {
      const { agent, seen } = busy("a", { bulkhead: { concurrency: 1 }, deadline: 150 })
      const [exits, millis] = yield* many(3, agent.invoke(""))
      assert.deepStrictEqual([seen.began, millis], [2, 150])
      assert.deepStrictEqual(
        exits.map((exit) => failureOf(exit) instanceof Timeout.AgentTimeoutError),
        [false, true, true]
      )
    }).pipe(own)
  )

  it.effect(
    "agents derived from one another share it, others of the same options do not; a value is shared on purpose",
    () =>
      Effect.gen(function* () {
        const bulkhead = { concurrency: 2 }
        const { agent, seen } = busy("a", { bulkhead })
        yield* many(
          2,
          Effect.all([agent.invoke(""), Agent.withDeadline(agent, "1 minute").invoke("")], { concurrency: 2 })
        )
        assert.strictEqual(seen.most, 2)
        const other = busy("b", { bulkhead })
        const [, together] = yield* many(2, Effect.all([agent.invoke(""), other.agent.invoke("")], { concurrency: 2 }))
        assert.strictEqual(together, 100)
        const shared = Bulkhead.make("provider", { concurrency: 1 })
        const [, apart] = yield* many(
          1,
          Effect.all(
            [Agent.withBulkhead(agent, shared).invoke(""), Agent.withBulkhead(other.agent, shared).invoke("")],
            {
              concurrency: 2
            }
          )
        )
        assert.strictEqual(apart, 200)
      }).pipe(own)
  )

  it.effect("is changed while running", () =>
    Effect.gen(function* () {
      const ref = yield* SubscriptionRef.make<Agent.Policies>({ a: { bulkhead: { concurrency: 1 } } })
      const { agent, seen } = busy("a", {})
      yield* Effect.gen(function* () {
        yield* many(4, agent.invoke(""))
        assert.strictEqual(seen.most, 1)
        yield* SubscriptionRef.set(ref, { a: { bulkhead: { concurrency: 3 } } })
        yield* many(4, agent.invoke(""))
        assert.strictEqual(seen.most, 3)
        yield* SubscriptionRef.set(ref, {})
        yield* many(9, agent.invoke(""))
        assert.strictEqual(seen.most, 9)
      }).pipe(Effect.provide(Agent.policies(ref)))
    }).pipe(own)
  )
})

describe("Agent: rate limit", () => {
  const rateLimit = { limit: 3, window: "1 minute", algorithm: "fixed-window" } as const

  it.effect("so many calls in a time, retries not counted; under the agent's id, or a key that others share", () =>
    Effect.gen(function* () {
      let tried = 0
      const agent = Agent.make("a", (_: string) => Effect.suspend(() => Effect.fail(transient(tried++))), {
        retry: { maxAttempts: 2, base: 1 },
        circuitBreaker: false,
        rateLimit
      })
      const [exits] = yield* many(5, agent.invoke(""))
      assert.strictEqual(tried, 6)
      assert.strictEqual(exits.filter((exit) => failureOf(exit) instanceof RateLimit.RateLimitError).length, 2)
      const other = busy("b", { rateLimit })
      const [free] = yield* many(3, other.agent.invoke(""))
      assert.isTrue(free.every(Exit.isSuccess))
      yield* TestClock.adjust("1 minute")
      const shared = { ...rateLimit, key: "provider" }
      const [mixed] = yield* many(
        2,
        Effect.all(
          [Agent.withRateLimit(agent, shared).invoke(""), Agent.withRateLimit(other.agent, shared).invoke("")],
          {
            concurrency: 2,
            mode: "either"
          }
        )
      )
      const outcomes = mixed.flatMap((exit) => (Exit.isSuccess(exit) ? exit.value : []))
      assert.strictEqual(
        outcomes.filter((each) => each._tag === "Left" && each.left instanceof RateLimit.RateLimitError).length,
        1
      )
    }).pipe(own, Effect.provide(RateLimit.layerMemory))
  )

  it.effect("without a limiter the process's in memory holds", () =>
    Effect.gen(function* () {
      const { agent, seen } = busy("limited by the process", { rateLimit })
      yield* many(5, agent.invoke(""))
      assert.strictEqual(seen.began, 3)
    }).pipe(own)
  )

  it.effect("a call that the bulkhead rejects uses nothing of it", () =>
    Effect.gen(function* () {
      const { agent, seen } = busy("a", { rateLimit, bulkhead: { concurrency: 1, queue: 0 } })
      for (const _ of [1, 2, 3]) {
        yield* Effect.zipRight(
          Effect.all(
            [1, 2].map(() => Effect.exit(agent.invoke(""))),
            { concurrency: 2 }
          ).pipe(Effect.fork),
          TestClock.adjust(200)
        )
      }
      assert.strictEqual(seen.began, 3)
    }).pipe(own, Effect.provide(RateLimit.layerMemory))
  )
})

describe("Agent: hedge", () => {
  /** Hangs at the first run, answers at every other. */
  const uneven = (policy: Agent.Policy) => {
    let began = 0
    let interrupted = 0
    const agent = Agent.make(
      "a",
      (_: string) =>
        Effect.suspend(() => (++began === 1 ? Effect.never : Effect.succeed(began))).pipe(
          Effect.onInterrupt(() => Effect.sync(() => interrupted++))
        ),
      { ...once, ...policy }
    )
    return { agent, seen: () => ({ began, interrupted }) }
  }

  it.effect("a second attempt answers for a slow one, which is interrupted; it is no further try", () =>
    Effect.gen(function* () {
      const { agent, seen } = uneven({ hedge: { after: 50, budget: 1 }, retry: { maxAttempts: 3 } })
      const [exit, millis] = yield* timed(agent.invoke(""))
      assert.deepStrictEqual([exit, millis, seen()], [Exit.succeed(2), 50, { began: 2, interrupted: 1 }])
      const spans = yield* tree
      assert.deepStrictEqual(
        spans.map(({ name, under }) => [name, under]),
        [
          ["agent_a", undefined],
          ["retry_execution", "agent_a"],
          ["attempt", "retry_execution"],
          ["hedge", "attempt"]
        ]
      )
      assert.deepStrictEqual([spans[1]?.metadata["attempts_needed"], spans[1]?.metadata["hedged"]], [1, true])
    }).pipe(own, Effect.provide(Trace.layerRecorder()))
  )

  it.effect(
    "each of both is under breaker and timeout: a breaker counts them apart, an open one lets neither run",
    () =>
      Effect.gen(function* () {
        const agent = Agent.make("a", (_: string) => Effect.never, {
          retry: false,
          timeout: 100,
          hedge: { after: 50, budget: 1 },
          circuitBreaker: { failureThreshold: 2 }
        })
        const [exit, millis] = yield* timed(agent.invoke(""))
        assert.instanceOf(failureOf(exit), Timeout.AgentTimeoutError)
        assert.strictEqual(millis, 150)
        const breaker = (yield* CircuitBreaker.Registry).get("a")
        // opened by the two timeouts of the one try
        assert.strictEqual((yield* breaker.snapshot).failureCount, 2)
      }).pipe(own)
  )

  it.effect("a value is shared: what it has measured and what it may spend", () =>
    Effect.gen(function* () {
      const hedge = Hedge.make("shared", { percentile: 0.5, minimum: 2, sample: 4, budget: 1 })
      const { agent } = busy("a", {}, 10)
      yield* many(2, agent.pipe(Agent.withHedge(hedge)).invoke(""))
      assert.deepStrictEqual(yield* hedge.snapshot, { delayMillis: 10, measured: 2 })
      const slow = uneven({ hedge })
      assert.strictEqual((yield* timed(slow.agent.invoke("")))[1], 10)
    }).pipe(own)
  )
})

describe("Agent: all of it at once", () => {
  it("a number that makes no sense is refused where it is written", () => {
    const make = (policy: Agent.Policy) => () => Agent.make("a", (_: string) => Effect.void, policy)
    assert.throws(make({ bulkhead: { concurrency: 0 } }), RangeError)
    assert.throws(make({ rateLimit: { limit: 0, window: 5 } }), RangeError)
    assert.throws(make({ rateLimit: { limit: 1, window: 0 } }), RangeError)
    assert.throws(make({ hedge: { percentile: 2 } }), RangeError)
    const agent = make({})()
    assert.throws(() => Agent.withBulkhead(agent, { queue: -1 }), RangeError)
    assert.throws(() => Agent.withRateLimit(agent, { limit: 1.5, window: 5 }), RangeError)
    assert.throws(() => Agent.withHedge(agent, { after: -1 }), RangeError)
  })

  it.effect("false turns each off again", () =>
    Effect.gen(function* () {
      const { agent, seen } = busy("a", {
        bulkhead: { concurrency: 1, queue: 0 },
        rateLimit: { limit: 1, window: "1 day" },
        hedge: { after: 1, budget: 1 }
      })
      const free = agent.pipe(Agent.withBulkhead(false), Agent.withRateLimit(false), Agent.withHedge(false))
      const [exits] = yield* many(3, free.invoke(""))
      assert.isTrue(exits.every(Exit.isSuccess))
      assert.deepStrictEqual([seen.began, seen.most], [3, 3])
    }).pipe(own)
  )

  it.effect(
    "one options object puts them in the order: deadline, bulkhead, rate limit, retry, hedge, breaker, timeout",
    () =>
      Effect.gen(function* () {
        const agent = Agent.make("a", (_: string) => Effect.fail(permanent()), {
          deadline: "1 minute",
          bulkhead: { concurrency: 4 },
          rateLimit: { limit: 2, window: "1 minute" },
          retry: { maxAttempts: 3 },
          hedge: { after: "1 second" },
          circuitBreaker: { name: "provider", key: "small", failureThreshold: 2 },
          timeout: "5 seconds"
        })
        yield* finish(agent.invoke(""))
        const [span] = yield* tree
        assert.deepStrictEqual(span?.metadata, {
          agent_id: "a",
          max_attempts: 3,
          timeout_seconds: 5,
          deadline_seconds: 60,
          circuit_breaker: true,
          bulkhead_concurrency: 4,
          rate_limit_calls: 2,
          hedged: true,
          success: false,
          error_type: "Error"
        })
        assert.deepStrictEqual(
          (yield* CircuitBreaker.Registry).all().map(({ key, name }) => [name, key]),
          [["provider", "small"]]
        )
      }).pipe(own, Effect.provide([Trace.layerRecorder(), RateLimit.layerMemory]))
  )

  it.effect("an interruption while waiting for a place leaves no trace of itself", () =>
    Effect.gen(function* () {
      const { agent, seen } = busy("a", { bulkhead: { concurrency: 1, queue: 1 } })
      const first = yield* Effect.fork(agent.invoke(""))
      yield* TestClock.adjust(1)
      const second = yield* Effect.fork(agent.invoke(""))
      yield* TestClock.adjust(1)
      yield* Fiber.interrupt(second)
      const third = yield* Effect.fork(agent.invoke(""))
      yield* TestClock.adjust("1 second")
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(first)) && Exit.isSuccess(yield* Fiber.await(third)))
      assert.strictEqual(seen.began, 2)
    }).pipe(own)
  )
})
