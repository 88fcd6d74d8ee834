/**
 * Prose about the findings: its shape, the template that always works, and what a chat model is asked. The call of the model is in `NarrativeModel`.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type { Findings } from "./Findings.js"
import type * as Market from "./Market.js"
import type * as Reversion from "./Reversion.js"
import type * as Risk from "./Risk.js"
import * as Seasonality from "./Seasonality.js"
import type * as Technical from "./Technical.js"

/** Text that is not blank; blanks around it are cut off. */
const text = (longest: number) => Schema.Trim.pipe(Schema.nonEmptyString(), Schema.maxLength(longest))

/**
 * A text of a headline and a few paragraphs. Whatever writes it, a model or the template, must come to this.
 *
 * @since 0.1.0
 * @category models
 */
export const Prose = Schema.Struct({
  headline: text(200),
  paragraphs: Schema.Array(text(2000)).pipe(Schema.minItems(1), Schema.maxItems(8))
})

/**
 * @since 0.1.0
 * @category models
 */
export type Prose = typeof Prose.Type

/**
 * What the prose is about.
 *
 * @since 0.1.0
 * @category models
 */
export interface Input {
  readonly ticker: string
  readonly benchmark: string
  /** The last day of the prices. */
  readonly asOf: string
  readonly findings: Findings
}

const percent = (value: number): string => `${(value * 100).toFixed(1)} %`
const unsigned = (value: number): string => percent(Math.abs(value))

/** The sentences there are figures for, as a paragraph; nothing if there are none. */
const paragraph = (...sentences: ReadonlyArray<string | undefined>): ReadonlyArray<string> => {
  const there = sentences.filter((sentence) => sentence !== undefined)
  return there.length === 0 ? [] : [there.join(" ")]
}

/** The words of a list, the last joined by "and". */
const list = (words: ReadonlyArray<string>): string =>
  words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.slice(-1).join("")}`

const given = <A>(value: A | null, render: (value: A) => string): string | undefined =>
  value === null ? undefined : render(value)

const trend = ({ sma50, sma200 }: Technical.Figures): "up" | "down" | undefined =>
  sma50 === null || sma200 === null || sma50 === sma200 ? undefined : sma50 > sma200 ? "up" : "down"

const technical = (ticker: string, figures: Technical.Figures): ReadonlyArray<string> => {
  const { momentum12_1, rsi14, sma200, sma50 } = figures
  const direction = trend(figures)
  return paragraph(
    sma50 === null || sma200 === null
      ? undefined
      : direction === undefined
        ? `${ticker}'s 50-day and 200-day averages are both at ${sma50.toFixed(2)}, so there is no trend to speak of.`
        : `${ticker} is in ${direction === "up" ? "an uptrend" : "a downtrend"} by its moving averages: the mean of the last 50 closes is ` +
          `${sma50.toFixed(2)}, ${unsigned(sma50 / sma200 - 1)} ${direction === "up" ? "above" : "below"} that of the last 200, ${sma200.toFixed(2)}.`,
    given(
      momentum12_1,
      (value) => `Over the twelve months before the last one it ${value < 0 ? "lost" : "gained"} ${unsigned(value)}.`
    ),
    given(rsi14, (value) => {
      const reading =
        value >= 70
          ? "which counts as overbought"
          : value <= 30
            ? "which counts as oversold"
            : "neither overbought nor oversold"
      return `Wilder's RSI of 14 days stands at ${value.toFixed(1)}, ${reading}.`
    })
  )
}

const badDays = (var95: number, shortfall: number): string =>
  var95 > 0
    ? `On one day in twenty it lost ${percent(var95)} or more, and ${percent(shortfall)} on the average of those days.`
    : shortfall > 0
      ? `Less than one day in twenty ended with a loss, and the worst twentieth of days lost ${percent(shortfall)} on average.`
      : "Not even its worst days in twenty ended with a loss."

const risk = ({ expectedShortfall95, maxDrawdown, var95, volatility }: Risk.Figures): ReadonlyArray<string> =>
  paragraph(
    given(volatility, (value) => `Returns of the last year varied by ${percent(value)}, annualised.`),
    var95 === null || expectedShortfall95 === null ? undefined : badDays(var95, expectedShortfall95),
    maxDrawdown.peak === null || maxDrawdown.trough === null
      ? "It never closed below an earlier high."
      : `The worst fall in these prices was ${unsigned(maxDrawdown.value)}, from ${maxDrawdown.peak} to ${maxDrawdown.trough}.`
  )

const market = (benchmark: string, { beta, correlation, relativeReturn }: Market.Figures): ReadonlyArray<string> =>
  paragraph(
    given(
      relativeReturn,
      (value) => `Over the last year it ${value < 0 ? "fell behind" : "outpaced"} ${benchmark} by ${unsigned(value)}.`
    ),
    given(
      beta,
      (value) =>
        `Its beta is ${value.toFixed(2)}: a move of 1 % in ${benchmark} came with one of ${value.toFixed(2)} % on average.`
    ),
    given(correlation, (value) => {
      const shared = `${Math.round(value * value * 100)} % of its variance moves with ${benchmark}`
      return `The correlation is ${value.toFixed(2)}, so ${shared}.`
    })
  )

