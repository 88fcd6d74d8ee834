/**
 * A program run many times under faults, each run from a seed of its own and in virtual time: pauses, timeouts and hangs take no time at all. What
 * breaks it is cut down to the fewest faults that still do, and can be repeated by its seed.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as ErrorInfo from "../observability/ErrorInfo.js"
import * as Trace from "../observability/Trace.js"
import * as Chaos from "../resilience/Chaos.js"
import * as CircuitBreaker from "../resilience/CircuitBreaker.js"
import * as RetryBudget from "../resilience/RetryBudget.js"
import * as shrink from "./internal/shrink.js"
import * as virtualTime from "./internal/virtualTime.js"

/**
 * A fault of a schedule: what befalls which call of which agent, or of which `Chaos.inject`.
 *
 * @since 0.1.0
 * @category models
 */
export class Fault extends Schema.Class<Fault>("holdfast/Simulation/Fault")({
  agent: Schema.String,
  /** Which call of it, from 1. */
  call: Schema.Number,
  fault: Schema.Literal("error", "hang", "rate-limit", "latency", "malformed", "defect"),
  /** How late a `latency` answers, in milliseconds. */
  latencyMillis: Schema.optional(Schema.Number),
  /** How long a `rate-limit` asks to wait, in milliseconds. */
  retryAfterMillis: Schema.optional(Schema.Number)
}) {
  override toString(): string {
    const time =
      this.fault === "latency" && this.latencyMillis !== undefined
        ? ` of ${this.latencyMillis} ms`
        : this.fault === "rate-limit" && this.retryAfterMillis !== undefined
          ? ` for ${this.retryAfterMillis} ms`
          : ""
    return `${this.fault}${time} in call ${this.call} of "${this.agent}"`
  }
}

/**
 * A run that broke.
 *
 * - `failed`: the program failed, or its check did not hold. `died`: of a defect.
 * - `hung`: nothing was left that could have woken it. `endless`: it was still at work when its virtual time was over.
 *
 * @since 0.1.0
 * @category errors
 */
