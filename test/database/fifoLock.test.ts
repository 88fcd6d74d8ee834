import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FifoLock from "../../src/database/internal/fifoLock.js"

describe("FifoLock", () => {
  it.effect("is handed over in order, past those who gave up", () =>
    Effect.gen(function* () {
      const lock = FifoLock.make()
      const [first, second, third, fourth] = [lock.enqueue(), lock.enqueue(), lock.enqueue(), lock.enqueue()]
      const states = () => [first, second, third, fourth].map((ticket) => ticket.state)
      assert.deepStrictEqual(states(), ["held", "waiting", "waiting", "waiting"])
      lock.release(second)
      lock.release(first)
      assert.deepStrictEqual(states(), ["released", "released", "held", "waiting"])
      lock.release(first)
      assert.deepStrictEqual(states(), ["released", "released", "held", "waiting"], "a second release changes nothing")
      yield* lock.wait(third)
      const waiting = yield* Effect.fork(lock.wait(fourth))
      yield* Effect.yieldNow()
      lock.release(third)
      yield* Fiber.join(waiting)
      lock.release(fourth)
      assert.strictEqual(lock.enqueue().state, "held")
    })
  )

  it.live("fails when its turn does not come in time, and says why", () =>
    Effect.gen(function* () {
      const lock = FifoLock.make(20)
      lock.enqueue()
      const late = lock.enqueue()
      const error = yield* Effect.flip(lock.wait(late))
      assert.include(error.message, "a transaction is held open")
      lock.release(late)
    })
  )

  it.effect("can be given back by one that is interrupted while it waits, or just as its turn comes", () =>
    Effect.gen(function* () {
      const lock = FifoLock.make()
      const use = Effect.suspend(() => {
        const ticket = lock.enqueue()
        return lock.wait(ticket).pipe(Effect.ensuring(Effect.sync(() => lock.release(ticket))))
      })
      for (let round = 0; round < 50; round++) {
        const holder = lock.enqueue()
        assert.strictEqual(holder.state, "held")
        const waiting = yield* Effect.fork(use)
        yield* Effect.yieldNow()
        const interrupting = yield* Effect.fork(Fiber.interrupt(waiting))
        if (round % 2 === 0) yield* Effect.yieldNow()
        lock.release(holder)
        assert.isTrue(Exit.isExit(yield* Fiber.join(interrupting)))
      }
    })
  )
})
