/**
 * Effect's spans as plain data: recorded while they happen, and drawn as a tree for the terminal.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type * as Tracer from "effect/Tracer"
import * as outcome from "./internal/outcome.js"
import * as w3c from "./internal/traceparent.js"
import * as tree from "./internal/tree.js"
import * as Observation from "./Observation.js"

/**
 * One span, as it stood when it was asked for.
 *
 * @since 0.1.0
 * @category models
 */
export interface SpanData {
  readonly traceId: string
  readonly spanId: string
  /** Absent on the root of a trace. A parent that came from elsewhere (a request's `traceparent`) has an id, but no span here. */
  readonly parentId: string | undefined
  readonly name: string
  /** `span` if nothing else was said. */
  readonly type: Observation.ObservationType
  /** `DEFAULT` if nothing else was said. */
  readonly level: Observation.Level
  readonly statusMessage: string | undefined
  /** Milliseconds since the epoch, with a fraction. */
  readonly startMillis: number
  /** Absent while it runs. */
  readonly endMillis: number | undefined
  /** What `Observation.annotate({ metadata })` said; JSON texts of objects and arrays are values again. */
  readonly metadata: Readonly<Record<string, unknown>>
  /** Redacted JSON. */
  readonly input: string | undefined
  /** Redacted JSON. */
  readonly output: string | undefined
  readonly scores: ReadonlyArray<Observation.Score>
}

/**
 * What happened to a span. `Annotated` also tells of a score.
 *
 * @since 0.1.0
 * @category models
 */
export interface TraceEvent {
  readonly _tag: "Started" | "Annotated" | "Ended"
  readonly span: SpanData
}

/**
 * What has been recorded, and what is.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** All spans that are kept, in the order in which they started. */
  readonly spans: Effect.Effect<ReadonlyArray<SpanData>>
  /**
   * Calls the listener at each event, synchronously and in order, until the scope closes. What it throws is dropped, so that a broken display
   * cannot break a run.
   */
  readonly subscribe: (listener: (event: TraceEvent) => void) => Effect.Effect<void, never, Scope.Scope>
}

/**
 * The recorder of the spans made under {@link layerRecorder}.
 *
 * @since 0.1.0
 * @category tags
 */
export class Recorder extends Context.Tag("holdfast/Trace/Recorder")<Recorder, Service>() {}

/**
 * @since 0.1.0
 * @category models
 */
export interface RecorderOptions {
  /** How many spans are kept, default 10,000. Beyond that the oldest that has ended is forgotten, or the oldest if none has. */
  readonly maxSpans?: number | undefined
}

interface Entry {
  /** Let go when the span has ended: it holds its exit, and with it whole results. */
  span: Tracer.Span | undefined
  readonly attributes: Map<string, unknown>
  readonly scores: Array<Observation.Score>
  /** The latest that is known. */
  data: SpanData
}

const types: ReadonlySet<string> = new Set<Observation.ObservationType>([
  "span",
  "generation",
  "event",
  "embedding",
  "agent",
  "tool",
  "chain",
  "retriever",
  "guardrail",
  "evaluator"
])
const isType = (value: unknown): value is Observation.ObservationType => typeof value === "string" && types.has(value)

const isLevel = (value: unknown): value is Observation.Level =>
  value === "DEBUG" || value === "DEFAULT" || value === "WARNING" || value === "ERROR"

const asText = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined)

const millis = (nanos: bigint): number => Number(nanos) / 1e6

/** Objects and arrays travel as JSON texts; a text that only looks like one stays a text. */
const revive = (value: unknown): unknown => {
  if (typeof value !== "string" || !(value.startsWith("{") || value.startsWith("["))) return value
  try {
    return JSON.parse(value)
  } catch {
    return value
  }
}

