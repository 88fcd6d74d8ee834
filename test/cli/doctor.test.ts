/** `holdfast doctor` says what is wrong, and shows what waits and what was refused. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as TestDatabases from "../support/databases.js"
import * as LangfuseServer from "../support/LangfuseServer.js"
import * as Cli from "./support.js"

const [embedded] = TestDatabases.backends

const Document = Schema.Struct({
  findings: Schema.Array(Schema.Struct({ check: Schema.String, status: Schema.String, message: Schema.String })),
  delivery: Schema.Array(
    Schema.Struct({
      kind: Schema.String,
      target: Schema.String,
      queued: Schema.Number,
      sent: Schema.Number,
      stored: Schema.Number,
      refused: Schema.Number,
      lost: Schema.Number
    })
  )
})

const documentOf = ({ stdout }: Cli.Ended) => Schema.decodeUnknownSync(Schema.parseJson(Document))(stdout)

describe("holdfast doctor", () => {
  it.scopedLive(
    "shows what a run could not deliver, and delivers it when asked",
    () =>
      Effect.gen(function* () {
        const server = yield* LangfuseServer.make({ poison: (name) => name === "agent_risk" })
        const { env } = yield* (embedded ?? assert.fail("no database")).create
        const options = { cwd: yield* Cli.emptyFolder, env: { ...env, ...server.env } }
        yield* server.down
        const run = yield* Cli.run(["research", "--thread", "t"], options)
        assert.strictEqual(run.code, 0, run.stderr)

        const down = yield* Cli.run(["doctor"], options)
        assert.strictEqual(down.code, 1, down.stdout)
        assert.match(down.stdout, new RegExp(`^✗ langfuse +${server.url} cannot be reached: ECONNREFUSED$`, "m"))
        const [, waiting] =
          /^▲ outbox +(\d+) observations wait for .*: ECONNREFUSED\. The next/m.exec(down.stdout) ?? []
        assert.isAbove(Number(waiting), 20, down.stdout)
        assert.match(down.stdout, new RegExp(`^observations to ${server.url} +0 +0 +${waiting} +0 +0$`, "m"))

        yield* server.up
        const up = yield* Cli.run(["doctor", "--deliver", "--json"], options)
        assert.strictEqual(up.code, 0, up.stdout + up.stderr)
        const { delivery, findings } = documentOf(up)
        assert.deepStrictEqual(
          delivery.find(({ kind }) => kind === "observations"),
          {
            kind: "observations",
            target: server.url,
            queued: 0,
            sent: Number(waiting) - 1,
            stored: 0,
            refused: 1,
            lost: 0
          }
        )
        assert.strictEqual(new Set(server.observations().map(({ id }) => id)).size, Number(waiting) - 1)
        const refused = findings.filter(({ check, status }) => check === "outbox" && status === "warning")
        assert.strictEqual(refused.length, 1)
        assert.match(
          refused[0]?.message ?? "",
          /refused observation "agent_risk" \([0-9a-f]{32}\/[0-9a-f]{16}\): HTTP 400/
        )
      }),
    90_000
  )

  it.scopedLive(
    "makes nothing where nothing is, and names keys that are refused",
    () =>
      Effect.gen(function* () {
        const server = yield* LangfuseServer.make()
        const cwd = yield* Cli.emptyFolder
        const env = { ...server.env, LANGFUSE_SECRET_KEY: "sk-lf-wrong-0000" }
        const ended = yield* Cli.run(["doctor"], { cwd, env })
        assert.strictEqual(ended.code, 1, ended.stderr)
        assert.match(ended.stdout, /^✗ keys +refused \(HTTP 401\): look at LANGFUSE_PUBLIC_KEY/m)
        assert.match(ended.stdout, /^✓ outbox +empty: nothing waits$/m)
        assert.notInclude(ended.stdout + ended.stderr, "sk-lf-wrong-0000")
        assert.deepStrictEqual(Cli.filesIn(cwd), [])
      }),
    60_000
  )
})
