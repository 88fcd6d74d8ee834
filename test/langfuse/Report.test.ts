/** The report's figures are those of what happened, however the observations come, and a source that fails says so. */
import { writeFileSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/TestClock"
import * as TestServices from "effect/TestServices"
import * as fc from "fast-check"
import * as Agent from "../../src/agent/Agent.js"
import * as Swarm from "../../src/agent/Swarm.js"
import { percentiles } from "../../src/langfuse/internal/percentiles.js"
import { Tally } from "../../src/langfuse/internal/reportFigures.js"
import * as reportLangfuse from "../../src/langfuse/internal/reportLangfuse.js"
import * as Langfuse from "../../src/langfuse/Langfuse.js"
import * as Report from "../../src/langfuse/Report.js"
import type { ReportError } from "../../src/langfuse/ReportError.js"
import * as Trace from "../../src/observability/Trace.js"
import * as CircuitBreaker from "../../src/resilience/CircuitBreaker.js"
import * as RetryPolicy from "../../src/resilience/RetryPolicy.js"
import * as Testing from "../../src/testing.js"
import { finish, permanent, transient } from "../resilience/support.js"
import * as TestDatabases from "../support/databases.js"
import * as LangfuseQueries from "../support/LangfuseQueries.js"
import * as LangfuseServer from "../support/LangfuseServer.js"

const down = (): Error => new Error("503 Service Unavailable")

/** A desk whose prices meet two outages and their own open breaker until a fallback answers, and whose news are refused. */
const desk = () => {
  const cached = Agent.make("cached", () => Effect.succeed(41), { retry: false, timeout: false, circuitBreaker: false })
  const prices = Agent.make("prices", Testing.outcomes(Effect.fail(down()), Effect.never, Effect.fail(down())), {
    timeout: "2 seconds",
    retry: { maxAttempts: 4, base: "1 second", jitter: false },
    circuitBreaker: { failureThreshold: 3, resetAfter: "1 minute" }
  }).pipe(Agent.orElse(cached))
  // it takes 3 s, and waits 1 s for its second try
  const rates = Agent.make(
    "rates",
    Testing.outcomes(Effect.fail(transient()), Effect.delay(Effect.succeed(4.25), "3 seconds")),
    { retry: { maxAttempts: 3, base: "1 second", jitter: false }, circuitBreaker: false }
  )
  const news = Agent.make("news", Testing.outcomes(Effect.fail(permanent())), { retry: { maxAttempts: 2 } })
  return Swarm.make("desk", { required: { prices, rates }, optional: { news } })
}

/** An agent that asks another one, and one that has no room for a second call. */
const others = Effect.gen(function* () {
  const inner = Agent.make("inner", Testing.outcomes(Effect.fail(transient())), { retry: false, circuitBreaker: false })
  const outer = Agent.make("outer", () => Effect.orElseSucceed(Agent.invoke(inner, ""), () => "without"))
  yield* Agent.invoke(outer, "")
  const narrow = Agent.make("narrow", () => Effect.delay(Effect.succeed(1), "1 second"), {
    bulkhead: { concurrency: 1, queue: 0 }
  })
  yield* Effect.exit(
    Effect.all([Agent.invoke(narrow, ""), Agent.invoke(narrow, "")], { concurrency: 2, mode: "either" })
  )
  yield* Effect.timeoutOption(
    Agent.invoke(
      Agent.make("slow", () => Effect.never, { timeout: false }),
      ""
    ),
    "1 second"
  )
  const policy = RetryPolicy.make({ maxAttempts: 2, base: "1 second", jitter: false })
  yield* Testing.outcomes(Effect.fail(transient()), Effect.succeed(1))("").pipe(RetryPolicy.retry(policy))
})

/** What the recorder has of all that, which takes less than an hour of the test's clock; the observations may go elsewhere, too. */
const everythingUnder = <A, E, R>(tracing: Layer.Layer<A, E, R>) =>
  Effect.suspend(() => finish(Effect.exit(Effect.zipRight(desk().run("AAPL"), others)))).pipe(
    Effect.zipRight(Effect.flatMap(Trace.Recorder, (recorder) => recorder.spans)),
    // built before the clock moves
    Effect.provide(
      Layer.fresh(CircuitBreaker.layerRegistry).pipe(
        Layer.merge(Layer.fresh(Trace.layerRecorder())),
        Layer.provide(tracing)
      )
    )
  )

/** It is always the same, and so it is done once. */
const everything = Effect.runSync(Effect.cached(everythingUnder(Layer.empty)))

/** The hour of the test's clock. */
const hour: Report.Period = { from: new Date(0), to: new Date(3_600_000) }

const figuresOf = (
  observations: Iterable<Report.Observation>,
  { agent, period = hour }: { readonly agent?: string; readonly period?: Report.Period } = {}
): Report.Figures => {
  const tally = new Tally()
  for (const each of observations) tally.add(each)
  return tally.figures(period, agent)
}

describe("Report: figures", () => {
  it.effect("are those of what happened", () =>
    Effect.gen(function* () {
      const spans = yield* everything
      const report = yield* Report.make({ source: Report.observed(spans), until: hour.to })
      assert.strictEqual(report.observations, spans.length)
      assert.deepStrictEqual(report.calls, {
        total: 7,
        answered: 4,
        failed: 2,
        unfinished: 1,
        availability: 4 / 6
      })
      assert.deepStrictEqual(
        report.agents.map(({ agent, calls }) => [agent, calls.answered, calls.failed, calls.unfinished]),
        [
          ["narrow", 1, 1, 0],
          ["inner", 0, 1, 0],
          ["news", 0, 1, 0],
          ["outer", 1, 0, 0],
          ["prices", 1, 0, 0],
          ["rates", 1, 0, 0],
          ["slow", 0, 0, 1],
          ["cached", 0, 0, 0]
        ]
      )
      // prices: 4 tries, rates 2, retry alone 2; once each: cached, news, inner, outer, narrow; refused: narrow
      assert.deepStrictEqual(report.retry, {
        executions: 9,
        succeeded: 5,
        retried: 3,
        rescued: 2,
        successRate: 2 / 3,
        meanAttempts: 13 / 9
      })
      assert.deepStrictEqual(report.fallback, { asked: 1, answered: 1, rate: 1 / 7 })
      assert.deepStrictEqual(report.degradation, { runs: 1, degraded: 1, failed: 0, levels: [0, 1, 0], rate: 1 })
      assert.deepStrictEqual(report.failures, [
        { agent: "prices", errorType: "Error", attempts: 2, executions: 0, calls: 0 },
        { agent: "inner", errorType: "Error", attempts: 1, executions: 0, calls: 1 },
        { agent: "narrow", errorType: "BulkheadFullError", attempts: 0, executions: 1, calls: 1 },
        { agent: "news", errorType: "Error", attempts: 1, executions: 0, calls: 1 },
        { agent: undefined, errorType: "Error", attempts: 1, executions: 0, calls: 0 },
        { agent: "prices", errorType: "AgentTimeoutError", attempts: 1, executions: 0, calls: 0 },
        { agent: "prices", errorType: "CircuitBreakerOpenError", attempts: 1, executions: 0, calls: 0 },
        { agent: "rates", errorType: "Error", attempts: 1, executions: 0, calls: 0 }
      ])
      // prices: 1 + 2 + 2 + 4 s, its first try fails at once; rates: 1 + 3 s
      assert.deepInclude(report.recovery, { calls: 2, p50: 4, p95: 9, max: 9, mean: 6.5 })
      assert.deepInclude(report.latency, { p50: 0, p95: 9, p99: 9 })
      const [breaker] = report.breakers
      assert.strictEqual(report.breakers.length, 1)
      assert.deepInclude(breaker, {
        breaker: "prices",
        openings: 1,
        reopenings: 0,
        isOpen: true,
        meanSeconds: undefined
      })
      // opened after 5 s, and never asked again
      assert.closeTo(breaker?.openSeconds ?? 0, 3_600 - 5, 1e-6)
    })
  )

  it.effect("are one agent's if one is asked for", () =>
    Effect.gen(function* () {
      const spans = yield* everything
      const prices = figuresOf(spans, { agent: "prices" })
      assert.deepInclude(prices.calls, { total: 1, answered: 1, availability: 1 })
      assert.deepInclude(prices.retry, { executions: 1, retried: 1, rescued: 0, meanAttempts: 4 })
      assert.deepStrictEqual(new Set(prices.failures.map(({ agent }) => agent)), new Set(["prices"]))
      assert.strictEqual(prices.breakers.length, 1)
      assert.strictEqual(prices.degradation.runs, 0)
      // inside of another's call
      assert.deepInclude(figuresOf(spans, { agent: "inner" }).calls, { total: 1, failed: 1, availability: 0 })
      // only ever a fallback
      const cached = figuresOf(spans, { agent: "cached" })
      assert.deepInclude(cached.calls, { total: 0, availability: undefined })
      assert.deepInclude(cached.retry, { executions: 1, succeeded: 1 })
      assert.deepStrictEqual(figuresOf(spans, { agent: "nobody" }).agents, [])
    })
  )

  it.effect("do not depend on order, repetition or how values are written", () =>
    Effect.gen(function* () {
      const spans = yield* everything
      const expected = figuresOf(spans)
      const texts = spans.map((span) => ({
        ...span,
        metadata: Object.fromEntries(
          Object.entries(span.metadata).map(([key, value]) => [
            key,
            typeof value === "string" || value === undefined ? value : JSON.stringify(value)
          ])
        )
      }))
      assert.deepStrictEqual(figuresOf(texts), expected)
      fc.assert(
        fc.property(fc.shuffledSubarray([...spans, ...spans], { minLength: spans.length * 2 }), (mixed) => {
          const actual = figuresOf(mixed)
          assert.deepStrictEqual({ ...actual, recovery: undefined }, { ...expected, recovery: undefined })
        }),
        { numRuns: 20 }
      )
    })
  )

  it.effect("are of all there is if the time is without end", () =>
    Effect.gen(function* () {
      const spans = yield* everything
      const { observations, period } = yield* Report.make({
        source: Report.observed(spans),
        until: hour.to,
        since: Number.POSITIVE_INFINITY
      })
      assert.deepStrictEqual([observations, period.from], [spans.length, new Date(0)])
    })
  )

  it.effect("of nothing are nothing", () =>
    Effect.gen(function* () {
      const report = yield* Report.make({
        source: Report.observed([]),
        objectives: Object.keys(Report.measures).map((measure) => Either.getOrThrow(Report.objective(`${measure}=1`)))
      })
      assert.deepInclude(report.calls, { total: 0, availability: undefined })
      assert.deepInclude(report, { latency: undefined, recovery: undefined, failures: [], breakers: [], agents: [] })
      assert.deepStrictEqual(new Set(report.objectives.map(({ met }) => met)), new Set([undefined]))
      assert.deepStrictEqual(Report.missed(report), [])
    })
  )

  it("survive metadata of others, and parents that are not there or go round in a circle", () => {
    const span = (spanId: string, parentId: string | undefined, name: string, metadata = {}): Report.Observation => ({
      traceId: "t",
      spanId,
      parentId,
      name,
      level: "DEFAULT",
      statusMessage: undefined,
      startMillis: 0,
      endMillis: 1_000,
      metadata
    })
    const figures = figuresOf([
      span("1", "2", "agent_a", { agent_id: "a", success: true }),
      span("2", "1", "around"),
      span("3", "3", "agent_b", { agent_id: "b", success: false }),
      span("4", "gone", "attempt", { attempt: 1, error_type: "X" }),
      span("5", undefined, "agent_of mine", { degradation_level: 1e9 }),
      span("6", undefined, "circuit_breaker_transition", { from: "closed" }),
      span("7", undefined, "agent_007", { agent_id: 7, success: undefined })
    ])
    assert.deepStrictEqual(
      figures.agents.map(({ agent }) => agent),
      ["7", "a", "b"]
    )
    assert.deepInclude(figures.calls, { total: 3, answered: 1, unfinished: 1 })
    assert.deepInclude(figures.degradation, { runs: 0 })
    assert.deepStrictEqual(
      figures.failures.map(({ errorType }) => errorType),
      ["X", "unknown"]
    )
  })
})

describe("Report: breakers", () => {
  let ids = 0
  const moved = (breaker: string, seconds: number, from: string, to: string): Report.Observation => ({
    traceId: "t",
    spanId: `${ids++}`,
    parentId: undefined,
    name: "circuit_breaker_transition",
    level: "WARNING",
    statusMessage: `${breaker}: ${from} -> ${to}`,
    startMillis: seconds * 1000,
    endMillis: seconds * 1000,
    metadata: { from, to, failure_count: 5 }
  })

  it("are open from their opening to their closing, through probes that fail", () => {
    const { breakers } = figuresOf([
      moved("a: b/key", 10, "closed", "open"),
      moved("a: b/key", 70, "open", "half-open"),
      moved("a: b/key", 71, "half-open", "open"),
      moved("a: b/key", 131, "open", "half-open"),
      moved("a: b/key", 132, "half-open", "closed"),
      moved("a: b/key", 200, "closed", "isolated"),
      moved("a: b/key", 210, "isolated", "closed")
    ])
    assert.deepStrictEqual(breakers, [
      {
        breaker: "a: b/key",
        openings: 2,
        reopenings: 1,
        openSeconds: 132,
        longestSeconds: 122,
        meanSeconds: 66,
        isOpen: false
      }
    ])
  })

  it("of two processes close in the order in which they opened; what opened before is not counted", () => {
    const { breakers } = figuresOf([
      moved("a", 5, "half-open", "closed"),
      moved("a", 10, "closed", "open"),
      moved("a", 20, "closed", "open"),
      moved("a", 30, "half-open", "closed"),
      moved("a", 60, "half-open", "closed"),
      moved("b", 3_000, "closed", "open")
    ])
    assert.deepStrictEqual(
      breakers.map(({ breaker, isOpen, openSeconds, openings }) => [breaker, openings, openSeconds, isOpen]),
      [
        ["a", 2, 60, false],
        ["b", 1, 600, true]
      ]
    )
  })
})

describe("Report: percentiles", () => {
  it("are the smallest value that enough others do not exceed", () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 300 }),
        (values) => {
          const naive = (percent: number): number =>
            Math.min(
              ...values.filter((it) => values.filter((other) => other <= it).length * 100 >= percent * values.length)
            )
          const { mean, ...found } = percentiles(values) ?? assert.fail("there are values")
          assert.deepStrictEqual(found, { p50: naive(50), p95: naive(95), p99: naive(99), max: naive(100) })
          assert.closeTo(
            mean,
            values.reduce((sum, value) => sum + value / values.length, 0),
            1e-3
          )
        }
      ),
      { numRuns: 200 }
    )
    assert.isUndefined(percentiles([]))
  })

  it("of calls are a naive oracle's, and so are availability and fallback rate", () => {
    const call = fc.record({
      millis: fc.integer({ min: 0, max: 100_000 }),
      success: fc.constantFrom(true, true, false, undefined),
      level: fc.constantFrom(0, 0, 1),
      agent: fc.constantFrom("a", "b")
    })
    fc.assert(
      fc.property(fc.array(call, { maxLength: 60 }), (calls) => {
        const figures = figuresOf(
          calls.map(({ agent, level, millis, success }, index) => ({
            traceId: `${index}`,
            spanId: `${index}`,
            parentId: undefined,
            name: `agent_${agent}`,
            level: "DEFAULT" as const,
            statusMessage: undefined,
            startMillis: 1_000,
            endMillis: 1_000 + millis,
            metadata: { agent_id: agent, success, fallback_level: level === 0 ? undefined : level }
          }))
        )
        const ended = calls.filter(({ success }) => success !== undefined)
        const rate = (part: number) => (ended.length === 0 ? undefined : part / ended.length)
        assert.strictEqual(figures.calls.availability, rate(ended.filter(({ success }) => success).length))
        assert.strictEqual(figures.fallback.rate, rate(ended.filter(({ level }) => level > 0).length))
        assert.strictEqual(figures.calls.unfinished, calls.length - ended.length)
        assert.deepStrictEqual(figures.latency, percentiles(ended.map(({ millis }) => millis / 1000)))
        assert.strictEqual(
          figures.agents.reduce((sum, each) => sum + each.calls.total, 0),
          calls.length
        )
      }),
      { numRuns: 100 }
    )
  })
})

