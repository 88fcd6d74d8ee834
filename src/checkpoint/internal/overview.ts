/**
 * Stored threads and their checkpoints, as a person looks at them: without the state.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import { CheckpointError, CheckpointNotFoundError } from "../CheckpointError.js"
import type { HistoryEntry, Thread } from "../Checkpointer.js"
import type { Serializer } from "../Serializer.js"
import * as fields from "./fields.js"
import * as graph from "./graph.js"
import type { OverviewRow } from "./statements.js"
import * as store from "./store.js"

/** A value that was stored as JSON; of another form, or encrypted, nothing is said. */
const read = (json: Serializer, base64: unknown): unknown => {
  if (typeof base64 !== "string") return undefined
  try {
    return json.fromJsonb(Buffer.from(base64, "base64").toString("utf8"))
  } catch {
    return undefined
  }
}

const rows = (text: string | null): ReadonlyArray<Readonly<Record<string, unknown>>> => {
  const list: unknown = text === null ? [] : JSON.parse(text)
  return Array.isArray(list) ? list.filter(Predicate.isRecord) : []
}

/** A node that was stopped, because another failed or the run was, has not failed itself. */
const isAbort = (value: unknown): boolean => Predicate.hasProperty(value, "name") && value.name === "AbortError"

const describe = (json: Serializer, row: OverviewRow) => {
  const checkpoint = json.fromJsonb(row.checkpoint)
  const decoded = fields.decode(json, row.metadata)
  const metadata = Predicate.isRecord(decoded) ? decoded : {}
  const next = graph.next(
    checkpoint,
    rows(row.channels).map(({ channel, empty, value }) => ({
      name: String(channel),
      empty: empty === true,
      value: read(json, value)
    }))
  )
  const signals = rows(row.signals)
    .map((signal) => ({ channel: String(signal["channel"]), value: read(json, signal["value"]) }))
    .filter((signal) => !isAbort(signal.value))
  const values = (channel: string) =>
    signals.filter((signal) => signal.channel === channel).map((signal) => signal.value)
  return {
    checkpointId: row.checkpoint_id,
    time: new Date(Predicate.hasProperty(checkpoint, "ts") ? String(checkpoint.ts) : Number.NaN),
    step: typeof metadata["step"] === "number" ? metadata["step"] : 0,
    source: typeof metadata["source"] === "string" ? metadata["source"] : "loop",
    metadata,
    next,
    status: graph.status(
      next,
      signals.map((signal) => signal.channel)
    ),
    phase: typeof metadata["phase"] === "string" ? metadata["phase"] : undefined,
    interrupts: values("__interrupt__").map((value) => (Predicate.hasProperty(value, "value") ? value.value : value)),
    errors: values("__error__").map((value) =>
      Predicate.hasProperty(value, "message") ? String(value.message) : String(value)
    )
  }
}

const readable = <A>(operation: string, threadId: string | undefined, evaluate: () => A) =>
  Effect.try({
    try: evaluate,
    catch: (cause) =>
      new CheckpointError({
        reason: "Undecodable",
        operation,
        ...(threadId === undefined ? {} : { threadId }),
        message: `What is stored cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`,
        cause
      })
  })

export const threads = (
  rows: store.Store,
  json: Serializer,
  limit: number
): Effect.Effect<ReadonlyArray<Thread>, CheckpointError> =>
  Effect.flatMap(rows.newest(limit), (found) =>
    readable("threads", undefined, () =>
      found.map(
        (row): Thread => ({
          id: row.thread_id,
          kind: row.checkpoint_ns === store.workflowNamespace ? "workflow" : "graph",
          checkpoints: row.total,
          ...describe(json, row)
        })
      )
    )
  )

export const history = (
  rows: store.Store,
  json: Serializer,
  threadId: string,
  limit: number
): Effect.Effect<ReadonlyArray<HistoryEntry>, CheckpointError | CheckpointNotFoundError> =>
  Effect.gen(function* () {
    const select = (namespace: string) => rows.overview("history", { threadId, namespace, limit: limit + 1 })
    let found = yield* select("")
    if (found.length === 0) found = yield* select(store.workflowNamespace)
    if (found.length === 0) return yield* new CheckpointNotFoundError({ workflowId: threadId })
    return yield* readable("history", threadId, () => {
      const entries = new Map(found.map((row) => [row.checkpoint_id, { row, ...describe(json, row) }]))
      return [...entries.values()].slice(0, limit).map(({ row, status: _, ...entry }): HistoryEntry => {
        const parent = row.parent_checkpoint_id === null ? undefined : entries.get(row.parent_checkpoint_id)
        return {
          ...entry,
          parentId: row.parent_checkpoint_id ?? undefined,
          nodes: entry.source === "loop" ? (parent?.next ?? []) : []
        }
      })
    })
  })
