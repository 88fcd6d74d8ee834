/** What a shared breaker asks of its store, when, and what it tells when the store fails. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as TestClock from "effect/TestClock"
import * as Trace from "../../../src/observability/Trace.js"
import * as CircuitBreaker from "../../../src/resilience/CircuitBreaker.js"
import { others, transient, tree } from "../support.js"

const { protect } = CircuitBreaker
const ok = Effect.succeed("answer")
const fail = Effect.fail(transient())

type Asked = { readonly [K in keyof CircuitBreaker.StoreService]: Parameters<CircuitBreaker.StoreService[K]> }

/** A store in memory that writes down what it is asked, and answers only while `instead` is not set. */
const recorded = Effect.gen(function* () {
  const store = Context.get(yield* Layer.build(CircuitBreaker.layerStoreMemory), CircuitBreaker.Store)
  const asked: { [K in keyof Asked]: Array<Asked[K]> } = { read: [], write: [], lease: [], settle: [] }
  const self: { instead: Effect.Effect<never, CircuitBreaker.CircuitBreakerStoreError> | undefined } = {
    instead: undefined
  }
  const or = <A>(effect: Effect.Effect<A, CircuitBreaker.CircuitBreakerStoreError>) =>
    Effect.suspend(() => self.instead ?? effect)
  const service: CircuitBreaker.StoreService = {
    read: (...args) =>
      or(
        Effect.zipRight(
          Effect.sync(() => asked.read.push(args)),
          store.read(...args)
        )
      ),
    write: (...args) =>
      or(
        Effect.zipRight(
          Effect.sync(() => asked.write.push(args)),
          store.write(...args)
        )
      ),
    lease: (...args) =>
      or(
        Effect.zipRight(
          Effect.sync(() => asked.lease.push(args)),
          store.lease(...args)
        )
      ),
    settle: (...args) =>
      or(
        Effect.zipRight(
          Effect.sync(() => asked.settle.push(args)),
          store.settle(...args)
        )
      )
  }
  return Object.assign(self, { asked, service, store })
})

type Recorded = Effect.Effect.Success<typeof recorded>

const member = (
  store: Recorded,
  options: CircuitBreaker.Options = {},
  shared: CircuitBreaker.SharedOptions = {},
  name = "model"
) =>
  Effect.gen(function* () {
    const layer = Layer.fresh(CircuitBreaker.layerRegistryShared(shared)).pipe(
      Layer.provide(Layer.succeed(CircuitBreaker.Store, store.service))
    )
    const registry = Context.get(yield* Layer.build(layer), CircuitBreaker.Registry)
    const breaker = registry.get(name, { failureThreshold: 2, resetAfter: "10 seconds", ...options })
    yield* others
    return breaker
  })

const open = (breaker: CircuitBreaker.CircuitBreaker) =>
  Effect.zipRight(Effect.repeatN(Effect.exit(protect(fail, breaker)), 1), others)

const rejected = (breaker: CircuitBreaker.CircuitBreaker) =>
  Effect.map(Effect.flip(protect(Effect.die("never invoked"), breaker)), ({ state }) => state)

const pending = (breaker: CircuitBreaker.CircuitBreaker) =>
  Effect.gen(function* () {
    const result = yield* Deferred.make<string, Error>()
    const fiber = yield* Effect.fork(protect(Deferred.await(result), breaker))
    yield* others
    return (exit: Exit.Exit<string, Error>) =>
      Effect.all([Deferred.done(result, exit), Fiber.await(fiber), others], { discard: true })
  })

const id = '["model",null]'

