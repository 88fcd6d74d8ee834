/** Findings as they come. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import * as Agent from "../../src/agent/Agent.js"
import * as Swarm from "../../src/agent/Swarm.js"
import * as Trace from "../../src/observability/Trace.js"
import { permanent, signal, tree } from "../resilience/support.js"
import { criticalOf, once, own, taking, timed } from "./support.js"

/** What was told and when, and how it ended. */
const told = <A, E, R>(stream: Stream.Stream<A, E, R>) =>
  Effect.gen(function* () {
    const events: Array<readonly [millis: number, event: A]> = []
    const [exit] = yield* timed(
      Stream.runForEach(stream, (event) => Effect.map(Clock.currentTimeMillis, (now) => events.push([now, event])))
    )
    return { events, exit }
  })

describe("Swarm.stream", () => {
  it.effect("tells of findings and gaps as they come, and of the result at the end", () =>
    Effect.gen(function* () {
      const error = permanent()
      const judge = Agent.make(
        "judge",
        ({ findings }: Swarm.Upstream<string, { readonly slow: string }>) =>
          Effect.delay(Effect.succeed(`saw ${Object.keys(findings)}`), 10),
        once
      )
      const swarm = Swarm.make("s", {
        required: { slow: taking("slow", 30).agent, quick: taking("quick", 10).agent },
        optional: { bad: Agent.make("bad", (_: string) => Effect.delay(Effect.fail(error), 20), once) },
        weights: { quick: 2 }
      }).pipe(Swarm.followedBy({ judge }))
      const { events, exit } = yield* told(swarm.pipe(Swarm.stream("x")))
      const gap = { _tag: "Gap", agent: "bad", required: false, weight: 1, reason: "failed", error } as const
      assert.isTrue(Exit.isSuccess(exit))
      assert.deepStrictEqual(events, [
        [10, { _tag: "Found", agent: "quick", required: true, weight: 2, value: "quick" }],
        [20, gap],
        [30, { _tag: "Found", agent: "slow", required: true, weight: 1, value: "slow" }],
        [40, { _tag: "Found", agent: "judge", required: false, weight: 1, value: "saw slow,quick" }],
        [
          40,
          {
            _tag: "Completed",
            result: {
              findings: { slow: "slow", quick: "quick", judge: "saw slow,quick" },
              failed: [gap],
              degradationLevel: 0,
              successRate: 0.8
            }
          }
        ]
      ])
    }).pipe(own)
  )

  it.effect("a run that is given up fails after all that could be told", () =>
    Effect.gen(function* () {
      const swarm = Swarm.make("s", {
        required: { quick: taking("quick", 1).agent, bad: taking("bad", 5, false).agent, slow: taking("slow", 9).agent }
      })
      const { events, exit } = yield* told(Swarm.stream(swarm, ""))
      assert.deepStrictEqual(
        events.map(([millis, event]) => [millis, event._tag, event._tag === "Gap" ? event.reason : undefined]),
        [
          [1, "Found", undefined],
          [5, "Gap", "failed"],
          [5, "Gap", "stopped"]
        ]
      )
      assert.deepStrictEqual(criticalOf(exit).findings, { quick: "quick" })
    }).pipe(own)
  )

  it.effect("runs nothing until it is read, and again each time it is", () =>
    Effect.gen(function* () {
      const { agent, seen } = taking("a", 1)
      const stream = Swarm.stream(Swarm.make("s", { required: { agent } }), "")
      assert.strictEqual(seen.began, 0)
      yield* told(stream)
      yield* told(stream)
      assert.strictEqual(seen.began, 2)
    }).pipe(own)
  )

  it.effect("the agents do not wait for a slow reader", () =>
    Effect.gen(function* () {
      const swarm = Swarm.make("s", {
        required: { a: taking("a", 10).agent, b: taking("b", 20).agent },
        deadline: 40,
        concurrency: 1
      })
      const [exit, millis] = yield* timed(
        swarm.pipe(
          Swarm.stream(""),
          Stream.tap(() => Effect.sleep("1 minute")),
          Stream.runCollect
        )
      )
      assert.deepStrictEqual(Exit.isSuccess(exit) ? Chunk.toReadonlyArray(exit.value).map(({ _tag }) => _tag) : [], [
        "Found",
        "Found",
        "Completed"
      ])
      assert.strictEqual(millis, 180_010)
    }).pipe(own)
  )

  it.effect("who stops reading, or is interrupted, interrupts the agents", () =>
    Effect.gen(function* () {
      const parts = [taking("a", 10), taking("b", 1000)] as const
      const stream = Swarm.stream(Swarm.make("s", { required: { a: parts[0].agent, b: parts[1].agent } }), "")
      const [, millis] = yield* timed(Stream.runDrain(Stream.take(stream, 1)))
      assert.deepStrictEqual([millis, parts[1].seen.interrupted], [10, 1])
      const reader = yield* Effect.fork(Stream.runDrain(stream))
      yield* TestClock.adjust(20)
      yield* Fiber.interrupt(reader)
      assert.strictEqual(parts[1].seen.interrupted, 2)
    }).pipe(own)
  )

  it.effect("a signal to LangGraph ends it as it is", () =>
    Effect.gen(function* () {
      const raised = signal()
      const swarm = Swarm.make("s", {
        required: {
          quick: taking("quick", 1).agent,
          asking: Agent.make("asking", (_: string) => Effect.delay(Effect.fail(raised), 5), once)
        }
      })
      const { events, exit } = yield* told(Swarm.stream(swarm, ""))
      assert.strictEqual(events.length, 1)
      assert.strictEqual(Exit.isFailure(exit) ? Cause.originalError(Cause.squash(exit.cause)) : undefined, raised)
    }).pipe(own)
  )

  it.effect("shows the same trace as a run, under whoever reads", () =>
    Effect.gen(function* () {
      const swarm = Swarm.make("s", {
        required: { a: taking("a", 1).agent },
        optional: { b: taking("b", 1, false).agent }
      })
      const spans = (run: Effect.Effect<unknown, unknown>) =>
        Effect.zipRight(timed(Effect.withSpan(run, "reader")), tree).pipe(own, Effect.provide(Trace.layerRecorder()))
      const streamed = yield* spans(Stream.runDrain(Swarm.stream(swarm, "")))
      assert.deepStrictEqual(streamed, yield* spans(swarm.run("")))
      assert.deepStrictEqual(streamed[1]?.scores, { degradation_level: 1 })
    })
  )
})
