/**
 * A real chat client under our operators, against a server that does all that servers do. The client's own retries are off: each attempt that
 * the server counts is one of ours.
 */
import { assert, describe, it } from "@effect/vitest"
import { ChatOpenAI } from "@langchain/openai"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { pipe } from "effect/Function"
import * as Bulkhead from "../../src/resilience/Bulkhead.js"
import * as CircuitBreaker from "../../src/resilience/CircuitBreaker.js"
import * as Failure from "../../src/resilience/Failure.js"
import * as Fallback from "../../src/resilience/Fallback.js"
import * as Hedge from "../../src/resilience/Hedge.js"
import * as RetryBudget from "../../src/resilience/RetryBudget.js"
import * as RetryPolicy from "../../src/resilience/RetryPolicy.js"
import * as StaleCache from "../../src/resilience/StaleCache.js"
import * as Timeout from "../../src/resilience/Timeout.js"
import * as Server from "./chatServer.js"

const client = (url: string, model = "small") =>
  new ChatOpenAI({ model, apiKey: "none", maxRetries: 0, configuration: { baseURL: url } })

const ask = (url: string, model?: string): Effect.Effect<string, unknown> =>
  Effect.tryPromise({
    try: (signal) => client(url, model).invoke("Why is the sky blue?", { signal }),
    catch: (error) => error
  }).pipe(Effect.map((message) => String(message.content)))

/** A stream that ends without a reason to is half an answer, and no answer. */
const askStreaming = (url: string): Effect.Effect<string, unknown> =>
  Effect.tryPromise({
    try: async (signal) => {
      let text = ""
      let finished = false
      for await (const chunk of await client(url).stream("Why is the sky blue?", { signal })) {
        text += String(chunk.content)
        finished ||= typeof chunk.response_metadata["finish_reason"] === "string"
      }
      if (!finished) throw new SyntaxError("the stream ended in the middle of the answer")
      return text
    },
    catch: (error) => error
  })

const policy = RetryPolicy.make({
  maxAttempts: 3,
  base: "10 millis",
  jitter: false,
  byClass: { "rate-limited": { maxAttempts: 4 }, overloaded: { maxAttempts: 2 } }
})

const failureOf = (exit: Exit.Exit<unknown, unknown>): Failure.Failure | undefined =>
  exit._tag === "Failure" ? Failure.fromCause(exit.cause) : undefined

const text = (exit: Exit.Exit<unknown, unknown>): unknown => (exit._tag === "Success" ? exit.value : undefined)

