/**
 * An agent: a function from an input to an Effect, and the policy that keeps it standing.
 *
 * The operators apply in one order, outermost first: fallback, deadline, retry, circuit breaker, attempt timeout, chaos, run. So the breaker sees
 * each attempt, the deadline bounds the retries, and every fallback has a policy of its own.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type * as ParseResult from "effect/ParseResult"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import * as Schema from "effect/Schema"
import type * as Types from "effect/Types"
import * as ErrorInfo from "../observability/ErrorInfo.js"
import * as Observation from "../observability/Observation.js"
import * as Chaos from "../resilience/Chaos.js"
import * as CircuitBreaker from "../resilience/CircuitBreaker.js"
import type * as Failure from "../resilience/Failure.js"
import * as Fallback from "../resilience/Fallback.js"
import * as RetryPolicy from "../resilience/RetryPolicy.js"
import * as Timeout from "../resilience/Timeout.js"

/**
 * @since 0.1.0
 * @category symbols
 */
export const TypeId: unique symbol = Symbol.for("holdfast/Agent")

/**
 * @since 0.1.0
 * @category symbols
 */
export type TypeId = typeof TypeId

/**
 * What hardens an agent. Everything has a default, and `false` turns a part off.
 *
 * @since 0.1.0
 * @category models
 */
export interface Policy {
  /** Default: 3 attempts, base 1 s, factor 2, cap 60 s, jitter 0.5 to 1.5, `Retry-After` honoured. */
  readonly retry?: RetryPolicy.RetryPolicy | RetryPolicy.Options | false | undefined
  /** The bound of one attempt. Default 30 seconds. */
  readonly timeout?: Duration.DurationInput | false | undefined
  /** The bound of all attempts and their pauses together. Default none. */
  readonly deadline?: Duration.DurationInput | false | undefined
  /** Default: opens after 5 failures in a row, probes after 60 s, closes after 2 successes. One breaker an agent id a process. */
  readonly circuitBreaker?: CircuitBreaker.Options | false | undefined
  /** What the breaker counts: each `attempt` (default), or a `call` with all its retries as one. */
  readonly countAs?: "attempt" | "call" | undefined
  /** Sorts this agent's errors. Default: the classifier in force. */
  readonly classify?: Failure.Classifier | undefined
}

/**
 * What can be said of an agent when it is made.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<In, Out, InEncoded = unknown, OutEncoded = unknown> extends Policy {
  /** The input is validated by it before anything runs. */
  readonly input?: Schema.Schema<In, InEncoded> | undefined
  /** What `run` returns is decoded by it; what does not decode is a failure like any other, worth one more try. */
  readonly output?: Schema.Schema<Out, OutEncoded> | undefined
}

/**
 * The errors that the operators add to an agent's own.
 *
 * @since 0.1.0
 * @category errors
 */
export type PolicyError = Timeout.AgentTimeoutError | CircuitBreaker.CircuitBreakerOpenError

/** One agent of a fallback chain. */
interface Link {
  readonly id: string
  // the chain mixes agents of different types; `make` and `orElse` give the whole its true type
  readonly run: (input: unknown) => Effect.Effect<unknown, unknown, unknown>
  readonly policy: Policy
}

/**
 * An agent is a value: nothing runs until it is invoked.
 *
 * @since 0.1.0
 * @category models
 */
export interface Agent<in In, out Out, out E = never, out R = never> extends Pipeable {
  readonly [TypeId]: {
    readonly _In: Types.Contravariant<In>
    readonly _Out: Types.Covariant<Out>
    readonly _E: Types.Covariant<E>
    readonly _R: Types.Covariant<R>
  }
  readonly id: string
  /** Its own policy; its fallbacks have theirs. */
  readonly policy: Policy
  /** The ids of its fallbacks, in order. */
  readonly fallbacks: ReadonlyArray<string>
  /** Runs it, with all that hardens it. */
  readonly invoke: (input: In) => Effect.Effect<Out, E, R>
}

