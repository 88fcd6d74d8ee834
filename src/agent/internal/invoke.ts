/** How the operators are put around an agent's run, and what is observed of it. */
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Tracer from "effect/Tracer"
import * as ErrorInfo from "../../observability/ErrorInfo.js"
import * as observed from "../../observability/internal/observed.js"
import * as Observation from "../../observability/Observation.js"
import * as Chaos from "../../resilience/Chaos.js"
import * as CircuitBreaker from "../../resilience/CircuitBreaker.js"
import * as Failure from "../../resilience/Failure.js"
import * as Fallback from "../../resilience/Fallback.js"
import { attempts } from "../../resilience/internal/attempts.js"
import * as numbers from "../../resilience/internal/numbers.js"
import type { Mark } from "../../resilience/internal/rewind.js"
import * as RetryPolicy from "../../resilience/RetryPolicy.js"
import * as Timeout from "../../resilience/Timeout.js"
import type { Policy } from "../Agent.js"
import * as admission from "./admission.js"
import * as breakers from "./breakers.js"
import * as policies from "./policies.js"

/** The chain mixes agents of different types; `Agent.make` and `Agent.orElse` give the whole its true type. */
type Run = (input: unknown) => Effect.Effect<unknown, unknown, unknown>

/** What an agent does, without a policy. */
export interface Task {
  readonly id: string
  /** Checks the input, before any operator: what is wrong with it no further try puts right. */
  readonly prepare: Run | undefined
  readonly answer: Run
  /** Makes of the answer what the agent gives. Faults are put before it: a malformed answer must not get past. */
  readonly decode: Run | undefined
}

/** One agent of a fallback chain. */
export interface Link extends Task {
  /** Answers and decodes. */
  readonly run: Run
  readonly policy: Policy
  readonly settings: Settings
}

export type Chain = readonly [Link, ...ReadonlyArray<Link>]

/** A policy with its defaults, worked out once. */
export interface Settings {
  readonly retry: RetryPolicy.RetryPolicy
  readonly timeoutMillis: number | undefined
  readonly deadlineMillis: number | undefined
  readonly breaker: CircuitBreaker.Options | undefined
  /** Bounds one attempt by the timeout. */
  readonly bound:
    | ((body: Effect.Effect<unknown, unknown, unknown>) => Effect.Effect<unknown, unknown, unknown>)
    | undefined
  readonly admission: admission.Admission | undefined
  /** In words that a trace can hold. */
  readonly metadata: Readonly<Record<string, unknown>>
}

const optionalMillis = (what: string, input: Duration.DurationInput | false | undefined): number | undefined =>
  input === undefined || input === false ? undefined : numbers.millis(what, input)

const seconds = (millis: number | undefined): number | undefined => (millis === undefined ? undefined : millis / 1000)

/**
 * Finds a mistake in a policy where it is written and not at the first call.
 *
 * @throws `RangeError`
 */
export const settingsOf = (id: string, policy: Policy): Settings => {
  const retry =
    policy.retry === false
      ? RetryPolicy.none
      : RetryPolicy.isRetryPolicy(policy.retry)
        ? policy.retry
        : RetryPolicy.make(policy.retry)
  const breaker =
    policy.circuitBreaker === false
      ? undefined
      : { ...policy.circuitBreaker, classify: policy.circuitBreaker?.classify ?? policy.classify }
  if (breaker !== undefined) CircuitBreaker.make(id, breaker)
  const timeoutMillis = optionalMillis(`Agent "${id}": timeout`, policy.timeout ?? "30 seconds")
  const deadlineMillis = optionalMillis(`Agent "${id}": deadline`, policy.deadline)
  const admitting = admission.of(id, policy)
  return {
    retry,
    timeoutMillis,
    deadlineMillis,
    breaker,
    bound: timeoutMillis === undefined ? undefined : Timeout.attempt({ duration: timeoutMillis, agent: id }),
    admission: admitting,
    metadata: {
      max_attempts: Number.isFinite(retry.maxAttempts) ? retry.maxAttempts : undefined,
      timeout_seconds: seconds(timeoutMillis),
      deadline_seconds: seconds(deadlineMillis),
      circuit_breaker: breaker !== undefined,
      ...admitting?.metadata
    }
  }
}

/** @throws `RangeError` when a number of the policy makes no sense. */
export const makeLink = ({ answer, decode, id, prepare }: Task, policy: Policy): Link => ({
  id,
  prepare,
  answer,
  decode,
  run: decode === undefined ? answer : (input) => Effect.flatMap(answer(input), decode),
  policy,
  settings: settingsOf(id, policy)
})

/** An override that says nothing of the breaker's name and key means the one that is there. */
const overriding = (policy: Policy, override: Policy): Policy => {
  const { key, name } = policy.circuitBreaker || {}
  return override.circuitBreaker
    ? { ...policy, ...override, circuitBreaker: { name, key, ...override.circuitBreaker } }
    : { ...policy, ...override }
}

