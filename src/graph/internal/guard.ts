/**
 * A checkpointer whose writes do not fail where LangGraph does not look. It chains them and looks at them later: a promise that is rejected meanwhile ends the
 * process, and nodes go on from a checkpoint that is not there. Here the first write that fails ends the run, and none follows it.
 *
 * @internal
 */
import * as Predicate from "effect/Predicate"

type Method = (...args: ReadonlyArray<unknown>) => unknown

const isMethod = (u: unknown): u is Method => typeof u === "function"

const bares = new WeakMap<object, object>()

/** The checkpointer itself. */
export const bare = (saver: unknown): unknown => (Predicate.isObject(saver) ? (bares.get(saver) ?? saver) : saver)

/** What `put` answers: where the next checkpoint goes on from. */
const placeOf = (config: unknown, checkpoint: unknown): unknown => {
  const configurable = Predicate.hasProperty(config, "configurable") ? config.configurable : undefined
  const of = (name: string): unknown => (Predicate.hasProperty(configurable, name) ? configurable[name] : undefined)
  const id = Predicate.hasProperty(checkpoint, "id") ? checkpoint.id : undefined
  return { configurable: { thread_id: of("thread_id"), checkpoint_ns: of("checkpoint_ns") ?? "", checkpoint_id: id } }
}

/** @param onLost Told once, of the first write that failed. */
export const make = (saver: object, onLost: (error: unknown) => void): object => {
  let lost = false
  const lose = (error: unknown): void => {
    if (!lost) onLost(error)
    lost = true
  }
  const writing =
    (method: Method, answer: (args: ReadonlyArray<unknown>) => unknown): Method =>
    async (...args) => {
      // what follows on a checkpoint that is not there must not be there either
      if (lost) return answer(args)
      try {
        return await method.apply(saver, [...args])
      } catch (error) {
        lose(error)
        return answer(args)
      }
    }
  const methods = new Map<PropertyKey, unknown>([["toJSON", () => "[Checkpointer]"]])
  const guarded = new Proxy(saver, {
    get: (target, name) => {
      if (methods.has(name)) return methods.get(name)
      const value: unknown = Reflect.get(target, name, target)
      if (!isMethod(value)) return value
      const method =
        name === "put"
          ? writing(value, ([config, checkpoint]) => placeOf(config, checkpoint))
          : name === "putWrites"
            ? writing(value, () => undefined)
            : value.bind(target)
      methods.set(name, method)
      return method
    }
  })
  bares.set(guarded, bare(saver) as object) // what is bare of an object is one
  return guarded
}
