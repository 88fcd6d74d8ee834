/**
 * A breaker for each function that is protected. Nodes of different graphs are often called the same, and a process has one registry: without it one graph's
 * outage would open another's breaker.
 *
 * @internal
 */
import * as Context from "effect/Context"
import * as CircuitBreaker from "../../resilience/CircuitBreaker.js"

type Registry = CircuitBreaker.Registry["Type"]

const breakers = new WeakMap<object, Map<string, CircuitBreaker.CircuitBreaker>>()

/** The breaker lives as long as the function: a graph that is built anew for each request, of the same functions, keeps it. */
const own = (target: object, id: string, options: CircuitBreaker.Options): CircuitBreaker.CircuitBreaker => {
  const known = breakers.get(target) ?? new Map<string, CircuitBreaker.CircuitBreaker>()
  breakers.set(target, known)
  const existing = known.get(id)
  if (existing !== undefined) return existing
  const made = CircuitBreaker.make(id, options)
  known.set(id, made)
  return made
}

/**
 * A registry that is provided holds good, and so does a name or a key of the options' own: those are meant to be shared.
 *
 * @param isOwn Whether an agent is the function's, and no fallback of somebody else's.
 */
export const within = (
  context: Context.Context<never>,
  target: object,
  isOwn: (id: string) => boolean
): Context.Context<never> => {
  if (context.unsafeMap.has(CircuitBreaker.Registry.key)) return context
  const outer = Context.get(context, CircuitBreaker.Registry)
  const registry: Registry = {
    ...outer,
    get: (name, options = {}) =>
      options.name === undefined && options.key === undefined && isOwn(name)
        ? own(target, name, options)
        : outer.get(name, options)
  }
  return Context.add(context, CircuitBreaker.Registry, registry)
}
