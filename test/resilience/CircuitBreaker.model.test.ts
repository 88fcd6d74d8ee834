/**
 * The breaker against a naive oracle: any sequence of calls that begin, end, are cancelled or die, of time that passes or steps back, and of
 * resets, leads to the same answers.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as fc from "fast-check"
import * as CircuitBreaker from "../../src/resilience/CircuitBreaker.js"
import { others, permanent, signal, transient } from "./support.js"

type Ending = "ok" | "fail" | "permanent" | "control" | "defect" | "cancel"
type Command =
  | { readonly _tag: "begin" }
  | { readonly _tag: "end"; readonly which: number; readonly how: Ending }
  | { readonly _tag: "advance"; readonly millis: number }
  | { readonly _tag: "back"; readonly millis: number }
  | { readonly _tag: "reset" }

interface Setting {
  readonly threshold: number
  readonly successes: number
  readonly permits: number
  readonly reset: number
}

/** As plain as can be: every call remembers in which stay it began. */
class Oracle {
  state: CircuitBreaker.State = "closed"
  readonly transitions: Array<string> = []
  private stay = 0
  private failures = 0
  private good = 0
  private probes = 0
  private until = 0
  constructor(private readonly setting: Setting) {}

  private go(to: CircuitBreaker.State) {
    this.transitions.push(`${this.state} ${to}`)
    this.state = to
    this.stay++
    this.failures = 0
    this.good = 0
    this.probes = 0
  }
  private open(now: number) {
    this.go("open")
    this.until = now + this.setting.reset
  }
  /** The stay in which it was let through, or nothing. */
  begin(now: number): number | undefined {
    if (this.state === "open" && now >= this.until) this.go("half-open")
    if (this.state === "open") return undefined
    if (this.state === "half-open" && ++this.probes > this.setting.permits) {
      this.probes--
      return undefined
    }
    return this.stay
  }
  end(stay: number, how: Ending, now: number) {
    if (stay !== this.stay) return
    const failed = how === "fail" || how === "defect"
    if (this.state === "half-open") {
      this.probes--
      if (how === "ok" && ++this.good === this.setting.successes) this.go("closed")
      else if (failed) this.open(now)
    } else {
      if (how === "ok") this.failures = 0
      if (failed && ++this.failures === this.setting.threshold) this.open(now)
    }
  }
  back(now: number) {
    this.until = Math.min(this.until, now + this.setting.reset)
  }
  reset() {
    if (this.state !== "closed") return this.go("closed")
    this.stay++
    this.failures = 0
  }
}

const exits: Readonly<Record<Exclude<Ending, "cancel">, () => Exit.Exit<string, Error>>> = {
  ok: () => Exit.succeed("answer"),
  fail: () => Exit.fail(transient()),
  permanent: () => Exit.fail(permanent()),
  control: () => Exit.fail(signal()),
  defect: () => Exit.die("bug")
}

const follow = (setting: Setting, commands: ReadonlyArray<Command>) => {
  let now = 0
  // the breaker never sleeps: a clock that can only be read will do, and is much faster than one for tests
  const clock: Clock.Clock = { ...Clock.make(), unsafeCurrentTimeNanos: () => BigInt(now) * 1_000_000n }
  return Effect.gen(function* () {
    const breaker = CircuitBreaker.make("model", {
      failureThreshold: setting.threshold,
      successThreshold: setting.successes,
      halfOpenPermits: setting.permits,
      resetAfter: setting.reset
    })
    const oracle = new Oracle(setting)
    const heard: Array<string> = []
    yield* Effect.fork(
      Stream.runForEach(breaker.changes, ({ from, to }) => Effect.sync(() => heard.push(`${from} ${to}`)))
    )
    yield* others
    let invoked = 0
    const under: Array<{
      readonly stay: number
      readonly result: Deferred.Deferred<string, Error>
      readonly fiber: Fiber.RuntimeFiber<string, Error>
    }> = []

    const begin = Effect.gen(function* () {
      const stay = oracle.begin(now)
      const before = invoked
      const result = yield* Deferred.make<string, Error>()
      const body = Effect.suspend(() => {
        invoked++
        return Deferred.await(result)
      })
      const fiber = yield* Effect.fork(CircuitBreaker.protect(body, breaker))
      yield* Effect.yieldNow()
      assert.strictEqual(invoked - before, stay === undefined ? 0 : 1)
      if (stay === undefined) {
        const exit = yield* Fiber.await(fiber)
        assert.isTrue(
          Exit.isFailure(exit) && Cause.squash(exit.cause) instanceof CircuitBreaker.CircuitBreakerOpenError
        )
      } else under.push({ stay, result, fiber })
    })

    const step = (command: Command) =>
      Effect.gen(function* () {
        switch (command._tag) {
          case "begin":
            return yield* begin
          case "end": {
            const [call] = under.splice(command.which % Math.max(1, under.length), 1)
            if (call === undefined) return
            oracle.end(call.stay, command.how, now)
            if (command.how === "cancel") yield* Fiber.interrupt(call.fiber)
            else {
              yield* Deferred.done(call.result, exits[command.how]())
              yield* Fiber.await(call.fiber)
            }
            return
          }
          case "advance":
            now += command.millis
            return
          case "back":
            now = Math.max(0, now - command.millis)
            yield* breaker.snapshot
            return oracle.back(now)
          case "reset":
            oracle.reset()
            return yield* breaker.reset
        }
      })

    for (const command of commands) {
      yield* step(command)
      assert.strictEqual((yield* breaker.snapshot).state, oracle.state)
    }
    // never stuck: when what is under way has ended and the break is over, a call is let through
    while (under.length > 0) yield* step({ _tag: "end", which: 0, how: "cancel" })
    yield* step({ _tag: "advance", millis: setting.reset })
    const before = invoked
    yield* begin
    assert.strictEqual(invoked, before + 1)
    yield* others
    assert.deepStrictEqual(heard, oracle.transitions)
  }).pipe(Effect.scoped, Effect.withClock(clock), Effect.withTracerEnabled(false))
}

const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 4, arbitrary: fc.constant<Command>({ _tag: "begin" }) },
  {
    weight: 5,
    arbitrary: fc.record({
      _tag: fc.constant("end" as const),
      which: fc.nat(5),
      how: fc.constantFrom<Ending>("ok", "ok", "fail", "fail", "fail", "permanent", "control", "defect", "cancel")
    })
  },
  {
    weight: 2,
    arbitrary: fc.record({ _tag: fc.constant("advance" as const), millis: fc.integer({ min: 0, max: 12 }) })
  },
  { weight: 1, arbitrary: fc.record({ _tag: fc.constant("back" as const), millis: fc.integer({ min: 1, max: 30 }) }) },
  { weight: 1, arbitrary: fc.constant<Command>({ _tag: "reset" }) }
)

const setting = fc.record({
  threshold: fc.integer({ min: 1, max: 3 }),
  successes: fc.integer({ min: 1, max: 3 }),
  permits: fc.integer({ min: 1, max: 2 }),
  reset: fc.integer({ min: 1, max: 10 })
})

describe("CircuitBreaker against an oracle", () => {
  it("agrees on every answer, state and transition", () =>
    fc.assert(
      fc.asyncProperty(setting, fc.array(command, { minLength: 5, maxLength: 40 }), (chosen, commands) =>
        Effect.runPromise(follow(chosen, commands))
      ),
      { numRuns: 500 }
    ))
})
