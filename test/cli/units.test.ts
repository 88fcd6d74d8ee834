/**
 * The parts of the command line that need no process: exit codes, hints, progress, the report.
 */
import { PassThrough } from "node:stream"
import { stripVTControlCharacters } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { CheckpointNotFoundError } from "../../src/checkpoint/CheckpointError.js"
import { command, groups } from "../../src/cli/command.js"
import * as Failure from "../../src/cli/Failure.js"
import * as terminal from "../../src/cli/internal/terminal.js"
import * as usage from "../../src/cli/internal/usage.js"
import * as Progress from "../../src/cli/Progress.js"
import * as Result from "../../src/cli/Result.js"
import { UsageError } from "../../src/cli/UsageError.js"
import { DatabaseError } from "../../src/database/DatabaseError.js"
import * as Observation from "../../src/observability/Observation.js"
import * as Trace from "../../src/observability/Trace.js"
import * as Prices from "../../src/programs/research/Prices.js"
import * as QualityGate from "../../src/programs/research/QualityGate.js"
import * as Risk from "../../src/programs/research/Risk.js"
import type * as State from "../../src/programs/research/State.js"
import * as Strategy from "../../src/programs/research/Strategy.js"
import * as Technical from "../../src/programs/research/Technical.js"
import { selection } from "../programs/research/support.js"

describe("exit codes", () => {
  it("2 for what the user can put right at the prompt, 1 for the rest", () => {
    const unreachable = new DatabaseError({ reason: "Unreachable", location: "here", message: "not there" })
    assert.strictEqual(Failure.exitCode(new UsageError({ message: "no" })), 2)
    assert.strictEqual(Failure.exitCode(new CheckpointNotFoundError({ workflowId: "t" })), 2)
    const prices = Either.flip(Prices.parse("", "p.csv"))
    assert.strictEqual(Failure.exitCode(Either.getOrThrow(prices)), 2)
    assert.strictEqual(Failure.exitCode(unreachable), 1)
    assert.strictEqual(Failure.exitCode(new Error("boom")), 1)
    assert.strictEqual(Failure.exitCode("boom"), 1)
  })

  it("one line, which names the class of what is not ours", () => {
    assert.strictEqual(Failure.message(new UsageError({ message: "take another name" })), "take another name")
    assert.strictEqual(Failure.message(new TypeError("x is not a function")), "TypeError: x is not a function")
    assert.strictEqual(Failure.message("boom"), "boom")
  })
})

describe("hints", () => {
  const said = (...args: ReadonlyArray<string>) => usage.mistake(args, command, groups)?.message

  it("names the option that was meant", () => {
    assert.strictEqual(said("research", "--jsn"), "unknown option --jsn of `holdfast research`; did you mean --json?")
    assert.include(said("threads", "--prices", "x"), "unknown option --prices of `holdfast threads`; see")
  })

  it("knows a command below another", () => {
    assert.strictEqual(
      said("threads", "prune", "--kep", "3"),
      "unknown option --kep of `holdfast threads prune`; did you mean --keep?"
    )
    assert.include(said("threads", "prune", "--older-than"), "--older-than needs a value")
    assert.isUndefined(said("threads", "prune", "--keep", "3", "--older-than", "30d", "--dry-run", "--whole"))
    assert.include(said("threads", "--keep", "3"), "unknown option --keep of `holdfast threads`")
  })

  it("misses a value", () => {
    assert.include(said("research", "--seed"), "--seed needs a value")
    assert.include(said("research", "--thread", "--json"), "--thread needs a value")
  })

  it("lets pass what is right, and what the library itself says more of", () => {
    assert.isUndefined(said("research", "AAPL", "--chaos", "0.4", "--seed", "-7", "--json"))
    assert.isUndefined(said("research", "--chaos=0.4"))
    assert.isUndefined(said("history", "t", "--log-level", "debug"))
    assert.isUndefined(said("nonsense", "--x"))
    assert.isUndefined(said())
  })
})

/** A stream that looks like a terminal, or does not, and keeps what is written. */
const fakeStream = (options: { readonly isTTY: boolean; readonly columns?: number; readonly rows?: number }) => {
  const stream = new PassThrough()
  let text = ""
  stream.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk
  })
  return { stream: Object.assign(stream, options) as unknown as NodeJS.WriteStream, text: () => text } // what is used of one
}

const attempt = (number: number, outcome: Effect.Effect<void>) =>
  Observation.span(outcome, "attempt", { metadata: { attempt: number, max_attempts: 3 } })

const agent = (id: string, work: Effect.Effect<void>, outcome: Effect.Effect<void> = Effect.void) =>
  work.pipe(
    Observation.span("retry_execution", { type: "chain" }),
    Effect.zipRight(outcome),
    Observation.span(`agent_${id}`, { type: "agent", metadata: { max_attempts: 3 } })
  )

