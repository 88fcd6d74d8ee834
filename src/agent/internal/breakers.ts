/** The breaker of an agent, and its options when a policy override changes them. */
import * as Effect from "effect/Effect"
import type * as CircuitBreaker from "../../resilience/CircuitBreaker.js"

type Options = CircuitBreaker.Options

type Settings = Omit<Options, "name" | "key">

interface Applied {
  /** The agent whose override it is: only it takes it back. Others may share the breaker by name. */
  readonly by: string
  readonly options: Options
}

const applied = new WeakMap<CircuitBreaker.CircuitBreaker, Applied>()

/** As long as nothing was ever overridden nobody has to look. */
let anyApplied = false

const settings: ReadonlyArray<keyof Settings> = [
  "rule",
  "failureThreshold",
  "resetAfter",
  "successThreshold",
  "halfOpenPermits",
  "halfOpenWait",
  "classify"
]

/** Only what differs: to name the rule would begin its count anew. */
const difference = (from: Options, to: Options): Settings | undefined => {
  const changed = settings.filter((setting) => from[setting] !== to[setting])
  return changed.length === 0 ? undefined : Object.fromEntries(changed.map((setting) => [setting, to[setting]]))
}

export interface Found {
  readonly breaker: CircuitBreaker.CircuitBreaker
  /** To be run each time before the breaker is used. */
  readonly change: Effect.Effect<void> | undefined
}

/** The breaker of an agent that was made with the options `own` and now has `now`. */
export const find = (
  registry: CircuitBreaker.Registry["Type"],
  id: string,
  own: Options | undefined,
  now: Options
): Found => {
  if (own === now && !anyApplied) return { breaker: registry.get(id, now), change: undefined }
  anyApplied = true
  const breaker = registry.get(id, own === undefined ? now : { ...own, name: now.name, key: now.key })
  if (own === now && applied.get(breaker)?.by !== id) return { breaker, change: undefined }
  return { breaker, change: Effect.suspend(() => apply(breaker, id, own, now)) }
}

const apply = (
  breaker: CircuitBreaker.CircuitBreaker,
  id: string,
  own: Options | undefined,
  now: Options
): Effect.Effect<void> => {
  const before = applied.get(breaker)
  if (own === now) applied.delete(breaker)
  else applied.set(breaker, { by: id, options: now })
  const change = difference(before?.options ?? own ?? now, now)
  return change === undefined ? Effect.void : breaker.reconfigure(change)
}
