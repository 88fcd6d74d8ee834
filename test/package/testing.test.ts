/**
 * `holdfast/testing`, used as a test uses it.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Duration, Effect, Exit, Fiber, TestClock } from "effect"
import { Agent } from "../../src/index.js"
import * as Testing from "../../src/testing.js"

class Broken extends Error {
  override readonly name = "Broken"
}

describe("outcomes", () => {
  it.effect("come one a call, and the last one stays", () =>
    Effect.gen(function* () {
      const run = Testing.outcomes(Effect.fail(new Broken("1")), Effect.succeed("two"), Effect.succeed(3))
      const first: Exit.Exit<string | number, Broken> = yield* Effect.exit(run())
      assert.isTrue(Exit.isFailure(first) && Cause.squash(first.cause) instanceof Broken)
      assert.strictEqual(yield* run(), "two")
      assert.strictEqual(yield* run("any input"), 3)
      assert.strictEqual(yield* run(), 3)
    })
  )

  it.effect("are met by retries, which the recorder has seen", () =>
    Effect.gen(function* () {
      const agent = Agent.make("flaky", Testing.outcomes(Effect.fail(new Broken("503")), Effect.succeed(42)))
      const fiber = yield* Effect.fork(agent.invoke(undefined))
      yield* TestClock.adjust(Duration.minutes(5))
      assert.strictEqual(yield* Fiber.join(fiber), 42)
      const attempts = yield* Testing.spans("attempt")
      assert.deepStrictEqual(
        attempts.map(({ level }) => level),
        ["WARNING", "DEFAULT"]
      )
    }).pipe(Effect.provide(Testing.layer))
  )
})
