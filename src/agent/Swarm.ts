/**
 * Many agents at once, and an honest answer when some of them fail: what was found, what is missing, and how far the result is degraded.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import * as Schema from "effect/Schema"
import * as ErrorInfo from "../observability/ErrorInfo.js"
import * as Observation from "../observability/Observation.js"
import * as Failure from "../resilience/Failure.js"
import * as numbers from "../resilience/internal/numbers.js"
import type * as Agent from "./Agent.js"
import * as stages from "./internal/stages.js"

/**
 * How much is missing: 0 when at least 80 % of the agents succeeded, 1 when at least 50 %, 2 when fewer.
 *
 * @since 0.1.0
 * @category models
 */
export type DegradationLevel = 0 | 1 | 2

/**
 * An agent that gave nothing.
 *
 * @since 0.1.0
 * @category models
 */
export interface FailedAgent<out E = unknown> {
  /** Its name in the swarm. */
  readonly agent: string
  readonly required: boolean
  /** Its typed error, or its defect. */
  readonly error: E
}

/**
 * Too many of the required agents failed. Carries what was found all the same.
 *
 * @since 0.1.0
 * @category errors
 */
export class CriticalDegradationError extends Schema.TaggedError<CriticalDegradationError>(
  "holdfast/CriticalDegradationError"
)("CriticalDegradationError", {
  swarm: Schema.String,
  /** The share of required agents that failed, 0 to 1. */
  failedShare: Schema.Number,
  /** The share that would have been borne. */
  threshold: Schema.Number,
  failed: Schema.Array(Schema.Struct({ agent: Schema.String, required: Schema.Boolean, error: Schema.Unknown })),
  /** What the other agents found, by name. */
  findings: Schema.Record({ key: Schema.String, value: Schema.Unknown })
}) {
  override get message(): string {
    const lost = this.failed.filter((each) => each.required)
    const each = lost.map(({ agent, error }) => `${agent}: ${ErrorInfo.line(ErrorInfo.make(error))}`)
    const percent = (share: number) => `${Math.round(share * 100)} %`
    return `${percent(this.failedShare)} of the required agents of "${this.swarm}" failed, more than the ${percent(this.threshold)} it can bear (${each.join("; ")})`
  }

  /** Worth another try when any required agent's error is. */
  get failure(): Failure.Failure {
    const retryable = this.failed.some((each) => each.required && Failure.isRetryable(Failure.classify(each.error)))
    return { kind: retryable ? "transient" : "permanent", reason: "critical degradation" }
  }
}

/**
 * What a swarm found. `findings` has a key for each agent that succeeded.
 *
 * @since 0.1.0
 * @category models
 */
export interface Result<out Findings, out E = unknown> {
  readonly findings: Partial<Findings>
  readonly failed: ReadonlyArray<FailedAgent<E>>
  readonly degradationLevel: DegradationLevel
  /** The share of all agents that succeeded, 0 to 1. */
  readonly successRate: number
}

/**
 * What an agent of the second stage is given: the swarm's input, and what the first stage found.
 *
 * @since 0.1.0
 * @category models
 */
export interface Upstream<out In, out Findings> {
  readonly input: In
  readonly findings: Partial<Findings>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Thresholds {
  /** The run fails when more than this share of the required agents fails. Default 0.3. */
  readonly critical?: number | undefined
  /** From this share of successes on, nothing counts as degraded. Default 0.8. */
  readonly healthy?: number | undefined
  /** From this share of successes on, the level is 1, below it 2. Default 0.5. */
  readonly degraded?: number | undefined
}

type Agents = Readonly<Record<string, Agent.Agent.Any>>
type Found<M extends Agents> = { readonly [K in keyof M]: Agent.Agent.Output<M[K]> }
type Input<M extends Agents> = { [K in keyof M]: (input: Agent.Agent.Input<M[K]>) => void }[keyof M] extends (
  input: infer I
) => void
  ? I
  : never

/**
 * Who takes part.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<Required extends Agents, Optional extends Agents> extends Thresholds {
  /** Without them there is no result: more than the critical share failing fails the run. At least one. */
  readonly required: Required
  /** Nice to have: a failure degrades the result and no more. */
  readonly optional?: Optional | undefined
  /** How many run at once. Default: all. */
  readonly concurrency?: number | undefined
}

/**
 * An agent with its place in a swarm.
 *
 * @since 0.1.0
 * @category models
 */
