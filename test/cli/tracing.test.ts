/**
 * With keys every observation of a run arrives in Langfuse; without them, or without an answer, the run is the same.
 */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestDatabases from "../support/databases.js"
import * as LangfuseServer from "../support/LangfuseServer.js"
import { seedWhere } from "./chaos.js"
import * as ModelServer from "./modelServer.js"
import * as Cli from "./support.js"

const [embedded] = TestDatabases.backends
const place = Effect.gen(function* () {
  const database = yield* (embedded ?? assert.fail("no database")).create
  return { cwd: yield* Cli.emptyFolder, database }
})

/** Everything but ids and times. */
const timeless = ({ resumed: _, thread: _thread, trace: _trace, ...rest }: Cli.Document) => rest

const bytesOf = (folder: string): string =>
  Cli.filesIn(folder)
    .map((name) => {
      try {
        return readFileSync(join(folder, name), "latin1")
      } catch {
        return "" // a folder
      }
    })
    .join("\n")

describe("tracing", () => {
  it.scopedLive(
    "every observation arrives once, nested as they were made, and no key leaves the process",
    () =>
      Effect.gen(function* () {
        const langfuse = yield* LangfuseServer.make()
        const model = yield* ModelServer.make
        const seed = seedWhere(
          0.3,
          (faults) =>
            /^e\./.test(faults.risk) &&
            /^[er]{3}/.test(faults.reversion) &&
            faults.narrative.startsWith(".") &&
            faults.narrative_template.startsWith(".")
        )
        const args = ["research", "MSFT", "--chaos", "0.3", "--seed", `${seed}`, "--json", "--thread", "t"]
        const [traced, untraced] = yield* Effect.all([place, place])
        const [ended, plain] = yield* Effect.all(
          [
            Cli.run(args, {
              cwd: traced.cwd,
              env: { ...traced.database.env, ...model.env, ...langfuse.env, LANGFUSE_RELEASE: "r1" }
            }),
            Cli.run(args, { cwd: untraced.cwd, env: { ...untraced.database.env, ...model.env } })
          ],
          { concurrency: "unbounded" }
        )
        assert.strictEqual(plain.code, ended.code, ended.stderr)
        const document = Cli.documentOf(ended)
        assert.deepStrictEqual(timeless(document), timeless(Cli.documentOf(plain)))
        assert.deepStrictEqual(langfuse.complaints(), [])

        const observations = langfuse.observations()
        LangfuseServer.tree(observations, ({ name }) => name)
        const made = new Set(document.trace.map(({ spanId }) => spanId))
        const ours = observations.filter(({ id }) => made.has(id))
        const shape = (id: string, parent: string | undefined, name: string) => `${parent ?? "-"} > ${id} ${name}`
        assert.sameMembers(
          ours.map(({ id, name, parentId }) => shape(id, parentId, name)),
          document.trace.map(({ name, parentId, spanId }) => shape(spanId, parentId, name))
        )

        // what is not ours is LangChain's, under an attempt of the narrative
        const others = observations.filter(({ id }) => !made.has(id))
        assert.deepStrictEqual(
          others.map(({ type }) => type),
          ["generation"]
        )
        const ancestry = (id: string | undefined): ReadonlyArray<string> => {
          const found = observations.find((each) => each.id === id)
          return found === undefined ? [] : [...ancestry(found.parentId), found.name]
        }
        assert.deepStrictEqual(ancestry(others[0]?.parentId), [
          "research",
          "node_research_swarm",
          "swarm",
          "agent_narrative",
          "retry_execution",
          "attempt"
        ])
        for (const each of observations) {
          assert.strictEqual(each.traceName, "research MSFT", each.name)
          assert.strictEqual(each.sessionId, "t", each.name)
          assert.deepStrictEqual(each.tags, ["research"], each.name)
          assert.strictEqual(each.release, "r1", each.name)
        }
        const names = new Set(ours.map(({ name }) => name))
        assert.includeMembers(
          [...names],
          ["save_checkpoint", "load_checkpoint", "node_strategy_dev", "circuit_breaker_transition", "agent_technical"]
        )
        assert.includeMembers(
          langfuse.scores().map(({ name }) => name),
          ["retry_attempts", "degradation_level", "fallback_level"]
        )

        const everything = [
          ...langfuse.bodies(),
          ...model.bodies(),
          ended.stdout,
          ended.stderr,
          bytesOf(traced.database.dataDir ?? "")
        ].join("\n")
        for (const key of [langfuse.secretKey, model.apiKey]) assert.notInclude(everything, key)
      }),
    60_000
  )

  for (const [what, behaviour] of [
    ["hangs", "hang"],
    ["is broken", { status: 500 }]
  ] as const) {
    it.scopedLive(
      `a server that ${what} changes nothing but one warning`,
      () =>
        Effect.gen(function* () {
          const langfuse = yield* LangfuseServer.make()
          langfuse.behave(behaviour)
          const { cwd, database } = yield* place
          const { code, stderr } = yield* Cli.run(["research"], {
            cwd,
            env: { ...database.env, ...langfuse.env, HOLDFAST_FLUSH_TIMEOUT: "1" }
          })
          assert.strictEqual(code, 0, stderr)
          const warnings = stderr.split("\n").filter((line) => line.includes('"WARN"'))
          assert.isAtLeast(warnings.length, 1, stderr)
          assert.isAtMost(warnings.length, 2, stderr)
          assert.include(warnings.at(-1), "did not reach Langfuse")
        }),
      60_000
    )
  }
})
