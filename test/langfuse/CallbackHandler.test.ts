import { assert, describe, it } from "@effect/vitest"
import { type RunnableConfig, RunnableLambda } from "@langchain/core/runnables"
import { FakeListChatModel } from "@langchain/core/utils/testing"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Agent from "../../src/agent/Agent.js"
import * as Langfuse from "../../src/langfuse/Langfuse.js"
import * as Observation from "../../src/observability/Observation.js"
import * as LangfuseServer from "../support/LangfuseServer.js"

const call = (evaluate: (callbacks: { callbacks: Array<object> }, signal: AbortSignal) => Promise<unknown>) =>
  Effect.flatMap(Langfuse.callbackHandler, (handler) =>
    Effect.tryPromise({
      try: (signal) => evaluate({ callbacks: Option.toArray(handler) }, signal),
      catch: (error) => error
    })
  )

const traced = <A, E>(program: Effect.Effect<A, E>) =>
  Effect.gen(function* () {
    const server = yield* LangfuseServer.make()
    const options = { publicKey: server.publicKey, secretKey: Redacted.make(server.secretKey), baseUrl: server.url }
    yield* Effect.exit(Effect.provide(program, Langfuse.layerWith(options)))
    assert.deepStrictEqual(server.complaints(), [])
    return server
  })

const show = (it: LangfuseServer.StoredObservation) =>
  `${it.name} ${it.type} ${it.level} ${it.statusMessage ?? ""}`.trim()

