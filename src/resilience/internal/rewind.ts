/** What has to go back to where it was before the same work is tried again, such as the count of the questions that a graph's node has asked. */
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"

/** Where the tries of some work began. */
export interface Mark {
  /** Goes back to it. Told why, and the number of the try that begins. */
  readonly back: (cause: Cause.Cause<unknown>, attempt: number) => void
  /** No try follows: whatever comes now comes after the furthest of them. */
  readonly on: () => void
}

export interface Service {
  /** Notes where it is now. */
  readonly mark: () => Mark
}

/** Nothing, unless somebody provides it. */
export class Rewind extends Context.Reference<Rewind>()("holdfast/resilience/Rewind", {
  defaultValue: (): Service | undefined => undefined
}) {}
