/**
 * The breaker against a naive oracle: any sequence of calls that begin, end, are cancelled, die or hang, of time that passes or steps back, of
 * orders by hand and of changes of its options leads to the same answers.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Runtime from "effect/Runtime"
import * as Scheduler from "effect/Scheduler"
import * as Stream from "effect/Stream"
import * as fc from "fast-check"
import * as CircuitBreaker from "../../src/resilience/CircuitBreaker.js"
import { Oracle, type Order, type RuleSetting, type Setting } from "./breakerOracle.js"
import { permanent, signal, transient } from "./support.js"

type Ending = "ok" | "fail" | "limited" | "permanent" | "control" | "defect" | "cancel"
type Command =
  | { readonly _tag: "begin" }
  | { readonly _tag: "end"; readonly which: number; readonly how: Ending }
  | { readonly _tag: "advance"; readonly millis: number }
  | { readonly _tag: "back"; readonly millis: number }
  | { readonly _tag: "order"; readonly order: Order }
  | { readonly _tag: "reconfigure"; readonly change: Partial<Setting> }

/** How long a rate limit asks to wait, in milliseconds. */
const retryAfter = 15

const exits: Readonly<Record<Exclude<Ending, "cancel">, () => Exit.Exit<string, Error>>> = {
  ok: () => Exit.succeed("answer"),
  fail: () => Exit.fail(transient()),
  limited: () => Exit.fail(Object.assign(new Error("slow down"), { status: 429, retryAfterMillis: retryAfter })),
  permanent: () => Exit.fail(permanent()),
  control: () => Exit.fail(signal()),
  defect: () => Exit.die("bug")
}

const ruleOf = (rule: RuleSetting): CircuitBreaker.Rule => {
  const { minimum: minimumCalls, ratio } = rule
  const consecutive = CircuitBreaker.consecutive(rule.threshold)
  const window = rule.window === "calls" ? { calls: rule.size } : { duration: rule.size, buckets: 4 }
  const slow = CircuitBreaker.slowCallRatio({ slowerThan: rule.slowerThan, ratio, minimumCalls, window })
  switch (rule.kind) {
    case "consecutive":
      return consecutive
    case "failures":
      return CircuitBreaker.failureRatio({ ratio, minimumCalls, window })
    case "slow":
      return slow
    case "any":
      return CircuitBreaker.anyOf(consecutive, slow)
  }
}

const optionsOf = (setting: Partial<Setting>): CircuitBreaker.Options => ({
  ...(setting.rule === undefined ? {} : { rule: ruleOf(setting.rule) }),
  ...(setting.successes === undefined ? {} : { successThreshold: setting.successes }),
  ...(setting.permits === undefined ? {} : { halfOpenPermits: setting.permits }),
  ...(setting.wait === undefined ? {} : { halfOpenWait: setting.wait }),
  ...(setting.reset === undefined ? {} : { resetAfter: setting.reset.length })
})

interface Call {
  readonly id: number
  readonly end: (exit: Exit.Exit<string, Error>) => void
  readonly fiber: Fiber.RuntimeFiber<string, Error>
}

/** The breaker never sleeps: a clock that can only be read will do, and fibers that run when they are told to. */
let now = 0
const clock: Clock.Clock = { ...Clock.make(), unsafeCurrentTimeNanos: () => BigInt(now) * 1_000_000n }
const tasks: Array<() => void> = []
const scheduler = Scheduler.make(
  (task) => void tasks.push(task),
  () => false
)
const flush = () => {
  for (let task = tasks.shift(); task !== undefined; task = tasks.shift()) task()
}
// once for all sequences: it is most of what one costs
const runtime = Effect.runSync(
  Effect.runtime().pipe(Effect.withClock(clock), Effect.withTracerEnabled(false), Effect.withScheduler(scheduler))
)
const start = <A, E>(effect: Effect.Effect<A, E>): Fiber.RuntimeFiber<A, E> => {
  const fiber = Runtime.runFork(runtime)(effect, { scheduler })
  flush()
  return fiber
}