describe("Report: objectives", () => {
  it("are read as they are typed", () => {
    for (const [text, wanted] of [
      ["availability=99.9", { measure: "availability", wanted: 99.9 }],
      [" availability = 99.9 % ", { measure: "availability", wanted: 99.9 }],
      ["p95-latency=2.5s", { measure: "p95-latency", wanted: 2.5 }],
      ["breaker-openings=0", { measure: "breaker-openings", wanted: 0 }]
    ] as const) {
      assert.deepStrictEqual(Report.objective(text), Either.right(wanted))
    }
    for (const [text, why] of [
      ["availability", /such as availability=99.9, not "availability"/],
      ["uptime=99", /no measure "uptime"; the measures are availability, retry-success/],
      ["constructor=1", /no measure/],
      ["availability=101", /availability takes a percentage from 0 to 100, such as 99.9, not "101"/],
      ["availability=2s", /takes a percentage/],
      ["availability=", /takes a percentage/],
      ["p95-latency=-1", /takes seconds/],
      ["p95-latency=5%", /takes seconds/],
      ["mean-attempts=1e3", /takes a number/],
      ["mean-attempts=NaN", /takes a number/]
    ] as const) {
      const read = Report.objective(text)
      assert.match(Either.isLeft(read) ? read.left : "", why, text)
    }
  })

  it.effect("are met, missed or not judged, each in its direction", () =>
    Effect.gen(function* () {
      const spans = yield* everything
      const judge = (...texts: ReadonlyArray<string>) =>
        Effect.map(
          Report.make({
            source: Report.observed(spans),
            until: hour.to,
            objectives: texts.map((text) => Either.getOrThrow(Report.objective(text)))
          }),
          ({ objectives }) => objectives.map(({ met }) => met)
        )
      assert.deepStrictEqual(
        yield* judge("availability=66.6", "availability=66.7", "retry-success=66.6", "retry-success=67"),
        [true, false, true, false]
      )
      assert.deepStrictEqual(
        yield* judge("fallback-rate=14.3", "fallback-rate=14.2", "degradation-rate=99", "mean-attempts=1.5"),
        [true, false, false, true]
      )
      assert.deepStrictEqual(
        yield* judge("p50-latency=0", "p95-latency=9", "p99-latency=8.9", "p95-recovery=9", "breaker-openings=0"),
        [true, true, false, true, false]
      )
    })
  )

  it("do not miss by the last digit of a fraction", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2_000 }), fc.nat(2_000), (total, part) => {
        const answered = Math.min(part, total)
        const calls = Array.from({ length: total }, (_, index) => ({
          traceId: "t",
          spanId: `${index}`,
          parentId: undefined,
          name: "agent_a",
          level: "DEFAULT" as const,
          statusMessage: undefined,
          startMillis: 0,
          endMillis: 1,
          metadata: { agent_id: "a", success: index < answered }
        }))
        const wanted = (answered * 100) / total
        const report = Effect.runSync(
          Report.make({
            source: Report.observed(calls),
            until: new Date(1_000),
            objectives: [{ measure: "availability", wanted }]
          })
        )
        assert.deepStrictEqual(Report.missed(report), [])
      }),
      { numRuns: 30 }
    )
  })
})

