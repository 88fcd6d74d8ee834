/** Registries that share a store, as processes do: under a clock of the test's own, and with a store that fails. */
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
import * as Trace from "../../src/observability/Trace.js"
import * as CircuitBreaker from "../../src/resilience/CircuitBreaker.js"
import { others, transient, tree } from "./support.js"

const { protect } = CircuitBreaker
const ok = Effect.succeed("answer")
const fail = Effect.fail(transient())

type Mood = "answers" | "fails" | "dies" | "hangs"

/** A store whose mood can be changed, and that counts what it is asked. */
const moody = Effect.gen(function* () {
  const store = yield* Effect.provide(CircuitBreaker.Store, yield* Layer.build(CircuitBreaker.layerStoreMemory))
  const asked: Array<string> = []
  const self = { mood: "answers" as Mood, asked }
  const through = <A>(
    operation: "read" | "write" | "lease" | "settle",
    effect: Effect.Effect<A, CircuitBreaker.CircuitBreakerStoreError>
  ) =>
    Effect.suspend(() => {
      asked.push(operation)
      if (self.mood === "hangs") return Effect.uninterruptible(Effect.never)
      if (self.mood === "dies") return Effect.die("a store's own mistake")
      if (self.mood === "answers") return effect
      return Effect.fail(new CircuitBreaker.CircuitBreakerStoreError({ operation, message: "the store is away" }))
    })
  const service: CircuitBreaker.StoreService = {
    read: (ids) => through("read", store.read(ids)),
    write: (next, expected) => through("write", store.write(next, expected)),
    lease: (request) => through("lease", store.lease(request)),
    settle: (result) => through("settle", store.settle(result))
  }
  return Object.assign(self, { service })
})

type Store = Effect.Effect.Success<typeof moody>

/** One registry on the store, as a process of its own has it: its breaker `model`. */
const member = (store: Store, options: CircuitBreaker.Options = {}) =>
  Effect.gen(function* () {
    const layer = Layer.fresh(CircuitBreaker.layerRegistryShared()).pipe(
      Layer.provide(Layer.succeed(CircuitBreaker.Store, store.service))
    )
    const registry = Context.get(yield* Layer.build(layer), CircuitBreaker.Registry)
    const breaker = registry.get("model", { failureThreshold: 2, resetAfter: "10 seconds", ...options })
    const heard: Array<string> = []
    yield* Effect.forkScoped(
      Stream.runForEach(breaker.changes, ({ from, to }) => Effect.sync(() => heard.push(`${from} ${to}`)))
    )
    yield* others
    return { breaker, heard }
  })

const fleet = (count: number, options?: CircuitBreaker.Options) =>
  Effect.gen(function* () {
    const store = yield* moody
    const processes = yield* Effect.replicateEffect(member(store, options), count)
    const [a, b, c] = processes
    if (a === undefined || b === undefined) return yield* Effect.dieMessage("a fleet has at least two")
    const states = Effect.forEach(processes, ({ breaker }) => breaker.state)
    return { store, a, b, c: c ?? b, states }
  })

const open = (breaker: CircuitBreaker.CircuitBreaker) => Effect.repeatN(Effect.exit(protect(fail, breaker)), 1)

/** A call under way, to be ended by hand. */
const pending = (breaker: CircuitBreaker.CircuitBreaker) =>
  Effect.gen(function* () {
    const result = yield* Deferred.make<string, Error>()
    const fiber = yield* Effect.fork(protect(Deferred.await(result), breaker))
    yield* others
    return {
      fiber,
      end: (exit: Exit.Exit<string, Error>) => Effect.zipRight(Deferred.done(result, exit), Fiber.await(fiber))
    }
  })

const rejected = (breaker: CircuitBreaker.CircuitBreaker) =>
  Effect.map(Effect.flip(protect(Effect.die("never invoked"), breaker)), ({ state }) => state)

