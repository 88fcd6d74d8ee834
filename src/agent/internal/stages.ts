/** Runs a swarm, stage by stage, each failure kept with its agent. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as Take from "effect/Take"
import * as Observation from "../../observability/Observation.js"
import * as Failure from "../../resilience/Failure.js"
import * as numbers from "../../resilience/internal/numbers.js"
import * as Timeout from "../../resilience/Timeout.js"
import type { Member, Plan } from "../Swarm.js"
import * as degradation from "./degradation.js"

/** Hears of each agent as it ends. */
type Tell = (outcome: degradation.Outcome) => Effect.Effect<void>

/** Of no interest here is why something failed; control flow is known without asking. */
const anyFailure = (): Failure.Failure => ({ kind: "permanent", reason: "failed" })

const isSignal = (cause: Cause.Cause<unknown>): boolean => Failure.fromCause(cause, anyFailure).kind === "control-flow"

const found = ({ name, required, weight }: Member, value: unknown): degradation.Found => ({
  _tag: "Found",
  agent: name,
  required,
  weight,
  value
})

const gap = ({ name, required, weight }: Member, reason: degradation.Reason, error: unknown): degradation.Gap => ({
  _tag: "Gap",
  agent: name,
  required,
  weight,
  reason,
  error
})

/** Whether the swarm's own deadline has passed; a timer may fire a fraction of a millisecond early. */
const isLate = (plan: Plan): Effect.Effect<boolean> =>
  plan.deadlineMillis === undefined
    ? Effect.succeed(false)
    : Effect.map(Timeout.remainingMillis, (remaining) => remaining < 1)

const outcomeOf = (
  plan: Plan,
  member: Member,
  exit: Exit.Exit<unknown, unknown>
): Effect.Effect<degradation.Outcome> =>
  exit._tag === "Success"
    ? Effect.succeed(found(member, exit.value))
    : Effect.map(isLate(plan), (late) =>
        gap(member, late ? "late" : "failed", Cause.originalError(Cause.squash(exit.cause)))
      )

/** What the swarm did not wait for. */
const abandoned = (plan: Plan, member: Member): Effect.Effect<degradation.Gap> =>
  Effect.map(isLate(plan), (late) =>
    late
      ? gap(
          member,
          "late",
          new Timeout.AgentTimeoutError({
            agent: member.name,
            kind: "deadline",
            timeoutMillis: Math.round(plan.deadlineMillis ?? 0)
          })
        )
      : gap(member, "stopped", new degradation.AgentStoppedError({ agent: member.name, swarm: plan.name }))
  )

/**
 * Runs one stage. A signal of LangGraph's ends the whole; every other failure stays with its agent. So does an interruption that is seen
 * here: it came from inside the agent, since one of the swarm's own leaves nobody to look.
 */
const runStage = (
  plan: Plan,
  members: ReadonlyArray<Member>,
  input: unknown,
  isHopeless: (outcomes: Iterable<degradation.Outcome>) => boolean,
  tell: Tell
): Effect.Effect<ReadonlyArray<degradation.Outcome>, unknown, unknown> =>
  Effect.suspend(() => {
    const outcomes = new Map<Member, degradation.Outcome>()
    let hopeless = false

    const settle = (member: Member, outcome: degradation.Outcome): Effect.Effect<void, "hopeless"> => {
      outcomes.set(member, outcome)
      hopeless ||= outcome._tag === "Gap" && outcome.required && isHopeless(outcomes.values())
      // failing is how one agent ends those beside it
      return Effect.zipRight(tell(outcome), hopeless ? Effect.fail("hopeless" as const) : Effect.void)
    }

    const one = (member: Member): Effect.Effect<void, unknown, unknown> => {
      const invoked = Effect.suspend(() => member.agent.invoke(input))
      const bounded =
        plan.deadlineMillis === undefined
          ? invoked
          : Timeout.deadline(invoked, { duration: Number.POSITIVE_INFINITY, agent: member.name })
      return Effect.flatMap(
        Effect.exit<unknown, unknown, unknown>(bounded),
        (exit): Effect.Effect<void, unknown> =>
          exit._tag === "Failure" && isSignal(exit.cause)
            ? Effect.failCause(exit.cause)
            : Effect.flatMap(outcomeOf(plan, member, exit), (outcome) => settle(member, outcome))
      )
    }

    const settled = Effect.forEach(members, (member) =>
      Effect.suspend(() => {
        const outcome = outcomes.get(member)
        if (outcome !== undefined) return Effect.succeed(outcome)
        return Effect.tap(abandoned(plan, member), tell)
      })
    )
    return Effect.forEach(members, one, { concurrency: plan.concurrency, discard: true }).pipe(
      Effect.catchAllCause((cause) => (hopeless && !isSignal(cause) ? Effect.void : Effect.failCause(cause))),
      Effect.zipRight(settled)
    )
  })

