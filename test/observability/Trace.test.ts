import { assert, describe, it } from "@effect/vitest"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/TestClock"
import * as Observation from "../../src/observability/Observation.js"
import * as Trace from "../../src/observability/Trace.js"

class PriceMissing extends Data.TaggedError("PriceMissing")<{ readonly ticker: string; readonly message: string }> {}

const only = <A>(items: ReadonlyArray<A>): A => {
  const [first] = items
  if (first === undefined || items.length !== 1) throw new Error(`expected one item, got ${items.length}`)
  return first
}

const spans = Effect.flatMap(Trace.Recorder, (recorder) => recorder.spans)

describe("Trace.layerRecorder", () => {
  it.effect("keeps name, type, metadata, input, output and scores, and knows the parent", () =>
    Effect.gen(function* () {
      yield* Effect.void.pipe(
        Effect.tap(() =>
          Observation.annotate({ output: { rsi: 41 }, metadata: { tries: 2, list: ["a"], plain: "[not json" } })
        ),
        Effect.tap(() => Observation.score({ name: "retry_attempts", value: 2 })),
        Observation.span("agent_technical", { type: "agent", input: { ticker: "AAPL" } }),
        Effect.withSpan("run")
      )
      const [root, agent] = yield* spans
      assert.strictEqual(root?.name, "run")
      assert.strictEqual(root?.parentId, undefined)
      assert.strictEqual(agent?.parentId, root?.spanId)
      assert.strictEqual(agent?.traceId, root?.traceId)
      assert.deepStrictEqual(agent?.metadata, { tries: 2, list: ["a"], plain: "[not json" })
      assert.strictEqual(agent?.type, "agent")
      assert.strictEqual(agent?.level, "DEFAULT")
      assert.strictEqual(agent?.input, '{"ticker":"AAPL"}')
      assert.strictEqual(agent?.output, '{"rsi":41}')
      assert.deepStrictEqual(agent?.scores, [{ name: "retry_attempts", value: 2 }])
    }).pipe(Effect.provide(Trace.layerRecorder()))
  )

  it.effect("says of any span how it ended: failure, defect, interruption, control flow, success", () =>
    Effect.gen(function* () {
      const interrupt = Object.assign(new Error("wait for a person"), { name: "GraphInterrupt", is_bubble_up: true })
      yield* Effect.exit(Effect.withSpan(new PriceMissing({ ticker: "XYZ", message: "no price of XYZ" }), "failure"))
      yield* Effect.exit(Effect.withSpan(Effect.die(new TypeError("x is undefined")), "defect"))
      yield* Effect.exit(Effect.withSpan(Effect.fail(interrupt), "control"))
      yield* Effect.exit(Effect.withSpan(Effect.interrupt, "interruption"))
      yield* Effect.withSpan(Effect.void, "success")
      assert.deepStrictEqual(
        (yield* spans).map((span) => [span.name, span.level, span.statusMessage]),
        [
          ["failure", "ERROR", "PriceMissing: no price of XYZ"],
          ["defect", "ERROR", "TypeError: x is undefined"],
          ["control", "DEFAULT", undefined],
          ["interruption", "WARNING", "interrupted"],
          ["success", "DEFAULT", undefined]
        ]
      )
    }).pipe(Effect.provide(Trace.layerRecorder()))
  )

  it.effect("outlives a failure that cannot be read", () =>
    Effect.gen(function* () {
      const hostile = {
        get message(): string {
          throw new Error("not for you")
        }
      }
      const exit = yield* Effect.exit(Effect.withSpan(Effect.fail(hostile), "hostile"))
      assert.isTrue(Exit.isFailure(exit))
      assert.strictEqual(only(yield* spans).statusMessage, "a failure that cannot be read")
    }).pipe(Effect.provide(Trace.layerRecorder()))
  )

  it.effect("leaves a level that was said, and adds the message", () =>
    Effect.gen(function* () {
      yield* Effect.exit(
        Observation.annotate({ level: "WARNING" }).pipe(
          Effect.zipRight(Effect.fail("late")),
          Effect.withSpan("attempt")
        )
      )
      const span = only(yield* spans)
      assert.strictEqual(span.level, "WARNING")
      assert.strictEqual(span.statusMessage, "late")
    }).pipe(Effect.provide(Trace.layerRecorder()))
  )

  it.effect(
    "tells listeners synchronously and in order, until their scope closes; a listener that throws breaks nothing",
    () =>
      Effect.gen(function* () {
        const recorder = yield* Trace.Recorder
        const heard: Array<string> = []
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* recorder.subscribe(() => {
              throw new Error("broken display")
            })
            yield* recorder.subscribe(({ _tag, span }) => {
              heard.push(`${_tag} ${span.name} ${span.type} ${JSON.stringify(span.metadata)}`)
            })
            yield* Observation.annotate({ metadata: { n: 1 } }).pipe(Observation.span("a", { type: "tool" }))
          })
        )
        yield* Effect.withSpan(Effect.void, "unheard")
        assert.deepStrictEqual(heard, ["Started a tool {}", 'Annotated a tool {"n":1}', 'Ended a tool {"n":1}'])
      }).pipe(Effect.provide(Trace.layerRecorder()))
  )

  it.effect("bounds its memory: the oldest ended span goes first, a running one stays", () =>
    Effect.gen(function* () {
      const inner = Effect.forEach([1, 2, 3, 4], (n) => Effect.withSpan(Effect.void, `child ${n}`))
      yield* inner.pipe(Effect.withSpan("root"))
      assert.deepStrictEqual(
        (yield* spans).map((span) => span.name),
        ["root", "child 3", "child 4"]
      )
    }).pipe(Effect.provide(Trace.layerRecorder({ maxSpans: 3 })))
  )

  it.effect("forwards scores to the sink below it", () => {
    const below: Array<Observation.Score> = []
    const sink = Layer.succeed(Observation.ScoreSink, {
      emit: (score) => {
        below.push(score)
      }
    })
    return Effect.gen(function* () {
      yield* Observation.score({ name: "x", value: true }).pipe(Effect.withSpan("scored"))
      assert.deepStrictEqual(below, [{ name: "x", value: true }])
      assert.deepStrictEqual(only(yield* spans).scores, [{ name: "x", value: true }])
    }).pipe(Effect.provide(Trace.layerRecorder().pipe(Layer.provideMerge(sink))))
  })

  it.effect("two recorders on each other both see each span once", () =>
    Effect.gen(function* () {
      yield* Effect.exit(Effect.withSpan(Effect.fail("no"), "twice"))
      assert.strictEqual(only(yield* spans).statusMessage, "no")
    }).pipe(Effect.provide(Trace.layerRecorder()), Effect.provide(Trace.layerRecorder()))
  )
})

