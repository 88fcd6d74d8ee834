/** A span as Langfuse reads it. */
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type * as Tracer from "effect/Tracer"
import * as Observation from "../../observability/Observation.js"
import type { TestObservation, Tree } from "../TestLangfuse.js"

const { Attribute } = Observation

const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined)

/** JSON as the value that it is; another text as it stands. */
const parse = (value: unknown): unknown => {
  if (typeof value !== "string") return value
  try {
    return JSON.parse(value)
  } catch {
    return value
  }
}

/** Objects and arrays travel as JSON; a text that only looks like a number is a text. */
const revive = (value: unknown): unknown => (typeof value === "string" && /^[[{]/.test(value) ? parse(value) : value)

const below = (attributes: ReadonlyMap<string, unknown>, prefix: string): Record<string, unknown> =>
  Object.fromEntries(
    Array.from(attributes)
      .filter(([key]) => key.startsWith(prefix))
      .map(([key, value]) => [key.slice(prefix.length), revive(value)])
  )

const numbers = (value: unknown): Record<string, number> => {
  const read = parse(value)
  return Predicate.isRecord(read)
    ? Object.fromEntries(Object.entries(read).filter((pair): pair is [string, number] => typeof pair[1] === "number"))
    : {}
}

const time = (nanos: bigint): Date => new Date(Number(nanos / 1_000_000n))

const list = (value: unknown): ReadonlyArray<string> => {
  const read = parse(value)
  return Array.isArray(read) ? read.map(String) : []
}

const dated = (value: unknown): Date | undefined => {
  const read = text(parse(value))
  return read === undefined ? undefined : new Date(read)
}

export const observation = (
  span: Tracer.Span,
  attributes: ReadonlyMap<string, unknown>,
  scores: ReadonlyArray<Observation.Score>
): TestObservation => ({
  id: span.spanId,
  traceId: span.traceId,
  parentObservationId: Option.getOrUndefined(span.parent)?.spanId,
  name: span.name,
  // whoever writes another type has it shown as it is, as Langfuse does
  type: (text(attributes.get(Attribute.type)) ?? "span") as Observation.ObservationType,
  level: (text(attributes.get(Attribute.level)) ?? "DEFAULT") as Observation.Level,
  statusMessage: text(attributes.get(Attribute.statusMessage)),
  startTime: time(span.status.startTime),
  endTime: span.status._tag === "Ended" ? time(span.status.endTime) : undefined,
  completionStartTime: dated(attributes.get(Attribute.completionStartTime)),
  input: parse(attributes.get(Attribute.input)),
  output: parse(attributes.get(Attribute.output)),
  metadata: below(attributes, Attribute.metadata),
  model: text(attributes.get(Attribute.model)),
  usageDetails: numbers(attributes.get(Attribute.usage)),
  costDetails: numbers(attributes.get(Attribute.cost)),
  scores: [...scores],
  trace: {
    name: text(attributes.get(Attribute.traceName)),
    sessionId: text(attributes.get(Attribute.sessionId)),
    userId: text(attributes.get(Attribute.userId)),
    tags: list(attributes.get(Attribute.traceTags)),
    metadata: below(attributes, Attribute.traceMetadata),
    environment: text(attributes.get(Attribute.environment)),
    release: text(attributes.get(Attribute.release)),
    version: text(attributes.get(Attribute.version))
  }
})

/** Roots, each with what is under it. One whose parent is not here is a root. */
export const trees = (all: ReadonlyArray<TestObservation>): ReadonlyArray<Tree> => {
  const known = new Set(all.map(({ id }) => id))
  const under = new Map<string | undefined, Array<TestObservation>>()
  for (const each of all) {
    const parent =
      each.parentObservationId !== undefined && known.has(each.parentObservationId)
        ? each.parentObservationId
        : undefined
    under.set(parent, [...(under.get(parent) ?? []), each])
  }
  const grow = (each: TestObservation): Tree => ({ ...each, children: (under.get(each.id) ?? []).map(grow) })
  return (under.get(undefined) ?? []).map(grow)
}
