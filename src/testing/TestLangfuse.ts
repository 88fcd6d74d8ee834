/**
 * Langfuse in memory: every observation and score as Langfuse would have them, without a server, and trees of them to compare with.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Tracer from "effect/Tracer"
import * as Langfuse from "../langfuse/Langfuse.js"
import * as outcome from "../observability/internal/outcome.js"
import * as Observation from "../observability/Observation.js"
import * as chain from "./internal/chainHandler.js"
import * as matching from "./internal/matching.js"
import * as reading from "./internal/reading.js"

/**
 * An observation as Langfuse keeps it. Inputs, outputs and metadata that travel as JSON are values again; secrets are redacted.
 *
 * @since 0.1.0
 * @category models
 */
export interface TestObservation {
  readonly id: string
  readonly traceId: string
  /** Absent on the root of a trace. */
  readonly parentObservationId: string | undefined
  readonly name: string
  /** `span` if nothing else was said. */
  readonly type: Observation.ObservationType
  /** `DEFAULT` if nothing else was said. */
  readonly level: Observation.Level
  readonly statusMessage: string | undefined
  readonly startTime: Date
  /** Absent while it runs. */
  readonly endTime: Date | undefined
  readonly completionStartTime: Date | undefined
  readonly input: unknown
  readonly output: unknown
  readonly metadata: Readonly<Record<string, unknown>>
  readonly model: string | undefined
  readonly usageDetails: Readonly<Record<string, number>>
  readonly costDetails: Readonly<Record<string, number>>
  readonly scores: ReadonlyArray<Observation.Score>
  /** What `Observation.withTrace` said of the whole trace. */
  readonly trace: {
    readonly name: string | undefined
    readonly sessionId: string | undefined
    readonly userId: string | undefined
    readonly tags: ReadonlyArray<string>
    readonly metadata: Readonly<Record<string, unknown>>
    readonly environment: string | undefined
    readonly release: string | undefined
    readonly version: string | undefined
  }
}

/**
 * An observation with those under it, in the order in which they began.
 *
 * @since 0.1.0
 * @category models
 */
export interface Tree extends TestObservation {
  readonly children: ReadonlyArray<Tree>
}

/**
 * What a value must be: the value itself (of an object the fields that are named), a pattern for its text, or a predicate.
 *
 * @since 0.1.0
 * @category models
 */
export type Wanted = unknown

/**
 * How a tree is expected to be. What is not named may be anything, but `children`, if named, are all there are.
 *
 * @since 0.1.0
 * @category models
 */
export interface Expected {
  readonly name: string | RegExp
  readonly type?: Observation.ObservationType | undefined
  readonly level?: Observation.Level | undefined
  readonly statusMessage?: string | RegExp | undefined
  readonly input?: Wanted
  readonly output?: Wanted
  readonly model?: string | RegExp | undefined
  /** The keys that are named; others may be there. */
  readonly metadata?: Readonly<Record<string, Wanted>> | undefined
  /** By name; others may be there. */
  readonly scores?: Readonly<Record<string, Wanted>> | undefined
  /** Fields of the trace that are named. */
  readonly trace?: Readonly<Record<string, Wanted>> | undefined
  readonly children?: ReadonlyArray<Expected> | undefined
  /** Whether there may be more children than those that are named, between them and after. Default false. */
  readonly others?: boolean | undefined
  /** Whether the children may stand in any order, as those that run at once. Default false. */
  readonly anyOrder?: boolean | undefined
}

/**
 * A tree that is not as expected: where it differs, and what there is.
 *
 * @since 0.1.0
 * @category errors
 */