export interface Member {
  readonly name: string
  readonly required: boolean
  /** From 1; a stage begins when those before it have ended. */
  readonly stage: number
  readonly agent: Agent.Agent.Any
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Swarm<in In, out Findings, out E, out R> extends Pipeable {
  readonly name: string
  readonly run: (input: In) => Effect.Effect<Result<Findings, E>, CriticalDegradationError, R>
  readonly members: ReadonlyArray<Member>
  readonly thresholds: { readonly critical: number; readonly healthy: number; readonly degraded: number }
  readonly concurrency: number | "unbounded"
}

const share = (name: string, option: string, value: number | undefined, fallback: number): number => {
  const chosen = value ?? fallback
  if (chosen >= 0 && chosen <= 1) return chosen
  throw new RangeError(`swarm "${name}": ${option} must be between 0 and 1, got ${chosen}`)
}

/**
 * A swarm of agents that take the same input.
 *
 * @since 0.1.0
 * @category constructors
 * @throws `RangeError` when no agent is required, a name stands twice, a threshold is not between 0 and 1 or the concurrency is no whole number
 * from 1.
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Agent, Swarm } from "holdfast"
 *
 * const length = Agent.make("length", (text: string) => Effect.succeed(text.length))
 * const upper = Agent.make("upper", (text: string) => Effect.succeed(text.toUpperCase()))
 *
 * const swarm = Swarm.make("reading", { required: { length }, optional: { upper } })
 *
 * const program = Effect.gen(function* () {
 *   const { degradationLevel, failed, findings } = yield* swarm.run("hello")
 *   return { letters: findings.length, missing: failed.map(({ agent }) => agent), degradationLevel }
 * })
 * ```
 */
export const make = <Required extends Agents, Optional extends Agents = Readonly<Record<never, never>>>(
  name: string,
  options: Options<Required, Optional>
): Swarm<
  Input<Required> & ([keyof Optional] extends [never] ? unknown : Input<Optional>),
  Found<Required> & Found<Optional>,
  Agent.Agent.Error<Required[keyof Required] | Optional[keyof Optional]>,
  Agent.Agent.Services<Required[keyof Required] | Optional[keyof Optional]>
> =>
  fromMembers(
    name,
    [
      ...Object.entries(options.required).map(
        ([key, agent]): Member => ({ name: key, required: true, stage: 1, agent })
      ),
      ...Object.entries(options.optional ?? {}).map(
        ([key, agent]): Member => ({ name: key, required: false, stage: 1, agent })
      )
    ],
    {
      critical: share(name, "critical", options.critical, 0.3),
      healthy: share(name, "healthy", options.healthy, 0.8),
      degraded: share(name, "degraded", options.degraded, 0.5)
    },
    options.concurrency === undefined || options.concurrency === Infinity
      ? "unbounded"
      : numbers.count(`swarm "${name}": concurrency`, options.concurrency)
  )

/**
 * Adds optional agents that need what the others found: they run when all before them have ended, with {@link Upstream} as their input.
 *
 * @since 0.1.0
 * @category combinators
 * @throws `RangeError` when a name stands twice.
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Agent, Swarm } from "holdfast"
 *
 * const length = Agent.make("length", (text: string) => Effect.succeed(text.length))
 * const judge = Agent.make("judge", ({ findings }: Swarm.Upstream<string, { readonly length: number }>) =>
 *   Effect.succeed((findings.length ?? 0) > 3 ? "long" : "short")
 * )
 *
 * const swarm = Swarm.make("reading", { required: { length } }).pipe(Swarm.followedBy({ judge }))
 * ```
 */
export const followedBy: {
  <Then extends Agents>(
    agents: Then
  ): <In, Findings, E, R>(
    self: Swarm<In, Findings, E, R>,
    ...mismatch: Upstream<In, Findings> extends Input<Then> ? [] : [never]
  ) => Followed<In, Findings, E, R, Then>
  <
    In,
    Findings,
    E,
    R,
    Then extends Readonly<Record<string, Agent.Agent<Upstream<In, Findings>, unknown, unknown, unknown>>>
  >(
    self: Swarm<In, Findings, E, R>,
    agents: Then
  ): Followed<In, Findings, E, R, Then>
} = dual(
  2,
  <In, Findings, E, R, Then extends Agents>(
    self: Swarm<In, Findings, E, R>,
    agents: Then
  ): Followed<In, Findings, E, R, Then> => {
    const stage = Math.max(...self.members.map((member) => member.stage)) + 1
    return fromMembers(
      self.name,
      [
        ...self.members,
        ...Object.entries(agents).map(([key, agent]): Member => ({ name: key, required: false, stage, agent }))
      ],
      self.thresholds,
      self.concurrency
    )
  }
)

/**
 * A swarm with a second stage.
 *
 * @since 0.1.0
 * @category models
 */
export type Followed<In, Findings, E, R, Then extends Agents> = Swarm<
  In,
  Findings & Found<Then>,
  E | Agent.Agent.Error<Then[keyof Then]>,
  R | Agent.Agent.Services<Then[keyof Then]>
>

const fromMembers = <In, Findings, E, R>(
  name: string,
  members: ReadonlyArray<Member>,
  thresholds: Swarm<In, Findings, E, R>["thresholds"],
  concurrency: number | "unbounded"
): Swarm<In, Findings, E, R> => {
  if (name === "") throw new RangeError("Swarm: the name must not be empty")
  if (!members.some((member) => member.required))
    throw new RangeError(`swarm "${name}": at least one agent must be required`)
  const names = members.map((member) => member.name)
  const twice = names.find((each, index) => names.indexOf(each) !== index)
  if (twice !== undefined) throw new RangeError(`swarm "${name}": there are two agents named "${twice}"`)
  const swarm: Swarm<In, Findings, E, R> = {
    name,
    members,
    thresholds,
    concurrency,
    run: (input) => run(swarm, input),
    pipe() {
      // biome-ignore lint/complexity/noArguments: what `pipeArguments` takes
      return pipeArguments(this, arguments)
    }
  }
  return swarm
}

/** The degradation, on the swarm's observation. */
const observe = (result: Result<unknown>, completed: boolean): Effect.Effect<void> => {
  const missing = result.failed.map(({ agent }) => agent)
  return Effect.zipRight(
    Observation.annotate({
      ...(completed && missing.length > 0
        ? { level: "WARNING" as const, statusMessage: `without ${missing.join(", ")}` }
        : {}),
      metadata: {
        degradation_level: result.degradationLevel,
        success_rate: result.successRate,
        failed_agents: missing
      }
    }),
    Observation.score({ name: "degradation_level", value: result.degradationLevel })
  )
}

const run = <In, Findings, E, R>(
  swarm: Swarm<In, Findings, E, R>,
  input: In
): Effect.Effect<Result<Findings, E>, CriticalDegradationError, R> => {
  const last = Math.max(...swarm.members.map((member) => member.stage))
  const work = Effect.gen(function* () {
    const settled: Array<stages.Settled> = []
    for (let stage = 1; stage <= last; stage++) {
      const members = swarm.members.filter((member) => member.stage === stage)
      const given = stage === 1 ? input : { input, findings: stages.findingsOf(settled) }
      settled.push(...(yield* stages.runStage(members, given, swarm.concurrency)))
      const lost = stage === 1 ? criticalLoss(swarm, settled) : undefined
      if (lost !== undefined) {
        yield* observe(resultOf(swarm, settled), false)
        return yield* lost
      }
    }
    const result = resultOf(swarm, settled)
    yield* observe(result, true)
    return result
  })
  // `make` and `followedBy` state what the members are together; here they are of any type
  return Observation.span(work, swarm.name, { type: "chain" }) as Effect.Effect<
    Result<Findings, E>,
    CriticalDegradationError,
    R
  >
}

const criticalLoss = (
  swarm: Swarm<never, unknown, unknown, unknown>,
  settled: ReadonlyArray<stages.Settled>
): CriticalDegradationError | undefined => {
  const failed = stages.failedOf(settled)
  const required = settled.filter(({ member }) => member.required).length
  const failedShare = failed.filter((each) => each.required).length / required
  return failedShare > swarm.thresholds.critical
    ? new CriticalDegradationError({
        swarm: swarm.name,
        failedShare,
        threshold: swarm.thresholds.critical,
        failed,
        findings: stages.findingsOf(settled)
      })
    : undefined
}

const resultOf = (
  swarm: Swarm<never, unknown, unknown, unknown>,
  settled: ReadonlyArray<stages.Settled>
): Result<Record<string, unknown>> => {
  const failed = stages.failedOf(settled)
  const successRate = (settled.length - failed.length) / settled.length
  const { degraded, healthy } = swarm.thresholds
  return {
    findings: stages.findingsOf(settled),
    failed,
    successRate,
    degradationLevel: successRate >= healthy ? 0 : successRate >= degraded ? 1 : 2
  }
}
