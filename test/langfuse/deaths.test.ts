/** However a process ends, what it had made is at the server, or in the outbox and delivered by the next one. */
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Langfuse from "../../src/langfuse/Langfuse.js"
import * as TestDatabases from "../support/databases.js"
import * as LangfuseServer from "../support/LangfuseServer.js"
import * as Processes from "../support/processes.js"

const file = new URL("./fixtures/dying.ts", import.meta.url)

const [embedded] = TestDatabases.backends

/** What the process said to have ended, with the time. */
const endedIn = (output: string): ReadonlyArray<{ readonly at: number; readonly id: string }> =>
  [...output.matchAll(/^(\d{13}) ([0-9a-f]{32}\/[0-9a-f]{16})$/gm)].map(([, at = "", id = ""]) => ({
    at: Number(at),
    id
  }))

/** What had ended a second before the process said its last; more, by what the machine had no time for the process, or for its writing. */
const olderThanASecond = (output: string) => {
  const ended = endedIn(output)
  const stalls = Math.max(...[...output.matchAll(/^delay (\d+)$/gm)].map(([, millis]) => Number(millis)))
  return ended.filter(({ at }) => at <= (ended.at(-1)?.at ?? 0) - 1_000 - Math.max(0, stalls - 100))
}

const ids = (server: LangfuseServer.LangfuseServer) =>
  new Set(server.observations().map(({ id, traceId }) => `${traceId}/${id}`))

const optionsOf = (server: LangfuseServer.LangfuseServer): Langfuse.Options => ({
  publicKey: server.publicKey,
  secretKey: Redacted.make(server.secretKey),
  baseUrl: server.url
})

describe("SIGKILL", () => {
  for (const place of ["a folder", "the embedded database"] as const) {
    it.scopedLive(
      `after two seconds of 500 a second that Langfuse did not answer loses at most the last second: ${place}`,
      () =>
        Effect.gen(function* () {
          const server = yield* LangfuseServer.make()
          server.behave("hang")
          const database = yield* (embedded ?? assert.fail("no database")).create
          const folder = join(yield* TestDatabases.temporaryFolder, "data")
          const env =
            place === "a folder"
              ? { ...server.env, OUTBOX: "1", HOLDFAST_DATA_DIR: folder }
              : { ...server.env, ...database.env }
          const running = yield* Processes.start(file, { args: ["forever"], env })
          yield* running.saw("enough")
          yield* running.kill("SIGKILL")
          yield* running.exited
          const must = olderThanASecond(running.output())
          assert.isAbove(must.length, 500)
          server.behave("take")
          const next = Langfuse.layerWith({ ...optionsOf(server), outbox: { folder: join(folder, "outbox") } })
          const delivered = Effect.provide(server.arrived(must.length), next)
          yield* place === "a folder" ? delivered : Effect.provide(delivered, database.layer)
          const there = ids(server)
          assert.deepStrictEqual(
            must.filter(({ id }) => !there.has(id)),
            []
          )
        }),
      150_000
    )
  }
})

describe("an end that nobody prepared", () => {
  const start = (ending: string) =>
    Effect.gen(function* () {
      const server = yield* LangfuseServer.make()
      const folder = yield* TestDatabases.temporaryFolder
      const env = { ...server.env, OUTBOX: "1", HOLDFAST_DATA_DIR: folder, LANGFUSE_FLUSH_INTERVAL: "600" }
      return { server, running: yield* Processes.start(file, { args: [ending], env }) }
    })

  const allThere = (server: LangfuseServer.LangfuseServer, output: string) => {
    const ended = endedIn(output)
    assert.strictEqual(ended.length, 5)
    assert.deepStrictEqual([...ids(server)].sort(), ended.map(({ id }) => id).sort())
  }

  it.scopedLive("nothing is left to do", () =>
    Effect.gen(function* () {
      const { running, server } = yield* start("exit")
      assert.deepStrictEqual(yield* running.exited, { code: 0, signal: null })
      allThere(server, running.output())
    })
  )

  it.scopedLive("an error that nobody catches: what Node says of it, and 1", () =>
    Effect.gen(function* () {
      const { running, server } = yield* start("uncaught")
      assert.deepStrictEqual(yield* running.exited, { code: 1, signal: null })
      assert.match(running.output(), /Error: nobody catches this\n +at /)
      allThere(server, running.output())
    })
  )

  it.scopedLive("SIGTERM", () =>
    Effect.gen(function* () {
      const { running, server } = yield* start("signal")
      yield* running.saw("ready")
      yield* running.kill("SIGTERM")
      assert.deepStrictEqual(yield* running.exited, { code: null, signal: "SIGTERM" })
      allThere(server, running.output())
    })
  )
})
