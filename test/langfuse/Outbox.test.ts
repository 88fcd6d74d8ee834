/** The outbox keeps its promises in every place where it can be. */
import { existsSync, readdirSync, renameSync } from "node:fs"
import { join } from "node:path"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Item } from "../../src/langfuse/internal/item.js"
import type { Bounds, Lane, Parcel, Store } from "../../src/langfuse/internal/outbox.js"
import * as OutboxFolder from "../../src/langfuse/internal/outboxFolder.js"
import * as OutboxStore from "../../src/langfuse/internal/outboxStore.js"
import * as TestDatabases from "../support/databases.js"

interface Place {
  /** A deliverer of its own each time, as another process would be. */
  readonly open: (bounds?: Partial<Bounds>) => Store
  /** Makes all that is stored a minute older. */
  readonly age: () => Promise<void>
  readonly isMade: () => Promise<boolean>
}

class TestPlace extends Context.Tag("test/Place")<TestPlace, Place>() {}

const boundsOf = (bounds: Partial<Bounds> = {}): Bounds => ({
  maxBytes: 10_000_000,
  maxAgeMillis: 3_600_000,
  onEvicted: () => {},
  ...bounds
})

const folder = Layer.scoped(
  TestPlace,
  Effect.map(TestDatabases.temporaryFolder, (folder) => ({
    open: (bounds) => OutboxFolder.make(join(folder, "outbox"), boundsOf(bounds)),
    isMade: async () => existsSync(join(folder, "outbox")),
    age: async () => {
      for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
        const [, at = "", time, rest = ""] = /^(.*\/)(\d{15})(-.*)$/.exec(name) ?? []
        if (time === undefined) continue
        renameSync(join(folder, name), join(folder, `${at}${`${Number(time) - 60_000}`.padStart(15, "0")}${rest}`))
      }
    }
  }))
)

const tables = (backend: TestDatabases.Backend) =>
  Layer.effect(
    TestPlace,
    Effect.map(SqlClient.SqlClient, (sql) => ({
      open: (bounds) => OutboxStore.make(sql, backend.name, boundsOf(bounds)),
      isMade: () =>
        Effect.runPromise(
          Effect.map(sql`select to_regclass('holdfast_outbox') is not null as there`, ([row]) => row?.there === true)
        ),
      age: () =>
        Effect.runPromise(
          Effect.zipRight(
            sql`update holdfast_outbox set created_at = created_at - interval '60 seconds'`,
            Effect.asVoid(sql`update holdfast_outbox_copies set created_at = created_at - interval '60 seconds'`)
          )
        )
    }))
  ).pipe(Layer.provide(backend.layer))

const places = [
  ["a folder", folder],
  ...TestDatabases.backends.map((backend) => [`a table, ${backend.name}`, tables(backend)] as const)
] as const

let lanes = 0
const newLane = (): Lane => ({
  kind: "observations",
  target: `https://langfuse-${lanes++}.example.com`,
  account: "pk-lf-1"
})

const itemsOf = (...names: ReadonlyArray<string>): ReadonlyArray<Item> =>
  names.map((name) => ({ group: `{"g":"${name[0]}"}`, json: `{"name":"${name}","text":"# ä 🙂"}` }))

const none: ReadonlySet<string> = new Set()

const parcel = (next: Parcel | "busy" | undefined): Parcel => {
  if (next === undefined || next === "busy") throw new Error(`there is ${next ?? "nothing"}`)
  return next
}

/** Text that does not compress. */
const noise = (length: number): string => {
  let text = ""
  while (text.length < length) text += Math.random().toString(36).slice(2)
  return text.slice(0, length)
}

const nothing = { sent: 0, refused: 0, lost: 0 }

