/** Many processes that set up one database at once, and a server that goes away again and again while it is written to. */
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import { emptyCheckpoint, uuid6 } from "@langchain/langgraph-checkpoint"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Checkpointer from "../../src/checkpoint/Checkpointer.js"
import * as Database from "../../src/database/Database.js"
import { folder } from "../package/built.js"
import * as TestDatabases from "../support/databases.js"
import * as PostgresServer from "../support/postgresServer.js"
import { bytesOf, randomOf } from "./support.js"

const child = fileURLToPath(new URL("./setup.child.mjs", import.meta.url))

describe("an empty database", () => {
  it.scopedLive("is set up by sixteen processes at once", () =>
    Effect.gen(function* () {
      const [backend] = TestDatabases.backends.filter((backend) => backend.name === "postgres")
      if (backend === undefined) return yield* Effect.dieMessage("no server")
      const { env, layer } = yield* backend.create
      const packageFolder = folder()
      const { HOME, PATH } = process.env
      const processes = yield* Effect.acquireRelease(
        Effect.sync(() =>
          Array.from({ length: 16 }, () => {
            const running = spawn(process.execPath, [child, packageFolder], {
              env: { HOME, PATH, ...env },
              stdio: ["pipe", "pipe", "pipe"]
            })
            let output = ""
            const loaded = new Promise<void>((resolve) => {
              running.stdout.on("data", (chunk) => {
                output += chunk
                resolve()
              })
            })
            running.stderr.on("data", (chunk) => {
              output += chunk
            })
            const ended = new Promise<number | null>((resolve) => running.once("close", resolve))
            return { running, ended, loaded: Promise.race([loaded, ended]), output: () => output }
          })
        ),
        (all) =>
          Effect.promise(async () => {
            for (const { running } of all) running.kill("SIGKILL")
            await Promise.all(all.map(({ ended }) => ended))
          })
      )
      yield* Effect.promise(() => Promise.all(processes.map(({ loaded }) => loaded)))
      for (const { running } of processes) running.stdin.write("go\n")
      const codes = yield* Effect.promise(() => Promise.all(processes.map(({ ended }) => ended)))
      for (const [index, { output }] of processes.entries()) {
        assert.deepStrictEqual([codes[index], output()], [0, "loaded\nopened with 0 threads\n"])
      }
      const noted = Effect.flatMap(
        SqlClient.SqlClient,
        (sql) => sql<{ id: number }>`select id from holdfast_migrations where namespace = 'checkpoint' order by id`
      )
      const ids = (yield* Effect.provide(noted, layer)).map(({ id }) => id)
      assert.deepStrictEqual(
        ids,
        ids.map((_, index) => index + 1),
        "each step ran once"
      )
    })
  )
})

describe("a server that goes away", () => {
  it.scopedLive(
    "shut down or crashed, and started again: nothing that was acknowledged is lost, and nobody fails",
    () =>
      Effect.gen(function* () {
        // a crash of the server, not of the machine: what was committed has left the process
        const settings = ["fsync=off", "synchronous_commit=on", "max_connections=100", "shared_buffers=32MB"]
        const server = yield* Effect.acquireRelease(
          Effect.promise(() => PostgresServer.start({ settings })),
          (server) => Effect.promise(server.stop)
        )
        const database = Database.layerPostgres({
          url: Redacted.make(server.url),
          retryAttempts: 1000,
          retryTime: "3 minutes"
        })
        const context = yield* Layer.build(Checkpointer.layer().pipe(Layer.provide(database)))
        const saver = yield* Effect.provide(Checkpointer.Checkpointer, context)
        const random = randomOf(1)
        let gone = false
        const stored: Array<readonly [thread: string, id: string]> = []
        const live = async (thread: string) => {
          for (let step = 1; !gone; step++) {
            const id = uuid6(step)
            const it = { ...emptyCheckpoint(), id, channel_values: { state: bytesOf(id, 2000) } }
            it.channel_versions = { state: step }
            const config = { configurable: { thread_id: thread } }
            await saver.put(config, it, { source: "loop", step, parents: {} }, { state: step })
            stored.push([thread, id])
          }
        }
        const restarts = async () => {
          for (let round = 0; round < 6; round++) {
            const before = stored.length
            while (stored.length < before + 50) await new Promise((resolve) => setTimeout(resolve, random() * 20))
            await server.halt({ immediate: round % 2 === 1 })
            await server.resume()
          }
          gone = true
        }
        yield* Effect.promise(() =>
          Promise.all([restarts(), ...Array.from({ length: 8 }, (_, index) => live(`thread ${index}`))])
        )
        for (const [thread, id] of stored) {
          const config = { configurable: { thread_id: thread, checkpoint_id: id } }
          const tuple = yield* Effect.promise(() => saver.getTuple(config))
          assert.deepStrictEqual(tuple?.checkpoint.channel_values, { state: bytesOf(id, 2000) }, `${thread}: ${id}`)
        }
        console.log(`6 restarts, 3 of them crashes: ${stored.length} checkpoints acknowledged, all of them read back`)
      })
  )
})