/** An agent that needs two attempts, and one that fails. */
const work = Effect.zipRight(
  agent(
    "steady",
    Effect.zipRight(
      attempt(1, Observation.annotate({ level: "WARNING", statusMessage: "Error: no\nanswer; next try in 1s" })),
      attempt(2, Effect.void)
    )
  ),
  agent(
    "broken",
    attempt(1, Effect.void),
    Observation.annotate({ level: "ERROR", statusMessage: "Error: a reason that is told at length" })
  )
)

const env = (values: Readonly<Record<string, string | undefined>>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const before = { ...process.env }
      for (const [key, value] of Object.entries(values)) {
        if (value === undefined) delete process.env[key]
        else process.env[key] = value
      }
      return before
    }),
    (before) =>
      Effect.sync(() => {
        for (const key of Object.keys(values)) delete process.env[key]
        Object.assign(process.env, before)
      })
  )

const plainTerminal = { NO_COLOR: undefined, FORCE_COLOR: undefined, TERM: "xterm", COLUMNS: undefined }

describe("progress", () => {
  it.scopedLive("is a line a change where lines cannot be redrawn, without colour", () =>
    Effect.gen(function* () {
      yield* env(plainTerminal)
      const { stream, text } = fakeStream({ isTTY: false })
      yield* Effect.scoped(Effect.zipRight(Progress.show(stream), work)).pipe(Effect.provide(Trace.layerRecorder()))
      const lines = text().split("\n")
      assert.match(lines[0] ?? "", /^ {2}• steady +running +attempt 1\/3 +0\.0 s$/)
      assert.match(
        lines[1] ?? "",
        /^ {2}↻ steady +retrying +attempt 1\/3 +\d\.\d s {2}Error: no answer; next try in 1s$/
      )
      assert.match(text(), /^ {2}✓ steady +done +attempt 2\/3 +\d\.\d s$/m)
      // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what is looked for
      assert.notMatch(text(), /\u001b/)
    })
  )

  it.scopedLive("is a line an agent in a terminal, redrawn in its width, below what others write", () =>
    Effect.gen(function* () {
      yield* env(plainTerminal)
      const { stream, text } = fakeStream({ isTTY: true, columns: 60, rows: 10 })
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* Progress.show(stream)
          yield* agent("first", attempt(1, Effect.void))
          yield* Effect.sync(() => stream.write("a line of a log\n"))
          yield* work
        })
      ).pipe(Effect.provide(Trace.layerRecorder()))
      const drawn = text()
      assert.include(drawn, "\u001b[32m✓\u001b[0m first")
      assert.include(drawn, "a line of a log\n")
      // the last picture: what is left after the last erasure
      const last = stripVTControlCharacters(drawn.slice(drawn.lastIndexOf("\u001b[0J")))
        .trimEnd()
        .split("\n")
      assert.deepStrictEqual(
        last.map((line) => line.trim().split(/\s+/).slice(1, 3).join(" ")).filter((line) => line !== ""),
        ["first done", "steady done", "broken failed"]
      )
      for (const line of stripVTControlCharacters(drawn).split("\n")) assert.isAtMost(line.length, 60, line)
      // given back as it was
      const length = text().length
      stream.write("after")
      assert.strictEqual(text().length, length + 5)
    })
  )

  it.scopedLive("has no colour where none is wanted, and erases all the same", () =>
    Effect.gen(function* () {
      yield* env({ ...plainTerminal, NO_COLOR: "1" })
      const { stream, text } = fakeStream({ isTTY: true, columns: 40, rows: 10 })
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* Progress.show(stream)
          yield* work
          yield* Effect.sync(() => stream.write("x\n"))
        })
      ).pipe(Effect.provide(Trace.layerRecorder()))
      assert.notInclude(text(), "\u001b[3")
      assert.include(text(), "\u001b[0J")
      for (const line of stripVTControlCharacters(text()).split("\n")) assert.isAtMost(line.length, 40, line)
    })
  )
})