/** The degradation, on the swarm's observation. */
const observe = (result: degradation.Result<unknown>, completed: boolean): Effect.Effect<void> => {
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

/** What is inside inherits the deadline: every agent, of every stage. An earlier one of the caller's ends the whole swarm: then it has none. */
const within = <A, E, R>(plan: Plan, work: (plan: Plan) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
  const { deadlineMillis } = plan
  return deadlineMillis === undefined
    ? work(plan)
    : Effect.flatMap(Effect.zip(Effect.clock, FiberRef.get(Timeout.CurrentDeadline)), ([clock, outer]) => {
        const until = numbers.monotonic(clock) + deadlineMillis
        return until < outer
          ? Effect.locally(work(plan), Timeout.CurrentDeadline, until)
          : work({ ...plan, deadlineMillis: undefined })
      })
}

const runStages = (
  plan: Plan,
  input: unknown,
  tell: Tell
): Effect.Effect<degradation.Result<Record<string, unknown>>, unknown, unknown> => {
  const required = plan.members.filter((member) => member.required)
  const last = Math.max(...plan.members.map((member) => member.stage))
  const share = (outcomes: Iterable<degradation.Outcome>) => degradation.lostShare(required, outcomes)
  const isHopeless = (outcomes: Iterable<degradation.Outcome>) =>
    plan.earlyStop && degradation.isCritical(share(outcomes), plan.thresholds)

  return Effect.gen(function* () {
    const outcomes: Array<degradation.Outcome> = []
    for (let stage = 1; stage <= last; stage++) {
      const members = plan.members.filter((member) => member.stage === stage)
      const given = stage === 1 ? input : { input, findings: degradation.findingsOf(outcomes) }
      outcomes.push(...(yield* runStage(plan, members, given, isHopeless, tell)))
      if (stage === 1 && degradation.isCritical(share(outcomes), plan.thresholds)) {
        const later = plan.members.filter((member) => member.stage > stage)
        outcomes.push(...(yield* Effect.forEach(later, (member) => Effect.tap(abandoned(plan, member), tell))))
        const result = degradation.resultOf(outcomes, plan.thresholds)
        yield* observe(result, false)
        return yield* degradation.errorOf(plan.name, share(outcomes), plan.thresholds.critical, result)
      }
    }
    const result = degradation.resultOf(outcomes, plan.thresholds)
    yield* observe(result, true)
    return result
  })
}

/** Runs all of it, and tells of each agent as it ends. */
export const run = (
  plan: Plan,
  input: unknown,
  tell: Tell
): Effect.Effect<degradation.Result<Record<string, unknown>>, unknown, unknown> =>
  Observation.span(
    within(plan, (bounded) => runStages(bounded, input, tell)),
    plan.name,
    { type: "chain" }
  )

type Event = degradation.Outcome | { readonly _tag: "Completed"; readonly result: unknown }

/** The same as events. The queue holds no more than there are agents. */
export const stream = (plan: Plan, input: unknown): Stream.Stream<Event, unknown, unknown> =>
  Stream.unwrapScoped(
    Effect.gen(function* () {
      const events = yield* Queue.unbounded<Take.Take<Event, unknown>>()
      const offer = (take: Take.Take<Event, unknown>) => Effect.asVoid(Queue.offer(events, take))
      yield* run(plan, input, (outcome) => offer(Take.of(outcome))).pipe(
        Effect.matchCauseEffect({
          onFailure: (cause) => offer(Take.failCause(cause)),
          onSuccess: (result) => Effect.zipRight(offer(Take.of({ _tag: "Completed", result })), offer(Take.end))
        }),
        Effect.forkScoped
      )
      return Stream.flattenTake(Stream.fromQueue(events))
    })
  )