export class TreeMismatchError extends Schema.TaggedError<TreeMismatchError>("holdfast/TreeMismatchError")(
  "TreeMismatchError",
  {
    /** A line each: the path to the place, what was expected there, and what is. */
    differences: Schema.Array(Schema.String),
    /** All observations, drawn. */
    actual: Schema.String
  }
) {
  override get message(): string {
    return [...this.differences, "", "observed:", this.actual === "" ? "  nothing" : this.actual].join("\n")
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Every observation, in the order in which they began; those that run are among them. */
  readonly observations: Effect.Effect<ReadonlyArray<TestObservation>>
  /** Forgets what there is. */
  readonly clear: Effect.Effect<void>
}

/**
 * Langfuse in memory.
 *
 * @since 0.1.0
 * @category services
 */
export class TestLangfuse extends Context.Tag("holdfast/TestLangfuse")<TestLangfuse, Service>() {}

interface Entry {
  readonly span: Tracer.Span
  readonly attributes: Map<string, unknown>
  readonly scores: Array<Observation.Score>
}

/**
 * Takes the place of `Langfuse.layer`: what is made under it is kept, also what LangChain's callbacks say through `Langfuse.callbackHandler`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<TestLangfuse> = Layer.unwrapEffect(
  Effect.map(Effect.tracer, (inner) => {
    const entries = new Map<string, Entry>()
    const tracer = outcome.withOutcome(inner, {
      started: (span, options) => {
        entries.set(span.spanId, { span, attributes: new Map(Object.entries(options?.attributes ?? {})), scores: [] })
      },
      annotated: (span, key, value) => void entries.get(span.spanId)?.attributes.set(key, value),
      ended: () => {}
    })
    return Layer.mergeAll(
      Layer.setTracer(tracer),
      Layer.succeed(Observation.ScoreSink, {
        emit: (score: Observation.Score, span: Tracer.Span) => void entries.get(span.spanId)?.scores.push(score)
      }),
      Layer.succeed(Langfuse.Langfuse, {
        enabled: true,
        callbackHandler: Effect.map(chain.make, Option.some),
        flush: Effect.void
      }),
      Layer.succeed(TestLangfuse, {
        observations: Effect.sync(() =>
          Array.from(entries.values(), ({ attributes, scores, span }) => reading.observation(span, attributes, scores))
        ),
        clear: Effect.sync(() => entries.clear())
      })
    )
  })
).pipe(Layer.fresh)

/**
 * Every observation, in the order in which they began.
 *
 * @since 0.1.0
 * @category getters
 */
export const observations: Effect.Effect<ReadonlyArray<TestObservation>, never, TestLangfuse> = Effect.flatMap(
  TestLangfuse,
  (langfuse) => langfuse.observations
)

/**
 * Observations as trees, a root a trace.
 *
 * @since 0.1.0
 * @category getters
 */
export const trees: Effect.Effect<ReadonlyArray<Tree>, never, TestLangfuse> = Effect.map(observations, reading.trees)

/**
 * Where a tree differs from what is expected; nothing when it does not.
 *
 * @since 0.1.0
 * @category matching
 */
export const differences = (actual: Tree, expected: Expected): ReadonlyArray<string> =>
  matching.differences(actual, expected)

/**
 * Finds the observation that is as expected, at any depth, with what is under it. Fails with {@link TreeMismatchError}, which tells where the one that
 * comes nearest differs.
 *
 * @since 0.1.0
 * @category matching
 * @example
 * ```ts run
 * import { Effect, Fiber, TestClock, TestContext } from "effect"
 * import { Agent } from "holdfast"
 * import * as Testing from "holdfast/testing"
 * import { TestLangfuse } from "holdfast/testing"
 *
 * const agent = Agent.make("flaky", Testing.outcomes(Effect.fail(new Error("503")), Effect.succeed("an answer")))
 *
 * const test = Effect.gen(function* () {
 *   const fiber = yield* Effect.fork(agent.invoke("a question"))
 *   yield* TestClock.adjust("1 minute")
 *   yield* Fiber.join(fiber)
 *   yield* TestLangfuse.expectTree({
 *     name: "agent_flaky",
 *     type: "agent",
 *     metadata: { success: true },
 *     children: [
 *       {
 *         name: "retry_execution",
 *         scores: { retry_attempts: 2 },
 *         children: [
 *           { name: "attempt", level: "WARNING", statusMessage: /503/ },
 *           { name: "attempt", level: "DEFAULT" }
 *         ]
 *       }
 *     ]
 *   })
 * })
 *
 * await Effect.runPromise(test.pipe(Effect.provide(TestLangfuse.layer), Effect.provide(TestContext.TestContext)))
 * ```
 */
export const expectTree = (expected: Expected): Effect.Effect<Tree, TreeMismatchError, TestLangfuse> =>
  Effect.flatMap(trees, (roots) => {
    const found = matching.nearest(roots, expected)
    if (found !== undefined && found.differences.length === 0) return Effect.succeed(found.tree)
    return new TreeMismatchError({
      differences: found?.differences ?? [`no observation is named ${matching.show(expected.name)}`],
      actual: matching.draw(roots)
    })
  })

/**
 * That the traces are these and no others, in the order in which they began. Fails with {@link TreeMismatchError}.
 *
 * @since 0.1.0
 * @category matching
 */
export const expectTraces = (
  ...expected: ReadonlyArray<Expected>
): Effect.Effect<ReadonlyArray<Tree>, TreeMismatchError, TestLangfuse> =>
  Effect.flatMap(trees, (roots) => {
    const found = matching.siblings("", roots, { children: expected })
    return found.length === 0
      ? Effect.succeed(roots)
      : new TreeMismatchError({ differences: found, actual: matching.draw(roots) })
  })
