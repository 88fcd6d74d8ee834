/**
 * An agent: a function from an input to an Effect, and the policy that keeps it standing.
 *
 * The operators apply in one order, outermost first: fallback, deadline, bulkhead, rate limit, retry, hedge, circuit breaker, attempt timeout,
 * chaos, run. So the breaker sees each attempt, the deadline bounds the retries and the waiting, and every fallback has a policy of its own.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type * as Layer from "effect/Layer"
import type * as ParseResult from "effect/ParseResult"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import * as Schema from "effect/Schema"
import type { Subscribable } from "effect/Subscribable"
import type * as Types from "effect/Types"
import type { ConfigurationError } from "../observability/ConfigurationError.js"
import type * as Fallback from "../resilience/Fallback.js"
import * as firstTry from "./internal/firstTry.js"
import * as invocation from "./internal/invoke.js"
import * as overrides from "./internal/policies.js"
import type { Policies, Policy, PolicyError } from "./internal/policy.js"
import * as promise from "./internal/promise.js"

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

export type { Policies, Policy, PolicyError } from "./internal/policy.js"

/**
 * What can be said of an agent when it is made.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<In, Out, InEncoded = unknown, OutEncoded = unknown> extends Policy {
  /** The input is validated by it before anything runs; one that is not valid is never tried, nor counted by the breaker. */
  readonly input?: Schema.Schema<In, InEncoded> | undefined
  /** What `run` returns is decoded by it; what does not decode is a failure like any other, worth one more try. */
  readonly output?: Schema.Schema<Out, OutEncoded> | undefined
}

/** What `run` returns must be what the Schema decodes, unless nothing is known of it, as of a model's answer. */
type Decodes<Returned, Encoded> = [unknown] extends [Returned]
  ? unknown
  : [Returned] extends [Encoded]
    ? unknown
    : never

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

const chains = new WeakMap<object, invocation.Chain>()

/** An agent is only ever made by `fromChain`: one that is not has been built by hand against its type. */
const chainOf = (agent: Agent.Any): invocation.Chain => {
  const chain = chains.get(agent)
  if (chain === undefined) throw new TypeError(`Agent: "${agent.id}" was not made by Agent.make`)
  return chain
}

