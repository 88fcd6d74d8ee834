/**
 * The phases of workflows over the store.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as observed from "../../observability/internal/observed.js"
import * as Observation from "../../observability/Observation.js"
import { CheckpointError, CheckpointNotFoundError, StaleCheckpointError } from "../CheckpointError.js"
import type { Entry, LoadOptions, Saved, SaveOptions, Service } from "../CheckpointManager.js"
import * as Codec from "./codec.js"
import * as store from "./store.js"
import * as uuid6 from "./uuid6.js"

const codec = Codec.make()
const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8", { fatal: true })

/** For a save that may follow any other. */
const anything = Symbol()

/** The one channel of a workflow's checkpoint. */
const channel = "state"

const said = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))

const refuse =
  (reason: CheckpointError["reason"], operation: string, workflowId: string, what: string) => (cause: unknown) =>
    new CheckpointError({
      reason,
      operation,
      threadId: workflowId,
      message: `The ${operation} of "${workflowId}" failed: ${what}: ${said(cause)}`,
      cause
    })

/** Ids become columns: they must be there, and fit one. */
const checkIds = (
  operation: string,
  ids: Readonly<Record<string, string | undefined>>
): Effect.Effect<void, CheckpointError> => {
  for (const [name, id] of Object.entries(ids)) {
    if (id === undefined || (id !== "" && Codec.isStorable(id))) continue
    const what = id === "" ? "is empty" : `${JSON.stringify(id)} holds a character that Postgres cannot store`
    return Effect.fail(
      new CheckpointError({ reason: "Invalid", operation, message: `The ${operation} failed: the ${name} ${what}` })
    )
  }
  return Effect.void
}

/** What the metadata, JSON out of the table, says of a save. */
const entry = (workflowId: string, checkpointId: string, checkpoint: string, metadata: string): Entry => {
  const stored = codec.decode(metadata)
  const fields = Predicate.isRecord(stored) ? stored : {}
  const body = codec.decode(checkpoint)
  return {
    workflowId,
    checkpointId,
    phase: String(fields["phase"]),
    version: typeof fields["version"] === "string" ? fields["version"] : undefined,
    step: Number(fields["step"]),
    time: new Date(Predicate.hasProperty(body, "ts") ? String(body.ts) : Number.NaN)
  }
}

/** The run that saves, by the observation under which it does; nothing where none is seen. */
const runOf: Effect.Effect<Readonly<Record<string, string>>> = Effect.withFiberRuntime((fiber) => {
  const save = fiber.currentSpan
  if (save?._tag !== "Span" || !observed.isTraced(fiber)) return Effect.succeed({})
  const { spanId, traceId } = Option.getOrElse(save.parent, () => save)
  return Effect.succeed({ trace_id: traceId, observation_id: spanId })
})

/** The run that saved it, as metadata of the one that goes on. */
const interruptedOf = (metadata: unknown): Readonly<Record<string, unknown>> => ({
  interrupted_trace_id: Predicate.hasProperty(metadata, "trace_id") ? metadata.trace_id : undefined,
  interrupted_observation_id: Predicate.hasProperty(metadata, "observation_id") ? metadata.observation_id : undefined
})

