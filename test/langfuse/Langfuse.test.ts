import { assert, describe, it } from "@effect/vitest"
import { FakeListChatModel } from "@langchain/core/utils/testing"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Langfuse from "../../src/langfuse/Langfuse.js"
import * as Observation from "../../src/observability/Observation.js"
import * as Trace from "../../src/observability/Trace.js"
import * as LangfuseServer from "../support/LangfuseServer.js"

class QuoteError extends Data.TaggedError("QuoteError")<{ readonly message: string }> {}
/** A tagged error without a message, as careless code makes them. */
class Bare extends Data.TaggedError("Bare")<{ readonly ticker: string }> {}

const optionsOf = (server: LangfuseServer.LangfuseServer): Langfuse.Options => ({
  publicKey: server.publicKey,
  secretKey: Redacted.make(server.secretKey),
  baseUrl: server.url
})

/** Runs a program whose spans go to a server, and gives the server when all is delivered. */
const traced = <A, E>(program: Effect.Effect<A, E>, options: Partial<Langfuse.Options> = {}) =>
  Effect.gen(function* () {
    const server = yield* LangfuseServer.make()
    yield* Effect.exit(Effect.provide(program, Langfuse.layerWith({ ...optionsOf(server), ...options })))
    assert.deepStrictEqual(server.complaints(), [])
    return server
  })

