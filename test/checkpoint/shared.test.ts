/** Round trips, counted at the wire, and statements that several threads share. */
import { deepStrictEqual } from "node:assert"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import { emptyCheckpoint, uuid6 } from "@langchain/langgraph-checkpoint"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Checkpointer from "../../src/checkpoint/Checkpointer.js"
import * as Database from "../../src/database/Database.js"
import * as CountingProxy from "../support/countingProxy.js"
import * as TestDatabases from "../support/databases.js"

const config = (thread_id: string, checkpoint_id?: string) => ({
  configurable: { thread_id, checkpoint_ns: "", ...(checkpoint_id === undefined ? {} : { checkpoint_id }) }
})
const metadata = { source: "loop", step: 0, parents: {} } as const

const checkpoint = (values: Readonly<Record<string, unknown>>, step = 0) => ({
  ...emptyCheckpoint(),
  id: uuid6(step),
  channel_values: values,
  channel_versions: Object.fromEntries(Object.keys(values).map((channel) => [channel, step + 1]))
})

/** Stores a checkpoint of these values. */
const put = async (saver: Checkpointer.Service, thread: string, values: Readonly<Record<string, unknown>>) => {
  const made = checkpoint(values)
  await saver.put(config(thread), made, metadata, made.channel_versions)
  return made
}

const [, postgres] = TestDatabases.backends
if (postgres === undefined) throw new Error("round trips are those to a server")

describe("round trips", () => {
  it.scoped("one a put, a putWrites, a getTuple, a list and a deleteThread", () =>
    Effect.gen(function* () {
      const { url = "" } = yield* postgres.create
      const proxy = yield* Effect.acquireRelease(
        Effect.promise(() => CountingProxy.start(url)),
        (proxy) => Effect.promise(() => proxy.stop())
      )
      // of one connection, whose beginning is counted before
      const database = Database.layerPostgres({ url: Redacted.make(proxy.url), maxConnections: 1 })
      yield* Effect.gen(function* () {
        const saver = yield* Checkpointer.Checkpointer
        const trips = async (run: () => Promise<unknown>) => {
          const before = proxy.count()
          await run()
          return proxy.count() - before
        }
        yield* Effect.promise(async () => {
          const made = checkpoint({ messages: ["x".repeat(100_000)], counter: 1, other: null })
          const at = config("counted", made.id)
          const writes: Array<[string, unknown]> = [
            ["messages", ["y"]],
            ["counter", 2],
            ["other", 3]
          ]
          for (let round = 0; round < 2; round++) {
            const counted = {
              put: await trips(() => saver.put(config("counted"), made, metadata, made.channel_versions)),
              putWrites: await trips(() => saver.putWrites(at, writes, "task")),
              getTuple: await trips(() => saver.getTuple(config("counted"))),
              byId: await trips(() => saver.getTuple(at)),
              list: await trips(() => saver.list(config("counted"), { limit: 10 }).next()),
              deleteThread: await trips(() => saver.deleteThread("counted"))
            }
            deepStrictEqual(counted, { put: 1, putWrites: 1, getTuple: 1, byId: 1, list: 1, deleteThread: 1 })
          }
        })
      }).pipe(Effect.provide(Layer.provideMerge(Checkpointer.layer(), database)))
    })
  )

  it.scoped("fewer than operations when many threads are served at once", () =>
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
          const names = Array.from({ length: 64 }, (_, index) => `thread ${index}`)
          const before = proxy.count()
          await Promise.all(names.map((name, index) => put(saver, name, { counter: index })))
          const read = await Promise.all(names.map((name) => saver.getTuple(config(name))))
          assert.isBelow(proxy.count() - before, 16)
          deepStrictEqual(
            read.map((tuple) => tuple?.checkpoint.channel_values),
            names.map((_, index) => ({ counter: index }))
          )
        })
      }).pipe(Effect.provide(Layer.provideMerge(Checkpointer.layer(), database)))
    })
  )
})