describe("a chat client under a retry", () => {
  const quick = { maxAttempts: 3, base: "10 millis", jitter: false } as const
  const good = { text: "the answer" }
  const rows: ReadonlyArray<
    readonly [
      what: string,
      server: readonly [Server.Behaviour, ...ReadonlyArray<Server.Behaviour>],
      attempts: number,
      end: { readonly text: string } | Failure.Failure
    ]
  > = [
    ["an answer", [Server.answer()], 1, good],
    ["500, twice", [Server.refuse(500), Server.refuse(500), Server.answer()], 3, good],
    ["500 for good", [Server.refuse(500)], 3, { kind: "transient", reason: "http 500" }],
    [
      "503, as often as the class of an overload may be tried",
      [Server.refuse(503)],
      2,
      { kind: "transient", reason: "http 503" }
    ],
    ["529, as often", [Server.refuse(529)], 2, { kind: "transient", reason: "http 529" }],
    ["529, once", [Server.refuse(529), Server.answer()], 2, good],
    [
      "429, as often as its class may be tried",
      [Server.refuse(429, { "retry-after-ms": "20" })],
      4,
      { kind: "rate-limited", reason: "http 429", retryAfterMillis: 20 }
    ],
    ["401", [Server.refuse(401)], 1, { kind: "permanent", reason: "authentication" }],
    [
      "a used-up quota, which is a 429",
      [Server.refuse(429, {}, { code: "insufficient_quota" })],
      1,
      { kind: "permanent", reason: "quota used up" }
    ],
    ["a connection that is reset", [Server.reset, Server.answer()], 2, good],
    ["connections that are reset for good", [Server.reset], 3, { kind: "transient", reason: "connection" }],
    ["JSON that ends in the middle, once", [Server.truncate, Server.answer()], 2, good],
    [
      "JSON that ends in the middle, for good",
      [Server.truncate],
      2,
      { kind: "transient", reason: "decode", maxRetries: 1 }
    ],
    ["an answer that is cut off", [Server.cut, Server.answer()], 2, good]
  ]
  for (const [what, behaviours, attempts, end] of rows) {
    it.scopedLive(what, () =>
      Effect.gen(function* () {
        const server = yield* Server.make(...behaviours)
        const exit = yield* Effect.exit(RetryPolicy.retry(ask(server.url), policy))
        assert.deepStrictEqual(failureOf(exit) ?? { text: text(exit) }, end)
        assert.strictEqual(server.visits.length, attempts)
      }).pipe(Effect.provide(RetryBudget.layerUnlimited))
    )
  }

  for (const [what, headers, atLeast] of [
    ["in milliseconds", { "retry-after-ms": "150" }, 150],
    ["in seconds", { "retry-after": "1" }, 1000]
  ] as const) {
    it.scopedLive(`429 with Retry-After ${what}: the next attempt comes no earlier`, () =>
      Effect.gen(function* () {
        const server = yield* Server.make(Server.refuse(429, headers), Server.answer())
        assert.strictEqual(yield* ask(server.url).pipe(RetryPolicy.retry(policy)), "the answer")
        const [first, second] = server.visits
        assert.strictEqual(server.visits.length, 2)
        assert.isAtLeast((second?.at ?? 0) - (first?.at ?? 0), atLeast - 2)
      })
    )
  }

  const halves: ReadonlyArray<
    readonly [
      what: string,
      server: readonly [Server.Behaviour, ...ReadonlyArray<Server.Behaviour>],
      attempts: number,
      end: string | undefined
    ]
  > = [
    ["is cut, once", [Server.streamCut, Server.streamed], 2, "the answer"],
    ["ends without a reason, once", [Server.streamHalf, Server.streamed], 2, "the answer"],
    ["ends without a reason, for good", [Server.streamHalf], 2, undefined],
    ["stops, once", [Server.streamHang, Server.streamed], 2, "the answer"]
  ]
  for (const [what, half, attempts, end] of halves) {
    it.scopedLive(`half a streamed answer that ${what}`, () =>
      Effect.gen(function* () {
        const server = yield* Server.make(...half)
        const exit = yield* askStreaming(server.url).pipe(
          Timeout.attempt("500 millis"),
          RetryPolicy.retry(quick),
          Effect.exit
        )
        assert.strictEqual(text(exit), end)
        assert.strictEqual(server.visits.length, attempts)
      })
    )
  }
})

