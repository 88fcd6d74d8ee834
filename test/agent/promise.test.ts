/** Agents in code that knows promises and no effects. */
import { AsyncLocalStorage } from "node:async_hooks"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Runtime from "effect/Runtime"
import { afterEach, beforeEach, expectTypeOf } from "vitest"
import * as Agent from "../../src/agent/Agent.js"
import * as CircuitBreaker from "../../src/resilience/CircuitBreaker.js"
import * as Failure from "../../src/resilience/Failure.js"
import { FallbackExhaustedError } from "../../src/resilience/Fallback.js"
import { AgentTimeoutError } from "../../src/resilience/Timeout.js"
import { signal as graphSignal, transient } from "../resilience/support.js"
import { runFile } from "../support/child.js"

const once: Agent.Policy = { retry: false, circuitBreaker: false }

class Refused extends Error {
  constructor(readonly code: number) {
    super("refused")
  }
}

class Store extends Context.Tag("test/Store")<Store, { readonly get: (key: string) => string }>() {}

const reading = Agent.make("reading", (key: string) => Effect.map(Store, (store) => store.get(key)), once)
const store = Layer.succeed(Store, { get: (key) => `value of ${key}` })

/** What a promise rejects with. */
const rejection = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    (value) => assert.fail(`resolved with ${String(value)}`),
    (error: unknown) => error
  )

const assertAborted = (error: unknown, message: RegExp, cause?: unknown) => {
  assert.instanceOf(error, Error)
  assert.deepStrictEqual([error.name, error.cause], ["AbortError", cause])
  assert.propertyVal(error, "code", "ABORT_ERR")
  assert.match(error.message, message)
}

const later = (millis: number) => new Promise<void>((resolve) => setTimeout(resolve, millis))

