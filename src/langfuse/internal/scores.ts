import { randomUUID } from "node:crypto"
import * as Predicate from "effect/Predicate"
import type * as Tracer from "effect/Tracer"
import type * as Privacy from "../../observability/internal/privacy.js"
import * as Observation from "../../observability/Observation.js"
import * as Redaction from "../../observability/Redaction.js"
import type { Item, Waiting } from "./item.js"
import type { Outcome } from "./outcome.js"
import type { TraceAttributes } from "./span.js"

/** What Langfuse calls the kinds of a score. */
const valueOf = (value: Observation.Score["value"], clean: (text: string) => string) =>
  typeof value === "boolean"
    ? { value: value ? 1 : 0, dataType: "BOOLEAN" }
    : typeof value === "number"
      ? { value, dataType: "NUMERIC" }
      : { value: clean(value), dataType: "CATEGORICAL" }

/** What is scored: a session has no trace; without one it is the trace after all. */
const targetOf = (
  on: Observation.Score["on"],
  { spanId, traceId }: Pick<Tracer.Span, "traceId" | "spanId">,
  sessionId: unknown,
  clean: (text: string) => string
): Readonly<Record<string, string>> => {
  if (on === "session" && typeof sessionId === "string") return { sessionId: clean(sessionId) }
  return on === undefined || on === "observation" ? { traceId, observationId: spanId } : { traceId }
}

/**
 * A score as an event of the ingestion endpoint. Its ids are made here and stay, so that one that is sent twice is one.
 *
 * @internal
 */
export const encode = (
  score: Observation.Score,
  span: Pick<Tracer.Span, "traceId" | "spanId">,
  trace: TraceAttributes,
  { environment, privacy }: { readonly environment: string | undefined; readonly privacy: Privacy.Privacy | undefined }
): Waiting => {
  const clean = (text: string): string => Redaction.text(privacy === undefined ? text : privacy.text(text))
  const named = trace[Observation.Attribute.environment] ?? environment
  const json = JSON.stringify({
    id: randomUUID(),
    type: "score-create",
    timestamp: new Date().toISOString(),
    body: {
      id: score.id ?? randomUUID(),
      ...targetOf(score.on, span, trace[Observation.Attribute.sessionId], clean),
      name: clean(score.name),
      ...valueOf(score.value, clean),
      ...(score.configId === undefined ? {} : { configId: score.configId }),
      ...(score.comment === undefined ? {} : { comment: clean(score.comment) }),
      ...(score.metadata === undefined ? {} : { metadata: JSON.parse(clean(Redaction.json(score.metadata))) }),
      ...(named === undefined ? {} : { environment: named })
    }
  })
  return { group: "{}", json, size: json.length }
}

/** @internal */
export const requestBody = (items: ReadonlyArray<Item>): string =>
  `{"batch":[${items.map((item) => item.json).join(",")}]}`

const idOf = (event: unknown): string =>
  Predicate.hasProperty(event, "id") && typeof event.id === "string" ? event.id : ""

/** @internal */
export const describe = (item: Item): { readonly id: string; readonly name: string } => {
  const event: unknown = JSON.parse(item.json)
  const body = Predicate.hasProperty(event, "body") ? event.body : undefined
  const name = Predicate.hasProperty(body, "name") ? String(body.name) : ""
  return { id: idOf(event), name }
}

/**
 * What the endpoint, which answers 207 whatever it thinks of single events, says of each.
 *
 * @internal
 */
export const outcome = (items: ReadonlyArray<Item>, body: unknown): Outcome => {
  if (!Predicate.hasProperty(body, "errors") || !Array.isArray(body.errors) || body.errors.length === 0) {
    return { _tag: "Taken" }
  }
  const errors = new Map(body.errors.map((error: unknown) => [idOf(error), error]))
  const refused = new Map<number, string>()
  const later = new Set<number>()
  let reason = ""
  for (const [index, item] of items.entries()) {
    const error = errors.get(describe(item).id)
    if (error === undefined) continue
    const status = Predicate.hasProperty(error, "status") ? Number(error.status) : 400
    reason = `HTTP ${status} ${Redaction.json(error).slice(0, 200)}`
    if (status === 408 || status === 429 || status >= 500 || status === 401 || status === 403) later.add(index)
    else refused.set(index, reason)
  }
  return { _tag: "Partly", refused, later, reason }
}
