/** Registries that share a store whose answers come late, get lost, or are of a store that was emptied: what holds then, here and there. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import * as CircuitBreaker from "../../../src/resilience/CircuitBreaker.js"
import { others, transient } from "../support.js"

const { protect } = CircuitBreaker
const ok = Effect.succeed("answer")
const fail = Effect.fail(transient())
const id = '["model",null]'

type Operation = keyof CircuitBreaker.StoreService
type Steps = { [K in Operation]?: Effect.Effect<unknown, CircuitBreaker.CircuitBreakerStoreError> | undefined }

const empty = Effect.map(Layer.build(CircuitBreaker.layerStoreMemory), Context.get(CircuitBreaker.Store))

const away = Effect.fail(new CircuitBreaker.CircuitBreakerStoreError({ operation: "sync", message: "away" }))
const outage: Steps = { read: away, write: away, lease: away, settle: away }

/** A process: its breaker `model`, what it asked of the store, and what comes in between before the store is reached, or before its answer is. */
const member = (
  database: { store: CircuitBreaker.StoreService },
  options: CircuitBreaker.Options,
  times: CircuitBreaker.SharedOptions
) =>
  Effect.gen(function* () {
    const asked: { [K in Operation]: Array<Parameters<CircuitBreaker.StoreService[K]>> } = {
      read: [],
      write: [],
      lease: [],
      settle: []
    }
    const between: { before: Steps; after: Steps } = { before: {}, after: {} }
    const through = <A>(
      operation: Operation,
      effect: Effect.Effect<A, CircuitBreaker.CircuitBreakerStoreError>
    ): Effect.Effect<A, CircuitBreaker.CircuitBreakerStoreError> =>
      Effect.suspend(() => between.before[operation] ?? Effect.void).pipe(
        Effect.zipRight(effect),
        Effect.zipLeft(Effect.suspend(() => between.after[operation] ?? Effect.void))
      )
    const service: CircuitBreaker.StoreService = {
      read: (...args) => {
        asked.read.push(args)
        return through(
          "read",
          Effect.suspend(() => database.store.read(...args))
        )
      },
      write: (...args) => {
        asked.write.push(args)
        return through(
          "write",
          Effect.suspend(() => database.store.write(...args))
        )
      },
      lease: (...args) => {
        asked.lease.push(args)
        return through(
          "lease",
          Effect.suspend(() => database.store.lease(...args))
        )
      },
      settle: (...args) => {
        asked.settle.push(args)
        return through(
          "settle",
          Effect.suspend(() => database.store.settle(...args))
        )
      }
    }
    const layer = Layer.fresh(CircuitBreaker.layerRegistryShared(times)).pipe(
      Layer.provide(Layer.succeed(CircuitBreaker.Store, service))
    )
    const registry = Context.get(yield* Layer.build(layer), CircuitBreaker.Registry)
    const breaker = registry.get("model", {
      failureThreshold: 2,
      resetAfter: "1 second",
      successThreshold: 1,
      ...options
    })
    const heard: Array<string> = []
    yield* Effect.forkScoped(
      Stream.runForEach(breaker.changes, ({ from, to }) => Effect.sync(() => heard.push(`${from} ${to}`)))
    )
    yield* others
    return { asked, between, breaker, heard }
  })

/** Two processes, and what the store says of their breaker. */
const two = (options: CircuitBreaker.Options = {}, times: CircuitBreaker.SharedOptions = {}) =>
  Effect.gen(function* () {
    const database = { store: yield* empty }
    const a = yield* member(database, options, times)
    const b = yield* member(database, options, times)
    const there = Effect.map(
      Effect.suspend(() => database.store.read([id])),
      ([row]) => row && [row.state, row.version]
    )
    const states = Effect.all([a.breaker.state, b.breaker.state])
    const emptied = Effect.map(empty, (store) => {
      database.store = store
    })
    return { a, b, there, states, emptied }
  })

const polled = Effect.zipRight(TestClock.adjust("250 millis"), others)

const open = (breaker: CircuitBreaker.CircuitBreaker) =>
  Effect.zipRight(Effect.repeatN(Effect.exit(protect(fail, breaker)), 1), others)

/** Opens `breaker`, for all; then the break is over. */
const opened = (breaker: CircuitBreaker.CircuitBreaker) =>
  Effect.all([open(breaker), TestClock.adjust("1 second"), others], { discard: true })

