/**
 * Many agents at once, and an honest answer when some of them fail: what was found, what is missing, and how far the result is degraded.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { dual } from "effect/Function"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import type * as Stream from "effect/Stream"
import * as numbers from "../resilience/internal/numbers.js"
import type * as Timeout from "../resilience/Timeout.js"
import type * as Agent from "./Agent.js"
import type { CriticalDegradationError, Event, Gap, Result } from "./internal/degradation.js"
import * as stages from "./internal/stages.js"

export {
  AgentStoppedError,
  type Completed,
  CriticalDegradationError,
  type DegradationLevel,
  type Event,
  type FailedAgent,
  type Found,
  type Gap,
  type Reason,
  type Result
} from "./internal/degradation.js"

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
  /** The run fails when more than this share of the required agents, by weight, fails. Default 0.3. */
  readonly critical?: number | undefined
  /** From this share of successes on, nothing counts as degraded. Default 0.8. */
  readonly healthy?: number | undefined
  /** From this share of successes on, the level is 1, below it 2. Default 0.5. */
  readonly degraded?: number | undefined
}

type Agents = Readonly<Record<string, Agent.Agent.Any>>
type FoundBy<M extends Agents> = { readonly [K in keyof M]: Agent.Agent.Output<M[K]> }
type Input<M extends Agents> = { [K in keyof M]: (input: Agent.Agent.Input<M[K]>) => void }[keyof M] extends (
  input: infer I
) => void
  ? I
  : never

/** How much an agent's success or failure counts, by its name in the swarm. */
type Weights<Names extends PropertyKey> = { readonly [K in Names]?: number | undefined }

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
  /**
   * The bound of the whole, all stages. Who has given nothing by then is interrupted and missing, with an `AgentTimeoutError`; the thresholds
   * decide what that means. Default none.
   */
  readonly deadline?: Duration.DurationInput | undefined
  /** How much each agent counts in rates and thresholds: a finite number above 0. Default 1. */
  readonly weights?: Weights<keyof NoInfer<Required> | keyof NoInfer<Optional>> | undefined
  /** Whether all agents are interrupted as soon as too many required ones have failed for the run to succeed. Default true. */
  readonly earlyStop?: boolean | undefined
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
  /** How much it counts; 1 unless something else was said. */
  readonly weight: number
  readonly agent: Agent.Agent.Any
}

