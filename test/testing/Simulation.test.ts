/**
 * Simulations: what they find, that they find it again, and that they let through what holds.
 */
import { assert, describe, it } from "@effect/vitest"
import { Annotation, END, MemorySaver, START, StateGraph } from "@langchain/langgraph"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Ref from "effect/Ref"
import fc from "fast-check"
import * as Agent from "../../src/agent/Agent.js"
import * as Graph from "../../src/graph/Graph.js"
import * as Chaos from "../../src/resilience/Chaos.js"
import type * as Failure from "../../src/resilience/Failure.js"
import * as shrink from "../../src/testing/internal/shrink.js"
import * as Simulation from "../../src/testing/Simulation.js"

class DoubleWrite extends Error {
  override readonly name = "DoubleWrite"
  readonly failure: Failure.Failure = { kind: "permanent", reason: "it stands already" }
}

const State = Annotation.Root({ order: Annotation<string>, done: Annotation<boolean> })

/** A ledger that refuses the same entry twice. */
const ledger = () => {
  const entries = new Set<string>()
  return {
    has: (entry: string) => entries.has(entry),
    write: (entry: string) =>
      Effect.suspend(() => {
        if (entries.has(entry)) return Effect.fail(new DoubleWrite(`${entry} stands already`))
        entries.add(entry)
        return Effect.void
      })
  }
}

/** A node that writes two entries, with a place for a fault between them: its retry meets the first one. */
const order = (careful: boolean) =>
  Effect.gen(function* () {
    const book = ledger()
    const write = (entry: string) => (careful && book.has(entry) ? Effect.void : book.write(entry))
    const agent = Agent.make(
      "order",
      (id: string) => write(`${id} paid`).pipe(Effect.zipRight(Chaos.inject(write(`${id} sent`), "carrier"))),
      { retry: { maxAttempts: 6 }, timeout: "10 seconds" }
    )
    const node = yield* Graph.node("order", (state: typeof State.State) =>
      Effect.as(agent.invoke(state.order), { done: true })
    )
    const graph = new StateGraph(State)
      .addNode("place", node)
      .addEdge(START, "place")
      .addEdge("place", END)
      .compile({ checkpointer: new MemorySaver() })
    return yield* Graph.run(graph, { order: "A1" }, { threadId: "t" })
  })

/** A run may fail for want of tries; a double write is a bug. */
const isTired = ({ error }: Graph.GraphError): boolean => !(error instanceof DoubleWrite)

