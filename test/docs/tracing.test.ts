/**
 * The vocabulary of docs/tracing.md is what a program that makes every kind of observation makes: names, types, metadata keys and their types,
 * scores. And the tree drawn there is the tree of the program below.
 */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as RateLimiter from "@effect/experimental/RateLimiter"
import { assert, describe, it } from "@effect/vitest"
import { Annotation, END, START, StateGraph } from "@langchain/langgraph"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import * as Agent from "../../src/agent/Agent.js"
import * as Swarm from "../../src/agent/Swarm.js"
import * as Checkpointer from "../../src/checkpoint/Checkpointer.js"
import * as CheckpointManager from "../../src/checkpoint/CheckpointManager.js"
import * as Graph from "../../src/graph/Graph.js"
import * as Langfuse from "../../src/langfuse/Langfuse.js"
import * as Observation from "../../src/observability/Observation.js"
import * as Trace from "../../src/observability/Trace.js"
import * as Bulkhead from "../../src/resilience/Bulkhead.js"
import * as Chaos from "../../src/resilience/Chaos.js"
import * as CircuitBreaker from "../../src/resilience/CircuitBreaker.js"
import * as Fallback from "../../src/resilience/Fallback.js"
import * as Hedge from "../../src/resilience/Hedge.js"
import * as RateLimit from "../../src/resilience/RateLimit.js"
import * as RetryBudget from "../../src/resilience/RetryBudget.js"
import * as RetryPolicy from "../../src/resilience/RetryPolicy.js"
import * as StaleCache from "../../src/resilience/StaleCache.js"
import * as Testing from "../../src/testing.js"
import { root } from "../package/built.js"
import { finish, others, permanent } from "../resilience/support.js"
import * as LangfuseServer from "../support/LangfuseServer.js"

const documentation = readFileSync(join(root, "docs/tracing.md"), "utf8")

const down = (): Error => new Error("503 Service Unavailable")

/** A desk whose prices fail in three ways, and whose news are never to be had. */
const desk = () => {
  const cached = Agent.make("cached", (ticker: string) => Effect.succeed(`${ticker}: 41`), {
    retry: false,
    timeout: false,
    circuitBreaker: false
  })
  const prices = Agent.make("prices", Testing.outcomes(Effect.fail(down()), Effect.never, Effect.fail(down())), {
    timeout: "2 seconds",
    retry: { maxAttempts: 4, base: "1 second", jitter: false },
    circuitBreaker: { failureThreshold: 3, resetAfter: "1 minute" }
  }).pipe(Agent.orElse(cached))
  const rates = Agent.make("rates", (_: string) => Effect.succeed(4.25))
  const news = Agent.make("news", Testing.outcomes(Effect.fail(permanent())))
  return { prices, swarm: Swarm.make("desk", { required: { prices, rates }, optional: { news } }) }
}

/** What the swarm above leaves out: bounds, a probe that closes a breaker, a swarm that cannot bear its losses. */
const rest = Effect.gen(function* () {
  const probed = Agent.make("probed", Testing.outcomes(Effect.fail(down()), Effect.succeed(1)), {
    deadline: "1 minute",
    bulkhead: { concurrency: 4 },
    rateLimit: { limit: 60, window: "1 minute" },
    hedge: { after: "1 hour" },
    retry: { maxAttempts: 2, base: "5 seconds", jitter: false },
    circuitBreaker: { failureThreshold: 1, resetAfter: "2 seconds", successThreshold: 1 }
  })
  yield* Agent.invoke(probed, "x")
  const lost = Agent.make("lost", Testing.outcomes(Effect.fail(permanent())))
  yield* Effect.exit(Swarm.make("lost_swarm", { required: { lost } }).run("x"))
})

/** Breakers whose store is away. */
const unshared = Effect.gen(function* () {
  const away = () => Effect.fail(new CircuitBreaker.CircuitBreakerStoreError({ operation: "read", message: "away" }))
  const store = Layer.succeed(CircuitBreaker.Store, { read: away, write: away, lease: away, settle: away })
  const registry = yield* Layer.build(Layer.provide(CircuitBreaker.layerRegistryShared(), store))
  Context.get(registry, CircuitBreaker.Registry).get("shared")
  yield* others
}).pipe(Effect.scoped, Logger.withMinimumLogLevel(LogLevel.None))