/**
 * How a swarm goes about it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Plan {
  readonly name: string
  readonly members: ReadonlyArray<Member>
  readonly thresholds: { readonly critical: number; readonly healthy: number; readonly degraded: number }
  readonly concurrency: number | "unbounded"
  /** The bound of the whole in milliseconds. */
  readonly deadlineMillis: number | undefined
  readonly earlyStop: boolean
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Swarm<in In, out Findings, out E, out R> extends Plan, Pipeable {
  readonly run: (input: In) => Effect.Effect<Result<Findings, E>, CriticalDegradationError, R>
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
 * @throws `RangeError` when no agent is required, a name stands twice, a threshold is not between 0 and 1, the concurrency is no whole number
 * from 1, the deadline is negative or NaN, or a weight is not a finite number above 0.
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Agent, Swarm } from "holdfast"
 *
 * const length = Agent.make("length", (text: string) => Effect.succeed(text.length))
 * const upper = Agent.make("upper", (text: string) => Effect.succeed(text.toUpperCase()))
 *
 * const swarm = Swarm.make("reading", { required: { length }, optional: { upper }, deadline: "1 minute" })
 *
 * const program = Effect.gen(function* () {
 *   const { degradationLevel, failed, findings } = yield* swarm.run("hello")
 *   return { letters: findings.length, missing: failed.map(({ agent }) => agent), degradationLevel }
 * })
 * ```
 */
export const make = <
  Required extends Agents,
  Optional extends Agents = Readonly<Record<never, never>>,
  Deadline extends Duration.DurationInput | undefined = undefined
>(
  name: string,
  options: Options<Required, Optional> & { readonly deadline?: Deadline }
): Swarm<
  Input<Required> & ([keyof Optional] extends [never] ? unknown : Input<Optional>),
  FoundBy<Required> & FoundBy<Optional>,
  | Agent.Agent.Error<Required[keyof Required] | Optional[keyof Optional]>
  | ([Deadline] extends [undefined] ? never : Timeout.AgentTimeoutError),
  Agent.Agent.Services<Required[keyof Required] | Optional[keyof Optional]>
> => {
  const weights: Weights<string> = options.weights ?? {}
  const members = (agents: Agents, required: boolean): ReadonlyArray<Member> =>
    Object.entries(agents).map(([key, agent]) => ({ name: key, required, stage: 1, weight: 1, agent }))
  return fromPlan({
    name,
    members: reweigh(name, [...members(options.required, true), ...members(options.optional ?? {}, false)], weights),
    thresholds: {
      critical: share(name, "critical", options.critical, 0.3),
      healthy: share(name, "healthy", options.healthy, 0.8),
      degraded: share(name, "degraded", options.degraded, 0.5)
    },
    concurrency:
      options.concurrency === undefined || options.concurrency === Infinity
        ? "unbounded"
        : numbers.count(`swarm "${name}": concurrency`, options.concurrency),
    deadlineMillis:
      options.deadline === undefined ? undefined : numbers.millis(`swarm "${name}": deadline`, options.deadline),
    earlyStop: options.earlyStop ?? true
  })
}

const reweigh = (swarm: string, members: ReadonlyArray<Member>, weights: Weights<string>): ReadonlyArray<Member> => {
  for (const [name, weight] of Object.entries(weights)) {
    if (!members.some((member) => member.name === name))
      throw new RangeError(`swarm "${swarm}": there is no agent named "${name}" to give a weight`)
    if (weight !== undefined && !(weight > 0 && weight < Infinity))
      throw new RangeError(`swarm "${swarm}": the weight of "${name}" must be a finite number above 0, got ${weight}`)
  }
  return members.map((member) => ({ ...member, weight: weights[member.name] ?? member.weight }))
}

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
    const added = Object.entries(agents).map(
      ([key, agent]): Member => ({ name: key, required: false, stage, weight: 1, agent })
    )
    return fromPlan({ ...self, members: [...self.members, ...added] })
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
  Findings & FoundBy<Then>,
  E | Agent.Agent.Error<Then[keyof Then]>,
  R | Agent.Agent.Services<Then[keyof Then]>
>

const fromPlan = <In, Findings, E, R>(plan: Plan): Swarm<In, Findings, E, R> => {
  const { members, name } = plan
  if (name === "") throw new RangeError("Swarm: the name must not be empty")
  if (!members.some((member) => member.required))
    throw new RangeError(`swarm "${name}": at least one agent must be required`)
  const names = members.map((member) => member.name)
  const twice = names.find((each, index) => names.indexOf(each) !== index)
  if (twice !== undefined) throw new RangeError(`swarm "${name}": there are two agents named "${twice}"`)
  return {
    ...plan,
    // `make` and `followedBy` state what the members are together; here they are of any type
    run: (input) =>
      stages.run(plan, input, () => Effect.void) as Effect.Effect<Result<Findings, E>, CriticalDegradationError, R>,
    pipe() {
      // biome-ignore lint/complexity/noArguments: what `pipeArguments` takes
      return pipeArguments(this, arguments)
    }
  }
}

/**
 * Says how much agents count, those of later stages too. Others keep their weight.
 *
 * @since 0.1.0
 * @category combinators
 * @throws `RangeError` when there is no agent of that name, or a weight is not a finite number above 0.
 */
export const weighted: {
  <Weighed extends Readonly<Record<string, number>>>(
    weights: Weighed
  ): <In, Findings extends { readonly [K in keyof Weighed]: unknown }, E, R>(
    self: Swarm<In, Findings, E, R>
  ) => Swarm<In, Findings, E, R>
  <In, Findings, E, R>(self: Swarm<In, Findings, E, R>, weights: Weights<keyof Findings>): Swarm<In, Findings, E, R>
} = dual(
  2,
  <In, Findings, E, R>(self: Swarm<In, Findings, E, R>, weights: Weights<string>): Swarm<In, Findings, E, R> =>
    fromPlan({ ...self, members: reweigh(self.name, self.members, weights) })
)

/**
 * What is missing, and why: of a result, or of a run that was given up.
 *
 * @since 0.1.0
 * @category getters
 */
export const gaps: {
  <Findings, E>(self: Result<Findings, E>): ReadonlyArray<Gap<E>>
  (self: CriticalDegradationError): ReadonlyArray<Gap>
} = (self: Result<unknown> | CriticalDegradationError): ReadonlyArray<Gap> =>
  self.failed.map((each) => ({ _tag: "Gap", ...each, reason: each.reason ?? "failed", weight: each.weight ?? 1 }))

/**
 * Every agent of a result by its name: what it found, or the gap that it leaves.
 *
 * @since 0.1.0
 * @category getters
 * @example
 * ```ts
 * import { Effect, Either } from "effect"
 * import { Agent, Swarm } from "holdfast"
 *
 * const length = Agent.make("length", (text: string) => Effect.succeed(text.length))
 *
 * const program = Swarm.make("reading", { required: { length } }).run("hello").pipe(
 *   Effect.map((result) =>
 *     Either.match(Swarm.outcomes(result).length, {
 *       onLeft: (gap) => `${gap.agent} is missing: ${gap.error.message}`,
 *       onRight: (letters) => `${letters} letters`
 *     })
 *   )
 * )
 * ```
 */
export const outcomes = <Findings, E>(
  result: Result<Findings, E>
): { readonly [K in keyof Findings]: Either.Either<Findings[K], Gap<E>> } =>
  Object.fromEntries<Either.Either<unknown, Gap<E>>>([
    ...Object.entries(result.findings).map(([name, value]) => [name, Either.right(value)] as const),
    ...result.failed.map((gap) => [gap.agent, Either.left(gap)] as const)
    // an agent either found something or is missing: together they are all the names of `Findings`
  ]) as { readonly [K in keyof Findings]: Either.Either<Findings[K], Gap<E>> }

/**
 * Runs a swarm and tells of each agent as it ends. Fails as `run` does, after all that could be told. The agents do not wait for whoever reads;
 * who stops reading interrupts them.
 *
 * @since 0.1.0
 * @category streaming
 * @example
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { Agent, Swarm } from "holdfast"
 *
 * const length = Agent.make("length", (text: string) => Effect.succeed(text.length))
 * const swarm = Swarm.make("reading", { required: { length } })
 *
 * const program = Swarm.stream(swarm, "hello").pipe(
 *   Stream.runForEach((event) => (event._tag === "Found" ? Effect.log(`${event.agent}: ${event.value}`) : Effect.void))
 * )
 * ```
 */
export const stream: {
  <In>(
    input: In
  ): <Findings, E, R>(self: Swarm<In, Findings, E, R>) => Stream.Stream<Event<Findings, E>, CriticalDegradationError, R>
  <In, Findings, E, R>(
    self: Swarm<In, Findings, E, R>,
    input: In
  ): Stream.Stream<Event<Findings, E>, CriticalDegradationError, R>
} = dual(
  2,
  <In, Findings, E, R>(
    self: Swarm<In, Findings, E, R>,
    input: In
  ): Stream.Stream<Event<Findings, E>, CriticalDegradationError, R> =>
    // as in `run`: the members' types are known to the swarm's
    stages.stream(self, input) as Stream.Stream<Event<Findings, E>, CriticalDegradationError, R>
)
