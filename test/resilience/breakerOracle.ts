/** What a circuit breaker does, as plainly as it can be said: it remembers every call and counts anew whenever it is asked. */
import type { State } from "../../src/resilience/CircuitBreaker.js"

export interface RuleSetting {
  readonly kind: "consecutive" | "failures" | "slow" | "any"
  readonly threshold: number
  readonly window: "calls" | "time"
  /** Calls, or milliseconds in four buckets. */
  readonly size: number
  readonly minimum: number
  readonly ratio: number
  readonly slowerThan: number
}

export interface Setting {
  readonly rule: RuleSetting
  readonly successes: number
  readonly permits: number
  readonly wait: number
  readonly reset: { readonly length: number; readonly grows: boolean }
}

export type Order = "reset" | "isolate" | "release" | "forceOpen" | "disable"

interface Call {
  readonly id: number
  readonly stay: number
  /** NaN where the rule in force did not look at the time. */
  readonly began: number
}

interface Result {
  readonly failed: boolean
  readonly slow: boolean
  /** How many buckets ago. */
  age: number
}

export class Oracle {
  state: State = "closed"
  readonly transitions: Array<string> = []
  mostPermits: number
  /** In which state, or round of probes, it is: one more with each. */
  stay = 0
  private under: ReadonlyArray<Call> = []
  private results: Array<Result> = []
  private bucket = Number.NaN
  private good = 0
  private openings = 0
  private length = 0
  private until = 0
  private lastAdmission = 0

  constructor(private setting: Setting) {
    this.mostPermits = setting.permits
  }

  probesUnderWay(): number {
    return this.state === "half-open" ? this.under.filter(({ stay }) => stay === this.stay).length : 0
  }

  begin(id: number, now: number): boolean {
    if (this.state === "open" && now >= this.until) this.go("half-open")
    const { permits, rule, wait } = this.setting
    const passes = this.state === "closed" || this.state === "disabled"
    if (!passes && this.state !== "half-open") return false
    if (!passes && this.probesUnderWay() >= permits) {
      this.lastAdmission = Math.min(this.lastAdmission, now)
      if (now < this.lastAdmission + wait) return false
      this.newStay()
    }
    if (!passes) this.lastAdmission = now
    const timed = rule.kind === "slow" || rule.kind === "any" || (rule.kind === "failures" && rule.window === "time")
    this.under = [...this.under, { id, stay: this.stay, began: passes && !timed ? Number.NaN : now }]
    return true
  }

  /** Nothing for a verdict: it does not count. */
  end(id: number, verdict: boolean | undefined, now: number, retryAfter: number): void {
    const call = this.under.find((each) => each.id === id)
    this.under = this.under.filter((each) => each.id !== id)
    if (call?.stay !== this.stay || verdict === undefined) return
    const { kind, slowerThan } = this.setting.rule
    const slow = (kind === "slow" || kind === "any") && now - call.began > slowerThan
    if (this.state !== "half-open") {
      this.look(now)
      this.results.push({ failed: !verdict, slow, age: 0 })
      if (this.enough() && this.state === "closed") this.open(now, retryAfter)
    } else if (!verdict || slow) this.open(now, retryAfter)
    else if (++this.good >= this.setting.successes) this.go("closed")
  }

  back(now: number): void {
    this.until = Math.min(this.until, now + this.length)
  }

  order(order: Order): void {
    if (order === "isolate" && this.state !== "isolated") this.go("isolated")
    if (order === "forceOpen" && this.state !== "forced-open") this.go("forced-open")
    if (order === "disable" && this.state !== "disabled") this.go("disabled")
    if (order === "release") {
      if (this.state === "forced-open") this.go("half-open")
      if (this.state === "isolated" || this.state === "disabled") this.go("closed")
    }
    if (order === "reset") {
      if (this.state !== "closed") this.go("closed")
      else {
        this.newStay()
        this.forget()
      }
    }
  }

  reconfigure(change: Partial<Setting>): void {
    this.setting = { ...this.setting, ...change }
    this.mostPermits = Math.max(this.mostPermits, this.setting.permits)
    if (change.rule !== undefined) this.forgetResults()
  }

  private enough(): boolean {
    const { kind, minimum, ratio, size, threshold, window } = this.setting.rule
    const seen = window === "calls" ? this.results.slice(-size) : this.results.filter(({ age }) => age < 4)
    const share = (bad: ReadonlyArray<Result>) => seen.length >= minimum && bad.length >= ratio * seen.length
    const inRow = this.results.length - 1 - this.results.map(({ failed }) => failed).lastIndexOf(false) >= threshold
    const slow = share(seen.filter((result) => result.slow))
    if (kind === "consecutive") return inRow
    if (kind === "failures") return share(seen.filter(({ failed }) => failed))
    return kind === "slow" ? slow : inRow || slow
  }

  /** Time moves the results into older buckets; a clock that steps back moves none. */
  private look(now: number): void {
    const bucket = Math.floor(now / (this.setting.rule.size / 4))
    if (bucket > this.bucket) for (const result of this.results) result.age += bucket - this.bucket
    this.bucket = bucket
  }

  private open(now: number, retryAfter: number): void {
    this.openings++
    const { grows, length } = this.setting.reset
    this.length = Math.max(retryAfter, grows ? length * this.openings : length)
    this.until = now + this.length
    this.go("open")
  }

  private go(to: State): void {
    this.transitions.push(`${this.state} ${to}`)
    this.state = to
    this.newStay()
    if (to === "closed") this.forget()
  }

  private newStay(): void {
    this.stay++
    this.good = 0
  }

  private forget(): void {
    this.openings = 0
    this.forgetResults()
  }

  private forgetResults(): void {
    this.results = []
    this.bucket = Number.NaN
  }
}
