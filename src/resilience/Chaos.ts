/**
 * Faults on purpose, the same ones for the same seed: how to see that a program stands before it has to. Off unless provided.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Hash from "effect/Hash"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as Observation from "../observability/Observation.js"
import type * as Failure from "./Failure.js"
import * as numbers from "./internal/numbers.js"

/**
 * What can be done to a call.
 *
 * - `error`: it fails, as an outage that passes. `rate-limit`: it is refused as one too many. `hang`: it never answers.
 * - `latency`: it answers late. `malformed`: it answers with what it does not mean. `defect`: it dies of a bug.
 *
 * @since 0.1.0
 * @category models
 */
export type Fault = "error" | "hang" | "rate-limit" | "latency" | "malformed" | "defect"

/**
 * Every fault there is, for `faults`.
 *
 * @since 0.1.0
 * @category models
 */
export const allFaults: ReadonlyArray<Fault> = ["error", "hang", "rate-limit", "latency", "malformed", "defect"]

/**
 * A fault that was injected.
 *
 * @since 0.1.0
 * @category errors
 */
export class ChaosError extends Schema.TaggedError<ChaosError>("holdfast/ChaosError")("ChaosError", {
  agent: Schema.String,
  /** A `defect` is not a failure but died of. */
  fault: Schema.Literal("error", "rate-limit", "defect"),
  /** Which call of the agent's it was, from 1. */
  call: Schema.Number,
  /** How long a rate limit asks to wait, in milliseconds. Default 250. */
  retryAfterMillis: Schema.optional(Schema.Number)
}) {
  override get message(): string {
    return `injected ${this.fault === "rate-limit" ? "rate limit" : this.fault} in call ${this.call} of "${this.agent}"`
  }

  get failure(): Failure.Failure {
    if (this.fault === "defect") return { kind: "permanent", reason: "injected defect" }
    return this.fault === "error"
      ? { kind: "transient", reason: "injected error" }
      : { kind: "rate-limited", reason: "injected rate limit", retryAfterMillis: this.retryAfterMillis ?? 250 }
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The share of calls that meet a fault, 0 to 1. */
  readonly rate: number
  /** The same seed gives the same faults to the same calls. Default 0. */
  readonly seed?: number | undefined
  /** Which faults, each as often as it is named. Default `error`, `hang` and `rate-limit`. */
  readonly faults?: ReadonlyArray<Fault> | undefined
  /** Only these agents. Default all. */
  readonly agents?: ReadonlyArray<string> | undefined
  /** Rates of their own for some agents, by id; all others have `rate`. */
  readonly rates?: Readonly<Record<string, number>> | undefined
  /** How late a `latency` answers: always so much, or between the two. Default between 1 and 5 seconds. */
  readonly latency?:
    | Duration.DurationInput
    | { readonly min: Duration.DurationInput; readonly max: Duration.DurationInput }
    | undefined
  /** How long a `rate-limit` asks to wait. Default 250 milliseconds. */
  readonly retryAfter?: Duration.DurationInput | undefined
  /** Makes a `malformed` answer of a good one. Default {@link truncated}. */
  readonly malform?: ((output: unknown) => unknown) | undefined
}

/**
 * The first half of an answer's text: of a string itself, of anything else its JSON.
 *
 * @since 0.1.0
 * @category faults
 */
export const truncated = (output: unknown): string => {
  const text = typeof output === "string" ? output : (JSON.stringify(output) ?? "")
  return text.slice(0, Math.floor(text.length / 2))
}

/**
 * A fault that is due.
 *
 * @since 0.1.0
 * @category models
 */
export interface Due {
  readonly fault: Fault
  /** Which call of the agent's it is, from 1. */
  readonly call: number
  /** How late a `latency` answers, in milliseconds. */
  readonly latencyMillis: number
  /** How long a `rate-limit` asks to wait, in milliseconds. */
  readonly retryAfterMillis: number
  /** Makes a `malformed` answer of a good one. */
  readonly malform: (output: unknown) => unknown
}

/**
 * A number in [0, 1) that depends on nothing but its words: what is decided for one call does not hang on which fiber ran first.
 */
const draw = (seed: number, ...words: ReadonlyArray<string | number>): number => {
  let state = Hash.string([seed, ...words].join("\u0000")) >>> 0
  // the finaliser of MurmurHash3 spreads neighbouring inputs
  state = Math.imul(state ^ (state >>> 16), 0x85ebca6b)
  state = Math.imul(state ^ (state >>> 13), 0xc2b2ae35)
  return ((state ^ (state >>> 16)) >>> 0) / 2 ** 32
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** The fault for this agent's next call, if any. */
  readonly next: (agent: string) => Due | undefined
  /** Random numbers of the agent's own, so that its jitter repeats with the seed. */
  readonly random: (agent: string) => Random.Random
}

/**
 * The source of faults.
 *
 * @since 0.1.0
 * @category services
 */
export class Chaos extends Context.Reference<Chaos>()("holdfast/Chaos", {
  defaultValue: (): Service | undefined => undefined
}) {}

/**
 * Injects faults into every agent called inside.
 *
 * @since 0.1.0
 * @category layers
 * @throws `RangeError` when a rate is not between 0 and 1, the seed is no number, no fault is named, or a duration makes no sense.
 * @example
 * ```ts
 * import { Chaos } from "holdfast"
 *
 * const faults = Chaos.layer({ rate: 0.4, seed: 7, faults: ["error", "hang"] })
 * ```
 */
export const layer = (options: Options): Layer.Layer<Chaos> => {
  const { faults = ["error", "hang", "rate-limit"], malform = truncated, rate, rates = {}, seed = 0 } = options
  for (const each of [rate, ...Object.values(rates)]) {
    if (!(each >= 0 && each <= 1)) throw new RangeError(`Chaos: rate must be between 0 and 1, got ${each}`)
  }
  if (!Number.isFinite(seed)) throw new RangeError(`Chaos: seed must be a number, got ${seed}`)
  if (faults.length === 0) throw new RangeError("Chaos: name at least one fault")
  const latency = latencyOf(options.latency)
  const retryAfterMillis = numbers.millis("Chaos: retryAfter", options.retryAfter ?? "250 millis")
  const agents = options.agents === undefined ? undefined : new Set(options.agents)
  const rateOf = new Map(Object.entries(rates))
  return Layer.sync(Chaos, () => {
    const calls = new Map<string, number>()
    const randoms = new Map<string, Random.Random>()
    return {
      next: (agent) => {
        if (agents?.has(agent) === false) return undefined
        const call = (calls.get(agent) ?? 0) + 1
        calls.set(agent, call)
        if (draw(seed, agent, call, "hit") >= (rateOf.get(agent) ?? rate)) return undefined
        const fault = faults[Math.floor(draw(seed, agent, call, "fault") * faults.length)]
        if (fault === undefined) return undefined
        const latencyMillis = latency.min + draw(seed, agent, call, "latency") * (latency.max - latency.min)
        return { fault, call, latencyMillis: Math.round(latencyMillis), retryAfterMillis, malform }
      },
      random: (agent) => {
        const random = randoms.get(agent) ?? Random.make(`${seed}/${agent}`)
        randoms.set(agent, random)
        return random
      }
    }
  })
}

/** @throws `RangeError` */
const latencyOf = (input: Options["latency"]): { readonly min: number; readonly max: number } => {
  const bounds =
    typeof input === "object" && "min" in input ? input : { min: input ?? "1 second", max: input ?? "5 seconds" }
  const min = numbers.millis("Chaos: latency", bounds.min)
  const max = numbers.millis("Chaos: latency", bounds.max)
  if (min <= max && max < Infinity) return { min, max }
  throw new RangeError(`Chaos: latency must be two durations in order, got ${min} ms to ${max} ms`)
}

/**
 * Does to an effect what is due: nothing without a {@link layer}. The observation in force says so, in `injected_fault`.
 *
 * A `malformed` answer takes the place of the good one, whatever the type says: put it inside of what decodes.
 *
 * @since 0.1.0
 * @category operators
 */
export const inject = <A, E, R>(self: Effect.Effect<A, E, R>, agent: string): Effect.Effect<A, E, R> =>
  Effect.flatMap(Chaos, (chaos) => {
    const due = chaos?.next(agent)
    return due === undefined
      ? self
      : Effect.zipRight(Observation.annotate({ metadata: { injected_fault: due.fault } }), befall(self, agent, due))
  })

const befall = <A, E, R>(self: Effect.Effect<A, E, R>, agent: string, due: Due): Effect.Effect<A, E, R> => {
  const { call, fault, latencyMillis, malform, retryAfterMillis } = due
  switch (fault) {
    case "hang":
      return Effect.never
    case "latency":
      return Effect.delay(self, latencyMillis)
    case "malformed":
      // not what the type says: that is the fault
      return Effect.map(self, (answer) => malform(answer) as A)
    case "defect":
      return Effect.die(new ChaosError({ agent, fault, call }))
    case "rate-limit":
      return Effect.fail(new ChaosError({ agent, fault, call, retryAfterMillis })) as Effect.Effect<never, never>
    case "error":
      // typed as the defect of nobody: it takes the place of an error of the agent's own, which no type can name beforehand
      return Effect.fail(new ChaosError({ agent, fault, call })) as Effect.Effect<never, never>
  }
}

/**
 * Runs an effect with the agent's own random numbers, so that what is random in it repeats with the seed: nothing without a {@link layer}.
 *
 * @since 0.1.0
 * @category operators
 */
export const repeatable = <A, E, R>(self: Effect.Effect<A, E, R>, agent: string): Effect.Effect<A, E, R> =>
  Effect.flatMap(Chaos, (chaos) => (chaos === undefined ? self : Effect.withRandom(self, chaos.random(agent))))