/** A call under way, to be ended by hand. */
const pending = (breaker: CircuitBreaker.CircuitBreaker) =>
  Effect.gen(function* () {
    const result = yield* Deferred.make<string, Error>()
    const fiber = yield* Effect.fork(protect(Deferred.await(result), breaker))
    yield* others
    return {
      fiber,
      end: (exit: Exit.Exit<string, Error>) =>
        Effect.all([Deferred.done(result, exit), Fiber.await(fiber), others], { discard: true })
    }
  })

const well = Exit.succeed("well")

describe("CircuitBreaker shared: probes", () => {
  it.scoped("one that lasts longer than a poll counts", () =>
    Effect.gen(function* () {
      const { a, states, there } = yield* two()
      yield* opened(a.breaker)
      const probe = yield* pending(a.breaker)
      yield* TestClock.adjust("1 second")
      yield* probe.end(well)
      assert.strictEqual(yield* a.breaker.state, "closed")
      assert.deepStrictEqual(yield* there, ["closed", 3])
      yield* polled
      assert.deepStrictEqual(yield* states, ["closed", "closed"])
    })
  )

  it.scoped("one that went without a lease counts, though the store says open all the while", () =>
    Effect.gen(function* () {
      const { a, states } = yield* two()
      yield* opened(a.breaker)
      a.between.before.lease = Effect.never
      const probe = yield* pending(a.breaker)
      yield* TestClock.adjust("100 millis")
      yield* TestClock.adjust("1 second")
      // of the lease that was asked for in vain, and of no other
      assert.deepStrictEqual(
        a.asked.settle.map(([{ lease, success }]) => [lease, success]),
        [[a.asked.lease[0]?.[0].lease, false]]
      )
      yield* probe.end(well)
      yield* polled
      assert.deepStrictEqual(yield* states, ["closed", "closed"])
      assert.deepStrictEqual(a.heard, ["closed open", "open half-open", "half-open closed"])
      assert.strictEqual(a.asked.settle.length, 1)
    })
  )

  it.scoped("one that went without a lease counts, though another's came after it", () =>
    Effect.gen(function* () {
      const { a, b, states, there } = yield* two()
      yield* opened(a.breaker)
      a.between.before.lease = Effect.never
      const early = yield* pending(a.breaker)
      yield* TestClock.adjust("100 millis")
      const late = yield* pending(b.breaker)
      assert.deepStrictEqual(yield* there, ["half-open", 2])
      yield* TestClock.adjust("1 second")
      yield* early.end(well)
      assert.strictEqual(yield* a.breaker.state, "closed")
      yield* polled
      yield* late.end(Exit.fail(transient()))
      yield* polled
      assert.deepStrictEqual(yield* states, ["closed", "closed"])
    })
  )

  it.scoped("a lease that is granted to a call no longer there is given back, and is no success", () =>
    Effect.gen(function* () {
      const { a, b, states, there } = yield* two()
      yield* opened(a.breaker)
      a.between.after.lease = Effect.never
      const gone = yield* pending(a.breaker)
      yield* Fiber.interrupt(gone.fiber)
      yield* others
      assert.deepStrictEqual(
        a.asked.settle.map(([{ success }]) => success),
        [false]
      )
      assert.deepStrictEqual(yield* there, ["half-open", 2])
      // its permit is free
      assert.strictEqual(yield* protect(ok, b.breaker), "answer")
      yield* others
      yield* polled
      assert.deepStrictEqual(yield* states, ["closed", "closed"])
    })
  )

  it.scoped("one that fails is no success, even of a breaker that was closed by hand meanwhile", () =>
    Effect.gen(function* () {
      const { a, states } = yield* two()
      yield* opened(a.breaker)
      const probe = yield* pending(a.breaker)
      yield* a.breaker.reset
      yield* probe.end(Exit.fail(transient()))
      yield* polled
      assert.deepStrictEqual(
        a.asked.settle.map(([{ success }]) => success),
        [false]
      )
      assert.deepStrictEqual(yield* states, ["closed", "closed"])
    })
  )

  it.scoped("none asks for a lease before the store knows what happened here", () =>
    Effect.gen(function* () {
      const { a, there } = yield* two()
      const write = yield* Deferred.make<void>()
      a.between.before.write = Deferred.await(write)
      yield* a.breaker.forceOpen
      yield* a.breaker.release
      yield* others
      assert.strictEqual(yield* protect(ok, a.breaker), "answer")
      assert.deepStrictEqual(a.asked.lease, [])
      yield* Deferred.succeed(write, undefined)
      yield* polled
      assert.deepStrictEqual(yield* there, ["closed", 2])
    })
  )

  it.scoped("one asks for its lease while the background waits, so long as it waits no longer than a probe would", () =>
    Effect.gen(function* () {
      const { a } = yield* two({}, { leaseTimeout: 30 })
      yield* opened(a.breaker)
      a.between.before.read = Effect.never
      yield* polled
      yield* TestClock.adjust("30 millis")
      yield* protect(ok, a.breaker)
      assert.strictEqual(a.asked.lease.length, 1)
    })
  )
})

