/** When a swarm stops early, how long it may take, and how much each agent counts. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import * as Agent from "../../src/agent/Agent.js"
import * as Swarm from "../../src/agent/Swarm.js"
import * as Trace from "../../src/observability/Trace.js"
import * as Failure from "../../src/resilience/Failure.js"
import * as Timeout from "../../src/resilience/Timeout.js"
import { permanent, transient, tree } from "../resilience/support.js"
import { criticalOf, once, own, taking, timed } from "./support.js"

const summary = (gaps: ReadonlyArray<Swarm.Gap>) =>
  gaps.map(({ agent, error, reason }) => [
    agent,
    reason,
    error instanceof Swarm.AgentStoppedError || error instanceof Timeout.AgentTimeoutError ? error._tag : "own"
  ])

describe("Swarm: early stop", () => {
  const parts = () => ({
    quick: taking("quick", 1),
    failing: taking("failing", 5, false),
    slow: taking("slow", 1000),
    extra: taking("extra", 1000)
  })

  it.effect("when too many have failed the others are interrupted, and the error carries what was found", () =>
    Effect.gen(function* () {
      const { extra, failing, quick, slow } = parts()
      const swarm = Swarm.make("s", {
        required: { quick: quick.agent, failing: failing.agent, slow: slow.agent },
        optional: { extra: extra.agent }
      })
      const [exit, millis] = yield* timed(swarm.run(""))
      const error = criticalOf(exit)
      assert.strictEqual(millis, 5)
      assert.deepStrictEqual([slow.seen, extra.seen], Array(2).fill({ began: 1, interrupted: 1 }))
      assert.deepStrictEqual(error.findings, { quick: "quick" })
      assert.strictEqual(error.failedShare, 1 / 3)
      assert.deepStrictEqual(summary(Swarm.gaps(error)), [
        ["failing", "failed", "own"],
        ["slow", "stopped", "AgentStoppedError"],
        ["extra", "stopped", "AgentStoppedError"]
      ])
      assert.strictEqual(
        error.message,
        '33 % of the required agents of "s" failed, more than the 30 % it can bear (failing: Error: permanent)'
      )
      const stopped = Swarm.gaps(error)[1]?.error
      assert.strictEqual(Failure.classify(stopped).kind, "cancelled")
      assert.strictEqual(
        stopped instanceof Error ? stopped.message : "",
        '"slow" was stopped: too many required agents of "s" had failed'
      )
      // nothing is known against those that were stopped
      assert.strictEqual(Failure.classify(error).kind, "permanent")
    }).pipe(own)
  )

  it.effect("an agent that waits for its turn is not begun", () =>
    Effect.gen(function* () {
      const { failing, slow } = parts()
      const swarm = Swarm.make("s", { required: { failing: failing.agent, slow: slow.agent }, concurrency: 1 })
      const [exit] = yield* timed(swarm.run(""))
      assert.deepStrictEqual(slow.seen, { began: 0, interrupted: 0 })
      assert.deepStrictEqual(summary(Swarm.gaps(criticalOf(exit))), [
        ["failing", "failed", "own"],
        ["slow", "stopped", "AgentStoppedError"]
      ])
    }).pipe(own)
  )

  it.effect("later stages are not begun, and are missing like all that was stopped", () =>
    Effect.gen(function* () {
      let judged = 0
      const judge = Agent.make("judge", (_: unknown) => Effect.sync(() => judged++), once)
      const staged = (earlyStop: boolean) => {
        const { failing, quick } = parts()
        return Swarm.make("s", { required: { quick: quick.agent, failing: failing.agent }, earlyStop }).pipe(
          Swarm.followedBy({ judge }),
          Swarm.followedBy({ second: judge })
        )
      }
      for (const earlyStop of [true, false]) {
        const events: Array<string> = []
        const [exit] = yield* timed(staged(earlyStop).run(""))
        const [streamed] = yield* timed(
          Stream.runForEach(Swarm.stream(staged(earlyStop), ""), (event) =>
            Effect.sync(() => events.push(event._tag === "Completed" ? "" : event.agent))
          )
        )
        const expected = [
          ["failing", "failed", "own"],
          ["judge", "stopped", "AgentStoppedError"],
          ["second", "stopped", "AgentStoppedError"]
        ]
        assert.deepStrictEqual(summary(Swarm.gaps(criticalOf(exit))), expected)
        assert.deepStrictEqual(summary(Swarm.gaps(criticalOf(streamed))), expected)
        assert.deepStrictEqual(events, ["quick", "failing", "judge", "second"])
      }
      assert.strictEqual(judged, 0)
    }).pipe(own)
  )

  it.effect("optional agents that fail stop nothing", () =>
    Effect.gen(function* () {
      const { failing, slow } = parts()
      const [exit, millis] = yield* timed(
        Swarm.make("s", { required: { slow: slow.agent }, optional: { failing: failing.agent } }).run("")
      )
      assert.isTrue(Exit.isSuccess(exit))
      assert.strictEqual(millis, 1000)
    }).pipe(own)
  )

  it.effect("without it all agents end, and the error carries everything", () =>
    Effect.gen(function* () {
      const { extra, failing, quick, slow } = parts()
      const swarm = Swarm.make("s", {
        required: { quick: quick.agent, failing: failing.agent, slow: slow.agent },
        optional: { extra: extra.agent },
        earlyStop: false
      })
      const [exit, millis] = yield* timed(swarm.run(""))
      const error = criticalOf(exit)
      assert.strictEqual(millis, 1000)
      assert.deepStrictEqual(error.findings, { quick: "quick", slow: "slow", extra: "extra" })
      assert.deepStrictEqual(summary(Swarm.gaps(error)), [["failing", "failed", "own"]])
    }).pipe(own)
  )

  it.effect("waits for the finalizers of what it stops", () =>
    Effect.gen(function* () {
      let ended = 0
      const tidy = Agent.make(
        "tidy",
        (_: string) =>
          Effect.ensuring(
            Effect.never,
            Effect.delay(
              Effect.sync(() => ended++),
              50
            )
          ),
        once
      )
      const [, millis] = yield* timed(
        Swarm.make("s", { required: { failing: taking("failing", 5, false).agent, tidy } }).run("")
      )
      assert.deepStrictEqual([ended, millis], [1, 55])
    }).pipe(own)
  )

  it.effect("the trace shows it: an error with the figures, and who was interrupted", () =>
    Effect.gen(function* () {
      const { failing, quick, slow } = parts()
      yield* timed(
        Swarm.make("s", { required: { quick: quick.agent, failing: failing.agent, slow: slow.agent } }).run("")
      )
      const spans = yield* tree
      assert.deepStrictEqual(
        spans
          .filter(({ under }) => under === undefined || under === "s")
          .map(({ level, name, statusMessage }) => [name, level, statusMessage?.slice(0, 30)]),
        [
          ["s", "ERROR", "CriticalDegradationError: 33 %"],
          ["agent_quick", "DEFAULT", undefined],
          ["agent_failing", "ERROR", "Error: permanent"],
          ["agent_slow", "WARNING", "interrupted"]
        ]
      )
      assert.deepStrictEqual(spans[0]?.metadata, {
        degradation_level: 2,
        success_rate: 1 / 3,
        failed_agents: ["failing", "slow"]
      })
      assert.deepStrictEqual(spans[0]?.scores, { degradation_level: 2 })
    }).pipe(own, Effect.provide(Trace.layerRecorder()))
  )
})

describe("Swarm: deadline", () => {
  it.effect("who is late is missing, and the thresholds decide", () =>
    Effect.gen(function* () {
      const quick = taking("quick", 1)
      const slow = taking("slow", 1000)
      const swarm = Swarm.make("s", {
        required: { quick: quick.agent },
        optional: { slow: slow.agent },
        deadline: "100 millis"
      })
      const [exit, millis] = yield* timed(swarm.run(""))
      assert.strictEqual(millis, 100)
      assert.isTrue(Exit.isSuccess(exit))
      const result = Exit.isSuccess(exit) ? exit.value : undefined
      assert.deepStrictEqual(result?.findings, { quick: "quick" })
      assert.deepStrictEqual([result?.degradationLevel, result?.successRate], [1, 0.5])
      const [gap] = result === undefined ? [] : Swarm.gaps(result)
      assert.deepStrictEqual([gap?.agent, gap?.required, gap?.reason], ["slow", false, "late"])
      assert.instanceOf(gap?.error, Timeout.AgentTimeoutError)
      assert.strictEqual(gap?.error.message, '"slow" gave no answer within 100ms, its deadline')
      assert.strictEqual(slow.seen.interrupted, 1)
    }).pipe(own)
  )

  it.effect(
    "required agents that are late are as bad as others that fail; all of them are late, none was stopped",
    () =>
      Effect.gen(function* () {
        const required = { a: taking("a", 1000).agent, b: taking("b", 1000).agent, c: taking("c", 1).agent }
        const [exit, millis] = yield* timed(Swarm.make("s", { required, deadline: 100 }).run(""))
        const error = criticalOf(exit)
        assert.strictEqual(millis, 100)
        assert.deepStrictEqual(error.findings, { c: "c" })
        assert.deepStrictEqual(summary(Swarm.gaps(error)), [
          ["a", "late", "AgentTimeoutError"],
          ["b", "late", "AgentTimeoutError"]
        ])
      }).pipe(own)
  )

  it.effect("what has no time left is not begun, nor is a later stage", () =>
    Effect.gen(function* () {
      const waiting = taking("waiting", 1)
      let judged = 0
      const judge = Agent.make("judge", (_: Swarm.Upstream<string, unknown>) => Effect.sync(() => judged++), once)
      const swarm = Swarm.make("s", {
        required: { a: taking("a", 1).agent },
        optional: { slow: taking("slow", 1000).agent, waiting: waiting.agent },
        concurrency: 1,
        deadline: 100
      }).pipe(Swarm.followedBy({ judge }))
      const [exit, millis] = yield* timed(swarm.run(""))
      assert.strictEqual(millis, 100)
      assert.deepStrictEqual(
        Exit.isSuccess(exit) ? summary(Swarm.gaps(exit.value)) : [],
        ["slow", "waiting", "judge"].map((agent) => [agent, "late", "AgentTimeoutError"])
      )
      assert.deepStrictEqual([waiting.seen.began, judged], [0, 0])
    }).pipe(own)
  )

  it.effect("agents inherit it: their own timeouts are cut short, and no retry outlives it", () =>
    Effect.gen(function* () {
      let tried = 0
      const agent = Agent.make(
        "a",
        (_: string) =>
          Effect.zipRight(
            Effect.sync(() => tried++),
            Effect.fail(transient())
          ),
        { retry: { maxAttempts: 9, base: "3 seconds", factor: 1, jitter: false }, circuitBreaker: false }
      )
      const left: Array<number> = []
      const nosy = Agent.make(
        "b",
        (_: string) => Effect.map(Timeout.remainingMillis, (millis) => left.push(millis)),
        once
      )
      const swarm = Swarm.make("s", { required: { nosy }, optional: { agent }, deadline: "10 seconds" })
      const [exit, millis] = yield* timed(swarm.run(""))
      // the pause that would outlast it is not begun: the agent has failed by itself, in time
      assert.deepStrictEqual([tried, millis, left], [4, 9000, [10_000]])
      assert.deepStrictEqual(Exit.isSuccess(exit) ? summary(Swarm.gaps(exit.value)) : [], [["agent", "failed", "own"]])
    }).pipe(own)
  )

  it.effect("an earlier deadline of the caller's goes before it", () =>
    Effect.gen(function* () {
      const swarm = Swarm.make("s", { required: { a: taking("a", 1000).agent }, deadline: "1 minute" })
      const [exit, millis] = yield* timed(swarm.run("").pipe(Timeout.deadline({ duration: 50, agent: "caller" })))
      assert.strictEqual(millis, 50)
      const error = Exit.isFailure(exit) ? Cause.originalError(Cause.squash(exit.cause)) : undefined
      assert.instanceOf(error, Timeout.AgentTimeoutError)
      assert.strictEqual(error.agent, "caller")
    }).pipe(own)
  )

  it.effect("it is counted from each run", () =>
    Effect.gen(function* () {
      const swarm = Swarm.make("s", { required: { a: taking("a", 50).agent }, deadline: 100 })
      for (const _ of [1, 2, 3]) assert.isTrue(Exit.isSuccess((yield* timed(swarm.run("")))[0]))
    }).pipe(own)
  )
})

describe("Swarm: weights", () => {
  const good = (id: string) => Agent.make(id, (_: string) => Effect.succeed(id), once)
  const bad = (id: string) => Agent.make(id, (_: string) => Effect.fail(permanent()), once)

  it.effect("rates and thresholds go by weight", () =>
    Effect.gen(function* () {
      const swarm = Swarm.make("s", {
        required: { heavy: good("heavy"), light: bad("light") },
        optional: { extra: bad("extra") },
        weights: { heavy: 7, light: 3, extra: 10 }
      })
      const result = yield* swarm.run("")
      assert.deepStrictEqual([result.successRate, result.degradationLevel], [7 / 20, 2])
      assert.deepStrictEqual(
        Swarm.gaps(result).map(({ agent, weight }) => [agent, weight]),
        [
          ["light", 3],
          ["extra", 10]
        ]
      )
      const heavier = swarm.pipe(Swarm.weighted({ light: 3.1 }))
      const error = criticalOf(yield* Effect.exit(heavier.run("")))
      assert.strictEqual(error.failedShare, 3.1 / 10.1)
    }).pipe(own)
  )

  it.effect("a share that is the threshold but for rounding is the threshold", () =>
    Effect.gen(function* () {
      // 0.1 + 0.2 is a little more than 0.3
      const swarm = Swarm.make("s", {
        required: { a: bad("a"), b: bad("b"), c: good("c") },
        weights: { a: 0.1, b: 0.2, c: 0.7 }
      })
      assert.strictEqual((yield* swarm.run("")).degradationLevel, 1)
    }).pipe(own)
  )

  it.effect("agents of later stages have one too", () =>
    Effect.gen(function* () {
      const judge = Agent.make("judge", (_: Swarm.Upstream<string, unknown>) => Effect.fail("no"), once)
      const swarm = Swarm.make("s", { required: { a: good("a") } }).pipe(
        Swarm.followedBy({ judge }),
        Swarm.weighted({ judge: 3 })
      )
      assert.strictEqual((yield* swarm.run("")).successRate, 1 / 4)
      assert.strictEqual((yield* Swarm.weighted(swarm, { a: 6 }).run("")).successRate, 6 / 9)
    }).pipe(own)
  )

  it("what makes no sense is refused where it is written", () => {
    const required = { a: good("a") }
    for (const a of [0, -1, Number.NaN, Infinity]) {
      assert.throws(
        () => Swarm.make("s", { required, weights: { a } }),
        /the weight of "a" must be a finite number above 0/
      )
      assert.throws(() => Swarm.weighted(Swarm.make("s", { required }), { a }), RangeError)
    }
    const unknown: Readonly<Record<string, number>> = { z: 1 }
    assert.throws(() => Swarm.make("s", { required, weights: unknown }), /there is no agent named "z" to give a weight/)
    assert.throws(() => Swarm.make("s", { required, deadline: -1 }), /swarm "s": deadline must be a duration from 0 up/)
  })
})
