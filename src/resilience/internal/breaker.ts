/** The breaker's plain state machine: no Effect, no rule, no clock of its own. */
import type { Rule, State, Transition } from "../CircuitBreaker.js"

/**
 * All times are monotonic milliseconds. A permit remembers the generation (the stay in one state) in which it was given: what comes back from
 * an earlier one moves nothing. Each method moves the state at most once; `take` then tells how.
 */
export class Machine {
  state: State = "closed"
  private generation = 0
  private openedAt = 0
  private breakMillis: number
  private probes = 0
  private successes = 0
  private counter: ReturnType<Rule["start"]>
  private openedWith = 0
  private moved: Transition | undefined

  constructor(
    readonly name: string,
    private readonly rule: Rule,
    private readonly resetMillis: number,
    private readonly successThreshold: number,
    private readonly permits: number
  ) {
    this.counter = rule.start()
    this.breakMillis = resetMillis
  }

  failureCount(): number {
    return this.state === "closed" ? this.counter.failureCount() : this.openedWith
  }

  retryAfterMillis(now: number): number {
    if (this.state !== "open") return 0
    // a clock that was set back must not prolong the break: it begins anew at most
    if (now < this.openedAt) this.openedAt = now
    return Math.max(0, this.openedAt + this.breakMillis - now)
  }

  /** The permit, or -1 for none. */
  acquire(now: number): number {
    if (this.state === "closed") return this.generation
    if (this.state === "open" && this.retryAfterMillis(now) === 0) this.move("half-open")
    if (this.state !== "half-open" || this.probes >= this.permits) return -1
    this.probes++
    return this.generation
  }

  /** Takes the result of a permit in; `undefined` gives the permit back without one. */
  release(permit: number, success: boolean | undefined, now: number, retryAfterMillis: number): void {
    if (permit !== this.generation) return
    if (this.state === "half-open") {
      this.probes--
      if (success === true && ++this.successes >= this.successThreshold) this.move("closed")
      else if (success === false) {
        this.openedWith++
        this.open(now, retryAfterMillis)
      }
    } else if (success !== undefined && this.counter.record(success)) {
      this.openedWith = this.counter.failureCount()
      this.open(now, retryAfterMillis)
    }
  }

  reset(): void {
    if (this.state !== "closed") this.move("closed")
    else {
      // calls under way began before the reset: they count no more
      this.generation++
      this.counter = this.rule.start()
    }
  }

  /** The move since the last look. */
  take(): Transition | undefined {
    const moved = this.moved
    this.moved = undefined
    return moved
  }

  private open(now: number, retryAfterMillis: number): void {
    this.openedAt = now
    this.breakMillis = Math.max(this.resetMillis, retryAfterMillis)
    this.move("open")
  }

  private move(to: State): void {
    this.moved = { breaker: this.name, from: this.state, to, failureCount: this.failureCount() }
    this.state = to
    this.generation++
    this.probes = 0
    this.successes = 0
    if (to === "closed") this.counter = this.rule.start()
  }
}