const monthNames: Record<Seasonality.MonthNumber, string> = {
  "1": "January",
  "2": "February",
  "3": "March",
  "4": "April",
  "5": "May",
  "6": "June",
  "7": "July",
  "8": "August",
  "9": "September",
  "10": "October",
  "11": "November",
  "12": "December"
}

const seasonality = (figures: Seasonality.Figures): ReadonlyArray<string> => {
  const months = Seasonality.MonthNumber.literals.flatMap((key) => {
    const { mean, n, t } = figures[key]
    return mean === null ? [] : [{ name: monthNames[key], mean, n, t }]
  })
  const [best] = [...months].sort((a, b) => b.mean - a.mean)
  const [worst] = [...months].sort((a, b) => a.mean - b.mean)
  if (best === undefined || worst === undefined) return []
  const marked = months.filter(({ t }) => t !== null && Math.abs(t) >= 2).map(({ name }) => name)
  return paragraph(
    `By calendar month ${best.name} was the best, ${percent(best.mean)} on average over ${best.n} years, and ${worst.name} the worst, ${percent(worst.mean)}.`,
    marked.length === 0
      ? "No month stands out from chance."
      : `${list(marked)} ${marked.length === 1 ? "has" : "have"} a t-statistic of 2 or more in size, which among twelve months may still be luck.`
  )
}

const reversion = ({ ar1Slope, halfLifeDays, z20 }: Reversion.Figures): ReadonlyArray<string> =>
  paragraph(
    given(z20, (value) => {
      const side = value < 0 ? "below" : "above"
      const stretched = Math.abs(value) >= 2 ? ", which is a stretch" : ""
      return `The last close is ${Math.abs(value).toFixed(1)} standard deviations ${side} its 20-day mean${stretched}.`
    }),
    halfLifeDays === null
      ? ar1Slope === null
        ? undefined
        : "Over the last year the price showed no pull back to a mean."
      : `Gaps to its mean of the last year closed by half in about ${halfLifeDays.toFixed(0)} trading days, if it reverts at all.`
  )

const agents = ["technical", "risk", "market", "seasonality", "reversion"] as const

const headline = ({ asOf, benchmark, findings, ticker }: Input): string => {
  const direction = findings.technical === undefined ? undefined : trend(findings.technical)
  const relative = findings.market?.relativeReturn ?? null
  const volatility = findings.risk?.volatility ?? null
  const parts = [
    direction === undefined ? undefined : direction === "up" ? "in an uptrend" : "in a downtrend",
    given(relative, (value) => `${value < 0 ? "behind" : "ahead of"} ${benchmark} by ${unsigned(value)} over a year`),
    given(volatility, (value) => `with ${percent(value)} volatility`)
  ].filter((part) => part !== undefined)
  return parts.length === 0 ? `${ticker} on ${asOf}` : `${ticker} on ${asOf}: ${parts.join(", ")}`
}

/**
 * Writes the prose from the figures alone. Pure; says what it has figures for, and names the findings that are missing. The same input always gives the
 * same text, so it is what stands in when no model answers.
 *
 * @since 0.1.0
 * @category writing
 */
export const template = (input: Input): Prose => {
  const { benchmark, findings, ticker } = input
  const missing = agents.filter((agent) => findings[agent] === undefined)
  const paragraphs = [
    ...(findings.technical === undefined ? [] : technical(ticker, findings.technical)),
    ...(findings.risk === undefined ? [] : risk(findings.risk)),
    ...(findings.market === undefined ? [] : market(benchmark, findings.market)),
    ...(findings.seasonality === undefined ? [] : seasonality(findings.seasonality)),
    ...(findings.reversion === undefined ? [] : reversion(findings.reversion)),
    ...(missing.length === 0 ? [] : [`Missing from this picture: ${list(missing)}.`])
  ]
  return {
    headline: headline(input),
    paragraphs: paragraphs.length === 0 ? ["There are no figures to speak of."] : paragraphs
  }
}

/**
 * What a chat model is asked: the rules, then the figures as JSON.
 *
 * @since 0.1.0
 * @category writing
 */
export const prompt = ({
  asOf,
  benchmark,
  findings,
  ticker
}: Input): { readonly system: string; readonly user: string } => ({
  system: [
    "You write a short, sober research note about a stock from figures that are given to you.",
    "Use only these figures. Invent no number, event, reason or forecast, and give no advice to buy or sell. Where a figure is null or a field is",
    "missing, say nothing of it. Returns, volatility, drawdown, value at risk and momentum are fractions: 0.05 is 5 %. Months are numbered from 1.",
    "A month's t below 2 in size is noise.",
    'Answer with one JSON object and nothing else: {"headline": string, "paragraphs": [string, ...]}. The headline has at most 120 characters; there are',
    "two to four paragraphs of at most 80 words each, in plain text."
  ].join("\n"),
  user: `Ticker: ${ticker}\nBenchmark: ${benchmark}\nAs of: ${asOf}\nFigures:\n${JSON.stringify(findings)}`
})
