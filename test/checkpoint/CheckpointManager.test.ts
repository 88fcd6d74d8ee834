import { deepStrictEqual } from "node:assert"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import * as Checkpointer from "../../src/checkpoint/Checkpointer.js"
import * as CheckpointManager from "../../src/checkpoint/CheckpointManager.js"
import * as Trace from "../../src/observability/Trace.js"
import * as TestDatabases from "../support/databases.js"

const State = Schema.Struct({ rows: Schema.Number, until: Schema.Date, note: Schema.optional(Schema.String) })

const state = { rows: 3, until: new Date("2024-01-02T03:04:05.678Z"), note: "a\u0000b\ud800" }

const both = (database: TestDatabases.TestDatabaseService) =>
  Layer.merge(CheckpointManager.layer(), Checkpointer.layer()).pipe(Layer.provide(Layer.fresh(database.layer)))

for (const backend of TestDatabases.backends) {
  describe(`CheckpointManager on ${backend.name}`, () => {
    it.scoped("saves in one process's layer and goes on in another's", () =>
      Effect.gen(function* () {
        const database = yield* backend.create
        const saved = yield* Effect.gen(function* () {
          const checkpoints = yield* CheckpointManager.CheckpointManager
          yield* checkpoints.save({ workflowId: "w", phase: "collect", state: { ...state, rows: 1 }, schema: State })
          const entry = yield* checkpoints.save({ workflowId: "w", phase: "clean", state, schema: State, version: "2" })
          assert.deepInclude(entry, { workflowId: "w", phase: "clean", version: "2", step: 1 })
          return entry
        }).pipe(Effect.provide(both(database)))
        yield* TestClock.adjust("90 seconds")
        yield* Effect.gen(function* () {
          const checkpoints = yield* CheckpointManager.CheckpointManager
          const resumed = yield* checkpoints.resume("w", State)
          deepStrictEqual(resumed.state, state)
          assert.deepInclude(resumed, { phase: "clean", version: "2", step: 1, ageSeconds: 90 })
          deepStrictEqual(resumed.time, saved.time)
          const collected = yield* checkpoints.load({ workflowId: "w", phase: "collect", schema: State })
          assert.strictEqual(collected.state.rows, 1)
          deepStrictEqual(
            (yield* checkpoints.history("w")).map(({ phase, step, version }) => [phase, step, version]),
            [
              ["clean", 1, "2"],
              ["collect", 0, undefined]
            ]
          )
          const [thread] = yield* Checkpointer.threads()
          assert.deepInclude(thread, { id: "w", kind: "workflow", phase: "clean", status: "finished", checkpoints: 2 })
          deepStrictEqual(
            (yield* Checkpointer.history("w")).map((entry) => entry.phase),
            ["clean", "collect"]
          )
        }).pipe(Effect.provide(both(database)))
      })
    )

    it.layer(Layer.provideMerge(Layer.merge(CheckpointManager.layer(), Checkpointer.layer()), backend.layer))((it) => {
      it.effect("the state saved last counts, also when the clock went back", () =>
        Effect.gen(function* () {
          const checkpoints = yield* CheckpointManager.CheckpointManager
          const save = (rows: number) =>
            checkpoints.save({ workflowId: "back", phase: "p", state: rows, schema: Schema.Number })
          yield* TestClock.setTime(5_000)
          yield* save(1)
          yield* TestClock.setTime(1_000)
          yield* save(2)
          yield* save(3)
          assert.strictEqual((yield* checkpoints.resume("back", Schema.Number)).state, 3)
          deepStrictEqual(
            (yield* checkpoints.history("back")).map((entry) => entry.step),
            [2, 1, 0]
          )
          deepStrictEqual(
            (yield* checkpoints.history("back", { limit: 1 })).map((entry) => entry.step),
            [2]
          )
        })
      )

      it.effect("an unknown workflow or phase is named", () =>
        Effect.gen(function* () {
          const checkpoints = yield* CheckpointManager.CheckpointManager
          yield* checkpoints.save({ workflowId: "known", phase: "a", state: 1, schema: Schema.Number })
          const phase = yield* Effect.flip(checkpoints.load({ workflowId: "known", phase: "b", schema: Schema.Number }))
          assert.instanceOf(phase, CheckpointManager.CheckpointNotFoundError)
          assert.deepInclude(phase, { workflowId: "known", phase: "b" })
          assert.match(phase.message, /"known".*"b"/)
          const workflow = yield* Effect.flip(checkpoints.resume("unknown", Schema.Number))
          assert.instanceOf(workflow, CheckpointManager.CheckpointNotFoundError)
          assert.isUndefined(workflow.phase)
          assert.strictEqual((yield* Effect.flip(checkpoints.history("unknown")))._tag, "CheckpointNotFoundError")
          assert.isTrue(Option.isNone(yield* checkpoints.find({ workflowId: "unknown", schema: Schema.Number })))
        })
      )

      it.effect("what does not fit the schema is a typed failure, on both ways", () =>
        Effect.gen(function* () {
          const checkpoints = yield* CheckpointManager.CheckpointManager
          const refused = yield* Effect.flip(
            checkpoints.save({ workflowId: "typed", phase: "p", state: 0.5, schema: Schema.Int })
          )
          assert.deepInclude(refused, { _tag: "CheckpointError", reason: "Unserializable", threadId: "typed" })
          const callable = yield* Effect.flip(
            checkpoints.save({ workflowId: "typed", phase: "p", state: { call: () => 1 }, schema: Schema.Unknown })
          )
          assert.strictEqual(callable.reason, "Unserializable")
          assert.match(callable.message, /\.call is a function/)
          const empty = yield* Effect.flip(
            checkpoints.save({ workflowId: "", phase: "p", state: 1, schema: Schema.Number })
          )
          assert.strictEqual(empty.reason, "Invalid")
          assert.strictEqual((yield* Effect.flip(checkpoints.history("typed")))._tag, "CheckpointNotFoundError")
          yield* checkpoints.save({ workflowId: "typed", phase: "p", state: "text", schema: Schema.String })
          const failure = yield* Effect.flip(checkpoints.resume("typed", Schema.Number))
          assert.deepInclude(failure, { _tag: "CheckpointError", reason: "Undecodable", threadId: "typed" })
          assert.match(failure.message, /"typed".*"p".*schema/)
        })
      )

      it.effect("stands beside a graph's thread of the same id, as a checkpoint that any saver can read", () =>
        Effect.gen(function* () {
          const checkpoints = yield* CheckpointManager.CheckpointManager
          const saver = yield* Checkpointer.Checkpointer
          yield* checkpoints.save({ workflowId: "shared", phase: "p", state: { a: 1n }, schema: Schema.Unknown })
          const config = { configurable: { thread_id: "shared" } }
          assert.isUndefined(yield* Effect.promise(() => saver.getTuple(config)))
          const tuple = yield* Effect.promise(() =>
            saver.getTuple({ configurable: { ...config.configurable, checkpoint_ns: "holdfast:workflow" } })
          )
          deepStrictEqual(tuple?.checkpoint.channel_values, { state: { a: 1n } })
          deepStrictEqual(tuple?.metadata, { source: "update", step: 0, parents: {}, phase: "p" })
          yield* Effect.promise(() => saver.deleteThread("shared"))
          assert.strictEqual((yield* Effect.flip(checkpoints.history("shared")))._tag, "CheckpointNotFoundError")
        })
      )

      it.effect("a phase runs once; one that fails or is interrupted runs again", () =>
        Effect.gen(function* () {
          let runs = 0
          const phase = <E>(name: string, self: Effect.Effect<number, E>) =>
            CheckpointManager.phase(
              Effect.zipRight(
                Effect.sync(() => runs++),
                self
              ),
              { workflowId: "phases", phase: name, schema: Schema.Number }
            )
          assert.strictEqual(yield* phase("a", Effect.succeed(1)), 1)
          assert.strictEqual(yield* phase("a", Effect.succeed(2)), 1)
          assert.strictEqual(runs, 1)
          assert.strictEqual(yield* Effect.flip(phase("b", Effect.fail("no" as const))), "no")
          const begun = yield* Deferred.make<void>()
          const fiber = yield* Effect.fork(
            phase("b", Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never))
          )
          yield* Deferred.await(begun)
          yield* Fiber.interrupt(fiber)
          assert.strictEqual(yield* phase("b", Effect.succeed(3)), 3)
          assert.strictEqual(runs, 4)
        })
      )

      it.effect("a stale writer is told what was saved in between, and nothing is written", () =>
        Effect.gen(function* () {
          const checkpoints = yield* CheckpointManager.CheckpointManager
          const options = (phase: string, state: number) => ({
            workflowId: "stale",
            phase,
            state,
            schema: Schema.Number
          })
          const first = yield* checkpoints.saveAfter(undefined, options("a", 1))
          const early = yield* Effect.flip(checkpoints.saveAfter(undefined, options("a", 2)))
          assert.instanceOf(early, CheckpointManager.StaleCheckpointError)
          const loaded = yield* checkpoints.resume("stale", Schema.Number)
          const second = yield* checkpoints.saveAfter(loaded, options("b", 3))
          const stale = yield* Effect.flip(checkpoints.saveAfter(first, options("c", 4)))
          assert.deepInclude(stale, {
            _tag: "StaleCheckpointError",
            workflowId: "stale",
            phase: "c",
            expected: first.checkpointId,
            found: second.checkpointId,
            foundPhase: "b"
          })
          assert.match(stale.message, /"c" of "stale" was not saved: "b" was saved by another/)
          assert.strictEqual((yield* checkpoints.resume("stale", Schema.Number)).state, 3)
          const gone = yield* Effect.flip(checkpoints.saveAfter(first, { ...options("c", 4), workflowId: "new" }))
          assert.isTrue(gone._tag === "StaleCheckpointError" && gone.found === undefined)
        })
      )

      it.effect("of many who follow the same save one succeeds; saves that follow any are all kept", () =>
        Effect.gen(function* () {
          const checkpoints = yield* CheckpointManager.CheckpointManager
          const last = yield* checkpoints.save({ workflowId: "race", phase: "p", state: 0, schema: Schema.Number })
          const save = (state: number) => ({ workflowId: "race", phase: "p", state, schema: Schema.Number })
          const numbers = Array.from({ length: 8 }, (_, index) => index + 1)
          const results = yield* Effect.forEach(
            numbers,
            (state) => Effect.either(checkpoints.saveAfter(last, save(state))),
            { concurrency: "unbounded" }
          )
          const [won, ...more] = results.filter(Either.isRight)
          assert.strictEqual(more.length, 0)
          assert.isTrue(
            results.every((result) => Either.isRight(result) || result.left._tag === "StaleCheckpointError")
          )
          assert.strictEqual(won?.right.step, 1)
          yield* Effect.forEach(numbers, (state) => checkpoints.save(save(state)), { concurrency: "unbounded" })
          deepStrictEqual(
            (yield* checkpoints.history("race")).map((entry) => entry.step),
            [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
          )
        })
      )

      it.effect("each operation is an observation that says workflow, phase and age", () =>
        Effect.gen(function* () {
          const checkpoints = yield* CheckpointManager.CheckpointManager
          const recorder = yield* Trace.Recorder
          yield* TestClock.setTime(100_000)
          yield* checkpoints.save({ workflowId: "seen", phase: "p", state: 1, schema: Schema.Number })
          yield* TestClock.adjust(Duration.seconds(2.5))
          yield* checkpoints.load({ workflowId: "seen", schema: Schema.Number })
          yield* checkpoints.resume("seen", Schema.Number)
          yield* Effect.flip(checkpoints.resume("unseen", Schema.Number))
          yield* CheckpointManager.phase(Effect.succeed(2), { workflowId: "seen", phase: "q", schema: Schema.Number })
          const spans = yield* recorder.spans
          const interrupted = {
            interrupted_trace_id: spans[0]?.traceId,
            interrupted_observation_id: spans[0]?.spanId
          }
          deepStrictEqual(
            spans.map(({ name, level, metadata }) => [name, level, metadata]),
            [
              ["save_checkpoint", "DEFAULT", { workflow_id: "seen", phase: "p", checkpoint_age_seconds: 0 }],
              ["load_checkpoint", "DEFAULT", { workflow_id: "seen", phase: "p", checkpoint_age_seconds: 2.5 }],
              [
                "resume_from_checkpoint",
                "DEFAULT",
                { workflow_id: "seen", phase: "p", checkpoint_age_seconds: 2.5, ...interrupted }
              ],
              ["resume_from_checkpoint", "ERROR", { workflow_id: "unseen" }],
              ["load_checkpoint", "DEFAULT", { workflow_id: "seen", phase: "q" }],
              ["save_checkpoint", "DEFAULT", { workflow_id: "seen", phase: "q", checkpoint_age_seconds: 0 }]
            ]
          )
        }).pipe(Effect.provide(Trace.layerRecorder()))
      )

      it.effect("damaged bytes are named", () =>
        Effect.gen(function* () {
          const checkpoints = yield* CheckpointManager.CheckpointManager
          const sql = yield* SqlClient.SqlClient
          yield* checkpoints.save({ workflowId: "damaged", phase: "p", state: 1, schema: Schema.Number })
          yield* sql`update checkpoint_blobs set blob = ${Buffer.from("{")} where thread_id = 'damaged'`
          const error = yield* Effect.flip(checkpoints.resume("damaged", Schema.Number))
          assert.deepInclude(error, { _tag: "CheckpointError", reason: "Undecodable" })
        })
      )
    })
  })
}
