/** One fiber, and after a while perhaps another for the same answer. Whoever waits holds both, and ends them in every way out. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Failure from "../Failure.js"

/** How the second attempt came out, for the trace. */
export type Outcome = "won" | "lost" | "failed" | "denied"

export interface Rules {
  readonly delayMillis: number
  /** Asked when the delay is over: whether the second attempt may begin. */
  readonly mayBegin: () => boolean
  /** Whether to wait for the loser's finalizers. */
  readonly wait: boolean
  readonly ended: (outcome: Outcome) => Effect.Effect<void>
}

/** What is no signal of LangGraph's, about which nobody is asked, and no interruption. */
const anyFailure = (): Failure.Failure => ({ kind: "permanent", reason: "failed" })

/** Whether an exit ends the contest: an answer does, and what is no failure at all. A failure leaves it to the other. */
const decides = (exit: Exit.Exit<unknown, unknown>): boolean =>
  exit._tag === "Success" || !Failure.isReal(Failure.fromCause(exit.cause, anyFailure))

/** The first of the fibers to end. */
const firstOf = <A, E>(
  fibers: ReadonlyArray<Fiber.RuntimeFiber<A, E>>
): Effect.Effect<{ readonly index: number; readonly exit: Exit.Exit<A, E> }> =>
  Effect.async((resume) => {
    const stop = fibers.map((fiber, index) => {
      const ended = (exit: Exit.Exit<A, E>) => resume(Effect.succeed({ index, exit }))
      fiber.addObserver(ended)
      return () => fiber.removeObserver(ended)
    })
    return Effect.sync(() => {
      for (const each of stop) each()
    })
  })

export const run = <A, E, R, A2, E2, R2>(
  self: Effect.Effect<A, E, R>,
  that: Effect.Effect<A2, E2, R2>,
  rules: Rules
): Effect.Effect<A | A2, E | E2, R | R2> =>
  Effect.uninterruptibleMask((restore) => {
    type Each = Fiber.RuntimeFiber<A | A2, E | E2>
    const stop = (fiber: Fiber.RuntimeFiber<unknown, unknown>): Effect.Effect<unknown> =>
      rules.wait ? Fiber.interrupt(fiber) : Fiber.interruptFork(fiber)

    /** What a fiber ended with, and for an answer what it has left in its fiber's references. */
    const take = (fiber: Each, exit: Exit.Exit<A | A2, E | E2>): Effect.Effect<A | A2, E | E2> =>
      exit._tag === "Success" ? Effect.as(fiber.inheritAll, exit.value) : exit

    /** No second one: the first is all there is. */
    const alone = (first: Each): Effect.Effect<A | A2, E | E2> =>
      restore(Fiber.await(first)).pipe(
        Effect.onInterrupt(() => stop(first)),
        Effect.flatMap((exit) => take(first, exit))
      )

    const both = (first: Each, second: Each): Effect.Effect<A | A2, E | E2> =>
      restore(firstOf([first, second])).pipe(
        Effect.onInterrupt(() => Effect.zipRight(stop(second), stop(first))),
        Effect.flatMap(({ exit, index }) => {
          const [one, other] = index === 0 ? ([first, second] as const) : ([second, first] as const)
          if (decides(exit)) {
            return rules
              .ended(index === 0 ? "lost" : "won")
              .pipe(Effect.zipRight(stop(other)), Effect.zipRight(take(one, exit)))
          }
          return restore(Fiber.await(other)).pipe(
            Effect.onInterrupt(() => stop(other)),
            Effect.flatMap((last) => {
              const outcome = last._tag === "Failure" || index === 1 ? "failed" : "won"
              // two failures are told together, the first attempt's before the second's
              const end =
                last._tag === "Failure" && exit._tag === "Failure" && !decides(last)
                  ? Effect.failCause(
                      index === 0 ? Cause.parallel(exit.cause, last.cause) : Cause.parallel(last.cause, exit.cause)
                    )
                  : take(other, last)
              return Effect.zipRight(rules.ended(outcome), end)
            })
          )
        })
      )

    return Effect.flatMap(Effect.forkDaemon(restore(self)), (first: Each) =>
      Effect.flatMap(
        Effect.forkDaemon(Effect.interruptible(Effect.as(Effect.sleep(rules.delayMillis), undefined))),
        (timer) =>
          restore(firstOf<A | A2 | undefined, E | E2>([first, timer])).pipe(
            Effect.onInterrupt(() => stop(first)),
            Effect.ensuring(Fiber.interruptFork(timer)),
            Effect.flatMap(({ index }) => {
              if (index === 0) return alone(first)
              if (!rules.mayBegin()) return Effect.zipRight(rules.ended("denied"), alone(first))
              return Effect.flatMap(Effect.forkDaemon(restore(that)), (second: Each) => both(first, second))
            })
          )
      )
    )
  })
