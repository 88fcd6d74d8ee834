/**
 * The JSON documents of a checkpoint, its metadata and what else it says, under the encryption: the fields that must not be read go together
 * into one, encrypted; what the database and LangGraph go by stays.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import { CheckpointError } from "../CheckpointError.js"
import type { Encryption } from "../Encryption.js"
import * as form from "./form.js"
import { blobPlace, failure, seal, unseal, writePlace } from "./seal.js"
import { type OverviewRow, workflowNamespace } from "./statements.js"
import type * as store from "./store.js"

/** The field that holds the others: the key's id, a colon, base64. */
const sealed = "holdfast:sealed"

/** Whether a document has been closed. */
export const isClosed = (text: string): boolean => text.includes(`"${sealed}"`)

/** Which fields are hidden. */
export type Hides = (field: string) => boolean

/** What a checkpoint says beside its values that is no state. */
const structure = new Set(["v", "id", "ts", "channel_versions", "versions_seen"])

export const inCheckpoint: Hides = (field) => !structure.has(field)

/** LangGraph's own metadata, which tells how checkpoints hang together. */
const own = new Set(["source", "step", "parents", "counters_since_delta_snapshot"])

/** By which a workflow's saves are found. */
const ofWorkflow = new Set(["phase", "version"])

/** The fields of the metadata that are hidden, by namespace. */
export const hides = (encryption: Encryption | undefined): ((namespace: string | undefined) => Hides) => {
  if (encryption === undefined) return () => () => false
  const { metadata } = encryption
  const asked: Hides = typeof metadata === "boolean" ? () => metadata : (field) => metadata.includes(field)
  return (namespace) => (field) =>
    !own.has(field) &&
    !(namespace === workflowNamespace && ofWorkflow.has(field)) &&
    // the results of nodes, as LangGraph kept them before its format 4
    (field === "writes" || asked(field))
}

type Fields = Readonly<Record<string, unknown>>

const fieldsOf = (text: string): Fields => {
  const document: unknown = JSON.parse(text)
  return Predicate.isRecord(document) ? document : {}
}

const json = { type: "json", snapshot: false, base: undefined, compressed: false } as const

/** Hides some fields. Throws `CheckpointError` for a document that has a field of the name that the hidden ones go under. */
export const close = (
  encryption: Encryption | undefined,
  place: readonly [kind: string, threadId: string, namespace: string, checkpointId: string],
  text: string,
  hidden: Hides
): string => {
  const taken = isClosed(text) && Object.hasOwn(fieldsOf(text), sealed)
  if (taken) {
    throw new CheckpointError({
      reason: "Invalid",
      operation: "put",
      threadId: place[1],
      message: `The put of a checkpoint of "${place[1]}" failed: its ${place[0]} has a field "${sealed}", which is kept for what is encrypted: give it another name`
    })
  }
  if (encryption === undefined) return text
  const entries = Object.entries(fieldsOf(text))
  const inside = entries.filter(([field]) => hidden(field))
  if (inside.length === 0) return text
  const { bytes } = seal(encryption, place, json, Buffer.from(JSON.stringify(Object.fromEntries(inside))))
  return JSON.stringify({
    ...Object.fromEntries(entries.filter(([field]) => !hidden(field))),
    [sealed]: `${encryption.current}:${Buffer.from(bytes ?? []).toString("base64")}`
  })
}

/** The document as it was. Throws `KeyError`. */
export const open = (encryption: Encryption | undefined, place: ReadonlyArray<string>, text: string): string => {
  if (!isClosed(text)) return text
  const { [sealed]: closed, ...rest } = fieldsOf(text)
  if (typeof closed !== "string") return text
  const at = closed.indexOf(":")
  const shape = { ...json, key: closed.slice(0, at), raw: false }
  const inside = unseal(encryption, place, shape, Buffer.from(closed.slice(at + 1), "base64"))
  return JSON.stringify({ ...rest, ...fieldsOf(Buffer.from(inside).toString("utf8")) })
}

/** The document for the same place in another thread. Throws `KeyError`. */
export const move = (
  encryption: Encryption | undefined,
  place: readonly [kind: string, threadId: string, namespace: string, checkpointId: string],
  to: string,
  text: string
): string => {
  if (!isClosed(text)) return text
  const { [sealed]: closed, ...rest } = fieldsOf(text)
  const inside = fieldsOf(open(encryption, place, JSON.stringify({ [sealed]: closed })))
  const [kind, , namespace, id] = place
  return close(encryption, [kind, to, namespace, id], JSON.stringify({ ...rest, ...inside }), (field) =>
    Object.hasOwn(inside, field)
  )
}