/**
 * @since 0.1.0
 * @category models
 */
export declare namespace Agent {
  /** An agent of any type. */
  // biome-ignore lint/suspicious/noExplicitAny: stands for every type, as Effect's own `Layer.Any` and `Schema.Any` do
  export type Any = Agent<any, any, any, any>
  export type Input<A> = A extends Agent<infer In, infer _Out, infer _E, infer _R> ? In : never
  export type Output<A> = A extends Agent<infer _In, infer Out, infer _E, infer _R> ? Out : never
  export type Error<A> = A extends Agent<infer _In, infer _Out, infer E, infer _R> ? E : never
  export type Services<A> = A extends Agent<infer _In, infer _Out, infer _E, infer R> ? R : never
}

const chains = new WeakMap<object, ReadonlyArray<Link>>()

const chainOf = (agent: Agent.Any): ReadonlyArray<Link> => chains.get(agent) ?? []

const fromChain = <In, Out, E, R>(chain: readonly [Link, ...ReadonlyArray<Link>]): Agent<In, Out, E, R> => {
  const [primary, ...fallbacks] = chain
  const agent: Agent<In, Out, E, R> = {
    [TypeId]: variance,
    id: primary.id,
    policy: primary.policy,
    fallbacks: fallbacks.map((link) => link.id),
    // the links are untyped inside; whoever calls fromChain states what they are together
    invoke: (input: In) => invokeChain(chain, input) as Effect.Effect<Out, E, R>,
    pipe() {
      // biome-ignore lint/complexity/noArguments: what `pipeArguments` takes
      return pipeArguments(this, arguments)
    }
  }
  chains.set(agent, chain)
  return agent
}

const variance = {
  _In: (_: unknown) => _,
  _Out: (_: never) => _,
  _E: (_: never) => _,
  _R: (_: never) => _
}

/**
 * An agent.
 *
 * @since 0.1.0
 * @category constructors
 * @throws `RangeError` when the id is empty or a number of the policy makes no sense.
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Agent } from "holdfast"
 *
 * const greeter = Agent.make("greeter", (name: string) => Effect.succeed(`Hello, ${name}`), {
 *   timeout: "2 seconds",
 *   retry: { maxAttempts: 5, base: "200 millis" },
 *   circuitBreaker: { failureThreshold: 3 }
 * })
 *
 * const program = greeter.invoke("Ada")
 * ```
 */
export const make: {
  <In, Out, E, R, Encoded>(
    id: string,
    run: (input: In) => Effect.Effect<Encoded, E, R>,
    options: Options<In, Out, unknown, Encoded> & { readonly output: Schema.Schema<Out, Encoded> }
  ): Agent<In, Out, E | PolicyError | ParseResult.ParseError, R>
  <In, Out, E, R>(
    id: string,
    run: (input: In) => Effect.Effect<Out, E, R>,
    options: Options<In, Out> & { readonly input: Schema.Schema<In, unknown> }
  ): Agent<In, Out, E | PolicyError | ParseResult.ParseError, R>
  <In, Out, E, R>(
    id: string,
    run: (input: In) => Effect.Effect<Out, E, R>,
    options?: Policy
  ): Agent<In, Out, E | PolicyError, R>
} = <In, Out, E, R>(
  id: string,
  run: (input: In) => Effect.Effect<Out, E, R>,
  options: Options<In, Out> = {}
): Agent<In, Out, E | PolicyError, R> => {
  if (id === "") throw new RangeError("Agent: the id must not be empty")
  const { input, output, ...policy } = options
  check(policy, id)
  const decoded =
    output === undefined
      ? run
      : (value: In) => Effect.flatMap(run(value), (answer) => Schema.decodeUnknown(output)(answer))
  const validated =
    input === undefined
      ? decoded
      : (value: In) => Effect.flatMap(Schema.validate(input)(value), (valid) => decoded(valid))
  // the chain forgets the input's type, `Agent` keeps it
  return fromChain([{ id, run: validated as Link["run"], policy }])
}

