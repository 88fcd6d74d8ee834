/**
 * The breaker against a naive oracle, under `TestClock`: any sequence of calls that begin, end, are slow, cancelled, die or hang, of time that passes
 * or steps back, of orders by hand and of changes of its options leads to the same answers.
 *
 * An adjustment of `TestClock` takes milliseconds, for it waits until every fiber has come to rest. So many sequences go through the same time
 * together, each with a breaker, an oracle and commands of its own.
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
import * as TestClock from "effect/TestClock"
import * as TestContext from "effect/TestContext"
import type { YieldWrap } from "effect/Utils"
import * as fc from "fast-check"
import * as CircuitBreaker from "../../src/resilience/CircuitBreaker.js"
import { Oracle, type Order, type RuleSetting, type Setting } from "./breakerOracle.js"
import { permanent, signal, transient } from "./support.js"

type Ending = "ok" | "fail" | "limited" | "permanent" | "control" | "defect" | "cancel"
type Command =
  | { readonly _tag: "begin" }
  /** Begins a call that ends by itself so many moves of the clock later. */
  | { readonly _tag: "slow"; readonly rounds: number; readonly how: Exclude<Ending, "cancel"> }
  | { readonly _tag: "end"; readonly which: number; readonly how: Ending }
  | { readonly _tag: "order"; readonly order: Order }
  | { readonly _tag: "reconfigure"; readonly change: Partial<Setting> }

/** How far the clock moves after each round of commands; below 0 it is set back. */
type Times = ReadonlyArray<number>

interface Sequence {
  readonly setting: Setting
  /** What is done before each move of the clock. */
  readonly rounds: ReadonlyArray<ReadonlyArray<Command>>
}

/** How long a rate limit asks to wait, in milliseconds. */
const retryAfter = 15