describe("terminal", () => {
  it.scopedLive("takes colour and width from what it is told", () =>
    Effect.gen(function* () {
      const { stream: tty } = fakeStream({ isTTY: true, columns: 120 })
      const { stream: pipe } = fakeStream({ isTTY: false })
      yield* env(plainTerminal)
      assert.isTrue(terminal.hasColor(tty))
      assert.isFalse(terminal.hasColor(pipe))
      assert.strictEqual(terminal.widthOf(tty), 120)
      assert.strictEqual(terminal.widthOf(pipe), 100)
      yield* env({ FORCE_COLOR: "1", COLUMNS: "72" })
      assert.isTrue(terminal.hasColor(pipe))
      assert.strictEqual(terminal.widthOf(pipe), 72)
      yield* env({ FORCE_COLOR: "0", TERM: "dumb", COLUMNS: "3" })
      assert.isFalse(terminal.hasColor(tty))
      assert.isFalse(terminal.canRedraw(tty))
      assert.strictEqual(terminal.widthOf(pipe), 40)
    })
  )

  it("wraps at spaces, not before a percent sign, and cuts to a width", () => {
    assert.deepStrictEqual(terminal.wrap("one two 3 % four", 9), ["one two", "3 % four"])
    assert.deepStrictEqual(terminal.wrap("", 9), [])
    assert.strictEqual(terminal.cut("abcdef", 4), "abc…")
    assert.strictEqual(terminal.cut("abc", 4), "abc")
  })
})

describe("the report", () => {
  const { series } = selection("AAPL")
  const fit = Strategy.fit(series, [])
  const state: State.State = {
    request: {
      program: "research",
      ticker: "AAPL",
      benchmark: "GSPC",
      prices: null,
      sha256: "0",
      from: "2007-01-03",
      to: "2016-03-01",
      days: 2306,
      chaos: { rate: 0.4, seed: 7 }
    },
    rounds: 1,
    swarm: {
      critical: false,
      retryable: false,
      message: null,
      findings: { technical: Technical.figures(series), risk: Risk.figures(series) },
      narrative: { headline: "Up", paragraphs: ["And ".repeat(40)] },
      missing: [{ agent: "market", required: true, errorType: "ChaosError", message: "injected error" }],
      degradationLevel: 1,
      successRate: 0.75
    },
    fit,
    verdicts: fit._tag === "Chosen" ? [QualityGate.judge(fit.rule, series)] : [],
    failures: [
      {
        node: "research_swarm",
        round: 1,
        agent: "narrative",
        by: "narrative",
        attempt: 1,
        errorType: "ChaosError",
        message: "injected error in call 1",
        recovery: "fallback",
        recoveredBy: "narrative_template"
      }
    ],
    transitions: [{ node: "research_swarm", round: 1, agent: "market", from: "closed", to: "open", failureCount: 3 }],
    outcome: fit._tag === "Chosen" ? { _tag: "Reported", report: Strategy.report(fit.rule, series) } : null
  }
  const run: Result.Run = { threadId: "t", state, resumed: { next: ["strategy_dev"], ageSeconds: 61.4 }, spans: [] }

  for (const width of [40, 80, 200]) {
    it(`keeps to ${width} columns, whatever is in it`, () => {
      const text = Result.text(run, { color: false, width })
      // a table of figures has its width
      const long = text.split("\n").filter((line) => line.length > Math.max(width, 56))
      assert.deepStrictEqual(long, [])
      const flat = text.replace(/\s+/g, " ")
      for (const part of [
        "resumed from a checkpoint 61 s old: went on at strategy_dev",
        "faults injected into 40 % of the calls, seed 7",
        "50-day mean 98.85",
        "Degradation level 1",
        "market missing (required): ChaosError: injected error",
        "✓ accepted crossover-10-50",
        "-> recovered: narrative_template took over",
        "circuit breaker closed -> open after 3 failures",
        "npm run holdfast -- resume t"
      ]) {
        assert.include(flat, part)
      }
    })
  }

  it("says the same with colour", () => {
    const colored = Result.text(run, { color: true, width: 80 })
    assert.notStrictEqual(colored, stripVTControlCharacters(colored))
    assert.strictEqual(stripVTControlCharacters(colored), Result.text(run, { color: false, width: 80 }))
  })

  it("tells how a run ended that found nothing or failed", () => {
    const of = (outcome: State.Outcome | null) =>
      Result.text({ ...run, state: { ...state, outcome } }, { color: false, width: 80 })
    assert.include(of({ _tag: "NothingPassed", reason: "No rule stands." }), "No rule stands.")
    assert.include(
      of({ _tag: "Failed", node: "quality_gate", errorType: "E", message: "gone" }),
      "The run failed at quality_gate: gone"
    )
    assert.include(of(null), "go on with: npm run holdfast -- resume t")
    assert.strictEqual(Result.document({ ...run, state: { ...state, outcome: null } }).status, "unfinished")
  })

  it("is a document that survives JSON with every figure", () => {
    const document = Result.document(run)
    assert.deepStrictEqual(JSON.parse(JSON.stringify(document)), JSON.parse(JSON.stringify(document)))
    assert.strictEqual(document.findings.technical?.sma50, Technical.figures(series).sma50)
    assert.strictEqual(document.failures[0]?.outcome, "recovered: narrative_template took over")
  })
})
