/** What one checkpoint's values have that another's have not. */
import * as Predicate from "effect/Predicate"
import * as json from "./json.js"

export interface Change {
  readonly channel: string
  /** Absent for a channel that is new. */
  readonly before?: unknown
  /** Absent for one that is gone. */
  readonly after?: unknown
}

type Values = Readonly<Record<string, unknown>>

/** LangGraph's own channels: what it starts and branches by. */
const isOwn = (channel: string): boolean => /^(?:__|branch:|join:|start:)/.test(channel)

/** The changes from one to the other, by channel. */
export const between = (before: Values, after: Values): ReadonlyArray<Change> =>
  [...new Set([...Object.keys(before), ...Object.keys(after)])]
    .filter((channel) => !isOwn(channel))
    .filter((channel) => json.show(before[channel]) !== json.show(after[channel]))
    .map((channel) => ({
      channel,
      ...(channel in before ? { before: before[channel] } : {}),
      ...(channel in after ? { after: after[channel] } : {})
    }))

/** Where in nested values something has changed, at most so deep that a line tells it. */
const parts = (path: string, before: unknown, after: unknown, depth: number): ReadonlyArray<string> => {
  if (json.show(before) === json.show(after)) return []
  if (
    Array.isArray(before) &&
    Array.isArray(after) &&
    before.every((each, at) => json.show(each) === json.show(after[at]))
  ) {
    return after.slice(before.length).map((each, at) => `+ ${path}[${before.length + at}]: ${json.show(each)}`)
  }
  if (Predicate.isRecord(before) && Predicate.isRecord(after) && depth > 0) {
    return [...new Set([...Object.keys(before), ...Object.keys(after)])].flatMap((key) =>
      parts(`${path}.${key}`, before[key], after[key], depth - 1)
    )
  }
  if (before === undefined) return [`+ ${path}: ${json.show(after)}`]
  if (after === undefined) return [`- ${path}: ${json.show(before)}`]
  return [`~ ${path}: ${json.show(before)} -> ${json.show(after)}`]
}

/** A line a change. */
export const lines = (changes: ReadonlyArray<Change>): ReadonlyArray<string> =>
  changes.flatMap(({ after, before, channel }) => parts(channel, before, after, 3))
