/**
 * How one request ended. What was not taken is kept and sent again, or refused for good.
 *
 * @internal
 */
export type Outcome =
  | { readonly _tag: "Taken" }
  /** Some were taken: those at these places were refused, those are to be sent again. */
  | {
      readonly _tag: "Partly"
      readonly refused: ReadonlyMap<number, string>
      readonly later: ReadonlySet<number>
      readonly reason: string
    }
  /** All but so many were taken, and which they are is not known. */
  | { readonly _tag: "Rejected"; readonly items: number; readonly reason: string }
  /** The server will not have this, as a whole: what is wrong with it is found by halves. */
  | { readonly _tag: "Refused"; readonly reason: string; readonly tooLarge: boolean }
  | Later

/** @internal */
export interface Later {
  readonly _tag: "Later"
  readonly reason: string
  readonly afterMillis?: number | undefined
  /** Why trying again soon is of no use: the keys, or the address. */
  readonly settings?: "keys" | "address" | undefined
}
