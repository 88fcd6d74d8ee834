import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Agent from "../../../src/agent/Agent.js"
import { CriticalDegradationError } from "../../../src/agent/Swarm.js"
import * as Observation from "../../../src/observability/Observation.js"
import * as Trace from "../../../src/observability/Trace.js"
import * as Recovery from "../../../src/programs/research/Recovery.js"
import * as CircuitBreaker from "../../../src/resilience/CircuitBreaker.js"
import { FallbackExhaustedError } from "../../../src/resilience/Fallback.js"
import * as Testing from "../../../src/testing.js"

const policy: Agent.Policy = {
  timeout: "1 second",
  retry: { maxAttempts: 4, base: "1 millis", jitter: false },
  circuitBreaker: { failureThreshold: 3, resetAfter: "20 millis", successThreshold: 1 }
}

const down = Effect.fail({ _tag: "Down", message: "it is down", status: 503 })

/** What the trace of a node says that did this. */
const seen = <E>(work: Effect.Effect<unknown, E>) =>
  Effect.gen(function* () {
    yield* Effect.exit(Observation.span(work, "node_n", { type: "chain" }))
    const { spans } = yield* Trace.Recorder
    const all = yield* spans
    const root = all.find(({ name }) => name === "node_n") ?? assert.fail("no node")
    return Recovery.fromSpans(all, { spanId: root.spanId, node: "n", round: 2 })
  }).pipe(Effect.provide(Testing.layer))

const short = ({ failures }: Recovery.Recovery) =>
  failures.map(({ agent, attempt, by, errorType, recoveredBy, recovery }) =>
    [agent, by, attempt, errorType, recovery, recoveredBy].join(" ")
  )

describe("fromSpans", () => {
  it.live("finds nothing where nothing failed", () =>
    Effect.gen(function* () {
      const fine = Agent.make("fine", () => Effect.succeed(1), policy)
      assert.deepStrictEqual(yield* seen(fine.invoke(undefined)), { failures: [], transitions: [] })
    })
  )

  it.live("tells which attempt worked", () =>
    Effect.gen(function* () {
      const flaky = Agent.make("flaky", Testing.outcomes(down, down, Effect.succeed(1)), policy)
      const found = yield* seen(flaky.invoke(undefined))
      assert.deepStrictEqual(short(found), ["flaky flaky 1 Down retry attempt 3", "flaky flaky 2 Down retry attempt 3"])
      assert.deepInclude(found.failures[0], { node: "n", round: 2, message: "it is down" })
    })
  )

  it.live("tells which agent took over", () =>
    Effect.gen(function* () {
      const spare = Agent.make("spare", Testing.outcomes(down, Effect.succeed(1)), policy)
      const main = Agent.make("main", () => down, { ...policy, retry: false }).pipe(Agent.orElse(spare))
      assert.deepStrictEqual(short(yield* seen(main.invoke(undefined))), [
        "main main 1 Down fallback spare",
        "main spare 1 Down retry attempt 2"
      ])
    })
  )

  it.live("names a rejection without the time it will last, and the transitions", () =>
    Effect.gen(function* () {
      const broken = Agent.make("broken", () => down, policy)
      const found = yield* seen(broken.invoke(undefined))
      assert.deepStrictEqual(short(found), [
        "broken broken 1 Down none ",
        "broken broken 2 Down none ",
        "broken broken 3 Down none ",
        "broken broken 4 CircuitBreakerOpenError none "
      ])
      assert.strictEqual(found.failures[3]?.message, 'circuit breaker "broken" is open after 3 failures')
      assert.deepStrictEqual(found.transitions, [
        { node: "n", round: 2, agent: "broken", from: "closed", to: "open", failureCount: 3 }
      ])
    })
  )

  it.live("tells of a later call of the same agent that worked", () =>
    Effect.gen(function* () {
      const agent = Agent.make("agent", Testing.outcomes(down, down, down, Effect.succeed(1)), policy)
      const found = yield* seen(
        Effect.zipRight(Effect.ignore(agent.invoke(undefined)), Effect.delay(agent.invoke(undefined), "30 millis"))
      )
      assert.deepStrictEqual(short(found), [
        "agent agent 1 Down again call 2",
        "agent agent 2 Down again call 2",
        "agent agent 3 Down again call 2",
        "agent agent 4 CircuitBreakerOpenError again call 2"
      ])
      assert.deepStrictEqual(
        found.transitions.map(({ from, to }) => `${from} ${to}`),
        ["closed open", "open half-open", "half-open closed"]
      )
    })
  )

  it.live("looks only below its own node", () =>
    Effect.gen(function* () {
      const broken = Agent.make("other", () => down, { ...policy, retry: false })
      yield* Effect.ignore(broken.invoke(undefined))
      const { spans } = yield* Trace.Recorder
      const none = Recovery.fromSpans(yield* spans, { spanId: "0000000000000000", node: "n", round: 1 })
      assert.deepStrictEqual(none, { failures: [], transitions: [] })
    }).pipe(Effect.provide(Testing.layer))
  )
})

describe("describe", () => {
  const open = new CircuitBreaker.CircuitBreakerOpenError({
    breaker: "risk",
    state: "open",
    failureCount: 3,
    retryAfterMillis: 1639
  })

  it("leaves out what differs from run to run, however deep it is", () => {
    const exhausted = new FallbackExhaustedError({ agent: "a", errors: [{ agent: "b", error: open }] })
    const critical = new CriticalDegradationError({
      swarm: "s",
      failedShare: 1,
      threshold: 0.3,
      failed: [{ agent: "a", required: true, error: exhausted }],
      findings: {}
    })
    for (const error of [open, exhausted, critical]) {
      const { message, tag } = Recovery.describe(error)
      assert.strictEqual(tag, error._tag)
      assert.include(message, 'circuit breaker "risk" is open after 3 failures')
      assert.notMatch(message, /1s|639|probe/)
    }
    assert.deepStrictEqual(Recovery.describe(new TypeError("no")), { tag: "TypeError", message: "no" })
  })

  it("knows what may pass", () => {
    assert.isTrue(Recovery.mayPass(open))
    assert.isTrue(Recovery.mayPass({ status: 503 }))
    assert.isFalse(Recovery.mayPass({ status: 401 }))
  })
})
