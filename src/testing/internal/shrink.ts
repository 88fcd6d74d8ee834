/** The smallest part of a list that still does it. */
import * as Effect from "effect/Effect"

/**
 * Delta debugging (Zeller's ddmin): leaves out ever smaller parts of the list, as long as what is left still holds. The result is minimal in that
 * none of its items can be left out alone, unless `tries` were used up before. The order is kept.
 */
export const smallest = <A, E, R>(
  items: ReadonlyArray<A>,
  holds: (part: ReadonlyArray<A>) => Effect.Effect<boolean, E, R>,
  tries: number
): Effect.Effect<ReadonlyArray<A>, E, R> =>
  Effect.gen(function* () {
    let left = tries
    const ask = (part: ReadonlyArray<A>) => {
      left--
      return holds(part)
    }
    if (items.length > 0 && left > 0 && (yield* ask([]))) return []
    let current = items
    let parts = 2
    while (current.length >= 2 && left > 0) {
      const size = Math.ceil(current.length / parts)
      let found: ReadonlyArray<A> | undefined
      for (let from = 0; from < current.length && left > 0 && found === undefined; from += size) {
        const part = current.slice(from, from + size)
        const rest = [...current.slice(0, from), ...current.slice(from + size)]
        if (parts > 2 || part.length === rest.length) {
          if (part.length < current.length && (yield* ask(part))) {
            found = part
            parts = 2
            break
          }
        }
        if (rest.length > 0 && left > 0 && (yield* ask(rest))) {
          found = rest
          parts = Math.max(2, parts - 1)
        }
      }
      if (found !== undefined) current = found
      else if (parts >= current.length) return current
      else parts = Math.min(current.length, parts * 2)
    }
    return current
  })