for (const [name, layer] of places) {
  describe(`the outbox in ${name}`, () => {
    it.layer(layer)((it) => {
      const test = (what: string, body: (place: Place) => Promise<void>) =>
        it.effect(what, () => Effect.flatMap(TestPlace, (place) => Effect.promise(() => body(place))))

      test("makes nothing when it is only looked at, and is set up by many at once", async ({ isMade, open }) => {
        assert.deepStrictEqual(await open().summaries(), [])
        assert.isFalse(await isMade())
        const lane = newLane()
        await Promise.all([1, 2, 3].map((n) => open().put(lane, itemsOf(`${n}`))))
        const [summary] = await open().summaries()
        assert.deepStrictEqual(summary?.waiting, [{ account: "pk-lf-1", items: 3 }])
        assert.isTrue(await isMade())
      })

      test("keeps copies beside what waits, as many and for as long as it is told", async ({ age, open }) => {
        const keepMillis = 50_000
        const stored = async (since = new Date(0)): Promise<ReadonlyArray<string>> => {
          const names: Array<string> = []
          for await (const items of open().stored(since)) {
            for (const { json } of items) names.push(...(/"name":"(copied [^"]*)"/.exec(json)?.slice(1) ?? []))
          }
          return names.sort()
        }
        await open({ keepMillis }).keep(itemsOf("copied a", "copied b"))
        await open().put(newLane(), itemsOf("copied w"))
        await open().put({ ...newLane(), kind: "scores" }, itemsOf("copied s"))
        assert.deepStrictEqual(await stored(), ["copied a", "copied b", "copied w"])
        await age()
        assert.deepStrictEqual(await stored(new Date(Date.now() - 30_000)), [])
        const large = (name: string) => [{ group: "{}", json: `{"name":"copied ${name}","text":"${noise(2_500)}"}` }]
        await open({ keepMillis }).keep(large("c"))
        assert.deepStrictEqual(await stored(), ["copied c", "copied w"])
        await open({ keepMillis, maxBytes: 2_800 }).keep(large("d"))
        assert.deepStrictEqual(await stored(), ["copied d", "copied w"])
      })

      test("gives back what was put, whole and in order, lane by lane", async ({ open }) => {
        const store = open()
        const [lane, other] = [newLane(), newLane()]
        const put = [itemsOf("a1", "a2", "b1"), itemsOf("c1"), itemsOf("d1", "d2")]
        const ids: Array<string> = []
        for (const items of put) ids.push(await store.put(lane, items))
        await store.put(other, itemsOf("other"))
        for (const [index, items] of put.entries()) {
          const next = parcel(await store.next(lane, none))
          assert.deepStrictEqual(next, { id: ids[index], items })
          await store.remove(lane, next.id)
        }
        assert.isUndefined(await store.next(lane, none))
        assert.strictEqual(parcel(await store.next(other, none)).items.length, 1)
      })

      test("leaves out what is on its way", async ({ open }) => {
        const store = open()
        const lane = newLane()
        const first = await store.put(lane, itemsOf("a"))
        const second = await store.put(lane, itemsOf("b"))
        assert.strictEqual(parcel(await store.next(lane, new Set([first]))).id, second)
        assert.isUndefined(await store.next(lane, new Set([first, second])))
      })

      test("lets one deliver at a time, and the next when that one is done", async ({ open }) => {
        const [a, b] = [open(), open()]
        const lane = newLane()
        await a.put(lane, itemsOf("a"))
        await b.put(lane, itemsOf("b"))
        const first = parcel(await a.next(lane, none))
        assert.strictEqual(await b.next(lane, none), "busy")
        // another lane to the same server has a deliverer of its own
        const scores: Lane = { ...lane, kind: "scores" }
        await b.put(scores, itemsOf("x"))
        assert.strictEqual(parcel(await b.next(scores, none)).items.length, 1)
        await a.remove(lane, first.id)
        await a.release(lane)
        assert.deepStrictEqual(parcel(await b.next(lane, none)).items, itemsOf("b"))
        assert.strictEqual(await a.next(lane, none), "busy")
      })

      test("keeps accounts apart, until the server does not know one", async ({ open }) => {
        const store = open()
        const lane = newLane()
        const other = { ...lane, account: "pk-lf-2" }
        await store.put(lane, itemsOf("a"))
        assert.isUndefined(await store.next(other, none))
        await store.disown(lane)
        assert.deepStrictEqual(parcel(await store.next(other, none)).items, itemsOf("a"))
      })

      test("names what was refused, once", async ({ open }) => {
        const store = open()
        const lane = newLane()
        const [item] = itemsOf("bad")
        if (item === undefined) throw new Error("no item")
        const refusal = { id: "trace/span", name: "bad\u0000", reason: "HTTP 400" }
        await store.refuse(lane, item, refusal)
        await store.refuse(lane, item, refusal)
        const summary = (await store.summaries()).find(({ target }) => target === lane.target)
        assert.strictEqual(summary?.refusals.length, 1)
        assert.strictEqual(summary?.refusals[0]?.id, "trace/span")
        assert.include(summary?.refusals[0]?.name, "bad")
      })

      test("adds figures up, and says what is wrong as long as it is", async ({ open }) => {
        const lane = newLane()
        const summary = async () => (await open().summaries()).find(({ target }) => target === lane.target)
        await open().note(lane, { added: { sent: 3, refused: 1, lost: 0 }, queued: 9, problem: "HTTP 503" })
        await open().note(lane, { added: { sent: 2, refused: 0, lost: 4 }, queued: 7, problem: "HTTP 500" })
        await open().put(lane, itemsOf("a", "b"))
        await open().put({ ...lane, account: "" }, itemsOf("c"))
        const before = await summary()
        assert.deepInclude(before, { queued: 7, sent: 5, refused: 1, lost: 4, problem: "HTTP 500" })
        assert.deepStrictEqual(before?.waiting, [
          { account: "", items: 1 },
          { account: "pk-lf-1", items: 2 }
        ])
        assert.isAbove(before?.bytes ?? 0, 0)
        assert.isAtMost(Math.abs((before?.oldest?.getTime() ?? 0) - Date.now()), 60_000)
        await open().note(lane, { added: nothing, queued: 0, problem: undefined })
        assert.deepInclude(await summary(), { queued: 0, sent: 5, problem: undefined })
      })

      test("is bounded: the oldest goes first, and is counted", async ({ open }) => {
        const evicted: Array<number> = []
        const lane = newLane()
        const store = open({
          maxBytes: 1_500,
          onEvicted: ({ target }, items) => {
            if (target === lane.target) evicted.push(items)
          }
        })
        for (let n = 0; n < 12; n++) await store.put(lane, [{ group: "{}", json: `"${n} ${noise(400)}"` }])
        const next = parcel(await store.next(lane, none))
        assert.notMatch(next.items[0]?.json ?? "", /^"0 /)
        const summary = (await store.summaries()).find(({ target }) => target === lane.target)
        assert.isAtMost(summary?.bytes ?? 0, 1_500)
        const left = summary?.waiting.reduce((sum, { items }) => sum + items, 0) ?? 0
        assert.strictEqual(left + (summary?.lost ?? 0), 12)
        assert.strictEqual(
          evicted.reduce((sum, items) => sum + items, 0),
          summary?.lost
        )
      })

      test("lets go of what is too old", async ({ age, open }) => {
        const lane = newLane()
        await open().put(lane, itemsOf("old"))
        await age()
        const store = open({ maxAgeMillis: 50_000 })
        await store.put(lane, itemsOf("new"))
        assert.deepStrictEqual(parcel(await store.next(lane, none)).items, itemsOf("new"))
      })
    })
  })
}

describe("the outbox in a table", () => {
  const [, postgres] = TestDatabases.backends
  it.scoped("passes to another process when the deliverer has been silent for half a minute", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const [a, b] = [OutboxStore.make(sql, "", boundsOf()), OutboxStore.make(sql, "", boundsOf())]
      const lane = newLane()
      yield* Effect.promise(() => a.put(lane, itemsOf("a")))
      yield* Effect.promise(() => a.next(lane, none))
      assert.strictEqual(yield* Effect.promise(() => b.next(lane, none)), "busy")
      yield* sql`update holdfast_outbox_lanes set owned_until = owned_until - interval '31 seconds'`
      assert.strictEqual(parcel(yield* Effect.promise(() => b.next(lane, none))).items.length, 1)
    }).pipe(Effect.provide(postgres?.layer ?? assert.fail("no server")))
  )
})
