/** From observations to figures: docs/tracing.md's vocabulary, read backwards. */
import type { AgentFigures, BreakerFigures, FailureFigures, Figures, Observation, Period } from "../Report.js"
import { percentiles } from "./percentiles.js"

/** A value of the metadata: Langfuse hands back some as they were and others as text. */
const numberOf = (value: unknown): number | undefined => {
  if (typeof value === "number") return Number.isFinite(value) ? value : undefined
  return typeof value === "string" && /^-?\d+(?:\.\d+)?(?:e[+-]?\d+)?$/i.test(value) ? Number(value) : undefined
}

const booleanOf = (value: unknown): boolean | undefined =>
  value === true || value === "true" ? true : value === false || value === "false" ? false : undefined

/** An id of digits alone may have become a number on its way. */
const textOf = (value: unknown): string | undefined => {
  if (typeof value === "number" || typeof value === "boolean") return `${value}`
  return typeof value === "string" && value !== "" ? value : undefined
}

interface Base {
  readonly parentId: string | undefined
}

interface Other extends Base {
  readonly kind: "other"
}

interface Timed extends Base {
  readonly startMillis: number
  readonly endMillis: number | undefined
}

interface Call extends Timed {
  readonly kind: "call"
  readonly agent: string
  readonly success: boolean | undefined
  readonly errorType: string | undefined
  readonly fallbackLevel: number
  /** When something in it failed first, if it did. */
  failedAt: number | undefined
}

interface Execution extends Timed {
  readonly kind: "execution"
  readonly agent: string
  readonly attempts: number
  readonly succeeded: boolean | undefined
  readonly statusMessage: string | undefined
}

interface Attempt extends Timed {
  readonly kind: "attempt"
  readonly attempt: number
  readonly errorType: string | undefined
  readonly isLast: boolean
  readonly isInterrupted: boolean
}

interface Transition extends Base {
  readonly kind: "transition"
  readonly breaker: string
  readonly from: string
  readonly to: string
  readonly atMillis: number
}

interface Run extends Base {
  readonly kind: "run"
  readonly level: 0 | 1 | 2
  readonly isFailed: boolean
}

type Node = Other | Call | Execution | Attempt | Transition | Run

const nodeOf = (observation: Observation): Node => {
  const { endMillis, level, metadata, name, parentId, startMillis, statusMessage } = observation
  const agent = textOf(metadata["agent_id"])
  if (name.startsWith("agent_") && agent !== undefined) {
    return {
      kind: "call",
      parentId,
      startMillis,
      endMillis,
      agent,
      success: booleanOf(metadata["success"]),
      errorType: textOf(metadata["error_type"]),
      fallbackLevel: numberOf(metadata["fallback_level"]) ?? 0,
      failedAt: undefined
    }
  }
  if (name === "retry_execution" && agent !== undefined) {
    return {
      kind: "execution",
      parentId,
      startMillis,
      endMillis,
      agent,
      attempts: numberOf(metadata["attempts_needed"]) ?? 0,
      succeeded: booleanOf(metadata["retry_succeeded"]),
      statusMessage
    }
  }
  const attempt = numberOf(metadata["attempt"])
  if (name === "attempt" && attempt !== undefined) {
    const errorType = textOf(metadata["error_type"])
    return {
      kind: "attempt",
      parentId,
      startMillis,
      endMillis,
      attempt,
      errorType,
      isLast: numberOf(metadata["delay_seconds"]) === undefined,
      isInterrupted: errorType === undefined && level === "WARNING"
    }
  }
  const [from, to] = [textOf(metadata["from"]), textOf(metadata["to"])]
  if (name === "circuit_breaker_transition" && from !== undefined && to !== undefined) {
    const [, breaker] = /^(.*): \S+ -> \S+$/s.exec(statusMessage ?? "") ?? []
    return { kind: "transition", parentId, breaker: breaker ?? "unknown", from, to, atMillis: startMillis }
  }
  const degradation = numberOf(metadata["degradation_level"])
  if (degradation === 0 || degradation === 1 || degradation === 2) {
    return { kind: "run", parentId, level: degradation, isFailed: level === "ERROR" }
  }
  return { kind: "other", parentId }
}

/** Deeper than any trace is: an end for parents that go round in a circle. */
const maxDepth = 10_000

const share = (part: number, whole: number): number | undefined => (whole === 0 ? undefined : part / whole)

const sum = (values: ReadonlyArray<number>): number => values.reduce((total, value) => total + value, 0)

const admitting: ReadonlySet<string> = new Set(["closed", "disabled"])