/** The operators that say something of whichever observation is in force. */
const operators = Effect.gen(function* () {
  const bulkhead = Bulkhead.make("narrow", { concurrency: 1, queue: 1 })
  const slow = Effect.sleep("1 second")
  yield* Effect.replicateEffect(Effect.exit(Bulkhead.protect(slow, bulkhead)), 3, { concurrency: "unbounded" })
  const limited = { key: "model", limit: 1, window: "1 second" } as const
  yield* Effect.replicateEffect(RateLimit.limit(Effect.void, { ...limited, maxWait: "1 minute" }), 2)
  yield* Effect.exit(RateLimit.limit(Effect.void, limited))
  yield* Effect.provide(RateLimit.limit(Effect.void, limited), brokenLimiter)
  const hedge = Hedge.make("tail", { after: 10, budget: RetryBudget.unlimited })
  yield* Hedge.hedge(slow, hedge)
  const cache = StaleCache.make<string>()
  yield* Fallback.orStale(Effect.succeed("good"), cache, "key")
  yield* Fallback.orStale(Effect.fail(down()), cache, "key")
  yield* Effect.fail(down()).pipe(Fallback.when("transient", () => Effect.void))
  yield* Effect.fail(down()).pipe(Fallback.orElse(() => Effect.void))
  yield* Effect.exit(RetryPolicy.retry(Effect.fail(down()), {})).pipe(
    Effect.provide(RetryBudget.layer({ ratio: 0, minPerSecond: 0 }))
  )
  yield* Effect.exit(Chaos.inject(Effect.void, "any")).pipe(Effect.provide(Chaos.layer({ rate: 1, faults: ["error"] })))
}).pipe(Effect.withSpan("operators"), Effect.provide(RateLimit.layerMemory))

const brokenLimiter = Layer.provide(
  RateLimiter.layer,
  Layer.succeed(RateLimiter.RateLimiterStore, {
    fixedWindow: () => Effect.fail(new RateLimiter.RateLimitStoreError({ message: "down" })),
    tokenBucket: () => Effect.fail(new RateLimiter.RateLimitStoreError({ message: "down" }))
  })
)

const stored = Effect.gen(function* () {
  const manager = yield* CheckpointManager.CheckpointManager
  const state = { workflowId: "w1", phase: "collect", schema: Schema.Number }
  yield* manager.save({ ...state, state: 1, version: "2" })
  yield* manager.load(state)
  yield* manager.resume("w1", Schema.Number)

  const checkpointer = yield* Checkpointer.Checkpointer
  const State = Annotation.Root({ text: Annotation<string> })
  const node = yield* Graph.node("upper", ({ text }: typeof State.State) =>
    Agent.once("upper", Effect.succeed({ text: text.toUpperCase() }))
  )
  const graph = new StateGraph(State)
    .addNode("upper", node)
    .addEdge(START, "upper")
    .addEdge("upper", END)
    .compile({ checkpointer })
  yield* Graph.run(graph, { text: "a" }, { threadId: "t1" })
  yield* Graph.state(graph, "t1")
})

const storage = Layer.merge(Checkpointer.layer(), CheckpointManager.layer()).pipe(
  Layer.provide(Testing.layerDatabase),
  Layer.orDie
)

const swarms: ReadonlySet<string> = new Set(["desk", "lost_swarm"])

/** The name as the tables have it. */
const generic = (name: string): string =>
  name === "operators"
    ? "<any>"
    : swarms.has(name)
      ? "<swarm>"
      : name.replace(/^agent_.*/, "agent_<id>").replace(/^node_.*/, "node_<name>")

/** The rows of the table that has these heads. */
const table = (...heads: ReadonlyArray<string>): ReadonlyArray<ReadonlyArray<string>> => {
  const lines = documentation.split("\n")
  const first = lines.indexOf(`| ${heads.join(" | ")} |`)
  assert.isAtLeast(first, 0, `there is a table of ${heads.join(", ")}`)
  const rows: Array<ReadonlyArray<string>> = []
  for (const line of lines.slice(first + 2)) {
    if (!line.startsWith("| ")) break
    rows.push(
      line
        .slice(2, -2)
        .split(" | ")
        .map((cell) => cell.replace(/^`(.*)`$/, "$1"))
    )
  }
  return rows
}

const sorted = (lines: Iterable<string>): ReadonlyArray<string> => [...new Set(lines)].sort()

const kindOf = (value: unknown): string =>
  Array.isArray(value) ? "list" : typeof value === "string" ? "text" : typeof value

/** Makes every kind of observation, under a recorder on top of another tracing. */
const made = <E>(tracing: Layer.Layer<never, E>) =>
  Effect.gen(function* () {
    yield* Effect.flatten(finish(Effect.all([desk().swarm.run("AAPL"), rest, operators], { discard: true })))
    yield* unshared
    yield* stored
  }).pipe(
    Observation.span("root"),
    Effect.zipRight(Effect.flatMap(Trace.Recorder, (recorder) => recorder.spans)),
    Effect.provide(Testing.layer),
    Effect.provide(tracing),
    Effect.provide(storage) // around the recorder: opening a database is Effect's own spans
  )

/** Texts that are JSON are what they say, as Langfuse shows them. */
const shown = (value: unknown): unknown => {
  if (typeof value !== "string") return value
  try {
    return JSON.parse(value)
  } catch {
    return value
  }
}