const read = (
  span: Tracer.Span,
  attributes: ReadonlyMap<string, unknown>,
  scores: ReadonlyArray<Observation.Score>
): SpanData => {
  const metadata: Record<string, unknown> = {}
  for (const [key, value] of attributes) {
    if (key.startsWith(Observation.Attribute.metadata)) {
      metadata[key.slice(Observation.Attribute.metadata.length)] = revive(value)
    }
  }
  const type = attributes.get(Observation.Attribute.type)
  const level = attributes.get(Observation.Attribute.level)
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    parentId: Option.isSome(span.parent) ? span.parent.value.spanId : undefined,
    name: span.name,
    type: isType(type) ? type : "span",
    level: isLevel(level) ? level : "DEFAULT",
    statusMessage: asText(attributes.get(Observation.Attribute.statusMessage)),
    startMillis: millis(span.status.startTime),
    endMillis: span.status._tag === "Ended" ? millis(span.status.endTime) : undefined,
    metadata,
    input: asText(attributes.get(Observation.Attribute.input)),
    output: asText(attributes.get(Observation.Attribute.output)),
    scores: scores.slice()
  }
}

const snapshot = (entry: Entry): SpanData => {
  if (entry.span !== undefined) entry.data = read(entry.span, entry.attributes, entry.scores)
  return entry.data
}

const observationPrefix = "langfuse.observation."

/**
 * Makes a recorder over a tracer: the tracer that records as well, and what was recorded.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeRecorder = (
  inner: Tracer.Tracer,
  options: RecorderOptions = {}
): {
  readonly tracer: Tracer.Tracer
  readonly score: (score: Observation.Score, span: Tracer.Span) => void
  readonly recorder: Service
} => {
  const maxSpans = Math.max(1, options.maxSpans ?? 10_000)
  const entries = new Map<string, Entry>()
  const listeners = new Set<(event: TraceEvent) => void>()

  const tell = (_tag: TraceEvent["_tag"], entry: Entry): void => {
    if (listeners.size === 0) return
    const event: TraceEvent = { _tag, span: snapshot(entry) }
    for (const listener of listeners) {
      try {
        listener(event)
      } catch {
        // a display must not break the run it shows
      }
    }
  }

  const makeRoom = (): void => {
    if (entries.size < maxSpans) return
    for (const [id, entry] of entries) {
      if (entry.span === undefined) {
        entries.delete(id)
        return
      }
    }
    for (const id of entries.keys()) {
      entries.delete(id)
      return
    }
  }

  const tracer = outcome.withOutcome(inner, {
    started: (span, options) => {
      makeRoom()
      // the options' attributes are set only after the span is made, one by one: known here, they need no event of their own
      const attributes = new Map(Object.entries(options?.attributes ?? {}))
      const entry: Entry = { span, attributes, scores: [], data: read(span, attributes, []) }
      entries.set(span.spanId, entry)
      tell("Started", entry)
    },
    annotated: (span, key, value) => {
      const entry = entries.get(span.spanId)
      if (entry === undefined || entry.attributes.get(key) === value) return
      entry.attributes.set(key, value)
      if (key.startsWith(observationPrefix)) tell("Annotated", entry)
    },
    ended: (span) => {
      const entry = entries.get(span.spanId)
      if (entry === undefined) return
      snapshot(entry)
      entry.span = undefined
      tell("Ended", entry)
    }
  })

  return {
    tracer,
    score: (score, span) => {
      const entry = entries.get(span.spanId)
      if (entry === undefined) return
      entry.scores.push(score)
      if (entry.span === undefined) entry.data = { ...entry.data, scores: entry.scores.slice() }
      tell("Annotated", entry)
    },
    recorder: {
      spans: Effect.sync(() => Array.from(entries.values(), snapshot)),
      subscribe: (listener) =>
        Effect.acquireRelease(
          Effect.sync(() => void listeners.add(listener)),
          () => Effect.sync(() => void listeners.delete(listener))
        )
    }
  }
}

/**
 * Records every span made under it, besides what the tracer in force does with them (Effect's own, or Langfuse's), and their scores. Put it
 * on top of the layer that brings the tracer.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Langfuse, Observation, Trace } from "holdfast"
 *
 * const program = Effect.gen(function* () {
 *   yield* Effect.succeed(42).pipe(Observation.span("deep_thought"))
 *   const recorder = yield* Trace.Recorder
 *   return Trace.render(yield* recorder.spans, { color: false, width: 80 })
 * })
 *
 * const tracing = Trace.layerRecorder().pipe(Layer.provideMerge(Langfuse.layer))
 * const runnable = program.pipe(Effect.provide(tracing))
 * ```
 */
