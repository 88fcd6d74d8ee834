/**
 * Sixteen threads write and read through proxies that do to their statements what networks, servers and administrators do. Whatever was
 * acknowledged has to be there at the end, byte for byte, and what is said not to have happened must not.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import type { Checkpoint, CheckpointMetadata, CheckpointTuple } from "@langchain/langgraph-checkpoint"
import { emptyCheckpoint, uuid6 } from "@langchain/langgraph-checkpoint"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Runtime from "effect/Runtime"
import { inject } from "vitest"
import { isCheckpointError } from "../../src/checkpoint/CheckpointError.js"
import * as Checkpointer from "../../src/checkpoint/Checkpointer.js"
import * as Database from "../../src/database/Database.js"
import * as TestDatabases from "../support/databases.js"
import * as FaultProxy from "../support/faultProxy.js"
import { bytesOf, randomOf, table } from "./support.js"

const seed = 20_261_120
const threads = 16
const kinds = ["put", "putWrites", "getTuple", "list"] as const
type Kind = (typeof kinds)[number]

/** How often each, beside the others: those that are silent cost the time until that is noticed. */
const weights: Readonly<Record<FaultProxy.Fault, number>> = {
  latency: 4,
  reset: 4,
  swallow: 1,
  deaf: 1,
  cut: 4,
  "cut-answer": 4,
  "slow-close": 2,
  terminate: 4,
  serialization: 3,
  deadlock: 3,
  refuse: 2
}
const bag = FaultProxy.faults.flatMap((fault) => Array.from({ length: weights[fault] }, () => fault))

/** Of the statements, this share meets a fault. */
const rate = 0.3

const options = {
  maxConnections: threads,
  connectTimeout: "5 seconds",
  silenceTimeout: "150 millis",
  // few, so that some operations fail for good and have to say what became of them
  retryAttempts: 5
} as const

const metadata = (step: number): CheckpointMetadata => ({ source: "loop", step, parents: {} })

const at = (thread: string, id?: string) => ({
  configurable: { thread_id: thread, checkpoint_ns: "", ...(id === undefined ? {} : { checkpoint_id: id }) }
})

/** Some are empty, most are small, a few are large. */
const sizeOf = (random: number): number => (random < 0.05 ? 0 : random < 0.95 ? Math.floor(random * 3000) : 60_000)

/** A way to the database for one kind of operation, with what came of it. */
interface Door {
  readonly proxy: FaultProxy.FaultProxy
  readonly saver: Checkpointer.Service
  done: number
  readonly failed: { no: number; unknown: number; reading: number }
}

const gather = async (tuples: AsyncIterable<CheckpointTuple>): Promise<ReadonlyArray<CheckpointTuple>> => {
  const all: Array<CheckpointTuple> = []
  for await (const tuple of tuples) all.push(tuple)
  return all
}

interface Made {
  readonly id: string
  readonly parent: string | undefined
  readonly size: number
  put: "acknowledged" | "no" | "unknown"
  writes: "none" | "acknowledged" | "no" | "unknown"
}

const checkpoint = ({ id, size }: Made, step: number): Checkpoint => ({
  ...emptyCheckpoint(),
  id,
  channel_values: { state: bytesOf(id, size), step },
  channel_versions: { state: step, step }
})

const isSame = (value: unknown, wanted: Uint8Array): boolean =>
  value instanceof Uint8Array && Buffer.compare(value, wanted) === 0

/** What is wrong with a checkpoint that was read. */
const problemOf = (tuple: CheckpointTuple | undefined, made: Made): string | undefined => {
  if (tuple === undefined) return "is not there"
  if (!isSame(tuple.checkpoint.channel_values["state"], bytesOf(made.id, made.size))) return "has other bytes"
  if (tuple.parentConfig?.configurable?.["checkpoint_id"] !== made.parent) return "has another parent"
  const writes = (tuple.pendingWrites ?? []).filter(([, channel]) => channel === "result")
  if (made.writes === "acknowledged" && writes.length !== 2) return `has ${writes.length} of 2 writes`
  if (made.writes === "no" && writes.length !== 0) return "has writes that were not to be"
  return writes.every(([task, , value]) => isSame(value, bytesOf(`${made.id} ${task}`, made.size)))
    ? undefined
    : "has writes of other bytes"
}