/** Finds a mistake in a policy where it is written and not at the first call. */
const check = (policy: Policy, id: string): void => {
  if (policy.retry !== false && !RetryPolicy.isRetryPolicy(policy.retry)) RetryPolicy.make(policy.retry)
  if (policy.circuitBreaker !== false) CircuitBreaker.make(id, policy.circuitBreaker)
}

const withPolicy = <In, Out, E, R>(self: Agent<In, Out, E, R>, policy: Policy): Agent<In, Out, E, R> => {
  const [primary, ...fallbacks] = chainOf(self)
  if (primary === undefined) return self
  check({ ...primary.policy, ...policy }, primary.id)
  return fromChain([{ ...primary, policy: { ...primary.policy, ...policy } }, ...fallbacks])
}

/**
 * Changes how it retries.
 *
 * @since 0.1.0
 * @category operators
 */
export const withRetry: {
  (retry: Policy["retry"]): <In, Out, E, R>(self: Agent<In, Out, E, R>) => Agent<In, Out, E, R>
  <In, Out, E, R>(self: Agent<In, Out, E, R>, retry: Policy["retry"]): Agent<In, Out, E, R>
} = dual(2, <In, Out, E, R>(self: Agent<In, Out, E, R>, retry: Policy["retry"]) => withPolicy(self, { retry }))

/**
 * Changes the bound of one attempt.
 *
 * @since 0.1.0
 * @category operators
 */
export const withTimeout: {
  (
    timeout: Policy["timeout"]
  ): <In, Out, E, R>(self: Agent<In, Out, E, R>) => Agent<In, Out, E | Timeout.AgentTimeoutError, R>
  <In, Out, E, R>(
    self: Agent<In, Out, E, R>,
    timeout: Policy["timeout"]
  ): Agent<In, Out, E | Timeout.AgentTimeoutError, R>
} = dual(2, <In, Out, E, R>(self: Agent<In, Out, E, R>, timeout: Policy["timeout"]) => withPolicy(self, { timeout }))

/**
 * Bounds the whole call.
 *
 * @since 0.1.0
 * @category operators
 */
export const withDeadline: {
  (
    deadline: Policy["deadline"]
  ): <In, Out, E, R>(self: Agent<In, Out, E, R>) => Agent<In, Out, E | Timeout.AgentTimeoutError, R>
  <In, Out, E, R>(
    self: Agent<In, Out, E, R>,
    deadline: Policy["deadline"]
  ): Agent<In, Out, E | Timeout.AgentTimeoutError, R>
} = dual(2, <In, Out, E, R>(self: Agent<In, Out, E, R>, deadline: Policy["deadline"]) => withPolicy(self, { deadline }))

/**
 * Changes its circuit breaker.
 *
 * @since 0.1.0
 * @category operators
 */
export const withCircuitBreaker: {
  (
    options: Policy["circuitBreaker"]
  ): <In, Out, E, R>(self: Agent<In, Out, E, R>) => Agent<In, Out, E | CircuitBreaker.CircuitBreakerOpenError, R>
  <In, Out, E, R>(
    self: Agent<In, Out, E, R>,
    options: Policy["circuitBreaker"]
  ): Agent<In, Out, E | CircuitBreaker.CircuitBreakerOpenError, R>
} = dual(2, <In, Out, E, R>(self: Agent<In, Out, E, R>, circuitBreaker: Policy["circuitBreaker"]) =>
  withPolicy(self, { circuitBreaker })
)

/**
 * Another agent, with a policy of its own, for when this one fails. Chains as long as you like.
 *
 * @since 0.1.0
 * @category operators
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Agent } from "holdfast"
 *
 * declare const askTheModel: (question: string) => Effect.Effect<string, Error>
 *
 * const canned = Agent.make("canned", (_: string) => Effect.succeed("Please ask again later"))
 * const careful = Agent.make("model", askTheModel).pipe(Agent.orElse(canned))
 * // careful.invoke("...") fails only with FallbackExhaustedError
 * ```
 */
