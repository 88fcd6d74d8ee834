/**
 * The research program: a LangGraph graph of agents over daily prices.
 *
 * `research_swarm` gathers figures; `strategy_dev` chooses a trading rule on the first half of the days; `quality_gate` judges it on the next 20 % and
 * sends it back, at most twice; `out_of_sample` reports what passed on the last 30 %. Every node is checkpointed: a run that was killed goes on with the
 * first node that had not finished.
 *
 * @since 0.1.0
 */
import { type BaseCheckpointSaver, END, START, StateGraph } from "@langchain/langgraph"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Swarm from "../../agent/Swarm.js"
import * as Graph from "../../graph/Graph.js"
import * as ErrorInfo from "../../observability/ErrorInfo.js"
import * as Observation from "../../observability/Observation.js"
import * as Trace from "../../observability/Trace.js"
import * as Chaos from "../../resilience/Chaos.js"
import * as CircuitBreaker from "../../resilience/CircuitBreaker.js"
import * as Agents from "./Agents.js"
import type { Findings } from "./Findings.js"
import type * as Narrative from "./Narrative.js"
import * as QualityGate from "./QualityGate.js"
import type { Prepared } from "./Question.js"
import * as Recovery from "./Recovery.js"
import * as State from "./State.js"

/**
 * How often a swarm whose failures may pass is sent out again.
 *
 * @since 0.1.0
 * @category constants
 */
export const maximumReturns = 2

/** The pause before another round or call: longer than a breaker of the program's stays open, so that its probe is let through. */
const pauseBetweenRounds = Duration.times(Agents.resetAfter, 1.5)

/** Runs a node's work and adds to its update what its trace says of failures and recoveries. */
const recovering = <E, R>(
  node: string,
  round: number,
  work: Effect.Effect<State.Update, E, R>
): Effect.Effect<State.Update, E, R | Trace.Recorder> =>
  Effect.gen(function* () {
    const update = yield* work
    const span = yield* Effect.option(Effect.currentSpan)
    if (span._tag === "None") return update
    const recorder = yield* Trace.Recorder
    const seen = Recovery.fromSpans(yield* recorder.spans, { spanId: span.value.spanId, node, round })
    return { ...update, failures: seen.failures, transitions: seen.transitions }
  })

