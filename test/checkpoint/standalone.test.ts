/** The saver of a program that knows no Effect. */
import { deepStrictEqual } from "node:assert"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import { emptyCheckpoint, MemorySaver, type SerializerProtocol } from "@langchain/langgraph-checkpoint"
import * as Effect from "effect/Effect"
import * as Checkpointer from "../../src/checkpoint/Checkpointer.js"
import { ConfigurationError } from "../../src/observability/ConfigurationError.js"
import * as TestDatabases from "../support/databases.js"
import * as flow from "./fixtures/flow.js"

const thread = (thread_id: string) => ({ configurable: { thread_id } })
const ended = { log: ["in", "first", "ask", "quick", "last"] }
const run = (checkpointer: Checkpointer.Service, id: string) =>
  flow.make({ checkpointer, counts: "/dev/null" }).invoke({ log: ["in"] }, thread(id))

const rejection = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => assert.fail("was not refused"),
    (error: unknown) => error
  )

for (const backend of TestDatabases.backends) {
  const open = (database: TestDatabases.TestDatabaseService, options: Checkpointer.Options = {}) =>
    database.url === undefined
      ? Checkpointer.embedded({ ...options, dataDir: database.dataDir })
      : Checkpointer.fromUrl(database.url, { ...options, maxConnections: 3, statementTimeout: "20 seconds" })

  describe(`a standalone saver on ${backend.name}`, () => {
    it.scoped(
      "opens with its first use, closes with its block, and is found again",
      () =>
        Effect.flatMap(backend.create, (database) =>
          Effect.promise(async () => {
            const outer = await (async () => {
              await using saver = open(database, { schema: 'a "b" c' })
              deepStrictEqual(await run(saver, "t"), ended)
              return saver
            })()
            const closed = await rejection(outer.getTuple(thread("t")))
            assert.strictEqual((closed as Checkpointer.CheckpointError).reason, "Closed")
            const again = open(database, { schema: 'a "b" c' })
            // any number may ask at once
            await Promise.all([again.setup(), again.setup(), again.getTuple(thread("t"))])
            deepStrictEqual((await flow.make({ checkpointer: again, counts: "" }).getState(thread("t"))).values, ended)
            const [found] = await Effect.runPromise(again.threads())
            assert.strictEqual(found?.id, "t")
            await again.end()
            await again[Symbol.asyncDispose]()
            const late = await rejection(again.setup())
            assert.strictEqual((late as Checkpointer.CheckpointError).reason, "Closed")
            const other = open(database)
            assert.isUndefined(await other.getTuple(thread("t")))
            await other.end()
          })
        ),
      120_000
    )

    it.scoped("waits for what is being written when it closes, and leaves no lease behind", () =>
      Effect.flatMap(backend.create, (database) =>
        Effect.promise(async () => {
          const ids = Array.from({ length: 12 }, (_, index) => `t${index}`)
          for (const isOpen of [false, true]) {
            const saver = open(database)
            if (isOpen) await saver.setup()
            const asked = flow.make({ checkpointer: saver, counts: "/dev/null", asks: true })
            if (isOpen) await asked.invoke({ log: ["in"] }, thread("asked"))
            const written = ids.map((id) =>
              saver.put(
                thread(`${id} ${isOpen}`),
                { ...emptyCheckpoint(), channel_values: { text: id.repeat(20_000) }, channel_versions: { text: 1 } },
                { source: "loop", step: 0, parents: {} },
                { text: 1 }
              )
            )
            await saver.end()
            await Promise.all(written)
          }
          const again = open(database)
          for (const id of ids.flatMap((id) => [`${id} false`, `${id} true`])) {
            const text = (await again.getTuple(thread(id)))?.checkpoint.channel_values["text"]
            assert.strictEqual(text, id.split(" ")[0]?.repeat(20_000))
          }
          await again.end()
          const held = await Effect.runPromise(
            Effect.flatMap(
              SqlClient.SqlClient,
              (sql) => sql`select 1 from holdfast_leases where expires_at <> '-infinity'`
            ).pipe(Effect.provide(database.layer))
          )
          deepStrictEqual(held, [])
        })
      )
    )

    it.scoped("takes a serde, as the official saver does", () =>
      Effect.flatMap(backend.create, (database) =>
        Effect.promise(async () => {
          const memory = new MemorySaver().serde
          let dumped = 0
          const serde: SerializerProtocol = {
            dumpsTyped: (value) => {
              dumped++
              return memory.dumpsTyped(value)
            },
            loadsTyped: (type, data) => memory.loadsTyped(type, data)
          }
          await using saver = open(database, { serde })
          deepStrictEqual(await run(saver, "t"), ended)
          assert.isAbove(dumped, 5)
          deepStrictEqual((await saver.getTuple(thread("t")))?.checkpoint.channel_values["log"], ended.log)
        })
      )
    )
  })
}

describe("a standalone saver", () => {
  it("that is never used holds nothing", async () => {
    await Checkpointer.fromUrl("postgres://127.0.0.1:1/nothing").end()
    await Checkpointer.embedded().end()
  })

  it("lives in memory without a folder", async () => {
    await using saver = Checkpointer.embedded()
    deepStrictEqual(await run(saver, "t"), ended)
  })

  it("tells at once what is wrong, and tries again when it is asked again", async () => {
    const saver = Checkpointer.fromUrl("postgres://127.0.0.1:1/nothing", { connectAttempts: 1 })
    for (let attempt = 0; attempt < 2; attempt++) {
      const error = await rejection(saver.setup())
      assert.strictEqual((error as { _tag: string })._tag, "DatabaseError")
      const used = await rejection(saver.getTuple(thread("t")))
      assert.instanceOf(used, Checkpointer.CheckpointError)
      assert.strictEqual(used.reason, "Database")
      const refused = await rejection(
        saver.put(thread("t"), emptyCheckpoint(), { source: "loop", step: 0, parents: {} }, {})
      )
      assert.deepInclude(refused, { reason: "Database", operation: "put", threadId: "t", written: "no" })
    }
    await saver.end()
    const wrong = Checkpointer.fromUrl("mysql://localhost")
    assert.instanceOf(await rejection(wrong.setup()), ConfigurationError)
    await wrong.end()
    for (const options of [{ leaseTime: 0 }, { schema: "" }]) {
      assert.throws(() => Checkpointer.embedded(options), RangeError)
    }
    const setting = (options: Parameters<typeof Checkpointer.fromUrl>[1]) => {
      const saver = Checkpointer.fromUrl("postgres://127.0.0.1:1/nothing", options)
      return rejection(saver.setup()).finally(() => saver.end())
    }
    for (const options of [
      { maxConnections: -3 },
      { connectTimeout: 0 },
      { retryAttempts: 0.5 },
      { lockTimeout: -1 }
    ]) {
      const error = await setting(options)
      assert.instanceOf(error, ConfigurationError)
      deepStrictEqual([error.setting], Object.keys(options))
    }
  })
})