export const layerRecorder = (options?: RecorderOptions): Layer.Layer<Recorder> =>
  Layer.unwrapEffect(
    Effect.gen(function* () {
      const inner = yield* Effect.tracer
      const sink = yield* Observation.ScoreSink
      const { recorder, score, tracer } = makeRecorder(inner, options)
      return Layer.mergeAll(
        Layer.setTracer(tracer),
        Layer.succeed(Recorder, recorder),
        Layer.succeed(Observation.ScoreSink, {
          emit: (value: Observation.Score, span: Tracer.Span) => {
            score(value, span)
            sink.emit(value, span)
          }
        })
      )
    })
  )

/**
 * The span that a W3C `traceparent` header names; nothing for what is none.
 *
 * @since 0.1.0
 * @category propagation
 */
export const fromTraceparent: (header: string) => Option.Option<Tracer.ExternalSpan> = w3c.parse

/**
 * The current span as a W3C `traceparent` header, for a request to whoever goes on with the trace. Nothing outside of any span.
 *
 * @since 0.1.0
 * @category propagation
 */
export const traceparent: Effect.Effect<Option.Option<string>> = Effect.map(
  Effect.option(Effect.currentParentSpan),
  Option.flatMap(w3c.format)
)

/**
 * Goes on with the trace of a `traceparent` header: observations made inside stand under the span that it names. A header that is absent or none
 * at all changes nothing. Whether the trace is sent is not the header's to say: its id decides, in every process alike.
 *
 * @since 0.1.0
 * @category propagation
 * @example
 * ```ts
 * import { Effect, Option } from "effect"
 * import { Observation, Trace } from "holdfast"
 *
 * declare const handle: (body: string) => Effect.Effect<string>
 *
 * // in: a request's header
 * const serve = (headers: Headers, body: string) =>
 *   handle(body).pipe(Observation.span("request"), Trace.withTraceparent(headers.get("traceparent")))
 *
 * // out: a request's header
 * const ask = Effect.flatMap(Trace.traceparent, (header) =>
 *   Effect.promise((signal) =>
 *     fetch("https://other.example.com", {
 *       headers: Option.match(header, { onNone: () => ({}), onSome: (traceparent) => ({ traceparent }) }),
 *       signal
 *     })
 *   )
 * )
 * ```
 */
export const withTraceparent: {
  (header: string | null | undefined): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, header: string | null | undefined): Effect.Effect<A, E, R>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, header: string | null | undefined) => {
  const span = fromTraceparent(header ?? "")
  // the span only adds what it then provides: R is as it was
  return Option.isNone(span) ? self : (Effect.withParentSpan(self, span.value) as Effect.Effect<A, E, R>)
})

/**
 * How a tree is drawn.
 *
 * @since 0.1.0
 * @category rendering
 */
export interface RenderOptions {
  /** Whether ANSI colours are used. */
  readonly color: boolean
  /** Columns; longer lines are cut. */
  readonly width: number
  /** Draws with ASCII characters only. Default false. */
  readonly ascii?: boolean | undefined
}

/**
 * Draws spans as a tree: a glyph for how each ended, its name, how long it took, what its metadata says of attempts, circuits and degradation,
 * and its status message. Siblings stand in the order in which they started; a span whose parent is not among them is a root. Events are dots.
 * Control characters in names and messages are not let through to the terminal.
 *
 * @since 0.1.0
 * @category rendering
 */
export const render = (spans: ReadonlyArray<SpanData>, options: RenderOptions): string => tree.render(spans, options)
