import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { expectTypeOf } from "vitest"
import * as Failure from "../../../src/resilience/Failure.js"
import * as RetryPolicy from "../../../src/resilience/RetryPolicy.js"
import { finish, permanent, signal, transient } from "../support.js"
import { always, times } from "./support.js"

describe("RetryPolicy: what", () => {
  it.effect("ends with the answer at the first try that works", () =>
    Effect.gen(function* () {
      const run = (n: number) => (n < 3 ? Effect.fail(transient(n)) : Effect.succeed(`answer ${n}`))
      assert.deepStrictEqual(yield* finish(RetryPolicy.attempts(run, RetryPolicy.make())), Exit.succeed("answer 3"))
    })
  )

  const once: ReadonlyArray<readonly [what: string, effect: Effect.Effect<never, unknown>]> = [
    ["a permanent failure", Effect.fail(permanent())],
    ["a defect", Effect.die(transient())],
    ["control flow", Effect.fail(signal())],
    ["thrown control flow", Effect.die(signal())],
    ["an aborted call", Effect.fail(new DOMException("stop", "AbortError"))]
  ]
  for (const [what, effect] of once) {
    it.effect(`${what} is tried once and passes as it is`, () =>
      Effect.gen(function* () {
        let tried = 0
        const counted = Effect.suspend(() => {
          tried++
          return effect
        })
        const plain = yield* Effect.exit(effect)
        const retried = yield* finish(RetryPolicy.retry(counted, { base: 0 }))
        assert.strictEqual(tried, 1)
        assert.isTrue(Exit.isFailure(retried) && Exit.isFailure(plain))
        if (Exit.isFailure(retried) && Exit.isFailure(plain)) {
          assert.strictEqual(Cause.isInterrupted(retried.cause), Cause.isInterrupted(plain.cause))
          // a span in force wraps what fails inside it: what counts is the error itself
          assert.strictEqual(
            Cause.originalError(Cause.squash(retried.cause)),
            Cause.originalError(Cause.squash(plain.cause))
          )
          assert.strictEqual(retried.cause._tag, plain.cause._tag)
        }
      })
    )
  }

  it.effect("an interruption from inside is tried once, and stays one", () =>
    Effect.gen(function* () {
      let tried = 0
      const interrupted = Effect.suspend(() => {
        tried++
        return Effect.interrupt
      })
      assert.isTrue(Exit.isInterrupted(yield* finish(RetryPolicy.retry(interrupted, { base: 0 }))))
      assert.strictEqual(tried, 1)
    })
  )

  it.effect("a failure and a defect at once are not repeated, even by a policy that wants all", () =>
    Effect.gen(function* () {
      let tried = 0
      const both = Effect.suspend(() => {
        tried++
        return Effect.failCause(Cause.parallel(Cause.fail(transient()), Cause.die("bug")))
      })
      yield* finish(RetryPolicy.retry(both, { base: 0, isRetryable: () => true }))
      assert.strictEqual(tried, 1)
    })
  )

  it.effect("a parallel cause of failures is repeated when each is worth it", () =>
    Effect.gen(function* () {
      let tried = 0
      const run = (cause: Cause.Cause<Error>) =>
        Effect.suspend(() => {
          tried++
          return Effect.failCause(cause)
        })
      yield* finish(
        RetryPolicy.retry(run(Cause.parallel(Cause.fail(transient(1)), Cause.fail(transient(2)))), { base: 0 })
      )
      assert.strictEqual(tried, 3)
      yield* finish(
        RetryPolicy.retry(run(Cause.parallel(Cause.fail(transient(1)), Cause.fail(permanent()))), { base: 0 })
      )
      assert.strictEqual(tried, 4)
    })
  )

  it.effect("an answer that does not decode is worth one more try, wherever it comes in the row", () =>
    Effect.gen(function* () {
      const row =
        (...errors: ReadonlyArray<Error>) =>
        (n: number) =>
          Effect.fail(errors[n - 1] ?? new Error("past the row"))
      const decode = () => new SyntaxError("no JSON")
      const policy = { maxAttempts: 9, base: 0 }
      assert.strictEqual((yield* times(row(decode(), decode(), decode()), policy)).began.length, 2)
      assert.strictEqual(
        (yield* times(row(transient(), transient(), decode(), decode(), decode()), policy)).began.length,
        4
      )
      assert.strictEqual((yield* times(row(decode(), transient(), decode()), policy)).began.length, 3)
    })
  )

  it.effect("isRetryable and classify decide", () =>
    Effect.gen(function* () {
      const never = { base: 0, isRetryable: () => false }
      assert.strictEqual((yield* times(always(transient()), never)).began.length, 1)
      const stubborn = { base: 0, isRetryable: (failure: Failure.Failure) => failure.kind === "permanent" }
      assert.strictEqual((yield* times(always(permanent()), stubborn)).began.length, 3)
      let tried = 0
      const counted = Effect.suspend(() => {
        tried++
        return Effect.fail("quota")
      })
      const mine = () => ({ kind: "permanent", reason: "mine" }) as const
      yield* finish(RetryPolicy.retry(counted, { base: 0 }, { classify: mine }))
      assert.strictEqual(tried, 1)
      yield* finish(
        RetryPolicy.retry(counted, { base: 0 }).pipe(Effect.provideService(Failure.CurrentClassifier, mine))
      )
      assert.strictEqual(tried, 2)
      yield* finish(counted.pipe(RetryPolicy.retry(RetryPolicy.none)))
      assert.strictEqual(tried, 3)
    })
  )
})

describe("RetryPolicy: types", () => {
  it("keeps the effect's own", () => {
    interface Service {
      readonly _: unique symbol
    }
    const effect: Effect.Effect<number, "no", Service> = Effect.fail("no")
    expectTypeOf(RetryPolicy.retry(effect, {})).toEqualTypeOf<Effect.Effect<number, "no", Service>>()
    expectTypeOf(effect.pipe(RetryPolicy.retry({}))).toEqualTypeOf<Effect.Effect<number, "no", Service>>()
    expectTypeOf(RetryPolicy.attempts(() => effect, RetryPolicy.none)).toEqualTypeOf<
      Effect.Effect<number, "no", Service>
    >()
    expectTypeOf(RetryPolicy.backoff()).not.toBeAny()
  })
})
