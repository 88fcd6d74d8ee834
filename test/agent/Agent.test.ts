import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import * as Agent from "../../src/agent/Agent.js"
import * as Trace from "../../src/observability/Trace.js"
import * as Chaos from "../../src/resilience/Chaos.js"
import * as CircuitBreaker from "../../src/resilience/CircuitBreaker.js"
import * as Fallback from "../../src/resilience/Fallback.js"
import * as RetryBudget from "../../src/resilience/RetryBudget.js"
import * as Timeout from "../../src/resilience/Timeout.js"
import { finish, permanent, signal, transient, tree } from "../resilience/support.js"

const plain: Agent.Policy = { retry: { jitter: false } }
const own = Effect.provide([CircuitBreaker.layerRegistry, RetryBudget.layerUnlimited])

/** An agent that fails so often before it answers, and the times at which it was tried. */
const failing = (id: string, failures: number, policy: Agent.Policy = plain, error: () => unknown = transient) => {
  const began: Array<number> = []
  const run = (input: string) =>
    Effect.gen(function* () {
      began.push(yield* Clock.currentTimeMillis)
      if (began.length <= failures) return yield* Effect.fail(error())
      return `${id} says ${input}`
    })
  return { agent: Agent.make(id, run, policy), began }
}

const failureOf = (exit: Exit.Exit<unknown, unknown>): unknown =>
  Exit.isFailure(exit) ? Cause.originalError(Cause.squash(exit.cause)) : undefined

describe("Agent: the order of the operators", () => {
  it.effect("defaults: 3 attempts, 30 s each, a breaker by its id", () =>
    Effect.gen(function* () {
      const { agent, began } = failing("a", 2)
      assert.deepStrictEqual(yield* finish(agent.invoke("hello")), Exit.succeed("a says hello"))
      assert.deepStrictEqual(began, [0, 1000, 3000])
      const start = yield* Clock.currentTimeMillis
      const hung = yield* Effect.fork(
        Effect.zip(Effect.flip(Agent.make("b", () => Effect.never, plain).invoke(undefined)), Clock.currentTimeMillis)
      )
      yield* TestClock.adjust("10 minutes")
      const [error, end] = yield* Fiber.join(hung)
      assert.instanceOf(error, Timeout.AgentTimeoutError)
      assert.deepStrictEqual([error.agent, error.kind, error.timeoutMillis], ["b", "attempt", 30_000])
      assert.strictEqual(end - start, 93_000)
      assert.deepStrictEqual(
        (yield* CircuitBreaker.Registry).all().map(({ name }) => name),
        ["a", "b"]
      )
    }).pipe(own)
  )

  it.effect("the breaker sees each attempt, timeouts too; open, it ends the retrying at once", () =>
    Effect.gen(function* () {
      const policy = {
        ...plain,
        retry: { maxAttempts: 9, jitter: false, base: 10 },
        timeout: 5,
        circuitBreaker: { failureThreshold: 4 }
      } as const
      const { agent, began } = failing("a", 99, policy)
      const exit = yield* finish(agent.invoke(""))
      assert.instanceOf(failureOf(exit), CircuitBreaker.CircuitBreakerOpenError)
      assert.strictEqual(began.length, 4)
      let hung = 0
      const hanging = Agent.make(
        "b",
        () =>
          Effect.zipRight(
            Effect.sync(() => hung++),
            Effect.never
          ),
        policy
      )
      assert.instanceOf(failureOf(yield* finish(hanging.invoke(""))), CircuitBreaker.CircuitBreakerOpenError)
      assert.strictEqual(hung, 4)
    }).pipe(own)
  )

  it.effect("countAs call: one call with all its attempts is one failure", () =>
    Effect.gen(function* () {
      const policy = {
        ...plain,
        countAs: "call",
        circuitBreaker: { failureThreshold: 2, resetAfter: "1 day" }
      } as const
      const { agent, began } = failing("a", 99, policy)
      yield* finish(agent.invoke(""))
      assert.strictEqual(began.length, 3)
      yield* finish(agent.invoke(""))
      assert.strictEqual(began.length, 6)
      const breaker = (yield* CircuitBreaker.Registry).get("a")
      assert.strictEqual((yield* breaker.snapshot).failureCount, 2)
      assert.instanceOf(failureOf(yield* Effect.exit(agent.invoke(""))), CircuitBreaker.CircuitBreakerOpenError)
      assert.strictEqual(began.length, 6)
    }).pipe(own)
  )

  it.effect("the deadline bounds attempts and pauses; it is no failure of the breaker's", () =>
    Effect.gen(function* () {
      const { agent, began } = failing("a", 99, { retry: { maxAttempts: 9, jitter: false }, deadline: "8 seconds" })
      yield* finish(agent.invoke(""))
      assert.deepStrictEqual(began, [0, 1000, 3000, 7000])
      const start = yield* Clock.currentTimeMillis
      const slow = Agent.make("b", () => Effect.never, {
        deadline: "8 seconds",
        circuitBreaker: { failureThreshold: 1 }
      })
      const fiber = yield* Effect.fork(Effect.zip(Effect.flip(slow.invoke("")), Clock.currentTimeMillis))
      yield* TestClock.adjust("1 minute")
      const [error, end] = yield* Fiber.join(fiber)
      assert.instanceOf(error, Timeout.AgentTimeoutError)
      assert.deepStrictEqual([error.kind, end - start], ["deadline", 8000])
      assert.strictEqual((yield* (yield* CircuitBreaker.Registry).get("b").snapshot).state, "closed")
    }).pipe(own)
  )

  it.effect("chaos is innermost: the attempt timeout ends a hang, the breaker counts it, the retry repeats it", () =>
    Effect.gen(function* () {
      let ran = 0
      const agent = Agent.make("a", () => Effect.sync(() => ran++), { ...plain, timeout: "1 second" })
      const hang = Effect.provide(Chaos.layer({ rate: 1, faults: ["hang"] }))
      const error = failureOf(yield* finish(agent.invoke("").pipe(hang)))
      assert.instanceOf(error, Timeout.AgentTimeoutError)
      assert.strictEqual(ran, 0)
      assert.strictEqual((yield* (yield* CircuitBreaker.Registry).get("a").snapshot).failureCount, 3)
    }).pipe(own)
  )

  it.effect("the same seed gives the same run, jitter included", () =>
    Effect.gen(function* () {
      const run = Effect.gen(function* () {
        const start = yield* Clock.currentTimeMillis
        const { agent, began } = failing("a", 0, {
          retry: { maxAttempts: 6 },
          timeout: "1 second",
          circuitBreaker: false
        })
        for (const n of [1, 2, 3]) yield* finish(agent.invoke(`${n}`))
        return began.map((time) => Math.round(time - start))
      })
      const seeded = Effect.provide(Chaos.layer({ rate: 0.6, seed: 7 }))
      const first = yield* run.pipe(seeded)
      assert.isAbove(first.length, 0)
      assert.deepStrictEqual(yield* run.pipe(seeded), first)
    }).pipe(own)
  )

  it.effect("false turns each part off", () =>
    Effect.gen(function* () {
      const off = { retry: false, timeout: false, deadline: false, circuitBreaker: false } as const
      const { agent, began } = failing("a", 99, off)
      yield* finish(agent.invoke(""))
      assert.strictEqual(began.length, 1)
      assert.deepStrictEqual((yield* CircuitBreaker.Registry).all(), [])
      const slow = Agent.make("b", () => Effect.as(Effect.sleep("45 minutes"), "late"), off)
      assert.deepStrictEqual(yield* finish(slow.invoke("")), Exit.succeed("late"))
    }).pipe(own)
  )
})

