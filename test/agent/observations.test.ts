/** What Langfuse shows of an agent's run: names, types, levels, messages and metadata keys are public. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/TestClock"
import * as Agent from "../../src/agent/Agent.js"
import * as Trace from "../../src/observability/Trace.js"
import * as CircuitBreaker from "../../src/resilience/CircuitBreaker.js"
import * as RetryBudget from "../../src/resilience/RetryBudget.js"
import { finish, permanent, signal, transient, tree } from "../resilience/support.js"

const observed = Effect.provide([CircuitBreaker.layerRegistry, RetryBudget.layerUnlimited, Trace.layerRecorder()])

const policy = {
  retry: { maxAttempts: 2, jitter: false },
  timeout: "2 seconds",
  deadline: "1 minute",
  circuitBreaker: { failureThreshold: 2, resetAfter: "1 day" }
} as const

const inForce = { max_attempts: 2, timeout_seconds: 2, deadline_seconds: 60, circuit_breaker: true }

const failing = (id: string, times: number, given: Agent.Policy = policy, raise: () => unknown = transient) => {
  let tried = 0
  return Agent.make(
    id,
    (_: string) => Effect.suspend(() => (tried++ < times ? Effect.fail(raise()) : Effect.succeed("answer"))),
    given
  )
}

/** The spans of that name, with the keys asked for. */
const named = (name: string) => Effect.map(tree, (spans) => spans.filter((span) => span.name === name))