/** That the vocabulary is what occurs, and no more. */
const assertVocabulary = (spans: ReadonlyArray<Trace.SpanData>): void => {
  assert.deepStrictEqual(
    sorted(spans.filter(({ name }) => name !== "operators").map(({ name, type }) => `${generic(name)} ${type}`)),
    sorted(table("observation", "type", "when", "level").map(([name, type]) => `${name} ${type}`))
  )
  assert.deepStrictEqual(
    sorted(
      spans.flatMap(({ metadata, name }) =>
        Object.entries(metadata).map(([key, value]) => `${generic(name)} ${key} ${kindOf(value)}`)
      )
    ),
    sorted(
      table("observation", "key", "type", "meaning").map(
        ([name, key, type]) => `${name} ${key} ${type?.split(/[ ,]/)[0]}`
      )
    )
  )
  assert.deepStrictEqual(
    sorted(spans.flatMap(({ name, scores }) => scores.map((score) => `${score.name} ${generic(name)}`))),
    sorted(table("score", "on", "value").map(([score, name]) => `${score} ${name}`))
  )
}

/** That each kind of end has the level that the tables say. */
const assertLevels = (spans: ReadonlyArray<Trace.SpanData>): void => {
  const levels = (name: string) => sorted(spans.filter((span) => generic(span.name) === name).map(({ level }) => level))
  assert.deepStrictEqual(levels("agent_<id>"), ["DEFAULT", "ERROR", "WARNING"])
  assert.deepStrictEqual(levels("retry_execution"), ["DEFAULT", "ERROR"])
  assert.deepStrictEqual(levels("attempt"), ["DEFAULT", "ERROR", "WARNING"])
  assert.deepStrictEqual(levels("circuit_breaker_transition"), ["DEFAULT", "WARNING"])
  assert.deepStrictEqual(levels("<swarm>"), ["ERROR", "WARNING"])
  const found = (errorType: string) =>
    spans.some(({ metadata, name }) => name === "attempt" && metadata["error_type"] === errorType)
  assert.isTrue(found("AgentTimeoutError") && found("CircuitBreakerOpenError"))
}

describe("docs/tracing.md", () => {
  it.scoped(
    "names every observation, type, key, score and level that occurs, and no other; and each is in its place at Langfuse, with all that it says",
    () =>
      Effect.gen(function* () {
        const server = yield* LangfuseServer.make()
        yield* TestClock.setTime(1_767_225_600_000)
        const spans = yield* made(
          Langfuse.layerWith({
            publicKey: server.publicKey,
            secretKey: Redacted.make(server.secretKey),
            baseUrl: server.url,
            outbox: false
          })
        )
        assert.deepStrictEqual(server.complaints(), [])
        const names = new Map(spans.map(({ name, spanId }) => [spanId, name]))
        // ids stand for places: the same parents make the same tree
        const recorded = spans.map((span) => ({
          id: span.spanId,
          parentId: span.parentId,
          under: names.get(span.parentId ?? ""),
          name: span.name,
          type: span.type,
          level: span.level,
          statusMessage: span.statusMessage,
          input: shown(span.input),
          output: shown(span.output),
          metadata: Object.fromEntries(Object.entries(span.metadata).map(([key, value]) => [key, shown(value)]))
        }))
        const arrived = server.observations().map((row) => ({
          id: row.id,
          parentId: row.parentId,
          under: names.get(row.parentId ?? ""),
          name: row.name,
          type: row.type,
          level: row.level,
          statusMessage: row.statusMessage,
          input: row.input,
          output: row.output,
          metadata: row.metadata
        }))
        const byId = (a: { readonly id: string }, b: { readonly id: string }) => (a.id < b.id ? -1 : 1)
        assert.deepStrictEqual(arrived.sort(byId), recorded.sort(byId))
        assert.sameDeepMembers(
          server.scores().map(({ name, observationId, value }) => ({ name, observationId, value })),
          spans.flatMap(({ scores, spanId }) =>
            scores.map(({ name, value }) => ({ name, observationId: spanId, value: value as string | number }))
          )
        )
        const kinds = table("observation", "type", "when", "level").map(([name, type]) => `${name} ${type}`)
        assert.includeMembers(
          arrived.map(({ name, type }) => `${generic(name)} ${type}`),
          kinds
        )
        const resumed = arrived.find(({ name }) => name === "resume_from_checkpoint")
        assert.deepInclude(resumed?.metadata, {
          interrupted_trace_id: spans[0]?.traceId,
          interrupted_observation_id: spans[0]?.spanId
        })
        const inside = spans.filter(({ name }) => name !== "root")
        assertVocabulary(inside)
        assertLevels(inside)
      }),
    120_000
  )

  it.effect("draws the tree of a run that failed as it is drawn", () =>
    Effect.gen(function* () {
      const { swarm } = desk()
      const spans = yield* Effect.flatten(
        finish(
          swarm
            .run("AAPL")
            .pipe(
              Effect.zipRight(Effect.flatMap(Trace.Recorder, (recorder) => recorder.spans)),
              Effect.provide(Testing.layer)
            )
        )
      )
      const drawn = Trace.render(spans, { color: false, width: 130 })
      assert.include(documentation, `\`\`\`text\n${drawn}\n\`\`\``, drawn)
    })
  )
})