const follow = (setting: Setting, commands: ReadonlyArray<Command>): void => {
  now = 0
  const get = <A, E>(effect: Effect.Effect<A, E>): A => {
    const exit = start(effect).unsafePoll()
    assert(exit !== null && Exit.isSuccess(exit))
    return exit.value
  }

  const breaker = CircuitBreaker.make("model", {
    ...optionsOf(setting),
    resetAfter: setting.reset.grows ? ({ openings }) => setting.reset.length * openings : setting.reset.length
  })
  const oracle = new Oracle(setting)
  const heard: Array<string> = []
  const listener = start(
    Stream.runForEach(breaker.changes, ({ from, to }) => Effect.sync(() => heard.push(`${from} ${to}`)))
  )
  let invoked = 0
  let calls = 0
  const under: Array<Call> = []

  const begin = () => {
    const id = calls++
    const admitted = oracle.begin(id, now)
    const before = invoked
    let end: Call["end"] = () => {}
    const body = Effect.async<string, Error>((resume) => {
      invoked++
      end = resume
    })
    const fiber = start(CircuitBreaker.protect(body, breaker))
    assert.strictEqual(invoked - before, admitted ? 1 : 0)
    if (admitted) return void under.push({ id, end, fiber })
    const exit = fiber.unsafePoll()
    assert(exit !== null && Exit.isFailure(exit))
    const rejection = Cause.squash(exit.cause)
    assert(rejection instanceof CircuitBreaker.CircuitBreakerOpenError)
    assert.strictEqual(rejection.state, oracle.state)
  }

  const step = (command: Command) => {
    switch (command._tag) {
      case "begin":
        return begin()
      case "end": {
        const [call] = under.splice(command.which % Math.max(1, under.length), 1)
        if (call === undefined) return
        const { how } = command
        const verdict =
          how === "ok" ? true : how === "fail" || how === "limited" || how === "defect" ? false : undefined
        oracle.end(call.id, verdict, now, how === "limited" ? retryAfter : 0)
        if (how === "cancel") call.fiber.unsafeInterruptAsFork(call.fiber.id())
        else call.end(exits[how]())
        flush()
        return assert.isNotNull(call.fiber.unsafePoll())
      }
      case "advance":
        now += command.millis
        return
      case "back":
        now = Math.max(0, now - command.millis)
        get(breaker.snapshot)
        return oracle.back(now)
      case "order":
        oracle.order(command.order)
        return get(breaker[command.order])
      case "reconfigure":
        oracle.reconfigure(command.change)
        return get(breaker.reconfigure(optionsOf(command.change)))
    }
  }

  for (const command of commands) {
    step(command)
    assert.strictEqual(get(breaker.state), oracle.state)
    assert.isAtMost(oracle.probesUnderWay(), oracle.mostPermits)
  }
  // never stuck: with whatever hangs still hanging, when the break and the wait are over a call is let through
  step({ _tag: "order", order: "release" })
  step({ _tag: "advance", millis: 1000 })
  const before = invoked
  begin()
  assert.strictEqual(invoked, before + 1)
  assert.deepStrictEqual(heard, oracle.transitions)
  listener.unsafeInterruptAsFork(listener.id())
  flush()
}

const rule: fc.Arbitrary<RuleSetting> = fc
  .record({
    kind: fc.constantFrom(
      "consecutive" as const,
      "consecutive" as const,
      "failures" as const,
      "slow" as const,
      "any" as const
    ),
    threshold: fc.integer({ min: 1, max: 3 }),
    window: fc.constantFrom("calls" as const, "time" as const),
    size: fc.integer({ min: 2, max: 12 }),
    minimum: fc.integer({ min: 1, max: 4 }),
    ratio: fc.constantFrom(0.25, 0.5, 0.75, 1),
    slowerThan: fc.integer({ min: 0, max: 8 })
  })
  .map((chosen) => ({ ...chosen, minimum: Math.min(chosen.minimum, chosen.size) }))

const parts = {
  rule,
  successes: fc.integer({ min: 1, max: 3 }),
  permits: fc.integer({ min: 1, max: 3 }),
  wait: fc.integer({ min: 1, max: 20 }),
  reset: fc.record({ length: fc.integer({ min: 1, max: 10 }), grows: fc.boolean() })
}

const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 8, arbitrary: fc.constant<Command>({ _tag: "begin" }) },
  {
    weight: 10,
    arbitrary: fc.record({
      _tag: fc.constant("end" as const),
      which: fc.nat(5),
      how: fc.constantFrom<Ending>(
        "ok",
        "ok",
        "fail",
        "fail",
        "fail",
        "limited",
        "permanent",
        "control",
        "defect",
        "cancel"
      )
    })
  },
  {
    weight: 5,
    arbitrary: fc.record({ _tag: fc.constant("advance" as const), millis: fc.integer({ min: 0, max: 12 }) })
  },
  { weight: 1, arbitrary: fc.record({ _tag: fc.constant("back" as const), millis: fc.integer({ min: 1, max: 30 }) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      _tag: fc.constant("order" as const),
      order: fc.constantFrom<Order>("reset", "isolate", "release", "release", "forceOpen", "disable")
    })
  },
  {
    weight: 1,
    arbitrary: fc.record({
      _tag: fc.constant("reconfigure" as const),
      change: fc
        .record(parts, { requiredKeys: [] })
        .map(
          ({ reset, ...change }): Partial<Setting> =>
            reset === undefined ? change : { ...change, reset: { ...reset, grows: false } }
        )
    })
  }
)

describe("CircuitBreaker against an oracle", () => {
  it("agrees on every answer, state and transition in 10,000 sequences", () =>
    fc.assert(fc.property(fc.record(parts), fc.array(command, { minLength: 5, maxLength: 24, size: "max" }), follow), {
      numRuns: 10_000
    }))
})