const fromChain = <In, Out, E, R>(chain: invocation.Chain): Agent<In, Out, E, R> => {
  const [primary, ...fallbacks] = chain
  const agent: Agent<In, Out, E, R> = {
    [TypeId]: variance,
    id: primary.id,
    policy: primary.policy,
    fallbacks: fallbacks.map((link) => link.id),
    // the links are untyped inside; whoever calls fromChain states what they are together
    invoke: (input: In) => firstTry.invoke(chain, input) as Effect.Effect<Out, E, R>,
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
  <In, Out, Returned, E, R, OutEncoded, InEncoded>(
    id: string,
    run: (input: In) => Effect.Effect<Returned, E, R>,
    options: Options<In, Out, InEncoded, OutEncoded> & {
      readonly output: Schema.Schema<Out, OutEncoded> & Decodes<Returned, OutEncoded>
    }
  ): Agent<In, Out, E | PolicyError | ParseResult.ParseError, R>
  <In, Out, E, R, InEncoded>(
    id: string,
    run: (input: In) => Effect.Effect<Out, E, R>,
    options: Policy & { readonly input: Schema.Schema<In, InEncoded>; readonly output?: undefined }
  ): Agent<In, Out, E | PolicyError | ParseResult.ParseError, R>
  <In, Out, E, R>(
    id: string,
    run: (input: In) => Effect.Effect<Out, E, R>,
    options?: Policy & { readonly input?: undefined; readonly output?: undefined }
  ): Agent<In, Out, E | PolicyError, R>
} = <In, Out, E, R, InEncoded, OutEncoded>(
  id: string,
  run: (input: In) => Effect.Effect<unknown, E, R>,
  { input, output, ...policy }: Options<In, Out, InEncoded, OutEncoded> = {}
): Agent<In, Out, E | PolicyError, R> => {
  if (id === "") throw new RangeError("Agent: the id must not be empty")
  return fromChain([
    invocation.makeLink(
      {
        id,
        prepare: input === undefined ? undefined : Schema.validate(input),
        // the chain forgets the input's type, `Agent` keeps it
        answer: run as invocation.Task["answer"],
        decode: output === undefined ? undefined : Schema.decodeUnknown(output)
      },
      policy
    )
  ])
}

const withPolicy = <In, Out, E, R>(self: Agent<In, Out, E, R>, change: Policy): Agent<In, Out, E, R> => {
  const [primary, ...fallbacks] = chainOf(self)
  return fromChain([invocation.makeLink(primary, { ...primary.policy, ...change }), ...fallbacks])
}

/**
 * Changes how it retries. Its fallbacks keep theirs.
 *
 * @since 0.1.0
 * @category operators
 * @throws `RangeError` when a number makes no sense.
 */
export const withRetry: {
  (retry: Policy["retry"]): <In, Out, E, R>(self: Agent<In, Out, E, R>) => Agent<In, Out, E, R>
  <In, Out, E, R>(self: Agent<In, Out, E, R>, retry: Policy["retry"]): Agent<In, Out, E, R>
} = dual(2, <In, Out, E, R>(self: Agent<In, Out, E, R>, retry: Policy["retry"]) => withPolicy(self, { retry }))

/**
 * Changes the bound of one attempt. Its fallbacks keep theirs.
 *
 * @since 0.1.0
 * @category operators
 * @throws `RangeError` when a number makes no sense.
 */
export const withTimeout: {
  (timeout: Policy["timeout"]): <In, Out, E, R>(self: Agent<In, Out, E, R>) => Agent<In, Out, E, R>
  <In, Out, E, R>(self: Agent<In, Out, E, R>, timeout: Policy["timeout"]): Agent<In, Out, E, R>
} = dual(2, <In, Out, E, R>(self: Agent<In, Out, E, R>, timeout: Policy["timeout"]) => withPolicy(self, { timeout }))

/**
 * Bounds the whole call. Its fallbacks keep theirs.
 *
 * @since 0.1.0
 * @category operators
 * @throws `RangeError` when a number makes no sense.
 */
export const withDeadline: {
  (deadline: Policy["deadline"]): <In, Out, E, R>(self: Agent<In, Out, E, R>) => Agent<In, Out, E, R>
  <In, Out, E, R>(self: Agent<In, Out, E, R>, deadline: Policy["deadline"]): Agent<In, Out, E, R>
} = dual(2, <In, Out, E, R>(self: Agent<In, Out, E, R>, deadline: Policy["deadline"]) => withPolicy(self, { deadline }))

/**
 * Changes its circuit breaker. Its fallbacks keep theirs.
 *
 * @since 0.1.0
 * @category operators
 * @throws `RangeError` when a number makes no sense.
 */
export const withCircuitBreaker: {
  (options: Policy["circuitBreaker"]): <In, Out, E, R>(self: Agent<In, Out, E, R>) => Agent<In, Out, E, R>
  <In, Out, E, R>(self: Agent<In, Out, E, R>, options: Policy["circuitBreaker"]): Agent<In, Out, E, R>
} = dual(2, <In, Out, E, R>(self: Agent<In, Out, E, R>, circuitBreaker: Policy["circuitBreaker"]) =>
  withPolicy(self, { circuitBreaker })
)

/**
 * Bounds how many calls of it run and wait at once. Its fallbacks keep theirs.
 *
 * @since 0.1.0
 * @category operators
 * @throws `RangeError` when a number makes no sense.
 */
export const withBulkhead: {
  (bulkhead: Policy["bulkhead"]): <In, Out, E, R>(self: Agent<In, Out, E, R>) => Agent<In, Out, E, R>
  <In, Out, E, R>(self: Agent<In, Out, E, R>, bulkhead: Policy["bulkhead"]): Agent<In, Out, E, R>
} = dual(2, <In, Out, E, R>(self: Agent<In, Out, E, R>, bulkhead: Policy["bulkhead"]) => withPolicy(self, { bulkhead }))

/**
 * Bounds how many calls of it begin in a time. Its fallbacks keep theirs.
 *
 * @since 0.1.0
 * @category operators
 * @throws `RangeError` when a number makes no sense.
 */
export const withRateLimit: {
  (rateLimit: Policy["rateLimit"]): <In, Out, E, R>(self: Agent<In, Out, E, R>) => Agent<In, Out, E, R>
  <In, Out, E, R>(self: Agent<In, Out, E, R>, rateLimit: Policy["rateLimit"]): Agent<In, Out, E, R>
} = dual(2, <In, Out, E, R>(self: Agent<In, Out, E, R>, rateLimit: Policy["rateLimit"]) =>
  withPolicy(self, { rateLimit })
)

/**
 * Puts a second attempt beside one that is slow. Its fallbacks keep theirs.
 *
 * @since 0.1.0
 * @category operators
 * @throws `RangeError` when a number makes no sense.
 */
export const withHedge: {
  (hedge: Policy["hedge"]): <In, Out, E, R>(self: Agent<In, Out, E, R>) => Agent<In, Out, E, R>
  <In, Out, E, R>(self: Agent<In, Out, E, R>, hedge: Policy["hedge"]): Agent<In, Out, E, R>
} = dual(2, <In, Out, E, R>(self: Agent<In, Out, E, R>, hedge: Policy["hedge"]) => withPolicy(self, { hedge }))

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
    fromChain([...chainOf(self), ...chainOf(that)])
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

export type { PromiseAgent, PromiseServices } from "./internal/promise.js"

/**
 * An agent for code that knows promises and no effects. Each call keeps its caller's AsyncLocalStorage; nothing is ever rejected but the promise
 * that was handed out. An agent that needs services takes them from a runtime or a layer, and a layer's errors reject the calls.
 *
 * @since 0.1.0
 * @category promises
 * @example
 * ```ts run
 * import { Effect } from "effect"
 * import { Agent } from "holdfast"
 *
 * class NoSuchCity extends Error {}
 *
 * const weather = Agent.make("weather", (city: string) =>
 *   city === "Atlantis" ? Effect.fail(new NoSuchCity(city)) : Effect.succeed(`sunny in ${city}`), { retry: false })
 * const ask = Agent.toPromise(weather)
 *
 * console.log(await ask("Lisbon", { signal: AbortSignal.timeout(5000) }))
 * await ask("Atlantis").catch((error) => console.log(error instanceof NoSuchCity))
 * await ask.dispose()
 * ```
 */
export const toPromise: {
  <In, Out, E, R>(agent: Agent<In, Out, E, R>, services: promise.PromiseServices<R>): promise.PromiseAgent<In, Out>
  <In, Out, E>(agent: Agent<In, Out, E>): promise.PromiseAgent<In, Out>
} = <In, Out, E, R>(
  agent: Agent<In, Out, E, R>,
  services?: promise.PromiseServices<R>
): promise.PromiseAgent<In, Out> => promise.make(agent.id, agent.invoke, services)

/**
 * The policy overrides in force, provided by {@link policies}. Without it there are none.
 *
 * @since 0.1.0
 * @category reconfiguration
 */
export type CurrentPolicies = overrides.CurrentPolicies

/**
 * Changes the policies of agents that are already made, while they run. From a `SubscriptionRef` (or any `Subscribable`) a change holds from the
 * moment it is set: `timeout` and `circuitBreaker` from the next attempt, everything else from the next call. Set a new value; one that is
 * changed in place is not seen.
 *
 * A breaker whose options change keeps its state, its name and its key, as `CircuitBreaker.reconfigure` says; without the override it gets its own
 * options back. A breaker is one for all its registry serves: those who override it for a part of a program alone give that part a registry.
 *
 * An override that cannot be used is refused: the layer fails with `ConfigurationError` when it is there from the start; later it is logged,
 * its agent keeps the override that it had, and the other agents' overrides are taken.
 *
 * @since 0.1.0
 * @category reconfiguration
 * @example
 * ```ts
 * import { Effect, SubscriptionRef } from "effect"
 * import { Agent } from "holdfast"
 *
 * const model = Agent.make("model", (question: string) => Effect.succeed(`no answer to ${question}`))
 *
 * const program = Effect.gen(function* () {
 *   const current = yield* SubscriptionRef.make<Agent.Policies>({ "*": { timeout: "10 seconds" } })
 *   const slowDown = SubscriptionRef.set(current, { model: { retry: false, timeout: "1 minute" } })
 *   return yield* Effect.zipRight(slowDown, model.invoke("why?")).pipe(Effect.provide(Agent.policies(current)))
 * })
 * ```
 */
export const policies = (source: Policies | Subscribable<Policies>): Layer.Layer<CurrentPolicies, ConfigurationError> =>
  overrides.layer(source, invocation.settingsOf)

export { CurrentRecorder, OnceError, type OnceOptions, once, type Recorder, type Slot } from "./internal/once.js"