describe("Simulation", () => {
  it.effect("finds a node that breaks when its retry follows a partial write, and the seed repeats it", () =>
    Effect.gen(function* () {
      const options = { runs: 200, rate: 0.3, tolerate: isTired, check: ({ done }: { done: boolean }) => done }
      const error = yield* Effect.flip(Simulation.run(order(false), options))
      assert.strictEqual(error.kind, "failed")
      assert.match(String(error.error), /A1 paid stands already/)
      // one fault between the two writes is enough, whatever else befell the run
      assert.strictEqual(error.schedule.length, 1, error.message)
      assert.strictEqual(error.schedule[0]?.agent, "carrier")
      assert.match(error.message, new RegExp(`Simulation.run\\(program, \\{ seed: ${error.seed}, runs: 1 \\}\\)`))
      assert.match(error.message, /agent_order/)

      const again = yield* Effect.flip(Simulation.run(order(false), { ...options, seed: error.seed, runs: 1 }))
      assert.deepStrictEqual(again.faults, error.faults)
      assert.deepStrictEqual(again.schedule, error.schedule)
      assert.strictEqual(again.trace.replaceAll(/\d+(\.\d+)?m?s/g, ""), error.trace.replaceAll(/\d+(\.\d+)?m?s/g, ""))

      const pinned = yield* Effect.flip(Simulation.run(order(false), { ...options, runs: 1, schedule: error.schedule }))
      assert.deepStrictEqual(pinned.schedule, error.schedule)
    })
  )

  it.effect("lets the careful one through, hours of pauses and hangs in no time", () =>
    Effect.gen(function* () {
      const report = yield* Simulation.run(order(true), { runs: 25, rate: 0.3, tolerate: isTired })
      assert.strictEqual(report.runs, 25)
      assert.isAbove(report.faults, 10)
      assert.isAbove(Duration.toMillis(report.elapsed), 10_000)
      assert.isBelow(report.tolerated, 10)
    })
  )

  it.effect("tells a failure, a defect, a hang and a run without end apart", () =>
    Effect.gen(function* () {
      const kind = <A, E>(
        program: Effect.Effect<A, E>,
        check?: (value: A) => boolean | Effect.Effect<unknown, string>
      ) =>
        Effect.map(
          Effect.flip(Simulation.run(program, { runs: 1, patience: "20 millis", ...(check && { check }) })),
          ({ error, kind, message, schedule }) => {
            assert.deepStrictEqual(schedule, [])
            assert.match(message, /without any fault/)
            return `${kind} ${error instanceof Error ? error.message : error}`
          }
        )
      assert.strictEqual(yield* kind(Effect.fail("x")), "failed x")
      assert.strictEqual(yield* kind(Effect.die(new Error("x"))), "died x")
      assert.strictEqual(yield* kind(Effect.never), "hung undefined")
      assert.strictEqual(yield* kind(Effect.forever(Effect.sleep("1 hour"))), "endless undefined")
      assert.strictEqual(yield* kind(Effect.succeed(1), () => false), "failed the check does not hold")
      assert.strictEqual(yield* kind(Effect.succeed(1), () => Effect.fail("odd")), "failed odd")
      assert.strictEqual(
        yield* kind(Effect.succeed(1), (): boolean => {
          throw new Error("thrown")
        }),
        "failed thrown"
      )
    })
  )

  it.effect("gives each run random numbers, breakers and a clock of its own, the same ones for the same seed", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const agent = Agent.make("lucky", () => Random.nextInt, { circuitBreaker: { failureThreshold: 1 } })
      const program = Effect.gen(function* () {
        yield* Effect.sleep("1 minute")
        const clock = yield* Effect.clock
        const number = yield* Random.nextInt
        const exit = yield* Effect.exit(agent.invoke(undefined))
        seen.push(`${clock.unsafeCurrentTimeMillis()} ${number} ${exit._tag}`)
      })
      const options = { runs: 5, rate: 0.5, faults: ["error"] as const }
      yield* Simulation.run(program, options)
      yield* Simulation.run(program, options)
      assert.deepStrictEqual(seen.slice(0, 5), seen.slice(5))
      assert.strictEqual(new Set(seen).size, 5)
    })
  )

  it.effect("waits for real answers when it is told to", () =>
    Effect.gen(function* () {
      const answer = Effect.promise(() => new Promise<number>((resolve) => setTimeout(() => resolve(1), 5)))
      const program = Effect.timeout(answer, "1 second")
      yield* Simulation.run(program, { runs: 3, settle: "100 millis" })
    })
  )

  it("refuses options that make no sense", () => {
    const wrong: ReadonlyArray<Simulation.Options<void>> = [
      { runs: 0 },
      { seed: 0.5 },
      { shrinks: -1 },
      { rate: 2 },
      // what a program without types may say
      { timeout: "soon" as "1 day" }
    ]
    for (const options of wrong) assert.throws(() => Simulation.run(Effect.void, options), RangeError)
  })
})

describe("the smallest schedule", () => {
  it("is what a culprit needs and nothing else", () =>
    fc.assert(
      fc.property(
        fc
          .integer({ min: 0, max: 24 })
          .chain((size) => fc.tuple(fc.constant(size), fc.subarray([...Array(size).keys()]))),
        ([size, culprits]) => {
          const items = [...Array(size).keys()]
          const found = Effect.runSync(
            shrink.smallest(items, (part) => Effect.succeed(culprits.every((each) => part.includes(each))), 10_000)
          )
          assert.deepStrictEqual(found, culprits)
        }
      )
    ))

  it.effect("is found within the tries", () =>
    Effect.gen(function* () {
      const tries = yield* Ref.make(0)
      const items = [...Array(100).keys()]
      const found = yield* shrink.smallest(
        items,
        (part) =>
          Effect.as(
            Ref.update(tries, (n) => n + 1),
            part.includes(3) && part.includes(97)
          ),
        10
      )
      assert.isAtMost(yield* Ref.get(tries), 10)
      assert.includeMembers([...found], [3, 97])
    })
  )
})