describe("CircuitBreaker: what a store is asked", () => {
  it.scoped("an opening is written as it is, over what was known; what is done by hand over anything", () =>
    Effect.gen(function* () {
      const store = yield* recorded
      const breaker = yield* member(store)
      yield* open(breaker)
      const row = { id, openings: 1, successes: 0, remainingMillis: 10_000 }
      assert.deepStrictEqual(store.asked.write, [[{ ...row, state: "open", failureCount: 2 }, 0]])
      yield* breaker.isolate
      yield* others
      assert.deepStrictEqual(store.asked.write[1], [
        { ...row, state: "isolated", failureCount: 2, remainingMillis: 0 },
        undefined
      ])
      yield* breaker.release
      yield* others
      assert.deepStrictEqual(store.asked.write[2], [
        { id, state: "closed", failureCount: 0, openings: 0, successes: 0, remainingMillis: 0 },
        undefined
      ])
      yield* open(breaker)
      assert.deepStrictEqual(store.asked.write[3], [{ ...row, state: "open", failureCount: 2 }, 3])
      assert.strictEqual(store.asked.write.length, 4)
    })
  )

  it.scoped("a probe asks for its lease and gives it back; becoming half-open is not written", () =>
    Effect.gen(function* () {
      const store = yield* recorded
      const breaker = yield* member(store, { halfOpenPermits: 2, halfOpenWait: "5 seconds", successThreshold: 2 })
      yield* open(breaker)
      yield* TestClock.adjust("10 seconds")
      const end = yield* pending(breaker)
      const [[request] = assert.fail("no lease was asked for")] = store.asked.lease
      assert.deepStrictEqual({ ...request, lease: "" }, { id, lease: "", permits: 2, expiresAfterMillis: 5000 })
      assert.match(request.lease, /^[0-9a-f-]{36}$/)
      yield* end(Exit.succeed("well"))
      const settled = { id, lease: request.lease, success: true, successThreshold: 2 }
      assert.deepStrictEqual(store.asked.settle, [[settled]])
      assert.strictEqual(store.asked.write.length, 1)
      // the second success closes it, here and there
      yield* protect(ok, breaker)
      yield* others
      assert.strictEqual(yield* breaker.state, "closed")
      assert.strictEqual(store.asked.settle[1]?.[0].success, true)
    })
  )

  const endings: ReadonlyArray<
    readonly [what: string, options: CircuitBreaker.Options, Effect.Effect<unknown, unknown>]
  > = [
    ["failed", {}, fail],
    ["did not count", {}, Effect.interrupt],
    [
      "was slow",
      { rule: CircuitBreaker.anyOf(CircuitBreaker.consecutive(2), CircuitBreaker.slowCallRatio({ slowerThan: 100 })) },
      TestClock.adjust(101)
    ]
  ]
  for (const [what, options, effect] of endings) {
    it.scoped(`a probe that ${what} is no success there`, () =>
      Effect.gen(function* () {
        const store = yield* recorded
        const breaker = yield* member(store, options)
        yield* open(breaker)
        yield* TestClock.adjust("10 seconds")
        yield* Effect.exit(protect(effect, breaker))
        yield* others
        assert.deepStrictEqual(
          store.asked.settle.map(([{ success }]) => success),
          [false]
        )
      })
    )
  }

  it.scoped(
    "after a lease was denied nobody asks for a twentieth of a second, nor after the clock was set back for longer",
    () =>
      Effect.gen(function* () {
        const store = yield* recorded
        const a = yield* member(store)
        const b = yield* member(store)
        yield* open(a)
        yield* TestClock.adjust("10 seconds")
        yield* pending(b)
        const asks = Effect.map(rejected(a), (state) => [state, store.asked.lease.length] as const)
        assert.deepStrictEqual(yield* asks, ["half-open", 2])
        assert.deepStrictEqual(yield* asks, ["half-open", 2])
        yield* TestClock.adjust(49)
        assert.deepStrictEqual(yield* asks, ["half-open", 2])
        assert.strictEqual((yield* a.metrics).rejected, 3)
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(yield* asks, ["half-open", 3])
        yield* TestClock.setTime(0)
        assert.deepStrictEqual(yield* asks, ["half-open", 4])
      })
  )

  it.scoped("a denied call that finds the breaker closed goes", () =>
    Effect.gen(function* () {
      const store = yield* recorded
      const a = yield* member(store, { successThreshold: 1 })
      yield* open(a)
      yield* TestClock.adjust("10 seconds")
      // others have closed it, and this process learns of it with the answer to its lease
      const row = { id, state: "closed", failureCount: 0, openings: 0, successes: 0, remainingMillis: 0 } as const
      yield* store.store.write(row, undefined)
      assert.strictEqual(yield* protect(ok, a), "answer")
      assert.strictEqual(yield* a.state, "closed")
      assert.deepStrictEqual(store.asked.settle, [])
      assert.strictEqual((yield* a.metrics).calls, 1)
      yield* open(a)
      yield* TestClock.adjust("10 seconds")
      yield* store.store.write({ ...row, state: "disabled" }, undefined)
      assert.strictEqual(yield* protect(ok, a), "answer")
      assert.strictEqual(yield* a.state, "disabled")
      yield* a.reset
      yield* open(a)
      yield* TestClock.adjust("10 seconds")
      yield* store.store.write({ ...row, state: "isolated" }, undefined)
      assert.strictEqual(yield* rejected(a), "isolated")
    })
  )

  it.scoped("all of a registry are read at once, as often as it says", () =>
    Effect.gen(function* () {
      const store = yield* recorded
      const layer = CircuitBreaker.layerRegistryShared({ pollInterval: "1 second" }).pipe(
        Layer.provide(Layer.succeed(CircuitBreaker.Store, store.service))
      )
      const registry = Context.get(yield* Layer.build(layer), CircuitBreaker.Registry)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(store.asked.read, [])
      registry.get("a")
      registry.get("b", { key: "large" })
      yield* others
      assert.deepStrictEqual(store.asked.read, [[['["a",null]', '["b","large"]']]])
      yield* TestClock.adjust("999 millis")
      assert.strictEqual(store.asked.read.length, 1)
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(store.asked.read.length, 2)
    })
  )
})

