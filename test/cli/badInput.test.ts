/**
 * Bad input gets one clear message on standard error, the right exit code, and nothing is written.
 */
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestDatabases from "../support/databases.js"
import * as Cli from "./support.js"

const days = (count: number): ReadonlyArray<string> =>
  Array.from({ length: count }, (_, index) => new Date(Date.UTC(2010, 0, 1 + index)).toISOString().slice(0, 10))

const csv = (rows: ReadonlyArray<string>): string => ["date,ABC,GSPC", ...rows, ""].join("\n")

/** Enough days, with one line replaced; line 1 names the columns. */
const withLine = (line: number, text: (date: string) => string): string =>
  csv(
    days(600).map((date, index) =>
      index + 2 === line ? text(date) : `${date},${100 + (index % 7)},${200 + (index % 5)}`
    )
  )

interface Case {
  readonly name: string
  readonly args: ReadonlyArray<string>
  readonly env?: Readonly<Record<string, string>>
  readonly files?: Readonly<Record<string, string>>
  readonly code?: number
  readonly says: ReadonlyArray<RegExp | string>
}

const prices = ["research", "ABC", "--prices", "p.csv"]

const questions: ReadonlyArray<Case> = [
  { name: "an unknown ticker", args: ["research", "NOPE"], says: ['"NOPE"', "AAPL, GSPC", "MSFT"] },
  { name: "an unknown benchmark", args: ["research", "AAPL", "--benchmark", "NOPE"], says: ['"NOPE"', "AAPL"] },
  { name: "a missing file", args: prices, says: ["p.csv", /not|no such/i] },
  {
    name: "a malformed number",
    args: prices,
    files: { "p.csv": withLine(7, (date) => `${date},12x,200`) },
    says: ["line 7, column 2", "12x"]
  },
  {
    name: "a line with a cell too few",
    args: prices,
    files: { "p.csv": withLine(9, (date) => `${date},12`) },
    says: ["line 9, column 2", "2 cells"]
  },
  {
    name: "too few days",
    args: prices,
    files: { "p.csv": csv(days(100).map((date) => `${date},1,2`)) },
    says: ["100", "504"]
  },
  {
    name: "dates out of order",
    args: prices,
    files: { "p.csv": withLine(5, () => "2009-12-31,1,2") },
    says: ["line 5, column 1", "comes after"]
  },
  {
    name: "a date twice",
    args: prices,
    files: { "p.csv": withLine(4, () => "2010-01-02,1,2") },
    says: ["line 4, column 1", "2010-01-02", "twice"]
  },
  {
    name: "a price of zero",
    args: prices,
    files: { "p.csv": withLine(3, (date) => `${date},0,200`) },
    says: ["line 3, column 2", "above 0"]
  }
]

const words: ReadonlyArray<Case> = [
  { name: "an unknown command", args: ["reserach"], says: ["research", "resume", "threads", "history"] },
  { name: "an unknown option", args: ["research", "--sede", "3"], says: ["--sede", "--seed"] },
  { name: "an option without its value", args: ["research", "AAPL", "--chaos"], says: ["--chaos", "value"] },
  { name: "an option in place of a value", args: ["research", "--chaos", "--json"], says: ["--chaos", "value"] },
  { name: "a word too many", args: ["research", "AAPL", "MSFT"], says: ["MSFT"] },
  { name: "too much chaos", args: ["research", "--chaos", "2"], says: ["--chaos", "from 0 to 1", '"2"'] },
  {
    name: "a seed that is no number",
    args: ["research", "--chaos", "0.1", "--seed", "x"],
    says: ["--seed", "whole number"]
  },
  { name: "a limit of none", args: ["threads", "--limit", "0"], says: ["--limit", "from 1"] },
  { name: "a thread's name that is none", args: ["research", "--thread", "a/b"], says: ["--thread", '"a/b"'] },
  { name: "an unknown thread to resume", args: ["resume", "nobody"], says: ['"nobody"'] },
  { name: "an unknown thread's history", args: ["history", "nobody"], says: ['"nobody"'] },
  {
    name: "an unknown thread in an empty folder",
    args: ["history", "nobody"],
    files: { ".holdfast/": "" },
    says: ['"nobody"']
  }
]