describe("CircuitBreaker shared: moves that cross", () => {
  it.scoped("what was learned from others is not written back", () =>
    Effect.gen(function* () {
      const { a, b, states, there } = yield* two()
      yield* opened(a.breaker)
      assert.deepStrictEqual(yield* states, ["open", "open"])
      yield* protect(ok, a.breaker)
      yield* others
      yield* polled
      yield* polled
      assert.deepStrictEqual(yield* states, ["closed", "closed"])
      assert.deepStrictEqual(b.asked.write, [])
      assert.deepStrictEqual(yield* there, ["closed", 3])
    })
  )

  it.scoped("an answer that was under way does not undo what a person did meanwhile", () =>
    Effect.gen(function* () {
      const { a, b, states } = yield* two()
      yield* open(b.breaker)
      const read = yield* Deferred.make<void>()
      a.between.after.read = Deferred.await(read)
      yield* polled
      yield* a.breaker.isolate
      a.between.after.read = undefined
      yield* Deferred.succeed(read, undefined)
      yield* others
      assert.deepStrictEqual(a.heard, ["closed isolated"])
      yield* polled
      assert.deepStrictEqual(yield* states, ["isolated", "isolated"])
    })
  )

  it.scoped("what moves while a write is under way is written next", () =>
    Effect.gen(function* () {
      const { a, states, there } = yield* two()
      const write = yield* Deferred.make<void>()
      a.between.after.write = Deferred.await(write)
      yield* open(a.breaker)
      assert.deepStrictEqual(yield* there, ["open", 1])
      yield* a.breaker.isolate
      a.between.after.write = undefined
      yield* Deferred.succeed(write, undefined)
      yield* polled
      assert.deepStrictEqual(yield* there, ["isolated", 2])
      yield* polled
      assert.deepStrictEqual(yield* states, ["isolated", "isolated"])
    })
  )

  it.scoped("a breaker that opens does not undo an isolation that it has not seen", () =>
    Effect.gen(function* () {
      const { a, b, states } = yield* two()
      yield* b.breaker.isolate
      yield* others
      yield* open(a.breaker)
      assert.deepStrictEqual(a.heard, ["closed open", "open isolated"])
      yield* polled
      assert.deepStrictEqual(yield* states, ["isolated", "isolated"])
    })
  )

  it.scoped("what was written is known, though it could not be read", () =>
    Effect.gen(function* () {
      const { a, states, there } = yield* two()
      a.between.before.read = away
      yield* opened(a.breaker)
      assert.strictEqual(yield* protect(ok, a.breaker), "answer")
      yield* others
      assert.deepStrictEqual(yield* there, ["closed", 2])
      a.between.before.read = undefined
      yield* polled
      assert.deepStrictEqual(yield* states, ["closed", "closed"])
    })
  )
})

