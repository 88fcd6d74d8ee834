import { randomUUID } from "node:crypto"
import * as Predicate from "effect/Predicate"
import type * as Tracer from "effect/Tracer"
import type * as Observation from "../../observability/Observation.js"
import * as Redaction from "../../observability/Redaction.js"
import type { Item, Waiting } from "./item.js"
import type { Outcome } from "./outcome.js"

/** What Langfuse calls the kinds of a score. */
const valueOf = (score: Observation.Score) =>
  typeof score.value === "boolean"
    ? { value: score.value ? 1 : 0, dataType: "BOOLEAN" }
    : typeof score.value === "number"
      ? { value: score.value, dataType: "NUMERIC" }
      : { value: Redaction.text(score.value), dataType: "CATEGORICAL" }

/**
 * A score of a span as an event of the ingestion endpoint. Its ids are made here and stay, so that one that is sent twice is one.
 *
 * @internal
 */
export const encode = (
  score: Observation.Score,
  span: Pick<Tracer.Span, "traceId" | "spanId">,
  environment: string | undefined
): Waiting => {
  const json = JSON.stringify({
    id: randomUUID(),
    type: "score-create",
    timestamp: new Date().toISOString(),
    body: {
      id: randomUUID(),
      traceId: span.traceId,
      observationId: span.spanId,
      name: score.name,
      ...valueOf(score),
      ...(score.comment === undefined ? {} : { comment: Redaction.text(score.comment) }),
      ...(environment === undefined ? {} : { environment })
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
