/**
 * What can go wrong with the run of a graph.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as ErrorInfo from "../observability/ErrorInfo.js"

/**
 * - `node`: a node threw
 * - `recursion`: the run took more super-steps than it may
 * - `checkpoint`: the checkpointer failed, or another run has the thread
 * - `graph`: the graph or its input is wrong, as LangGraph says
 * - `aborted`: somebody else's signal ended the run
 * - `drained`: the run was asked to stop after a step, and its checkpoint stands
 *
 * @since 0.1.0
 * @category models
 */
export type Reason = "node" | "recursion" | "checkpoint" | "graph" | "aborted" | "drained"

const checkpointTags: ReadonlySet<unknown> = new Set(["CheckpointError", "CheckpointNotFoundError", "ThreadBusyError"])

const reasons: Readonly<Record<string, Reason>> = {
  GraphRecursionError: "recursion",
  GraphDrained: "drained",
  AbortError: "aborted"
}

const reasonOf = (error: unknown): Reason => {
  if (!Predicate.isObject(error)) return "node"
  if ("_tag" in error && checkpointTags.has(error._tag)) return "checkpoint"
  const name = "name" in error && typeof error.name === "string" ? error.name : ""
  const known = Object.hasOwn(reasons, name) ? reasons[name] : undefined
  if (known !== undefined) return known
  if ("lc_error_code" in error || /^(Empty|Invalid|Multiple|Unreachable|Graph)\w*Error$/.test(name)) return "graph"
  return error instanceof Error && error.message === "Abort" ? "aborted" : "node"
}

/**
 * A run of a graph that did not end well: a node threw, the graph is wrong, or its checkpointer failed. What was thrown is its `cause` too, so that
 * `Failure.classify` sorts the run by it.
 *
 * @since 0.1.0
 * @category errors
 */
export class GraphError extends Schema.TaggedError<GraphError>("holdfast/GraphError")("GraphError", {
  threadId: Schema.String,
  /** What was thrown, as it was thrown. */
  error: Schema.Unknown,
  /** The node that threw it, where that is known: of protected nodes and those made of effects. */
  node: Schema.optional(Schema.String)
}) {
  override get message(): string {
    const at = this.node === undefined ? "" : ` in the node "${this.node}"`
    return `the run of thread "${this.threadId}" failed${at}: ${ErrorInfo.line(ErrorInfo.make(this.error))}`
  }
  override get cause(): unknown {
    return this.error
  }
  /** What kind of thing went wrong. */
  get reason(): Reason {
    return reasonOf(this.error)
  }
}

/**
 * An answer was given to a thread that has not asked anything, or to a question that is not open.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotWaitingError extends Schema.TaggedError<NotWaitingError>("holdfast/NotWaitingError")(
  "NotWaitingError",
  {
    threadId: Schema.String,
    /** The ids that were answered and are not open; empty when the thread waits for nothing. */
    unknown: Schema.Array(Schema.String),
    /** The ids of the questions that are open. */
    open: Schema.Array(Schema.String)
  }
) {
  override get message(): string {
    return this.open.length === 0
      ? `the thread "${this.threadId}" waits for no answer: go on with Graph.run(graph, null, { threadId }), or look at Graph.state`
      : `the thread "${this.threadId}" has no open question ${this.unknown.map((id) => `"${id}"`).join(", ")}; open: ${this.open.join(", ")}`
  }
}

/**
 * A node has failed, the edge after it has no way on, and so the run ends.
 *
 * @since 0.1.0
 * @category errors
 */
export class NodeFailedError extends Schema.TaggedError<NodeFailedError>("holdfast/NodeFailedError")(
  "NodeFailedError",
  {
    node: Schema.String,
    /** How often in a row it has failed. */
    times: Schema.Int,
    /** Its last failures, `Graph.NodeFailure`s: several when it ran several times in one step. */
    failures: Schema.Array(Schema.Unknown)
  }
) {
  override get message(): string {
    const [last] = this.failures
    const why = Predicate.hasProperty(last, "message") ? `: ${String(last.message)}` : ""
    return `the node "${this.node}" has failed ${this.times === 1 ? "once" : `${this.times} times`} and its edge has no way on${why}`
  }
}
