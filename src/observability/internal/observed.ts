/** Observations of the operators' own, which cost nothing where nobody would see them. */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import type * as Tracer from "effect/Tracer"
import * as Observation from "../Observation.js"

/** The tracer of a program that has none: its spans are seen by nobody. */
const nobody: Tracer.Tracer = Effect.runSync(Effect.tracer)

/** Whether anybody sees the spans of a fiber: a tracer, or a span of the user's own around it. */
export const isObserved = (fiber: Fiber.RuntimeFiber<unknown, unknown>): boolean =>
  (fiber.currentTracer !== nobody || fiber.currentSpan !== undefined) &&
  fiber.getFiberRef(FiberRef.currentTracerEnabled)

/** An observation, if anybody sees it. Making spans is most of what a call would cost. */
export const span = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  name: string,
  options: () => Observation.Options
): Effect.Effect<A, E, R> =>
  Effect.withFiberRuntime<A, E, R>((fiber) =>
    // the span only adds what it then provides: R is as it was
    isObserved(fiber) ? (Observation.span(self, name, options()) as Effect.Effect<A, E, R>) : self
  )
