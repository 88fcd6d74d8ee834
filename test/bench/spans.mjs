// What a program says in its spans.

import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Tracer from "effect/Tracer"

/** The attributes of every span that an effect makes, in the order in which the spans begin. */
export const spansOf = async (effect) => {
  const seen = []
  const tracer = Tracer.make({
    context: (run) => run(),
    span: (name, parent, context, links, startTime, kind) => {
      const attributes = new Map()
      seen.push(attributes)
      return {
        _tag: "Span",
        name,
        parent,
        context,
        links,
        kind,
        attributes,
        spanId: `${seen.length}`,
        traceId: "1",
        sampled: true,
        status: { _tag: "Started", startTime },
        attribute: (key, value) => void attributes.set(key, value),
        addLinks: () => {},
        event: () => {},
        end: () => {}
      }
    }
  })
  await Effect.runPromise(Effect.provide(effect, Layer.setTracer(tracer)))
  return seen.map((attributes) => [...attributes])
}