describe("a chat client under the other operators", () => {
  const quick = { maxAttempts: 3, base: "10 millis", jitter: false } as const

  it.scopedLive("a hang is ended by the attempt's timeout, told to the server, and tried again", () =>
    Effect.gen(function* () {
      const server = yield* Server.make(Server.hang, Server.answer())
      const answer = yield* ask(server.url).pipe(Timeout.attempt("300 millis"), RetryPolicy.retry(quick))
      assert.strictEqual(answer, "the answer")
      assert.deepStrictEqual(
        server.visits.map(({ left }) => left),
        [true, false]
      )
    })
  )

  it.scopedLive("a deadline ends the attempts and their pauses", () =>
    Effect.gen(function* () {
      const server = yield* Server.make(Server.hang)
      const error = yield* ask(server.url).pipe(
        Timeout.attempt("300 millis"),
        RetryPolicy.retry({ ...quick, maxAttempts: 20 }),
        Timeout.deadline("1 second"),
        Effect.flip
      )
      assert.instanceOf(error, Timeout.AgentTimeoutError)
      assert.strictEqual(error.kind, "deadline")
      // a busy machine makes fewer of the four that there is time for
      assert.isAtLeast(server.visits.length, 2)
      assert.isAtMost(server.visits.length, 4)
    })
  )

  it.scopedLive("a breaker that opens ends the retrying, and spares the server", () =>
    Effect.gen(function* () {
      const server = yield* Server.make(Server.refuse(503))
      const breaker = CircuitBreaker.make("model", { failureThreshold: 2 })
      const call = ask(server.url).pipe(
        CircuitBreaker.protect(breaker),
        RetryPolicy.retry({ ...quick, maxAttempts: 5 }),
        Fallback.onCircuitOpen(() => Effect.succeed("later"))
      )
      assert.strictEqual(yield* call, "later")
      assert.strictEqual(yield* call, "later")
      assert.strictEqual(server.visits.length, 2)
    })
  )

  it.scopedLive("a prompt too long and a filtered one go to the model that is there for them", () =>
    Effect.gen(function* () {
      const server = yield* Server.make(
        Server.refuse(400, {}, { code: "context_length_exceeded", type: "invalid_request_error" }),
        Server.answer("from the long one"),
        Server.refuse(400, {}, { code: "content_filter" }),
        Server.answer("from the other one")
      )
      const careful = ask(server.url).pipe(
        RetryPolicy.retry(quick),
        Fallback.onContextLength(() => ask(server.url, "long")),
        Fallback.onContentFilter(() => ask(server.url, "other"))
      )
      assert.strictEqual(yield* careful, "from the long one")
      assert.strictEqual(yield* careful, "from the other one")
      assert.deepStrictEqual(
        server.visits.map(({ model }) => model),
        ["small", "long", "small", "other"]
      )
    })
  )

  it.scopedLive("the last good answer serves when the server is down", () =>
    Effect.gen(function* () {
      const server = yield* Server.make(Server.answer(), Server.refuse(500))
      const cache = StaleCache.make<string>()
      const call = pipe(ask(server.url), RetryPolicy.retry(quick), Fallback.orStale(cache, "sky"))
      assert.isFalse((yield* call).stale)
      const stale = yield* call
      assert.deepStrictEqual([stale.value, stale.stale], ["the answer", true])
      assert.strictEqual(server.visits.length, 4)
    })
  )

  it.scopedLive("an outage reaches the server no more often than the budget lets it", () =>
    Effect.gen(function* () {
      const server = yield* Server.make(Server.refuse(500))
      const call = Effect.exit(RetryPolicy.retry(ask(server.url), quick))
      yield* Effect.replicateEffect(call, 20, { concurrency: 5 })
      assert.strictEqual(server.visits.length, 24)
    }).pipe(Effect.provide(RetryBudget.layer({ ratio: 0.2, minPerSecond: 0 })))
  )

  it.scopedLive("a hedge answers for an attempt that hangs, whose connection is closed", () =>
    Effect.gen(function* () {
      const server = yield* Server.make(Server.hang, Server.answer())
      const hedge = Hedge.make("model", { after: "100 millis", budget: RetryBudget.unlimited })
      assert.strictEqual(yield* ask(server.url).pipe(Hedge.hedge(hedge)), "the answer")
      yield* Effect.sleep("100 millis")
      assert.deepStrictEqual(
        server.visits.map(({ left }) => left),
        [true, false]
      )
    })
  )

  it.scopedLive("a bulkhead keeps the server from more at once than it may have", () =>
    Effect.gen(function* () {
      const server = yield* Server.make(Server.late(30))
      const bulkhead = Bulkhead.make("model", { concurrency: 2, queue: 3 })
      const exits = yield* Effect.replicateEffect(Effect.exit(ask(server.url).pipe(Bulkhead.protect(bulkhead))), 7, {
        concurrency: "unbounded"
      })
      const rejected = exits.filter(
        (exit) => exit._tag === "Failure" && Cause.squash(exit.cause) instanceof Bulkhead.BulkheadFullError
      )
      assert.strictEqual(rejected.length, 2)
      assert.strictEqual(server.visits.length, 5)
      assert.strictEqual(server.mostAtOnce(), 2)
    })
  )

  it.scopedLive("an interruption during a pause ends it, and no further attempt comes", () =>
    Effect.gen(function* () {
      const server = yield* Server.make(Server.refuse(429, { "retry-after": "60" }))
      const fiber = yield* Effect.fork(ask(server.url).pipe(RetryPolicy.retry(quick)))
      while (server.visits.length === 0) yield* Effect.sleep("5 millis")
      yield* Effect.sleep("50 millis")
      // a pause that had to be waited out would take longer than a test may
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(server.visits.length, 1)
    })
  )
})
