/**
 * Every environment variable that the code reads is documented, with what it takes, and nothing else is.
 */
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import ts from "typescript"
import * as Settings from "../../src/cli/Settings.js"
import { root } from "../package/built.js"

/** Names that other tools have made: no setting of ours. */
const standard = ["COLUMNS", "FORCE_COLOR", "NO_COLOR", "TERM"]

/** Names that only the test suite reads. */
const forTests = ["TEST_DATABASE_URL"]

const ours = /^(?:HOLDFAST|LANGFUSE|OPENAI|OTEL|DATABASE)_[A-Z0-9_]+$/
const configs = new Set(["string", "redacted", "nested", "number", "integer", "boolean", "url", "literal", "duration"])

const isProcessEnv = (node: ts.Node): boolean => node.getText() === "process.env"

/** Names of variables in a source: texts that look like ours, names given to `Config`, and fields of `process.env`. */
const namesIn = (file: string): ReadonlyArray<string> => {
  const source = ts.createSourceFile(file, readFileSync(file, "utf8"), ts.ScriptTarget.ES2022, true)
  const found: Array<string> = []
  const visit = (node: ts.Node): void => {
    if (ts.isStringLiteralLike(node) && ours.test(node.text)) found.push(node.text)
    if (ts.isPropertyAccessExpression(node) && isProcessEnv(node.expression)) found.push(node.name.text)
    if (ts.isElementAccessExpression(node) && isProcessEnv(node.expression)) {
      const { argumentExpression: name } = node
      assert.isTrue(ts.isStringLiteralLike(name), `${file} reads a variable whose name this test cannot know`)
      if (ts.isStringLiteralLike(name)) found.push(name.text)
    }
    if (ts.isCallExpression(node) && ts.isPropertyAccessExpression(node.expression)) {
      const { expression: module, name } = node.expression
      const text = node.arguments.find(ts.isStringLiteralLike)
      if (module.getText() === "Config" && configs.has(name.text) && text !== undefined) found.push(text.text)
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

const read = (path: string): string => readFileSync(join(root, path), "utf8")
const sorted = (names: Iterable<string>): ReadonlyArray<string> => [...new Set(names)].sort()

const inSource = sorted(
  readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .flatMap((name) => namesIn(join(root, "src", name)))
)
const settings = inSource.filter((name) => !standard.includes(name))

/** The rows of the tables, `| NAME | default | takes |`. */
const rows = read("docs/configuration.md")
  .split("\n")
  .flatMap((line) => {
    const [, name, cells] = /^\| `([A-Z_]+)` \| (.*) \|$/.exec(line) ?? []
    return name === undefined || cells === undefined ? [] : [{ name, cells: cells.split(" | ") }]
  })

/** The lines of the example, `#NAME=value`. */
const examples = read(".env.example")
  .split("\n")
  .flatMap((line) => {
    const match = /^(#?)([A-Z_]+)=(.*)$/.exec(line)
    return match === null ? [] : [{ name: match[2] ?? "", value: match[3] ?? "", commented: match[1] === "#" }]
  })

/** What the command line reads of the environment before anything else. */
const load = (env: ReadonlyArray<readonly [string, string]>) =>
  Effect.withConfigProvider(Settings.load, ConfigProvider.fromMap(new Map(env)))

/** Standard names, and the older ones of a name that it knows. */
const besides = ["LANGFUSE_BASEURL", "LANGFUSE_HOST", "TERM"]

describe("configuration", () => {
  it("is documented, variable by variable, and nothing else is", () => {
    assert.includeMembers([...settings], ["HOLDFAST_LOG_LEVEL", "LANGFUSE_SECRET_KEY", "DATABASE_URL", "OPENAI_MODEL"])
    assert.deepStrictEqual(sorted(rows.map(({ name }) => name)), sorted([...inSource, ...forTests]))
    assert.strictEqual(rows.length, sorted(rows.map(({ name }) => name)).length, "a variable stands once")
  })

  it("has each variable in .env.example, where none of them is set", () => {
    assert.deepStrictEqual(sorted(examples.map(({ name }) => name)), sorted([...settings, ...forTests]))
    assert.deepStrictEqual(
      examples.filter(({ commented }) => !commented),
      []
    )
  })

  it("has the same defaults in both", () => {
    for (const { cells, name } of rows) {
      const fallback = /^`(.+)`$/.exec(cells[0] ?? "")?.[1]
      if (fallback === undefined || standard.includes(name)) continue
      assert.strictEqual(examples.find((each) => each.name === name)?.value, fallback, name)
    }
  })

  it.effect("takes every value of .env.example", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(load(examples.map(({ name, value }) => [name, value] as const)))
      assert.isTrue(Exit.isSuccess(exit), String(exit))
    })
  )

  it("says of each what the command line says of it", () => {
    assert.deepStrictEqual(
      sorted([...Settings.variables.map(({ name }) => name), ...besides]),
      inSource,
      "the command line knows them all"
    )
    for (const { fallback, name, takes } of Settings.variables) {
      if (standard.includes(name)) continue
      const [first, second] = rows.find((row) => row.name === name)?.cells ?? []
      assert.strictEqual(second, takes, name)
      assert.strictEqual(/^`(.+)`$/.exec(first ?? "")?.[1], fallback, name)
    }
  })

  /** A value that the variable does not take; for those that take any text there is none. */
  const malformed: Readonly<Record<string, string>> = {
    DATABASE_URL: "localhost",
    HOLDFAST_DATABASE_POOL_SIZE: "0",
    HOLDFAST_DATABASE_CONNECT_TIMEOUT: "soon",
    HOLDFAST_DATABASE_CONNECT_ATTEMPTS: "1.5",
    HOLDFAST_DATABASE_STATEMENT_TIMEOUT: "a while",
    HOLDFAST_DATABASE_LOCK_TIMEOUT: "-1 second",
    HOLDFAST_DATABASE_SILENCE_TIMEOUT: "five",
    HOLDFAST_DATABASE_RETRY_ATTEMPTS: "0",
    HOLDFAST_DATABASE_RETRY_TIME: "half",
    HOLDFAST_CHECKPOINT_COMPRESSION: "yes please",
    HOLDFAST_CHECKPOINT_TTL: "0d",
    HOLDFAST_CHECKPOINT_SWEEP_INTERVAL: "often",
    HOLDFAST_ENCRYPTION_KEYS: "2026-11:short",
    HOLDFAST_ENCRYPTION_METADATA: "a,,b",
    HOLDFAST_ENCRYPTION_ALLOW_PLAINTEXT: "maybe",
    LANGFUSE_PUBLIC_KEY: "",
    LANGFUSE_SECRET_KEY: "",
    LANGFUSE_BASE_URL: "cloud",
    LANGFUSE_BASEURL: "cloud",
    LANGFUSE_HOST: "cloud",
    LANGFUSE_TRACING_ENVIRONMENT: "Production!",
    LANGFUSE_FLUSH_AT: "abc",
    LANGFUSE_FLUSH_INTERVAL: "1 second",
    LANGFUSE_TIMEOUT: "abc",
    HOLDFAST_FLUSH_TIMEOUT: "0",
    LANGFUSE_SAMPLE_RATE: "1.5",
    HOLDFAST_JOIN_OPENTELEMETRY: "perhaps",
    HOLDFAST_TRACE_INPUTS: "some",
    HOLDFAST_TRACE_OUTPUTS: "none",
    HOLDFAST_TRACE_MAX_LENGTH: "0",
    HOLDFAST_TRACE_STACKS: "no",
    HOLDFAST_REDACT_PATTERN: "x*",
    HOLDFAST_REDACT_FIELDS: "a b",
    HOLDFAST_COMPRESSION: "zip",
    HOLDFAST_OUTBOX: "maybe",
    HOLDFAST_OUTBOX_MAX_MB: "much",
    HOLDFAST_OUTBOX_MAX_AGE: "7",
    HOLDFAST_OUTBOX_KEEP: "for ever",
    HOLDFAST_OTLP_ENDPOINT: "localhost:4318",
    HOLDFAST_OTLP_HEADERS: "no pair",
    HOLDFAST_LOG_LEVEL: "loud",
    HOLDFAST_LOG_FORMAT: "xml",
    OPENAI_BASE_URL: "localhost:11434"
  }
  const takesAnything = [
    "HOLDFAST_DATA_DIR",
    "LANGFUSE_RELEASE",
    "OPENAI_API_KEY",
    "OPENAI_MODEL",
    ...forTests,
    ...standard
  ]

  it("knows of each variable whether it can be malformed", () => {
    assert.deepStrictEqual(sorted([...Object.keys(malformed), ...takesAnything]), sorted(rows.map(({ name }) => name)))
  })

  for (const [name, value] of Object.entries(malformed)) {
    it.effect(`says of a malformed ${name} what the documentation says it takes`, () =>
      Effect.gen(function* () {
        const other = name === "LANGFUSE_PUBLIC_KEY" ? "LANGFUSE_SECRET_KEY" : "LANGFUSE_PUBLIC_KEY"
        const env: ReadonlyArray<readonly [string, string]> = value === "" ? [[other, "key"]] : [[name, value]]
        const error = yield* Effect.flip(load(env))
        assert.strictEqual(error.setting, name)
        const takes = rows.find((row) => row.name === name)?.cells[1] ?? "nothing"
        // of a key without the other it says more
        if (value !== "") assert.strictEqual(error.expected, takes)
      })
    )
  }
})
