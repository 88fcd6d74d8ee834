/**
 * `holdfast report`: how the agents have stood up, and whether that is good enough.
 *
 * @since 0.1.0
 */
import { existsSync } from "node:fs"
import { join } from "node:path"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Database from "../../database/Database.js"
import type { DatabaseError } from "../../database/DatabaseError.js"
import * as Report from "../../langfuse/Report.js"
import { ReportError } from "../../langfuse/ReportError.js"
import type { ConfigurationError } from "../../observability/ConfigurationError.js"
import * as terminal from "../internal/terminal.js"
import * as layers from "../layers.js"
import type { Settings } from "../Settings.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface ReportOptions {
  readonly since: Duration.Duration
  readonly agent: string | undefined
  readonly objectives: ReadonlyArray<Report.Objective>
  readonly json: boolean
}

/** The exit code where an objective is missed. */
const missedCode = 3

const isEmpty = (error: { readonly _tag: string }): boolean =>
  error._tag === "ReportError" && "reason" in error && error.reason === "NoSource"

/** The outboxes that have something in them: that of the database, if it is there already, and that of programs without one. */
const outboxes = (
  settings: Settings
): Effect.Effect<Report.Source, ReportError | DatabaseError | ConfigurationError, Scope.Scope> =>
  Effect.gen(function* () {
    const { database } = settings
    const folder = join(database.dataDir ?? ".holdfast", "outbox")
    const asked: Array<Effect.Effect<Report.Source, ReportError | DatabaseError | ConfigurationError, Scope.Scope>> = []
    if (database.url !== undefined || (database.dataDir !== undefined && !layers.isEmpty(database.dataDir))) {
      asked.push(
        Effect.flatMap(Database.make(database), (context) => Effect.provide(Report.outbox({ folder }), context))
      )
    }
    if (existsSync(folder)) asked.push(Report.outbox({ folder }))
    const found: Array<Report.Source> = []
    for (const each of asked) {
      const source = yield* Effect.catchIf(Effect.asSome(each), isEmpty, () => Effect.succeedNone)
      if (Option.isSome(source)) found.push(source.value)
    }
    if (found.length === 0) {
      return yield* new ReportError({
        reason: "NoSource",
        source: "",
        message:
          "there is nothing to report on: LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are not set, and no observation is in the outbox. Set the keys, or HOLDFAST_OUTBOX_KEEP (such as 30 days) to keep copies here"
      })
    }
    return {
      name: found.map(({ name }) => name).join(" and "),
      observations: (period: Report.Period) =>
        found.reduce<Stream.Stream<Report.Observation, ReportError>>(
          (all, source) => Stream.concat(all, source.observations(period)),
          Stream.empty
        )
    }
  })

const sourceOf = (settings: Settings) => {
  const langfuse = Option.getOrUndefined(settings.langfuse)
  return langfuse?.publicKey === undefined ? outboxes(settings) : Report.langfuse(langfuse)
}

const percent = (share: number | undefined): string => {
  if (share === undefined) return "-"
  const text = (share * 100).toFixed(2).replace(/\.?0+$/, "")
  // what is not whole must not look whole
  return `${text === "100" && share < 1 ? "99.99" : text === "0" && share > 0 ? "0.01" : text} %`
}

const seconds = (value: number | undefined): string => {
  if (value === undefined) return "-"
  if (value < 1) return `${Math.round(value * 1000)} ms`
  if (value < 120) return `${value.toFixed(value < 10 ? 2 : 1)} s`
  return value < 7_200 ? `${(value / 60).toFixed(1)} min` : `${(value / 3_600).toFixed(1)} h`
}

const number = (value: number | undefined): string => (value === undefined ? "-" : value.toFixed(2))

const time = (date: Date): string => date.toISOString().replace("T", " ").slice(0, 19)

