/** A call that succeeds at once is made by a shorter way. Nobody can tell which way a call took. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/TestClock"
import * as TestContext from "effect/TestContext"
import * as Agent from "../../src/agent/Agent.js"
import * as ErrorInfo from "../../src/observability/ErrorInfo.js"
import * as Observation from "../../src/observability/Observation.js"
import * as Trace from "../../src/observability/Trace.js"
import * as Chaos from "../../src/resilience/Chaos.js"
import * as CircuitBreaker from "../../src/resilience/CircuitBreaker.js"
import * as RetryBudget from "../../src/resilience/RetryBudget.js"
import * as Timeout from "../../src/resilience/Timeout.js"
import { permanent, signal, transient, tree } from "../resilience/support.js"

/** What one call of the model does. */
const outcomes = {
  answer: Effect.succeed("answer"),
  nothing: Effect.void,
  transient: Effect.suspend(() => Effect.fail(transient())),
  permanent: Effect.suspend(() => Effect.fail(permanent())),
  defect: Effect.die(new Error("a bug")),
  signal: Effect.suspend(() => Effect.fail(signal())),
  hang: Effect.never,
  slow: Effect.delay(Effect.succeed("late"), "1 second"),
  interrupted: Effect.interrupt,
  nested: Effect.succeed("deep").pipe(Observation.span("model_call", { type: "generation", model: "m" })),
  annotated: Effect.as(
    Observation.annotate({ level: "WARNING", statusMessage: "odd", metadata: { seen: true } }),
    "odd"
  )
} as const
type Outcome = keyof typeof outcomes

interface Script {
  readonly primary: ReadonlyArray<Outcome>
  readonly backup: ReadonlyArray<Outcome> | undefined
  readonly breaker: boolean
  readonly deadline: boolean
  /** When the caller gives up, in milliseconds. */
  readonly interruptAt: number | undefined
  readonly under: boolean
}

const scripted = (id: string, script: ReadonlyArray<Outcome>, breaker: boolean) => {
  let call = 0
  return Agent.make(
    id,
    (_: string): Effect.Effect<unknown, unknown> => outcomes[script[Math.min(call++, script.length - 1)] ?? "answer"],
    {
      retry: { maxAttempts: 3, jitter: false },
      timeout: "2 seconds",
      circuitBreaker: breaker && { failureThreshold: 2, resetAfter: "10 seconds" }
    }
  )
}

/** A cause without how often and by whom it was interrupted. */
const shown = (exit: Exit.Exit<unknown, unknown>): unknown =>
  Exit.match(exit, {
    onFailure: (cause) => ({
      failures: [...Cause.failures(cause), ...Cause.defects(cause)].map((error) =>
        ErrorInfo.line(ErrorInfo.make(error))
      ),
      interrupted: Cause.isInterrupted(cause)
    }),
    onSuccess: (value) => (Array.isArray(value) ? value.map((each) => (Exit.isExit(each) ? shown(each) : each)) : value)
  })

/** All that can be seen of two calls: their observations with their times, and how they ended. */
const seen = ({ backup, breaker, deadline, interruptAt, primary, under }: Script) =>
  Effect.gen(function* () {
    const first = scripted("first", primary, breaker)
    const agent = backup === undefined ? first : first.pipe(Agent.orElse(scripted("second", backup, breaker)))
    const call = Effect.suspend((): Effect.Effect<unknown, unknown> => agent.invoke("question")).pipe(
      deadline ? Timeout.deadline({ duration: "3 seconds" }) : (self) => self,
      Observation.withTrace({ sessionId: "s" })
    )
    const calls = Effect.all([Effect.exit(call), Effect.exit(call)])
    const fiber = yield* Effect.fork(under ? Observation.span(calls, "outer") : calls)
    if (interruptAt !== undefined) {
      yield* TestClock.adjust(interruptAt)
      yield* Fiber.interruptFork(fiber)
    }
    yield* TestClock.adjust("1 hour")
    const exit = yield* Fiber.await(fiber)
    const { spans } = yield* Trace.Recorder
    const times = (yield* spans).map(({ endMillis, input, name, output, startMillis }) => ({
      name,
      input,
      output,
      startMillis,
      endMillis
    }))
    return { exit: shown(exit), tree: yield* tree, times }
  }).pipe(Effect.provide([CircuitBreaker.layerRegistry, RetryBudget.layerUnlimited, Trace.layerRecorder()]))

/** With faults that never come every try is made in the loop. */
const byTheLoop = Effect.provide(Chaos.layer({ rate: 0, seed: 1 }))

const outcome = FastCheck.constantFrom(...(Object.keys(outcomes) as ReadonlyArray<Outcome>))
const script = FastCheck.record({
  primary: FastCheck.array(outcome, { minLength: 1, maxLength: 4 }),
  backup: FastCheck.option(FastCheck.array(outcome, { minLength: 1, maxLength: 3 }), { nil: undefined }),
  breaker: FastCheck.boolean(),
  deadline: FastCheck.boolean(),
  interruptAt: FastCheck.option(FastCheck.constantFrom(1, 500, 1_000, 2_000, 2_500, 3_000), { nil: undefined }),
  under: FastCheck.boolean()
})

describe("the first try", () => {
  it("is observed as the loop of the retries is", () =>
    FastCheck.assert(
      FastCheck.asyncProperty(script, async (given) => {
        const [short, long] = await Promise.all(
          [seen(given), byTheLoop(seen(given))].map((run) =>
            Effect.runPromise(Effect.provide(run, TestContext.TestContext))
          )
        )
        assert.deepStrictEqual(short, long)
      }),
      { numRuns: 40 }
    ))
})
