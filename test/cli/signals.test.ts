/**
 * SIGINT and SIGTERM end a run in order: soon, with its checkpoint kept and its spans delivered.
 */
import { watch } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestDatabases from "../support/databases.js"
import * as LangfuseServer from "../support/LangfuseServer.js"
import * as ModelServer from "./modelServer.js"
import * as Cli from "./support.js"

/** A run whose narrative is being waited for, which may take half a minute. */
const waiting = Effect.gen(function* () {
  const model = yield* ModelServer.make
  const langfuse = yield* LangfuseServer.make()
  const options = { cwd: yield* Cli.emptyFolder, env: { ...model.env, ...langfuse.env } }
  model.behave("hang")
  const running = yield* Cli.start(["research", "--thread", "t"], options)
  yield* model.asked(1)
  return { model, langfuse, options, running }
})

/** Sends a signal; how the process ended, and how long after the signal. */
const signalled = (running: Cli.Running, signal: NodeJS.Signals) =>
  Effect.gen(function* () {
    const from = performance.now()
    yield* running.kill(signal)
    const ended = yield* running.ended
    return { ...ended, after: performance.now() - from }
  })

describe("signals", () => {
  it.scopedLive(
    "SIGINT: 130, the call is given up, the spans are delivered, and the run can be resumed",
    () =>
      Effect.gen(function* () {
        const { langfuse, model, options, running } = yield* waiting
        const ended = yield* signalled(running, "SIGINT")
        assert.strictEqual(ended.code, 130, ended.stderr)
        assert.isBelow(ended.after, 5000)
        assert.match(ended.stderr, /^stopped; go on with: npx holdfast resume t$/m)
        assert.strictEqual(ended.stdout, "")
        yield* model.givenUp(1)

        const names = langfuse.observations().map(({ name }) => name)
        assert.includeMembers(names, ["research", "node_research_swarm", "swarm", "agent_narrative", "agent_risk"])
        for (const each of langfuse.observations()) {
          assert.notStrictEqual(each.level, "ERROR", `${each.name}: ${each.statusMessage}`)
        }
        LangfuseServer.tree(langfuse.observations(), ({ name }) => name)

        model.behave("answer")
        const resumed = yield* Cli.run(["resume", "t", "--json"], options)
        assert.strictEqual(resumed.code, 0, resumed.stderr)
        assert.deepStrictEqual(Cli.documentOf(resumed).resumed?.next, ["research_swarm"])
        // in a trace of its own, which names the one that was stopped
        const [stopped, next] = langfuse.observations().filter(({ name }) => name === "research")
        const going = langfuse.observations().find(({ name }) => name === "resume_from_checkpoint")
        assert.strictEqual(going?.traceId, next?.traceId)
        assert.deepInclude(going?.metadata, {
          interrupted_trace_id: stopped?.traceId,
          interrupted_observation_id: stopped?.id
        })
        assert.deepStrictEqual(langfuse.complaints(), [])
      }),
    60_000
  )

  it.scopedLive(
    "SIGTERM: 143, within 5 seconds although Langfuse does not answer, and what it did not take waits for the next process",
    () =>
      Effect.gen(function* () {
        const { langfuse, options, running } = yield* waiting
        langfuse.behave("hang")
        const ended = yield* signalled(running, "SIGTERM")
        assert.strictEqual(ended.code, 143, ended.stderr)
        assert.isBelow(ended.after, 5500)
        langfuse.behave("take")
        const doctor = yield* Cli.run(["doctor", "--deliver"], options)
        assert.strictEqual(doctor.code, 0, doctor.stdout + doctor.stderr)
        const names = langfuse.observations().map(({ name }) => name)
        assert.includeMembers(names, ["research", "node_research_swarm", "swarm", "agent_narrative", "agent_risk"])
      }),
    60_000
  )

  it.scopedLive(
    "a second signal ends it at once",
    () =>
      Effect.gen(function* () {
        const { langfuse, running } = yield* waiting
        langfuse.behave("hang")
        yield* running.kill("SIGINT")
        yield* running.saw(/stopped; go on with/)
        const ended = yield* signalled(running, "SIGINT")
        assert.strictEqual(ended.code, 130, ended.stderr)
        assert.isBelow(ended.after, 1500)
      }),
    60_000
  )

  it.scopedLive(
    "while the database is being opened: 130, and the folder is free again",
    () =>
      Effect.gen(function* () {
        const [embedded] = TestDatabases.backends
        const { dataDir, env } = yield* (embedded ?? assert.fail("no database")).create
        const cwd = yield* Cli.emptyFolder
        const locked = yield* Effect.acquireRelease(
          Effect.sync(() => {
            const watcher = watch(dataDir ?? "")
            return { watcher, seen: new Promise((resolve) => watcher.once("change", resolve)) }
          }),
          ({ watcher }) => Effect.sync(() => watcher.close())
        )
        const running = yield* Cli.start(["research"], { cwd, env })
        yield* Effect.promise(() => locked.seen)
        const ended = yield* signalled(running, "SIGINT")
        assert.strictEqual(ended.code, 130, ended.stderr)
        assert.isBelow(ended.after, 5500)
        assert.strictEqual(ended.stdout, "")
        const next = yield* Cli.run(["threads"], { cwd, env })
        assert.strictEqual(next.code, 0, next.stderr)
      }),
    60_000
  )
})