describe("CircuitBreaker: what is told of a store that fails", () => {
  const away = new CircuitBreaker.CircuitBreakerStoreError({ operation: "read", message: "the store is away" })
  const ways: ReadonlyArray<readonly [Effect.Effect<never, CircuitBreaker.CircuitBreakerStoreError>, string]> = [
    [Effect.fail(away), "the store is away"],
    [Effect.die("a bug"), "the store died"],
    [Effect.never, "the store gave no answer within 500 ms"]
  ]
  for (const [instead, message] of ways) {
    it.scoped(message, () => {
      const lines: Array<string> = []
      const logger = Logger.make(({ logLevel, message }) => void lines.push(`${logLevel.label} ${String(message)}`))
      return Effect.gen(function* () {
        const store = yield* recorded
        yield* member(store, {}, { storeTimeout: 500 })
        store.instead = instead
        yield* TestClock.adjust("250 millis")
        yield* TestClock.adjust("499 millis")
        assert.strictEqual(lines.length, instead === Effect.never ? 0 : 1)
        yield* TestClock.adjust("1 millis")
        store.instead = undefined
        yield* TestClock.adjust("5 seconds")
        assert.deepStrictEqual(lines, [
          `WARN circuit breakers go by what this process knows: ${message}`,
          "INFO circuit breakers share their state again"
        ])
        assert.deepStrictEqual(
          (yield* tree).map(({ level, metadata, name, statusMessage, type }) => [
            name,
            type,
            level,
            statusMessage,
            metadata
          ]),
          [
            ["circuit_breaker_store", "event", "WARNING", message, { shared: false }],
            ["circuit_breaker_store", "event", "DEFAULT", "the store answers again", { shared: true }]
          ]
        )
      }).pipe(Effect.provide(Layer.merge(Trace.layerRecorder(), Logger.replace(Logger.defaultLogger, logger))))
    })
  }

  it.scoped("a probe waits for its lease as long as it says; while the background waits longer, not at all", () =>
    Effect.gen(function* () {
      const store = yield* recorded
      const a = yield* member(store, { successThreshold: 1 }, { leaseTimeout: 30, pollInterval: "1 hour" })
      yield* open(a)
      yield* TestClock.adjust("10 seconds")
      store.instead = Effect.never
      const probe = yield* Effect.fork(protect(ok, a))
      yield* TestClock.adjust(29)
      assert.isNull(probe.unsafePoll())
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(probe.unsafePoll(), Exit.succeed("answer"))
      assert.strictEqual(yield* a.state, "closed")

      const waiting = yield* recorded
      const b = yield* member(waiting, {}, { leaseTimeout: 30, storeTimeout: "1 hour" })
      yield* open(b)
      yield* TestClock.adjust("10 seconds")
      waiting.instead = Effect.never
      yield* TestClock.adjust("250 millis")
      yield* TestClock.adjust(31)
      // ends without any time passing
      assert.strictEqual(yield* protect(ok, b), "answer")
    })
  )

  it("times that make no sense are named", () => {
    const make = (options: CircuitBreaker.SharedOptions) => () => CircuitBreaker.layerRegistryShared(options)
    const layer = "CircuitBreaker.layerRegistryShared:"
    assert.throws(make({ pollInterval: 0 }), `${layer} pollInterval must be above 0 and finite, got 0 ms`)
    assert.throws(make({ storeTimeout: -1 }), `${layer} storeTimeout must be a duration from 0 up, got -1`)
    assert.throws(make({ leaseTimeout: Infinity }), `${layer} leaseTimeout must be above 0 and finite, got Infinity ms`)
  })
})
