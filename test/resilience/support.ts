import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/TestClock"
import * as Trace from "../../src/observability/Trace.js"

export const transient = (n = 0) => Object.assign(new Error(`transient ${n}`), { status: 503 })
export const permanent = () => Object.assign(new Error("permanent"), { status: 400 })
export const signal = () => Object.assign(new Error("ask a person"), { name: "GraphInterrupt", is_bubble_up: true })

/** Lets every other fiber go as far as it can. */
export const others = Effect.repeatN(Effect.yieldNow(), 8)

/** Runs to the end while an hour passes. */
export const finish = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.fork(self)
    yield* TestClock.adjust("1 hour")
    return yield* Fiber.await(fiber)
  })

/** Every span there is, most of each as plain data: no ids and times. */
export const tree = Effect.flatMap(Trace.Recorder, (recorder) =>
  Effect.map(recorder.spans, (spans) => {
    const name = (id: string | undefined) => spans.find((span) => span.spanId === id)?.name
    return spans.map(({ level, metadata, name: own, parentId, scores, statusMessage, type }) => ({
      name: own,
      under: name(parentId),
      type,
      level,
      statusMessage,
      metadata,
      scores: Object.fromEntries(scores.map((score) => [score.name, score.value]))
    }))
  })
)