/** What is asked of a server, without pauses. */
const ask = (server: LangfuseQueries.LangfuseQueries, options: Partial<reportLangfuse.Options> = {}) =>
  Report.make({
    source: reportLangfuse.make({
      baseUrl: server.url,
      publicKey: server.publicKey,
      secretKey: Redacted.make(server.secretKey),
      timeoutMillis: 5_000,
      patienceMillis: 2_000,
      pageSize: 7,
      backoffMillis: 5,
      ...options
    }),
    until: new Date(3_600_000),
    since: "1 hour"
  })

describe("Report: Langfuse", () => {
  for (const rules of [{ api: "v2" }, { api: "v2", texts: true }, { api: "v1" }] as const) {
    it.scoped(`gives the figures that the program gave, page by page (${JSON.stringify(rules)})`, () =>
      Effect.gen(function* () {
        const spans = yield* everything
        const server = yield* LangfuseQueries.make(spans, rules)
        const report = yield* ask(server)
        assert.strictEqual(report.source, `Langfuse at ${server.url}`)
        const { failures, ...expected } = figuresOf(spans)
        assert.deepInclude(report, expected)
        assert.deepStrictEqual(report.failures, failures)
        const pages = Math.ceil(spans.length / 7)
        assert.isAbove(pages, 3)
        assert.strictEqual(server.asked().length, pages + (rules.api === "v1" ? 1 : 0))
        assert.deepStrictEqual(server.complaints(), [])
      })
    )
  }

  for (const api of ["v1", "v2"] as const) {
    it.scoped(`says how many it counts, if it does (${api})`, () =>
      Effect.gen(function* () {
        const spans = yield* everything
        const [silent, counting] = [{ api }, { api, counted: 20_000 }]
        assert.isUndefined((yield* ask(yield* LangfuseQueries.make(spans, silent))).counted)
        const server = yield* LangfuseQueries.make(spans, counting)
        const lines: Array<string> = []
        const logger = Logger.make(({ message }) => lines.push(String(message)))
        const report = yield* Effect.provide(ask(server), Logger.replace(Logger.defaultLogger, logger))
        assert.deepInclude(report, { counted: 20_000, observations: spans.length })
        assert.deepStrictEqual(lines, [
          `Langfuse at ${server.url} has 20000 observations of this time; reading them takes a while`
        ])
        assert.deepStrictEqual(server.complaints(), [])
      })
    )
  }

  it.scoped("is asked for pages as large as it gives, and only for the time that is meant", () =>
    Effect.gen(function* () {
      const server = yield* LangfuseQueries.make(yield* everything)
      const source = yield* Report.langfuse({
        publicKey: server.publicKey,
        secretKey: Redacted.make(server.secretKey),
        baseUrl: `${server.url}/`
      })
      const { observations } = yield* Report.make({ source, until: new Date(0), since: "1 hour" })
      assert.strictEqual(observations, 0)
      const [query] = server.asked().map(({ searchParams }) => Object.fromEntries(searchParams))
      assert.deepStrictEqual(query, {
        fromStartTime: "1969-12-31T23:00:00.000Z",
        toStartTime: "1970-01-01T00:00:00.000Z",
        fields: "core,basic,metadata",
        limit: "1000"
      })
    })
  )

  it.scoped("is waited for when it limits the rate, and asked again when it fails", () =>
    Effect.gen(function* () {
      const spans = yield* everything
      const troubles: ReadonlyArray<LangfuseQueries.Behaviour> = [
        { status: 429, retryAfter: "0.05" },
        undefined,
        { status: 503, body: "busy" },
        "reset",
        { status: 429 },
        { status: 500 },
        undefined,
        { status: 429, retryAfter: "0" }
      ]
      const server = yield* LangfuseQueries.make(spans, { behave: (request) => troubles[request] })
      const from = performance.now()
      const report = yield* TestServices.provideLive(ask(server))
      assert.isAtLeast(performance.now() - from, 50)
      assert.strictEqual(report.observations, spans.length)
      assert.deepStrictEqual(server.complaints(), [])
    })
  )

  const failing = (
    what: string,
    behaviour: LangfuseQueries.Behaviour,
    reason: ReportError["reason"],
    message: RegExp,
    options: Partial<reportLangfuse.Options> = {}
  ) =>
    it.scopedLive(`says of a server that ${what} that it does`, () =>
      Effect.gen(function* () {
        const server = yield* LangfuseQueries.make([], { behave: () => behaviour })
        const error = yield* Effect.flip(ask(server, options))
        assert.deepInclude(error, { _tag: "ReportError", reason })
        assert.match(error.message, message)
        assert.notInclude(error.message, server.secretKey)
      })
    )
  failing("refuses the keys", { status: 401 }, "Unauthorized", /HTTP 401.*LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY/)
  failing("is down", { status: 502, body: "bad gateway" }, "Unreachable", /HTTP 502 .*bad gateway/)
  failing("breaks the connection", "reset", "Unreachable", /cannot be reached: \S+/)
  failing("hangs", "hang", "Unreachable", /no answer in time/, { timeoutMillis: 20 })
  failing("asks for too long a pause", { status: 429, retryAfter: "3600" }, "RateLimited", /wait for 3600 s/)
  failing("limits the rate for ever", { status: 429, retryAfter: "0" }, "RateLimited", /limits the rate/, {
    patienceMillis: 50
  })
  failing("refuses the question", { status: 400, body: "no such field" }, "Refused", /HTTP 400 .*no such field/)
  failing("is no Langfuse", { status: 404 }, "Refused", /knows no observations.*LANGFUSE_BASE_URL/)
  failing("sends one elsewhere", { status: 307 }, "Refused", /HTTP 307/)
  failing("answers with a page for people", { status: 200, page: "<html>" }, "Unreadable", /look at LANGFUSE_BASE_URL/)
  failing(
    "answers with other rows",
    { status: 200, page: { data: [{ id: 7 }] } },
    "Unreadable",
    /data\.0\.\w+.*look at LANGFUSE_BASE_URL/
  )
  failing(
    "goes round in a circle",
    { status: 200, page: { data: [], meta: { cursor: "abc" } } },
    "Unreadable",
    /the same page/
  )

  it.scopedLive("needs keys, and good settings", () =>
    Effect.gen(function* () {
      const none = yield* Effect.flip(Report.langfuse({}))
      assert.deepInclude(none, { _tag: "ReportError", reason: "NoSource" })
      const half = yield* Effect.flip(Report.langfuse({ publicKey: "pk-lf-1" }))
      assert.deepInclude(half, { _tag: "ConfigurationError", setting: "LANGFUSE_SECRET_KEY" })
    })
  )
})

