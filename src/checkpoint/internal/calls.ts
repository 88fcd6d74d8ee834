/**
 * What every call of LangGraph's begins with: its config read and checked, and whether anybody sees it.
 *
 * @internal
 */
import type { RunnableConfig } from "@langchain/core/runnables"
import { EXCLUDED_METADATA_KEYS, WRITES_IDX_MAP } from "@langchain/langgraph-checkpoint"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Tracer from "effect/Tracer"
import * as Observation from "../../observability/Observation.js"
import * as SpanCarrier from "../../observability/SpanCarrier.js"
import { CheckpointError, isCheckpointError } from "../CheckpointError.js"
import * as Codec from "./codec.js"

/** A field of `configurable`, which holds anything. */
export const field = (config: RunnableConfig | undefined, name: string): unknown => config?.configurable?.[name]

/** The place of what LangGraph says of a task; a channel of the program's may have any name. */
export const special = (channel: string): number | undefined =>
  Object.hasOwn(WRITES_IDX_MAP, channel) ? WRITES_IDX_MAP[channel] : undefined

/** The fields of metadata that LangGraph or LangChain put there for themselves, which are no part of what a run says of itself. */
export const isInternal = (key: string): boolean =>
  EXCLUDED_METADATA_KEYS.has(key) || key === "run_id" || /^(?:__|lc_|ls_|langgraph_)/.test(key)

/** What fails before the database is asked has written nothing; one that reads says nothing of it. */
const unwritten = (operation: string) =>
  operation === "getTuple" || operation === "list" ? {} : { written: "no" as const }

const invalid = (operation: string, message: string) =>
  new CheckpointError({ reason: "Invalid", operation, message, ...unwritten(operation) })

/** What is checked and serialized before anything waits: no more of Effect than the one that follows, and what is thrown as its failure. */
export const checked = <A, E>(evaluate: () => Effect.Effect<A, E>): Effect.Effect<A, E | CheckpointError> =>
  Effect.suspend((): Effect.Effect<A, E | CheckpointError> => {
    try {
      return evaluate()
    } catch (error) {
      if (isCheckpointError(error)) return Effect.fail(error)
      throw error
    }
  })

/** An id as it is stored, or `undefined` when there is none. */
export const id = (operation: string, name: string, value: unknown): string | undefined => {
  if (value === undefined || value === null) return undefined
  if (typeof value !== "string" && typeof value !== "number") {
    throw invalid(operation, `${name} is a ${typeof value}; give a string`)
  }
  const text = String(value)
  if (Codec.isStorable(text)) return text
  throw invalid(operation, `${name} ${JSON.stringify(text)} holds a character that Postgres cannot store`)
}

export const required = (operation: string, name: string, value: unknown): string => {
  const text = id(operation, name, value)
  if (text !== undefined && text !== "") return text
  throw invalid(operation, `${operation} needs a ${name}: set configurable.${name} in the graph's config`)
}

/** A channel and its value, none for an empty one. */
export type Value = readonly [channel: string, value: readonly [] | readonly [unknown]]

/** Whether somebody sees what is observed in a call. */
export const isTraced = (config: RunnableConfig): boolean =>
  Option.isSome(SpanCarrier.fromConfigurable(config.configurable))

/** An observation where somebody sees it; without one it would cost as much as all else. */
export const observed = <A, E, R>(
  config: RunnableConfig,
  effect: Effect.Effect<A, E, R>,
  name: string,
  metadata: Readonly<Record<string, unknown>>
) =>
  isTraced(config)
    ? Observation.span(effect, name, { metadata })
    : (effect as Effect.Effect<A, E, Exclude<R, Tracer.ParentSpan>>) // no span is asked for where none is made

/** A failure to serialize or to read back, with thread and place. */
export const within = (operation: string, threadId: string, place: string) => (cause: unknown) =>
  new CheckpointError({
    reason: isCheckpointError(cause)
      ? cause.reason
      : operation === "getTuple" || operation === "list"
        ? "Undecodable"
        : "Unserializable",
    operation,
    threadId,
    ...unwritten(operation),
    message: `The ${operation} of a checkpoint of "${threadId}" failed at ${place}: ${cause instanceof Error ? cause.message : String(cause)}`,
    cause
  })
