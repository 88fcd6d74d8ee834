/**
 * A research run as text for a person, and as one document for a machine.
 *
 * @since 0.1.0
 */
import * as Trace from "../observability/Trace.js"
import type * as Performance from "../programs/research/Performance.js"
import * as Rule from "../programs/research/Rule.js"
import type * as State from "../programs/research/State.js"
import { invocation } from "./internal/invocation.js"
import * as terminal from "./internal/terminal.js"

/**
 * What a run came to, and what this process saw of it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Run {
  readonly threadId: string
  readonly state: State.State
  /** The nodes with which this process went on, and how old their checkpoint was; absent for a run from the start. */
  readonly resumed: { readonly next: ReadonlyArray<string>; readonly ageSeconds: number } | undefined
  readonly spans: ReadonlyArray<Trace.SpanData>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Style {
  readonly color: boolean
  readonly width: number
}

const percent = (value: number | null | undefined, digits = 1): string =>
  value === null || value === undefined ? "-" : `${(value * 100).toFixed(digits)} %`
const number = (value: number | null | undefined, digits = 2): string =>
  value === null || value === undefined ? "-" : value.toFixed(digits)
const plural = (count: number, word: string): string => `${count} ${word}${count === 1 ? "" : "s"}`

const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

type Line = readonly [label: string, text: string]

const findingLines = ({ request, swarm }: State.State): ReadonlyArray<Line> => {
  const { market, reversion, risk, seasonality, technical } = swarm?.findings ?? {}
  const lines: Array<Line> = []
  if (technical !== undefined) {
    lines.push([
      "technical",
      `50-day mean ${number(technical.sma50)}, 200-day mean ${number(technical.sma200)}, 12-1 month momentum ${percent(technical.momentum12_1)}, RSI 14 ${number(technical.rsi14, 1)}`
    ])
  }
  if (risk !== undefined) {
    const { maxDrawdown } = risk
    lines.push([
      "risk",
      `volatility ${percent(risk.volatility)}, worst fall ${percent(maxDrawdown.value)}${maxDrawdown.peak === null ? "" : ` (${maxDrawdown.peak} to ${maxDrawdown.trough})`}, one-day 95 % VaR ${percent(risk.var95)}, expected shortfall ${percent(risk.expectedShortfall95)}`
    ])
  }
  if (market !== undefined) {
    lines.push([
      "market",
      `beta ${number(market.beta)}, correlation ${number(market.correlation)}, ${percent(market.relativeReturn)} against ${request.benchmark} over a year`
    ])
  }
  if (seasonality !== undefined) {
    const each = Object.entries(seasonality).flatMap(([month, { mean, t }]) =>
      mean === null ? [] : [`${months[Number(month) - 1]} ${percent(mean)} (t ${number(t, 1)})`]
    )
    lines.push(["seasonality", each.join(", ")])
  }
  if (reversion !== undefined) {
    lines.push([
      "reversion",
      `${number(reversion.z20, 1)} deviations from the 20-day mean; ${reversion.halfLifeDays === null ? "no reversion to a mean in the last year" : `half-life ${number(reversion.halfLifeDays, 0)} days`}`
    ])
  }
  return lines
}

const performanceRows = (columns: ReadonlyArray<readonly [string, Performance.Performance]>): ReadonlyArray<string> => {
  const rows: ReadonlyArray<readonly [string, (p: Performance.Performance) => string]> = [
    ["Sharpe ratio", (p) => number(p.sharpe)],
    ["total return", (p) => percent(p.totalReturn)],
    ["volatility", (p) => percent(p.volatility)],
    ["maximum drawdown", (p) => percent(p.maxDrawdown.value)],
    ["trades a year", (p) => number(p.turnoverPerYear, 1)],
    ["days invested", (p) => percent(p.exposure, 0)]
  ]
  const width = Math.max(12, ...columns.map(([name]) => name.length)) + 2
  return [
    `${"".padEnd(18)}${columns.map(([name]) => name.padStart(width)).join("")}`,
    ...rows.map(([label, show]) => `${label.padEnd(18)}${columns.map(([, p]) => show(p).padStart(width)).join("")}`)
  ]
}

/** Lines of a section, indented; a text that is too long goes on below itself. */
const block = (lines: ReadonlyArray<Line>, width: number): ReadonlyArray<string> => {
  const label = Math.max(0, ...lines.map(([name]) => name.length)) + 2
  return lines.flatMap(([name, text]) =>
    terminal.wrap(text, width - label - 2).map((part, index) => `  ${(index === 0 ? name : "").padEnd(label)}${part}`)
  )
}

const recoveryOf = (failure: State.State["failures"][number], state: State.State): string => {
  if (failure.recovery === "retry") return `recovered: ${failure.recoveredBy} worked`
  if (failure.recovery === "again") return `recovered: asked again after a pause, ${failure.recoveredBy} worked`
  if (failure.recovery === "fallback") return `recovered: ${failure.recoveredBy} took over`
  const missing = state.swarm?.missing.find(({ agent }) => agent === failure.agent)
  if (failure.node === "research_swarm") {
    if (failure.round < state.rounds) return `the swarm went out again (round ${failure.round + 1})`
    if (missing !== undefined && !missing.required) return "not recovered: the result does without it"
  }
  return "not recovered"
}

