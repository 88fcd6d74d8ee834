/**
 * Requests that share a statement. What is asked for while the statements under way are not answered yet goes out together in the next one; who
 * asks alone waits for nobody. An answer means what it would mean alone: a write is committed, a row was read.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import { untraced } from "./runner.js"

/** Told once: the answers, or nothing when they are not known, with what was in the way. */
export type Told<B, M> = (answers: ReadonlyArray<B> | undefined, cause?: M) => void

export interface Options<A, B, E, M> {
  /** Answers one. `before` is what became of a statement that it shared. */
  readonly one: (item: A, before: M | undefined) => Effect.Effect<B, E>
  /** Answers two or more, in order. When it fails, each is asked for alone. */
  readonly many: (items: ReadonlyArray<A>) => Effect.Effect<ReadonlyArray<B>, M>
  /** As `one` and `many`, at once and without a fiber. What is not known after it, `one` finds out. Default: there is no such way. */
  readonly quick?: ((items: ReadonlyArray<A>, told: Told<B, M>) => void) | undefined
  /** Of two with the same key only one goes into a statement. Default: all may. */
  readonly key?: ((item: A) => string) | undefined
  /** In bytes. What is heavy goes at once, and alone: it would keep the others waiting. Default: nothing is. */
  readonly weight?: ((item: A) => number) | undefined
}

export interface Group<A, B, E> {
  (item: A): Effect.Effect<B, E>
  /** The same for who is no fiber. */
  readonly quick: (item: A, done: (exit: Exit.Exit<B, E>) => void) => void
}

/** Statements under way while what comes meanwhile waits to share the next. */
const lanes = 2

/** From this weight in bytes a request is heavy. */
const heavy = 16_384

/** Requests in a statement. */
const capacity = 64

/** How long a request waits for a lane at most: a statement that waits for a lock keeps nobody else waiting. */
const patienceMillis = 10

interface Pending<A, B, E> {
  readonly item: A
  readonly key: string | undefined
  readonly resume: (exit: Exit.Exit<B, E>) => void
  /** Whether it may go the quick way: nobody can interrupt it. */
  readonly quick: boolean
  /** What answers it, once it has been sent. */
  sent: Sent | undefined
}

interface Sent {
  /** How many still wait for the answer. */
  waiting: number
  fiber: Fiber.RuntimeFiber<unknown, unknown> | undefined
}