describe("Agent: fallbacks", () => {
  it.effect("each has a policy and a breaker of its own; an open breaker lets the next take over at once", () =>
    Effect.gen(function* () {
      const primary = failing("primary", 99, { ...plain, circuitBreaker: { failureThreshold: 3, resetAfter: "1 day" } })
      const second = failing("second", 1, { retry: { maxAttempts: 2, base: 50, jitter: false } })
      const agent = primary.agent.pipe(Agent.orElse(second.agent))
      assert.deepStrictEqual(agent.fallbacks, ["second"])
      assert.deepStrictEqual(yield* finish(agent.invoke("x")), Exit.succeed("second says x"))
      assert.deepStrictEqual(primary.began, [0, 1000, 3000])
      assert.deepStrictEqual(second.began, [3000, 3050])
      const start = yield* Clock.currentTimeMillis
      assert.strictEqual(yield* agent.invoke("y"), "second says y")
      assert.strictEqual(primary.began.length, 3)
      assert.strictEqual(yield* Clock.currentTimeMillis, start)
    }).pipe(own)
  )

  it.effect("when all fail, every error is carried in order, each the error itself", () =>
    Effect.gen(function* () {
      const [first, second, bug] = [permanent(), permanent(), new TypeError("bug")]
      const make = (id: string, effect: Effect.Effect<never, Error>) => Agent.make(id, (_: string) => effect, plain)
      const agent = make("a", Effect.fail(first)).pipe(
        Agent.orElse(make("b", Effect.fail(second)).pipe(Agent.orElse(make("c", Effect.die(bug)))))
      )
      const error = failureOf(yield* finish(agent.invoke("")))
      assert.instanceOf(error, Fallback.FallbackExhaustedError)
      assert.deepStrictEqual(
        error.errors.map((each) => each.agent),
        ["a", "b", "c"]
      )
      for (const [index, expected] of [first, second, bug].entries())
        assert.strictEqual(error.errors[index]?.error, expected)
    }).pipe(own)
  )

  it.effect("control flow and interruption reach no fallback, and are neither repeated nor counted", () =>
    Effect.gen(function* () {
      let asked = 0
      const fallback = Agent.make("fallback", (_: string) => Effect.sync(() => asked++))
      const raised = signal()
      const paused = failing("paused", 99, { circuitBreaker: { failureThreshold: 1 } }, () => raised)
      assert.strictEqual(failureOf(yield* finish(paused.agent.pipe(Agent.orElse(fallback)).invoke(""))), raised)
      assert.strictEqual(paused.began.length, 1)
      const waiting = Agent.make("waiting", (_: string) => Effect.never, { circuitBreaker: { failureThreshold: 1 } })
      const fiber = yield* Effect.fork(waiting.pipe(Agent.orElse(fallback)).invoke(""))
      yield* TestClock.adjust("1 second")
      assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
      assert.strictEqual(asked, 0)
      for (const breaker of (yield* CircuitBreaker.Registry).all())
        assert.strictEqual((yield* breaker.snapshot).state, "closed")
    }).pipe(own)
  )

  it.effect("the operators change the primary and leave its fallbacks alone", () =>
    Effect.gen(function* () {
      const primary = failing("a", 99)
      const second = failing("b", 99)
      const agent = primary.agent.pipe(
        Agent.orElse(second.agent),
        Agent.withRetry({ maxAttempts: 2, base: 0 }),
        Agent.withTimeout("1 second"),
        Agent.withDeadline("10 seconds"),
        Agent.withCircuitBreaker(false)
      )
      assert.deepStrictEqual(agent.policy, {
        retry: { maxAttempts: 2, base: 0 },
        timeout: "1 second",
        deadline: "10 seconds",
        circuitBreaker: false
      })
      yield* finish(Agent.invoke(agent, ""))
      assert.deepStrictEqual([primary.began.length, second.began.length], [2, 3])
      assert.deepStrictEqual(
        (yield* CircuitBreaker.Registry).all().map(({ name }) => name),
        ["b"]
      )
    }).pipe(own)
  )

  it.effect("one invocation run twice at once keeps its two accounts apart", () =>
    Effect.gen(function* () {
      let run = 0
      const primary = Agent.make("a", (_: string) =>
        Effect.suspend(() => (run++ === 0 ? Effect.fail(permanent()) : Effect.succeed("a")))
      )
      const effect = primary
        .pipe(Agent.orElse(Agent.make("b", (_: string) => Effect.as(Effect.sleep(5), "b"))))
        .invoke("")
      const exit = yield* finish(Effect.all([effect, effect], { concurrency: 2 }))
      assert.deepStrictEqual(exit, Exit.succeed(["b", "a"]))
    }).pipe(own)
  )
})

