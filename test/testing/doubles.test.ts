/**
 * What stands in for Langfuse, for the database and for a chat model.
 */
import { cpSync, existsSync } from "node:fs"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import { HumanMessage } from "@langchain/core/messages"
import { tool } from "@langchain/core/tools"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as TestClock from "effect/TestClock"
import { z } from "zod"
import * as Agent from "../../src/agent/Agent.js"
import * as Checkpointer from "../../src/checkpoint/Checkpointer.js"
import * as Database from "../../src/database/Database.js"
import * as Langfuse from "../../src/langfuse/Langfuse.js"
import * as Observation from "../../src/observability/Observation.js"
import * as Failure from "../../src/resilience/Failure.js"
import * as TestDatabase from "../../src/testing/TestDatabase.js"
import * as TestLangfuse from "../../src/testing/TestLangfuse.js"
import * as TestModel from "../../src/testing/TestModel.js"
import * as Testing from "../../src/testing.js"
import * as TestDatabases from "../support/databases.js"

describe("TestLangfuse", () => {
  const leaf = (name: string, options: Observation.Options = {}) => Observation.event(name, options)
  const tree = Effect.gen(function* () {
    yield* leaf("first", { metadata: { n: 1, list: [1, 2] }, input: { question: "why?" } })
    yield* leaf("second", { level: "WARNING", statusMessage: "late by 3 s" })
    yield* leaf("second")
    yield* Observation.score({ name: "quality", value: 0.5 })
  }).pipe(
    Observation.span("root", { type: "agent" }),
    Observation.withTrace({ name: "a trace", sessionId: "s1", tags: ["x", "y"], userId: "u" })
  )
  const expected: TestLangfuse.Expected = {
    name: "root",
    type: "agent",
    scores: { quality: (value: unknown) => typeof value === "number" && value > 0 },
    trace: { name: "a trace", sessionId: "s1", tags: ["x", "y"] },
    children: [
      { name: "first", type: "event", metadata: { n: 1, list: [1, 2] }, input: { question: /^why/ } },
      { name: /^sec/, level: "WARNING", statusMessage: /late by \d+ s/ },
      { name: "second", level: "DEFAULT" }
    ]
  }

  it.effect("has what was observed, and forgets it when told", () =>
    Effect.gen(function* () {
      yield* tree
      const found = yield* TestLangfuse.expectTree(expected)
      assert.lengthOf(found.children, 3)
      yield* TestLangfuse.expectTraces(expected)
      const [root] = yield* TestLangfuse.observations
      assert.isUndefined(root?.parentObservationId)
      assert.instanceOf(root?.endTime, Date)
      yield* Effect.flatMap(TestLangfuse.TestLangfuse, ({ clear }) => clear)
      assert.deepStrictEqual(yield* TestLangfuse.observations, [])
    }).pipe(Effect.provide(TestLangfuse.layer))
  )

  it.effect("tells where a tree differs", () =>
    Effect.gen(function* () {
      yield* tree
      const lines = (wanted: TestLangfuse.Expected) =>
        Effect.map(Effect.flip(TestLangfuse.expectTree(wanted)), (error) => {
          assert.match(error.message, /observed:\n {2}root \(agent\) quality:0\.5\n {4}first \(event\)/)
          return error.differences
        })
      const [first = expected, second = expected, third = expected] = expected.children ?? []
      assert.deepStrictEqual(yield* lines({ name: "other" }), ['no observation is named "other"'])
      assert.deepStrictEqual(yield* lines({ name: "root", type: "tool", scores: { quality: 1 } }), [
        'root: type is "agent", expected "tool"',
        "root: score quality is 0.5, expected 1"
      ])
      assert.deepStrictEqual(yield* lines({ ...expected, children: [first, second] }), [
        'root: 1 more than expected: "second"'
      ])
      assert.deepStrictEqual(yield* lines({ ...expected, children: [first, second, third, { name: "fourth" }] }), [
        'root: no child "fourth"; there are "first", "second", "second"'
      ])
      assert.deepStrictEqual(
        yield* lines({ ...expected, children: [first, { ...second, level: "ERROR" }, { ...third, level: "ERROR" }] }),
        [
          'root > second[1]: level is "WARNING", expected "ERROR"',
          'root > second[2]: level is "DEFAULT", expected "ERROR"'
        ]
      )
      assert.deepStrictEqual(yield* lines({ ...expected, children: [second] }), [
        'root: no child /^sec/ where "first" is; there are "first", "second", "second"'
      ])
      yield* TestLangfuse.expectTree({ ...expected, anyOrder: true, children: [third, second, first] })
      yield* TestLangfuse.expectTree({ ...expected, others: true, children: [second] })
      yield* TestLangfuse.expectTree({ name: "second", level: "DEFAULT" })
      assert.include((yield* Effect.flip(TestLangfuse.expectTraces())).message, '1 more than expected: "root"')
    }).pipe(Effect.provide(TestLangfuse.layer))
  )

  it.live("has what LangChain's callbacks say, under the span that called", () =>
    Effect.gen(function* () {
      const model = yield* TestModel.make([
        TestModel.answer("Well", { usage: { input: 3, output: 1 } }),
        TestModel.failure(503)
      ])
      const ask = Effect.flatMap(Langfuse.callbackHandler, (handler) =>
        Effect.tryPromise((signal) => model.invoke("How?", { callbacks: Option.toArray(handler), signal }))
      ).pipe(Observation.span("ask"))
      yield* ask
      yield* Effect.flip(ask)
      yield* TestLangfuse.expectTraces(
        {
          name: "ask",
          children: [
            {
              name: "TestModel",
              type: "generation",
              model: "test-model",
              input: [{ role: "user", content: "How?" }],
              output: { role: "assistant", content: "Well" }
            }
          ]
        },
        {
          name: "ask",
          level: "ERROR",
          children: [{ name: "TestModel", type: "generation", level: "ERROR", statusMessage: /503/ }]
        }
      )
      const [, generation] = yield* TestLangfuse.observations
      assert.deepStrictEqual(generation?.usageDetails, { input: 3, output: 1, total: 4 })
    }).pipe(Effect.provide(TestLangfuse.layer))
  )
})

