/** What has to go back to where it was before the same work is tried again, such as the count of the questions that a graph's node has asked. */
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"

/** Goes back to where it was marked. Told why, and the number of the try that begins. */
export type Rewinding = (cause: Cause.Cause<unknown>, attempt: number) => void

export interface Service {
  /** Notes where it is now. */
  readonly mark: () => Rewinding
}

/** Nothing, unless somebody provides it. */
export class Rewind extends Context.Reference<Rewind>()("holdfast/resilience/Rewind", {
  defaultValue: (): Service | undefined => undefined
}) {}
