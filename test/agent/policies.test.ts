/** Policies that change while agents run. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as TestClock from "effect/TestClock"
import * as fc from "fast-check"
import * as Agent from "../../src/agent/Agent.js"
import { ConfigurationError } from "../../src/observability/ConfigurationError.js"
import * as Trace from "../../src/observability/Trace.js"
import * as CircuitBreaker from "../../src/resilience/CircuitBreaker.js"
import * as RetryBudget from "../../src/resilience/RetryBudget.js"
import * as Timeout from "../../src/resilience/Timeout.js"
import { finish, others, transient, tree } from "../resilience/support.js"

const own = Effect.provide([CircuitBreaker.layerRegistry, RetryBudget.layerUnlimited])
const plain: Agent.Policy = { retry: { jitter: false }, circuitBreaker: false }

const failureOf = (exit: Exit.Exit<unknown, unknown>): unknown =>
  Exit.isFailure(exit) ? Cause.originalError(Cause.squash(exit.cause)) : undefined

/** Fails at every try, and says when it was tried. */
const failing = (id: string, policy: Agent.Policy = plain) => {
  const tried: Array<number> = []
  const run = (_: string) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      tried.push(now)
      return Effect.fail(transient())
    })
  return { agent: Agent.make(id, run, policy), tried }
}

const hanging = (id: string, policy: Agent.Policy) => Agent.make(id, (_: string) => Effect.never, policy)

/** How long an effect takes, in milliseconds. */
const lasting = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const start = yield* Clock.currentTimeMillis
    const fiber = yield* Effect.fork(Effect.zipRight(Effect.exit(self), Clock.currentTimeMillis))
    yield* TestClock.adjust("1 hour")
    return (yield* Fiber.join(fiber)) - start
  })

/** What was logged while the effect ran. */
const logged = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const lines: Array<string> = []
    const logger = Logger.make(({ logLevel, message }) => void lines.push(`${logLevel.label} ${String(message)}`))
    return Effect.map(
      Effect.provide(self, Logger.replace(Logger.defaultLogger, logger)),
      (value) => [value, lines] as const
    )
  })

describe("Agent.policies: what overrides what", () => {
  it.effect("nothing is overridden without it, and nothing by an empty one", () =>
    Effect.gen(function* () {
      const { agent, tried } = failing("a")
      yield* finish(agent.invoke(""))
      yield* finish(agent.invoke("").pipe(Effect.provide(Agent.policies({}))))
      assert.strictEqual(tried.length, 6)
    }).pipe(own)
  )

  it.effect("an agent's own entry goes before everyone's, part by part, and both before what it was made with", () =>
    Effect.gen(function* () {
      const policies = Agent.policies({
        "*": { timeout: "3 seconds", retry: { maxAttempts: 2, jitter: false } },
        a: { timeout: "5 seconds", retry: undefined }
      })
      assert.strictEqual(yield* lasting(hanging("a", plain).invoke("").pipe(Effect.provide(policies))), 11_000)
      assert.strictEqual(yield* lasting(hanging("b", plain).invoke("").pipe(Effect.provide(policies))), 7000)
      assert.strictEqual(yield* lasting(hanging("b", plain).invoke("")), 93_000)
    }).pipe(own)
  )

  it.effect("each agent of a chain has its own", () =>
    Effect.gen(function* () {
      const first = failing("first")
      const second = failing("second")
      const chain = first.agent.pipe(Agent.orElse(second.agent))
      yield* finish(
        chain
          .invoke("")
          .pipe(Effect.provide(Agent.policies({ first: { retry: false }, second: { retry: { maxAttempts: 5 } } })))
      )
      assert.deepStrictEqual([first.tried.length, second.tried.length], [1, 5])
    }).pipe(own)
  )

  it.effect("every part of a policy can be changed", () =>
    Effect.gen(function* () {
      const run = (policy: Agent.Policy) => {
        const { agent, tried } = failing("a", { ...plain, circuitBreaker: { failureThreshold: 2 } })
        return finish(agent.invoke("").pipe(Effect.provide(Agent.policies({ a: policy })), own)).pipe(
          Effect.map((exit) => [tried.length, failureOf(exit)] as const)
        )
      }
      assert.instanceOf((yield* run({}))[1], CircuitBreaker.CircuitBreakerOpenError)
      assert.strictEqual((yield* run({ circuitBreaker: false }))[0], 3)
      assert.strictEqual((yield* run({ countAs: "call" }))[0], 3)
      assert.strictEqual((yield* run({ classify: () => ({ kind: "permanent", reason: "no" }) }))[0], 1)
      assert.strictEqual((yield* run({ retry: false }))[0], 1)
      const late = yield* finish(
        hanging("b", plain)
          .invoke("")
          .pipe(Effect.provide(Agent.policies({ b: { deadline: 7 } })))
      )
      assert.instanceOf(failureOf(late), Timeout.AgentTimeoutError)
      assert.propertyVal(failureOf(late), "kind", "deadline")
    })
  )

  it.effect("the trace shows the policy in force", () =>
    Effect.gen(function* () {
      const policies = Agent.policies({ a: { timeout: "3 seconds", retry: { maxAttempts: 2 } } })
      yield* finish(failing("a").agent.invoke("").pipe(Effect.provide(policies)))
      const spans = yield* tree
      assert.deepStrictEqual(
        spans.map(({ metadata, name }) => [name, metadata["timeout_seconds"], metadata["max_attempts"]]),
        [
          ["agent_a", 3, 2],
          ["retry_execution", 3, 2],
          ["attempt", 3, 2],
          ["attempt", 3, 2]
        ]
      )
    }).pipe(own, Effect.provide(Trace.layerRecorder()))
  )
})

