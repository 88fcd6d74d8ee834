import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/TestClock"
import * as fc from "fast-check"
import * as Agent from "../../src/agent/Agent.js"
import * as Swarm from "../../src/agent/Swarm.js"
import * as Trace from "../../src/observability/Trace.js"
import * as CircuitBreaker from "../../src/resilience/CircuitBreaker.js"
import * as Failure from "../../src/resilience/Failure.js"
import * as RetryBudget from "../../src/resilience/RetryBudget.js"
import { finish, others, permanent, signal, transient, tree } from "../resilience/support.js"

const once: Agent.Policy = { retry: false, circuitBreaker: false }
const own = Effect.provide([CircuitBreaker.layerRegistry, RetryBudget.layerUnlimited])

const good = (id: string) => Agent.make(id, (input: string) => Effect.succeed(`${id} of ${input}`), once)
const bad = (id: string, error: unknown = permanent()) => Agent.make(id, (_: string) => Effect.fail(error), once)

const agents = (prefix: string, successes: number, failures: number) =>
  Object.fromEntries(
    Array.from({ length: successes + failures }, (_, n) => {
      const id = `${prefix}${n}`
      return [id, n < successes ? good(id) : bad(id)]
    })
  )

const failureOf = (exit: Exit.Exit<unknown, unknown>): unknown =>
  Exit.isFailure(exit) ? Cause.originalError(Cause.squash(exit.cause)) : undefined

describe("Swarm: degradation", () => {
  it.effect("all well: findings by name, level 0", () =>
    Effect.gen(function* () {
      const swarm = Swarm.make("s", { required: { a: good("a") }, optional: { b: good("b") } })
      assert.deepStrictEqual(yield* swarm.run("x"), {
        findings: { a: "a of x", b: "b of x" },
        failed: [],
        degradationLevel: 0,
        successRate: 1
      })
    }).pipe(own)
  )

  it.effect("optional agents may fail, all of them: the result says who and why", () =>
    Effect.gen(function* () {
      const errors = [permanent(), new TypeError("bug")] as const
      const swarm = Swarm.make("s", {
        required: { a: good("a") },
        optional: { b: bad("b", errors[0]), c: Agent.make("c", (_: string) => Effect.die(errors[1]), once) }
      })
      const result = yield* swarm.run("x")
      assert.deepStrictEqual(result.findings, { a: "a of x" })
      assert.deepStrictEqual(
        result.failed.map(({ agent, required }) => [agent, required]),
        [
          ["b", false],
          ["c", false]
        ]
      )
      assert.deepStrictEqual(
        result.failed.map(({ error }) => error === errors[0] || error === errors[1]),
        [true, true]
      )
      assert.deepStrictEqual([result.degradationLevel, result.successRate], [2, 1 / 3])
    }).pipe(own)
  )

  const levels: ReadonlyArray<readonly [successes: number, failures: number, level: Swarm.DegradationLevel]> = [
    [4, 1, 0],
    [8, 2, 0],
    [79, 21, 1],
    [3, 1, 1],
    [1, 1, 1],
    [49, 51, 2],
    [1, 2, 2]
  ]
  for (const [successes, failures, level] of levels) {
    it.effect(`${successes} of ${successes + failures} is level ${level}`, () =>
      Effect.gen(function* () {
        const swarm = Swarm.make("s", { required: { a: good("a") }, optional: agents("o", successes - 1, failures) })
        assert.strictEqual((yield* swarm.run("x")).degradationLevel, level)
      }).pipe(own)
    )
  }

  const critical: ReadonlyArray<readonly [successes: number, failures: number, fails: boolean]> = [
    [7, 3, false],
    [14, 6, false],
    [6, 3, true],
    [2, 1, true],
    [0, 1, true],
    [3, 1, false]
  ]
  for (const [successes, failures, fails] of critical) {
    it.effect(`${failures} of ${successes + failures} required failing ${fails ? "is critical" : "is borne"}`, () =>
      Effect.gen(function* () {
        const exit = yield* Effect.exit(Swarm.make("s", { required: agents("r", successes, failures) }).run("x"))
        assert.strictEqual(failureOf(exit) instanceof Swarm.CriticalDegradationError, fails)
      }).pipe(own)
    )
  }

  it.effect("thresholds are exact and can be chosen", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(
          fc.integer({ min: 1, max: 12 }),
          fc.nat(12),
          fc.integer({ min: 0, max: 12 }),
          async (total, lost, bar) => {
            const failures = Math.min(lost, total)
            const required = agents("r", total - failures, failures)
            const run = Swarm.make("s", { required, critical: bar / 12, healthy: 1, degraded: 0 }).run("x")
            const exit = await Effect.runPromiseExit(run.pipe(own))
            // in whole numbers: failures / total > bar / 12
            assert.strictEqual(Exit.isFailure(exit), failures * 12 > bar * total)
            if (Exit.isSuccess(exit)) assert.strictEqual(exit.value.degradationLevel, failures === 0 ? 0 : 1)
          }
        ),
        { numRuns: 40 }
      )
    )
  )

  it.effect("the critical error carries what was found, and says what is lost", () =>
    Effect.gen(function* () {
      const error = transient(1)
      const swarm = Swarm.make("research", {
        required: { a: good("a"), b: bad("b", error) },
        optional: { c: good("c"), d: bad("d") }
      })
      const critical = failureOf(yield* Effect.exit(swarm.run("x")))
      assert.instanceOf(critical, Swarm.CriticalDegradationError)
      assert.deepStrictEqual(critical.findings, { a: "a of x", c: "c of x" })
      assert.deepStrictEqual(
        critical.failed.map(({ agent, required }) => [agent, required]),
        [
          ["b", true],
          ["d", false]
        ]
      )
      assert.strictEqual(critical.failed[0]?.error, error)
      assert.strictEqual(
        critical.message,
        '50 % of the required agents of "research" failed, more than the 30 % it can bear (b: Error: transient 1)'
      )
      assert.strictEqual(Failure.classify(critical).kind, "transient")
      const hopeless = failureOf(
        yield* Effect.exit(Swarm.make("s", { required: { b: bad("b") }, optional: { c: bad("c", error) } }).run(""))
      )
      assert.strictEqual(Failure.classify(hopeless).kind, "permanent")
    }).pipe(own)
  )
})