/** The first word of `Tag: message`. */
const tagOf = (statusMessage: string | undefined): string =>
  /^[A-Za-z_$][\w$.]*(?=:|$)/.exec(statusMessage ?? "")?.[0] ?? "unknown"

/** A row of a table that is made as it is asked for. */
const entry = <A>(rows: Map<string, A>, key: string, make: () => A): A => {
  const existing = rows.get(key)
  if (existing !== undefined) return existing
  const made = make()
  rows.set(key, made)
  return made
}

const seconds = (from: number, to: number): number => Math.max(0, to - from) / 1000

/** What is counted of a set of executions. */
class Retries {
  executions = 0
  succeeded = 0
  attempts = 0
  retried = 0
  rescued = 0
  add(attempts: number, succeeded: boolean): void {
    this.executions++
    this.attempts += attempts
    if (succeeded) this.succeeded++
    if (attempts < 2) return
    this.retried++
    if (succeeded) this.rescued++
  }
  get figures(): Figures["retry"] {
    return {
      executions: this.executions,
      succeeded: this.succeeded,
      retried: this.retried,
      rescued: this.rescued,
      successRate: share(this.rescued, this.retried),
      meanAttempts: share(this.attempts, this.executions)
    }
  }
}

/** What is counted of a set of calls. */
class Calls {
  answered = 0
  failed = 0
  unfinished = 0
  fellBack = 0
  rescued = 0
  readonly latencies: Array<number> = []
  add({ endMillis, fallbackLevel, startMillis, success }: Call): void {
    if (success === undefined || endMillis === undefined) {
      this.unfinished++
      return
    }
    if (success) this.answered++
    else this.failed++
    if (fallbackLevel > 0) this.fellBack++
    if (fallbackLevel > 0 && success) this.rescued++
    this.latencies.push(seconds(startMillis, endMillis))
  }
  get ended(): number {
    return this.answered + this.failed
  }
  get counts(): Figures["calls"] {
    const { answered, ended, failed, unfinished } = this
    return { total: ended + unfinished, answered, failed, unfinished, availability: share(answered, ended) }
  }
  get fallback(): Figures["fallback"] {
    return { asked: this.fellBack, answered: this.rescued, rate: share(this.fellBack, this.ended) }
  }
}