export const orElse: {
  <In2, Out2, E2, R2>(
    that: Agent<In2, Out2, E2, R2>
  ): <In, Out, E, R>(self: Agent<In, Out, E, R>) => Agent<In & In2, Out | Out2, Fallback.FallbackExhaustedError, R | R2>
  <In, Out, E, R, In2, Out2, E2, R2>(
    self: Agent<In, Out, E, R>,
    that: Agent<In2, Out2, E2, R2>
  ): Agent<In & In2, Out | Out2, Fallback.FallbackExhaustedError, R | R2>
} = dual(
  2,
  <In, Out, E, R, In2, Out2, E2, R2>(
    self: Agent<In, Out, E, R>,
    that: Agent<In2, Out2, E2, R2>
  ): Agent<In & In2, Out | Out2, Fallback.FallbackExhaustedError, R | R2> =>
    // an agent always has a first link: it is only ever made by `fromChain`
    fromChain([...chainOf(self), ...chainOf(that)] as unknown as readonly [Link, ...ReadonlyArray<Link>])
)

/**
 * Runs an agent. The same as its `invoke`, for pipelines.
 *
 * @since 0.1.0
 * @category running
 */
export const invoke: {
  <In>(input: In): <Out, E, R>(self: Agent<In, Out, E, R>) => Effect.Effect<Out, E, R>
  <In, Out, E, R>(self: Agent<In, Out, E, R>, input: In): Effect.Effect<Out, E, R>
} = dual(2, <In, Out, E, R>(self: Agent<In, Out, E, R>, input: In) => self.invoke(input))

const defaultTimeout: Duration.DurationInput = "30 seconds"

const retryOf = (policy: Policy): RetryPolicy.RetryPolicy =>
  policy.retry === false
    ? RetryPolicy.none
    : RetryPolicy.isRetryPolicy(policy.retry)
      ? policy.retry
      : RetryPolicy.make(policy.retry)

/** The policy in force, in words that a trace can hold. */
const describe = (policy: Policy): Record<string, unknown> => {
  const attempts = retryOf(policy).maxAttempts
  return {
    max_attempts: Number.isFinite(attempts) ? attempts : undefined,
    timeout_seconds: policy.timeout === false ? undefined : Duration.toSeconds(policy.timeout ?? defaultTimeout),
    deadline_seconds:
      policy.deadline === undefined || policy.deadline === false ? undefined : Duration.toSeconds(policy.deadline),
    circuit_breaker: policy.circuitBreaker !== false
  }
}

/** One agent of the chain: deadline, retry, breaker, timeout, chaos, run. */
const invokeLink = (link: Link, index: number, input: unknown): Effect.Effect<unknown, unknown, unknown> =>
  Effect.flatMap(CircuitBreaker.Registry, (registry) => {
    const { id, policy } = link
    const breakerOptions = policy.circuitBreaker
    const breaker =
      breakerOptions === false ? undefined : registry.get(id, { classify: policy.classify, ...breakerOptions })
    const timeout = policy.timeout === false ? undefined : (policy.timeout ?? defaultTimeout)
    const history: Array<RetryPolicy.AttemptRecord> = []
    let tried = 0

    const bounded = Effect.suspend(() => {
      const faulty = Chaos.inject(link.run(input), id)
      return timeout === undefined ? faulty : Timeout.attempt(faulty, { duration: timeout, agent: id })
    })
    const guard = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      breaker === undefined ? effect : breaker.protect(effect)

    const attempt = (number: number) => {
      tried = number
      const guarded = policy.countAs === "call" ? bounded : guard(bounded)
      return Effect.zipRight(describeAttempt(breaker, timeout), guarded)
    }

    const retried = RetryPolicy.attempts(attempt, retryOf(policy), {
      classify: policy.classify,
      onFailure: (record) => Effect.sync(() => history.push(record))
    })
    const called = policy.countAs === "call" ? guard(retried) : retried
    const whole =
      policy.deadline === undefined || policy.deadline === false
        ? called
        : Timeout.deadline(called, { duration: policy.deadline, agent: id })

    return Chaos.repeatable(whole, id).pipe(
      Effect.onExit((exit) =>
        Effect.zipRight(
          Observation.annotate({
            metadata: {
              attempts_needed: tried,
              retry_succeeded: exit._tag === "Success",
              retry_history: history.map((record) => ({
                attempt: record.attempt,
                error_type: record.errorType,
                message: record.message,
                ...(record.delayMillis === undefined ? {} : { delay_seconds: record.delayMillis / 1000 })
              }))
            }
          }),
          Observation.score({ name: "retry_attempts", value: tried })
        )
      ),
      Observation.span("retry_execution", {
        type: "chain",
        metadata: {
          agent_id: id,
          agent_index: index,
          agent_type: index === 0 ? "primary" : `fallback_${index}`,
          ...describe(policy)
        }
      })
    )
  })

