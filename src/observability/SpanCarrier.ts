/**
 * How an observation crosses code that runs outside any fiber. LangGraph calls a checkpoint saver with a plain promise: the span under which
 * that happens travels in the run's `configurable`, which LangGraph hands through, and writes into no checkpoint.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import type * as HashMap from "effect/HashMap"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type * as Tracer from "effect/Tracer"

/**
 * The field of `configurable` that holds the parent span, a `Tracer.AnySpan`. LangChain copies no field that begins with two underscores
 * into metadata.
 *
 * @since 0.1.0
 * @category constants
 */
export const key = "__holdfast_span"

/**
 * The field of `configurable` that holds the tracer and the trace's attributes which {@link capture} found beside the span.
 *
 * @since 0.1.0
 * @category constants
 */
export const tracingKey = "__holdfast_tracing"

/** What belongs to a span and is not in it. */
class Tracing {
  readonly tracer: Tracer.Tracer
  readonly annotations: HashMap.HashMap<string, unknown>
  constructor(tracer: Tracer.Tracer, annotations: HashMap.HashMap<string, unknown>) {
    this.tracer = tracer
    this.annotations = annotations
  }
  /** A configurable may be printed; a tracer is nobody's business there. */
  toJSON(): string {
    return "[Tracing]"
  }
}

/** The fields as they stand in a configurable, or nothing. */
const field = (configurable: unknown, name: string): unknown =>
  Predicate.hasProperty(configurable, name) ? configurable[name] : undefined

const isAnySpan = (u: unknown): u is Tracer.AnySpan =>
  Predicate.hasProperty(u, "_tag") && (u._tag === "Span" || u._tag === "ExternalSpan") && "spanId" in u

/**
 * The parent span that a `configurable` carries.
 *
 * @since 0.1.0
 * @category getters
 */
export const fromConfigurable = (configurable: unknown): Option.Option<Tracer.AnySpan> => {
  const span = field(configurable, key)
  return isAnySpan(span) ? Option.some(span) : Option.none()
}

/**
 * The fields to put into a `configurable` so that what runs under it reports under the current span, through the current tracer and with
 * the attributes of the current trace. Nothing when there is no current span.
 *
 * @since 0.1.0
 * @category constructors
 */
export const capture: Effect.Effect<Readonly<Record<string, unknown>>> = Effect.gen(function* () {
  const span = yield* Effect.option(Effect.currentParentSpan)
  if (Option.isNone(span)) return {}
  const tracer = yield* Effect.tracer
  const annotations = yield* FiberRef.get(FiberRef.currentTracerSpanAnnotations)
  return { [key]: span.value, [tracingKey]: new Tracing(tracer, annotations) }
})

/**
 * Runs an effect under the span that a `configurable` carries. Without one, no observation is made in it: what has no trace to belong to
 * must not begin one of its own.
 *
 * @since 0.1.0
 * @category operators
 */
export const under =
  (configurable: unknown) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, Exclude<R, Tracer.ParentSpan>> => {
    const span = fromConfigurable(configurable)
    if (Option.isNone(span)) {
      return Effect.withTracerEnabled(self, false) as Effect.Effect<A, E, Exclude<R, Tracer.ParentSpan>> // no span is asked for where tracing is off
    }
    const child = Effect.withParentSpan(self, span.value)
    const tracing = field(configurable, tracingKey)
    return tracing instanceof Tracing
      ? child.pipe(
          Effect.locally(FiberRef.currentTracerSpanAnnotations, tracing.annotations),
          Effect.withTracer(tracing.tracer)
        )
      : child
  }
