import type * as Exit from "effect/Exit"
import type * as Tracer from "effect/Tracer"
import * as Observation from "../Observation.js"

/**
 * What is told of each span. All three are synchronous and must not throw.
 *
 * @internal
 */
export interface Watch {
  readonly started: (span: Tracer.Span, options: Tracer.SpanOptions | undefined) => void
  readonly annotated: (span: Tracer.Span, key: string, value: unknown) => void
  readonly ended: (span: Tracer.Span) => void
}

/** A failure whose message throws when it is read must not take the program down with it. */
const saidOf = (exit: Exit.Exit<unknown, unknown>): Record<string, unknown> => {
  try {
    return Observation.attributes(Observation.outcome(exit))
  } catch {
    return Observation.attributes({ level: "ERROR", statusMessage: "a failure that cannot be read" })
  }
}

/** Lets a span say how it ended, unless something has already said so. */
export const say = (span: Tracer.Span, exit: Exit.Exit<unknown, unknown>): void => {
  const said = saidOf(exit)
  for (const key in said) if (!span.attributes.has(key)) span.attribute(key, said[key])
}

/**
 * A tracer whose every span says how it ended: level and status message come from {@link Observation.outcome}, unless something has already
 * said them. The spans stay the inner tracer's own objects (two of their methods are replaced), because a tracer knows its parents by identity.
 * Wrapping twice is harmless: the outer one has spoken when the inner one looks.
 *
 * @internal
 */
export const withOutcome = (inner: Tracer.Tracer, watch?: Watch): Tracer.Tracer => ({
  ...inner,
  context: (execution, fiber) => inner.context(execution, fiber),
  span(name, parent, context, links, startTime, kind, options) {
    const span = inner.span(name, parent, context, links, startTime, kind, options)
    const end = span.end.bind(span)
    if (watch !== undefined) {
      const attribute = span.attribute.bind(span)
      span.attribute = (key, value) => {
        attribute(key, value)
        watch.annotated(span, key, value)
      }
    }
    span.end = (endTime, exit) => {
      if (exit._tag === "Failure") say(span, exit)
      end(endTime, exit)
      watch?.ended(span)
    }
    watch?.started(span, options)
    return span
  }
})
