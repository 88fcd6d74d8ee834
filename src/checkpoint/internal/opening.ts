/**
 * A store for a program that knows no Effect: opened by the first who asks for it, closed by hand.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { CheckpointError, isCheckpointError } from "../CheckpointError.js"
import type { Open, Store } from "./store.js"

export interface Opening<E> {
  /** Opens it, unless it is open. One that failed to open is opened anew by the next who asks. */
  readonly open: Effect.Effect<Store, E | CheckpointError>
  /** The same for an operation, its failure told as a checkpoint's. */
  readonly opened: Open
  /** The store, while it is open. */
  readonly current: () => Store | undefined
  /** Closes what was made {@link within}, then it. */
  readonly close: Effect.Effect<void>
  /** Makes what lives as long as this is open. */
  readonly within: <A>(effect: Effect.Effect<A, never, Scope.Scope>) => A
}

export const make = <E extends Error>(build: Effect.Effect<Store, E, Scope.Scope>): Opening<E> => {
  const stores = Effect.runSync(Scope.make())
  const users = Effect.runSync(Scope.make())
  const lock = Effect.unsafeMakeSemaphore(1)
  let store: Store | undefined
  let closed = false
  const anew = Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      if (closed) {
        return yield* new CheckpointError({
          reason: "Closed",
          operation: "setup",
          message: "The checkpointer was closed: make a new one"
        })
      }
      if (store !== undefined) return store
      const scope = yield* Scope.fork(stores, ExecutionStrategy.sequential)
      const exit = yield* Effect.exit(restore(Scope.extend(build, scope)))
      if (Exit.isSuccess(exit)) {
        store = exit.value
        return store
      }
      yield* Scope.close(scope, exit)
      return yield* Effect.failCause(exit.cause)
    })
  )
  const open = Effect.suspend(
    (): Effect.Effect<Store, E | CheckpointError> =>
      store === undefined || closed ? lock.withPermits(1)(anew) : Effect.succeed(store)
  )
  return {
    open,
    current: () => (closed ? undefined : store),
    opened: (operation, threadId, writes = false) =>
      Effect.mapError(
        open,
        (cause) =>
          new CheckpointError({
            reason: isCheckpointError(cause) ? cause.reason : "Database",
            operation,
            ...(threadId === undefined ? {} : { threadId }),
            ...(writes ? { written: "no" as const } : {}),
            message: `The ${operation} of a checkpoint${threadId === undefined ? "" : ` of "${threadId}"`} failed: ${cause.message}${writes ? " Nothing was written." : ""}`,
            cause
          })
      ),
    // first those who use it, for they have yet to write what is under way, and may open it for that
    close: Effect.suspend(() => Scope.close(users, Exit.void)).pipe(
      Effect.zipRight(
        Effect.suspend(() => {
          closed = true
          return Scope.close(stores, Exit.void)
        })
      ),
      Effect.uninterruptible
    ),
    within: (effect) => Effect.runSync(Scope.extend(effect, users))
  }
}

/** Runs an effect for a caller who knows promises only: it rejects with the effect's own error. */
export const promise = async <A, E extends Error>(effect: Effect.Effect<A, E>): Promise<void> => {
  const exit = await Effect.runPromiseExit(effect)
  if (Exit.isFailure(exit)) throw Cause.squash(exit.cause)
}
