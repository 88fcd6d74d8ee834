/** What holds of every swarm, whatever its agents do and in whatever order. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import * as TestContext from "effect/TestContext"
import * as fc from "fast-check"
import * as Swarm from "../../src/agent/Swarm.js"
import { criticalOf, own, taking, timed } from "./support.js"

describe("Swarm: properties", () => {
  const member = fc.record({
    required: fc.boolean(),
    succeeds: fc.boolean(),
    millis: fc.integer({ min: 0, max: 9 }).map((n) => 2 * n),
    weight: fc.integer({ min: 1, max: 5 })
  })
  const swarms = fc.record({
    members: fc.array(member, { minLength: 1, maxLength: 7 }),
    critical: fc.integer({ min: 0, max: 10 }),
    concurrency: fc.option(fc.integer({ min: 1, max: 4 }), { nil: undefined }),
    // odd, where all else is even: what ends in the very instant of the deadline may be late or not
    deadline: fc.option(
      fc.integer({ min: 0, max: 12 }).map((n) => 2 * n + 1),
      { nil: undefined }
    )
  })
  type Case = typeof swarms extends fc.Arbitrary<infer A> ? A : never

  const build = ({ concurrency, critical, deadline, members }: Case, earlyStop: boolean) => {
    const side = (required: boolean) =>
      Object.fromEntries(
        members.flatMap((each, n) =>
          each.required === required || (n === 0 && required)
            ? n === 0 && !required
              ? []
              : [[`m${n}`, taking(`m${n}`, each.millis, each.succeeds).agent] as const]
            : []
        )
      )
    const weights = Object.fromEntries(members.map(({ weight }, n) => [`m${n}`, weight]))
    return Swarm.make("s", {
      required: side(true),
      optional: side(false),
      critical: critical / 10,
      concurrency,
      weights,
      earlyStop,
      ...(deadline === undefined ? {} : { deadline })
    })
  }

  const inTestClock = <A, E>(self: Effect.Effect<A, E>) =>
    timed(self).pipe(own, Effect.provide(TestContext.TestContext), Effect.runPromise)

  it("early stop never stops a run that could still succeed, and changes no result", () =>
    fc.assert(
      fc.asyncProperty(swarms, async (given) => {
        const [early, soon] = await inTestClock(build(given, true).run(""))
        const [whole, late] = await inTestClock(build(given, false).run(""))
        assert.strictEqual(Exit.isSuccess(early), Exit.isSuccess(whole))
        assert.isAtMost(soon, late)
        if (Exit.isSuccess(early) && Exit.isSuccess(whole)) {
          assert.deepStrictEqual(early.value.findings, whole.value.findings)
          assert.deepStrictEqual([early.value.successRate, soon], [whole.value.successRate, late])
        } else {
          // what was stopped would not have saved it: those that had failed are among those that fail in the end
          const lost = (exit: Exit.Exit<unknown, unknown>) =>
            Swarm.gaps(criticalOf(exit)).flatMap(({ agent, reason }) => (reason === "stopped" ? [] : [agent]))
          assert.includeMembers(lost(whole), lost(early))
          for (const exit of [early, whole]) {
            const { findings } = criticalOf(exit)
            const names = [...Object.keys(findings), ...Swarm.gaps(criticalOf(exit)).map(({ agent }) => agent)]
            assert.sameMembers(
              names,
              given.members.map((_, n) => `m${n}`)
            )
          }
        }
      }),
      { numRuns: 60 }
    ))

  it("one success more never degrades a result", () =>
    fc.assert(
      fc.asyncProperty(swarms, fc.nat(6), async (given, index) => {
        const members = given.members.map((each, n) =>
          n === index % given.members.length ? { ...each, succeeds: true } : each
        )
        const [before] = await inTestClock(build(given, true).run(""))
        const [after] = await inTestClock(build({ ...given, members }, true).run(""))
        if (Exit.isFailure(before)) return
        assert.isTrue(Exit.isSuccess(after))
        if (!Exit.isSuccess(after)) return
        assert.isAtMost(after.value.degradationLevel, before.value.degradationLevel)
        assert.isAtLeast(after.value.successRate, before.value.successRate)
      }),
      { numRuns: 60 }
    ))

  it("critical and rate are what the weights say, whatever ends first", () =>
    fc.assert(
      fc.asyncProperty(swarms, async (given) => {
        const [exit] = await inTestClock(build({ ...given, deadline: undefined }, true).run(""))
        const sum = (all: Case["members"]) => all.reduce((total, { weight }) => total + weight, 0)
        const required = given.members.filter((each, n) => each.required || n === 0)
        // in whole numbers: lost / all > critical / 10
        const isCritical = sum(required.filter(({ succeeds }) => !succeeds)) * 10 > given.critical * sum(required)
        assert.strictEqual(Exit.isFailure(exit), isCritical)
        if (Exit.isFailure(exit)) return
        const rate = sum(given.members.filter(({ succeeds }) => succeeds)) / sum(given.members)
        assert.strictEqual(exit.value.successRate, rate)
        assert.strictEqual(exit.value.degradationLevel, rate >= 0.8 ? 0 : rate >= 0.5 ? 1 : 2)
        assert.sameMembers(
          Object.keys(Swarm.outcomes(exit.value)),
          given.members.map((_, n) => `m${n}`)
        )
        for (const [n, { succeeds }] of given.members.entries()) {
          const outcome = Swarm.outcomes(exit.value)[`m${n}`]
          assert.strictEqual(outcome?._tag, succeeds ? "Right" : "Left")
        }
      }),
      { numRuns: 60 }
    ))

  it("the stream tells what the run gives: each agent once, in the order in which they end, and the same end", () =>
    fc.assert(
      fc.asyncProperty(swarms, fc.boolean(), async (given, earlyStop) => {
        const swarm = build(given, earlyStop)
        const [ran, millis] = await inTestClock(swarm.run(""))
        const events: Array<Swarm.Event<Record<string, string>, unknown>> = []
        const [streamed, streamedMillis] = await inTestClock(
          Stream.runForEach(Swarm.stream(swarm, ""), (event) => Effect.sync(() => events.push(event)))
        )
        assert.strictEqual(streamedMillis, millis)
        const found = Object.fromEntries(
          events.flatMap((each) => (each._tag === "Found" ? [[each.agent, each.value]] : []))
        )
        const missing = events.flatMap((each) => (each._tag === "Gap" ? [`${each.agent} ${each.reason}`] : []))
        const completed = events.flatMap((each) => (each._tag === "Completed" ? [each.result] : []))
        const gapsOf = (gaps: ReadonlyArray<Swarm.Gap>) => gaps.map(({ agent, reason }) => `${agent} ${reason}`)
        assert.strictEqual(Object.keys(found).length + missing.length, given.members.length)
        assert.strictEqual(events.length, given.members.length + completed.length)
        if (Exit.isSuccess(ran)) {
          assert.isTrue(Exit.isSuccess(streamed))
          assert.strictEqual(events.at(-1)?._tag, "Completed")
          assert.deepStrictEqual(completed[0]?.findings, ran.value.findings)
          assert.deepStrictEqual(
            [completed[0]?.successRate, completed[0]?.degradationLevel, completed.length],
            [ran.value.successRate, ran.value.degradationLevel, 1]
          )
          assert.deepStrictEqual(found, ran.value.findings)
          assert.sameMembers(missing, gapsOf(Swarm.gaps(ran.value)))
        } else {
          assert.deepStrictEqual(found, criticalOf(ran).findings)
          assert.sameMembers(missing, gapsOf(Swarm.gaps(criticalOf(ran))))
          assert.strictEqual(criticalOf(streamed).message, criticalOf(ran).message)
          assert.strictEqual(completed.length, 0)
        }
      }),
      { numRuns: 60 }
    ))
})
