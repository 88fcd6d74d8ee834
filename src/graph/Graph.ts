/**
 * LangGraph on Effects: nodes that are agents, any graph made fault tolerant, and a compiled graph's run as an Effect.
 *
 * @since 0.1.0
 */
export {
  Failed,
  type Failures,
  failures,
  NodeFailure,
  reduce,
  route,
  type Told,
  type Ways,
  type When
} from "./failures.js"
export { GraphError, NodeFailedError, NotWaitingError, type Reason } from "./GraphError.js"
export { entrypoint, task } from "./internal/functional.js"
export { type AgentNodeOptions, node } from "./internal/nodes.js"
export {
  Answers,
  answers,
  ask,
  type ForkOptions,
  fork,
  history,
  type Outcome,
  outcome,
  resume,
  run,
  state
} from "./internal/operations.js"
export { type PromiseGraph, type PromiseServices, toPromise } from "./internal/promise.js"
export { type Builder, type ProtectAllOptions, protect, protectAll } from "./internal/protecting.js"
export { type Event, type From, type Mode, type StreamOptions, stream } from "./internal/streaming.js"
export type {
  Compiled,
  Config,
  Interrupt,
  NodeFunction,
  NodeLike,
  NodePolicy,
  RawSnapshot,
  RunConfig,
  Runnable,
  RunOptions,
  Snapshot,
  Status
} from "./models.js"