const optionsOf = (server: LangfuseServer.LangfuseServer): Langfuse.Options => ({
  publicKey: server.publicKey,
  secretKey: Redacted.make(server.secretKey),
  baseUrl: server.url
})

describe("Report: the outbox", () => {
  // servers take no times of long ago
  const start = Date.UTC(2026, 0, 1)
  const period: Report.Period = { from: new Date(start), to: new Date(start + 3_600_000) }
  const at = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.zipRight(TestClock.setTime(start), self)
  const from = (options: Langfuse.OutboxOptions) =>
    Effect.flatMap(Report.outbox(options), (source) => Report.make({ source, until: period.to, since: "1 hour" }))

  it.scoped(
    "has copies, delivered or not, if they are asked for",
    () =>
      Effect.gen(function* () {
        const folder = yield* TestDatabases.temporaryFolder
        const server = yield* LangfuseServer.make()
        const kept = { folder: `${folder}/kept`, keep: "1 day" } as const
        const empty = yield* Effect.flip(from(kept))
        assert.deepInclude(empty, { _tag: "ReportError", reason: "NoSource" })
        assert.match(empty._tag === "ReportError" ? empty.message : "", /HOLDFAST_OUTBOX_KEEP/)

        const spans = yield* at(everythingUnder(Langfuse.layerWith({ outbox: kept })))
        assert.deepInclude(yield* from(kept), figuresOf(spans, { period }))

        const delivered = { folder: `${folder}/delivered`, keep: "1 day" } as const
        const others = yield* at(everythingUnder(Langfuse.layerWith({ ...optionsOf(server), outbox: delivered })))
        assert.strictEqual(server.observations().length, others.length)
        assert.deepInclude(yield* from(delivered), figuresOf(others, { period }))

        const gone = { folder: `${folder}/gone` }
        yield* at(everythingUnder(Langfuse.layerWith({ ...optionsOf(server), outbox: gone })))
        assert.deepInclude(yield* Effect.flip(from(gone)), { reason: "NoSource" })

        yield* server.down
        const waiting = { folder: `${folder}/waiting` }
        const late = yield* at(
          everythingUnder(Langfuse.layerWith({ ...optionsOf(server), flushTimeout: "50 millis", outbox: waiting }))
        )
        assert.deepInclude(yield* from(waiting), figuresOf(late, { period }))
      }),
    60_000
  )

  it.scopedLive("that takes no copies is told of once, and harms nothing", () =>
    Effect.gen(function* () {
      const folder = yield* TestDatabases.temporaryFolder
      writeFileSync(`${folder}/file`, "no folder")
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => lines.push(String(message)))
      const program = Effect.forEach([1, 2, 3], (n) => Effect.withSpan(Effect.succeed(n), "work"))
      const options = { flushAt: 1, outbox: { folder: `${folder}/file/outbox`, keep: "1 day" } } as const
      const found = yield* Effect.provide(program, Langfuse.layerWith(options)).pipe(
        Effect.provide(Logger.replace(Logger.defaultLogger, logger))
      )
      assert.deepStrictEqual(found, [1, 2, 3])
      assert.strictEqual(lines.length, 1)
      assert.match(lines[0] ?? "", /^Observations are not copied into the folder .*: ENOTDIR/)
    })
  )

  for (const backend of TestDatabases.backends) {
    it.scoped(
      `is in the tables of the database if there is one (${backend.name})`,
      () =>
        Effect.gen(function* () {
          const spans = yield* at(everythingUnder(Langfuse.layerWith({ outbox: { keep: "1 day" } })))
          const report = yield* from({})
          assert.match(report.source, /^the outbox in the table holdfast_outbox of /)
          assert.deepInclude(report, figuresOf(spans, { period }))
        }).pipe(Effect.provide(backend.layer)),
      60_000
    )
  }
})
