/**
 * The research program as its users start it.
 */
import { readFileSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { agrees } from "../programs/research/support.js"
import * as TestDatabases from "../support/databases.js"
import { isBearable, isCalm, seedWhere } from "./chaos.js"
import * as Cli from "./support.js"

const figures = Schema.decodeUnknownSync(
  Schema.parseJson(
    Schema.Record({ key: Schema.String, value: Schema.Record({ key: Schema.String, value: Schema.Unknown }) })
  )
)(readFileSync(new URL("../programs/research/figures.json", import.meta.url), "utf8"))

/** A place of its own for each run, with a database that need not be made first. */
const place = Effect.gen(function* () {
  const [embedded] = TestDatabases.backends
  const { env } = yield* (embedded ?? assert.fail("no database")).create
  return { cwd: yield* Cli.emptyFolder, env }
})

/** What must be the same from run to run: everything but ids and times. */
const repeatable = ({
  failures,
  findings,
  missing,
  narrative,
  outcome,
  rounds,
  status,
  transitions,
  verdicts
}: Cli.Document) => ({
  failures,
  findings,
  missing,
  narrative,
  outcome,
  rounds,
  status,
  transitions,
  verdicts
})

const once = (args: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const options = yield* place
    const ended = yield* Cli.run([...args, "--json"], options)
    return { ended, document: Cli.documentOf(ended), options }
  })

/** Runs the same twice, at the same time, each in a place of its own. */
const twice = (args: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const [first, second] = yield* Effect.all([once(args), once(args)], { concurrency: "unbounded" })
    assert.deepStrictEqual(repeatable(second.document), repeatable(first.document))
    assert.strictEqual(second.ended.code, first.ended.code)
    return first
  })

describe("holdfast research", () => {
  it.scopedLive("prints the report of the shipped prices in an empty folder", () =>
    Effect.gen(function* () {
      const cwd = yield* Cli.emptyFolder
      const { code, stderr, stdout } = yield* Cli.run(["research"], { cwd, env: { COLUMNS: "80" } })
      assert.strictEqual(code, 0, stderr)
      for (const part of [
        /^AAPL against GSPC/,
        /^ {2}technical .*98\.85/m,
        /^Degradation level 0$/m,
        /Out of sample, 2013-06-03 to 2016-03-01/,
        /recovered:\s+narrative_template\s+took\s+over/,
        /^✓ research /m,
        /save_checkpoint/,
        /npx holdfast resume aapl-\d{8}-\d{6}-[0-9a-f]{4}\n$/
      ]) {
        assert.match(stdout, part)
      }
      // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what is looked for
      assert.notMatch(stdout + stderr, /\u001b/)
      assert.deepStrictEqual(
        stdout.split("\n").filter((line) => line.length > 80),
        []
      )
      for (const agent of ["technical", "narrative", "out_of_sample"]) {
        assert.match(stderr, new RegExp(`^  [✓▲] ${agent} +(done|fallback) +attempt 1/\\d +\\d+\\.\\d s`, "m"))
      }
    })
  )

  for (const ticker of ["AAPL", "MSFT"]) {
    it.scopedLive(`prints one document with every figure of ${ticker}`, () =>
      Effect.gen(function* () {
        const ended = yield* Cli.run(["research", ticker, "--json"], yield* place)
        assert.strictEqual(ended.code, 0, ended.stderr)
        const document = Cli.documentOf(ended)
        const { buyAndHoldOutOfSample: _, last: _last, ticker: _ticker, ...expected } = figures[ticker] ?? {}
        agrees(document.findings, expected, ticker)
        assert.strictEqual(document.status, "done")
        assert.isNull(document.resumed)
      })
    )
  }
})

describe("holdfast research --chaos", { concurrent: true }, () => {
  it.scopedLive(
    "meets the same faults and recovers the same way for the same seed",
    () =>
      Effect.gen(function* () {
        const { document } = yield* twice(["research", "MSFT", "--chaos", "0.4", "--seed", "7"])
        const recoveries = document.failures.map(({ recovery }) => recovery)
        assert.include(recoveries, "retry")
        assert.include(recoveries, "fallback")
        assert.include(
          document.transitions.map(({ from, to }) => `${from} -> ${to}`),
          "closed -> open"
        )
        // the tree holds what the report says
        const transitions = document.trace.filter(({ name }) => name === "circuit_breaker_transition")
        assert.strictEqual(transitions.length, document.transitions.length)
        const failed = document.trace.filter(({ level, name }) => name === "attempt" && /WARNING|ERROR/.test(level))
        assert.strictEqual(failed.length, document.failures.length)
        // no message tells a time that another run would not have
        assert.notMatch(JSON.stringify(repeatable(document)), /\d ?ms\b/)
      }),
    90_000
  )

  const thrice = /^[er]{3}\./
  it.scopedLive(
    "sends the swarm out again when a required agent's failure may pass",
    () =>
      Effect.gen(function* () {
        const seed = seedWhere(0.3, (faults) => thrice.test(faults.risk) && isCalm(faults, ["risk"]))
        const { document, ended } = yield* twice(["research", "IBM", "--chaos", "0.3", "--seed", `${seed}`])
        assert.strictEqual(ended.code, 0, ended.stderr)
        assert.strictEqual(document.rounds, 2)
        assert.include(
          document.failures.map(({ outcome }) => outcome),
          "the swarm went out again (round 2)"
        )
        assert.deepStrictEqual(
          document.transitions.map(({ from, to }) => `${from} -> ${to}`),
          ["closed -> open", "open -> half-open", "half-open -> closed"]
        )
      }),
    90_000
  )

  it.scopedLive(
    "asks an agent that it cannot do without again, and does without one that it can",
    () =>
      Effect.gen(function* () {
        const seed = seedWhere(
          0.4,
          (faults) =>
            thrice.test(faults.strategy_dev) &&
            /^[^.]{3}/.test(faults.reversion) &&
            isBearable(faults, ["strategy_dev", "reversion"])
        )
        const { document, ended } = yield* once(["research", "AAPL", "--chaos", "0.4", "--seed", `${seed}`])
        assert.strictEqual(ended.code, 0, ended.stderr)
        const outcomes = (agent: string) =>
          document.failures.filter((failure) => failure.agent === agent).map(({ outcome }) => outcome)
        assert.deepStrictEqual(
          outcomes("strategy_dev"),
          Array(4).fill("recovered: asked again after a pause, call 2 worked")
        )
        assert.deepStrictEqual(outcomes("reversion"), Array(4).fill("not recovered: the result does without it"))
        assert.notProperty(document.findings, "reversion")
      }),
    90_000
  )

  it.scopedLive(
    "ends as failed, with exit code 1, when nothing answers",
    () =>
      Effect.gen(function* () {
        const { document, ended, options } = yield* once(["research", "--chaos", "1", "--seed", "3"])
        assert.strictEqual(ended.code, 1, ended.stderr)
        assert.strictEqual(document.status, "failed")
        assert.strictEqual(document.rounds, 3)
        // it has ended: to resume it shows it again, and tries nothing
        const again = yield* Cli.run(["resume", document.thread, "--json"], options)
        assert.strictEqual(again.code, 1, again.stderr)
        assert.deepStrictEqual(repeatable(Cli.documentOf(again)), repeatable(document))
        assert.deepStrictEqual(Cli.startsOf(again.stderr), {})
      }),
    90_000
  )
})
