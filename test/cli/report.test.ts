/** `holdfast report`: figures and objectives, their exit codes, and what is said where there is nothing to report on. */
import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import * as Agent from "../../src/agent/Agent.js"
import * as command from "../../src/cli/commands/report.js"
import * as terminal from "../../src/cli/internal/terminal.js"
import * as Langfuse from "../../src/langfuse/Langfuse.js"
import * as Report from "../../src/langfuse/Report.js"
import * as TestDatabases from "../support/databases.js"
import * as LangfuseQueries from "../support/LangfuseQueries.js"
import * as Cli from "./support.js"

const [embedded] = TestDatabases.backends

let ids = 0
const span = (
  parent: Report.Observation | undefined,
  name: string,
  from: number,
  to: number,
  metadata: Readonly<Record<string, unknown>>,
  more: Partial<Report.Observation> = {}
): Report.Observation => {
  const spanId = `${ids++}`.padStart(16, "0")
  return {
    traceId: parent?.traceId ?? spanId.padStart(32, "0"),
    spanId,
    parentId: parent?.spanId,
    name,
    level: "DEFAULT",
    statusMessage: undefined,
    startMillis: from,
    endMillis: to,
    metadata,
    ...more
  }
}

/** A call of an agent: its tries, and how it ended. */
const call = (agent: string, from: number, failures: number, success: boolean): ReadonlyArray<Report.Observation> => {
  const end = from + failures * 1_000 + 500
  const outer = span(undefined, `agent_${agent}`, from, end, {
    agent_id: agent,
    success,
    error_type: success ? undefined : "Error"
  })
  const attempts = failures + (success ? 1 : 0)
  const execution = span(outer, "retry_execution", from, end, {
    agent_id: agent,
    attempts_needed: attempts,
    retry_succeeded: success
  })
  const tries = Array.from({ length: attempts }, (_, index) => {
    const failed = index < failures
    const metadata = {
      attempt: index + 1,
      ...(failed ? { error_type: "Error" } : {}),
      ...(index + 1 < attempts ? { delay_seconds: 0.5 } : {})
    }
    return span(execution, "attempt", from + index * 1_000, from + index * 1_000 + 500, metadata)
  })
  return [outer, execution, ...tries]
}

/** Nineteen calls that went well, three of them at the second try, and one that did not; a breaker that opened for a minute. */
const observations = (() => {
  const from = Date.now() - 600_000
  const calls = Array.from({ length: 20 }, (_, index) =>
    call(index < 10 ? "prices" : "news", from + index * 10_000, index === 19 ? 3 : index < 3 ? 1 : 0, index !== 19)
  )
  const moved = (at: number, from: string, to: string) =>
    span(undefined, "circuit_breaker_transition", at, at, { from, to }, { statusMessage: `news: ${from} -> ${to}` })
  return [...calls.flat(), moved(from, "closed", "open"), moved(from + 60_000, "half-open", "closed")]
})()

const Document = Schema.Struct({
  source: Schema.String,
  agent: Schema.NullOr(Schema.String),
  calls: Schema.Struct({ total: Schema.Number, failed: Schema.Number, availability: Schema.NullOr(Schema.Number) }),
  degradation: Schema.Struct({ rate: Schema.Null }),
  agents: Schema.Array(Schema.Struct({ agent: Schema.String })),
  objectives: Schema.Array(Schema.Struct({ measure: Schema.String, met: Schema.NullOr(Schema.Boolean) }))
})

const documentOf = ({ stderr, stdout }: Cli.Ended) =>
  Either.getOrElse(Schema.decodeUnknownEither(Schema.parseJson(Document))(stdout), (error) =>
    assert.fail(`${error}\n${stdout}\n${stderr}`)
  )