const strategyLines = (state: State.State, paint: terminal.Paint, width: number): ReadonlyArray<string> => {
  const out: Array<string> = []
  for (const verdict of state.verdicts) {
    const passed = verdict._tag === "Accepted"
    const [first = "", ...rest] = terminal.wrap(`${verdict.id}: ${Rule.describe(verdict.rule)}`, width - 14)
    out.push(`  ${passed ? paint("green", "✓ accepted") : paint("red", "✗ rejected")}  ${first}`)
    out.push(...rest.map((part) => `    ${part}`))
    out.push(...terminal.wrap(verdict.reason, width - 4).map((part) => `    ${part}`))
  }
  const { outcome } = state
  if (outcome === null) {
    out.push("  not there yet")
  } else if (outcome._tag === "Reported") {
    const { buyAndHold, id, performance } = outcome.report
    out.push(
      "",
      ...terminal
        .wrap(
          `Out of sample, ${performance.from} to ${performance.to}, ${performance.days} days that nothing before has looked at:`,
          width - 2
        )
        .map((part) => `  ${part}`)
    )
    out.push(
      ...performanceRows([
        [id, performance],
        ["buy and hold", buyAndHold]
      ]).map((row) => `    ${row}`),
      ...terminal.wrap(outcome.report.summary, width - 4).map((part) => `    ${part}`)
    )
  } else {
    const reason =
      outcome._tag === "NothingPassed" ? outcome.reason : `The run failed at ${outcome.node}: ${outcome.message}`
    out.push(
      ...terminal.wrap(reason, width - 2).map((part) => `  ${outcome._tag === "Failed" ? paint("red", part) : part}`)
    )
  }
  return out
}

const failureLines = (state: State.State, width: number): ReadonlyArray<string> => {
  const lines = state.failures.map(
    (failure): Line => [
      failure.by === failure.agent ? failure.agent : `${failure.agent} (${failure.by})`,
      `attempt ${failure.attempt}: ${failure.errorType}: ${failure.message} -> ${recoveryOf(failure, state)}`
    ]
  )
  const transitions = state.transitions.map(
    (each): Line => [
      each.agent,
      `circuit breaker ${each.from} -> ${each.to} after ${plural(each.failureCount, "failure")}`
    ]
  )
  return lines.length + transitions.length === 0 ? ["  none"] : block([...lines, ...transitions], width)
}

/**
 * The run for a person.
 *
 * @since 0.1.0
 * @category rendering
 */
export const text = (run: Run, { color, width }: Style): string => {
  const { resumed, spans, state, threadId } = run
  const { request, swarm } = state
  const paint = terminal.painter(color)
  const title = (name: string) => ["", paint("bold", name)]
  const missing = swarm?.missing ?? []
  const out = [
    ...terminal
      .wrap(
        `${request.ticker} against ${request.benchmark}, ${request.from} to ${request.to}, ${request.days} days`,
        width
      )
      .map((part) => paint("bold", part))
  ]
  if (resumed !== undefined) {
    const from =
      resumed.next.length === 0 ? "it had already ended: nothing ran again" : `went on at ${resumed.next.join(", ")}`
    out.push(...terminal.wrap(`resumed from a checkpoint ${Math.round(resumed.ageSeconds)} s old: ${from}`, width))
  }
  if (request.chaos !== null) {
    const { rate, seed } = request.chaos
    out.push(...terminal.wrap(`with faults injected into ${percent(rate, 0)} of the calls, seed ${seed}`, width))
  }

  out.push(...title("Findings"), ...block(findingLines(state), width))
  if (swarm?.narrative != null) {
    out.push("", ...terminal.wrap(swarm.narrative.headline, width - 2).map((part) => `  ${paint("bold", part)}`))
    for (const paragraph of swarm.narrative.paragraphs) {
      out.push(...terminal.wrap(paragraph, width - 2).map((part) => `  ${part}`))
    }
  }

  if (swarm !== null) {
    out.push(...title(`Degradation level ${swarm.degradationLevel}`))
    out.push(
      missing.length === 0
        ? "  nothing is missing"
        : block(
            missing.map(
              (each): Line => [
                each.agent,
                `missing (${each.required ? "required" : "optional"}): ${each.errorType}: ${each.message}`
              ]
            ),
            width
          ).join("\n")
    )
  }

  out.push(...title("Strategy"), ...strategyLines(state, paint, width))
  out.push(...title("Failures and recoveries"), ...failureLines(state, width))
  if (spans.length > 0) out.push(...title("Trace"), Trace.render(spans, { color, width }).trimEnd())
  out.push(...title("Thread"), `  ${threadId}`)
  if (state.outcome === null) out.push(`  go on with: ${invocation} resume ${threadId}`)
  else out.push(`  see it again with: ${invocation} resume ${threadId}`)
  return `${out.join("\n")}\n`
}

/**
 * The run as one JSON-able document, every figure at full precision.
 *
 * @since 0.1.0
 * @category rendering
 */
export const document = ({ resumed, spans, state, threadId }: Run) => {
  const { fit, outcome, swarm } = state
  return {
    program: state.request.program,
    thread: threadId,
    status: outcome === null ? "unfinished" : outcome._tag === "Failed" ? "failed" : "done",
    request: state.request,
    resumed: resumed ?? null,
    rounds: state.rounds,
    findings: swarm?.findings ?? {},
    narrative: swarm?.narrative ?? null,
    missing: swarm?.missing ?? [],
    degradationLevel: swarm?.degradationLevel ?? null,
    successRate: swarm?.successRate ?? null,
    strategy: fit,
    verdicts: state.verdicts,
    outcome,
    failures: state.failures.map((failure) => ({ ...failure, outcome: recoveryOf(failure, state) })),
    transitions: state.transitions,
    trace: spans
  }
}