describe("Swarm: stages", () => {
  it.effect("a later stage begins when the one before has ended, and is given what was found", () =>
    Effect.gen(function* () {
      const order: Array<string> = []
      const slow = Agent.make(
        "slow",
        (input: string) => Effect.sync(() => order.push("slow")).pipe(Effect.delay(5), Effect.as(input)),
        once
      )
      const given: Array<unknown> = []
      const later = (id: string) =>
        Agent.make(id, (upstream: Swarm.Upstream<string, { readonly slow: string }>) =>
          Effect.sync(() => {
            order.push(id)
            given.push(upstream)
            return id
          })
        )
      const swarm = Swarm.make("s", { required: { slow }, optional: { b: bad("b") } }).pipe(
        Swarm.followedBy({ second: later("second") }),
        Swarm.followedBy({ third: later("third") })
      )
      const exit = yield* finish(swarm.run("x"))
      assert.deepStrictEqual(order, ["slow", "second", "third"])
      assert.deepStrictEqual(given, [
        { input: "x", findings: { slow: "x" } },
        { input: "x", findings: { slow: "x", second: "second" } }
      ])
      assert.isTrue(Exit.isSuccess(exit) && exit.value.successRate === 3 / 4 && exit.value.failed.length === 1)
    }).pipe(own)
  )

  it.effect("a critical first stage runs no other; a failed later agent only degrades", () =>
    Effect.gen(function* () {
      let asked = 0
      const later = Agent.make(
        "later",
        (_: Swarm.Upstream<string, unknown>) =>
          Effect.zipRight(
            Effect.sync(() => asked++),
            Effect.fail("no")
          ),
        once
      )
      const lost = Swarm.make("s", { required: { a: bad("a") } }).pipe(Swarm.followedBy({ later }))
      assert.instanceOf(failureOf(yield* Effect.exit(lost.run(""))), Swarm.CriticalDegradationError)
      assert.strictEqual(asked, 0)
      const degraded = yield* Swarm.followedBy(Swarm.make("s", { required: { a: good("a") } }), { later }).run("")
      assert.deepStrictEqual(degraded.failed, [
        { _tag: "Gap", agent: "later", required: false, weight: 1, reason: "failed", error: "no" }
      ])
    }).pipe(own)
  )
})