const overridden = new WeakMap<Policy, WeakMap<Link, Link>>()

/** A link as the policies in force have it; worked out once for each of them. */
export const inForce = (link: Link, current: policies.Service): Link => {
  const override = current.of(link.id)
  if (override === undefined) return link
  const known = overridden.get(override) ?? new WeakMap<Link, Link>()
  overridden.set(override, known)
  const existing = known.get(link)
  if (existing !== undefined) return existing
  const made = makeLink(link, overriding(link.policy, override))
  // the very options, by which it is known that nobody wants the breaker changed
  const same = override.circuitBreaker === undefined && override.classify === undefined
  const changed = same ? { ...made, settings: { ...made.settings, breaker: link.settings.breaker } } : made
  known.set(link, changed)
  return changed
}

/** Whether an exit is an answer, a failure, or neither: an interruption or a signal to LangGraph says nothing of the agent. */
const verdict = (exit: Exit.Exit<unknown, unknown>): boolean | undefined =>
  exit._tag === "Success" ? true : Failure.isReal(Failure.fromCause(exit.cause, anyFailure)) ? false : undefined

/** Of no interest here is why something failed; control flow is known without asking. */
const anyFailure = (): Failure.Failure => ({ kind: "permanent", reason: "failed" })

/** What the tries of one link have been. */
class History {
  tried = 0
  readonly records: Array<RetryPolicy.AttemptRecord> = []

  /** A try that the deadline cut off could not report itself. */
  close(exit: Exit.Exit<unknown, unknown>): void {
    if (exit._tag === "Success" || this.records.length >= this.tried) return
    const failure = Cause.failureOption(exit.cause)
    if (failure._tag === "None" || !(failure.value instanceof Timeout.AgentTimeoutError)) return
    const { message, tag } = ErrorInfo.make(failure.value)
    this.records.push({ attempt: this.tried, errorType: tag, message })
  }

  metadata(succeeded: boolean | undefined): Readonly<Record<string, unknown>> {
    return {
      attempts_needed: this.tried,
      retry_succeeded: succeeded,
      retry_history: this.records.map((record) => ({
        attempt: record.attempt,
        error_type: record.errorType,
        message: record.message,
        ...(record.delayMillis === undefined ? {} : { delay_seconds: record.delayMillis / 1000 })
      }))
    }
  }
}

/** A first try that was made already: how it failed, and the observations in which it was made, if anybody saw it. */
export interface FirstTry {
  readonly cause: Cause.Cause<unknown>
  readonly spans:
    | { readonly agent: Tracer.Span; readonly retry: Tracer.Span; readonly attempt: Tracer.Span }
    | undefined
  /** Where it began. */
  readonly mark: Mark | undefined
}

/** What the observation of an agent says from its beginning, but for its input. */
export const agentMetadata = (chain: Chain, settings: Settings): Observation.Options => ({
  type: "agent",
  metadata: {
    agent_id: chain[0].id,
    fallbacks: chain.length > 1 ? chain.slice(1).map((link) => link.id) : undefined,
    ...settings.metadata
  }
})

/** What the observation of one agent of the chain says from its beginning. */
export const retryMetadata = (id: string, index: number, settings: Settings): Observation.Options => ({
  type: "chain",
  metadata: {
    agent_id: id,
    agent_index: index,
    agent_type: index === 0 ? "primary" : `fallback_${index}`,
    ...settings.metadata
  }
})

