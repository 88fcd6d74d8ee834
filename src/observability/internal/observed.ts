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

/** Whether spans go anywhere at all, whoever made them. */
export const isTraced = (fiber: AnyFiber): boolean => fiber.currentTracer !== nobody

/** Whether spans of the fiber can be made by {@link opening}: the current span, if there is one, wants children. */
export const isOpen = (fiber: AnyFiber): boolean =>
  fiber.currentSpan === undefined || !Context.get(fiber.currentSpan.context, Tracer.DisablePropagation)

/** A span that takes what is said of many spans as it is. The record is not changed any more, and says nothing of the trace. */
export interface Bulk {
  readonly say: (attributes: Readonly<Record<string, unknown>>) => void
}

const isBulk = (span: Tracer.Span): span is Tracer.Span & Bulk => "say" in span

/** Begins a span as `Effect.withSpan` does, and is not ended by anything but {@link close}. */
export type Open = (
  name: string,
  attributes: Readonly<Record<string, unknown>>,
  parent: Tracer.AnySpan | undefined
) => Tracer.Span

/** For spans that begin at one moment: what they have in common is looked up once. */
export const opening = (fiber: AnyFiber): Open => {
  const tracer = fiber.currentTracer
  const links = Chunk.toReadonlyArray(fiber.getFiberRef(FiberRef.currentTracerSpanLinks))
  const annotations = fiber.getFiberRef(FiberRef.currentTracerSpanAnnotations)
  const isAnnotated = !HashMap.isEmpty(annotations)
  const startTime = now(fiber)
  return (name, attributes, parent) => {
    const options = { attributes, captureStackTrace: false }
    const above = Option.fromNullable(parent)
    const span = tracer.span(name, above, Context.empty(), links, startTime, "internal", options)
    if (isBulk(span)) span.say(attributes)
    else for (const key in attributes) span.attribute(key, attributes[key])
    if (isAnnotated) HashMap.forEach(annotations, (value, key) => span.attribute(key, value))
    return span
  }
}

/** Ends a span, unless it has ended. */
export const close = (span: Tracer.Span, endTime: bigint, exit: Exit.Exit<unknown, unknown>): void => {
  if (span.status._tag === "Started") span.end(endTime, exit)
}

/** The time of the fiber's clock, for {@link close}. */
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