export class SimulationError extends Schema.TaggedError<SimulationError>("holdfast/SimulationError")(
  "SimulationError",
  {
    kind: Schema.Literal("failed", "died", "hung", "endless"),
    /** The seed of this very run: with `runs: 1` it is repeated. */
    seed: Schema.Number,
    /** Which run it was, from 1, and of how many. */
    run: Schema.Number,
    runs: Schema.Number,
    /** The smallest schedule that was found to break it in the same way. */
    schedule: Schema.Array(Fault),
    /** All faults that befell the run when it first broke. */
    faults: Schema.Array(Fault),
    /** What the program failed with or died of under the smallest schedule. */
    error: Schema.Unknown,
    /** The tree of that run. */
    trace: Schema.String
  }
) {
  override get message(): string {
    const count = this.schedule.length
    const what = {
      failed: "failed",
      died: "died",
      hung: "hung: nothing is left to wake it",
      endless: "is still at work when its virtual time is over"
    }[this.kind]
    const how = this.kind === "failed" || this.kind === "died" ? `: ${ErrorInfo.line(ErrorInfo.make(this.error))}` : ""
    return [
      `run ${this.run} of ${this.runs} ${what}${how}`,
      count === 0
        ? "It does so without any fault."
        : `The smallest schedule that does it, ${count} of ${this.faults.length} fault${this.faults.length === 1 ? "" : "s"}:`,
      ...this.schedule.map((each) => `  ${each}`),
      `To repeat it: Simulation.run(program, { seed: ${this.seed}, runs: 1 }), with the other options as they are.`,
      ...(this.trace === "" ? [] : ["", this.trace])
    ].join("\n")
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options<A = never, E = never, R = never> extends Partial<Omit<Chaos.Options, "seed">> {
  /** How many runs. Default 100. */
  readonly runs?: number | undefined
  /** The first run's seed; each next one has one more. A whole number, default 0. The same seed gives the same faults, pauses and random numbers. */
  readonly seed?: number | undefined
  /** These faults instead of drawn ones, in every run. */
  readonly schedule?: ReadonlyArray<typeof Fault.Encoded> | undefined
  /** What must hold of the result: `false`, a throw, a rejected promise or a failed effect breaks the run. Default: nothing. */
  // biome-ignore lint/suspicious/noConfusingVoidType: a check may say nothing
  readonly check?: ((value: A) => boolean | void | Promise<unknown> | Effect.Effect<unknown, unknown, R>) | undefined
  /** Which failures of the program are in order. Default: none. A defect never is. */
  readonly tolerate?: ((error: E) => boolean) | undefined
  /** How much virtual time a run may take. Default 1 day. */
  readonly timeout?: Duration.DurationInput | undefined
  /**
   * For how long nothing must have happened, in real time, before virtual time goes on. Default 0: as soon as no fiber and no promise has anything
   * left to do. A program that waits for answers of a real socket needs some, such as 20 milliseconds, or its timeouts pass before the answer comes.
   */
  readonly settle?: Duration.DurationInput | undefined
  /** For how long a run that waits for nothing but the outside may do nothing, in real time, before it counts as hung. Default 250 milliseconds. */
  readonly patience?: Duration.DurationInput | undefined
  /** The most runs that are spent on finding the smallest schedule. Default 200. */
  readonly shrinks?: number | undefined
}

/**
 * What runs came to that all held.
 *
 * @since 0.1.0
 * @category models
 */
export interface Report {
  readonly runs: number
  readonly seed: number
  /** How many faults befell them, all together. */
  readonly faults: number
  /** In how many runs the program failed as `tolerate` allows. */
  readonly tolerated: number
  /** The virtual time that they took, all together. */
  readonly elapsed: Duration.Duration
}

/** What a simulated run brings: the program need not. */
type Provided = Scope.Scope | Trace.Recorder | CircuitBreaker.Registry

interface Broken {
  readonly kind: SimulationError["kind"]
  readonly error: unknown
}

/** A source of faults that remembers those it gave out. */
const recording = (source: Chaos.Service, into: Array<Fault>): Chaos.Service => ({
  ...source,
  next: (agent) => {
    const due = source.next(agent)
    if (due !== undefined) {
      const { call, fault, latencyMillis, retryAfterMillis } = due
      into.push(
        new Fault({
          agent,
          call,
          fault,
          ...(fault === "latency" ? { latencyMillis } : {}),
          ...(fault === "rate-limit" ? { retryAfterMillis } : {})
        })
      )
    }
    return due
  }
})

/** A source that gives out these faults and no others. */
const scheduled = (
  schedule: ReadonlyArray<typeof Fault.Encoded>,
  random: Chaos.Service["random"],
  malform: Chaos.Due["malform"]
): Chaos.Service => {
  const calls = new Map<string, number>()
  return {
    random,
    next: (agent) => {
      const call = (calls.get(agent) ?? 0) + 1
      calls.set(agent, call)
      const due = schedule.find((each) => each.agent === agent && each.call === call)
      if (due === undefined) return undefined
      const { fault, latencyMillis = 1000, retryAfterMillis = 250 } = due
      return { fault, call, latencyMillis, retryAfterMillis, malform }
    }
  }
}

/** How a run may end for itself. */
type Verdict = "held" | "tolerated" | Broken

const failed = (error: unknown): Broken => ({ kind: "failed", error: Cause.originalError(error) })

/** What the check says of a result: nothing, `false`, a throw, a promise or an effect. */
const checked = <A, R>(value: A, check: Options<A, never, R>["check"]): Effect.Effect<Verdict, never, R> =>
  Effect.suspend((): Effect.Effect<unknown, unknown, R> => {
    const answer = check?.(value)
    if (Effect.isEffect(answer)) return answer
    return answer instanceof Promise
      ? Effect.tryPromise({ try: () => answer, catch: (error) => error })
      : Effect.succeed(answer)
  }).pipe(
    Effect.sandbox,
    Effect.match({
      onFailure: (cause) => failed(Cause.squash(cause)),
      onSuccess: (answer) => (answer === false ? failed(new Error("the check does not hold")) : "held")
    })
  )

const judge = (ended: virtualTime.Ended<Verdict, never>): Verdict => {
  if (ended._tag !== "exit") return { kind: ended._tag, error: undefined }
  return Exit.match(ended.exit, {
    onFailure: (cause): Verdict => ({ kind: "died", error: Cause.originalError(Cause.squash(cause)) }),
    onSuccess: (verdict) => verdict
  })
}

/** The classes of an error and of what is inside it: what a graph's run failed with is what its node did. */
const signature = (error: unknown, depth = 0): string => {
  const inner =
    Predicate.isObject(error) && depth < 8
      ? "error" in error
        ? error.error
        : "cause" in error
          ? error.cause
          : undefined
      : undefined
  return inner === undefined ? ErrorInfo.tag(error) : `${ErrorInfo.tag(error)} < ${signature(inner, depth + 1)}`
}

/** The same break: of the same kind, with an error of the same class. */
const isSame = (a: Verdict, b: Verdict): boolean =>
  typeof a === "object" && typeof b === "object" && a.kind === b.kind && signature(a.error) === signature(b.error)

const whole = (name: string, value: number, least: number): number => {
  if (!Number.isSafeInteger(value) || value < least) {
    throw new RangeError(`Simulation: ${name} must be a whole number from ${least}, got ${value}`)
  }
  return value
}

const millis = (name: string, input: Duration.DurationInput): number =>
  Duration.toMillis(
    Option.getOrThrowWith(
      Duration.decodeUnknown(input),
      () => new RangeError(`Simulation: ${name} must be a duration, such as "1 day"`)
    )
  )

interface Outcome {
  readonly verdict: Verdict
  readonly faults: ReadonlyArray<Fault>
  readonly millis: number
  readonly spans: ReadonlyArray<Trace.SpanData>
}

/** Runs one seed, under the faults that it draws or under those of a schedule. */
type RunOnce<R> = (seed: number, schedule: Options["schedule"]) => Effect.Effect<Outcome, never, R>

const prepare = <A, E, R>(
  program: Effect.Effect<A, E, R>,
  options: Options<A, E, R>
): RunOnce<Exclude<R, Provided>> => {
  const limits: virtualTime.Limits = {
    timeoutMillis: millis("timeout", options.timeout ?? "1 day"),
    settleMillis: millis("settle", options.settle ?? 0),
    patienceMillis: millis("patience", options.patience ?? "250 millis")
  }
  const chaos: Chaos.Options = { ...options, rate: options.rate ?? 0.2 }
  // a mistake in the options is thrown where they are written
  Chaos.layer(chaos)

  return (seed, schedule) =>
    Effect.gen(function* () {
      const drawn = yield* Effect.provide(Chaos.Chaos, Chaos.layer({ ...chaos, seed }))
      const faults: Array<Fault> = []
      const source =
        schedule === undefined || drawn === undefined
          ? drawn
          : scheduled(schedule, drawn.random, options.malform ?? Chaos.truncated)
      const world = Layer.mergeAll(
        Trace.layerRecorder(),
        CircuitBreaker.layerRegistry,
        RetryBudget.layer(),
        Layer.succeed(Chaos.Chaos, source === undefined ? undefined : recording(source, faults))
      )
      let recorder: Trace.Service | undefined
      const life = Effect.flatMap(Trace.Recorder, (service) => {
        recorder = service
        return Effect.matchEffect(program, {
          onFailure: (error) =>
            Effect.sync((): Verdict => (options.tolerate?.(error) === true ? "tolerated" : failed(error))),
          onSuccess: (value) => checked(value, options.check)
        })
      })
      const clock = virtualTime.makeClock()
      const ended = yield* virtualTime.drive(
        life.pipe(
          Effect.scoped,
          Effect.provide(Layer.fresh(world)),
          Effect.withRandom(Random.make(`simulation/${seed}`))
        ) as Effect.Effect<Verdict, never, Exclude<R, Provided>>, // the compiler does not see through the nested exclusions
        clock,
        limits
      )
      const spans: ReadonlyArray<Trace.SpanData> = recorder === undefined ? [] : yield* recorder.spans
      return { verdict: judge(ended), faults, millis: clock.unsafeCurrentTimeMillis(), spans }
    })
}

/** Looks for the fewest faults that break the run in the same way, and makes the error of it. */
const explain = <R>(once: RunOnce<R>, seed: number, outcome: Outcome, tries: number) =>
  Effect.gen(function* () {
    let smallest = outcome
    const schedule = yield* shrink.smallest(
      outcome.faults,
      (part) =>
        Effect.map(once(seed, part), (tried) => {
          const same = isSame(outcome.verdict, tried.verdict)
          if (same && part.length <= smallest.faults.length) smallest = tried
          return same
        }),
      tries
    )
    return { schedule, smallest }
  })

/**
 * Runs a program many times under faults, and fails with the smallest schedule of faults that breaks it.
 *
 * Every agent's attempt and every `Chaos.inject(effect, name)` is a place where a fault may come. Each run has a clock, random numbers, circuit breakers,
 * a retry budget and a recorder of spans of its own; what else the program keeps (a database, a cache) must be made inside it. Runs follow each other.
 * The program must not wait for real timers (`setTimeout`): only Effect's clock is virtual.
 *
 * @since 0.1.0
 * @category running
 * @throws `RangeError` when an option makes no sense.
 * @example
 * ```ts run
 * import { Effect, Ref } from "effect"
 * import { Agent, Chaos } from "holdfast"
 * import { Simulation } from "holdfast/testing"
 *
 * // books first and confirms then: a retry books again
 * const trip = Effect.gen(function* () {
 *   const bookings = yield* Ref.make(0)
 *   const book = Effect.zipRight(Ref.update(bookings, (n) => n + 1), Chaos.inject(Effect.void, "confirm"))
 *   yield* Effect.ignore(Agent.make("book", () => book).invoke(undefined))
 *   return yield* Ref.get(bookings)
 * })
 *
 * const error = await Effect.runPromise(Effect.flip(Simulation.run(trip, { check: (bookings) => bookings <= 1 })))
 * if (!String(error.schedule).includes("confirm")) throw error
 * ```
 */
export const run = <A, E, R>(
  program: Effect.Effect<A, E, R>,
  options: Options<A, E, R> = {}
): Effect.Effect<Report, SimulationError, Exclude<R, Provided>> => {
  const runs = whole("runs", options.runs ?? 100, 1)
  const first = whole("seed", options.seed ?? 0, Number.MIN_SAFE_INTEGER)
  const tries = whole("shrinks", options.shrinks ?? 200, 0)
  const once = prepare(program, options)
  return Effect.gen(function* () {
    const sum = { faults: 0, tolerated: 0, millis: 0 }
    for (let index = 0; index < runs; index++) {
      const seed = first + index
      const outcome = yield* once(seed, options.schedule)
      const { verdict } = outcome
      sum.faults += outcome.faults.length
      sum.millis += outcome.millis
      if (verdict === "tolerated") sum.tolerated++
      if (typeof verdict === "string") continue
      const { schedule, smallest } = yield* explain(once, seed, outcome, tries)
      return yield* new SimulationError({
        kind: verdict.kind,
        seed,
        run: index + 1,
        runs,
        schedule,
        faults: outcome.faults,
        error: typeof smallest.verdict === "object" ? smallest.verdict.error : verdict.error,
        trace: Trace.render(smallest.spans, { color: false, width: 120 })
      })
    }
    const { faults, millis, tolerated } = sum
    return { runs, seed: first, faults, tolerated, elapsed: Duration.millis(millis) }
  })
}
