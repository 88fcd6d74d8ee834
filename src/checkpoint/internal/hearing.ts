/**
 * A refusal that somebody hears. With LangGraph's durability `async` nobody listens to the promise of a write while the nodes of a step run, and a
 * promise that rejects with nobody listening ends the process. LangGraph listens at the run's end, and with `sync` at once.
 *
 * @internal
 */
import { getEventListeners } from "node:events"
import type { RunnableConfig } from "@langchain/core/runnables"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/** The reader of a run's stream listens on its signal all the time, LangGraph while a step runs. */
const isInStep = (signal: AbortSignal): boolean => !signal.aborted && getEventListeners(signal, "abort").length > 1

/** Real time, also where a test has stopped the time: it is LangGraph that is waited for. */
const clock = Clock.make()
const moment = Effect.sleep(Duration.millis(5)).pipe(Effect.withClock(clock))

/** Ends when no step runs, twice in a row: between two steps nobody listens either. */
const silence = (signal: AbortSignal) =>
  Effect.gen(function* () {
    for (let silent = 0; silent < 2; silent = isInStep(signal) ? 0 : silent + 1) yield* moment
  })

/** Fails, if it does, when the run that has called listens. A subgraph's own steps cannot be told from its parent's: its failures come at once. */
export const whenHeard =
  (config: RunnableConfig) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
    const { signal } = config
    const namespace: unknown = config.configurable?.["checkpoint_ns"]
    if (signal === undefined || (namespace !== undefined && namespace !== "")) return self
    return Effect.catchAllCause(self, (cause) => Effect.zipRight(silence(signal), Effect.failCause(cause)))
  }
