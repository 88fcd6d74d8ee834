import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as FileSystem from "@effect/platform/FileSystem"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { assert, describe, it } from "@effect/vitest"
import { MemorySaver } from "@langchain/langgraph"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as TestClock from "effect/TestClock"
import * as Trace from "../../../src/observability/Trace.js"
import * as Agents from "../../../src/programs/research/Agents.js"
import * as Prices from "../../../src/programs/research/Prices.js"
import * as Question from "../../../src/programs/research/Question.js"
import * as Research from "../../../src/programs/research/Research.js"
import * as Chaos from "../../../src/resilience/Chaos.js"
import * as CircuitBreaker from "../../../src/resilience/CircuitBreaker.js"

const model = { apiKey: Option.none(), baseUrl: Option.none(), model: "none" }

const options = (threadId: string, checkpointer = new MemorySaver()) => ({
  threadId,
  checkpointer,
  model,
  callbacks: Effect.succeed([])
})

const layer = Layer.merge(NodeFileSystem.layer, Trace.layerRecorder())

describe("the research program", () => {
  it.live("reports what passed on days that nothing has looked at", () =>
    Effect.gen(function* () {
      const prepared = yield* Question.prepare({ ticker: "AAPL" })
      const state = yield* Research.run(prepared, options("t"))
      assert.strictEqual(state.outcome?._tag, "Reported")
      assert.strictEqual(state.rounds, 1)
      assert.deepStrictEqual(state.swarm?.missing, [])
      assert.strictEqual(state.swarm?.degradationLevel, 0)
      assert.strictEqual(state.verdicts.at(-1)?._tag, "Accepted")
    }).pipe(Effect.provide(layer))
  )

  it.live("says so when nothing passes, after two more choices at most", () =>
    Effect.gen(function* () {
      const prepared = yield* Question.prepare({ ticker: "IBM" })
      const state = yield* Research.run(prepared, options("t"))
      assert.isAtMost(state.verdicts.length, 3)
      const ids = state.verdicts.map(({ id }) => id)
      assert.strictEqual(new Set(ids).size, ids.length, "a rule that was rejected was chosen again")
      assert.strictEqual(state.outcome?._tag, state.verdicts.at(-1)?._tag === "Accepted" ? "Reported" : "NothingPassed")
    }).pipe(Effect.provide(layer))
  )

  it.live("is the same in its findings for every way it is asked", () =>
    Effect.gen(function* () {
      const prepared = yield* Question.prepare({ ticker: "MSFT" })
      const saver = new MemorySaver()
      const [first, second] = yield* Effect.all(
        [Research.run(prepared, options("one", saver)), Research.run(prepared, options("two", saver))],
        { concurrency: 2 }
      )
      assert.deepStrictEqual(second, first)
    }).pipe(Effect.provide(layer))
  )
})

describe("a round that cannot succeed", () => {
  it.effect("lets every agent end: nobody is stopped, and what is found does not hang on who failed first", () =>
    Effect.gen(function* () {
      const { selection } = yield* Question.prepare({ ticker: "AAPL" })
      const swarm = Agents.swarm({ model, callbacks: Effect.succeed([]) })
      const faults = Chaos.layer({
        rate: 1,
        seed: 7,
        faults: ["error"],
        agents: ["technical", "market", "seasonality"]
      })
      const run = Effect.flip(swarm.run(selection)).pipe(
        Effect.provide(Layer.merge(faults, CircuitBreaker.layerRegistry))
      )
      const fiber = yield* Effect.fork(run)
      yield* TestClock.adjust("1 minute")
      const error = yield* Fiber.join(fiber)
      assert.deepStrictEqual(Object.keys(error.findings).sort(), ["reversion", "risk"])
      assert.deepStrictEqual(
        error.failed.map(({ agent, error }) => [agent, error instanceof CircuitBreaker.CircuitBreakerOpenError]),
        [
          ["technical", true],
          ["market", true],
          ["seasonality", true],
          // which is only ever asked of a round that succeeded
          ["narrative", false]
        ]
      )
    }).pipe(Effect.provide(NodeFileSystem.layer))
  )
})

describe("a question", () => {
  it.effect("is answered from the same prices as it was asked of, or not at all", () =>
    Effect.gen(function* () {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "holdfast-question-"))),
        (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
      )
      const file = join(folder, "p.csv")
      const text = readFileSync(Prices.shipped, "utf8")
      writeFileSync(file, text)
      const { request } = yield* Question.prepare({ ticker: "SBUX", prices: file, chaos: { rate: 0.1, seed: 2 } })
      const again = yield* Question.reload(request)
      assert.deepStrictEqual(again.request, request)
      writeFileSync(file, text.replace("23.950705", "23.950706"))
      const error = yield* Effect.flip(Question.reload(request))
      assert.instanceOf(error, Question.PricesChangedError)
      assert.include(error.message, file)
      yield* Effect.flatMap(FileSystem.FileSystem, (fs) => fs.remove(file))
      assert.strictEqual((yield* Effect.flip(Question.reload(request)))._tag, "PricesError")
    }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer))
  )
})
