import type * as SqlClient from "@effect/sql/SqlClient"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"
import { type Bounds, pack, type Store, unpack } from "./outbox.js"
import * as OutboxTable from "./outboxTable.js"

/** So much is written between two looks at the bounds. */
const evictBytes = 4_000_000
const evictMillis = 60_000

/**
 * An outbox in tables of a Postgres database, which are made at the first use. Its statements are no observations.
 *
 * @internal
 */
export const make = (sql: SqlClient.SqlClient, location: string, bounds: Bounds): Store => {
  const table = OutboxTable.make(sql, bounds)
  let setup: Promise<void> | undefined
  let written = Number.POSITIVE_INFINITY
  let evictedAt = Number.NEGATIVE_INFINITY
  let copiesEvictedAt = Number.NEGATIVE_INFINITY

  /** Beside every fiber of the program's: no tracer, and a clock that no test stops. */
  const run = <A, E>(effect: Effect.Effect<A, E>): Promise<A> =>
    Runtime.runPromise(Runtime.defaultRuntime)(
      effect.pipe(Effect.withTracerEnabled(false), Effect.withClock(Clock.make()))
    )

  const ready = (): Promise<void> => {
    setup ??= run(table.setup).catch((error) => {
      setup = undefined
      throw error
    })
    return setup
  }
  const withTable = async <A, E>(effect: Effect.Effect<A, E>): Promise<A> => {
    await ready()
    return run(effect)
  }

  const evict = async (): Promise<void> => {
    written = 0
    evictedAt = performance.now()
    for (const { items, ...lane } of await run(table.evict)) bounds.onEvicted(lane, items)
  }

  return {
    location,
    put: async (lane, items) => {
      const payload = await pack(items)
      const id = await withTable(table.put(lane, payload, items.length))
      written += payload.length
      if (written > Math.min(evictBytes, bounds.maxBytes / 10) || performance.now() > evictedAt + evictMillis) {
        // what was put is there, whatever becomes of the rest
        await evict().catch(() => {})
      }
      return id
    },
    next: async (lane, except) => {
      const row = await withTable(table.next(lane, [...except]))
      if (row === undefined || row === "busy") return row
      return { id: row.id, items: await unpack(row.payload) }
    },
    remove: (_lane, id) => withTable(table.remove(id)),
    release: (lane) => (setup === undefined ? Promise.resolve() : withTable(table.release(lane))),
    disown: (lane) => withTable(table.disown(lane)),
    refuse: async (lane, item, refusal) => withTable(table.refuse(lane, await pack([item]), refusal)),
    note: (lane, word) => withTable(table.note(lane, word)),
    keepMillis: bounds.keepMillis,
    keep: async (items) => {
      await withTable(table.keep(await pack(items)))
      if (bounds.keepMillis === undefined || performance.now() < copiesEvictedAt + evictMillis) return
      copiesEvictedAt = performance.now()
      // what was kept is there, whatever becomes of the rest
      await run(table.evictCopies(bounds.keepMillis)).catch(() => {})
    },
    stored: async function* (since) {
      for (const which of ["waiting", "copies"] as const) {
        if (!(await run(which === "waiting" ? table.isThere : table.hasCopies))) continue
        let after = "0"
        while (true) {
          const rows = await run(table.stored(which, since, after))
          for (const { payload } of rows) yield await unpack(payload)
          const last = rows.at(-1)
          if (last === undefined) break
          after = last.id
        }
      }
    },
    // looking makes nothing
    summaries: async () => ((await run(table.isThere)) ? run(table.summaries) : [])
  }
}