describe("Agent: Schemas", () => {
  const Answer = Schema.Struct({ price: Schema.NumberFromString })

  it.effect("what run returns is decoded; what does not decode is tried once more", () =>
    Effect.gen(function* () {
      let asked = 0
      const ask = (answer: unknown) =>
        Agent.make(
          "a",
          (_: string) =>
            Effect.sync(() => {
              asked++
              return answer
            }),
          {
            output: Answer,
            retry: { maxAttempts: 5, base: 0 }
          }
        )
      assert.deepStrictEqual(yield* finish(ask({ price: "4.5" }).invoke("")), Exit.succeed({ price: 4.5 }))
      asked = 0
      const error = failureOf(yield* finish(ask("I am sorry, but").invoke("")))
      assert.propertyVal(error, "_tag", "ParseError")
      assert.strictEqual(asked, 2)
    }).pipe(own)
  )

  it.effect("an answer that chaos malforms is decoded like any other: tried once more, counted and traced", () =>
    Effect.gen(function* () {
      let asked = 0
      const agent = Agent.make("a", (_: string) => Effect.sync(() => ({ price: String(++asked) })), {
        output: Answer,
        retry: { maxAttempts: 5, base: 0 }
      })
      const malformed = Chaos.layer({ rate: 1, faults: ["malformed"] })
      const error = failureOf(yield* finish(agent.invoke("").pipe(Effect.provide(malformed))))
      assert.propertyVal(error, "_tag", "ParseError")
      assert.strictEqual(asked, 2)
      assert.strictEqual((yield* (yield* CircuitBreaker.Registry).get("a").snapshot).failureCount, 2)
      const attempts = (yield* tree).filter(({ name }) => name === "attempt")
      assert.deepStrictEqual(
        attempts.map(({ level, metadata }) => [level, metadata["injected_fault"], metadata["error_type"]]),
        [
          ["WARNING", "malformed", "ParseError"],
          ["ERROR", "malformed", "ParseError"]
        ]
      )
      // what still decodes is an answer: the operators see what a client would have returned
      const other = Chaos.layer({ rate: 1, faults: ["malformed"], malform: () => ({ price: "-1" }) })
      assert.deepStrictEqual(yield* agent.invoke("").pipe(Effect.provide(other)), { price: -1 })
      const derived = agent.pipe(
        Agent.withRetry({ maxAttempts: 1 }),
        Agent.orElse(Agent.make("b", (_: string) => Effect.succeed({ price: 0 })))
      )
      assert.deepStrictEqual(
        yield* derived
          .invoke("")
          .pipe(Effect.provide(Chaos.layer({ rate: 0, rates: { a: 1 }, faults: ["malformed"] }))),
        { price: 0 }
      )
    }).pipe(own, Effect.provide(Trace.layerRecorder()))
  )

  it.effect("the input is validated first: what is wrong is not tried, not counted, and may suit the fallback", () =>
    Effect.gen(function* () {
      let asked = 0
      const agent = Agent.make(
        "a",
        (input: string) =>
          Effect.sync(() => {
            asked++
            return input.length
          }),
        {
          input: Schema.NonEmptyString,
          circuitBreaker: { failureThreshold: 1 }
        }
      )
      assert.propertyVal(failureOf(yield* Effect.exit(agent.invoke(""))), "_tag", "ParseError")
      assert.strictEqual(asked, 0)
      assert.strictEqual(yield* agent.invoke("abc"), 3)
      const lenient = agent.pipe(Agent.orElse(Agent.make("b", (_: string) => Effect.succeed(-1))))
      assert.strictEqual(yield* lenient.invoke(""), -1)
    }).pipe(own)
  )
})