export const make = <A, B, E, M>(options: Options<A, B, E, M>): Effect.Effect<Group<A, B, E>> =>
  Effect.map(untraced, (runtime) => {
    const { one, many, key, quick, weight } = options
    let queue: Array<Pending<A, B, E>> = []
    let underWay = 0
    let scheduled = false
    /** How many the last statement was for. */
    let last = 0
    let timer: NodeJS.Timeout | undefined

    /** The first in the queue, each key once; the rest stays. */
    const take = (): ReadonlyArray<Pending<A, B, E>> => {
      const keys = new Set<string>()
      const taken: Array<Pending<A, B, E>> = []
      const left: Array<Pending<A, B, E>> = []
      for (const pending of queue) {
        if (taken.length === capacity || (pending.key !== undefined && keys.has(pending.key))) left.push(pending)
        else {
          if (pending.key !== undefined) keys.add(pending.key)
          taken.push(pending)
        }
      }
      queue = left
      return taken
    }

    const run = <X, Y>(
      batch: ReadonlyArray<Pending<A, B, E>>,
      effect: Effect.Effect<X, Y>,
      then: (exit: Exit.Exit<X, Y>) => void
    ): void => {
      const sent: Sent = { waiting: batch.length, fiber: undefined }
      for (const pending of batch) pending.sent = sent
      const fiber = Runtime.runFork(runtime, effect)
      sent.fiber = fiber
      fiber.addObserver(then)
    }

    const alone = (pending: Pending<A, B, E>, before: M | undefined, done?: () => void): void =>
      run([pending], one(pending.item, before), (exit) => {
        done?.()
        pending.resume(exit)
      })

    const answer = (
      batch: ReadonlyArray<Pending<A, B, E>>,
      answers: ReadonlyArray<B> | undefined,
      before: M | undefined
    ): void => {
      for (const [index, pending] of batch.entries()) {
        if (answers !== undefined)
          pending.resume(Exit.succeed(answers[index] as B)) // an answer each
        // it may be the fault of one: each is tried alone, and hears of its own
        else if (pending.quick || pending.sent !== undefined) alone(pending, before)
      }
    }

    const together = (batch: ReadonlyArray<Pending<A, B, E>>, done: () => void): void =>
      run(batch, many(batch.map((pending) => pending.item)), (exit) => {
        done()
        if (Exit.isSuccess(exit)) answer(batch, exit.value, undefined)
        else answer(batch, undefined, Option.getOrUndefined(Cause.failureOption(exit.cause)))
      })

    const quickly = (batch: ReadonlyArray<Pending<A, B, E>>, send: typeof quick & {}, done: () => void): void =>
      send(
        batch.map((pending) => pending.item),
        (answers, cause) => {
          done()
          answer(batch, answers, cause)
        }
      )

    const open = (): void => {
      const batch = take()
      const [first] = batch
      if (first === undefined) return
      underWay++
      last = batch.length
      const done = () => {
        underWay--
        if (queue.length > 0) schedule()
      }
      if (quick !== undefined && batch.every((pending) => pending.quick)) quickly(batch, quick, done)
      else if (batch.length === 1) alone(first, undefined, done)
      else together(batch, done)
    }

    const flush = (): void => {
      scheduled = false
      while (queue.length > 0 && underWay < lanes) open()
      if (queue.length === 0 || timer !== undefined) return
      timer = setTimeout(() => {
        timer = undefined
        open()
        flush()
      }, patienceMillis)
    }

    // after all that has come in this turn of the event loop: who was answered by the same statement asks again in it
    const schedule = (): void => {
      if (scheduled) return
      scheduled = true
      setImmediate(flush)
    }

    const sharing = (item: A, own: string | undefined): Effect.Effect<B, E> =>
      Effect.async<B, E>((resume) => {
        const pending: Pending<A, B, E> = { item, key: own, resume, quick: false, sent: undefined }
        queue.push(pending)
        schedule()
        return Effect.suspend(() => {
          const { sent } = pending
          if (sent === undefined) {
            queue = queue.filter((each) => each !== pending)
            return Effect.void
          }
          pending.sent = undefined
          sent.waiting--
          // when nobody waits for it any more, it is cancelled
          return sent.waiting > 0 || sent.fiber === undefined ? Effect.void : interrupt(sent.fiber)
        })
      })

    /** In the caller's own fiber: of a statement that nobody shares nobody else has to hear. */
    const single = (item: A): Effect.Effect<B, E> =>
      Effect.suspend(() => {
        underWay++
        last = 1
        return Effect.onExit(one(item, undefined), () => {
          underWay--
          if (queue.length > 0) schedule()
          return Effect.void
        })
      })

    const isHeavy = (item: A): boolean => weight !== undefined && weight(item) >= heavy
    const isIdle = (): boolean => underWay === 0 && queue.length === 0 && last <= 1

    const share = (item: A): Effect.Effect<B, E> =>
      Effect.suspend(() => {
        if (isHeavy(item)) return one(item, undefined)
        return isIdle() ? single(item) : sharing(item, key?.(item))
      })

    return Object.assign(share, {
      quick: (item: A, resume: (exit: Exit.Exit<B, E>) => void): void => {
        const pending: Pending<A, B, E> = { item, key: key?.(item), resume, quick: true, sent: undefined }
        if (isHeavy(item)) {
          if (quick === undefined) alone(pending, undefined)
          else quickly([pending], quick, () => {})
          return
        }
        const idle = isIdle()
        queue.push(pending)
        if (idle) open()
        else schedule()
      }
    })
  })

const interrupt = (fiber: Fiber.RuntimeFiber<unknown, unknown>) =>
  Effect.asVoid(Effect.fiberIdWith((id) => fiber.interruptAsFork(id)))