const exits: Readonly<Record<Exclude<Ending, "cancel">, Exit.Exit<string, Error>>> = {
  ok: Exit.succeed("answer"),
  fail: Exit.fail(transient()),
  limited: Exit.fail(Object.assign(new Error("slow down"), { status: 429, retryAfterMillis: retryAfter })),
  permanent: Exit.fail(permanent()),
  control: Exit.fail(signal()),
  defect: Exit.die("bug")
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

const verdictOf = (how: Ending): boolean | undefined =>
  how === "ok" ? true : how === "fail" || how === "limited" || how === "defect" ? false : undefined

interface Call {
  readonly id: number
  readonly stay: number
  readonly fiber: Fiber.RuntimeFiber<string, Error>
  readonly end: (exit: Exit.Exit<string, Error>) => void
  /** How it ends by itself, and before which round. */
  readonly due: { readonly round: number; readonly how: Ending } | undefined
}

/** Fibers run when they are told to. */
const tasks: Array<() => void> = []
const scheduler = Scheduler.make(
  (task) => void tasks.push(task),
  () => false
)
const flush = () => {
  for (let task = tasks.shift(); task !== undefined; task = tasks.shift()) task()
}

/** Chai's own costs more than the step that it judges. */
const same = <A>(actual: A, expected: A): void => {
  if (actual !== expected) assert.strictEqual(actual, expected)
}

/** What one sequence does, step by step, in a runtime whose clock is the test's. */
const follow = ({ rounds, setting }: Sequence, runtime: Runtime.Runtime<never>, clock: Clock.Clock) => {
  const fork = Runtime.runFork(runtime)
  const now = () => clock.unsafeCurrentTimeMillis()
  const start = <A, E>(effect: Effect.Effect<A, E>): Fiber.RuntimeFiber<A, E> => {
    const fiber = fork(effect)
    flush()
    return fiber
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

  /** What the breaker said of itself after the last step. */
  let said: CircuitBreaker.Snapshot = { state: "closed", failureCount: 0, retryAfterMillis: 0 }

  function* begin(due: Call["due"]) {
    const id = calls++
    const { state } = said
    const retryAfterMillis = state === "open" ? (yield* breaker.snapshot).retryAfterMillis : 0
    const admitted = oracle.begin(id, now())
    const before = invoked
    let end: Call["end"] = () => {}
    const body = Effect.async<string, Error>((resume) => {
      invoked++
      end = resume
    })
    const fiber = start(CircuitBreaker.protect(body, breaker))
    same(invoked - before, admitted ? 1 : 0)
    if (admitted) {
      // open never invokes
      same(state === "isolated" || state === "forced-open" || retryAfterMillis > 0, false)
      return void under.push({ id, end, fiber, stay: oracle.stay, due })
    }
    const exit = fiber.unsafePoll()
    assert(exit !== null && Exit.isFailure(exit))
    const rejection = Cause.squash(exit.cause)
    assert(rejection instanceof CircuitBreaker.CircuitBreakerOpenError)
    same(rejection.state, oracle.state)
  }

  function* end(call: Call, how: Ending) {
    under.splice(under.indexOf(call), 1)
    const before = said
    const moves = heard.length
    const outdated = call.stay !== oracle.stay
    oracle.end(call.id, verdictOf(how), now(), how === "limited" ? retryAfter : 0)
    if (how === "cancel") call.fiber.unsafeInterruptAsFork(call.fiber.id())
    else call.end(exits[how])
    flush()
    same(call.fiber.unsafePoll() === null, false)
    // neither what belongs to an earlier stay moves anything, nor what is no failure of the other side's
    if (!outdated && verdictOf(how) !== undefined) return
    said = yield* breaker.snapshot
    same(heard.length, moves)
    same(said.state, before.state)
    same(said.failureCount, before.failureCount)
  }

  function* step(command: Command, round: number) {
    switch (command._tag) {
      case "begin":
        return yield* begin(undefined)
      case "slow":
        return yield* begin({ round: round + command.rounds, how: command.how })
      case "end": {
        const call = under[command.which % Math.max(1, under.length)]
        return call === undefined ? undefined : yield* end(call, command.how)
      }
      case "order":
        oracle.order(command.order)
        return yield* breaker[command.order]
      case "reconfigure":
        oracle.reconfigure(command.change)
        return yield* breaker.reconfigure(optionsOf(command.change))
    }
  }

  function* check() {
    flush()
    said = yield* breaker.snapshot
    same(said.state, oracle.state)
    same(oracle.probesUnderWay() <= oracle.mostPermits, true)
    if (heard.length !== oracle.transitions.length) assert.deepStrictEqual(heard, oracle.transitions)
  }

  return {
    *commands(round: number) {
      for (const command of rounds[round] ?? []) {
        yield* step(command, round)
        yield* check()
      }
    },
    *moved(back: boolean, round: number) {
      if (back) {
        yield* breaker.snapshot
        oracle.back(now())
      }
      for (const call of under.filter(({ due }) => due?.round === round)) {
        yield* end(call, call.due?.how ?? "ok")
        yield* check()
      }
    },
    *release() {
      yield* step({ _tag: "order", order: "release" }, rounds.length)
      yield* check()
    },
    /** Never stuck: with whatever hangs still hanging, when the break and the wait are over a call is let through. */
    *last() {
      const before = invoked
      yield* begin(undefined)
      yield* check()
      same(invoked, before + 1)
      assert.deepStrictEqual(heard, oracle.transitions)
      listener.unsafeInterruptAsFork(listener.id())
      for (const { fiber } of under) fiber.unsafeInterruptAsFork(fiber.id())
      flush()
    }
  }
}

type Following = ReturnType<typeof follow>

const together = (times: Times, sequences: ReadonlyArray<Sequence>): Promise<void> =>
  Effect.gen(function* () {
    const runtime = yield* Effect.withScheduler(Effect.runtime(), scheduler)
    const clock = yield* Effect.clock
    const all = sequences.map((sequence) => follow(sequence, runtime, clock))
    function* every(act: (each: Following) => Generator<YieldWrap<Effect.Effect<unknown>>, void, unknown>) {
      for (const [index, each] of all.entries()) {
        try {
          yield* act(each)
        } catch (cause) {
          throw new Error(`${cause} in ${JSON.stringify({ times, sequence: sequences[index] })}`, { cause })
        }
      }
    }
    for (const [round, millis] of times.entries()) {
      yield* every((each) => each.commands(round))
      const back = millis < 0
      yield* back ? TestClock.setTime(Math.max(0, (yield* Clock.currentTimeMillis) + millis)) : TestClock.adjust(millis)
      yield* every((each) => each.moved(back, round))
    }
    yield* every((each) => each.release())
    yield* TestClock.adjust(1000)
    yield* every((each) => each.last())
  }).pipe(Effect.withTracerEnabled(false), Effect.provide(TestContext.TestContext), (program) =>
    Effect.runPromise(program)
  )

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
    weight: 4,
    arbitrary: fc.record({
      _tag: fc.constant("slow" as const),
      rounds: fc.integer({ min: 0, max: 2 }),
      how: fc.constantFrom<Exclude<Ending, "cancel">>("ok", "ok", "fail", "fail", "limited", "permanent", "defect")
    })
  },
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

const rounds = 8

const sequence: fc.Arbitrary<Sequence> = fc.record({
  setting: fc.record(parts),
  rounds: fc.array(fc.array(command, { maxLength: 5, size: "max" }), { minLength: rounds, maxLength: rounds })
})

const times: fc.Arbitrary<Times> = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: fc.integer({ min: 0, max: 14 }) },
    { weight: 1, arbitrary: fc.integer({ min: -30, max: -1 }) }
  ),
  { minLength: rounds, maxLength: rounds }
)

describe("CircuitBreaker against an oracle", () => {
  const [runs, atOnce] = [25, 400]

  it(
    "agrees on every answer, state and transition in 10,000 sequences under TestClock",
    () =>
      fc.assert(
        fc.asyncProperty(times, fc.array(sequence, { minLength: atOnce, maxLength: atOnce, size: "max" }), together),
        // a sequence that fails is told by itself: to shrink four hundred at a time would take for ever
        { numRuns: runs, endOnFailure: true }
      ),
    240_000
  )
})