describe("Agent.policies: changes while running", () => {
  it.effect("a change holds for the very next call, and is taken back as quickly", () =>
    Effect.gen(function* () {
      const { agent, tried } = failing("a")
      const ref = yield* SubscriptionRef.make<Agent.Policies>({})
      yield* Effect.gen(function* () {
        const calls = (policies: Agent.Policies) =>
          Effect.gen(function* () {
            yield* SubscriptionRef.set(ref, policies)
            const before = tried.length
            yield* finish(agent.invoke(""))
            return tried.length - before
          })
        assert.strictEqual(yield* calls({ a: { retry: false } }), 1)
        assert.strictEqual(yield* calls({ "*": { retry: { maxAttempts: 7 } } }), 7)
        assert.strictEqual(yield* calls({}), 3)
      }).pipe(Effect.provide(Agent.policies(ref)))
    }).pipe(own)
  )

  it.effect("timeout and breaker hold from the next attempt of a call under way", () =>
    Effect.gen(function* () {
      const ref = yield* SubscriptionRef.make<Agent.Policies>({})
      const agent = hanging("a", { retry: { jitter: false }, timeout: "10 seconds", circuitBreaker: false })
      const fiber = yield* agent
        .invoke("")
        .pipe(
          Effect.zipLeft(Effect.void),
          Effect.exit,
          Effect.zipRight(Clock.currentTimeMillis),
          Effect.provide(Agent.policies(ref)),
          Effect.fork
        )
      yield* TestClock.adjust("5 seconds")
      yield* SubscriptionRef.set(ref, { a: { timeout: "1 second", circuitBreaker: { failureThreshold: 1 } } })
      yield* TestClock.adjust("1 hour")
      // 10 s under the old timeout, 1 s pause, 1 s under the new one, 2 s pause, and an open breaker
      assert.strictEqual(yield* Fiber.join(fiber), 14_000)
    }).pipe(own)
  )

  it.effect("a breaker that has opened is reconfigured, keeps its state, and gets its own options back", () =>
    Effect.gen(function* () {
      const ref = yield* SubscriptionRef.make<Agent.Policies>({})
      const { agent, tried } = failing("a", {
        retry: false,
        circuitBreaker: { failureThreshold: 2, resetAfter: "1 minute" }
      })
      const breaker = (yield* CircuitBreaker.Registry).get("a", { failureThreshold: 2, resetAfter: "1 minute" })
      const calls = (times: number) =>
        Effect.suspend(() => {
          const before = tried.length
          return Effect.map(Effect.replicateEffect(Effect.exit(agent.invoke("")), times), () => tried.length - before)
        })
      yield* Effect.gen(function* () {
        assert.strictEqual(yield* calls(1), 1)
        // a bound that is wider begins its count anew, and is not set again with each call
        yield* SubscriptionRef.set(ref, { "*": { circuitBreaker: { failureThreshold: 4, resetAfter: "1 minute" } } })
        assert.strictEqual(yield* calls(6), 4)
        yield* SubscriptionRef.set(ref, { a: { circuitBreaker: { failureThreshold: 4, resetAfter: "1 hour" } } })
        assert.strictEqual(yield* calls(1), 0)
        // the break under way keeps its length, the next one has the new one
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(yield* calls(2), 1)
        yield* TestClock.adjust("59 minutes")
        assert.strictEqual(yield* calls(1), 0)
        yield* SubscriptionRef.set(ref, { a: { circuitBreaker: false } })
        assert.strictEqual(yield* calls(3), 3)
        yield* SubscriptionRef.set(ref, {})
        yield* breaker.reset
        assert.strictEqual(yield* calls(5), 2)
        assert.strictEqual((yield* CircuitBreaker.Registry).all().length, 1)
      }).pipe(Effect.provide(Agent.policies(ref)))
    }).pipe(own)
  )

  it.effect("a shared breaker is changed by the agent whose override it is, and by nobody else", () =>
    Effect.gen(function* () {
      const circuitBreaker = { name: "provider", key: "small", failureThreshold: 2, resetAfter: "1 minute" } as const
      const a = failing("a", { retry: false, circuitBreaker })
      const b = failing("b", { retry: false, circuitBreaker })
      const ref = yield* SubscriptionRef.make<Agent.Policies>({
        a: { circuitBreaker: { failureThreshold: 6 } },
        b: { timeout: "5 seconds" }
      })
      yield* Effect.gen(function* () {
        for (const { agent } of [a, b, a, b, a, b, a, b]) yield* Effect.exit(agent.invoke(""))
        assert.strictEqual(a.tried.length + b.tried.length, 6)
        assert.deepStrictEqual(
          (yield* CircuitBreaker.Registry).all().map(({ key, name }) => [name, key]),
          [["provider", "small"]]
        )
      }).pipe(Effect.provide(Agent.policies(ref)))
    }).pipe(own)
  )

  it.effect("with retries a static override changes the breaker once, and without it the breaker is as it was", () =>
    Effect.gen(function* () {
      const { agent, tried } = failing("a", {
        retry: { maxAttempts: 9, base: 1 },
        circuitBreaker: { failureThreshold: 2 }
      })
      const overridden = Agent.policies({ a: { circuitBreaker: { failureThreshold: 4 } } })
      const breaker = (yield* CircuitBreaker.Registry).get("a", { failureThreshold: 2 })
      yield* finish(agent.invoke("").pipe(Effect.provide(overridden)))
      assert.strictEqual(tried.length, 4)
      yield* breaker.reset
      yield* finish(agent.invoke(""))
      assert.strictEqual(tried.length, 4 + 2)
    }).pipe(own)
  )

  it.effect("a bad one from the start fails the layer", () =>
    Effect.gen(function* () {
      const ref = yield* SubscriptionRef.make<Agent.Policies>({ a: { timeout: -1 } })
      for (const layer of [Agent.policies(ref), Agent.policies({ a: { timeout: -1 } })]) {
        const error = yield* Effect.flip(Effect.provide(Effect.void, layer))
        assert.instanceOf(error, ConfigurationError)
        assert.strictEqual(
          error.message,
          'Agent.policies: "a" cannot be used: Agent "a": timeout must be a duration from 0 up, got -1.'
        )
      }
    })
  )

  it.effect("a bad one later is refused and logged once; the old one and the good ones stay", () =>
    Effect.gen(function* () {
      const ref = yield* SubscriptionRef.make<Agent.Policies>({ a: { retry: false } })
      const a = failing("a")
      const b = failing("b")
      const [, lines] = yield* logged(
        Effect.gen(function* () {
          yield* SubscriptionRef.set(ref, { a: { retry: { maxAttempts: 0 } }, b: { retry: false } })
          for (const { agent } of [a, b, a, b]) yield* finish(agent.invoke(""))
          yield* SubscriptionRef.set(ref, { a: { retry: { maxAttempts: 2 } } })
          for (const { agent } of [a, b]) yield* finish(agent.invoke(""))
        }).pipe(Effect.provide(Agent.policies(ref)))
      )
      assert.deepStrictEqual([a.tried.length, b.tried.length], [1 + 1 + 2, 1 + 1 + 3])
      assert.deepStrictEqual(lines, [
        'ERROR Agent.policies: "a" cannot be used: RetryPolicy: maxAttempts must be a whole number from 1, got 0. The policy that was in force stays.'
      ])
    }).pipe(own)
  )

  it.effect("a bad one is told of before any call", () =>
    Effect.gen(function* () {
      const ref = yield* SubscriptionRef.make<Agent.Policies>({})
      const [, lines] = yield* logged(
        Effect.zipRight(
          Effect.zipRight(others, SubscriptionRef.set(ref, { a: { deadline: Number.NaN } })),
          others
        ).pipe(Effect.provide(Agent.policies(ref)))
      )
      assert.strictEqual(lines.length, 1)
      assert.match(String(lines[0]), /"a" cannot be used: .*deadline must be a duration from 0 up, got NaN/)
    })
  )

  const untyped = (policies: unknown) => policies as Agent.Policies // as read from a file: the compiler has not seen it
  const wrong: ReadonlyArray<readonly [policies: unknown, message: RegExp]> = [
    [{ "": {} }, /names no agent/],
    [{ a: null }, /"a" cannot be used: it is none\. It takes a policy/],
    [{ a: [] }, /It takes a policy/],
    [{ a: { timout: 5 } }, /"a"\.timout cannot be used: there is no such setting\. It takes retry, timeout, /],
    [{ a: { retry: 5 } }, /"a"\.retry .*It takes a RetryPolicy, its options, or false/],
    [{ a: { retry: null } }, /"a"\.retry/],
    [{ a: { timeout: true } }, /"a"\.timeout .*It takes a duration or false/],
    [{ a: { timeout: { millis: 5 } } }, /"a"\.timeout/],
    [{ a: { deadline: null } }, /"a"\.deadline/],
    [{ a: { deadline: "soon" } }, /deadline must be a duration from 0 up, got "soon"/],
    [{ a: { circuitBreaker: true } }, /"a"\.circuitBreaker .*It takes options or false/],
    [{ a: { circuitBreaker: { failureThreshold: 0 } } }, /failureThreshold must be a whole number from 1/],
    [{ a: { countAs: "both" } }, /"a"\.countAs .*It takes "attempt" or "call"/],
    [{ a: { classify: "all" } }, /"a"\.classify .*It takes a function/]
  ]
  for (const [policies, message] of wrong) {
    it.effect(`${JSON.stringify(policies)} is refused`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(Effect.provide(Effect.void, Agent.policies(untyped(policies))))
        assert.match(error.message, message)
      })
    )
  }

  it.effect("after any sequence of changes each agent has its last good override", () =>
    Effect.promise(() => {
      const entry = fc.option(fc.integer({ min: -2, max: 4 }), { nil: undefined })
      const change = fc.record({ a: entry, b: entry, "*": entry })
      return fc.assert(
        fc.asyncProperty(fc.array(change, { maxLength: 6 }), (changes) => {
          const good = new Map<string, number>()
          const own6: Agent.Policy = { circuitBreaker: false, retry: { maxAttempts: 6, base: 0 } }
          const agents = [failing("a", own6), failing("b", own6)] as const
          return Effect.gen(function* () {
            const ref = yield* SubscriptionRef.make<Agent.Policies>({})
            const check = (each: (typeof changes)[number]) =>
              Effect.gen(function* () {
                const policies: Record<string, Agent.Policy> = {}
                for (const id of ["a", "b", "*"] as const) {
                  const maxAttempts = each[id]
                  if (maxAttempts === undefined) good.delete(id)
                  else policies[id] = { retry: { maxAttempts, base: 0 } }
                  if (maxAttempts !== undefined && maxAttempts >= 1) good.set(id, maxAttempts)
                }
                yield* SubscriptionRef.set(ref, policies)
                for (const { agent, tried } of agents) {
                  tried.length = 0
                  yield* Effect.exit(agent.invoke(""))
                  assert.strictEqual(tried.length, good.get(agent.id) ?? good.get("*") ?? 6)
                }
              })
            yield* Effect.forEach(changes, check).pipe(Effect.provide(Agent.policies(ref)))
          }).pipe(own, Effect.provide(Logger.remove(Logger.defaultLogger)), Effect.runPromise)
        }),
        { numRuns: 60 }
      )
    })
  )
})
