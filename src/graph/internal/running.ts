/**
 * A run of a compiled graph: how it begins, and what must be waited for when it ends.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Observation from "../../observability/Observation.js"
import * as SpanCarrier from "../../observability/SpanCarrier.js"
import { GraphError } from "../GraphError.js"
import type { RunConfig, RunOptions } from "../models.js"
import * as guard from "./guard.js"
import { Run } from "./run.js"

/** A run that can be begun. */
export interface Beginning {
  readonly run: Run
  readonly config: RunConfig & Record<string, unknown>
  readonly controller: AbortController
  /** The error that a run fails with, whatever it rejected with: a checkpoint that was lost goes before what followed from it. */
  readonly errorOf: (error: unknown) => GraphError
}

const record = (u: unknown): Record<string, unknown> => (Predicate.isRecord(u) ? u : {})

/** What says to which session, user and tags the run's observations belong. */
const traceConfig = ({ config, metadata, threadId }: RunOptions) => ({
  configurable: { ...record(config?.["configurable"]), thread_id: threadId },
  metadata: { ...record(config?.["metadata"]), ...metadata }
})

/** @param graph Asked only for its checkpointer. */
export const begin = (graph: unknown, options: RunOptions): Effect.Effect<Beginning> =>
  Effect.map(
    Observation.withConfig(Effect.zip(SpanCarrier.capture, Effect.runtime<never>()), traceConfig(options)),
    ([carried, runtime]) => {
      const { checkpointId, config: given, durability = "sync", metadata, recursionLimit, threadId } = options
      const run = new Run(runtime)
      const controller = new AbortController()
      const configurable = record(given?.["configurable"])
      const own = Predicate.hasProperty(graph, "checkpointer") ? graph.checkpointer : undefined
      const saver = configurable["__pregel_checkpointer"] ?? own
      const onLost = (error: unknown): void => {
        run.lost = { error }
        controller.abort()
      }
      return {
        run,
        controller,
        config: {
          ...given,
          configurable: {
            ...configurable,
            thread_id: threadId,
            ...(checkpointId === undefined ? {} : { checkpoint_id: checkpointId }),
            ...carried,
            ...run.carried,
            ...(Predicate.isObject(saver) ? { __pregel_checkpointer: guard.make(saver, onLost) } : {})
          },
          signal: controller.signal,
          durability,
          ...(recursionLimit === undefined ? {} : { recursionLimit }),
          ...(metadata === undefined && given?.["metadata"] === undefined
            ? {}
            : { metadata: { ...record(given?.["metadata"]), ...metadata } })
        },
        errorOf: (thrown) => {
          const error = run.lost === undefined ? thrown : run.lost.error
          const node = Predicate.isObject(error) ? run.thrown.get(error) : undefined
          return new GraphError({ threadId, error, ...(node === undefined ? {} : { node }) })
        }
      }
    }
  )

/**
 * Runs it to its end. Interruption aborts it and waits until its nodes have ended, finalizers included; so does an end of any other kind, as nodes may be
 * left that ran beside one that failed.
 */
export const settle = <A>(
  { config, controller, errorOf, run }: Beginning,
  begin: (config: Beginning["config"]) => Promise<A>
): Effect.Effect<A, GraphError> =>
  Effect.async<A, GraphError>((resume) => {
    const ended = Promise.resolve()
      .then(() => begin(config))
      .then(
        (value) => resume(run.lost === undefined ? Effect.succeed(value) : Effect.fail(errorOf(undefined))),
        (error: unknown) => resume(Effect.fail(errorOf(error)))
      )
    return Effect.promise(() => {
      controller.abort()
      return ended
    })
  }).pipe(Effect.ensuring(run.ended))