describe("Langfuse: the tree", () => {
  it.scopedLive("arrives once and whole, with types, levels, messages and metadata", () =>
    Effect.gen(function* () {
      const attempt = (n: number, result: Effect.Effect<number, QuoteError>) =>
        result.pipe(Observation.span("attempt", { metadata: { attempt: n, max_attempts: 3, circuit_state: "closed" } }))
      const agent = attempt(1, new QuoteError({ message: "no quote" })).pipe(
        Effect.orElse(() => attempt(2, Effect.succeed(7))),
        Effect.tap((output) => Observation.annotate({ output, metadata: { attempts_needed: 2 } })),
        Observation.span("retry_execution"),
        Observation.span("agent_technical", { type: "agent", input: { ticker: "AAPL" } })
      )
      const program = agent.pipe(
        Effect.zipRight(Observation.event("circuit_breaker_transition", { metadata: { from: "closed", to: "open" } })),
        Effect.zipRight(Effect.exit(Effect.withSpan(new Bare({ ticker: "X" }), "plain failure"))),
        Effect.zipRight(Effect.exit(Effect.withSpan(Effect.interrupt, "interrupted one"))),
        Effect.zipRight(
          Effect.exit(
            Effect.withSpan(Effect.fail(Object.assign(new Error("ask"), { name: "GraphInterrupt" })), "pause")
          )
        ),
        Effect.zipRight(Effect.exit(Effect.withSpan(Effect.die(new RangeError("off the end")), "defect"))),
        Effect.withSpan("research_swarm")
      )
      const server = yield* traced(program)
      const show = (it: LangfuseServer.StoredObservation) => [it.name, it.type, it.level, it.statusMessage, it.metadata]
      assert.deepStrictEqual(LangfuseServer.tree(server.observations(), show), [
        [
          ["research_swarm", "span", "DEFAULT", undefined, {}],
          [
            [
              ["agent_technical", "agent", "DEFAULT", undefined, {}],
              [
                [
                  ["retry_execution", "span", "DEFAULT", undefined, { attempts_needed: 2 }],
                  [
                    [
                      "attempt",
                      "span",
                      "ERROR",
                      "QuoteError: no quote",
                      { attempt: 1, max_attempts: 3, circuit_state: "closed" }
                    ],
                    ["attempt", "span", "DEFAULT", undefined, { attempt: 2, max_attempts: 3, circuit_state: "closed" }]
                  ]
                ]
              ]
            ],
            ["circuit_breaker_transition", "event", "DEFAULT", undefined, { from: "closed", to: "open" }],
            ["plain failure", "span", "ERROR", 'Bare: {"ticker":"X"}', {}],
            ["interrupted one", "span", "WARNING", "interrupted", {}],
            ["pause", "span", "DEFAULT", undefined, {}],
            ["defect", "span", "ERROR", "RangeError: off the end", {}]
          ]
        ]
      ])
      const agentRow = server.observations().find((it) => it.name === "agent_technical")
      assert.deepStrictEqual(agentRow?.input, { ticker: "AAPL" })
      assert.strictEqual(server.observations().find((it) => it.name === "retry_execution")?.output, 7)
    })
  )

  it.scopedLive("carries the trace's attributes on every observation, LangChain's too", () =>
    Effect.gen(function* () {
      const ask = Effect.flatMap(Langfuse.callbackHandler, (handler) =>
        Effect.promise(() =>
          new FakeListChatModel({ responses: ["a"] }).invoke("q", {
            callbacks: Option.toArray(handler),
            tags: ["model-tag"]
          })
        )
      )
      const server = yield* traced(
        ask.pipe(
          Effect.withSpan("inner"),
          Effect.withSpan("outer"),
          Observation.withTrace({
            name: "research",
            sessionId: "s-1",
            userId: "u-1",
            tags: ["x", "y"],
            metadata: { depth: 2 }
          })
        ),
        { trace: { environment: "ci", release: "r-9", userId: "nobody", tags: ["base"] } }
      )
      const all = server.observations()
      assert.sameMembers(
        all.map((it) => it.name),
        ["outer", "inner", "FakeListChatModel"]
      )
      for (const it of all) {
        assert.deepInclude(it, {
          traceName: "research",
          sessionId: "s-1",
          userId: "u-1",
          tags: ["x", "y"],
          environment: "ci",
          release: "r-9"
        })
        assert.strictEqual(it.attributes["langfuse.trace.metadata.depth"], 2)
      }
    })
  )

  it.scopedLive("sends scores of each kind to the observation that was scored", () =>
    Effect.gen(function* () {
      const server = yield* traced(
        Effect.all([
          Observation.score({ name: "retry_attempts", value: 2 }),
          Observation.score({ name: "degraded", value: true, comment: "narrative missing" }),
          Observation.score({ name: "verdict", value: "buy" })
        ]).pipe(Observation.span("swarm"))
      )
      const [swarm] = server.observations()
      const ids = { traceId: swarm?.traceId ?? "", observationId: swarm?.id ?? "" }
      const scores = server.scores().map(({ id: _, ...score }) => score)
      assert.deepStrictEqual(scores, [
        { ...ids, name: "retry_attempts", value: 2, dataType: "NUMERIC", comment: undefined },
        { ...ids, name: "degraded", value: 1, dataType: "BOOLEAN", comment: "narrative missing" },
        { ...ids, name: "verdict", value: "buy", dataType: "CATEGORICAL", comment: undefined }
      ])
    })
  )

  it.scopedLive("scores the observation, its trace or its session; a session that nobody named is the trace", () =>
    Effect.gen(function* () {
      const all = (name: string) =>
        Effect.forEach(["observation", "trace", "session"] as const, (on) =>
          Observation.score({ name, value: 0.5, on, configId: "config-1", metadata: { by: "judge", token: "abc" } })
        )
      const server = yield* traced(
        Effect.zipRight(
          Effect.withSpan(all("named"), "inner").pipe(
            Effect.withSpan("outer"),
            Observation.withTrace({ sessionId: "s-1" })
          ),
          Effect.withSpan(all("bare"), "bare")
        )
      )
      const idsOf = (name: string) => {
        const row = server.observations().find((it) => it.name === name)
        return { traceId: row?.traceId, observationId: row?.id }
      }
      const of = (name: string) =>
        server
          .scores()
          .filter((score) => score.name === name)
          .map(({ observationId, sessionId, traceId }) => ({ observationId, sessionId, traceId }))
      const inner = { ...idsOf("inner"), sessionId: undefined }
      assert.deepStrictEqual(of("named"), [
        inner,
        { ...inner, observationId: undefined },
        { observationId: undefined, sessionId: "s-1", traceId: undefined }
      ])
      const bare = { ...idsOf("bare"), sessionId: undefined }
      assert.deepStrictEqual(of("bare"), [
        bare,
        { ...bare, observationId: undefined },
        { ...bare, observationId: undefined }
      ])
      assert.deepInclude(server.scores()[0], { configId: "config-1", metadata: { by: "judge", token: "<redacted>" } })
    })
  )

  it.scopedLive("sends scores as the program wants them, if at all, and scores what is answered", () =>
    Effect.gen(function* () {
      const program = Effect.succeed({ sources: 2, text: "x" }).pipe(
        Observation.scored(({ sources, text }) => [
          { name: "sources", value: sources },
          { name: "text", value: text },
          { name: "broken", value: 0 }
        ]),
        Effect.withSpan("answer")
      )
      const server = yield* traced(program, {
        scores: (score) => {
          if (score.name === "broken") throw new Error("no")
          return score.name === "text" ? undefined : { ...score, name: "mine", configId: "c-1", comment: "set" }
        }
      })
      assert.deepStrictEqual(
        server.scores().map(({ comment, configId, name, value }) => ({ comment, configId, name, value })),
        [
          { comment: "set", configId: "c-1", name: "mine", value: 2 },
          { comment: undefined, configId: undefined, name: "broken", value: 0 }
        ]
      )
    })
  )

  it.scopedLive("says of a generation its model, usage, cost and first token", () =>
    Effect.gen(function* () {
      const server = yield* traced(
        Effect.as(Observation.completionStarted, { text: "yes", tokens: 12 }).pipe(
          Observation.generation("ask", {
            model: "gpt-4o-mini",
            modelParameters: { temperature: 0.2 },
            input: "well?",
            answered: ({ text, tokens }) => ({
              model: "gpt-4o-mini-2026",
              output: text,
              usage: { input: 3, output: tokens },
              cost: { total: 0.001 }
            })
          })
        )
      )
      const [row] = server.observations()
      assert.deepInclude(row, { type: "generation", model: "gpt-4o-mini-2026", input: "well?", output: "yes" })
      const said = (name: string) => JSON.parse(String(row?.attributes[`langfuse.observation.${name}`]))
      assert.deepStrictEqual(said("usage_details"), { input: 3, output: 12 })
      assert.deepStrictEqual(said("cost_details"), { total: 0.001 })
      assert.deepStrictEqual(said("model.parameters"), { temperature: 0.2 })
      const first = BigInt(Date.parse(said("completion_start_time"))) * 1_000_000n
      assert.isTrue(first >= (row?.startNanos ?? 0n) - 1_000_000n && first <= (row?.endNanos ?? 0n))
    })
  )

  it.scopedLive("composes with a recorder on top: both see the same spans and scores, once", () =>
    Effect.gen(function* () {
      const server = yield* LangfuseServer.make()
      const spans = yield* Observation.score({ name: "n", value: 1 }).pipe(
        Effect.zipRight(Effect.fail("no")),
        Effect.withSpan("child"),
        Effect.ignore,
        Effect.withSpan("root"),
        Effect.zipRight(Effect.flatMap(Trace.Recorder, (recorder) => recorder.spans)),
        Effect.provide(Trace.layerRecorder().pipe(Layer.provideMerge(Langfuse.layerWith(optionsOf(server)))))
      )
      const rows = server.observations()
      for (const span of spans) {
        const row = rows.find((it) => it.id === span.spanId)
        assert.deepInclude(row, {
          traceId: span.traceId,
          parentId: span.parentId,
          name: span.name,
          level: span.level,
          statusMessage: span.statusMessage
        })
      }
      assert.strictEqual(rows.length, 2)
      assert.strictEqual(spans.length, 2)
      assert.strictEqual(server.scores().length, 1)
      assert.deepStrictEqual(spans[1]?.scores, [{ name: "n", value: 1 }])
    })
  )

  it.scopedLive("loses nothing of a burst that the SDK's own queue would not hold", () =>
    Effect.gen(function* () {
      const server = yield* traced(
        Effect.forEach(Array.from({ length: 6_000 }), () => Effect.withSpan(Effect.void, "one"))
      )
      assert.strictEqual(new Set(server.observations().map((it) => it.id)).size, 6_000)
      assert.strictEqual(server.observations().length, 6_000)
    })
  )
})