export const make = (rows: store.Store): Service => {
  const newest = Effect.fnUntraced(function* (operation: string, workflowId: string) {
    const selection = { threadId: workflowId, namespace: store.workflowNamespace, limit: 1 }
    const [row] = yield* rows.overview(operation, selection)
    return row === undefined ? undefined : entry(workflowId, row.checkpoint_id, row.checkpoint, row.metadata)
  })

  const append = Effect.fnUntraced(function* <A, I, R>(
    options: SaveOptions<A, I, R>,
    after: { readonly checkpointId: string } | undefined | typeof anything
  ) {
    const { workflowId, phase, version } = options
    const encoded = yield* Effect.mapError(
      Schema.encode(options.schema)(options.state),
      refuse("Unserializable", "save", workflowId, `the state of the phase "${phase}" does not fit its schema`)
    )
    const bytes = yield* Effect.try({
      try: () => encoder.encode(codec.encode(encoded)),
      catch: refuse("Unserializable", "save", workflowId, `the state of the phase "${phase}" cannot be stored`)
    })
    yield* checkIds("save", { "workflow id": workflowId, phase, version })
    while (true) {
      const previous = yield* newest("save", workflowId)
      if (after !== anything && after?.checkpointId !== previous?.checkpointId) {
        return yield* new StaleCheckpointError({
          workflowId,
          phase,
          expected: after?.checkpointId,
          found: previous?.checkpointId,
          foundPhase: previous?.phase,
          foundTime: previous?.time
        })
      }
      const now = yield* Clock.currentTimeMillis
      const saver = yield* runOf
      const time = new Date(now)
      const checkpointId = uuid6.make(now, previous?.checkpointId)
      const step = previous === undefined ? 0 : previous.step + 1
      // the state's version is its step: of two writers who count on from the same save, the database takes one
      const stored = yield* rows.append({
        threadId: workflowId,
        namespace: store.workflowNamespace,
        checkpointId,
        parentId: previous?.checkpointId,
        checkpoint: codec.encode({
          v: 4,
          id: checkpointId,
          ts: time.toISOString(),
          channel_versions: { [channel]: step },
          versions_seen: {}
        }),
        metadata: codec.encode({
          source: "update",
          step,
          parents: {},
          phase,
          ...(version === undefined ? {} : { version }),
          ...saver
        }),
        blob: { channel, version: String(step), type: "json", bytes }
      })
      if (stored) return { workflowId, phase, version, checkpointId, step, time }
    }
  })

  const find = Effect.fnUntraced(function* <A, I, R>(
    operation: string,
    { workflowId, phase, schema }: LoadOptions<A, I, R>
  ) {
    yield* checkIds(operation, { "workflow id": workflowId, phase })
    const [row] = yield* rows.load(operation, {
      threadId: workflowId,
      namespace: store.workflowNamespace,
      metadata: phase === undefined ? undefined : codec.encode({ phase }),
      limit: 1
    })
    if (row === undefined) return Option.none<Saved<A>>()
    const found = entry(workflowId, row.checkpointId, row.checkpoint, row.metadata)
    const bytes = row.values.find((value) => value.channel === channel)?.bytes
    const stored = yield* Effect.try({
      try: () => codec.decode(decoder.decode(bytes)),
      catch: refuse("Undecodable", operation, workflowId, `what is stored for the phase "${found.phase}" is damaged`)
    })
    const state = yield* Effect.mapError(
      Schema.decodeUnknown(schema)(stored),
      refuse(
        "Undecodable",
        operation,
        workflowId,
        `what is stored for the phase "${found.phase}" does not fit the schema`
      )
    )
    const ageSeconds = ((yield* Clock.currentTimeMillis) - found.time.getTime()) / 1000
    const interrupted = operation === "resume" ? interruptedOf(codec.decode(row.metadata)) : {}
    yield* Observation.annotate({
      metadata: { phase: found.phase, checkpoint_age_seconds: ageSeconds, ...interrupted }
    })
    return Option.some<Saved<A>>({ ...found, state, ageSeconds })
  })

  const load = <A, I, R>(operation: string, options: LoadOptions<A, I, R>) =>
    Effect.flatMap(find(operation, options), (found) => {
      const { workflowId, phase } = options
      return Option.isSome(found)
        ? Effect.succeed(found.value)
        : new CheckpointNotFoundError({ workflowId, ...(phase === undefined ? {} : { phase }) })
    })

  const seen = <A, I, R, E>(self: Effect.Effect<Entry, E, R>, options: SaveOptions<A, I, R>) =>
    Observation.span(self, "save_checkpoint", {
      metadata: {
        workflow_id: options.workflowId,
        phase: options.phase,
        version: options.version,
        checkpoint_age_seconds: 0
      }
    })

  return {
    save: (options) =>
      seen(
        // what follows anything is never stale
        Effect.catchTag(append(options, anything), "StaleCheckpointError", Effect.die),
        options
      ),
    saveAfter: (last, options) => seen(append(options, last), options),
    find: (options) =>
      Observation.span(find("find", options), "load_checkpoint", {
        metadata: { workflow_id: options.workflowId, phase: options.phase }
      }),
    load: (options) =>
      Observation.span(load("load", options), "load_checkpoint", {
        metadata: { workflow_id: options.workflowId, phase: options.phase }
      }),
    resume: (workflowId, schema) =>
      Observation.span(load("resume", { workflowId, schema }), "resume_from_checkpoint", {
        metadata: { workflow_id: workflowId }
      }),
    history: Effect.fnUntraced(function* (workflowId, options) {
      yield* checkIds("history", { "workflow id": workflowId })
      const found = yield* rows.overview("history", {
        threadId: workflowId,
        namespace: store.workflowNamespace,
        limit: options?.limit ?? 1000
      })
      if (found.length === 0) return yield* new CheckpointNotFoundError({ workflowId })
      return found.map((row) => entry(workflowId, row.checkpoint_id, row.checkpoint, row.metadata))
    })
  }
}