for (const backend of TestDatabases.backends) {
  describe(`threads at once on ${backend.name}`, () => {
    it.layer(Layer.provideMerge(Checkpointer.layer(), backend.layer))((it) => {
      it.effect("what one thread's write does wrong fails it alone, and nothing of it is there", () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const saver = yield* Checkpointer.Checkpointer
          yield* sql`alter table checkpoints add constraint no_wrong check (thread_id not like 'wrong%')`
          yield* Effect.promise(async () => {
            const names = Array.from({ length: 12 }, (_, index) => `${index % 4 === 1 ? "wrong" : "right"} ${index}`)
            const ended = await Promise.allSettled(names.map((name, index) => put(saver, name, { counter: index })))
            deepStrictEqual(
              ended.map(({ status }) => status),
              names.map((name) => (name.startsWith("wrong") ? "rejected" : "fulfilled"))
            )
            const read = await Promise.all(names.map((name) => saver.getTuple(config(name))))
            deepStrictEqual(
              read.map((tuple) => tuple?.checkpoint.channel_values),
              names.map((name, index) => (name.startsWith("wrong") ? undefined : { counter: index }))
            )
            for (const [index, it] of ended.entries()) {
              if (it.status === "rejected") assert.include(String(it.reason.message), String(names[index]))
            }
          })
          yield* sql`alter table checkpoints drop constraint no_wrong`
          const blobs = yield* sql`select 1 from checkpoint_blobs where thread_id like 'wrong%'`
          assert.strictEqual(blobs.length, 0)
        })
      )

      it.effect(
        "the same task and the same checkpoint, written by several calls at once, are as if one came after the other",
        () =>
          Effect.gen(function* () {
            const saver = yield* Checkpointer.Checkpointer
            yield* Effect.promise(async () => {
              const made = await put(saver, "twice", { counter: 1 })
              const at = config("twice", made.id)
              await Promise.all([
                ...Array.from({ length: 8 }, () => saver.putWrites(at, [["counter", 2]], "task")),
                ...Array.from({ length: 8 }, () => saver.putWrites(at, [["__error__", "no"]], "task")),
                ...Array.from({ length: 8 }, () => saver.put(config("twice"), made, metadata, made.channel_versions))
              ])
              const tuple = await saver.getTuple(config("twice"))
              deepStrictEqual(tuple?.pendingWrites, [
                ["task", "__error__", "no"],
                ["task", "counter", 2]
              ])
            })
          })
      )

      it.effect("values of every kind come back beside each other, of another serializer's JSON too", () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const saver = yield* Checkpointer.Checkpointer
          const values = {
            text: "a\u001eb\u0000c",
            bytes: new Uint8Array([0, 30, 255]),
            list: [1n, undefined],
            none: null
          }
          const made = yield* Effect.promise(() => put(saver, "kinds", values))
          const stored = () => Effect.promise(() => saver.getTuple(config("kinds", made.id)))
          deepStrictEqual((yield* stored())?.checkpoint.channel_values, values)
          // the separator of the answer, as nobody's JSON holds it but as one may have been stored
          yield* sql`update checkpoint_blobs set blob = ${Buffer.from('{"a": 1}\n ')} where thread_id = 'kinds' and channel = 'list'`
          deepStrictEqual((yield* stored())?.checkpoint.channel_values, { ...values, list: { a: 1 } })
          yield* sql`update checkpoint_blobs set blob = ${Buffer.from('"\u001e"')} where thread_id = 'kinds' and channel = 'list'`
          const odd = yield* Effect.exit(Effect.tryPromise(() => saver.getTuple(config("kinds"))))
          assert.include(JSON.stringify(odd), "Undecodable")
          // bytes that are no text
          yield* sql`update checkpoint_blobs set blob = ${Buffer.from([34, 255, 34])} where thread_id = 'kinds' and channel = 'list'`
          const damaged = yield* Effect.exit(Effect.tryPromise(() => saver.getTuple(config("kinds"))))
          assert.include(JSON.stringify(damaged), "Undecodable")
          yield* Effect.promise(() => put(saver, "sound", { counter: 1 }))
          const [sound, broken] = yield* Effect.promise(() =>
            Promise.allSettled([saver.getTuple(config("sound")), saver.getTuple(config("kinds"))])
          )
          assert.strictEqual(sound?.status, "fulfilled")
          assert.strictEqual(broken?.status, "rejected")
        })
      )
    })
  })
}

describe("threads at once", () => {
  it.layer(Layer.provideMerge(Checkpointer.layer(), postgres.layer))((it) => {
    it.effect("a row that another session holds keeps its own thread waiting, and no other", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const saver = yield* Checkpointer.Checkpointer
        const held = yield* Effect.promise(() => put(saver, "held", { counter: 1 }))
        const locked = yield* Effect.makeLatch()
        const ends = yield* Effect.makeLatch()
        const holder = yield* sql`select 1 from checkpoints where thread_id = 'held' for update`.pipe(
          Effect.zipRight(locked.open),
          Effect.zipRight(ends.await),
          sql.withTransaction,
          Effect.fork
        )
        yield* locked.await
        let isWritten = false
        const waiting = saver.put(config("held"), held, metadata, held.channel_versions).then(() => {
          isWritten = true
        })
        yield* Effect.promise(() =>
          Promise.all(Array.from({ length: 20 }, (_, index) => put(saver, `free ${index}`, { counter: index })))
        )
        assert.isFalse(isWritten)
        yield* ends.open
        assert.isTrue(Exit.isSuccess(yield* Fiber.await(holder)))
        yield* Effect.promise(() => waiting)
      })
    )
  })
})