describe("Langfuse: privacy", () => {
  it.scopedLive("puts no secret and no path of this machine on the wire", () =>
    Effect.gen(function* () {
      const secrets = ["sk-proj-Abcdefgh12345678", "hunter2hunter2", "swordfish-99", "deep-secret-1"]
      const [key = "", password = "", other = "", wrapped = ""] = secrets
      const server = yield* traced(
        Effect.gen(function* () {
          yield* Observation.annotate({
            input: { apiKey: password, text: `use ${key}`, held: Redacted.make(wrapped) },
            output: [`postgres://ada:${other}@db/x`],
            metadata: { note: `password=${other}`, nested: { secret: password } },
            statusMessage: `Bearer ${key}`
          })
          yield* Effect.annotateCurrentSpan("careless", `api_key=${password}`)
          yield* Effect.exit(Effect.withSpan(Effect.fail(new Error(`401 for ${key}`)), "failure"))
          yield* Effect.exit(Effect.withSpan(Effect.die(new Error(`password: ${other}`)), `span of ${key}`))
          yield* Observation.score({ name: "s", value: "x", comment: `with ${key}` })
          const handler = yield* Langfuse.callbackHandler
          const model = new FakeListChatModel({ responses: [`the key is ${key}`] })
          yield* Effect.promise(() =>
            model.invoke(`{"password":"${password}"}`, { callbacks: Option.toArray(handler) })
          )
        }).pipe(Effect.withSpan("run"))
      )
      assert.strictEqual(server.observations().length, 4)
      const wire = server.bodies().join("\n")
      for (const secret of [...secrets, server.secretKey]) assert.notInclude(wire, secret)
      assert.notInclude(wire, process.cwd())
      assert.notMatch(wire, /stacktrace|at \w+.*:\d+:\d+/)
    })
  )
})