describe("TestModel", () => {
  const add = tool(({ a, b }: { a: number; b: number }) => a + b, {
    name: "add",
    description: "adds",
    schema: z.object({ a: z.number(), b: z.number() })
  })

  it.live("answers, streams and asks for tools as its script says", () =>
    Effect.gen(function* () {
      const model = yield* TestModel.make([
        "two words",
        TestModel.answer(["a", "b", "c"]),
        TestModel.toolCalls(
          { name: "add", args: { a: 1, b: 2 } },
          { text: "let me see", usage: { input: 1, output: 2 } }
        ),
        ({ messages, number }) => `${number}: ${messages.at(-1)?.text}`
      ])
      assert.strictEqual((yield* Effect.promise(() => model.invoke("x"))).text, "two words")
      const tokens: Array<string> = []
      yield* Effect.promise(async () => {
        for await (const chunk of await model.stream("x")) if (chunk.text !== "") tokens.push(chunk.text)
      })
      assert.deepStrictEqual(tokens, ["a", "b", "c"])
      const bound = model.bindTools?.([add]) ?? model
      const asked = yield* Effect.promise(() => bound.invoke([new HumanMessage("1 + 2?")]))
      assert.deepStrictEqual(asked.tool_calls, [{ name: "add", args: { a: 1, b: 2 }, id: "call_1", type: "tool_call" }])
      assert.strictEqual(Reflect.get(Object(asked.usage_metadata), "total_tokens"), 3)
      assert.strictEqual((yield* Effect.promise(() => model.invoke("last"))).text, "4: last")
      assert.deepStrictEqual(
        model.calls.map(({ number, outcome, tools }) => `${number} ${outcome} ${tools.join()}`),
        ["1 answered ", "2 answered ", "3 answered add", "4 answered "]
      )
      const beyond = yield* Effect.flip(Effect.tryPromise(() => model.invoke("x")))
      assert.match(String(beyond.error), /call 5, but the script ends after 4/)
      assert.strictEqual(Failure.classify(beyond.error).kind, "permanent")
    })
  )

  it.live("goes on beyond the script's end if told so", () =>
    Effect.gen(function* () {
      const texts = (atEnd: "last" | "cycle") =>
        Effect.flatMap(TestModel.make(["1", "2"], { atEnd }), (model) =>
          Effect.forEach([1, 2, 3], () =>
            Effect.map(
              Effect.promise(() => model.invoke("x")),
              ({ text }) => text
            )
          )
        )
      assert.deepStrictEqual(yield* texts("last"), ["1", "2", "2"])
      assert.deepStrictEqual(yield* texts("cycle"), ["1", "2", "1"])
      assert.throws(() => TestModel.make([]), RangeError)
    })
  )

  it.effect("fails and hangs in virtual time, and is retried by an agent", () =>
    Effect.gen(function* () {
      const model = yield* TestModel.make([
        TestModel.failure(429, { retryAfter: "20 seconds", latency: "3 seconds" }),
        TestModel.hang({ after: "half an" }),
        TestModel.failure(new TypeError("mine")),
        TestModel.answer("done", { latency: "1 second" })
      ])
      const agent = Agent.make(
        "asks",
        (text: string) => Effect.tryPromise({ try: (signal) => model.invoke(text, { signal }), catch: (e) => e }),
        { timeout: "30 seconds", retry: { base: "1 second" } }
      )
      const wait = Effect.repeatN(
        Effect.zipRight(
          TestClock.adjust("5 seconds"),
          Effect.promise(() => new Promise((go) => setImmediate(go)))
        ),
        20
      )
      const first = yield* Effect.fork(Effect.exit(agent.invoke("x")))
      yield* wait
      const exit = yield* Fiber.join(first)
      assert.isTrue(exit._tag === "Failure" && /mine/.test(String(Cause.squash(exit.cause))))
      const second = yield* Effect.fork(agent.invoke("x"))
      yield* wait
      assert.strictEqual((yield* Fiber.join(second)).text, "done")
      assert.deepStrictEqual(
        model.calls.map(({ outcome, tokens }) => `${outcome} ${tokens}`),
        ["failed 0", "aborted 2", "failed 0", "answered 1"]
      )
      assert.strictEqual(model.mostAtOnce, 1)
    }).pipe(Effect.provide(Testing.layer))
  )
})