describe("CircuitBreaker: shared by several processes", () => {
  it.scoped("an opening in one is seen in all at the next poll, a quarter of a second later at most", () =>
    Effect.gen(function* () {
      const { a, b, c, states } = yield* fleet(3)
      yield* open(a.breaker)
      yield* others
      yield* TestClock.adjust("250 millis")
      assert.deepStrictEqual(yield* states, ["open", "open", "open"])
      assert.strictEqual((yield* b.breaker.snapshot).failureCount, 2)
      assert.isAtMost((yield* c.breaker.snapshot).retryAfterMillis, 10_000)
      assert.strictEqual(yield* rejected(b.breaker), "open")
      for (const { heard } of [a, b, c]) assert.deepStrictEqual(heard, ["closed open"])
    })
  )

  it.scoped("calls of a closed breaker do not reach the store", () =>
    Effect.gen(function* () {
      const { a, store } = yield* fleet(2)
      store.asked.length = 0
      for (let i = 0; i < 100; i++) yield* protect(ok, a.breaker)
      yield* Effect.exit(protect(fail, a.breaker))
      yield* others
      assert.deepStrictEqual(store.asked, [])
    })
  )

  it.scoped("probes are bounded across all; a success anywhere counts, and all close", () =>
    Effect.gen(function* () {
      const { a, b, c, states } = yield* fleet(3)
      yield* open(a.breaker)
      yield* others
      yield* TestClock.adjust("10 seconds")
      const probe = yield* pending(b.breaker)
      assert.strictEqual(yield* rejected(a.breaker), "half-open")
      assert.strictEqual(yield* rejected(c.breaker), "half-open")
      yield* probe.end(Exit.succeed("one"))
      yield* TestClock.adjust("250 millis")
      assert.strictEqual(yield* protect(ok, c.breaker), "answer")
      yield* others
      yield* TestClock.adjust("250 millis")
      assert.deepStrictEqual(yield* states, ["closed", "closed", "closed"])
      const circle = ["closed open", "open half-open", "half-open closed"]
      for (const { heard } of [a, b, c]) assert.deepStrictEqual(heard, circle)
    })
  )

  it.scoped("a failed probe opens all again; one cancelled gives its permit back to all", () =>
    Effect.gen(function* () {
      const { a, b, states } = yield* fleet(2)
      yield* open(a.breaker)
      yield* others
      yield* TestClock.adjust("10 seconds")
      const cancelled = yield* pending(b.breaker)
      assert.strictEqual(yield* rejected(a.breaker), "half-open")
      yield* Fiber.interrupt(cancelled.fiber)
      yield* TestClock.adjust("250 millis")
      yield* Effect.exit(protect(fail, a.breaker))
      yield* others
      yield* TestClock.adjust("250 millis")
      assert.deepStrictEqual(yield* states, ["open", "open"])
    })
  )

  it.scoped("a probe that hangs, or whose process is gone, keeps its permit no longer than halfOpenWait", () =>
    Effect.gen(function* () {
      const { a, b, states } = yield* fleet(2, { halfOpenWait: "5 seconds", successThreshold: 1 })
      yield* open(a.breaker)
      yield* others
      yield* TestClock.adjust("10 seconds")
      const hanging = yield* pending(b.breaker)
      yield* TestClock.adjust("4 seconds")
      assert.strictEqual(yield* rejected(a.breaker), "half-open")
      yield* TestClock.adjust("1 seconds")
      assert.strictEqual(yield* protect(ok, a.breaker), "answer")
      yield* TestClock.adjust("250 millis")
      assert.deepStrictEqual(yield* states, ["closed", "closed"])
      yield* hanging.end(Exit.fail(transient()))
      assert.deepStrictEqual(yield* states, ["closed", "closed"])
    })
  )

  it.scoped(
    "a probe that fails after another has closed them opens none; an opening that others did not see is not lost",
    () =>
      Effect.gen(function* () {
        const { a, b, states } = yield* fleet(2, { halfOpenPermits: 2, successThreshold: 1, failureThreshold: 1 })
        yield* Effect.exit(protect(fail, a.breaker))
        yield* others
        yield* TestClock.adjust("10 seconds")
        const late = yield* pending(a.breaker)
        const good = yield* pending(b.breaker)
        yield* good.end(Exit.succeed("well"))
        yield* others
        yield* late.end(Exit.fail(transient()))
        yield* others
        yield* TestClock.adjust("250 millis")
        assert.deepStrictEqual(yield* states, ["closed", "closed"])
        // one has opened and closed again, which the other has not seen yet
        yield* a.breaker.isolate
        yield* others
        yield* a.breaker.release
        yield* others
        yield* Effect.exit(protect(fail, b.breaker))
        yield* others
        yield* TestClock.adjust("250 millis")
        assert.deepStrictEqual(yield* states, ["open", "open"])
      })
  )

  it.scoped("what is done by hand holds for all", () =>
    Effect.gen(function* () {
      const { a, b, states } = yield* fleet(2)
      const settled = Effect.zipRight(others, TestClock.adjust("250 millis"))
      yield* a.breaker.isolate
      yield* settled
      assert.strictEqual(yield* rejected(b.breaker), "isolated")
      yield* b.breaker.release
      yield* settled
      assert.deepStrictEqual(yield* states, ["closed", "closed"])
      yield* b.breaker.forceOpen
      yield* settled
      assert.strictEqual(yield* rejected(a.breaker), "forced-open")
      yield* a.breaker.release
      yield* settled
      assert.deepStrictEqual(yield* states, ["half-open", "half-open"])
      yield* a.breaker.disable
      yield* settled
      yield* open(b.breaker)
      assert.deepStrictEqual(yield* states, ["disabled", "disabled"])
      yield* b.breaker.reset
      yield* settled
      assert.deepStrictEqual(yield* states, ["closed", "closed"])
    })
  )

  it.scoped("who comes later finds what is", () =>
    Effect.gen(function* () {
      const { a, store } = yield* fleet(2)
      yield* open(a.breaker)
      yield* others
      const late = yield* member(store)
      assert.strictEqual(yield* late.breaker.state, "open")
    })
  )

  it("refuses times that make no sense", () => {
    for (const options of [{ pollInterval: 0 }, { storeTimeout: -1 }, { leaseTimeout: Number.POSITIVE_INFINITY }]) {
      assert.throws(() => CircuitBreaker.layerRegistryShared(options), RangeError)
    }
  })
})