const inUnit = (value: number | undefined, unit: Report.MeasureInfo["unit"]): string =>
  value === undefined
    ? "-"
    : unit === "%"
      ? percent(value / 100)
      : unit === "s"
        ? seconds(value)
        : `${Math.round(value * 100) / 100}`

const maxCell = 48

/** The first column to the left, the others, which are figures, to the right. */
const table = (cells: ReadonlyArray<ReadonlyArray<string>>, left = 1): ReadonlyArray<string> => {
  // names are anybody's: none may move the cursor, or push the figures off the screen
  const rows = cells.map((row) => row.map((cell) => terminal.cut(cell.replace(/\p{Cc}/gu, " "), maxCell)))
  const widths = (rows[0] ?? []).map((_, column) =>
    rows.reduce((most, row) => Math.max(most, row[column]?.length ?? 0), 0)
  )
  return rows.map((row) =>
    row
      .map((cell, column) => (column < left ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join("  ")
      .trimEnd()
  )
}

const plural = (count: number, word: string): string => `${count} ${word}${count === 1 ? "" : "s"}`

/** The newest may be on their way, or have been read before they had ended. */
const missing = ({ counted, observations }: Report.Report): string =>
  counted === undefined || counted <= observations
    ? ""
    : ` (${counted} are counted there: some were not to be read yet)`

/** Whether anything in the period is of use for a figure. */
const isSilent = ({ breakers, calls, degradation, failures, retry }: Report.Report): boolean =>
  calls.total + retry.executions + degradation.runs + breakers.length + failures.length === 0

const summary = (report: Report.Report): ReadonlyArray<readonly [string, string]> => {
  const { breakers, calls, degradation, fallback, latency, recovery, retry } = report
  const openings = breakers.reduce((sum, each) => sum + each.openings, 0)
  const unfinished = calls.unfinished === 0 ? "" : `, ${calls.unfinished} unfinished`
  return [
    ["availability", `${percent(calls.availability)}  ${calls.answered} answered, ${calls.failed} failed${unfinished}`],
    [
      "latency",
      latency === undefined
        ? "-"
        : `p50 ${seconds(latency.p50)}, p95 ${seconds(latency.p95)}, p99 ${seconds(latency.p99)}, at most ${seconds(latency.max)}`
    ],
    [
      "retries",
      `${percent(retry.successRate)}  ${retry.rescued} of ${retry.retried} that were tried again worked; ${number(retry.meanAttempts)} tries on average`
    ],
    [
      "fallbacks",
      `${percent(fallback.rate)}  asked in ${plural(fallback.asked, "call")}, answered in ${fallback.answered}`
    ],
    [
      "recovery",
      recovery === undefined
        ? "-"
        : `p50 ${seconds(recovery.p50)}, p95 ${seconds(recovery.p95)}, p99 ${seconds(recovery.p99)}, in ${plural(recovery.calls, "call")} that had failed first`
    ],
    ...(report.agent === undefined
      ? [
          [
            "degradation",
            degradation.runs === 0
              ? "-  no swarm ran"
              : `${percent(degradation.rate)}  of ${plural(degradation.runs, "run")}: ${degradation.levels[1]} at level 1, ${degradation.levels[2]} at level 2, ${degradation.failed} failed`
          ] as const
        ]
      : []),
    [
      "breakers",
      openings === 0
        ? "none opened"
        : `${plural(openings, "opening")} of ${plural(breakers.filter((each) => each.openings > 0).length, "breaker")}`
    ]
  ]
}

const objectiveRows = ({ objectives }: Report.Report, paint: terminal.Paint): ReadonlyArray<string> =>
  table(
    objectives.map(({ direction, measure, met, unit, value, wanted }) => [
      met === undefined ? "? not judged" : met ? "✓ met" : "✗ missed",
      measure,
      `${direction} ${inUnit(wanted, unit)}`,
      met === undefined ? "nothing to judge it by" : inUnit(value, unit)
    ]),
    2
  ).map((line, index) => {
    const met = objectives[index]?.met
    return `  ${paint(met === undefined ? "yellow" : met ? "green" : "red", line)}`
  })

/**
 * The report for a person.
 *
 * @since 0.1.0
 * @category rendering
 */
export const render = (report: Report.Report, paint: terminal.Paint): string => {
  const { agents, breakers, failures, objectives, period } = report
  const title = (name: string) => ["", paint("bold", name)]
  const whose = report.agent === undefined ? "" : ` of the agent ${report.agent}`
  const out = [
    `${paint("bold", `Report${whose}`)}, ${time(period.from)} to ${time(period.to)} UTC, from ${report.source}`,
    `${plural(report.observations, "observation")} in ${plural(report.traces, "trace")}${missing(report)}`
  ]
  if (isSilent(report)) {
    out.push("", `nothing in this time: no agent${report.agent === undefined ? "" : ` "${report.agent}"`} was called`)
  } else {
    out.push("", ...summary(report).map(([label, text]) => `  ${label.padEnd(14)}${text}`))
  }
  if (agents.length > 0) {
    const rows = agents.map(({ agent, calls, fallback, latency, retry }) => [
      agent,
      `${calls.total}`,
      percent(calls.availability),
      percent(fallback.rate),
      percent(retry.successRate),
      number(retry.meanAttempts),
      ...[latency?.p50, latency?.p95, latency?.p99].map(seconds)
    ])
    const header = ["AGENT", "CALLS", "AVAILABLE", "FALLBACK", "RETRIED WELL", "TRIES", "P50", "P95", "P99"]
    out.push(...title("Agents"), ...table([header, ...rows]).map((line) => `  ${line}`))
  }
  if (failures.length > 0) {
    const rows = failures.map(({ agent, attempts, calls, errorType, executions }) => [
      agent ?? "-",
      errorType,
      ...[attempts, executions, calls].map(String)
    ])
    const header = ["AGENT", "CLASS", "TRIES", "REFUSED", "CALLS LOST"]
    out.push(...title("Failures"), ...table([header, ...rows], 2).map((line) => `  ${line}`))
  }
  if (breakers.length > 0) {
    const rows = breakers.map(({ breaker, isOpen, longestSeconds, meanSeconds, openSeconds, openings, reopenings }) => [
      breaker,
      `${openings}`,
      `${reopenings}`,
      seconds(openSeconds),
      seconds(meanSeconds),
      seconds(longestSeconds),
      isOpen ? "open" : "closed"
    ])
    const header = ["BREAKER", "OPENED", "AGAIN", "OPEN FOR", "MEAN", "LONGEST", "NOW"]
    out.push(...title("Circuit breakers"), ...table([header, ...rows]).map((line) => `  ${line}`))
  }
  if (objectives.length > 0) out.push(...title("Objectives"), ...objectiveRows(report, paint))
  return `${out.join("\n")}\n`
}

/**
 * The report as one document: what has nothing to be worked out from is null.
 *
 * @since 0.1.0
 * @category rendering
 */
export const document = (report: Report.Report): string =>
  JSON.stringify(report, (_, value: unknown) => (value === undefined ? null : value), 2)

/**
 * Prints the figures of a time, and says of each objective whether it is met. The exit code is 3 if one is missed.
 *
 * @since 0.1.0
 * @category commands
 */
export const report = (settings: Settings, options: ReportOptions) =>
  Effect.gen(function* () {
    const { agent, objectives, since } = options
    const source = yield* sourceOf(settings)
    const made = yield* Report.make({ source, since, agent, objectives })
    const text = options.json
      ? `${document(made)}\n`
      : render(made, terminal.painter(terminal.hasColor(process.stdout)))
    yield* terminal.write(process.stdout, text)
    if (Report.missed(made).length > 0) process.exitCode = missedCode
  }).pipe(Effect.scoped, Effect.withTracerEnabled(false), Effect.provide(layers.logging(settings)))