/** As PostgreSQL's `@>` between two JSON values. */
const contains = (value: unknown, wanted: unknown): boolean => {
  if (Array.isArray(wanted))
    return Array.isArray(value) && wanted.every((each) => value.some((item) => contains(item, each)))
  if (!Predicate.isRecord(wanted)) return value === wanted
  if (!Predicate.isRecord(value) || Array.isArray(value)) return false
  return Object.entries(wanted).every(([field, each]) => Object.hasOwn(value, field) && contains(value[field], each))
}

/** What of a filter the database can answer, and what is left to ask of each checkpoint. */
export const filter = (
  metadata: string | undefined,
  hidden: Hides
): { readonly stored: string | undefined; readonly matches: ((metadata: string) => boolean) | undefined } => {
  if (metadata === undefined) return { stored: undefined, matches: undefined }
  const entries = Object.entries(fieldsOf(metadata))
  const inside = entries.filter(([field]) => hidden(field))
  if (inside.length === 0) return { stored: metadata, matches: undefined }
  const outside = entries.filter(([field]) => !hidden(field))
  const wanted = Object.fromEntries(inside)
  return {
    stored: outside.length === 0 ? undefined : JSON.stringify(Object.fromEntries(outside)),
    matches: (text) => contains(fieldsOf(text), wanted)
  }
}

/** How many checkpoints are read at a time while those that match are looked for. */
const page = 100

/** Reads on until enough checkpoints match. */
export const search = (
  inner: store.Store,
  encryption: Encryption | undefined,
  operation: string,
  selection: store.Selection,
  matches: (metadata: string) => boolean
): Effect.Effect<ReadonlyArray<store.Loaded>, CheckpointError> =>
  Effect.gen(function* () {
    const wanted = selection.limit ?? Number.POSITIVE_INFINITY
    const out: Array<store.Loaded> = []
    let after = selection.after
    while (out.length < wanted) {
      const rows = yield* inner.load(operation, { ...selection, after, limit: page })
      for (const row of rows) {
        const place = ["metadata", row.threadId, row.namespace, row.checkpointId]
        const metadata = yield* Effect.try({
          try: () => open(encryption, place, row.metadata),
          catch: (cause) => failure(operation, row.threadId, `the metadata of "${row.checkpointId}"`, cause)
        })
        if (out.length < wanted && matches(metadata)) out.push(row)
      }
      const last = rows.at(-1)
      if (rows.length < page || last === undefined) break
      after = [last.checkpointId, last.threadId, last.namespace]
    }
    return out
  })

const list = (text: string | null): ReadonlyArray<Fields> => {
  const items: unknown = text === null ? [] : JSON.parse(text)
  return Array.isArray(items) ? items.filter(Predicate.isRecord) : []
}

const attempt = <A, B>(evaluate: () => A, otherwise: B): A | B => {
  try {
    return evaluate()
  } catch {
    return otherwise
  }
}

/** A look at a thread shows what the keys at hand open, and leaves the rest out. */
export const openOverview = (encryption: Encryption | undefined, row: OverviewRow): OverviewRow => {
  const { checkpoint_id: id, checkpoint_ns: namespace, thread_id: threadId } = row
  const parts = (text: string | null, place: (item: Fields) => ReadonlyArray<string>): string | null => {
    if (text === null || (encryption === undefined && !text.includes("+"))) return text
    return JSON.stringify(
      list(text).map((item) => {
        const { type, value } = item
        if (typeof value !== "string") return item
        const shape = form.parse(String(type ?? "json"))
        return attempt(
          () => {
            const bytes = unseal(encryption, place(item), shape, Buffer.from(value, "base64"))
            const plain = shape.compressed ? form.decompressSync(bytes) : Buffer.from(bytes)
            return { ...item, value: plain.toString("base64") }
          },
          { ...item, value: null }
        )
      })
    )
  }
  const document = (kind: string, text: string): string =>
    attempt(
      () => open(encryption, [kind, threadId, namespace, id], text),
      JSON.stringify({ ...fieldsOf(text), [sealed]: undefined })
    )
  return {
    ...row,
    checkpoint: document("checkpoint", row.checkpoint),
    metadata: document("metadata", row.metadata),
    channels: parts(row.channels, ({ channel, version }) =>
      blobPlace({ threadId, namespace, channel: String(channel), version: String(version) })
    ),
    signals: parts(row.signals, ({ channel, task }) =>
      writePlace(threadId, namespace, id, String(task), String(channel))
    )
  }
}
