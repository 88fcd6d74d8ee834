/**
 * What a research run knows, as its checkpoints keep it: plain data, decoded by a Schema when it is read back.
 *
 * @since 0.1.0
 */
import { Annotation } from "@langchain/langgraph"
import * as Schema from "effect/Schema"
import * as Findings from "./Findings.js"
import * as Narrative from "./Narrative.js"
import * as QualityGate from "./QualityGate.js"
import * as Recovery from "./Recovery.js"
import * as Strategy from "./Strategy.js"

/**
 * What was asked. It is all that a resumed run needs to go on as it began.
 *
 * @since 0.1.0
 * @category models
 */
export const Request = Schema.Struct({
  program: Schema.Literal("research"),
  ticker: Schema.String,
  benchmark: Schema.String,
  /** The file of prices, or null for the one that ships with the package. */
  prices: Schema.NullOr(Schema.String),
  /** Tells on resuming whether the file is still what it was. */
  sha256: Schema.String,
  /** The first and the last day, and how many. */
  from: Schema.String,
  to: Schema.String,
  days: Schema.Int,
  /** Faults that are injected, if any. */
  chaos: Schema.NullOr(Schema.Struct({ rate: Schema.Number, seed: Schema.Int }))
})

/**
 * @since 0.1.0
 * @category models
 */
export type Request = typeof Request.Type

/**
 * An agent that gave nothing.
 *
 * @since 0.1.0
 * @category models
 */
export const Missing = Schema.Struct({
  agent: Schema.String,
  required: Schema.Boolean,
  errorType: Schema.String,
  message: Schema.String
})

/**
 * What the swarm came to. `critical` says that too many required agents failed.
 *
 * @since 0.1.0
 * @category models
 */
export const SwarmOutcome = Schema.Struct({
  critical: Schema.Boolean,
  /** Whether another round may help. */
  retryable: Schema.Boolean,
  message: Schema.NullOr(Schema.String),
  findings: Findings.Findings,
  narrative: Schema.NullOr(Narrative.Prose),
  missing: Schema.Array(Missing),
  degradationLevel: Schema.Literal(0, 1, 2),
  successRate: Schema.Number
})

/**
 * @since 0.1.0
 * @category models
 */
export type SwarmOutcome = typeof SwarmOutcome.Type

/**
 * How the run ended.
 *
 * @since 0.1.0
 * @category models
 */
export const Outcome = Schema.Union(
  /** A rule passed the gate and is reported on the last days. */
  Schema.TaggedStruct("Reported", { report: Strategy.Report }),
  /** No rule passed. That is a result. */
  Schema.TaggedStruct("NothingPassed", { reason: Schema.String }),
  /** The run could not be finished. */
  Schema.TaggedStruct("Failed", { node: Schema.String, errorType: Schema.String, message: Schema.String })
)

/**
 * @since 0.1.0
 * @category models
 */
export type Outcome = typeof Outcome.Type

/**
 * @since 0.1.0
 * @category models
 */
export const State = Schema.Struct({
  request: Request,
  /** How often the swarm has run. */
  rounds: Schema.Int,
  swarm: Schema.NullOr(SwarmOutcome),
  fit: Schema.NullOr(Strategy.Fit),
  verdicts: Schema.Array(QualityGate.Verdict),
  failures: Schema.Array(Recovery.Failure),
  transitions: Schema.Array(Recovery.Transition),
  outcome: Schema.NullOr(Outcome)
})

/**
 * @since 0.1.0
 * @category models
 */
export type State = typeof State.Type

/** A channel that keeps the last value written. */
const last = <A>(initial: () => A) => Annotation<A>({ reducer: (_, next) => next, default: initial })

/** A channel that gathers. */
const all = <A>() => Annotation<ReadonlyArray<A>>({ reducer: (sofar, more) => [...sofar, ...more], default: () => [] })

/**
 * The graph's channels.
 *
 * @since 0.1.0
 * @category graph
 */
export const Channels = Annotation.Root({
  request: Annotation<Request>,
  rounds: last<number>(() => 0),
  swarm: last<SwarmOutcome | null>(() => null),
  fit: last<Strategy.Fit | null>(() => null),
  verdicts: all<QualityGate.Verdict>(),
  failures: all<Recovery.Failure>(),
  transitions: all<Recovery.Transition>(),
  outcome: last<Outcome | null>(() => null)
})

/**
 * What a node changes.
 *
 * @since 0.1.0
 * @category graph
 */
export type Update = Partial<Omit<State, "request">>