/** From each opening to the closing that follows; of a breaker that several processes have, the first to open is the first to close. */
const breakersOf = (transitions: ReadonlyArray<Transition>, until: number): ReadonlyArray<BreakerFigures> => {
  const rows = new Map<
    string,
    { since: Array<number>; openings: number; reopenings: number; durations: Array<number> }
  >()
  const inOrder = [...transitions].sort((a, b) => a.atMillis - b.atMillis)
  for (const { atMillis, breaker, from, to } of inOrder) {
    const row = entry(rows, breaker, () => ({ since: [], openings: 0, reopenings: 0, durations: [] }))
    if (admitting.has(from) && !admitting.has(to)) {
      row.openings++
      row.since.push(atMillis)
    } else if (!admitting.has(from) && admitting.has(to)) {
      const since = row.since.shift()
      if (since !== undefined) row.durations.push(seconds(since, atMillis))
    } else if (from === "half-open" && to === "open") {
      row.reopenings++
    }
  }
  return [...rows]
    .map(([breaker, { durations, openings, reopenings, since }]): BreakerFigures => {
      const all = [...durations, ...since.map((at) => seconds(at, until))]
      return {
        breaker,
        openings,
        reopenings,
        openSeconds: sum(all),
        longestSeconds: percentiles(all)?.max,
        meanSeconds: share(sum(durations), durations.length),
        isOpen: since.length > 0
      }
    })
    .sort((a, b) => b.openings - a.openings || compare(a.breaker, b.breaker))
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

/**
 * Takes observations in any order, keeps of each what the figures need, and works them out at the end.
 *
 * @internal
 */
export class Tally {
  private readonly nodes = new Map<string, Node>()
  private readonly traces = new Set<string>()

  /** One that comes twice is one. */
  add(observation: Observation): void {
    this.nodes.set(observation.spanId, nodeOf(observation))
    this.traces.add(observation.traceId)
  }

  private parent({ parentId }: Node): Node | undefined {
    return parentId === undefined ? undefined : this.nodes.get(parentId)
  }

  /** The closest one around it that is so. */
  private around<A extends Node>(node: Node, is: (node: Node) => node is A): A | undefined {
    let at = this.parent(node)
    for (let depth = 0; at !== undefined && at !== node && depth < maxDepth; depth++) {
      if (is(at)) return at
      at = this.parent(at)
    }
    return undefined
  }

  figures({ to }: Period, agent: string | undefined): Figures {
    const regards = (id: string | undefined): boolean => agent === undefined || id === agent
    const isExecution = (node: Node): node is Execution => node.kind === "execution"
    const isCall = (node: Node): node is Call => node.kind === "call"
    const isRegarded = (node: Node): node is Call => node.kind === "call" && regards(node.agent)

    const outermost = new Calls()
    const all = new Calls()
    const retries = new Retries()
    const agents = new Map<string, { readonly calls: Calls; readonly retries: Retries }>()
    const failures = new Map<string, { -readonly [Key in keyof FailureFigures]: FailureFigures[Key] }>()
    const transitions: Array<Transition> = []
    const levels: [number, number, number] = [0, 0, 0]
    let [degraded, failedRuns] = [0, 0]

    const rowOf = (id: string) => entry(agents, id, () => ({ calls: new Calls(), retries: new Retries() }))
    const failureOf = (id: string | undefined, errorType: string) =>
      entry(failures, JSON.stringify([id ?? null, errorType]), () => ({
        agent: id,
        errorType,
        attempts: 0,
        executions: 0,
        calls: 0
      }))
    const failedIn = (node: Node, endMillis: number | undefined): void => {
      const call = this.around(node, isCall)
      if (call === undefined || endMillis === undefined) return
      call.failedAt = Math.min(call.failedAt ?? Number.POSITIVE_INFINITY, endMillis)
    }

    for (const node of this.nodes.values()) {
      switch (node.kind) {
        case "call":
          if (!regards(node.agent)) break
          all.add(node)
          rowOf(node.agent).calls.add(node)
          if (this.around(node, isRegarded) === undefined) outermost.add(node)
          if (node.success === false) failureOf(node.agent, node.errorType ?? "unknown").calls++
          break
        case "execution":
          if (node.succeeded === false) failedIn(node, node.endMillis)
          if (!regards(node.agent) || node.succeeded === undefined) break
          retries.add(node.attempts, node.succeeded)
          rowOf(node.agent).retries.add(node.attempts, node.succeeded)
          // refused before its first try, by a bulkhead or a rate limit: no attempt tells of it
          if (!node.succeeded && node.attempts === 0) failureOf(node.agent, tagOf(node.statusMessage)).executions++
          break
        case "attempt": {
          const execution = this.around(node, isExecution)
          if (node.errorType !== undefined) failedIn(node, node.endMillis)
          if (!regards(execution?.agent)) break
          if (node.errorType !== undefined) failureOf(execution?.agent, node.errorType).attempts++
          // of `RetryPolicy.retry` on its own, which has no observation around its tries: the last try tells of all
          const isAlone =
            node.parentId === undefined || (this.nodes.get(node.parentId)?.kind ?? "execution") !== "execution"
          if (isAlone && node.isLast && !node.isInterrupted) retries.add(node.attempt, node.errorType === undefined)
          break
        }
        case "transition": {
          const own = node.breaker === agent || node.breaker.startsWith(`${agent}/`)
          if (own || regards(this.around(node, isExecution)?.agent)) transitions.push(node)
          break
        }
        case "run":
          if (agent !== undefined) break
          levels[node.level]++
          if (node.level > 0 || node.isFailed) degraded++
          if (node.isFailed) failedRuns++
          break
      }
    }

    const recovered: Array<number> = []
    for (const node of this.nodes.values()) {
      if (!isRegarded(node) || node.success !== true) continue
      const { endMillis, failedAt } = node
      if (failedAt !== undefined && endMillis !== undefined) recovered.push(seconds(failedAt, endMillis))
    }
    const runs = sum(levels)
    const recovery = percentiles(recovered)
    return {
      observations: this.nodes.size,
      traces: this.traces.size,
      calls: outermost.counts,
      latency: percentiles(outermost.latencies),
      retry: retries.figures,
      fallback: all.fallback,
      degradation: {
        runs,
        degraded,
        failed: failedRuns,
        levels,
        rate: share(degraded, runs)
      },
      recovery: recovery === undefined ? undefined : { calls: recovered.length, ...recovery },
      failures: [...failures.values()].sort(
        (a, b) =>
          b.attempts + b.executions - a.attempts - a.executions ||
          b.calls - a.calls ||
          compare(a.agent ?? "", b.agent ?? "") ||
          compare(a.errorType, b.errorType)
      ),
      breakers: breakersOf(transitions, to.getTime()),
      agents: [...agents]
        .map(
          ([id, { calls, retries }]): AgentFigures => ({
            agent: id,
            calls: calls.counts,
            latency: percentiles(calls.latencies),
            retry: retries.figures,
            fallback: calls.fallback
          })
        )
        .sort((a, b) => b.calls.total - a.calls.total || compare(a.agent, b.agent))
    }
  }
}
