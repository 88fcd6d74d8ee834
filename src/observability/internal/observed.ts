/** Observations of the operators' own, which cost nothing where nobody would see them. */
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as HashMap from "effect/HashMap"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import * as Observation from "../Observation.js"

type AnyFiber = Fiber.RuntimeFiber<unknown, unknown>

/** The tracer of a program that has none: its spans are seen by nobody. */
const nobody: Tracer.Tracer = Effect.runSync(Effect.tracer)

/** Whether anybody sees the spans of a fiber: a tracer, or a span of the user's own around it. */
export const isObserved = (fiber: AnyFiber): boolean =>
  (fiber.currentTracer !== nobody || fiber.currentSpan !== undefined) &&
  fiber.getFiberRef(FiberRef.currentTracerEnabled)

/** Whether spans of the fiber can be made by {@link open}: the current span, if there is one, wants children. */
export const isOpen = (fiber: AnyFiber): boolean =>
  fiber.currentSpan === undefined || !Context.get(fiber.currentSpan.context, Tracer.DisablePropagation)

/** A span as `Effect.withSpan` makes it, but by hand: begun at a time that several can share, and not ended by anything but {@link close}. */
export const open = (
  fiber: AnyFiber,
  name: string,
  attributes: Readonly<Record<string, unknown>>,
  parent: Tracer.AnySpan | undefined,
  startTime: bigint
): Tracer.Span => {
  const links = fiber.getFiberRef(FiberRef.currentTracerSpanLinks)
  const span = fiber.currentTracer.span(
    name,
    Option.fromNullable(parent),
    Context.empty(),
    Chunk.isEmpty(links) ? [] : Chunk.toReadonlyArray(links),
    startTime,
    "internal",
    { attributes, captureStackTrace: false }
  )
  const annotations = fiber.getFiberRef(FiberRef.currentTracerSpanAnnotations)
  if (!HashMap.isEmpty(annotations)) HashMap.forEach(annotations, (value, key) => span.attribute(key, value))
  for (const key in attributes) span.attribute(key, attributes[key])
  return span
}

/** Ends a span, unless it has ended. */
export const close = (span: Tracer.Span, endTime: bigint, exit: Exit.Exit<unknown, unknown>): void => {
  if (span.status._tag === "Started") span.end(endTime, exit)
}

/** The time for {@link open} and {@link close}. */
export const now = (fiber: AnyFiber): bigint =>
  fiber.getFiberRef(FiberRef.currentTracerTimingEnabled)
    ? Context.get(fiber.currentDefaultServices, Clock.Clock).unsafeCurrentTimeNanos()
    : 0n

/** Runs an effect in a span that is open, and ends the span with it. */
const inside = <A, E, R>(self: Effect.Effect<A, E, R>, span: Tracer.Span): Effect.Effect<A, E, R> =>
  Effect.onExit(
    // the span only adds what it then provides: R is as it was
    Effect.withParentSpan(self, span) as Effect.Effect<A, E, R>,
    (exit) => Effect.withFiberRuntime((fiber) => Effect.sync(() => close(span, now(fiber), exit)))
  )

/** An observation, if anybody sees it. Making spans is most of what a call would cost. `opened`: its span, if that was opened before. */
export const span = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  name: string,
  options: () => Observation.Options,
  opened?: Tracer.Span
): Effect.Effect<A, E, R> =>
  opened !== undefined
    ? inside(self, opened)
    : Effect.withFiberRuntime<A, E, R>((fiber) =>
        // the span only adds what it then provides: R is as it was
        isObserved(fiber) ? (Observation.span(self, name, options()) as Effect.Effect<A, E, R>) : self
      )
