/** `holdfast threads prune`: what it says, what goes, and what is refused before anything is opened. */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as CheckpointManager from "../../src/checkpoint/CheckpointManager.js"
import * as prune from "../../src/cli/commands/prune.js"
import * as Failure from "../../src/cli/Failure.js"
import * as age from "../../src/cli/internal/age.js"
import * as Settings from "../../src/cli/Settings.js"
import * as TestDatabases from "../support/databases.js"
import * as Cli from "./support.js"

const none = { keep: undefined, olderThan: undefined, thread: undefined, whole: false, dryRun: false, json: false }

describe("threads prune", () => {
  it("takes ages as they are typed", () => {
    const days = (text: string) =>
      Option.getOrUndefined(Option.map(Option.fromNullable(age.parse(text)), Duration.toDays))
    assert.deepStrictEqual(["30d", "2w", "12h", "1.5d", "30 days"].map(days), [30, 14, 0.5, 1.5, 30])
    for (const text of ["", "0d", "-3d", "30", "soon", "30 d", "infinity"]) assert.isUndefined(age.parse(text), text)
  })

  it("says what went and what stays, and what would", () => {
    const report = {
      threads: [
        { threadId: "t1", busy: false, removed: 12, kept: 3, bytes: 1_234_567 },
        { threadId: "busy", busy: true, removed: 0, kept: 5, bytes: 0 }
      ],
      looked: 3,
      removed: 12,
      kept: 9,
      bytes: 1_234_567
    }
    assert.strictEqual(
      prune.render(report, true),
      [
        "THREAD  WOULD GO  WOULD STAY  SIZE",
        "t1      12        3           1.2 MB",
        "busy is being written by a run, and was left alone",
        "12 checkpoints of 1 thread would go (1.2 MB); 9 checkpoints stay"
      ].join("\n")
    )
    assert.strictEqual(
      prune.render({ threads: [], looked: 1, removed: 0, kept: 1, bytes: 0 }, false),
      "nothing went of 1 thread; 1 checkpoint stays"
    )
  })

  it.effect("refuses what says nothing or contradicts itself, with exit code 2", () =>
    Effect.gen(function* () {
      const settings = yield* Settings.load
      const olderThan = Duration.days(1)
      for (const [options, says] of [
        [none, "--keep N, --older-than AGE"],
        [{ ...none, keep: 3, whole: true }, "--whole needs --older-than"],
        [{ ...none, keep: 3, olderThan, whole: true }, "--keep cannot go with it"]
      ] as const) {
        const error = yield* Effect.flip(prune.prune(settings, options))
        assert.include(Failure.message(error), says)
        assert.strictEqual(Failure.exitCode(error), 2)
      }
    })
  )

  for (const backend of TestDatabases.backends) {
    it.scoped(
      `on the command line, ${backend.name}`,
      () =>
        Effect.gen(function* () {
          const database = yield* backend.create
          const cwd = yield* Cli.emptyFolder
          const within = <A, E>(effect: Effect.Effect<A, E, SqlClient.SqlClient>) =>
            Effect.provide(effect, database.layer)
          yield* within(
            Effect.gen(function* () {
              const manager = yield* CheckpointManager.make()
              for (const state of [1, 2, 3]) {
                yield* manager.save({ workflowId: "w", phase: "p", state, schema: Schema.Number })
              }
            })
          )
          const stored = within(
            Effect.flatMap(SqlClient.SqlClient, (sql) =>
              Effect.map(sql`select 1 from checkpoints`, (rows) => rows.length)
            )
          )
          const options = { cwd, env: database.env }
          const dry = yield* Cli.run(["threads", "prune", "--keep", "1", "--dry-run"], options)
          assert.strictEqual(dry.code, 0, dry.stderr)
          assert.match(dry.stdout, /^w +2 +1 +\d+ B$/m)
          assert.match(dry.stdout, /^2 checkpoints of 1 thread would go \(\d+ B\); 1 checkpoint stays$/m)
          assert.strictEqual(yield* stored, 3)
          const done = yield* Cli.run(["threads", "prune", "--keep", "1", "--thread", "w", "--json"], options)
          assert.strictEqual(done.code, 0, done.stderr)
          const report = Schema.decodeUnknownSync(
            Schema.parseJson(Schema.Struct({ dryRun: Schema.Boolean, removed: Schema.Number, kept: Schema.Number }))
          )(done.stdout)
          assert.deepStrictEqual(report, { dryRun: false, removed: 2, kept: 1 })
          assert.strictEqual(yield* stored, 1)
          if (backend.name === "embedded") {
            const unknown = yield* Cli.run(["threads", "prune", "--keep", "1", "--thread", "nobody"], options)
            assert.strictEqual(unknown.code, 2)
            assert.include(unknown.stderr, '"nobody"')
            const malformed = yield* Cli.run(["threads", "prune", "--older-than", "soon"], options)
            assert.strictEqual(malformed.code, 2)
            assert.match(malformed.stderr, /--older-than takes an age above 0.*"soon"/)
          }
        }),
      120_000
    )
  }
})