describe("the observations of an agent", () => {
  it.effect("one that answers at the second try", () =>
    Effect.gen(function* () {
      yield* finish(failing("technical", 1).invoke("AAPL"))
      const attempt = { name: "attempt", under: "retry_execution", type: "span", scores: {} }
      const circuit = { circuit_state: "closed", timeout_seconds: 2, max_attempts: 2 }
      assert.deepStrictEqual(yield* tree, [
        {
          name: "agent_technical",
          under: undefined,
          type: "agent",
          level: "DEFAULT",
          statusMessage: undefined,
          metadata: { agent_id: "technical", ...inForce, success: true },
          scores: {}
        },
        {
          name: "retry_execution",
          under: "agent_technical",
          type: "chain",
          level: "DEFAULT",
          statusMessage: undefined,
          metadata: {
            agent_id: "technical",
            agent_index: 0,
            agent_type: "primary",
            ...inForce,
            attempts_needed: 2,
            retry_succeeded: true,
            retry_history: [{ attempt: 1, error_type: "Error", message: "transient 0", delay_seconds: 1 }]
          },
          scores: { retry_attempts: 2 }
        },
        {
          ...attempt,
          level: "WARNING",
          statusMessage: "Error: transient 0; next try in 1s",
          metadata: { attempt: 1, ...circuit, failure_count: 0, delay_seconds: 1, error_type: "Error" }
        },
        {
          ...attempt,
          level: "DEFAULT",
          statusMessage: undefined,
          metadata: { attempt: 2, ...circuit, failure_count: 1 }
        }
      ] as Effect.Effect.Success<typeof tree>)
      const [agent] = yield* Effect.flatMap(Trace.Recorder, (recorder) => recorder.spans)
      assert.deepStrictEqual([agent?.input, agent?.output], ['"AAPL"', '"answer"'])
    }).pipe(observed)
  )

  it.effect("one that fails, with its breaker opening under the attempt that opens it", () =>
    Effect.gen(function* () {
      yield* finish(failing("technical", 9).invoke("AAPL"))
      const [agent] = yield* named("agent_technical")
      assert.deepStrictEqual([agent?.level, agent?.statusMessage], ["ERROR", "Error: transient 0"])
      assert.deepStrictEqual(agent?.metadata, {
        agent_id: "technical",
        ...inForce,
        success: false,
        error_type: "Error"
      })
      const [retry] = yield* named("retry_execution")
      assert.deepStrictEqual(
        [retry?.level, retry?.metadata["retry_succeeded"], retry?.scores],
        ["ERROR", false, { retry_attempts: 2 }]
      )
      assert.deepStrictEqual(yield* named("circuit_breaker_transition"), [
        {
          name: "circuit_breaker_transition",
          under: "attempt",
          type: "event",
          level: "WARNING",
          statusMessage: "technical: closed -> open",
          metadata: { from: "closed", to: "open", failure_count: 2 },
          scores: {}
        }
      ])
    }).pipe(observed)
  )

  it.effect("a rejection by an open breaker and a timeout each say so; the probe after a break is seen as one", () =>
    Effect.gen(function* () {
      const agent = failing("technical", 2)
      yield* finish(agent.invoke(""))
      yield* finish(agent.invoke(""))
      yield* TestClock.adjust("1 day")
      yield* finish(agent.invoke(""))
      yield* finish(Agent.make("slow", () => Effect.never, { ...policy, retry: false }).invoke(undefined))
      const attempts = yield* named("attempt")
      assert.deepStrictEqual(
        attempts.slice(2).map(({ level, metadata }) => [level, metadata["circuit_state"], metadata["error_type"]]),
        [
          ["ERROR", "open", "CircuitBreakerOpenError"],
          ["DEFAULT", "half-open", undefined],
          ["ERROR", "closed", "AgentTimeoutError"]
        ]
      )
      assert.match(
        String(attempts[2]?.statusMessage),
        /^CircuitBreakerOpenError: circuit breaker "technical" is open after 2/
      )
      assert.strictEqual(
        attempts[4]?.statusMessage,
        'AgentTimeoutError: "slow" gave no answer within 2s, the timeout of one attempt'
      )
    }).pipe(observed)
  )

  it.effect("a fallback that answers: a warning that says who, and what failed before", () =>
    Effect.gen(function* () {
      const first = failing("model", 9, { retry: false }, permanent)
      yield* finish(first.pipe(Agent.orElse(failing("template", 0))).invoke(""))
      const [agent] = yield* named("agent_model")
      assert.deepStrictEqual(
        [agent?.level, agent?.statusMessage],
        ["WARNING", "answered by template after model failed"]
      )
      assert.deepStrictEqual(agent?.metadata, {
        agent_id: "model",
        fallbacks: ["template"],
        max_attempts: 1,
        timeout_seconds: 30,
        circuit_breaker: true,
        success: true,
        fallback_history: [{ agent: "model", error_type: "Error", message: "permanent" }],
        fallback_succeeded: true,
        fallback_level: 1
      })
      assert.deepStrictEqual(
        (yield* named("retry_execution")).map(({ level, metadata, under }) => [
          under,
          level,
          metadata["agent_index"],
          metadata["agent_type"]
        ]),
        [
          ["agent_model", "ERROR", 0, "primary"],
          ["agent_model", "DEFAULT", 1, "fallback_1"]
        ]
      )
    }).pipe(observed)
  )

  it.effect("a chain that is exhausted is an error that carries its history", () =>
    Effect.gen(function* () {
      const dead = (id: string) => failing(id, 9, { retry: false }, permanent)
      yield* finish(
        dead("a")
          .pipe(Agent.orElse(dead("b")))
          .invoke("")
      )
      const [agent] = yield* named("agent_a")
      assert.deepStrictEqual(
        [
          agent?.level,
          agent?.metadata["error_type"],
          agent?.metadata["fallback_succeeded"],
          agent?.metadata["fallback_level"]
        ],
        ["ERROR", "FallbackExhaustedError", false, 1]
      )
      assert.deepStrictEqual(agent?.metadata["fallback_history"], [
        { agent: "a", error_type: "Error", message: "permanent" },
        { agent: "b", error_type: "Error", message: "permanent" }
      ])
    }).pipe(observed)
  )

  it.effect("an attempt that the deadline ends is in the history", () =>
    Effect.gen(function* () {
      const slow = Agent.make("slow", (_: string) => Effect.never, { retry: {}, deadline: "3 seconds" })
      yield* finish(slow.invoke(""))
      const [retry] = yield* named("retry_execution")
      assert.deepStrictEqual(retry?.metadata["retry_history"], [
        { attempt: 1, error_type: "AgentTimeoutError", message: '"slow" gave no answer within 3s, its deadline' }
      ])
      assert.strictEqual((yield* named("attempt"))[0]?.level, "ERROR")
      assert.strictEqual(retry?.level, "ERROR")
    }).pipe(observed)
  )

  it.effect("control flow is neither success nor error, and no score", () =>
    Effect.gen(function* () {
      yield* finish(failing("asking", 9, policy, signal).invoke(""))
      for (const { level, metadata, scores, statusMessage } of yield* tree) {
        assert.deepStrictEqual([level, statusMessage, scores], ["DEFAULT", undefined, {}])
        for (const key of ["success", "error_type", "retry_succeeded"]) assert.notProperty(metadata, key)
      }
    }).pipe(observed)
  )

  it.effect("an interruption is a warning that says so", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.fork(Agent.make("waiting", (_: string) => Effect.never, policy).invoke(""))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(fiber)
      for (const { level, metadata, scores, statusMessage } of yield* tree) {
        assert.deepStrictEqual([level, statusMessage, scores], ["WARNING", "interrupted", {}])
        assert.notProperty(metadata, "success")
      }
    }).pipe(observed)
  )

  it.effect("countAs call: the transition stands under the whole call", () =>
    Effect.gen(function* () {
      const perCall = {
        ...policy,
        countAs: "call",
        circuitBreaker: { failureThreshold: 1, resetAfter: "1 day" }
      } as const
      const agent = failing("technical", 9, perCall)
      yield* finish(agent.invoke(""))
      yield* finish(agent.invoke(""))
      assert.deepStrictEqual(
        (yield* named("circuit_breaker_transition")).map(({ under }) => under),
        ["retry_execution"]
      )
      const [, rejected] = yield* named("retry_execution")
      assert.deepStrictEqual([rejected?.level, rejected?.metadata["attempts_needed"]], ["ERROR", 0])
    }).pipe(observed)
  )
})