describe("Agent.toPromise", () => {
  const unhandled: Array<unknown> = []
  const note = (reason: unknown) => void unhandled.push(reason)
  beforeEach(() => void process.on("unhandledRejection", note))
  afterEach(async () => {
    await later(0)
    process.off("unhandledRejection", note)
    assert.deepStrictEqual(unhandled.splice(0), [])
  })

  it("has types that tell what is needed", () => {
    const answer = Agent.make("a", (n: number) => Effect.succeed(String(n)), once)
    expectTypeOf(Agent.toPromise(answer)).toEqualTypeOf<Agent.PromiseAgent<number, string>>()
    expectTypeOf(Agent.toPromise(reading, { layer: store })).toEqualTypeOf<Agent.PromiseAgent<string, string>>()
    // a layer that gives more, or what nobody has asked for
    Agent.toPromise(reading, { layer: Layer.merge(store, CircuitBreaker.layerRegistry) })
    Agent.toPromise(answer, { layer: CircuitBreaker.layerRegistry })
    // @ts-expect-error: it needs a Store
    Agent.toPromise(reading)
    // @ts-expect-error: that is no Store
    Agent.toPromise(reading, { layer: CircuitBreaker.layerRegistry })
    // @ts-expect-error: one or the other
    Agent.toPromise(reading, { layer: store, runtime: ManagedRuntime.make(store) })
  })

  it("resolves, with all that hardens the agent", async () => {
    let tried = 0
    const agent = Agent.make(
      "a",
      (n: number) => Effect.suspend(() => (++tried < 3 ? Effect.fail(transient()) : Effect.succeed(n + 1))),
      { retry: { base: 1 }, circuitBreaker: false }
    )
    assert.strictEqual(await Agent.toPromise(agent)(1), 2)
    assert.strictEqual(tried, 3)
  })

  it("rejects with the very object that the agent failed with or died of", async () => {
    const errors = [
      new Refused(7),
      Object.freeze(new Refused(8)),
      "a string",
      undefined,
      { plain: true },
      graphSignal()
    ]
    for (const error of errors) {
      for (const raise of [Effect.fail<unknown>, Effect.die]) {
        const agent = Agent.make("a", (_: string) => Effect.withSpan(raise(error), "inner"), once)
        assert.strictEqual(await rejection(Agent.toPromise(agent)("")), error)
      }
    }
    const thrower = Agent.make(
      "a",
      (_: string): Effect.Effect<never> => {
        throw errors[0]
      },
      once
    )
    assert.instanceOf(await rejection(Agent.toPromise(thrower)("")), Refused)
  })

  it("takes off what Effect puts around a promise's error", async () => {
    const error = new Refused(7)
    const asked = Agent.make("a", (_: string) => Effect.tryPromise(() => Promise.reject(error)), once)
    assert.strictEqual(await rejection(Agent.toPromise(asked)("")), error)
  })

  it("rejects with the typed errors of the policy", async () => {
    const slow = Agent.make("slow", (_: string) => Effect.never, { ...once, timeout: 5 })
    const late = await rejection(Agent.toPromise(slow)(""))
    assert.instanceOf(late, AgentTimeoutError)
    assert.strictEqual(late.agent, "slow")
    const exhausted = await rejection(Agent.toPromise(slow.pipe(Agent.orElse(slow)))(""))
    assert.instanceOf(exhausted, FallbackExhaustedError)
  })

  it("100 calls at once: each has its own answer or error, and its caller's AsyncLocalStorage", async () => {
    const local = new AsyncLocalStorage<number>()
    const turnstile = Effect.unsafeMakeSemaphore(3)
    const agent = Agent.make(
      "a",
      (n: number) =>
        Effect.delay(
          Effect.sync(() => local.getStore()),
          n % 7
        ).pipe(
          turnstile.withPermits(1),
          Effect.flatMap((seen) =>
            n % 3 === 0 ? Effect.fail(new Refused(n)) : Effect.succeed([n, seen, local.getStore()])
          )
        ),
      once
    )
    const ask = Agent.toPromise(agent)
    const settled = await Promise.allSettled(
      Array.from({ length: 100 }, (_, n) => local.run(n, () => ask(n).then((answer) => [...answer, local.getStore()])))
    )
    settled.forEach((result, n) => {
      if (result.status === "fulfilled") assert.deepStrictEqual(result.value, [n, n, n, n])
      else assert.deepStrictEqual([result.reason instanceof Refused, result.reason.code], [true, n])
      assert.strictEqual(result.status, n % 3 === 0 ? "rejected" : "fulfilled")
    })
  })

  describe("abort", () => {
    const waiting = () => {
      const seen = { began: 0, interrupted: 0, finalized: 0, signals: [] as boolean[] }
      const agent = Agent.make(
        "waiting",
        (_: string) =>
          Effect.async<never>((_resume, signal) => {
            seen.began++
            signal.addEventListener("abort", () => seen.signals.push(signal.aborted))
          }).pipe(
            Effect.onInterrupt(() => Effect.sync(() => seen.interrupted++)),
            Effect.ensuring(
              Effect.delay(
                Effect.sync(() => seen.finalized++),
                5
              )
            )
          ),
        { retry: { maxAttempts: 9, base: 1 }, circuitBreaker: { failureThreshold: 1 } }
      )
      return { seen, ask: Agent.toPromise(agent), agent }
    }

    it("interrupts the agent, waits for its finalizers, and rejects with an AbortError that carries the reason", async () => {
      const { ask, seen } = waiting()
      const controller = new AbortController()
      const reason = new Refused(1)
      const call = rejection(ask("", { signal: controller.signal }))
      await later(5)
      controller.abort(reason)
      assertAborted(await call, /^the call of agent "waiting" was aborted$/, reason)
      assert.deepStrictEqual(seen, { began: 1, interrupted: 1, finalized: 1, signals: [true] })
    })

    it("is a cancellation to whoever sorts it, unless a timeout asked for it", async () => {
      const { ask } = waiting()
      const stopped = new AbortController()
      const call = rejection(ask("", { signal: stopped.signal }))
      stopped.abort()
      assert.strictEqual(Failure.classify(await call).kind, "cancelled")
      const late = await rejection(ask("", { signal: AbortSignal.timeout(5) }))
      assert.strictEqual(Failure.classify(late).kind, "transient")
    })

    it("runs nothing when it has come before the call", async () => {
      const { ask, seen } = waiting()
      const reason = new Refused(1)
      assertAborted(await rejection(ask("", { signal: AbortSignal.abort(reason) })), /was aborted/, reason)
      assert.strictEqual(seen.began, 0)
    })

    it("changes nothing when it comes after the answer, and leaves no listener behind", async () => {
      const controller = new AbortController()
      let listeners = 0
      const { signal } = controller
      const counting = new Proxy(signal, {
        get: (target, key) => {
          if (key === "addEventListener") listeners++
          if (key === "removeEventListener") listeners--
          const value: unknown = Reflect.get(target, key, target)
          return typeof value === "function" ? value.bind(target) : value
        }
      })
      const ask = Agent.toPromise(Agent.make("a", (n: number) => Effect.delay(Effect.succeed(n), 1), once))
      assert.deepStrictEqual(await Promise.all([1, 2, 3].map((n) => ask(n, { signal: counting }))), [1, 2, 3])
      controller.abort()
      assert.strictEqual(listeners, 0)
    })

    it("ends one call and no other, in the middle of a pause too", async () => {
      let tried = 0
      const agent = Agent.make(
        "a",
        (_: string) => Effect.sync(() => tried++).pipe(Effect.zipRight(Effect.fail(transient()))),
        {
          retry: { maxAttempts: 2, base: "1 hour" },
          circuitBreaker: false
        }
      )
      const ask = Agent.toPromise(agent)
      const controllers = [new AbortController(), new AbortController()]
      const calls = controllers.map(({ signal }) => rejection(ask("", { signal })))
      await later(5)
      controllers[0]?.abort()
      assertAborted(await calls[0], /was aborted/, controllers[0]?.signal.reason)
      assert.strictEqual(await Promise.race([calls[1], later(10).then(() => "still under way")]), "still under way")
      controllers[1]?.abort()
      await calls[1]
      assert.strictEqual(tried, 2)
    })

    it("an agent that interrupts itself rejects too, and says that nobody asked for it", async () => {
      const ask = Agent.toPromise(Agent.make("a", (_: string) => Effect.interrupt, once))
      assertAborted(await rejection(ask("")), /^the call of agent "a" was interrupted$/)
    })

    it("what cannot be interrupted is waited for", async () => {
      const controller = new AbortController()
      let ended = 0
      const steady = Effect.uninterruptible(
        Effect.delay(
          Effect.sync(() => ended++),
          10
        )
      )
      const ask = Agent.toPromise(Agent.make("a", (_: string) => steady, { ...once, timeout: false }))
      const call = rejection(ask("", { signal: controller.signal }))
      controller.abort()
      assertAborted(await call, /was aborted/, controller.signal.reason)
      assert.strictEqual(ended, 1)
    })

    it("dispose interrupts what is under way, waits for it, and refuses what comes after", async () => {
      const { ask, seen } = waiting()
      const calls = [rejection(ask("")), rejection(ask(""))]
      await later(5)
      await Promise.all([ask.dispose(), ask.dispose()])
      assert.deepStrictEqual([seen.interrupted, seen.finalized], [2, 2])
      for (const call of calls) assertAborted(await call, /^agent "waiting" was disposed$/)
      assertAborted(await rejection(ask("")), /^agent "waiting" was disposed$/)
      assert.strictEqual(seen.began, 2)
    })
  })

  describe("services", () => {
    it("come from a runtime, a managed one, or a layer", async () => {
      const runtime = Runtime.make({ ...Runtime.defaultRuntime, context: Context.make(Store, { get: (key) => key }) })
      assert.strictEqual(await Agent.toPromise(reading, { runtime })("x"), "x")
      const managed = ManagedRuntime.make(store)
      const ask = Agent.toPromise(reading, { runtime: managed })
      assert.strictEqual(await ask("x"), "value of x")
      await ask.dispose()
      // it was not made here, so it is not released here
      assert.strictEqual(await managed.runPromise(reading.invoke("y")), "value of y")
      await managed.dispose()
      assert.strictEqual(await Agent.toPromise(reading, { layer: store })("x"), "value of x")
    })

    it("a layer is built once, at the first call, and released when the last call has ended", async () => {
      const order: Array<string> = []
      const layer = Layer.scoped(
        Store,
        Effect.acquireRelease(
          Effect.sync(() => {
            order.push("built")
            return { get: (key: string) => key }
          }),
          () => Effect.sync(() => order.push("released"))
        )
      )
      const agent = Agent.make(
        "a",
        (key: string) =>
          Effect.flatMap(Store, () =>
            Effect.ensuring(
              Effect.never,
              Effect.delay(
                Effect.sync(() => order.push(`ended ${key}`)),
                5
              )
            )
          ),
        once
      )
      const ask = Agent.toPromise(agent, { layer })
      assert.deepStrictEqual(order, [])
      const calls = [rejection(ask("1")), rejection(ask("2"))]
      await later(10)
      await ask.dispose()
      await Promise.all(calls)
      assert.deepStrictEqual(order, ["built", "ended 1", "ended 2", "released"])
    })

    it("a layer that cannot be built rejects the calls with its error", async () => {
      const error = new Refused(3)
      const ask = Agent.toPromise(reading, { layer: Layer.fail(error) })
      assert.strictEqual(await rejection(ask("x")), error)
      assert.strictEqual(await rejection(ask("x")), error)
      await ask.dispose()
    })

    it("a layer reconfigures the agent", async () => {
      let tried = 0
      const agent = Agent.make("a", (_: string) => Effect.suspend(() => Effect.fail(new Refused(++tried))), {
        retry: { maxAttempts: 3, base: 1 },
        circuitBreaker: false
      })
      await rejection(Agent.toPromise(agent, { layer: Agent.policies({ a: { retry: false } }) })(""))
      assert.strictEqual(tried, 1)
    })
  })

  it("a program ends by itself, with nothing unhandled", async () => {
    const { code, stderr, stdout } = await runFile(new URL("./promise.child.ts", import.meta.url))
    assert.deepStrictEqual(
      [stdout.trim().split("\n"), stderr, code],
      [["answered 2", "refused true", "aborted AbortError", "disposed AbortError", "done"], "", 0]
    )
  })
})
