/** The plain state machine, asked what its breaker asks only when another fiber came in between. */
import { assert, describe, it } from "@effect/vitest"
import type { Rule } from "../../../src/resilience/CircuitBreaker/Rule.js"
import { consecutive } from "../../../src/resilience/CircuitBreaker/Rule.js"
import type { State } from "../../../src/resilience/CircuitBreaker.js"
import { Machine, type Settings } from "../../../src/resilience/internal/breaker.js"

const machine = (settings: Partial<Settings> = {}) =>
  new Machine("model", undefined, {
    rule: consecutive(1),
    successThreshold: 1,
    permits: 1,
    halfOpenWaitMillis: 50,
    ...settings
  })

const opened = (settings: Partial<Settings> = {}) => {
  const it = machine(settings)
  assert.isTrue(it.release(it.acquire(0), false, 0, 0))
  it.open(0, 100)
  assert.strictEqual(it.take()?.to, "open")
  return it
}

const halfOpen = (settings: Partial<Settings> = {}) => {
  const it = opened(settings)
  const permit = it.acquire(100)
  assert.strictEqual(it.take()?.to, "half-open")
  return { it, permit }
}

describe("Machine.acquire", () => {
  it("lets through what is closed or disabled, and counts no probe", () => {
    const it = machine()
    assert.deepStrictEqual([it.acquire(0), it.acquire(0), it.acquire(0)], [0, 0, 0])
    it.disable()
    assert.deepStrictEqual([it.acquire(0), it.acquire(0)], [it.generation, it.generation])
    assert.deepStrictEqual([it.state, it.rejected], ["disabled", 0])
  })

  it("rejects what is open until its break is over, and what was taken away by hand for good", () => {
    const it = opened()
    assert.deepStrictEqual([it.acquire(99), it.state, it.rejected], [-1, "open", 1])
    it.isolate()
    assert.deepStrictEqual([it.acquire(1000), it.state, it.rejected], [-1, "isolated", 2])
    it.forceOpen()
    assert.deepStrictEqual([it.acquire(1000), it.state, it.rejected], [-1, "forced-open", 3])
  })

  it("knows no time left of a break that another state has ended", () => {
    const it = opened()
    assert.strictEqual(it.retryAfterMillis(40), 60)
    it.isolate()
    assert.strictEqual(it.retryAfterMillis(40), 0)
  })
})

describe("Machine.release", () => {
  it("of probes of one round, the first that decides is the last that counts", () => {
    const { it, permit } = halfOpen({ permits: 2 })
    const second = it.acquire(100)
    assert.strictEqual(second, permit)
    assert.isFalse(it.release(permit, true, 0, 100))
    assert.strictEqual(it.state, "closed")
    assert.isFalse(it.release(second, false, 0, 100))
    assert.deepStrictEqual(it.tally(100), { calls: 0, failures: 0, slow: 0 })
  })

  it("a reset of what is closed is no move, and yet what is under way counts no more", () => {
    const it = machine()
    const permit = it.acquire(0)
    it.reset()
    assert.isUndefined(it.take())
    assert.isFalse(it.release(permit, false, 0, 0))
    assert.strictEqual(it.failureCount(), 0)
  })

  it("a rule that comes later says what is slow", () => {
    const slow: Rule = { slowerThanMillis: 10, start: () => ({ record: () => false, failureCount: () => 0 }) }
    const it = machine()
    it.configure({ rule: slow, successThreshold: 1, permits: 1, halfOpenWaitMillis: 50 }, false)
    it.release(it.acquire(0), true, 11, 0)
    it.release(it.acquire(0), true, 10, 0)
    assert.deepStrictEqual(it.tally(0), { calls: 2, failures: 0, slow: 1 })
  })
})

describe("Machine.retake", () => {
  it("a permit of a round that others have begun anew belongs to that one", () => {
    const { it, permit } = halfOpen({ successThreshold: 2 })
    assert.strictEqual(it.retake(permit), permit)
    it.adopt({ state: "half-open", failureCount: 1, openings: 1, successes: 0, remainingMillis: 0 }, 100, 2)
    const again = it.retake(permit)
    assert.notStrictEqual(again, permit)
    // it takes the place of the one probe that may go
    assert.strictEqual(it.acquire(100), -1)
    it.release(again, undefined, 0, 100)
    assert.isAtLeast(it.acquire(100), 0)
  })
})

describe("Machine.adopt", () => {
  const other = (state: State, fields: Partial<Parameters<Machine["adopt"]>[0]> = {}) => ({
    state,
    failureCount: 7,
    openings: 3,
    successes: 1,
    remainingMillis: 40,
    ...fields
  })

  it("takes over a break as long as it still is there, and what it was opened with", () => {
    const it = machine()
    it.adopt(other("open"), 1000, 1)
    assert.deepStrictEqual(it.take(), { breaker: "model", from: "closed", to: "open", failureCount: 7 })
    assert.deepStrictEqual([it.failureCount(), it.openings, it.successes], [7, 3, 1])
    assert.deepStrictEqual(
      [it.retryAfterMillis(1000), it.retryAfterMillis(1039), it.retryAfterMillis(1040)],
      [40, 1, 0]
    )
    // the same state once more is no move; its break is what they say now
    it.adopt(other("open", { remainingMillis: 90, failureCount: 8 }), 1040, 1)
    assert.isUndefined(it.take())
    assert.deepStrictEqual([it.retryAfterMillis(1040), it.failureCount()], [90, 8])
  })

  it("takes over a state that rejects without a break", () => {
    for (const state of ["isolated", "forced-open"] as const) {
      const it = machine()
      it.adopt(other(state), 0, 1)
      assert.deepStrictEqual([it.state, it.failureCount(), it.retryAfterMillis(0)], [state, 7, 0])
    }
  })

  it("counts by itself what it lets through", () => {
    for (const state of ["closed", "disabled"] as const) {
      const it = opened()
      it.adopt(other(state, { openings: 0 }), 0, 1)
      assert.strictEqual(it.take()?.to, state)
      assert.strictEqual(it.openings, 0)
      it.isolate()
      // of its own count, not of what the others had
      assert.strictEqual(it.failureCount(), state === "closed" ? 0 : 1)
    }
  })

  it("half-open after more than one step is a new round, after one the same", () => {
    for (const [steps, same] of [
      [1, true],
      [2, false]
    ] as const) {
      const { it, permit } = halfOpen({ successThreshold: 5 })
      it.adopt(other("half-open", { successes: 2 }), 100, steps)
      assert.isUndefined(it.take())
      assert.strictEqual(it.generation === permit, same)
      assert.deepStrictEqual([it.successes, it.failureCount()], [2, 7])
      // of the same round the one permit is out
      assert.strictEqual(it.acquire(100) < 0, same)
    }
  })

  it("another state however many steps away is one move", () => {
    const it = opened()
    const before = it.generation
    it.adopt(other("isolated"), 0, 9)
    assert.strictEqual(it.take()?.to, "isolated")
    assert.strictEqual(it.generation, before + 1)
    it.adopt(other("isolated"), 0, 9)
    assert.strictEqual(it.generation, before + 1)
  })
})