describe("checkpoints under faults", () => {
  it.scopedLive(`what was acknowledged is there, ${inject("chaos").faults} faults, seed ${seed}`, () =>
    Effect.gen(function* () {
      const began = performance.now()
      const [backend] = TestDatabases.backends.filter((backend) => backend.name === "postgres")
      if (backend === undefined) return yield* Effect.dieMessage("no server")
      const { layer: direct, url = "" } = yield* backend.create
      const admin = yield* Effect.provide(SqlClient.SqlClient, yield* Layer.build(direct))
      const runtime = yield* Effect.runtime<never>()
      const terminate = (processId: number) => {
        Runtime.runFork(runtime)(Effect.ignore(admin`select pg_terminate_backend(${processId})`))
      }
      const plain = Checkpointer.layer().pipe(Layer.provide(direct))
      yield* Layer.build(plain)

      let faulty = false
      const doors = yield* Effect.forEach(kinds, (kind, index) =>
        Effect.gen(function* () {
          const random = randomOf(seed + index)
          const decide = () => (faulty && random() < rate ? bag[Math.floor(random() * bag.length)] : undefined)
          const proxy = yield* Effect.acquireRelease(
            Effect.promise(() => FaultProxy.start({ url, decide, random, terminate })),
            (proxy) => Effect.promise(proxy.close)
          )
          const database = Database.layerPostgres({ url: Redacted.make(proxy.url), ...options })
          const context = yield* Layer.build(Checkpointer.layer().pipe(Layer.provide(database)))
          const saver = yield* Effect.provide(Checkpointer.Checkpointer, context)
          const door: Door = { proxy, saver, done: 0, failed: { no: 0, unknown: 0, reading: 0 } }
          return [kind, door] as const
        })
      )
      const door = Object.fromEntries(doors) as Record<Kind, Door> // one a kind
      const injected = () =>
        doors.reduce((sum, [, { proxy }]) => sum + Object.values(proxy.injected()).reduce((a, b) => a + b, 0), 0)

      /** Does one thing through its own proxy, and says what became of it. */
      const attempt = async <A>(kind: Kind, run: (saver: Checkpointer.Service) => Promise<A>) => {
        const { failed, saver } = door[kind]
        try {
          const value = await run(saver)
          door[kind].done++
          return { value }
        } catch (error) {
          assert.isTrue(isCheckpointError(error), String(error))
          if (!isCheckpointError(error)) throw error
          assert.strictEqual(error.reason, "Database", error.message)
          const writes = kind === "put" || kind === "putWrites"
          assert.strictEqual(error.written !== undefined, writes, error.message)
          failed[error.written ?? "reading"]++
          return { written: error.written ?? "unknown" }
        }
      }

      const made = new Map<string, Array<Made>>()
      const live = async (index: number): Promise<void> => {
        const random = randomOf(seed * 31 + index)
        const thread = `thread ${index}`
        const all: Array<Made> = []
        made.set(thread, all)
        let parent: string | undefined
        for (let step = 1; injected() < inject("chaos").faults; step++) {
          const it: Made = { id: uuid6(step), parent, size: sizeOf(random()), put: "unknown", writes: "none" }
          all.push(it)
          const put = await attempt("put", (saver) =>
            saver.put(at(thread, parent), checkpoint(it, step), metadata(step), { state: step, step })
          )
          it.put = "value" in put ? "acknowledged" : put.written
          if (it.put !== "acknowledged") continue
          parent = it.id
          const task = `task ${step}`
          const result = bytesOf(`${it.id} ${task}`, it.size)
          const writes = await attempt("putWrites", (saver) =>
            saver.putWrites(
              at(thread, it.id),
              [
                ["result", result],
                ["result", result]
              ],
              task
            )
          )
          it.writes = "value" in writes ? "acknowledged" : writes.written
          const read = await attempt("getTuple", (saver) => saver.getTuple(at(thread)))
          if ("value" in read)
            assert.isUndefined(problemOf(read.value, it), `${thread}, ${step}: what was just written`)
          const listed = await attempt("list", (saver) => gather(saver.list(at(thread), { limit: 3 })))
          if ("value" in listed) assert.isUndefined(problemOf(listed.value[0], it), `${thread}, ${step}: in the list`)
        }
      }

      faulty = true
      yield* Effect.promise(() => Promise.all(Array.from({ length: threads }, (_, index) => live(index))))
      faulty = false
      const seconds = (performance.now() - began) / 1000

      // read without a proxy, by a checkpointer of its own
      const reader = yield* Effect.provide(Checkpointer.Checkpointer, yield* Layer.build(plain))
      let acknowledged = 0
      for (const [thread, all] of made) {
        const stored = new Map<string, CheckpointTuple>()
        for (const tuple of yield* Effect.promise(() => gather(reader.list(at(thread))))) {
          stored.set(tuple.checkpoint.id, tuple)
        }
        for (const it of all) {
          const tuple = stored.get(it.id)
          if (it.put === "acknowledged") acknowledged++
          if (it.put === "no") assert.isUndefined(tuple, `${thread}: ${it.id} is said not to be written`)
          else if (it.put === "acknowledged" || tuple !== undefined) {
            assert.isUndefined(problemOf(tuple, it), `${thread}: ${it.id}`)
          }
          for (let id = tuple === undefined ? undefined : it.parent; id !== undefined; ) {
            const parent = stored.get(id)
            assert.isDefined(parent, `${thread}: the chain of ${it.id} ends at ${id}`)
            id = parent?.parentConfig?.configurable?.["checkpoint_id"]
          }
        }
      }

      const rows = doors.map(([kind, { done, failed, proxy }]) => {
        const counts = proxy.injected()
        return [
          kind,
          proxy.statements(),
          done,
          ...Object.values(failed),
          ...FaultProxy.faults.map((name) => counts[name])
        ]
      })
      console.log(
        `${injected()} faults in ${seconds.toFixed(1)} s, ${acknowledged} checkpoints acknowledged, all of them read back\n${table(
          ["operation", "statements", "done", "not done", "not known", "not read", ...FaultProxy.faults],
          rows
        )}`
      )
      assert.isAtLeast(injected(), inject("chaos").faults)
      for (const [kind, { done, failed, proxy }] of doors) {
        for (const [fault, count] of Object.entries(proxy.injected())) assert.isAbove(count, 0, `${fault} of ${kind}`)
        const lost = failed.no + failed.unknown + failed.reading
        assert.isAtLeast(done / (done + lost), 0.95, `of ${kind} enough have succeeded`)
      }
    })
  )
})