/** Calls an agent again, after a pause, when its failure may pass: as often as the swarm goes out again. */
const persistently = <A, E, R>(call: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.retry(call, {
    while: Recovery.mayPass,
    schedule: Schedule.intersect(Schedule.spaced(pauseBetweenRounds), Schedule.recurs(maximumReturns))
  })

/** An agent that the rest cannot do without: its failure ends the run, with what was found. */
const orFail = <E, R>(node: string, work: Effect.Effect<State.Update, E, R>): Effect.Effect<State.Update, E, R> =>
  Effect.catchAll(
    work,
    (error): Effect.Effect<State.Update, E> =>
      ErrorInfo.isControlFlow(error) ? Effect.fail(error) : Effect.succeed({ outcome: failed(node, error) })
  )

const failed = (node: string, error: unknown): State.Outcome => {
  const { message, tag } = Recovery.describe(error)
  return { _tag: "Failed", node, errorType: tag, message }
}

type Found = Findings & { readonly narrative?: Narrative.Prose }

const missing = (each: Swarm.FailedAgent): State.SwarmOutcome["missing"][number] => {
  const { message, tag } = Recovery.describe(each.error)
  return { agent: each.agent, required: each.required, errorType: tag, message }
}

const outcomeOf = (found: Found, rest: Omit<State.SwarmOutcome, "findings" | "narrative">): State.SwarmOutcome => {
  const { narrative, ...findings } = found
  return { ...rest, findings, narrative: narrative ?? null }
}

/** One round of the swarm. */
const research = (
  prepared: Prepared,
  options: Agents.Options
): ((state: State.State) => Effect.Effect<State.Update, never, Trace.Recorder>) => {
  const swarm = Agents.swarm(options)
  return (state) => {
    const round = state.rounds + 1
    const work = swarm.run(prepared.selection).pipe(
      Effect.map(
        (result): State.Update => ({
          rounds: round,
          swarm: outcomeOf(result.findings, {
            critical: false,
            retryable: false,
            message: null,
            missing: result.failed.map(missing),
            degradationLevel: result.degradationLevel,
            successRate: result.successRate
          })
        })
      ),
      Effect.catchTag("CriticalDegradationError", (error): Effect.Effect<State.Update> => {
        const total = Object.keys(error.findings).length + error.failed.length
        const successRate = Object.keys(error.findings).length / total
        const retryable = error.failed.some((each) => each.required && Recovery.mayPass(each.error))
        return Effect.succeed({
          rounds: round,
          // the findings of a swarm that failed are those of its agents: the same types under the same names
          swarm: outcomeOf(error.findings as Found, {
            critical: true,
            retryable,
            message: Recovery.describe(error).message,
            missing: error.failed.map(missing),
            degradationLevel:
              successRate >= swarm.thresholds.healthy ? 0 : successRate >= swarm.thresholds.degraded ? 1 : 2,
            successRate
          }),
          ...(retryable && round <= maximumReturns ? {} : { outcome: failed("research_swarm", error) })
        })
      })
    )
    return recovering(
      "research_swarm",
      round,
      round === 1 ? work : Effect.zipRight(Effect.sleep(pauseBetweenRounds), work)
    )
  }
}

const develop = (prepared: Prepared) => (state: State.State) =>
  recovering(
    "strategy_dev",
    state.verdicts.length + 1,
    orFail(
      "strategy_dev",
      Effect.map(
        persistently(
          Agents.strategyDev.invoke({
            series: prepared.selection.series,
            excluded: state.verdicts.map(({ rule }) => rule)
          })
        ),
        (fit): State.Update =>
          fit._tag === "Chosen"
            ? { fit }
            : { fit, outcome: { _tag: "NothingPassed", reason: QualityGate.nothingPassed(state.verdicts).reason } }
      )
    )
  )

const judge = (prepared: Prepared) => (state: State.State) =>
  recovering(
    "quality_gate",
    state.verdicts.length + 1,
    orFail(
      "quality_gate",
      state.fit?._tag !== "Chosen"
        ? Effect.succeed<State.Update>({})
        : Effect.map(
            persistently(Agents.qualityGate.invoke({ series: prepared.selection.series, rule: state.fit.rule })),
            (verdict): State.Update => {
              const next = QualityGate.next([...state.verdicts, verdict])
              return next._tag === "NothingPassed"
                ? { verdicts: [verdict], outcome: { _tag: "NothingPassed", reason: next.reason } }
                : { verdicts: [verdict] }
            }
          )
    )
  )

const report = (prepared: Prepared) => (state: State.State) =>
  recovering(
    "out_of_sample",
    1,
    orFail(
      "out_of_sample",
      state.fit?._tag !== "Chosen"
        ? Effect.succeed<State.Update>({})
        : Effect.map(
            persistently(Agents.outOfSample.invoke({ series: prepared.selection.series, rule: state.fit.rule })),
            (figures): State.Update => ({ outcome: { _tag: "Reported", report: figures } })
          )
    )
  )

/** After the swarm: on to the strategy, back for another round, or the end. */
const afterSwarm = (state: State.State) =>
  state.outcome !== null ? END : state.swarm?.critical === true ? "research_swarm" : "strategy_dev"

/** After the gate: report what passed, choose again without what did not, or the end. */
const afterGate = (state: State.State) =>
  state.outcome !== null ? END : state.verdicts.at(-1)?._tag === "Accepted" ? "out_of_sample" : "strategy_dev"

/**
 * The compiled graph for one request.
 *
 * @since 0.1.0
 * @category graph
 */
export const graph = (prepared: Prepared, checkpointer: BaseCheckpointSaver, options: Agents.Options) =>
  Effect.gen(function* () {
    return new StateGraph(State.Channels)
      .addNode("research_swarm", yield* Graph.node("research_swarm", research(prepared, options)))
      .addNode("strategy_dev", yield* Graph.node("strategy_dev", develop(prepared)))
      .addNode("quality_gate", yield* Graph.node("quality_gate", judge(prepared)))
      .addNode("out_of_sample", yield* Graph.node("out_of_sample", report(prepared)))
      .addEdge(START, "research_swarm")
      .addConditionalEdges("research_swarm", afterSwarm, ["research_swarm", "strategy_dev", END])
      .addConditionalEdges("strategy_dev", (state) => (state.outcome === null ? "quality_gate" : END), [
        "quality_gate",
        END
      ])
      .addConditionalEdges("quality_gate", afterGate, ["strategy_dev", "out_of_sample", END])
      .addEdge("out_of_sample", END)
      .compile({ checkpointer, name: "research" })
  })

/**
 * A run: its thread, and whether it goes on from an earlier one's checkpoint.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunOptions extends Agents.Options {
  readonly threadId: string
  readonly checkpointer: BaseCheckpointSaver
  /** Where an earlier run of the thread had come to, when this one resumes it. */
  readonly resumed?: { readonly next: ReadonlyArray<string>; readonly ageSeconds: number } | undefined
  /** What the checkpoint says of the run that wrote it: its trace and its observation. */
  readonly interrupted?: Readonly<Record<string, unknown>> | undefined
}

/**
 * Runs the program, or goes on with it. Fails only when the graph itself does, such as for a lost database; what happens to agents is in the state.
 *
 * @since 0.1.0
 * @category running
 */
export const run = (
  prepared: Prepared,
  options: RunOptions
): Effect.Effect<State.State, Graph.GraphError, Trace.Recorder> => {
  const { request } = prepared
  const { resumed, threadId } = options
  const work = Effect.gen(function* () {
    if (resumed !== undefined) {
      yield* Observation.event("resume_from_checkpoint", {
        metadata: {
          workflow_id: threadId,
          phase: resumed.next.join(", "),
          checkpoint_age_seconds: resumed.ageSeconds,
          interrupted_trace_id: options.interrupted?.["trace_id"],
          interrupted_observation_id: options.interrupted?.["observation_id"]
        }
      })
    }
    const span = yield* Effect.orDie(Effect.currentSpan)
    const compiled = yield* graph(prepared, options.checkpointer, options)
    const state = yield* Graph.run(compiled, resumed === undefined ? { request } : null, {
      threadId,
      metadata: {
        program: request.program,
        ticker: request.ticker,
        trace_id: span.traceId,
        observation_id: span.spanId
      }
    })
    yield* Observation.annotate({
      output: state.outcome,
      ...(state.outcome?._tag === "Failed"
        ? { level: "ERROR" as const, statusMessage: `${state.outcome.node}: ${state.outcome.message}` }
        : {})
    })
    return state
  })
  return work.pipe(
    Observation.span("research", { type: "chain", input: request, metadata: { workflow_id: threadId } }),
    Observation.withTrace({ name: `research ${request.ticker}`, sessionId: threadId, tags: ["research"] }),
    Effect.provide(CircuitBreaker.layerRegistry),
    request.chaos === null ? (effect) => effect : Effect.provide(Chaos.layer(request.chaos))
  )
}