const describeAttempt = (
  breaker: CircuitBreaker.CircuitBreaker | undefined,
  timeout: Duration.DurationInput | undefined
): Effect.Effect<void> =>
  Effect.flatMap(breaker === undefined ? Effect.succeed(undefined) : breaker.snapshot, (snapshot) =>
    Observation.annotate({
      metadata: {
        circuit_state: snapshot?.state,
        failure_count: snapshot?.failureCount,
        timeout_seconds: timeout === undefined ? undefined : Duration.toSeconds(timeout)
      }
    })
  )

const fallbackHistory = (failed: ReadonlyArray<Fallback.FailedWay>) =>
  failed.map(({ agent, error }) => ({ agent, ...describeError(error) }))

const describeError = (error: unknown) => {
  const info = ErrorInfo.make(error)
  return { error_type: info.tag, message: info.message }
}

const invokeChain = (
  chain: readonly [Link, ...ReadonlyArray<Link>],
  input: unknown
): Effect.Effect<unknown, unknown, unknown> => {
  const [primary] = chain
  const ways = chain.map((link, index) => ({ name: link.id, effect: invokeLink(link, index, input) }))
  let failed: ReadonlyArray<Fallback.FailedWay> = []
  const work =
    chain.length === 1
      ? invokeLink(primary, 0, input)
      : Effect.suspend(() => {
          failed = []
          return Fallback.chain(primary.id, ways, (all) =>
            Effect.sync(() => {
              failed = all
            })
          )
        })
  return work.pipe(
    Effect.onExit((exit) => {
      const succeeded = exit._tag === "Success"
      const fallbacks =
        failed.length === 0
          ? {}
          : {
              fallback_history: fallbackHistory(failed),
              fallback_succeeded: succeeded,
              fallback_level: succeeded ? failed.length : chain.length - 1
            }
      return Effect.zipRight(
        Observation.annotate({
          ...(succeeded ? { output: exit.value } : {}),
          ...(succeeded && failed.length > 0
            ? {
                level: "WARNING" as const,
                statusMessage: `answered by ${ways[failed.length]?.name} after ${failed.map(({ agent }) => agent).join(", ")} failed`
              }
            : {}),
          metadata: {
            success: succeeded,
            error_type: succeeded ? undefined : errorType(exit.cause),
            ...fallbacks
          }
        }),
        chain.length > 1
          ? Observation.score({ name: "fallback_level", value: succeeded ? failed.length : chain.length - 1 })
          : Effect.void
      )
    }),
    Observation.span(`agent_${primary.id}`, {
      type: "agent",
      input,
      metadata: {
        agent_id: primary.id,
        fallbacks: chain.length > 1 ? chain.slice(1).map((link) => link.id) : undefined,
        ...describe(primary.policy)
      }
    })
  )
}

const errorType = (cause: Cause.Cause<unknown>): string => ErrorInfo.fromCause(cause).tag
