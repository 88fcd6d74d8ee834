/** What a store promises, on each of them. */

import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it, type Vitest } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Trace from "../../src/observability/Trace.js"
import * as CircuitBreakerSql from "../../src/resilience/CircuitBreaker/Sql.js"
import * as CircuitBreaker from "../../src/resilience/CircuitBreaker.js"
import * as TestDatabases from "../support/databases.js"
import { tree } from "./support.js"

type Next = Omit<CircuitBreaker.Shared, "version">

const state = (id: string, state: CircuitBreaker.State, remainingMillis = 0): Next => ({
  id,
  state,
  failureCount: 5,
  openings: 2,
  successes: 1,
  remainingMillis
})

const minute = 60_000

const promises = (it: Vitest.MethodsNonLive<CircuitBreaker.Store>, fresh: () => string) => {
  const begun = (...args: Parameters<typeof state> extends [string, ...infer Rest] ? Rest : never) =>
    Effect.gen(function* () {
      const store = yield* CircuitBreaker.Store
      const id = fresh()
      const { current, written } = yield* store.write(state(id, ...args), 0)
      assert.isTrue(written)
      assert.strictEqual(current.version, 1)
      return { store, id }
    })

  it.effect("gives back what was written, and nothing of what was not", () =>
    Effect.gen(function* () {
      const { id, store } = yield* begun("isolated")
      const other = fresh()
      assert.deepStrictEqual(yield* store.read([other]), [])
      assert.deepStrictEqual(yield* store.read([]), [])
      assert.deepStrictEqual(yield* store.read([id, other]), [{ ...state(id, "isolated"), version: 1 }])
      yield* store.write(state(id, "open", minute), 1)
      const [open] = yield* store.read([id])
      assert.deepStrictEqual(open && { ...open, remainingMillis: 0 }, { ...state(id, "open"), version: 2 })
      assert.isTrue(open !== undefined && open.remainingMillis > 0 && open.remainingMillis <= minute)
      const held = yield* store.write(state(other, "isolated", minute), 3)
      assert.deepStrictEqual(held, { written: true, current: { ...state(other, "isolated"), version: 1 } })
      const endless = yield* store.write(state(id, "open", Number.POSITIVE_INFINITY), 2)
      assert.isAbove(endless.current.remainingMillis, 1e12)
    })
  )

  it.effect("writes only over the version that was expected, or over any", () =>
    Effect.gen(function* () {
      const { id, store } = yield* begun("open", minute)
      const late = yield* store.write(state(id, "closed"), 0)
      assert.deepStrictEqual([late.written, late.current.state, late.current.version], [false, "open", 1])
      const both = yield* Effect.all([store.write(state(id, "closed"), 1), store.write(state(id, "forced-open"), 1)], {
        concurrency: 2
      })
      assert.deepStrictEqual(both.map(({ written }) => written).sort(), [false, true])
      assert.isTrue(both.every(({ current }) => current.version === 2))
      const forced = yield* store.write(state(id, "isolated"), undefined)
      assert.deepStrictEqual([forced.written, forced.current.version], [true, 3])
    })
  )

  it.effect("leases so many probes and no more, from the end of the break on", () =>
    Effect.gen(function* () {
      const { id, store } = yield* begun("open", minute)
      const ask = (lease: string, expiresAfterMillis = minute) =>
        store.lease({ id, lease, permits: 2, expiresAfterMillis })
      assert.deepStrictEqual((yield* ask("a")).granted, false)
      yield* store.write(state(id, "open"), 1)
      const all = yield* Effect.forEach(["a", "b", "c", "d", "e"], (lease) => ask(lease), { concurrency: 5 })
      assert.strictEqual(all.filter(({ granted }) => granted).length, 2)
      for (const { current } of all) {
        assert.deepStrictEqual([current?.state, current?.version, current?.successes], ["half-open", 3, 0])
      }
      assert.deepStrictEqual(yield* store.lease({ id: fresh(), lease: "a", permits: 1, expiresAfterMillis: 1 }), {
        granted: false,
        current: undefined
      })
      const closed = yield* begun("closed")
      const denied = yield* store.lease({ id: closed.id, lease: "a", permits: 1, expiresAfterMillis: minute })
      assert.deepStrictEqual([denied.granted, denied.current?.state], [false, "closed"])
    })
  )

  it.effect("a lease that nobody settles ends by itself", () =>
    Effect.gen(function* () {
      const { id, store } = yield* begun("open")
      const ask = (lease: string, expiresAfterMillis: number) =>
        Effect.map(store.lease({ id, lease, permits: 1, expiresAfterMillis }), ({ granted }) => granted)
      assert.isTrue(yield* ask("of a process that is killed", 0))
      assert.isTrue(yield* ask("next", minute))
      assert.isFalse(yield* ask("one too many", minute))
      const settled = yield* store.settle({
        id,
        lease: "of a process that is killed",
        success: true,
        successThreshold: 1
      })
      assert.deepStrictEqual([settled?.state, settled?.successes], ["half-open", 0])
      yield* store.settle({ id, lease: "next", success: false, successThreshold: 1 })
      assert.isTrue(yield* ask("after it was given back", minute))
    })
  )

  it.effect("counts the successes of all, each once, and closes at the last one needed", () =>
    Effect.gen(function* () {
      const { id, store } = yield* begun("open")
      const lease = (lease: string) => store.lease({ id, lease, permits: 3, expiresAfterMillis: minute })
      const settle = (lease: string, success: boolean) => store.settle({ id, lease, success, successThreshold: 2 })
      yield* Effect.forEach(["a", "b", "c"], lease)
      assert.strictEqual((yield* settle("a", true))?.successes, 1)
      assert.strictEqual((yield* settle("a", true))?.successes, 1)
      assert.strictEqual((yield* settle("b", false))?.successes, 1)
      assert.deepStrictEqual(yield* settle("c", true), {
        ...state(id, "closed"),
        version: 3,
        failureCount: 0,
        openings: 0,
        successes: 0
      })
      assert.isUndefined(yield* store.settle({ id: fresh(), lease: "a", success: true, successThreshold: 1 }))
    })
  )

  it.effect("a change of state ends all leases", () =>
    Effect.gen(function* () {
      const { id, store } = yield* begun("open")
      yield* store.lease({ id, lease: "old", permits: 1, expiresAfterMillis: minute })
      yield* store.write(state(id, "open"), 2)
      assert.isTrue((yield* store.lease({ id, lease: "new", permits: 1, expiresAfterMillis: minute })).granted)
      const late = yield* store.settle({ id, lease: "old", success: true, successThreshold: 1 })
      assert.strictEqual(late?.state, "half-open")
    })
  )
}