/** One agent of the chain: input, deadline, bulkhead, rate limit, retry, hedge, breaker, timeout, chaos, run. */
const invokeLink = (
  original: Link,
  index: number,
  input: unknown,
  current: policies.Service,
  first?: FirstTry
): Effect.Effect<unknown, unknown, unknown> =>
  Effect.flatMap(CircuitBreaker.Registry, (registry) => {
    const link = inForce(original, current)
    const { id, policy, settings } = link
    const perCall = policy.countAs === "call"
    const history = new History()
    const breakerOf = ({ breaker }: Settings) =>
      breaker === undefined ? undefined : breakers.find(registry, id, original.settings.breaker, breaker)
    const guard = <A, E, R>(effect: Effect.Effect<A, E, R>, found: breakers.Found | undefined) =>
      found?.breaker.protect(effect) ?? effect
    const changed = <A, E, R>(effect: Effect.Effect<A, E, R>, found: breakers.Found | undefined) =>
      found?.change === undefined ? effect : Effect.zipRight(found.change, effect)

    const hardened = (value: unknown): Effect.Effect<unknown, unknown, unknown> => {
      const { answer, decode } = link
      const faulty = Chaos.inject(
        Effect.suspend(() => answer(value)),
        id
      )
      const decoded = decode === undefined ? faulty : Effect.flatMap(faulty, decode)
      const attemptUnder = (now: Settings): Effect.Effect<unknown, unknown, unknown> => {
        const bounded = now.bound === undefined ? decoded : now.bound(decoded)
        const found = breakerOf(now)
        const attempt = Effect.zipRight(
          describeAttempt(found?.breaker, now.timeoutMillis),
          perCall ? bounded : guard(bounded, found)
        )
        return changed(admission.hedged(now.admission, attempt), found)
      }
      const once = attemptUnder(settings)
      const retried = attempts(
        (number) => {
          history.tried = number
          if (number === 1 && first !== undefined) return Effect.failCause(first.cause)
          return current.refresh === undefined
            ? once
            : Effect.flatMap(current.refresh, () => attemptUnder(inForce(original, current).settings))
        },
        settings.retry,
        { classify: policy.classify, onFailure: (record) => Effect.sync(() => history.records.push(record)) },
        first?.spans?.attempt,
        first?.mark
      )
      const whole = perCall ? breakerOf(settings) : undefined
      const called = admission.admitted(settings.admission, changed(guard(retried, whole), whole))
      return settings.deadlineMillis === undefined
        ? called
        : Timeout.deadline(called, { duration: settings.deadlineMillis, agent: id })
    }

    const whole = link.prepare === undefined ? hardened(input) : Effect.flatMap(link.prepare(input), hardened)
    return Chaos.repeatable(whole, id).pipe(
      Effect.onExit((exit) => {
        const succeeded = verdict(exit)
        history.close(exit)
        return Effect.zipRight(
          Observation.annotate(() => ({ metadata: history.metadata(succeeded) })),
          succeeded === undefined ? Effect.void : Observation.score({ name: "retry_attempts", value: history.tried })
        )
      }),
      (observable) =>
        observed.span(observable, "retry_execution", () => retryMetadata(id, index, settings), first?.spans?.retry)
    )
  })

/** The circuit as this attempt meets it: one whose break is over lets it through as a probe. */
const describeAttempt = (
  breaker: CircuitBreaker.CircuitBreaker | undefined,
  timeoutMillis: number | undefined
): Effect.Effect<void> => {
  const timeout_seconds = seconds(timeoutMillis)
  return breaker === undefined
    ? Observation.annotate({ metadata: { timeout_seconds } })
    : Effect.flatMap(breaker.snapshot, ({ failureCount, retryAfterMillis, state }) =>
        Observation.annotate({
          metadata: {
            circuit_state: state === "open" && retryAfterMillis === 0 ? "half-open" : state,
            failure_count: failureCount,
            timeout_seconds
          }
        })
      )
}

/** What the agent's own observation says when it has ended. */
const summary = (
  chain: Chain,
  exit: Exit.Exit<unknown, unknown>,
  failed: ReadonlyArray<Fallback.FailedWay>
): Effect.Effect<void> => {
  const succeeded = verdict(exit)
  const level = Math.min(failed.length, chain.length - 1)
  const metadata = {
    success: succeeded,
    error_type: succeeded === false && exit._tag === "Failure" ? ErrorInfo.fromCause(exit.cause).tag : undefined,
    ...(failed.length === 0
      ? {}
      : {
          fallback_history: failed.map(({ agent, error }) => {
            const { message, tag } = ErrorInfo.make(error)
            return { agent, error_type: tag, message }
          }),
          fallback_succeeded: succeeded,
          fallback_level: level
        })
  }
  const annotated = Observation.annotate({
    ...(exit._tag === "Success" ? { output: exit.value } : {}),
    ...(exit._tag === "Success" && failed.length > 0
      ? {
          level: "WARNING" as const,
          statusMessage: `answered by ${chain[failed.length]?.id} after ${failed.map(({ agent }) => agent).join(", ")} failed`
        }
      : {}),
    metadata
  })
  return chain.length === 1 || succeeded === undefined
    ? annotated
    : Effect.zipRight(annotated, Observation.score({ name: "fallback_level", value: level }))
}

/** The whole of an agent: its chain, as one observation. */
export const invokeChain = (chain: Chain, input: unknown, first?: FirstTry): Effect.Effect<unknown, unknown, unknown> =>
  policies.withCurrent((current) => {
    const [primary] = chain
    let failed: ReadonlyArray<Fallback.FailedWay> = []
    const work =
      chain.length === 1
        ? invokeLink(primary, 0, input, current, first)
        : Fallback.chain(
            primary.id,
            chain.map((link, index) => ({
              name: link.id,
              effect: invokeLink(link, index, input, current, index === 0 ? first : undefined)
            })),
            (all) =>
              Effect.sync(() => {
                failed = all
              })
          )
    return work.pipe(
      Effect.onExit((exit) => summary(chain, exit, failed)),
      (observable) =>
        observed.span(
          observable,
          `agent_${primary.id}`,
          () => ({ ...agentMetadata(chain, inForce(primary, current).settings), input }),
          first?.spans?.agent
        )
    )
  })
