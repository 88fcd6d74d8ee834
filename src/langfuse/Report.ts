/**
 * How a program and its agents have stood up to failures: figures worked out from the observations in Langfuse, or from a copy of them, and
 * objectives that they are held against. Loads nothing of Langfuse's or OpenTelemetry's.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { ConfigurationError } from "../observability/ConfigurationError.js"
import type * as Trace from "../observability/Trace.js"
import { Tally } from "./internal/reportFigures.js"
import * as reportLangfuse from "./internal/reportLangfuse.js"
import type {
  BreakerFigures,
  CallFigures,
  DegradationFigures,
  FallbackFigures,
  Figures,
  RecoveryFigures,
  RetryFigures
} from "./internal/reportModel.js"
import * as objectives from "./internal/reportObjectives.js"
import * as settings from "./internal/settings.js"
import type * as Langfuse from "./Langfuse.js"
import { ReportError } from "./ReportError.js"

export type {
  AgentFigures,
  BreakerFigures,
  CallFigures,
  DegradationFigures,
  FailureFigures,
  FallbackFigures,
  Figures,
  Percentiles,
  RecoveryFigures,
  RetryFigures
} from "./internal/reportModel.js"

/**
 * What is looked at of an observation. A span that `Trace.Recorder` has kept is one.
 *
 * @since 0.1.0
 * @category models
 */
export type Observation = Pick<
  Trace.SpanData,
  "traceId" | "spanId" | "parentId" | "name" | "level" | "statusMessage" | "startMillis" | "endMillis" | "metadata"
>

/**
 * From its beginning up to, and without, its end.
 *
 * @since 0.1.0
 * @category models
 */
export interface Period {
  readonly from: Date
  readonly to: Date
}

/**
 * Where observations come from.
 *
 * @since 0.1.0
 * @category models
 */
export interface Source {
  /** As messages name it, such as `Langfuse at https://cloud.langfuse.com`. */
  readonly name: string
  /** All observations that began in the period, in any order. One that comes twice counts once. */
  readonly observations: (period: Period) => Stream.Stream<Observation, ReportError>
  /** How many there are, if that can be known without reading them. */
  readonly count?: ((period: Period) => Effect.Effect<number | undefined>) | undefined
}

/**
 * What can be an objective:
 *
 * | measure | unit | holds if | of |
 * |---|---|---|---|
 * | `availability` | % | at least | {@link CallFigures.availability} of the outermost calls |
 * | `retry-success` | % | at least | {@link RetryFigures.successRate} |
 * | `mean-attempts` | | at most | {@link RetryFigures.meanAttempts} |
 * | `fallback-rate` | % | at most | {@link FallbackFigures.rate} |
 * | `degradation-rate` | % | at most | {@link DegradationFigures.rate} |
 * | `p50-latency`, `p95-latency`, `p99-latency` | s | at most | {@link Figures.latency} |
 * | `p95-recovery` | s | at most | {@link RecoveryFigures} |
 * | `breaker-openings` | | at most | the sum of {@link BreakerFigures.openings} |
 *
 * @since 0.1.0
 * @category models
 */
export type Measure =
  | "availability"
  | "retry-success"
  | "mean-attempts"
  | "fallback-rate"
  | "degradation-rate"
  | "p50-latency"
  | "p95-latency"
  | "p99-latency"
  | "p95-recovery"
  | "breaker-openings"

/**
 * @since 0.1.0
 * @category models
 */