describe("Agent: a parallel cause, defects, services", () => {
  it.effect("a run whose concurrent parts fail is repeated as one failure", () =>
    Effect.gen(function* () {
      let asked = 0
      const part = Effect.zipRight(Effect.yieldNow(), Effect.fail(transient()))
      const agent = Agent.make(
        "a",
        () =>
          Effect.zipRight(
            Effect.sync(() => asked++),
            Effect.all([part, part, Effect.never], { concurrency: 3 })
          ),
        { retry: { maxAttempts: 2, base: 0 } }
      )
      yield* finish(agent.invoke(undefined))
      assert.strictEqual(asked, 2)
    }).pipe(own)
  )

  it.effect("a run that throws is a defect: not repeated, counted", () =>
    Effect.gen(function* () {
      let asked = 0
      const agent = Agent.make("a", (): Effect.Effect<string> => {
        asked++
        throw new TypeError("bug")
      })
      const exit = yield* finish(agent.invoke(undefined))
      assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause))
      assert.strictEqual(asked, 1)
      assert.strictEqual((yield* (yield* CircuitBreaker.Registry).get("a").snapshot).failureCount, 1)
    }).pipe(own)
  )

  it.effect("an agent's own classifier serves its retry and its breaker", () =>
    Effect.gen(function* () {
      const { agent, began } = failing("a", 99, {
        classify: () => ({ kind: "permanent", reason: "mine" }),
        circuitBreaker: { failureThreshold: 1 }
      })
      yield* finish(agent.invoke(""))
      assert.strictEqual(began.length, 1)
      assert.strictEqual((yield* (yield* CircuitBreaker.Registry).get("a").snapshot).state, "closed")
    }).pipe(Effect.provide(Layer.mergeAll(CircuitBreaker.layerRegistry)))
  )

  it("refuses what makes no sense where it is written", () => {
    const make = (policy: Agent.Policy) => () => Agent.make("a", () => Effect.void, policy)
    assert.throws(() => Agent.make("", () => Effect.void), /id must not be empty/)
    assert.throws(make({ timeout: -1 }), /Agent "a": timeout must be a duration from 0 up, got -1/)
    assert.throws(make({ deadline: Number.NaN }), /Agent "a": deadline/)
    assert.throws(make({ retry: { factor: 0 } }), /factor/)
    assert.throws(make({ circuitBreaker: { failureThreshold: 0 } }), /circuit breaker "a": failureThreshold/)
    assert.throws(() => Agent.withTimeout(make({})(), -1), /Agent "a": timeout/)
  })
})
