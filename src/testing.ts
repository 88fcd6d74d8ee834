/**
 * What helps to test agents: Langfuse in memory, a database in memory, a chat model by script, breakers of the test's own, faults on purpose,
 * functions that fail as told, and simulations that look for what breaks a program.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Trace from "./observability/Trace.js"
import * as CircuitBreaker from "./resilience/CircuitBreaker.js"

/**
 * What a run did: `Trace.Recorder` holds the spans, `Trace.render` draws them.
 *
 * @since 0.1.0
 * @category modules
 */
export * as Trace from "./observability/Trace.js"
/**
 * Faults injected on purpose, reproducibly: `Chaos.layer({ rate: 0.4, seed: 7 })`.
 *
 * @since 0.1.0
 * @category modules
 */
export * as Chaos from "./resilience/Chaos.js"

/**
 * Many seeded runs of a program under faults and in virtual time; what breaks it is cut down to the fewest faults.
 *
 * @since 0.1.0
 * @category modules
 */
export * as Simulation from "./testing/Simulation.js"
/**
 * An embedded PostgreSQL of the test's own, with or without LangGraph's saver.
 *
 * @since 0.1.0
 * @category modules
 */
export * as TestDatabase from "./testing/TestDatabase.js"
/**
 * Langfuse in memory: observations and scores as it would have them, and a matcher for their trees.
 *
 * @since 0.1.0
 * @category modules
 */
export * as TestLangfuse from "./testing/TestLangfuse.js"
/**
 * A LangChain chat model by script: answers, tool calls, tokens, errors with a status, hangs.
 *
 * @since 0.1.0
 * @category modules
 */
export * as TestModel from "./testing/TestModel.js"

/**
 * What a test of agents needs around it: a recorder of every span, and circuit breakers that no other test has opened.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts run
 * import { Duration, Effect, Fiber, TestClock, TestContext } from "effect"
 * import { Agent, RetryPolicy } from "holdfast"
 * import * as Testing from "holdfast/testing"
 *
 * const flaky = Agent.make("flaky", Testing.outcomes(Effect.fail(new Error("503")), Effect.succeed("an answer"))).pipe(
 *   Agent.withRetry(RetryPolicy.make({ maxAttempts: 2 }))
 * )
 *
 * const test = Effect.gen(function* () {
 *   const fiber = yield* Effect.fork(Agent.invoke(flaky, "a question"))
 *   yield* TestClock.adjust(Duration.minutes(1))
 *   const answer = yield* Fiber.join(fiber)
 *   const attempts = yield* Testing.spans("attempt")
 *   if (answer !== "an answer" || attempts.length !== 2) throw new Error(`${answer} after ${attempts.length} attempts`)
 * })
 *
 * await Effect.runPromise(test.pipe(Effect.provide(Testing.layer), Effect.provide(TestContext.TestContext)))
 * ```
 */
export const layer: Layer.Layer<Trace.Recorder | CircuitBreaker.Registry> = Layer.fresh(
  Layer.merge(Trace.layerRecorder(), CircuitBreaker.layerRegistry)
)

/**
 * The same as `TestDatabase.layer`: an empty PostgreSQL in memory, gone with the layer.
 *
 * @since 0.1.0
 * @category layers
 */
export { layer as layerDatabase } from "./testing/TestDatabase.js"

/**
 * The recorded spans of one name, in the order in which they began.
 *
 * @since 0.1.0
 * @category getters
 */
export const spans = (name: string): Effect.Effect<ReadonlyArray<Trace.SpanData>, never, Trace.Recorder> =>
  Effect.gen(function* () {
    const recorder = yield* Trace.Recorder
    return (yield* recorder.spans).filter((span) => span.name === name)
  })

/**
 * A function that meets one outcome after the other, call by call; the last one stays. It counts its own calls, so make one a test.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Agent } from "holdfast"
 * import * as Testing from "holdfast/testing"
 *
 * const down = Testing.outcomes(Effect.fail(new Error("503")))
 * const slow = Testing.outcomes(Effect.never, Effect.succeed(42))
 * const agent = Agent.make("slow", slow)
 * ```
 */
export function outcomes<const Each extends readonly [Outcome, ...ReadonlyArray<Outcome>]>(
  ...each: Each
): (
  input?: unknown
) => Effect.Effect<
  Effect.Effect.Success<Each[number]>,
  Effect.Effect.Error<Each[number]>,
  Effect.Effect.Context<Each[number]>
>
export function outcomes(...each: readonly [Outcome, ...ReadonlyArray<Outcome>]): () => Outcome {
  let calls = 0
  return () => Effect.suspend(() => each[Math.min(calls++, each.length - 1)] ?? each[0])
}

/**
 * What one call comes to.
 *
 * @since 0.1.0
 * @category models
 */
export type Outcome = Effect.Effect<unknown, unknown, unknown>