describe("TestDatabase", () => {
  const note = Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    yield* sql`create table notes (text text not null)`
    yield* sql`insert into notes values ('kept')`
  })

  it.live(
    "is in memory, another one for each that builds it, with or without a saver",
    () =>
      Effect.gen(function* () {
        yield* note
        yield* Effect.provide(note, TestDatabase.layer)
        assert.deepStrictEqual(yield* Checkpointer.threads(), [])
        assert.strictEqual((yield* Database.Info).location, "memory")
      }).pipe(Effect.provide(TestDatabase.layerCheckpointer())),
    120_000
  )

  it.scopedLive("lasts in a folder, which goes with the test", () =>
    Effect.gen(function* () {
      const [embedded] = TestDatabases.backends
      const made = embedded === undefined ? undefined : (yield* embedded.create).dataDir
      const { dataDir, env } = yield* Effect.scoped(
        Effect.gen(function* () {
          const folder = yield* TestDatabase.folder
          // an empty cluster is quicker copied than made
          cpSync(made ?? "", folder.dataDir, { recursive: true })
          yield* Effect.provide(note, folder.layer)
          const rows = yield* Effect.flatMap(SqlClient.SqlClient, (sql) => sql`select * from notes`).pipe(
            Effect.provide(folder.layer)
          )
          assert.lengthOf(rows, 1)
          return folder
        })
      )
      assert.strictEqual(env["HOLDFAST_DATA_DIR"], dataDir)
      assert.isFalse(existsSync(dataDir))
    })
  )
})
