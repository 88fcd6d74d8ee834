/** What is still to be done when the process is about to end by itself. */
type Finish = () => Promise<void>

const waiting = new Set<Finish>()

const finishAll = async (): Promise<void> => {
  await Promise.all([...waiting].map((finish) => finish().catch(() => {})))
}

let finished = false

/** Nothing is left to run. What is done now is awaited by Node; and then this is called again, which must not go on for ever. */
const beforeExit = (): void => {
  if (finished) return
  finished = true
  void finishAll()
}

let ending = false

/** A signal that nobody else hears ends the process as it would have, a little later; one that somebody hears is theirs. */
const signalled = (signal: NodeJS.Signals): void => {
  if (process.listenerCount(signal) > 1 || ending) return
  ending = true
  void finishAll().finally(() => {
    uninstall()
    process.kill(process.pid, signal)
  })
}

/** The same for an error that nobody catches: Node then says what it is, and ends with 1. */
const uncaught = (error: unknown): void => {
  if (process.listenerCount("uncaughtException") > 1 || ending) return
  ending = true
  void finishAll().finally(() => {
    uninstall()
    setImmediate(() => {
      throw error
    })
  })
}

const install = (): void => {
  process.on("beforeExit", beforeExit)
  process.on("SIGTERM", signalled)
  process.on("SIGINT", signalled)
  process.on("uncaughtException", uncaught)
}

const uninstall = (): void => {
  process.off("beforeExit", beforeExit)
  process.off("SIGTERM", signalled)
  process.off("SIGINT", signalled)
  process.off("uncaughtException", uncaught)
}

/**
 * Runs something before the process ends for want of work, by SIGTERM or SIGINT, or by an error that nobody catches, unless somebody else
 * hears these; until it is taken back. It must end by itself, and have nothing to do the second time.
 *
 * @internal
 */
export const onProcessEnd = (finish: Finish): (() => void) => {
  if (waiting.size === 0) install()
  waiting.add(finish)
  finished = false
  return () => {
    waiting.delete(finish)
    if (waiting.size === 0) uninstall()
  }
}
