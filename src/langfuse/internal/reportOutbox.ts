/** The observations that are in an outbox, waiting or as copies. */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import * as ErrorInfo from "../../observability/ErrorInfo.js"
import * as Vocabulary from "../../observability/Observation.js"
import type * as Langfuse from "../Langfuse.js"
import type { Observation, Source } from "../Report.js"
import { ReportError } from "../ReportError.js"
import type { Item } from "./item.js"
import * as outboxOpen from "./outboxOpen.js"

/** OTLP's AnyValue, as far as figures are made of it. */
const valueOf = (value: unknown): unknown => {
  if (Predicate.hasProperty(value, "stringValue")) return value.stringValue
  if (Predicate.hasProperty(value, "boolValue")) return value.boolValue
  if (Predicate.hasProperty(value, "intValue")) return Number(value.intValue)
  if (Predicate.hasProperty(value, "doubleValue")) return value.doubleValue
  return undefined
}

const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined)

const isLevel = (value: unknown): value is Observation["level"] =>
  value === "DEBUG" || value === "DEFAULT" || value === "WARNING" || value === "ERROR"

const millis = (nanos: unknown): number => Number(nanos) / 1e6

/** What was written by this program, or nothing if it cannot be read. */
const observationOf = ({ json }: Item): Observation | undefined => {
  let span: unknown
  try {
    span = JSON.parse(json)
  } catch {
    return undefined
  }
  if (!Predicate.isRecord(span)) return undefined
  const { attributes, endTimeUnixNano, name, parentSpanId, spanId, startTimeUnixNano, traceId } = span
  if (typeof spanId !== "string" || typeof traceId !== "string" || typeof name !== "string") return undefined
  const all = new Map<unknown, unknown>()
  for (const entry of Array.isArray(attributes) ? attributes : []) {
    if (Predicate.hasProperty(entry, "key") && Predicate.hasProperty(entry, "value")) {
      all.set(entry.key, valueOf(entry.value))
    }
  }
  const { level, metadata: prefix, statusMessage } = Vocabulary.Attribute
  const metadata: Record<string, unknown> = {}
  for (const [key, value] of all) {
    if (typeof key === "string" && key.startsWith(prefix)) metadata[key.slice(prefix.length)] = value
  }
  const said = all.get(level)
  return {
    traceId,
    spanId,
    parentId: text(parentSpanId),
    name,
    level: isLevel(said) ? said : "DEFAULT",
    statusMessage: text(all.get(statusMessage)),
    startMillis: millis(startTimeUnixNano),
    endMillis: millis(endTimeUnixNano),
    metadata
  }
}

/** The clock of a database may be behind ours. */
const marginMillis = 3_600_000

/** @internal */
export const make = (options: Langfuse.OutboxOptions): Effect.Effect<Source, ReportError> =>
  Effect.gen(function* () {
    const store = yield* outboxOpen.open(options, () => {})
    const name = `the outbox in ${store.location}`
    const unreadable = (error: unknown) =>
      new ReportError({
        reason: "Unreadable",
        source: name,
        message: `${name} cannot be read: ${ErrorInfo.make(error).message}`,
        cause: error
      })
    const payloads = (since: Date) => Stream.fromAsyncIterable(store.stored(since), unreadable)
    if (Option.isNone(yield* Stream.runHead(payloads(new Date(0))))) {
      return yield* new ReportError({
        reason: "NoSource",
        source: name,
        message: `There is nothing to report on: LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are not set, and no observation is in ${store.location}. Set the keys, or set HOLDFAST_OUTBOX_KEEP to keep copies here`
      })
    }
    return {
      name,
      observations: ({ from, to }) =>
        payloads(new Date(from.getTime() - marginMillis)).pipe(
          Stream.mapChunks((chunk) =>
            Chunk.filterMap(Chunk.flatMap(chunk, Chunk.unsafeFromArray), (item) => {
              const observation = observationOf(item)
              return observation !== undefined &&
                observation.startMillis >= from.getTime() &&
                observation.startMillis < to.getTime()
                ? Option.some(observation)
                : Option.none()
            })
          )
        )
    }
  })
