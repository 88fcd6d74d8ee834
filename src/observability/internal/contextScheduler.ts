/** A scheduler that keeps the asynchronous context, and with it every AsyncLocalStorage, of where it was made. */
import { AsyncResource } from "node:async_hooks"
import * as Scheduler from "effect/Scheduler"

/**
 * A fiber that another one wakes (through a semaphore, a queue, a cache) goes on in the waker's asynchronous context: it would find another run's
 * LangGraph config. Tasks of this scheduler always run in the context in which it was made. (`AsyncLocalStorage.snapshot` does the same, and
 * costs three times as much on Node 20.)
 */
export const make = (): Scheduler.Scheduler => {
  const resource = new AsyncResource("holdfast")
  const base = Scheduler.defaultScheduler
  return {
    shouldYield: (fiber) => base.shouldYield(fiber),
    scheduleTask: (task, priority, fiber) => base.scheduleTask(() => resource.runInAsyncScope(task), priority, fiber)
  }
}