describe("CircuitBreaker: a store that fails", () => {
  for (const mood of ["fails", "dies", "hangs"] as const) {
    it.scoped(`${mood}: each goes by what it knows, says so once, and shares again when it is back`, () => {
      const lines: Array<string> = []
      const logger = Logger.make(({ logLevel, message }) => void lines.push(`${logLevel.label} ${String(message)}`))
      return Effect.gen(function* () {
        const { a, b, states, store } = yield* fleet(2, { successThreshold: 1 })
        store.mood = mood
        yield* TestClock.adjust("2 seconds")
        // no call waits: each of these ends without any time passing
        assert.strictEqual(yield* protect(ok, a.breaker), "answer")
        yield* open(a.breaker)
        assert.strictEqual(yield* rejected(a.breaker), "open")
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* states, ["open", "closed"])
        const probe = yield* pending(a.breaker)
        assert.strictEqual(yield* rejected(a.breaker), "half-open")
        yield* probe.end(Exit.succeed("well"))
        assert.strictEqual(yield* a.breaker.state, "closed")
        yield* open(a.breaker)
        const said = lines.filter((line) => line.startsWith("WARN"))
        assert.strictEqual(said.length, 2, "once a registry")
        assert.match(said[0] ?? "", /WARN circuit breakers go by what this process knows: the store /)
        store.mood = "answers"
        yield* TestClock.adjust("4 seconds")
        assert.deepStrictEqual(yield* states, ["open", "open"])
        assert.deepStrictEqual(b.heard, ["closed open"])
        assert.strictEqual(lines.filter((line) => line === "INFO circuit breakers share their state again").length, 2)
        const events = (yield* tree).filter(({ name }) => name === "circuit_breaker_store")
        assert.deepStrictEqual(events.map(({ level, metadata }) => [level, metadata]).sort(), [
          ["DEFAULT", { shared: true }],
          ["DEFAULT", { shared: true }],
          ["WARNING", { shared: false }],
          ["WARNING", { shared: false }]
        ])
      }).pipe(
        Effect.provide(Layer.merge(Trace.layerRecorder(), Logger.replace(Logger.defaultLogger, logger))),
        Effect.scoped
      )
    })
  }

  it.scoped("one that comes and goes is said to fail once", () => {
    const lines: Array<string> = []
    const logger = Logger.make(({ logLevel }) => void lines.push(logLevel.label))
    return Effect.gen(function* () {
      const store = yield* moody
      yield* member(store)
      for (let i = 0; i < 5; i++) {
        store.mood = "fails"
        yield* TestClock.adjust("500 millis")
        store.mood = "answers"
        yield* TestClock.adjust("1 seconds")
      }
      assert.deepStrictEqual(lines, ["WARN"])
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(lines, ["WARN", "INFO"])
    }).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
  })

  it.scoped(
    "one that hangs before anybody has noticed holds up only a probe, and that for a tenth of a second at most",
    () =>
      Effect.gen(function* () {
        const { a, store } = yield* fleet(2)
        yield* open(a.breaker)
        yield* others
        yield* TestClock.adjust("10 seconds")
        store.mood = "hangs"
        const probe = yield* Effect.fork(protect(ok, a.breaker))
        yield* others
        assert.isNull(probe.unsafePoll())
        yield* TestClock.adjust("100 millis")
        assert.deepStrictEqual(probe.unsafePoll(), Exit.succeed("answer"))
        assert.strictEqual(yield* protect(ok, a.breaker), "answer")
        assert.strictEqual(yield* a.breaker.state, "closed")
      })
  )

  it.scoped("a call that is interrupted while it waits for its permit gives it back", () =>
    Effect.gen(function* () {
      const { a, store } = yield* fleet(2)
      yield* open(a.breaker)
      yield* others
      yield* TestClock.adjust("10 seconds")
      store.mood = "hangs"
      const probe = yield* Effect.fork(protect(ok, a.breaker))
      yield* others
      yield* Fiber.interrupt(probe)
      store.mood = "answers"
      yield* TestClock.adjust("1 seconds")
      assert.strictEqual(yield* protect(ok, a.breaker), "answer")
    })
  )

  it.scoped("one that was emptied is filled again by those who know", () =>
    Effect.gen(function* () {
      const { a, b, states, store } = yield* fleet(2)
      yield* open(a.breaker)
      yield* others
      yield* TestClock.adjust("250 millis")
      const empty = yield* moody
      Object.assign(store.service, empty.service)
      yield* TestClock.adjust("500 millis")
      assert.deepStrictEqual(yield* states, ["open", "open"])
      const late = yield* member(store)
      assert.strictEqual(yield* late.breaker.state, "open")
      yield* b.breaker.reset
      yield* others
      yield* TestClock.adjust("500 millis")
      assert.deepStrictEqual(yield* states, ["closed", "closed"])
    })
  )
})
