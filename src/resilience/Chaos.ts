/**
 * Faults on purpose, the same ones for the same seed: how to see that a program stands before it has to. Off unless provided.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Hash from "effect/Hash"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import type * as Failure from "./Failure.js"

/**
 * What can be done to a call: fail it, never answer it, or refuse it as one too many.
 *
 * @since 0.1.0
 * @category models
 */
export type Fault = "error" | "hang" | "rate-limit"

/**
 * A fault that was injected.
 *
 * @since 0.1.0
 * @category errors
 */
export class ChaosError extends Schema.TaggedError<ChaosError>("holdfast/ChaosError")("ChaosError", {
  agent: Schema.String,
  fault: Schema.Literal("error", "rate-limit"),
  /** Which call of the agent's it was, from 1. */
  call: Schema.Number
}) {
  override get message(): string {
    return this.fault === "error"
      ? `injected error in call ${this.call} of "${this.agent}"`
      : `injected rate limit in call ${this.call} of "${this.agent}"`
  }

  get failure(): Failure.Failure {
    return this.fault === "error"
      ? { kind: "transient", reason: "injected error" }
      : { kind: "rate-limited", reason: "injected rate limit", retryAfterMillis: 250 }
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
  /** Which faults. Default all. */
  readonly faults?: ReadonlyArray<Fault> | undefined
  /** Only these agents. Default all. */
  readonly agents?: ReadonlyArray<string> | undefined
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
  /** The fault for this agent's next call, if any, with the number of that call. */
  readonly next: (agent: string) => { readonly fault: Fault; readonly call: number } | undefined
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
 * @throws `RangeError` when the rate is not between 0 and 1, the seed is no number, or no fault is named.
 * @example
 * ```ts
 * import { Chaos } from "holdfast"
 *
 * const faults = Chaos.layer({ rate: 0.4, seed: 7, faults: ["error", "hang"] })
 * ```
 */
export const layer = (options: Options): Layer.Layer<Chaos> => {
  const { faults = ["error", "hang", "rate-limit"], rate, seed = 0 } = options
  if (!(rate >= 0 && rate <= 1)) throw new RangeError(`Chaos: rate must be between 0 and 1, got ${rate}`)
  if (!Number.isFinite(seed)) throw new RangeError(`Chaos: seed must be a number, got ${seed}`)
  if (faults.length === 0) throw new RangeError("Chaos: name at least one fault")
  const agents = options.agents === undefined ? undefined : new Set(options.agents)
  return Layer.sync(Chaos, () => {
    const calls = new Map<string, number>()
    const randoms = new Map<string, Random.Random>()
    return {
      next: (agent) => {
        if (agents?.has(agent) === false) return undefined
        const call = (calls.get(agent) ?? 0) + 1
        calls.set(agent, call)
        if (draw(seed, agent, call, "hit") >= rate) return undefined
        const fault = faults[Math.floor(draw(seed, agent, call, "fault") * faults.length)]
        return fault === undefined ? undefined : { fault, call }
      },
      random: (agent) => {
        const random = randoms.get(agent) ?? Random.make(`${seed}/${agent}`)
        randoms.set(agent, random)
        return random
      }
    }
  })
}

/**
 * Puts the fault that is due before an effect: nothing without a {@link layer}.
 *
 * @since 0.1.0
 * @category operators
 */
export const inject = <A, E, R>(self: Effect.Effect<A, E, R>, agent: string): Effect.Effect<A, E, R> =>
  Effect.flatMap(Chaos, (chaos) => {
    const due = chaos?.next(agent)
    if (due === undefined) return self
    if (due.fault === "hang") return Effect.never
    // typed as the defect of nobody: it takes the place of an error of the agent's own, which no type can name beforehand
    return Effect.fail(new ChaosError({ agent, fault: due.fault, call: due.call })) as Effect.Effect<never, never>
  })

/**
 * Runs an effect with the agent's own random numbers, so that what is random in it repeats with the seed: nothing without a {@link layer}.
 *
 * @since 0.1.0
 * @category operators
 */
export const repeatable = <A, E, R>(self: Effect.Effect<A, E, R>, agent: string): Effect.Effect<A, E, R> =>
  Effect.flatMap(Chaos, (chaos) => (chaos === undefined ? self : Effect.withRandom(self, chaos.random(agent))))