export interface MeasureInfo {
  readonly unit: "%" | "s" | ""
  readonly direction: "at least" | "at most"
  readonly description: string
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Objective {
  readonly measure: Measure
  /** In the measure's unit: 99.9 is 99.9 % of `availability`. */
  readonly wanted: number
}

/**
 * Whether an objective is met.
 *
 * @since 0.1.0
 * @category models
 */
export interface Judgement extends Objective, Omit<MeasureInfo, "description"> {
  /** In the measure's unit. */
  readonly value: number | undefined
  /** Undefined if there was nothing to be measured: such an objective is neither met nor missed. */
  readonly met: boolean | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Report extends Figures {
  /** The {@link Source.name}. */
  readonly source: string
  readonly period: Period
  /** How many observations the source itself counts, if it does: where they are more than were read, the figures are not complete. */
  readonly counted: number | undefined
  /** The one agent that was asked for. */
  readonly agent: string | undefined
  readonly objectives: ReadonlyArray<Judgement>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Default {@link fromEnvironment}. */
  readonly source?: Source | undefined
  /** How far back; `Duration.infinity` for all there is. Default 1 day. */
  readonly since?: Duration.DurationInput | undefined
  /** Up to when. Default now. */
  readonly until?: Date | undefined
  /** Only this agent: its calls, and its tries as a fallback of others. Default all. */
  readonly agent?: string | undefined
  readonly objectives?: ReadonlyArray<Objective> | undefined
}

/**
 * All measures, by name.
 *
 * @since 0.1.0
 * @category objectives
 */
export const measures: Readonly<Record<Measure, MeasureInfo>> = objectives.measures

/**
 * Reads an objective as it is typed: a measure and a value, with or without its unit. The left says what is wrong with it.
 *
 * @since 0.1.0
 * @category objectives
 * @example
 * ```ts
 * import { Report } from "holdfast"
 *
 * Report.objective("availability=99.9") // Right: at least 99.9 % of the calls are answered
 * Report.objective("p95-latency=2.5s") // Right: 95 % of the calls take at most 2.5 seconds
 * Report.objective("availability=nearly") // Left
 * ```
 */
export const objective = (text: string): Either.Either<Objective, string> => objectives.parse(text)

/**
 * Observations that are at hand already, such as those of a `Trace.Recorder`.
 *
 * @since 0.1.0
 * @category sources
 */
export const observed = (observations: Iterable<Observation>, name = "observations at hand"): Source => ({
  name,
  observations: ({ from, to }) =>
    Stream.filter(
      Stream.fromIterable(observations),
      ({ startMillis }) => startMillis >= from.getTime() && startMillis < to.getTime()
    )
})

/**
 * @since 0.1.0
 * @category models
 */
export interface LangfuseOptions extends Pick<Langfuse.Options, "publicKey" | "secretKey" | "baseUrl"> {
  /** How long one request may take. Default 30 seconds. */
  readonly requestTimeout?: Duration.DurationInput | undefined
  /** How long one page may be waited for in all, when Langfuse asks to wait or fails. Default 2 minutes. */
  readonly patience?: Duration.DurationInput | undefined
  /** Observations a page, 1 to 1,000. Default 1,000; the older API takes no more than 100. */
  readonly pageSize?: number | undefined
}

/**
 * Langfuse's observations, asked of `/api/public/v2/observations` page by page, or of `/api/public/observations` where there is none (Langfuse
 * before version 4); and how many they are, of its metrics. When it limits the rate it is waited for as long as it says; failures that pass are tried again.
 *
 * Fails with `ConfigurationError` if an option is malformed, with `ReportError` (`NoSource`) if there are no keys.
 *
 * @since 0.1.0
 * @category sources
 */
export const langfuse = (options: LangfuseOptions): Effect.Effect<Source, ConfigurationError | ReportError> =>
  Effect.flatMap(
    settings.targets({ publicKey: options.publicKey, secretKey: options.secretKey, baseUrl: options.baseUrl }),
    ({ langfuse }) =>
      langfuse === undefined
        ? noSource("There are no keys of Langfuse's: set LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY")
        : Effect.succeed(
            reportLangfuse.make({
              ...langfuse,
              timeoutMillis: Duration.toMillis(options.requestTimeout ?? "30 seconds"),
              patienceMillis: Duration.toMillis(options.patience ?? "2 minutes"),
              pageSize: Math.min(1_000, Math.max(1, Math.floor(options.pageSize ?? 1_000)))
            })
          )
  )

const noSource = (message: string): Effect.Effect<never, ReportError> =>
  Effect.fail(new ReportError({ reason: "NoSource", source: "", message }))

/**
 * What is in the outbox: what waits to be delivered, and with `HOLDFAST_OUTBOX_KEEP` (`keep` of `Langfuse.OutboxOptions`) the copies of what was.
 * It is in the database if there is one in the context, else in the folder. Looking changes nothing.
 *
 * Fails with `ReportError` (`NoSource`) if there is nothing in it.
 *
 * @since 0.1.0
 * @category sources
 */
export const outbox = (options: Langfuse.OutboxOptions = {}): Effect.Effect<Source, ReportError> =>
  Effect.gen(function* () {
    const module = yield* Effect.promise(() => import("./internal/reportOutbox.js"))
    return yield* module.make(options)
  })

/**
 * {@link langfuse} if there are keys, else {@link outbox}, both with the settings of the environment.
 *
 * @since 0.1.0
 * @category sources
 */
export const fromEnvironment: Effect.Effect<Source, ConfigurationError | ReportError> = Effect.gen(function* () {
  const found = Option.getOrUndefined(yield* settings.fromEnvironment)
  if (found?.publicKey !== undefined) return yield* langfuse(found)
  const kept = yield* settings.outbox
  return yield* outbox(kept === false ? {} : kept)
})

/** The year 1900: databases know no time before. Who goes back further means all there is. */
const firstMillis = Date.UTC(1900)

/** Some ten requests. */
const manyObservations = 10_000

/**
 * Reads the observations of a period and works out the figures. Where there is nothing in it, everything is 0 or undefined.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Report } from "holdfast"
 *
 * const check = Effect.gen(function* () {
 *   const report = yield* Report.make({ since: "7 days", objectives: [{ measure: "availability", wanted: 99.9 }] })
 *   yield* Effect.log(`${report.calls.failed} of ${report.calls.total} calls failed`)
 *   return Report.missed(report).length === 0
 * })
 * ```
 */
export const make = (options: Options = {}): Effect.Effect<Report, ConfigurationError | ReportError> =>
  Effect.gen(function* () {
    const source = options.source ?? (yield* fromEnvironment)
    const to = options.until ?? new Date(yield* Clock.currentTimeMillis)
    const from = to.getTime() - Duration.toMillis(options.since ?? "1 day")
    const period: Period = { from: new Date(from < firstMillis ? 0 : from), to }
    const counted = source.count === undefined ? undefined : yield* source.count(period)
    if (counted !== undefined && counted >= manyObservations) {
      yield* Effect.logInfo(`${source.name} has ${counted} observations of this time; reading them takes a while`)
    }
    const tally = new Tally()
    yield* Stream.runForEachChunk(source.observations(period), (chunk) =>
      Effect.sync(() => {
        for (const observation of chunk) tally.add(observation)
      })
    )
    const figures = tally.figures(period, options.agent)
    return {
      source: source.name,
      period,
      counted,
      agent: options.agent,
      ...figures,
      objectives: (options.objectives ?? []).map((each) => objectives.judge(each, figures))
    }
  })

/**
 * The objectives that the figures do not meet. One that could not be judged is not among them.
 *
 * @since 0.1.0
 * @category getters
 */
export const missed = ({ objectives }: Report): ReadonlyArray<Judgement> =>
  objectives.filter(({ met }) => met === false)
