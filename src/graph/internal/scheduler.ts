/** A scheduler that keeps a run's AsyncLocalStorage. */
import { AsyncLocalStorage } from "node:async_hooks"
import * as Scheduler from "effect/Scheduler"

/**
 * A fiber that another one wakes (through a semaphore, a queue, a cache) goes on in the waker's asynchronous context: it would find another run's
 * LangGraph config. Tasks of this scheduler always run in the context in which it was made.
 */
export const make = (): Scheduler.Scheduler => {
  const inContext = AsyncLocalStorage.snapshot()
  const base = new Scheduler.MixedScheduler(2048)
  return {
    shouldYield: (fiber) => base.shouldYield(fiber),
    scheduleTask: (task, priority) => base.scheduleTask(() => inContext(task), priority)
  }
}