const variable = (name: string, value: string, takes: string | RegExp, args = ["research"], env = {}): Case => ({
  name: `${name}=${value}, ${args[0]}`,
  args,
  env: { [name]: value, ...env },
  says: [name, takes]
})

const variables: ReadonlyArray<Case> = [
  variable("HOLDFAST_LOG_LEVEL", "loud", "trace, debug, info, warn, error, fatal or none"),
  variable("HOLDFAST_LOG_FORMAT", "xml", "json, pretty or auto", ["threads"]),
  variable("LANGFUSE_SECRET_KEY", "sk-lf-very-secret", "LANGFUSE_PUBLIC_KEY"),
  variable("LANGFUSE_PUBLIC_KEY", "pk-lf-1", "LANGFUSE_SECRET_KEY", ["resume", "t"]),
  variable("LANGFUSE_BASE_URL", "nowhere", "a URL such as", ["threads"]),
  variable("LANGFUSE_TRACING_ENVIRONMENT", "Prod!", "lower-case"),
  variable("LANGFUSE_FLUSH_AT", "0", "a whole number from 1", ["history", "t"]),
  variable("LANGFUSE_FLUSH_INTERVAL", "-1", "seconds"),
  variable("LANGFUSE_TIMEOUT", "soon", "seconds"),
  variable("HOLDFAST_FLUSH_TIMEOUT", "x", "seconds"),
  variable("OPENAI_BASE_URL", "localhost:11434", /http/),
  variable("HOLDFAST_DATABASE_POOL_SIZE", "many", "a whole number above 0"),
  variable("HOLDFAST_DATABASE_CONNECT_TIMEOUT", "soon", "such as 5 seconds", ["threads"]),
  variable("HOLDFAST_DATABASE_CONNECT_ATTEMPTS", "-3", "a whole number above 0", ["history", "t"]),
  variable("HOLDFAST_DATABASE_STATEMENT_TIMEOUT", "x", "0 for none", ["resume", "t"]),
  variable("DATABASE_URL", "mysql://root:hunter2@localhost/x", "postgres:"),
  variable("DATABASE_URL", "not a url", "postgres:", ["threads"])
]

const check = (each: Case) =>
  Effect.gen(function* () {
    const cwd = yield* Cli.emptyFolder
    for (const [name, text] of Object.entries(each.files ?? {})) {
      if (name.endsWith("/")) mkdirSync(join(cwd, name))
      else writeFileSync(join(cwd, name), text)
    }
    const before = Cli.filesIn(cwd)
    const ended = yield* Cli.run(each.args, { cwd, env: each.env ?? {} })
    assert.strictEqual(ended.code, each.code ?? 2, ended.stderr)
    assert.strictEqual(ended.stdout, "")
    clear(ended.stderr)
    for (const said of each.says) {
      if (typeof said === "string") assert.include(ended.stderr, said)
      else assert.match(ended.stderr, said)
    }
    assert.notMatch(ended.stderr, /hunter2|very-secret/)
    assert.deepStrictEqual(Cli.filesIn(cwd), before, "something was written")
  })