describe("CircuitBreaker shared: after an outage", () => {
  /** Another was isolated and is released: it is closed as before, two versions on. */
  const stir = (breaker: CircuitBreaker.CircuitBreaker) =>
    Effect.all([breaker.isolate, others, breaker.release, others], { discard: true })

  it.scoped("an opening holds for all, however often its probes have failed since", () =>
    Effect.gen(function* () {
      const { a, b, states } = yield* two()
      a.between.before = outage
      yield* opened(a.breaker)
      yield* Effect.exit(protect(fail, a.breaker))
      yield* stir(b.breaker)
      a.between.before = {}
      yield* polled
      yield* polled
      assert.deepStrictEqual(yield* states, ["open", "open"])
      assert.strictEqual((yield* b.breaker.snapshot).failureCount, 3)
    })
  )

  it.scoped("an opening that is over is no news", () =>
    Effect.gen(function* () {
      const { a, b, states, there } = yield* two()
      a.between.before = outage
      yield* opened(a.breaker)
      yield* protect(ok, a.breaker)
      yield* stir(b.breaker)
      a.between.before = {}
      yield* polled
      yield* polled
      assert.deepStrictEqual(yield* there, ["closed", 2])
      assert.deepStrictEqual(yield* states, ["closed", "closed"])
    })
  )

  it.scoped("what began by hand holds over anything, though it went on by itself", () =>
    Effect.gen(function* () {
      const { a, b, states } = yield* two()
      a.between.before = outage
      yield* polled
      yield* a.breaker.forceOpen
      yield* a.breaker.release
      yield* protect(ok, a.breaker)
      yield* open(b.breaker)
      a.between.before = {}
      yield* polled
      yield* polled
      assert.deepStrictEqual(yield* states, ["closed", "closed"])
      assert.deepStrictEqual(a.heard, ["closed forced-open", "forced-open half-open", "half-open closed"])
    })
  )

  it.scoped("it is said to be over when the store has answered for two seconds", () => {
    const lines: Array<string> = []
    const logger = Logger.make(({ logLevel }) => void lines.push(logLevel.label))
    return Effect.gen(function* () {
      const { a } = yield* two()
      a.between.before = outage
      yield* polled
      a.between.before = {}
      yield* polled
      yield* TestClock.adjust("1999 millis")
      assert.deepStrictEqual(lines, ["WARN"])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(lines, ["WARN", "INFO"])
    }).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
  })
})

describe("CircuitBreaker shared: a store that was emptied", () => {
  it.scoped("begins anew: what is written to it then holds for all", () =>
    Effect.gen(function* () {
      const { a, b, emptied, states, there } = yield* two()
      yield* b.breaker.isolate
      yield* others
      yield* b.breaker.release
      yield* polled
      assert.deepStrictEqual(yield* there, ["closed", 2])
      yield* emptied
      yield* open(b.breaker)
      assert.deepStrictEqual(yield* there, ["open", 1])
      yield* polled
      assert.deepStrictEqual(yield* states, ["open", "open"])
      assert.strictEqual(a.asked.write.length, 0)
    })
  )

  it.scoped("while a probe was under way: its end is taken in, and all share again", () =>
    Effect.gen(function* () {
      const { a, emptied, states, there } = yield* two({ successThreshold: 2 })
      yield* opened(a.breaker)
      const probe = yield* pending(a.breaker)
      yield* emptied
      yield* probe.end(well)
      yield* polled
      yield* polled
      assert.deepStrictEqual(yield* there, ["half-open", 1])
      yield* protect(ok, a.breaker)
      yield* others
      yield* polled
      assert.deepStrictEqual(yield* states, ["closed", "closed"])
    })
  )

  it.scoped("has nobody whose probes to wait for", () =>
    Effect.gen(function* () {
      const { a, emptied } = yield* two()
      yield* opened(a.breaker)
      yield* emptied
      assert.strictEqual(yield* protect(ok, a.breaker), "answer")
      assert.strictEqual(a.asked.lease.length, 1)
      assert.strictEqual(yield* a.breaker.state, "closed")
    })
  )

  it.scoped("a person who closes the breaker is not overruled by those who remember that it was open", () =>
    Effect.gen(function* () {
      const { a, b, emptied, states } = yield* two()
      yield* open(a.breaker)
      yield* polled
      yield* emptied
      yield* polled
      yield* b.breaker.reset
      yield* polled
      yield* polled
      assert.deepStrictEqual(yield* states, ["closed", "closed"])
    })
  )
})

describe("CircuitBreakerStoreError", () => {
  it("names any operation", () => {
    for (const operation of ["read", "write", "lease", "settle", "sync"] as const) {
      const error = new CircuitBreaker.CircuitBreakerStoreError({ operation, message: "away" })
      assert.strictEqual(error.operation, operation)
    }
  })
})
