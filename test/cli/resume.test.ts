/**
 * A run that was killed goes on where its last checkpoint stands: what had finished does not run again.
 */
import { copyFileSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Prices from "../../src/programs/research/Prices.js"
import * as TestDatabases from "../support/databases.js"
import { isCalm, seedWhere } from "./chaos.js"
import * as ModelServer from "./modelServer.js"
import * as Cli from "./support.js"

/** Faults that let the swarm finish at once, and keep `strategy_dev` for two seconds. */
const chaos = () => [
  "--chaos",
  "0.2",
  "--seed",
  `${seedWhere(0.2, (faults) => /^h\./.test(faults.strategy_dev) && isCalm(faults, ["strategy_dev"]))}`
]

describe("holdfast resume", () => {
  for (const backend of TestDatabases.backends) {
    it.scopedLive(
      `goes on after every kill, on ${backend.name}`,
      () =>
        Effect.gen(function* () {
          const database = yield* backend.create
          const model = yield* ModelServer.make
          const options = { cwd: yield* Cli.emptyFolder, env: { ...database.env, ...model.env } }

          // killed while the first node runs: it is the model that keeps it
          model.behave("hang")
          const first = yield* Cli.start(["research", "AAPL", ...chaos(), "--thread", "t"], options)
          yield* model.asked(1)
          yield* first.kill("SIGKILL")
          assert.strictEqual((yield* first.ended).signal, "SIGKILL")

          // killed after the first node
          model.behave("answer")
          const second = yield* Cli.start(["resume", "t"], options)
          yield* second.saw(/strategy_dev +running/)
          yield* second.kill("SIGKILL")
          const { signal, stderr } = yield* second.ended
          assert.strictEqual(signal, "SIGKILL")
          assert.strictEqual(Cli.startsOf(stderr)["technical"], 1, stderr)
          assert.strictEqual(model.calls(), 2)

          const third = yield* Cli.run(["resume", "t", "--json"], options)
          assert.strictEqual(third.code, 0, third.stderr)
          const document = Cli.documentOf(third)
          assert.strictEqual(document.status, "done")
          assert.deepStrictEqual(document.resumed?.next, ["strategy_dev"])
          assert.deepStrictEqual(document.narrative, ModelServer.prose)
          assert.strictEqual(model.calls(), 2)
          assert.hasAllKeys(Cli.startsOf(third.stderr), ["strategy_dev", "quality_gate", "out_of_sample"])
          const going = document.trace.find(({ name }) => name === "resume_from_checkpoint")
          assert.match(String(going?.metadata["interrupted_trace_id"]), /^[0-9a-f]{32}$/)
          assert.notStrictEqual(going?.metadata["interrupted_trace_id"], going?.traceId)

          // at its end: shown again, and nothing runs
          const fourth = yield* Cli.run(["resume", "t"], options)
          assert.strictEqual(fourth.code, 0, fourth.stderr)
          assert.match(fourth.stdout, /it had already ended: nothing ran again/)
          assert.deepStrictEqual(Cli.startsOf(fourth.stderr), {})
          assert.strictEqual(model.calls(), 2)

          const threads = yield* Cli.run(["threads"], options)
          assert.match(threads.stdout, /^t +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +finished +- +\d+$/m)
          const history = yield* Cli.run(["history", "t", "--limit", "2"], options)
          assert.match(
            history.stdout,
            /^CHECKPOINT.*\n\S+ +\S+ \S+ +\d+ +out_of_sample +-\n\S+ .* quality_gate +out_of_sample\n$/
          )
          // a reader that has gone is no failure
          for (const args of [["threads"], ["resume", "t", "--json"]]) {
            const { code, stderr } = yield* Cli.run(args, { ...options, deaf: true })
            assert.strictEqual(code, 0, stderr)
            assert.notMatch(stderr, /EPIPE| at /)
          }
        }),
      60_000
    )
  }

  it.scopedLive(
    "refuses prices that have changed, and goes on when they are back",
    () =>
      Effect.gen(function* () {
        const cwd = yield* Cli.emptyFolder
        const file = join(cwd, "p.csv")
        copyFileSync(Prices.shipped, file)
        const first = yield* Cli.start(["research", "AAPL", "--prices", "p.csv", ...chaos(), "--thread", "t"], { cwd })
        yield* first.saw(/strategy_dev +running/)
        yield* first.kill("SIGKILL")
        yield* first.ended
        const before = readFileSync(file, "utf8")
        writeFileSync(file, `${before.trimEnd()}\n1,1,1,1,1,"2016-03-02"\n`)
        const refused = yield* Cli.run(["resume", "t"], { cwd })
        assert.strictEqual(refused.code, 2, refused.stderr)
        assert.match(refused.stderr, /p\.csv has changed since the run began/)
        assert.strictEqual(refused.stdout, "")
        writeFileSync(file, before)
        const { code, stderr, stdout } = yield* Cli.run(["resume", "t"], { cwd })
        assert.strictEqual(code, 0, stderr)
        assert.match(stdout, /^resumed from a checkpoint \d+ s old: went on at strategy_dev$/m)
      }),
    60_000
  )
})