let ids = 0
const fresh = () => `breaker ' "${ids++}"`

describe("CircuitBreaker.layerStoreMemory", () => {
  it.layer(CircuitBreaker.layerStoreMemory)((it) => promises(it, fresh))
})

for (const backend of TestDatabases.backends) {
  describe(`CircuitBreakerSql.layerStoreSql on ${backend.name}`, () => {
    it.layer(CircuitBreakerSql.layerStoreSql().pipe(Layer.provideMerge(backend.layer)))((it) => {
      promises(it, fresh)

      it.effect("keeps its table in a schema, and says what failed", () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const inSchema = (schema: string) =>
            Effect.flatMap(Layer.build(CircuitBreakerSql.layerStoreSql({ schema })), (context) =>
              Effect.provide(CircuitBreaker.Store, context)
            )
          const store = yield* inSchema('of "mine"')
          yield* store.write(state("a", "open"), 0)
          const rows = yield* sql`select id, state from "of ""mine""".holdfast_circuit_breakers`
          assert.deepStrictEqual(rows, [{ id: "a", state: "open" }])
          yield* sql`drop table "of ""mine""".holdfast_circuit_breakers`
          const lease = { id: "a", lease: "b" }
          const asks: ReadonlyArray<
            readonly [string, Effect.Effect<unknown, CircuitBreaker.CircuitBreakerStoreError>]
          > = [
            ["read", store.read(["a"])],
            ["write", store.write(state("a", "open"), 0)],
            ["lease", store.lease({ ...lease, permits: 1, expiresAfterMillis: 1 })],
            ["settle", store.settle({ ...lease, success: true, successThreshold: 1 })]
          ]
          for (const [operation, asked] of asks) {
            const error = yield* Effect.flip(asked)
            assert.instanceOf(error, CircuitBreaker.CircuitBreakerStoreError)
            assert.strictEqual(error.operation, operation)
            assert.match(error.message, /^the database failed: .*holdfast_circuit_breakers/)
          }
          // a table needs a type of its name
          yield* sql`create schema other`
          yield* sql`create domain other.holdfast_circuit_breakers as text`
          const refused = yield* Effect.flip(Effect.flatMap(inSchema("other"), (other) => other.read(["a"])))
          const migration = 'Migration 1 "create_circuit_breakers" of "circuit-breaker" failed and was rolled back: '
          assert.include(refused.message, `the database failed: ${migration}`)
        }).pipe(Effect.scoped)
      )

      it.effect("its statements are in no trace", () =>
        Effect.gen(function* () {
          const store = yield* CircuitBreaker.Store
          yield* Effect.withSpan(store.read(["a"]), "a call")
          assert.deepStrictEqual(
            (yield* tree).map(({ name }) => name),
            ["a call"]
          )
        }).pipe(Effect.provide(Trace.layerRecorder()))
      )
    })
  })
}
