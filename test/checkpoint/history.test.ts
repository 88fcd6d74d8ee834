/** A delta channel's history in one reading: the same as LangGraph's own walk from parent to parent. */
import { deepStrictEqual } from "node:assert"
import { assert, describe, it } from "@effect/vitest"
import { BaseCheckpointSaver, DeltaSnapshot, emptyCheckpoint, uuid6 } from "@langchain/langgraph-checkpoint"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Checkpointer from "../../src/checkpoint/Checkpointer.js"
import * as Encryption from "../../src/checkpoint/Encryption.js"
import * as Database from "../../src/database/Database.js"
import * as CountingProxy from "../support/countingProxy.js"
import * as TestDatabases from "../support/databases.js"

const config = (checkpoint_id?: string) => ({
  configurable: { thread_id: "t", checkpoint_ns: "", ...(checkpoint_id === undefined ? {} : { checkpoint_id }) }
})

/** Two branches of one thread: `log` has a value at the second step, `notes` at the first and the fourth, `other` nowhere. Gives the ids. */
const fill = async (saver: Checkpointer.Service): Promise<ReadonlyArray<string>> => {
  const ids: Array<string> = []
  const parents = [undefined, 0, 1, 2, 3, 2]
  for (const [step, parent] of parents.entries()) {
    const values = {
      ...(step === 1 ? { log: new DeltaSnapshot(["second"]) } : {}),
      ...(step === 0 || step === 3 ? { notes: [`note ${step}`] } : {})
    }
    const channel_versions = { log: step + 1, notes: step + 1, other: step + 1 }
    const id = uuid6(step)
    const made = { ...emptyCheckpoint(), id, channel_values: values, channel_versions }
    const metadata = { source: "loop", step, parents: {} } as const
    await saver.put(config(parent === undefined ? undefined : ids[parent]), made, metadata, channel_versions)
    for (const task of ["b", "a"]) {
      const writes = ["log", "notes", "other", "log"].map((channel, n): [string, unknown] => [channel, [step, task, n]])
      await saver.putWrites(config(id), writes, task)
    }
    ids.push(id)
  }
  return ids
}

const channels = ["log", "notes", "other", "__proto__"]

const same = async (saver: Checkpointer.Service) => {
  for (const id of [undefined, ...(await fill(saver)), uuid6(0)]) {
    const options = { config: config(id), channels }
    const walked = await BaseCheckpointSaver.prototype.getDeltaChannelHistory.call(saver, options)
    const read = await saver.getDeltaChannelHistory(options)
    for (const channel of ["log", "notes", "other"])
      deepStrictEqual(read[channel], walked[channel], `${channel}, ${id}`)
  }
  deepStrictEqual(await saver.getDeltaChannelHistory({ config: config(), channels: [] }), {})
}

const key = "0123456789abcdef".repeat(4)

for (const backend of TestDatabases.backends) {
  describe(`a delta channel's history on ${backend.name}`, () => {
    for (const [name, options] of [
      ["plain", {}],
      [
        "compressed and encrypted",
        { compression: true, encryption: Encryption.make({ keys: `k:${key}`, metadata: true }) }
      ]
    ] as const) {
      it.scoped(`is what the walk finds, ${name}`, () =>
        Effect.flatMap(Checkpointer.Checkpointer, (saver) => Effect.promise(() => same(saver))).pipe(
          Effect.provide(Layer.provide(Checkpointer.layer(options), backend.layer))
        )
      )
    }
  })
}

const [, postgres] = TestDatabases.backends
if (postgres === undefined) throw new Error("round trips are those to a server")

describe("a delta channel's history", () => {
  it.scoped("takes one round trip, however many ancestors there are", () =>
    Effect.gen(function* () {
      const { url = "" } = yield* postgres.create
      const proxy = yield* Effect.acquireRelease(
        Effect.promise(() => CountingProxy.start(url)),
        (proxy) => Effect.promise(() => proxy.stop())
      )
      const database = Database.layerPostgres({ url: Redacted.make(proxy.url), maxConnections: 1 })
      yield* Effect.gen(function* () {
        const saver = yield* Checkpointer.Checkpointer
        yield* Effect.promise(async () => {
          await fill(saver)
          const before = proxy.count()
          const { other } = await saver.getDeltaChannelHistory({ config: config(), channels: ["other"] })
          assert.strictEqual(proxy.count() - before, 1)
          assert.lengthOf(other?.writes ?? [], 6)
        })
      }).pipe(Effect.provide(Layer.provide(Checkpointer.layer(), database)))
    })
  )
})
