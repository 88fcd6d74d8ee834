/** What can be asked of the figures, and whether it holds. */
import * as Either from "effect/Either"
import type { Figures, Judgement, Measure, MeasureInfo, Objective } from "../Report.js"

const percent = (share: number | undefined): number | undefined => (share === undefined ? undefined : share * 100)

interface Definition extends MeasureInfo {
  /** In the measure's unit; nothing where there is nothing to measure. */
  readonly of: (figures: Figures) => number | undefined
}

/** @internal */
export const measures: Readonly<Record<Measure, Definition>> = {
  availability: {
    unit: "%",
    direction: "at least",
    description: "the share of the outermost calls that were answered",
    of: ({ calls }) => percent(calls.availability)
  },
  "retry-success": {
    unit: "%",
    direction: "at least",
    description: "the share of the executions with more than one try that worked in the end",
    of: ({ retry }) => percent(retry.successRate)
  },
  "mean-attempts": {
    unit: "",
    direction: "at most",
    description: "tries an execution",
    of: ({ retry }) => retry.meanAttempts
  },
  "fallback-rate": {
    unit: "%",
    direction: "at most",
    description: "the share of the calls in which a fallback was asked",
    of: ({ fallback }) => percent(fallback.rate)
  },
  "degradation-rate": {
    unit: "%",
    direction: "at most",
    description: "the share of the swarms' runs that were degraded",
    of: ({ degradation }) => percent(degradation.rate)
  },
  "p50-latency": {
    unit: "s",
    direction: "at most",
    description: "the time that half of the outermost calls took at most",
    of: ({ latency }) => latency?.p50
  },
  "p95-latency": {
    unit: "s",
    direction: "at most",
    description: "the time that 95 % of the outermost calls took at most",
    of: ({ latency }) => latency?.p95
  },
  "p99-latency": {
    unit: "s",
    direction: "at most",
    description: "the time that 99 % of the outermost calls took at most",
    of: ({ latency }) => latency?.p99
  },
  "p95-recovery": {
    unit: "s",
    direction: "at most",
    description: "the time from the first failure to the answer that 95 % of the recovered calls took at most",
    of: ({ recovery }) => recovery?.p95
  },
  "breaker-openings": {
    unit: "",
    direction: "at most",
    description: "how often a circuit breaker opened",
    // a period without a call has not been without openings: nothing was tried
    of: ({ breakers, retry }) =>
      retry.executions === 0 && breakers.length === 0
        ? undefined
        : breakers.reduce((sum, { openings }) => sum + openings, 0)
  }
}

const names = Object.keys(measures).join(", ")

const isMeasure = (name: string): name is Measure => Object.hasOwn(measures, name)

const takes = {
  "%": "a percentage from 0 to 100, such as 99.9",
  s: "seconds, such as 2.5",
  "": "a number, such as 1.5"
}

/** @internal */
export const parse = (text: string): Either.Either<Objective, string> => {
  const [, name, value] = /^\s*([^=]*?)\s*=\s*(.*?)\s*$/.exec(text) ?? []
  if (name === undefined || value === undefined) {
    return Either.left(`an objective is a measure and a value, such as availability=99.9, not ${JSON.stringify(text)}`)
  }
  if (!isMeasure(name)) {
    return Either.left(`there is no measure ${JSON.stringify(name)}; the measures are ${names}`)
  }
  const { unit } = measures[name]
  const [, digits] = /^(\d+(?:\.\d*)?|\.\d+)(?: ?(%|s))?$/.exec(value) ?? []
  const suffix = /[%s]$/.exec(value)?.[0]
  const wanted = Number(digits)
  if (digits === undefined || (suffix !== undefined && suffix !== unit) || (unit === "%" && wanted > 100)) {
    return Either.left(`${name} takes ${takes[unit]}, not ${JSON.stringify(value)}`)
  }
  return Either.right({ measure: name, wanted })
}

/** A share of a whole may be a digit off in its last place. */
const rounding = 1e-9

/** @internal */
export const judge = ({ measure, wanted }: Objective, figures: Figures): Judgement => {
  const { direction, of, unit } = measures[measure]
  const value = of(figures)
  const met =
    value === undefined ? undefined : direction === "at least" ? value >= wanted - rounding : value <= wanted + rounding
  return { measure, direction, unit, wanted, value, met }
}