describe("holdfast report", () => {
  it.scopedLive(
    "shows the figures, and ends with 3 when an objective is missed",
    () =>
      Effect.gen(function* () {
        const server = yield* LangfuseQueries.make(observations)
        const options = { cwd: yield* Cli.emptyFolder, env: server.env }
        const objective = (...texts: ReadonlyArray<string>) => texts.map((text) => `--objective=${text}`)
        const [missed, met] = yield* Effect.all(
          [
            Cli.run(["report", ...objective("availability=99.9", "p95-latency=2", "degradation-rate=10")], options),
            Cli.run(["report", "--json", "--agent", "prices", "--since=1h", "--objective", "availability=100"], options)
          ],
          { concurrency: 2 }
        )
        assert.strictEqual(missed.code, 3, missed.stderr)
        for (const line of [
          /^Report, \d{4}-\d\d-\d\d \d\d:\d\d:\d\d to .* UTC, from Langfuse at http:\S+$/,
          /^ {2}availability {2}95 % {2}19 answered, 1 failed$/,
          /^ {2}latency {7}p50 500 ms, p95 1\.50 s, p99 3\.50 s, at most 3\.50 s$/,
          /^ {2}retries {7}75 % {2}3 of 4 that were tried again worked; 1\.25 tries on average$/,
          /^ {2}recovery {6}p50 1\.00 s, p95 1\.00 s, p99 1\.00 s, in 3 calls that had failed first$/,
          /^ {2}degradation {3}- {2}no swarm ran$/,
          /^ {2}breakers {6}1 opening of 1 breaker$/,
          /^ {2}news {7}10 {7}90 % {7}0 % {11}0 % +1\.20 +500 ms +3\.50 s +3\.50 s$/,
          /^ {2}prices {5}10 {6}100 %/,
          /^ {2}news {4}Error {6}3 {8}0 {11}1$/,
          /^ {2}news +1 +0 +60\.0 s +60\.0 s +60\.0 s +closed$/,
          /^ {2}✗ missed {6}availability +at least 99\.9 % +95 %$/,
          /^ {2}✓ met {9}p95-latency +at most 2\.00 s +1\.50 s$/,
          /^ {2}\? not judged {2}degradation-rate +at most 10 % +nothing to judge it by$/
        ]) {
          assert.match(missed.stdout, new RegExp(line.source, "m"))
        }
        assert.strictEqual(met.code, 0, met.stderr)
        const { agent, agents, calls, objectives } = documentOf(met)
        assert.deepStrictEqual([agent, agents], ["prices", [{ agent: "prices" }]])
        assert.deepStrictEqual(calls, { total: 10, failed: 0, availability: 1 })
        assert.deepStrictEqual(objectives, [{ measure: "availability", met: true }])
        assert.deepStrictEqual(server.complaints(), [])
        assert.deepStrictEqual(Cli.filesIn(options.cwd), [])
      }),
    120_000
  )

  it.scopedLive(
    "says what is wrong, and with which exit code, or that there is nothing",
    () =>
      Effect.gen(function* () {
        const server = yield* LangfuseQueries.make([])
        const cwd = yield* Cli.emptyFolder
        const { env } = server
        const nobody = { ...env, LANGFUSE_BASE_URL: "http://127.0.0.1:9" }
        const cases: ReadonlyArray<
          readonly [args: ReadonlyArray<string>, env: Readonly<Record<string, string>>, code: number, said: RegExp]
        > = [
          [
            ["--objective", "uptime=99"],
            env,
            2,
            /--objective: there is no measure "uptime"; the measures are availability/
          ],
          [["--since", "never"], env, 2, /--since takes an age above 0, such as 30d/],
          [
            [],
            { ...env, LANGFUSE_SECRET_KEY: "sk-lf-wrong" },
            1,
            /refuses the keys \(HTTP 401\): look at LANGFUSE_PUBLIC/
          ],
          [[], nobody, 1, /Langfuse at http:\/\/127\.0\.0\.1:9 cannot be reached: /],
          [[], {}, 1, /nothing to report on: .* HOLDFAST_OUTBOX_KEEP/],
          [["--agent", "x", "--objective", "availability=99"], env, 0, /nothing in this time: no agent "x" was called/]
        ]
        yield* Effect.forEach(
          cases,
          ([args, env, code, said]) =>
            Effect.map(Cli.run(["report", ...args], { cwd, env }), (ended) => {
              assert.strictEqual(ended.code, code, `${args.join(" ")}: ${ended.stdout}${ended.stderr}`)
              assert.match(ended.stdout + ended.stderr, said)
              assert.notInclude(ended.stdout + ended.stderr, "sk-lf")
            }),
          { concurrency: 2 }
        )
        assert.deepStrictEqual(Cli.filesIn(cwd), [])
      }),
    120_000
  )

  it.scopedLive(
    "reads the copies of what ran without Langfuse",
    () =>
      Effect.gen(function* () {
        const { env, layer } = yield* (embedded ?? assert.fail("no database")).create
        const agents = ["technical", "risk"].map((id) => Agent.make(id, () => Effect.succeed(1)))
        yield* Effect.forEach(agents, (agent) => Agent.invoke(agent, "AAPL")).pipe(
          Effect.provide(Langfuse.layer),
          Effect.withConfigProvider(ConfigProvider.fromMap(new Map([["HOLDFAST_OUTBOX_KEEP", "1 day"]]))),
          Effect.provide(layer)
        )
        const ended = yield* Cli.run(["report", "--json"], { cwd: yield* Cli.emptyFolder, env })
        assert.strictEqual(ended.code, 0, ended.stderr)
        const document = JSON.parse(ended.stdout)
        assert.match(document.source, /^the outbox in the table holdfast_outbox of the embedded database in /)
        assert.deepInclude(document.calls, { total: 2, answered: 2 })
        assert.deepStrictEqual(
          document.agents.map(({ agent }: { readonly agent: string }) => agent),
          ["risk", "technical"]
        )
      }),
    120_000
  )

  it("shows in colour what is met and what is missed, and rounds nothing to what it is not", () => {
    const many = Array.from({ length: 20_001 }, (_, index) =>
      span(undefined, "agent_a", 0, 7_300_000, { agent_id: `\u001b[2J${"a".repeat(100)}`, success: index > 0 })
    )
    const report = Effect.runSync(
      Report.make({
        source: Report.observed(many, "here"),
        until: new Date(1),
        objectives: [
          { measure: "availability", wanted: 100 },
          { measure: "p50-latency", wanted: 10_000 }
        ]
      })
    )
    const text = command.render(report, terminal.painter(true))
    assert.match(text, /availability {2}99\.99 % {2}20000 answered, 1 failed/)
    assert.match(text, /p50 2\.0 h/)
    assert.notInclude(text, "\u001b[2J")
    assert.match(text, /^ {3}\[2Ja{43}… +20001 /m)
    assert.include(text, "\u001b[31m✗ missed")
    assert.include(text, "\u001b[32m✓ met")
    assert.strictEqual(JSON.parse(command.document(report)).recovery, null)
  })
})