describe("Trace.render", () => {
  const run = Effect.gen(function* () {
    const attempt = (n: number, millis: number, options: Observation.Options) =>
      Effect.sleep(millis).pipe(
        Effect.zipRight(options.level === undefined ? Effect.void : Effect.fail("x")),
        Observation.span("attempt", { ...options, metadata: { attempt: n, max_attempts: 3, ...options.metadata } }),
        Effect.ignore
      )
    const agent = attempt(1, 30_000, {
      level: "WARNING",
      statusMessage: "AgentTimeoutError: technical gave no answer in 30s"
    }).pipe(
      Effect.zipRight(
        Observation.event("circuit_breaker_transition", { metadata: { from: "closed", to: "open", failure_count: 5 } })
      ),
      Effect.zipRight(attempt(2, 84, { metadata: { delay_seconds: 1.25, circuit_state: "half-open" } })),
      Effect.zipRight(Observation.score({ name: "retry_attempts", value: 2 })),
      Observation.span("retry_execution", { metadata: { agent_type: "primary", attempts_needed: 2 } }),
      Observation.span("agent_technical", { type: "agent" })
    )
    const failed = Effect.fail(new PriceMissing({ ticker: "XYZ", message: "no\nprice \u001b[31mof XYZ" })).pipe(
      Observation.span("agent_market", { type: "agent" }),
      Effect.ignore
    )
    const program = agent.pipe(
      Effect.zipRight(failed),
      Effect.zipRight(
        Observation.annotate({ metadata: { degradation_level: 1, success_rate: 0.5, failed_agents: ["market"] } })
      ),
      Observation.span("research_swarm")
    )
    const fiber = yield* Effect.fork(program)
    yield* TestClock.adjust("5 minutes")
    yield* Fiber.join(fiber)
    return yield* spans
  }).pipe(Effect.provide(Trace.layerRecorder()))

  it.effect("draws the tree", () =>
    Effect.gen(function* () {
      assert.strictEqual(
        Trace.render(yield* run, { color: false, width: 120 }),
        [
          "✓ research_swarm  30.1s  degradation level 1 · 50% succeeded · without market",
          "├─ ✓ agent_technical  30.1s",
          "│  └─ ✓ retry_execution  30.1s  primary · 2 attempts · retry_attempts 2",
          "│     ├─ ▲ attempt 1/3  30.0s  AgentTimeoutError: technical gave no answer in 30s",
          "│     ├─ • circuit_breaker_transition  closed → open · 5 failures",
          "│     └─ ✓ attempt 2/3  84ms  after 1.25s · circuit half-open",
          "└─ ✗ agent_market  0.0ms  PriceMissing: no price [31mof XYZ"
        ].join("\n")
      )
    })
  )

  it.effect("cuts lines to the width, counting what is seen, in colour and in ASCII", () =>
    Effect.gen(function* () {
      const data = yield* run
      const coloured = Trace.render(data, { color: true, width: 40 })
      assert.include(coloured, "\u001b[31m✗\u001b[39m")
      // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are control sequences
      const bare = coloured.replace(/\u001b\[\d+m/g, "")
      assert.strictEqual(bare, Trace.render(data, { color: false, width: 40 }))
      for (const line of bare.split("\n")) assert.isAtMost(Array.from(line).length, 40)
      const ascii = Trace.render(data, { color: false, width: 40, ascii: true })
      assert.match(ascii, /^[\n\u0020-\u007e]*$/)
      assert.include(ascii, "|  `- + retry_execution")
      assert.include(ascii, "...")
    })
  )

  it.effect("draws what still runs, and a span whose parent is unknown as a root", () =>
    Effect.gen(function* () {
      const recorder = yield* Trace.Recorder
      const drawn = yield* recorder.spans.pipe(
        Effect.map((all) => Trace.render(all.slice(1), { color: false, width: 80 })),
        Effect.withSpan("inner"),
        Effect.withSpan("outer"),
        Effect.exit
      )
      assert.deepStrictEqual(drawn, Exit.succeed("○ inner"))
      assert.strictEqual(Trace.render([], { color: true, width: 80 }), "")
    }).pipe(Effect.provide(Trace.layerRecorder()))
  )
})
