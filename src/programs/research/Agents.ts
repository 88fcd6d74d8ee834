/**
 * The research agents: each a figure or a judgement, with the policy that keeps it standing.
 *
 * @since 0.1.0
 */
import type { BaseCallbackHandler } from "@langchain/core/callbacks/base"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Agent from "../../agent/Agent.js"
import * as Swarm from "../../agent/Swarm.js"
import type { Findings } from "./Findings.js"
import * as Market from "./Market.js"
import * as Narrative from "./Narrative.js"
import * as NarrativeModel from "./NarrativeModel.js"
import type * as Prices from "./Prices.js"
import * as QualityGate from "./QualityGate.js"
import * as Reversion from "./Reversion.js"
import * as Risk from "./Risk.js"
import type * as Rule from "./Rule.js"
import * as Seasonality from "./Seasonality.js"
import * as Strategy from "./Strategy.js"
import * as Technical from "./Technical.js"

/**
 * How long a breaker of this program stays open: longer than any pause between two attempts, so that whether a probe is let through does not hang on
 * jitter.
 *
 * @since 0.1.0
 * @category policies
 */
export const resetAfter: Duration.Duration = Duration.millis(2500)

/**
 * The agents compute within milliseconds, so they are given little time and come back soon; the fourth attempt meets an open breaker when three
 * before it have failed.
 *
 * @since 0.1.0
 * @category policies
 */
export const policy: Agent.Policy = {
  timeout: "2 seconds",
  retry: { maxAttempts: 4, base: "200 millis", cap: "1 second" },
  circuitBreaker: { failureThreshold: 3, resetAfter, successThreshold: 1 }
}

/** A chat model takes its time. */
const modelPolicy: Agent.Policy = {
  ...policy,
  timeout: "30 seconds",
  deadline: "60 seconds",
  retry: { maxAttempts: 3, base: "500 millis", cap: "2 seconds" }
}

const compute = <Out>(id: string, figures: (selection: Prices.Selection) => Out) =>
  Agent.make(id, (selection: Prices.Selection) => Effect.sync(() => figures(selection)), policy)

/**
 * What the agents need from outside.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly model: NarrativeModel.Options
  /** LangChain callbacks for the model's calls, such as a trace's. */
  readonly callbacks: Effect.Effect<ReadonlyArray<BaseCallbackHandler>>
}

/**
 * The swarm: three agents without which there is no result, two that are nice to have, and prose about what they found.
 *
 * @since 0.1.0
 * @category agents
 */
export const swarm = ({ callbacks, model }: Options) => {
  const template = Agent.make(
    "narrative_template",
    (upstream: Swarm.Upstream<Prices.Selection, Findings>) => Effect.sync(() => Narrative.template(noteOf(upstream))),
    { retry: false, timeout: "2 seconds", circuitBreaker: false }
  )
  const narrative = Agent.make(
    "narrative",
    (upstream: Swarm.Upstream<Prices.Selection, Findings>) =>
      Effect.flatMap(Option.isSome(model.apiKey) ? callbacks : Effect.succeed([]), (handlers) =>
        NarrativeModel.write(noteOf(upstream), model, handlers)
      ),
    Option.isSome(model.apiKey) ? modelPolicy : policy
  ).pipe(Agent.orElse(template))

  return Swarm.make("swarm", {
    required: {
      technical: compute("technical", ({ series }) => Technical.figures(series)),
      risk: compute("risk", ({ series }) => Risk.figures(series)),
      market: compute("market", ({ benchmark, series }) => Market.figures(series, benchmark))
    },
    optional: {
      seasonality: compute("seasonality", ({ series }) => Seasonality.figures(series)),
      reversion: compute("reversion", ({ series }) => Reversion.figures(series))
    },
    // a round that cannot succeed still reports all that was found, and does so the same way each time: what others had done by then is a matter of timing
    earlyStop: false
  }).pipe(Swarm.followedBy({ narrative }))
}

const noteOf = ({ findings, input }: Swarm.Upstream<Prices.Selection, Findings>): Narrative.Input => ({
  ticker: input.series.ticker,
  benchmark: input.benchmark.ticker,
  asOf: input.series.dates.at(-1) ?? "",
  findings
})

/**
 * Chooses a rule on the first half of the days.
 *
 * @since 0.1.0
 * @category agents
 */
export const strategyDev = Agent.make(
  "strategy_dev",
  (input: { readonly series: Prices.Series; readonly excluded: ReadonlyArray<Rule.Rule> }) =>
    Effect.sync(() => Strategy.fit(input.series, input.excluded)),
  policy
)

/**
 * Judges the choice on the next 20 % of the days.
 *
 * @since 0.1.0
 * @category agents
 */
export const qualityGate = Agent.make(
  "quality_gate",
  (input: { readonly series: Prices.Series; readonly rule: Rule.Rule }) =>
    Effect.sync(() => QualityGate.judge(input.rule, input.series)),
  policy
)

/**
 * Reports what passed on the last 30 % of the days, which nothing before has looked at.
 *
 * @since 0.1.0
 * @category agents
 */
export const outOfSample = Agent.make(
  "out_of_sample",
  (input: { readonly series: Prices.Series; readonly rule: Rule.Rule }) =>
    Effect.sync(() => Strategy.report(input.rule, input.series)),
  policy
)
