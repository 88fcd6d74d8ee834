import { assert, describe, it } from "@effect/vitest"
import { type RunnableConfig, RunnableLambda } from "@langchain/core/runnables"
import { FakeListChatModel } from "@langchain/core/utils/testing"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
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
  it.scopedLive("nests each call under the span that made it, with 60 fibers at once that wake each other", () =>
    Effect.gen(function* () {
      const semaphore = Effect.unsafeMakeSemaphore(7)
      const ask = (n: number) =>
        call((config) =>
          new FakeListChatModel({ responses: [`answer ${n}`], sleep: n % 5 }).invoke(`question ${n}`, config)
        ).pipe(
          semaphore.withPermits(1),
          Observation.span(`attempt_${n}`),
          Observation.span(`agent_${n}`, { type: "agent" })
        )
      const server = yield* traced(
        Effect.forEach(
          Array.from({ length: 60 }, (_, n) => n),
          ask,
          { concurrency: "unbounded" }
        ).pipe(Effect.withSpan("swarm"))
      )
      const rows = server.observations()
      assert.strictEqual(rows.length, 181)
      assert.strictEqual(new Set(rows.map((it) => it.id)).size, 181)
      assert.strictEqual(new Set(rows.map((it) => it.traceId)).size, 1)
      for (const row of rows.filter((it) => it.type === "generation")) {
        const [, n] = /answer (\d+)/.exec(JSON.stringify(row.output)) ?? []
        const parent = rows.find((it) => it.id === row.parentId)
        assert.strictEqual(parent?.name, `attempt_${n}`)
        assert.include(JSON.stringify(row.input), `question ${n}`)
      }
    })
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

  it.effect("is none without a layer", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* Langfuse.callbackHandler, Option.none())
      yield* Langfuse.flush
    })
  )
})
