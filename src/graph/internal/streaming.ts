/** A run as a stream of typed events. */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import type { NodeFailure } from "../failures.js"
import type { GraphError } from "../GraphError.js"
import type { Compiled, Interrupt, RunOptions } from "../models.js"
import * as events from "./events.js"
import * as running from "./running.js"

/**
 * Where an event comes from: the graph itself has no namespace, a graph inside a node has `["node:task"]`.
 *
 * @since 0.1.0
 * @category models
 */
export interface From {
  readonly namespace: ReadonlyArray<string>
}

/**
 * What happens in a run. The last one is `Ended` or `Waiting`; a run that fails ends the stream with its error, after the `NodeFailed` of its node.
 *
 * @since 0.1.0
 * @category models
 */
export type Event<State = unknown> =
  /** A node's task begins. */
  | (From & { readonly _tag: "NodeStarted"; readonly node: string; readonly taskId: string; readonly input: unknown })
  /** A task has ended, with what it wrote. */
  | (From & { readonly _tag: "NodeEnded"; readonly node: string; readonly taskId: string; readonly result: unknown })
  /** A task of a protected node, or of one made of effects, is tried again. */
  | (From & {
      readonly _tag: "NodeRetried"
      readonly node: string
      readonly taskId: string | undefined
      /** The number of the try that begins. */
      readonly attempt: number
      readonly failure: NodeFailure
    })
  /** A task has failed for good; its failure is in the state where the node has `failures`, and otherwise ends the run. */
  | (From & {
      readonly _tag: "NodeFailed"
      readonly node: string
      readonly taskId: string
      readonly failure: NodeFailure
    })
  /** What a node did to the state. */
  | (From & { readonly _tag: "Update"; readonly node: string; readonly update: unknown })
  /** The state after a step. */
  | (From & { readonly _tag: "Values"; readonly values: State })
  /** A piece of a model's answer; `text` is what of it is text. */
  | (From & {
      readonly _tag: "Token"
      readonly node: string | undefined
      readonly text: string
      readonly message: unknown
      readonly metadata: Readonly<Record<string, unknown>>
    })
  /** What a node wrote with the config's `writer`. */
  | (From & { readonly _tag: "Custom"; readonly value: unknown })
  /** A chunk of another of LangGraph's modes that was asked for. */
  | (From & { readonly _tag: "Other"; readonly mode: string; readonly value: unknown })
  /** The run has ended. */
  | { readonly _tag: "Ended"; readonly state: State }
  /** The run waits for answers. */
  | { readonly _tag: "Waiting"; readonly state: State; readonly interrupts: ReadonlyArray<Interrupt> }

/**
 * LangGraph's modes, in its words: `updates` gives `Update`, `values` `Values`, `messages` `Token`, `custom` `Custom`, `tasks` the events of nodes, and any
 * other `Other`.
 *
 * @since 0.1.0
 * @category models
 */
export type Mode = "updates" | "values" | "messages" | "custom" | "tasks" | "checkpoints" | "debug" | "tools"

/**
 * @since 0.1.0
 * @category models
 */
export interface StreamOptions extends RunOptions {
  /** Which events are wanted. Default: `updates`, `messages`, `custom` and `tasks`. With `messages`, chat models are asked to stream. */
  readonly modes?: ReadonlyArray<Mode> | undefined
  /** Whether graphs inside nodes tell theirs too. Default: `true`. */
  readonly subgraphs?: boolean | undefined
}

/**
 * Runs a compiled graph, and tells of it as it goes. `null` as input goes on from the thread's newest checkpoint, a `Command` answers. Whoever stops
 * reading aborts the run, and waits until its nodes have ended. LangGraph does not wait for its reader: what is not read yet is kept.
 *
 * @since 0.1.0
 * @category running
 * @example
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { Graph } from "holdfast/langgraph"
 *
 * declare const graph: Graph.Compiled<{ question: string }, { answer: string }>
 *
 * const program = Graph.stream(graph, { question: "why?" }, { threadId: "1" }).pipe(
 *   Stream.runForEach((event) =>
 *     Effect.sync(() => {
 *       if (event._tag === "Token") process.stdout.write(event.text)
 *       if (event._tag === "Waiting") console.log(event.interrupts)
 *     })
 *   )
 * )
 * ```
 */
export const stream = <Input, State>(
  graph: Compiled<Input, State>,
  input: Input | null,
  options: StreamOptions
): Stream.Stream<Event<State>, GraphError> =>
  Stream.asyncPush<Event<State>, GraphError>(
    (emit) =>
      Effect.acquireRelease(
        Effect.map(running.begin(graph, options), (beginning) => {
          const { config, controller, errorOf, run } = beginning
          const { modes = ["updates", "messages", "custom", "tasks"], subgraphs = true } = options
          const outputs: unknown = Predicate.hasProperty(graph, "outputChannels") ? graph.outputChannels : undefined
          const reader = new events.Reader<State>(new Set(modes), outputs, run, (event) => emit.single(event))
          const pump = async (): Promise<void> => {
            try {
              // the state that the run ends with is the last of its values
              const streamMode = [...new Set<string>([...modes, "values"])]
              for await (const chunk of await graph.stream(input, { ...config, streamMode, subgraphs }))
                reader.take(chunk)
              if (run.lost !== undefined) throw run.lost.error
              reader.end()
              emit.end()
            } catch (error) {
              reader.failed(error)
              emit.fail(errorOf(error))
            }
          }
          return { controller, ended: pump(), run }
        }),
        ({ controller, ended, run }) =>
          Effect.zipRight(
            Effect.promise(() => {
              controller.abort()
              return ended
            }),
            run.ended
          )
      ),
    { bufferSize: "unbounded" }
  )