describe("Swarm: running", () => {
  it.effect("all at once, or so many as told", () =>
    Effect.gen(function* () {
      let running = 0
      let most = 0
      const busy = Effect.acquireUseRelease(
        Effect.sync(() => {
          most = Math.max(most, ++running)
        }),
        () => Effect.sleep(10),
        () => Effect.sync(() => running--)
      )
      const required = Object.fromEntries(
        ["a", "b", "c", "d", "e"].map((id) => [id, Agent.make(id, (_: string) => busy, once)])
      )
      yield* finish(Swarm.make("s", { required, concurrency: 2 }).run(""))
      assert.strictEqual(most, 2)
      yield* finish(Swarm.make("s", { required }).run(""))
      assert.strictEqual(most, 5)
    }).pipe(own)
  )

  it.effect("a signal to LangGraph ends the whole as it is, and interrupts the others", () =>
    Effect.gen(function* () {
      for (const raise of [Effect.fail<unknown>, Effect.die]) {
        const raised = signal()
        let interrupted = 0
        const waiting = Agent.make(
          "w",
          (_: string) => Effect.never.pipe(Effect.onInterrupt(() => Effect.sync(() => interrupted++))),
          once
        )
        const asking = Agent.make("a", (_: string) => Effect.zipRight(others, raise(raised)), once)
        const exit = yield* Effect.exit(Swarm.make("s", { required: { waiting }, optional: { asking } }).run(""))
        assert.strictEqual(failureOf(exit), raised)
        assert.strictEqual(interrupted, 1)
      }
    }).pipe(own)
  )

  it.effect("an interruption from outside interrupts all; one from inside is that agent's failure", () =>
    Effect.gen(function* () {
      let interrupted = 0
      const waiting = (id: string) =>
        Agent.make(
          id,
          (_: string) => Effect.never.pipe(Effect.onInterrupt(() => Effect.sync(() => interrupted++))),
          once
        )
      const swarm = Swarm.make("s", { required: { a: waiting("a"), b: waiting("b") } })
      const fiber = yield* Effect.fork(swarm.run(""))
      yield* TestClock.adjust(1)
      assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
      assert.strictEqual(interrupted, 2)
      const suicidal = Agent.make("c", (_: string) => Effect.interrupt, once)
      const result = yield* Swarm.make("s", { required: { a: good("a") }, optional: { c: suicidal } }).run("x")
      assert.deepStrictEqual(result.findings, { a: "a of x" })
      assert.propertyVal(result.failed[0]?.error, "_tag", "InterruptedException")
    }).pipe(own)
  )

  it("refuses what makes no sense where it is written", () => {
    const required = { a: good("a") }
    assert.throws(() => Swarm.make("", { required }), /name must not be empty/)
    assert.throws(() => Swarm.make("s", { required: {} }), /at least one agent must be required/)
    assert.throws(() => Swarm.make("s", { required, optional: required }), /two agents named "a"/)
    const late = Agent.make("a", (_: Swarm.Upstream<string, unknown>) => Effect.void)
    assert.throws(() => Swarm.followedBy(Swarm.make("s", { required }), { a: late }), /two agents named "a"/)
    for (const wrong of [-0.1, 1.1, Number.NaN]) {
      assert.throws(() => Swarm.make("s", { required, critical: wrong }), /critical must be between 0 and 1/)
      assert.throws(() => Swarm.make("s", { required, healthy: wrong }), /healthy/)
      assert.throws(() => Swarm.make("s", { required, degraded: wrong }), /degraded/)
    }
    for (const concurrency of [0, -1, 1.5, Number.NaN]) {
      assert.throws(() => Swarm.make("s", { required, concurrency }), /concurrency must be a whole number from 1/)
    }
  })
})

describe("Swarm: what is seen", () => {
  const seen = (required: Readonly<Record<string, Agent.Agent<string, string, unknown>>>) =>
    Effect.gen(function* () {
      yield* Effect.exit(Swarm.make("research_swarm", { required, optional: { c: bad("c") } }).run("x"))
      const spans = yield* tree
      assert.deepStrictEqual(
        spans.filter(({ name }) => name.startsWith("agent_")).map(({ under }) => under),
        ["research_swarm", "research_swarm", "research_swarm"]
      )
      return spans[0]
    }).pipe(own, Effect.provide(Trace.layerRecorder()))

  it.effect("degraded: a warning that names what is missing", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* seen({ a: good("a"), b: good("b") }), {
        name: "research_swarm",
        under: undefined,
        type: "chain",
        level: "WARNING",
        statusMessage: "without c",
        metadata: { degradation_level: 1, success_rate: 2 / 3, failed_agents: ["c"] },
        scores: { degradation_level: 1 }
      })
    })
  )

  it.effect("critical: an error with the same figures", () =>
    Effect.gen(function* () {
      const span = yield* seen({ a: good("a"), b: bad("b") })
      assert.strictEqual(span?.level, "ERROR")
      assert.match(String(span?.statusMessage), /^CriticalDegradationError: 50 % of the required agents/)
      assert.deepStrictEqual(span?.metadata, { degradation_level: 2, success_rate: 1 / 3, failed_agents: ["b", "c"] })
      assert.deepStrictEqual(span?.scores, { degradation_level: 2 })
    })
  )
})