describe("Langfuse.callbackHandler", () => {
  it.scopedLive(
    "nests each call under the span that made it: 200 fibers that wake each other, five agents in each other",
    () =>
      Effect.gen(function* () {
        const semaphore = Effect.unsafeMakeSemaphore(23)
        const depth = 5
        const nested = (fiber: number, level: number): Agent.Agent<string, unknown, unknown> =>
          Agent.make(`${level}_${fiber}`, (input: string) =>
            call((config) =>
              new FakeListChatModel({ responses: [`answer ${level} ${fiber}`], sleep: fiber % 3 }).invoke(input, config)
            ).pipe(
              semaphore.withPermits(1),
              Effect.zipRight(level < depth ? Agent.invoke(nested(fiber, level + 1), input) : Effect.yieldNow())
            )
          )
        const server = yield* traced(
          Effect.forEach(Array.from({ length: 200 }).keys(), (n) => Agent.invoke(nested(n, 1), `question ${n}`), {
            concurrency: "unbounded"
          }).pipe(Effect.withSpan("swarm"))
        )
        const rows = new Map(server.observations().map((row) => [row.id, row]))
        // of each agent: itself, its retries, its attempt, the model's generation
        assert.strictEqual(rows.size, 1 + 200 * depth * 4)
        const above = (row: LangfuseServer.StoredObservation | undefined) => rows.get(row?.parentId ?? "")
        for (const row of rows.values()) {
          const [, level, fiber] = /^agent_(\d+)_(\d+)$/.exec(row.name) ?? []
          if (level === undefined) continue
          const outer = above(row)
          if (level === "1") assert.strictEqual(outer?.name, "swarm")
          else assert.strictEqual(above(above(outer))?.name, `agent_${Number(level) - 1}_${fiber}`)
        }
        for (const row of rows.values()) {
          if (row.type !== "generation") continue
          const [, level, fiber] = /answer (\d+) (\d+)/.exec(JSON.stringify(row.output)) ?? []
          assert.strictEqual(above(row)?.name, "attempt")
          assert.strictEqual(above(above(above(row)))?.name, `agent_${level}_${fiber}`)
          assert.include(JSON.stringify(row.input), `question ${fiber}`)
        }
      }),
    120_000
  )

  it.scopedLive("keeps LangChain's own nesting below it", () =>
    Effect.gen(function* () {
      const chain = RunnableLambda.from((text: string) => `${text}!`).pipe(new FakeListChatModel({ responses: ["ok"] }))
      const server = yield* traced(
        call((config) => chain.invoke("hi", { ...config, runName: "chain", tags: ["mine"] })).pipe(
          Effect.withSpan("agent"),
          Observation.withTrace({ tags: ["swarm"] })
        )
      )
      assert.deepStrictEqual(LangfuseServer.tree(server.observations(), show), [
        [
          "agent span DEFAULT",
          [["chain span DEFAULT", ["RunnableLambda span DEFAULT", "FakeListChatModel generation DEFAULT"]]]
        ]
      ])
      for (const row of server.observations()) assert.sameMembers([...row.tags], ["swarm", "mine"])
    })
  )

  it.scopedLive("names an error by its tag, and takes pauses, jumps and interruptions for none", () =>
    Effect.gen(function* () {
      const raising = (error: unknown) =>
        RunnableLambda.from((_: string): string => {
          throw error
        })
      const fail = (name: string, error: unknown) =>
        call((config) => raising(error).invoke("x", { ...config, runName: `${name} run` })).pipe(
          Effect.ignore,
          Effect.withSpan(name)
        )
      const slow = RunnableLambda.from(
        (_: string, { signal }: RunnableConfig) =>
          new Promise<string>((_resolve, reject) => {
            signal?.addEventListener("abort", () => reject(signal.reason))
          })
      )
      const server = yield* traced(
        Effect.gen(function* () {
          yield* fail("broken", new TypeError("no such field, key sk-abcdefgh12345678"))
          yield* fail("pause", Object.assign(new Error("ask a person"), { name: "GraphInterrupt" }))
          yield* fail("jump", Object.assign(new Error("to the parent"), { name: "ParentCommand", is_bubble_up: true }))
          yield* fail("given up", new DOMException("This operation was aborted", "AbortError"))
          yield* call((config, signal) => slow.invoke("x", { ...config, signal, runName: "slow" })).pipe(
            Effect.timeoutTo({ duration: 50, onSuccess: () => "done", onTimeout: () => "timed out" }),
            Effect.withSpan("bounded")
          )
        }).pipe(Effect.withSpan("run"))
      )
      assert.deepStrictEqual(LangfuseServer.tree(server.observations(), show), [
        [
          "run span DEFAULT",
          [
            ["broken span DEFAULT", ["broken run span ERROR TypeError: no such field, key <redacted>"]],
            ["pause span DEFAULT", ["pause run span DEFAULT"]],
            ["jump span DEFAULT", ["jump run span DEFAULT"]],
            ["given up span DEFAULT", ["given up run span WARNING interrupted"]],
            ["bounded span DEFAULT", ["slow span WARNING interrupted"]]
          ]
        ]
      ])
    })
  )

  it.scopedLive("sees each try of a model once, whoever is told of it twice, and keeps nothing when it is over", () =>
    Effect.gen(function* () {
      class Flaky extends FakeListChatModel {
        private calls = 0
        override async *_streamResponseChunks(...args: Parameters<FakeListChatModel["_streamResponseChunks"]>) {
          this.calls++
          yield* super._streamResponseChunks(...args)
          if (this.calls < 3) throw new Error("503 Service Unavailable")
        }
      }
      const model = new Flaky({ responses: ["ok then"] })
      const read = async (callbacks: Array<object>) => {
        // told by the call's callbacks, and once more: as when a graph has been given the handler, too
        for await (const _ of await model.stream("q", { callbacks: [...callbacks, ...callbacks] }));
        return "read"
      }
      const agent = Agent.make("reader", (_: string) => call(({ callbacks }) => read(callbacks)), {
        retry: { base: 1, jitter: false }
      })
      const empty = new FakeListChatModel({ responses: ["x"] })
      empty._generate = async () => ({ generations: [] }) // an answer without anything in it
      let handler: unknown
      const server = yield* traced(
        Effect.gen(function* () {
          yield* Agent.invoke(agent, "x")
          yield* Effect.exit(call((config) => empty.invoke("q", config)))
          handler = Option.getOrThrow(yield* Langfuse.callbackHandler)
        }).pipe(Effect.withSpan("run"))
      )
      const down = "Error: 503 Service Unavailable"
      const tries = [
        [`attempt span WARNING ${down}; next try in 1ms`, [`Flaky generation ERROR ${down}`]],
        [`attempt span WARNING ${down}; next try in 2ms`, [`Flaky generation ERROR ${down}`]],
        ["attempt span DEFAULT", ["Flaky generation DEFAULT"]]
      ]
      assert.deepStrictEqual(LangfuseServer.tree(server.observations(), show), [
        [
          "run span DEFAULT",
          [
            ["agent_reader agent DEFAULT", [["retry_execution chain DEFAULT", tries]]],
            "FakeListChatModel generation DEFAULT"
          ]
        ]
      ])
      assert.strictEqual(Object(handler).kept, 0)
    })
  )

  it.effect("is none without a layer", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* Langfuse.callbackHandler, Option.none())
      yield* Langfuse.flush
    })
  )
})
