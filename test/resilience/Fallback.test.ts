import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Option from "effect/Option"
import { expectTypeOf } from "vitest"
import * as Trace from "../../src/observability/Trace.js"
import * as Failure from "../../src/resilience/Failure.js"
import * as Fallback from "../../src/resilience/Fallback.js"
import { permanent, signal, transient, tree } from "./support.js"

const way = <A, E>(name: string, effect: Effect.Effect<A, E>) => ({ name, effect })

describe("Fallback.chain", () => {
  it.effect("takes each way in turn until one works, and no further", () =>
    Effect.gen(function* () {
      const tried: Array<string> = []
      const heard: Array<ReadonlyArray<string>> = []
      const step = <A, E>(name: string, effect: Effect.Effect<A, E>) =>
        way(
          name,
          Effect.suspend(() => {
            tried.push(name)
            return effect
          })
        )
      const ways = [
        step("a", Effect.fail(transient())),
        step("b", Effect.die("bug")),
        step("c", Effect.succeed("answer")),
        step("d", Effect.succeed("never asked"))
      ]
      const answer = yield* Fallback.chain("agent", ways, (all) =>
        Effect.sync(() => heard.push(all.map(({ agent }) => agent)))
      )
      assert.strictEqual(answer, "answer")
      assert.deepStrictEqual(tried, ["a", "b", "c"])
      assert.deepStrictEqual(heard, [["a"], ["a", "b"]])
    })
  )

  it.effect("when nothing works, carries every error itself, in order, defects and aborted calls too", () =>
    Effect.gen(function* () {
      const errors = [transient(1), new TypeError("bug"), new DOMException("stop", "AbortError")] as const
      const failed = yield* Fallback.chain("agent", [
        way("a", Effect.fail(errors[0])),
        way("b", Effect.die(errors[1])),
        way("c", Effect.fail(errors[2]))
      ]).pipe(Effect.withSpan("inside a span"), Effect.flip)
      assert.strictEqual(failed.agent, "agent")
      assert.deepStrictEqual(
        failed.errors.map(({ agent }) => agent),
        ["a", "b", "c"]
      )
      for (const [index, { error }] of failed.errors.entries()) assert.strictEqual(error, errors[index])
      assert.strictEqual(
        failed.message,
        '"agent" and every fallback failed (a: Error: transient 1; b: TypeError: bug; c: AbortError: stop)'
      )
    })
  )

  it("is worth another try as a whole when any of its errors is", () => {
    const exhausted = (...errors: ReadonlyArray<unknown>) =>
      new Fallback.FallbackExhaustedError({ agent: "a", errors: errors.map((error) => ({ agent: "b", error })) })
    const reason = "fallbacks exhausted"
    assert.deepStrictEqual(Failure.classify(exhausted(permanent(), transient())), { kind: "transient", reason })
    assert.deepStrictEqual(Failure.classify(exhausted(permanent())), { kind: "permanent", reason })
  })

  const passing: ReadonlyArray<readonly [what: string, effect: (raised: Error) => Effect.Effect<never, unknown>]> = [
    ["control flow", (raised) => Effect.fail(raised)],
    ["thrown control flow", (raised) => Effect.die(raised)],
    [
      "control flow beside a failure",
      (raised) => Effect.failCause(Cause.parallel(Cause.fail(raised), Cause.fail(transient())))
    ],
    ["control flow that tryPromise wrapped", (raised) => Effect.tryPromise(() => Promise.reject(raised))]
  ]
  for (const [what, effect] of passing) {
    it.effect(`${what} passes as it is`, () =>
      Effect.gen(function* () {
        const raised = signal()
        const exit = yield* Effect.exit(
          Fallback.chain("agent", [way("a", effect(raised)), way("b", Effect.succeed("no"))])
        )
        assert.isTrue(Exit.isFailure(exit))
        const squashed: unknown = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
        assert.strictEqual(Cause.isUnknownException(squashed) ? squashed.error : squashed, raised)
      })
    )
  }

  it.effect("an interruption ends it, from outside and from inside", () =>
    Effect.gen(function* () {
      let asked = false
      const chain = (first: Effect.Effect<never>) =>
        Fallback.chain("agent", [
          way("a", first),
          way(
            "b",
            Effect.sync(() => {
              asked = true
            })
          )
        ])
      assert.isTrue(Exit.isInterrupted(yield* Effect.exit(chain(Effect.interrupt))))
      const fiber = yield* Effect.fork(chain(Effect.never))
      yield* Effect.yieldNow()
      assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
      assert.isFalse(asked)
    })
  )
})

describe("Fallback.orElse", () => {
  it.effect("is a chain of two, called in both ways, whose second is made only when needed", () =>
    Effect.gen(function* () {
      let made = 0
      const second = () => {
        made++
        return Effect.succeed("second")
      }
      assert.strictEqual(yield* Effect.succeed("first").pipe(Fallback.orElse(second)), "first")
      assert.strictEqual(made, 0)
      assert.strictEqual(yield* Effect.fail("no").pipe(Fallback.orElse(second)), "second")
      assert.strictEqual(yield* Fallback.orElse(Effect.die("no"), second, "greeter"), "second")
      const error = yield* Effect.fail("a").pipe(
        Fallback.orElse(() => Effect.fail("b"), "greeter"),
        Effect.flip
      )
      assert.deepStrictEqual(error.errors, [
        { agent: "primary", error: "a" },
        { agent: "fallback_1", error: "b" }
      ])
      assert.strictEqual(error.message, '"greeter" and every fallback failed (primary: a; fallback_1: b)')
      const nameless = yield* Effect.flip(Fallback.orElse(Effect.fail("a"), () => Effect.fail("b")))
      assert.strictEqual(nameless.agent, "effect")
    })
  )

  it("has the types it says", () => {
    interface First {
      readonly _: unique symbol
    }
    interface Second {
      readonly __: unique symbol
    }
    const first: Effect.Effect<number, "a", First> = Effect.fail("a")
    const second = (): Effect.Effect<Option.Option<string>, "b", Second> => Effect.fail("b")
    type Expected = Effect.Effect<number | Option.Option<string>, Fallback.FallbackExhaustedError, First | Second>
    expectTypeOf(first.pipe(Fallback.orElse(second))).toEqualTypeOf<Expected>()
    expectTypeOf(Fallback.orElse(first, second)).toEqualTypeOf<Expected>()
    const chained = Fallback.chain("both", [
      { name: "first", effect: first },
      { name: "second", effect: second() }
    ])
    expectTypeOf(chained).toEqualTypeOf<Expected>()
  })
})

describe("Fallback: what is seen, by whom", () => {
  it.effect("who hears of each failed way himself has no observation made of the next", () =>
    Effect.gen(function* () {
      const ways = [way("a", Effect.fail(transient())), way("b", Effect.succeed("answer"))]
      yield* Fallback.chain("agent", ways, () => Effect.void)
      assert.deepStrictEqual(yield* tree, [])
      yield* Fallback.chain("agent", ways)
      yield* Fallback.orValue(Effect.fail("no"), () => "value")
      assert.deepStrictEqual(
        (yield* tree).map(({ metadata, name }) => [name, metadata["chain"], metadata["way"]]),
        [
          ["fallback", "agent", "b"],
          ["fallback", "effect", "value"]
        ]
      )
    }).pipe(Effect.provide(Trace.layerRecorder()))
  )
})
