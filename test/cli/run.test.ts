/**
 * Graphs of a user's on the command line, each command as a process of its own: what it says, what it leaves, and how it ends.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Built from "../package/built.js"
import * as TestDatabases from "../support/databases.js"
import * as Project from "./project.js"
import * as Cli from "./support.js"

/** A database on the server, which a process opens sooner than an embedded one, and a folder with a project. */
const setting = (files: Readonly<Record<string, string>>) =>
  Effect.gen(function* () {
    const server = TestDatabases.backends.find(({ name }) => name === "postgres")
    if (server === undefined) throw new Error("there is a server")
    const { env } = yield* server.create
    const cwd = yield* Project.make(files)
    const options = { cwd, env: { ...env, HOLDFAST_LOG_LEVEL: "warn" } }
    return {
      cwd,
      start: (...args: ReadonlyArray<string>) => Cli.start(args, options),
      run: (...args: ReadonlyArray<string>) => Cli.run(args, options)
    }
  })

const result = (ended: Cli.Ended) => Project.events(ended).at(-1)

describe("holdfast run", () => {
  it.scopedLive(
    "runs a graph of TypeScript that asks, takes the answer that fits, and forgets it when told",
    () =>
      Effect.gen(function* () {
        const { run } = yield* setting({
          "src/approval.ts": Project.approval,
          "src/mood.ts": Project.mood,
          "langgraph.json": JSON.stringify({
            graphs: { approval: "./src/approval.ts:builder" },
            env: { COLUMNS: "80" }
          }),
          "input.json": '{"name": "Ada"}'
        })
        const config = ["--config", '{"configurable": {"mood": "glad"}}']
        const asked = yield* run("run", "approval", "--input", "@input.json", "--thread", "t", "--json", ...config)
        assert.strictEqual(asked.code, 4, asked.stderr)
        assert.deepStrictEqual(
          Project.events(asked).map(({ node = "", phase = "", type }) => `${type} ${node} ${phase}`.trim()),
          ["start", "node greet started", "node greet ended", "node approve started", "interrupt approve", "result"]
        )
        assert.deepInclude(result(asked), {
          thread: "t",
          status: "waiting",
          next: ["approve"],
          state: { name: "Ada", said: ["Hello, Ada: glad"] }
        })

        const over = yield* run("run", "approval", "--input", "{}", "--thread", "t")
        assert.strictEqual(over.code, 2)
        assert.match(over.stderr, /waits for an answer, which a new input would lose/)
        const refused = yield* run("resume", "t", "--answer", '"maybe"')
        assert.strictEqual(refused.code, 2)
        assert.match(refused.stderr, /must be boolean, not string; the thread still waits\napprove asks: /)

        // an answer that is false is one, and the config is the one of the thread
        const sent = yield* run("resume", "t", "--answer", "false", "--json")
        assert.strictEqual(sent.code, 4, sent.stderr)
        assert.deepInclude(Project.events(sent).at(-2), { type: "interrupt", node: "approve", value: "Who says so?" })
        assert.deepInclude(result(sent), { status: "waiting", next: ["approve"] })
        const waiting = yield* run("threads", "--waiting")
        assert.match(waiting.stdout, /^t +\S+ \S+ +approve\n {2}asks: "Who says so\?"\n$/)
        const done = yield* run("resume", "t", "--answer", '"Bob"', "--stream", "--json")
        assert.strictEqual(done.code, 0, done.stderr)
        const state = { name: "Ada", said: ["Hello, Ada: glad", "Bob"], sent: false }
        assert.deepInclude(Project.events(done), {
          type: "update",
          node: "approve",
          update: { said: ["Bob"], sent: false }
        })
        assert.deepInclude(result(done), { status: "done", state })

        const history = yield* run("history", "t", "--diff")
        assert.match(history.stdout, /\n\S+ +\S+ \S+ +2 +approve +-\n {4}\+ said\[1\]: "Bob"\n {4}\+ sent: false\n/)
        assert.match(history.stdout, / greet +approve\n {4}\+ said: \["Hello, Ada: glad"\]\n/)

        const before = /^(\S+) .* greet +approve$/m.exec(history.stdout)?.[1] ?? ""
        const forked = yield* run("fork", "t", before, "--set", '{"name": "Eve"}', "--as-node", "greet", "--json")
        assert.strictEqual(forked.code, 0, forked.stderr)
        const again = yield* run("resume", "t", "--json")
        assert.strictEqual(again.code, 4, again.stderr)
        assert.deepInclude(result(again), { status: "waiting", state: { name: "Eve", said: ["Hello, Ada: glad"] } })

        const gone = yield* run("delete", "t")
        assert.strictEqual(gone.code, 0, gone.stderr)
        assert.match(gone.stdout, /^t is gone, with \d+ checkpoints\n$/)
      }),
    240_000
  )

  it.scopedLive(
    "goes on after kills, signals and failures, with the policies of the project",
    () =>
      Effect.gen(function* () {
        const { cwd, run, start } = yield* setting({ "steps.mjs": Project.steps })
        const hold = (name: string) => writeFileSync(join(cwd, `hold-${name}`), "")
        const release = (name: string) => rmSync(join(cwd, `hold-${name}`))
        const calls = () => readFileSync(join(cwd, "calls.txt"), "utf8").trim().split("\n")

        hold("first")
        const first = yield* start("run", "steps.mjs:make", "--thread", "t")
        yield* first.saw(/• first started/)
        yield* first.kill("SIGKILL")
        yield* first.ended

        release("first")
        hold("second")
        const second = yield* start("resume", "t", "--json")
        yield* Effect.repeat(Effect.sleep("20 millis"), { until: () => calls().includes("second") })
        yield* second.kill("SIGTERM")
        const stopped = yield* second.ended
        assert.strictEqual(stopped.code, 143, stopped.stderr)
        assert.deepInclude(result(stopped), { type: "result", status: "stopped" })
        assert.deepStrictEqual(calls(), ["first", "first", "second"])

        const third = yield* start("resume", "t")
        yield* third.saw(/• second started/)
        yield* third.kill("SIGINT")
        const interrupted = yield* third.ended
        assert.strictEqual(interrupted.code, 130, interrupted.stderr)
        assert.match(interrupted.stderr, /stopped; go on with: .* resume t\n/)

        release("second")
        writeFileSync(join(cwd, "break-second"), "")
        writeFileSync(
          join(cwd, "holdfast.config.ts"),
          `import { define } from "holdfast/config"
           export default define({ policy: { retry: { maxAttempts: 2, base: "1 millis" } } })`
        )
        const failed = yield* run("resume", "t")
        assert.strictEqual(failed.code, 1, failed.stderr)
        assert.match(failed.stderr, /↻ second retrying {2}attempt 2 after .*second is broken/)
        assert.match(failed.stderr, /✗ second: Error: second is broken\nfailed; go on with: .* resume t\n/)

        rmSync(join(cwd, "break-second"))
        const done = yield* run("resume", "t")
        assert.strictEqual(done.code, 0, done.stderr)
        assert.deepStrictEqual(JSON.parse(done.stdout), { done: ["first", "second"] })
        assert.deepStrictEqual(
          calls().filter((name) => name === "first"),
          ["first", "first"]
        )
      }),
    240_000
  )

  it.scopedLive(
    "says of a module that is wrong which file it is and why",
    () =>
      Effect.gen(function* () {
        const { cwd, run } = yield* setting({
          "src/syntax.ts": "export const graph = {\n  a: 1,\n  b c\n}\n",
          "src/syntax.mjs": "export const graph = (\n",
          "src/throws.ts": "const a = 1\nthrow new Error('no key ' + a)\n",
          "src/imports.ts": 'import "./throws.js"\nexport const graph = 1\n',
          "src/missing.mjs": 'import "no-such-package"\n',
          "src/none.mjs": "export const graph = 42\n",
          "tsconfig.json": '{ "compilerOptions": { "paths": { "@/*": ["./src/*"] }, /* and no more */ } }',
          "src/alias.ts":
            'import { n } from "@/lib/n"\nimport { n as m } from "./lib/n"\nexport const graph: number = n + m\n',
          "src/lib/n.ts": "export const n: number = 21\n",
          "src/two.mjs": "export const a = () => {}\nexport const b = () => {}\n",
          "src/factory.ts": "export const graph = async (): Promise<never> => { throw new TypeError('no model') }\n",
          "src/effect.ts": 'import { Effect } from "effect"\nexport default Effect.fail(new Error("no service"))\n',
          "ask.mjs": `
            import * as Effect from "effect/Effect"
            const { load } = await import("holdfast-internal/cli/internal/modules.js")
            const { compile, pick } = await import("holdfast-internal/cli/internal/compile.js")
            const said = {}
            for (const text of process.argv.slice(2)) {
              const [path, name] = text.split(":")
              const reference = { text, path, name }
              const work = Effect.flatMap(load(path), (exports) => pick(exports, reference)).pipe(
                Effect.flatMap((value) => compile(value, reference, {}, {}, {}))
              )
              const error = await Effect.runPromise(Effect.flip(work))
              said[text] = error._tag + ": " + error.message
            }
            console.log(JSON.stringify(said))
          `.replaceAll("holdfast-internal", `${Built.folder()}/dist`)
        })
        const expected: Readonly<Record<string, RegExp>> = {
          "src/nowhere.ts": /^UsageError: there is no module src\/nowhere\.ts$/,
          "src/syntax.ts":
            /^ModuleError: src\/syntax\.ts cannot be loaded: SyntaxError: src\/syntax\.ts:3:\d+: ',' expected/,
          "src/syntax.mjs":
            /^ModuleError: src\/syntax\.mjs cannot be loaded: SyntaxError: .*\(at src\/syntax\.mjs:\d+\)$/,
          "src/throws.ts":
            /^ModuleError: src\/throws\.ts cannot be loaded: Error: no key 1 \(at src\/throws\.ts:2:\d+\)$/,
          "src/imports.ts":
            /^ModuleError: src\/imports\.ts cannot be loaded: Error: no key 1 \(at src\/throws\.ts:2:\d+\)$/,
          "src/missing.mjs": /cannot be loaded: .*'no-such-package'.*`npm install no-such-package`/,
          "src/none.mjs": /^UsageError: src\/none\.mjs is a number: it must be a graph of LangGraph/,
          "src/alias.ts": /^UsageError: src\/alias\.ts is a number/,
          "src/none.mjs:other": /^UsageError: src\/none\.mjs has no export "other"; it exports graph$/,
          "src/two.mjs":
            /^UsageError: say which export of src\/two\.mjs is the graph, as src\/two\.mjs:NAME; it exports a, b$/,
          "src/factory.ts": /^ModuleError: src\/factory\.ts gives no graph: TypeError: no model$/,
          "src/effect.ts": /^ModuleError: src\/effect\.ts gives no graph: Error: no service$/
        }
        const ended = yield* Effect.promise(() => Built.node(cwd, ["ask.mjs", ...Object.keys(expected)]))
        assert.strictEqual(ended.code, 0, ended.stderr)
        const said: Readonly<Record<string, string>> = JSON.parse(ended.stdout)
        for (const [text, shape] of Object.entries(expected)) assert.match(said[text] ?? "", shape)

        const broken = yield* run("run", "src/throws.ts")
        assert.strictEqual(broken.code, 1)
        assert.match(broken.stderr, /^holdfast: src\/throws\.ts cannot be loaded: Error: no key 1/)
        const wrong = yield* run("run", "src/none.mjs", "--input", "{name: 1}")
        assert.strictEqual(wrong.code, 2, wrong.stderr)
        assert.match(wrong.stderr, /^holdfast: --input: "\{name: 1\}" is no JSON/)
        const completions = yield* run("--completions", "bash")
        assert.strictEqual(completions.code, 0, completions.stderr)
        assert.match(completions.stdout, /--answer/)
      }),
    240_000
  )
})
