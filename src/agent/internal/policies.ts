/** Policies that change while a program runs: overrides by agent id, judged once, compiled once for each agent. */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import * as Subscribable from "effect/Subscribable"
import { ConfigurationError } from "../../observability/ConfigurationError.js"
import type { Policies, Policy } from "../Agent.js"

/** What the invocation of an agent asks. */
export interface Service {
  /** The override in force for an id: the same object until it changes. */
  readonly of: (id: string) => Policy | undefined
  /** Takes in what has changed since it was last asked; absent where nothing ever changes. */
  readonly refresh: Effect.Effect<void> | undefined
}

const none: Service = { of: () => undefined, refresh: undefined }

export class CurrentPolicies extends Context.Reference<CurrentPolicies>()("holdfast/Agent/Policies", {
  defaultValue: () => none
}) {}

/** Runs with the policies as they are now. */
export const withCurrent = <A, E, R>(use: (policies: Service) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(CurrentPolicies, (policies) => latest(policies, () => use(policies)))

/** The same for who has them already: an attempt after the first. */
export const latest = <A, E, R>(policies: Service, use: () => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  policies.refresh === undefined ? use() : Effect.flatMap(policies.refresh, use)

/** Stands for every agent that has no override of its own. */
const everyone = "*"

const takes: { readonly [K in keyof Required<Policy>]: string } = {
  retry: "a RetryPolicy, its options, or false",
  timeout: "a duration or false",
  deadline: "a duration or false",
  circuitBreaker: "options or false",
  countAs: '"attempt" or "call"',
  bulkhead: "a Bulkhead, its options, or false",
  rateLimit: "options or false",
  hedge: "a Hedge, its options, or false",
  classify: "a function"
}

const isOptions = (value: unknown): boolean => value === false || Predicate.isRecord(value)

const isBound = (value: unknown): boolean =>
  value === false ||
  typeof value === "number" ||
  typeof value === "bigint" ||
  typeof value === "string" ||
  Array.isArray(value) ||
  Duration.isDuration(value)

/** What comes from a file or a form has no type to hold it: what `check` would let pass is found here. */
const misfits: { readonly [K in keyof Required<Policy>]: (value: unknown) => boolean } = {
  retry: (value) => !isOptions(value),
  timeout: (value) => !isBound(value),
  deadline: (value) => !isBound(value),
  circuitBreaker: (value) => !isOptions(value),
  countAs: (value) => value !== "attempt" && value !== "call",
  bulkhead: (value) => !isOptions(value),
  rateLimit: (value) => !isOptions(value),
  hedge: (value) => !isOptions(value),
  classify: (value) => !Predicate.isFunction(value)
}

const isSetting = (key: string): key is keyof Policy => Object.hasOwn(takes, key)

const problemOf = (
  id: string,
  policy: unknown,
  check: (id: string, policy: Policy) => void
): ConfigurationError | undefined => {
  const refusal = (setting: string, expected: string, problem: string) =>
    new ConfigurationError({ setting: `Agent.policies: ${setting}`, expected, problem })
  if (id === "") return refusal('""', 'an agent\'s id or "*"', "it names no agent")
  if (!Predicate.isRecord(policy)) return refusal(`"${id}"`, "a policy", "it is none")
  for (const [key, value] of Object.entries(policy)) {
    if (!isSetting(key)) return refusal(`"${id}".${key}`, Object.keys(takes).join(", "), "there is no such setting")
    if (value !== undefined && misfits[key](value)) return refusal(`"${id}".${key}`, takes[key], "it has another type")
  }
  try {
    check(id, policy)
    return undefined
  } catch (error) {
    return refusal(`"${id}"`, "", error instanceof Error ? error.message : String(error))
  }
}

/** A setting that is absent overrides nothing. */
const present = (policy: Policy | undefined): Policy =>
  Object.fromEntries(Object.entries(policy ?? {}).filter(([, value]) => value !== undefined))

class Overrides implements Service {
  refresh: Effect.Effect<void> | undefined
  private seen: Policies | undefined
  private accepted: ReadonlyMap<string, Policy> = new Map()
  private merged = new Map<string, Policy>()

  constructor(private readonly check: (id: string, policy: Policy) => void) {}

  of(id: string): Policy | undefined {
    if (this.accepted.size === 0) return undefined
    const known = this.merged.get(id)
    if (known !== undefined) return known
    const own = this.accepted.get(id)
    const all = this.accepted.get(everyone)
    if (own === undefined && all === undefined) return undefined
    const policy = { ...all, ...own }
    this.merged.set(id, policy)
    return policy
  }

  /** Takes new overrides in. One that cannot be used is refused: the one that its agent had stays, and the others are taken. */
  take(policies: Policies): ReadonlyArray<ConfigurationError> {
    if (policies === this.seen) return []
    this.seen = policies
    const refused: Array<ConfigurationError> = []
    const accepted = new Map<string, Policy>()
    for (const [id, policy] of Object.entries(policies)) {
      const problem = problemOf(id, policy, this.check)
      const old = this.accepted.get(id)
      if (problem === undefined) accepted.set(id, present(policy))
      else {
        refused.push(problem)
        if (old !== undefined) accepted.set(id, old)
      }
    }
    this.accepted = accepted
    this.merged = new Map()
    return refused
  }
}

const report = (refused: ReadonlyArray<ConfigurationError>): Effect.Effect<void> =>
  refused.length === 0
    ? Effect.void
    : Effect.forEach(refused, (error) => Effect.logError(`${error.message} The policy that was in force stays.`), {
        discard: true
      })

/** What is wrong from the start is an error of the layer; what goes wrong later is refused and logged. */
export const layer = (
  source: Policies | Subscribable.Subscribable<Policies>,
  check: (id: string, policy: Policy) => void
): Layer.Layer<CurrentPolicies, ConfigurationError> =>
  Layer.scoped(
    CurrentPolicies,
    Effect.gen(function* () {
      const overrides = new Overrides(check)
      const [problem] = overrides.take(Subscribable.isSubscribable(source) ? yield* source.get : source)
      if (problem !== undefined) return yield* problem
      if (!Subscribable.isSubscribable(source)) return overrides
      const refresh = Effect.flatMap(source.get, (policies) => report(overrides.take(policies)))
      overrides.refresh = refresh
      // every call asks for itself, so that a change holds from the moment it is set; this only tells of a mistake before any call. What the
      // stream brings may be older than what a call has seen: it is asked for again
      yield* Effect.forkScoped(Stream.runForEach(source.changes, () => refresh))
      return overrides
    })
  )