/** One message, without a stack trace or log lines. */
const clear = (stderr: string): void => {
  assert.match(stderr, /^holdfast: \S/)
  assert.isAtMost(stderr.trim().split("\n").length, 2, stderr)
  assert.notMatch(stderr, /^\s+at |node:internal|\{"time"|file:\/\//m)
}

describe("bad input", () => {
  for (const [title, cases] of [
    ["questions", questions],
    ["words", words],
    ["variables", variables]
  ] as const) {
    describe(title, { concurrent: true }, () => {
      for (const each of cases) it.scopedLive(each.name, () => check(each))
    })
  }

  it.scopedLive("writes nothing to a server either", () =>
    Effect.gen(function* () {
      const [, postgres] = TestDatabases.backends
      const database = yield* (postgres ?? assert.fail("no server")).create
      const cwd = yield* Cli.emptyFolder
      for (const args of [["resume", "nobody"], ["research", "NOPE"], ["threads"]]) {
        const ended = yield* Cli.run(args, { cwd, env: database.env })
        assert.strictEqual(ended.code, args[0] === "threads" ? 0 : 2, ended.stderr)
      }
      const tables = yield* Effect.flatMap(
        SqlClient.SqlClient,
        (sql) => sql<{ readonly name: string }>`
          select relname as name from pg_class where relnamespace not in (
            select oid from pg_namespace where nspname in ('pg_catalog', 'information_schema', 'pg_toast')
          )`
      ).pipe(Effect.provide(database.layer))
      assert.deepStrictEqual(tables, [])
      assert.deepStrictEqual(Cli.filesIn(cwd), [])
    })
  )
})

describe("an environment that fails", () => {
  it.scopedLive("a server that cannot be reached: after its retries, exit 1", () =>
    Effect.gen(function* () {
      const cwd = yield* Cli.emptyFolder
      const env = {
        DATABASE_URL: "postgres://holdfast:hunter2@127.0.0.1:1/x",
        HOLDFAST_DATABASE_CONNECT_ATTEMPTS: "3"
      }
      const ended = yield* Cli.run(["research"], { cwd, env })
      assert.strictEqual(ended.code, 1, ended.stderr)
      assert.match(ended.stderr, /holdfast: .*127\.0\.0\.1:1.*cannot be reached \(3 attempts/)
      assert.notInclude(ended.stderr, "hunter2")
      assert.isBelow(ended.millis, 20_000)
      assert.deepStrictEqual(Cli.filesIn(cwd), [])
    })
  )

  it.scopedLive("a data folder in use: names the holder, exit 1; the holder goes on", () =>
    Effect.gen(function* () {
      const cwd = yield* Cli.emptyFolder
      const holder = yield* Cli.start(["research", "MSFT", "--chaos", "1", "--thread", "first"], { cwd })
      yield* holder.saw(/technical +(running|retrying)/)
      const ended = yield* Cli.run(["research"], { cwd })
      assert.strictEqual(ended.code, 1, ended.stderr)
      assert.match(ended.stderr, new RegExp(`^holdfast: .*in use by process ${holder.pid}\\b`, "m"))
      assert.strictEqual(ended.stdout, "")
      yield* holder.kill("SIGINT")
      const { code } = yield* holder.ended
      assert.strictEqual(code, 130)
      // the thread's name is taken, and nothing of it is changed by asking for it again
      const again = yield* Cli.run(["research", "--thread", "first"], { cwd })
      assert.strictEqual(again.code, 2, again.stderr)
      assert.include(again.stderr, 'the thread "first" is stored already')
    })
  )

  it.scopedLive("a data folder that is a file, exit 1", () =>
    Effect.gen(function* () {
      const cwd = yield* Cli.emptyFolder
      writeFileSync(join(cwd, "file"), "")
      const ended = yield* Cli.run(["threads"], { cwd, env: { HOLDFAST_DATA_DIR: "file" } })
      assert.strictEqual(ended.code, 1, ended.stderr)
      clear(ended.stderr)
      assert.include(ended.stderr, "HOLDFAST_DATA_DIR")
    })
  )

  it.scopedLive("a .env that is a folder is none", () =>
    Effect.gen(function* () {
      const cwd = yield* Cli.emptyFolder
      mkdirSync(join(cwd, ".env"))
      const ended = yield* Cli.run(["threads"], { cwd })
      assert.strictEqual(ended.code, 0, ended.stderr)
      assert.include(ended.stdout, "nothing is stored")
    })
  )
})
