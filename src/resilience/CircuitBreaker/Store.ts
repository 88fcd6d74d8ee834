/**
 * Where processes share what their breakers know: an opening in one is seen in all, and probes are bounded across them.
 *
 * @since 0.1.0
 */
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type { State } from "../CircuitBreaker.js"
import * as numbers from "../internal/numbers.js"

/**
 * The store could not be asked, or did not answer in time. It never reaches a call: the breakers go by what they know themselves.
 *
 * @since 0.1.0
 * @category errors
 */
export class CircuitBreakerStoreError extends Schema.TaggedError<CircuitBreakerStoreError>(
  "holdfast/CircuitBreakerStoreError"
)("CircuitBreakerStoreError", {
  /** What was asked of it. */
  operation: Schema.Literal("read", "write", "lease", "settle", "sync"),
  message: Schema.String,
  cause: Schema.optional(Schema.Defect)
}) {}

/**
 * What all know of one breaker.
 *
 * @since 0.1.0
 * @category models
 */
export interface Shared {
  /** Its name and key, as one text. */
  readonly id: string
  /** One more with each change of state; the first is 1. */
  readonly version: number
  readonly state: State
  readonly failureCount: number
  /** How often it opened since it was last closed. */
  readonly openings: number
  /** Of probes, since it is half-open. */
  readonly successes: number
  /** What is left of the break, in milliseconds by the store's own clock; 0 when it is over. */
  readonly remainingMillis: number
}

/**
 * What a store must be able to do; each operation is atomic. Answers are what is there afterwards.
 *
 * @since 0.1.0
 * @category models
 */
export interface StoreService {
  /** The breakers of these ids; one that nobody has shared yet is left out. */
  readonly read: (ids: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<Shared>, CircuitBreakerStoreError>
  /**
   * Changes the state, if nobody else has since version `expected` (0: nobody shared it yet; absent: in any case). All leases end with it.
   */
  readonly write: (
    next: Omit<Shared, "version">,
    expected: number | undefined
  ) => Effect.Effect<{ readonly written: boolean; readonly current: Shared }, CircuitBreakerStoreError>
  /**
   * Asks for the permit of one probe: granted when the break is over (then it becomes half-open) or it is half-open, and fewer than `permits`
   * leases run. A lease that is not settled ends by itself.
   */
  readonly lease: (request: {
    readonly id: string
    /** A name for the lease that nobody else uses. */
    readonly lease: string
    readonly permits: number
    readonly expiresAfterMillis: number
  }) => Effect.Effect<{ readonly granted: boolean; readonly current: Shared | undefined }, CircuitBreakerStoreError>
  /** Gives a lease back; a success of one that still runs counts, and closes the breaker when it is the last one needed. */
  readonly settle: (result: {
    readonly id: string
    readonly lease: string
    readonly success: boolean
    readonly successThreshold: number
  }) => Effect.Effect<Shared | undefined, CircuitBreakerStoreError>
}

/**
 * The store in force.
 *
 * @since 0.1.0
 * @category services
 */
export class Store extends Context.Tag("holdfast/CircuitBreaker/Store")<Store, StoreService>() {}

interface Row extends Omit<Shared, "remainingMillis"> {
  readonly until: number
  /** When each ends. */
  readonly leases: ReadonlyMap<string, number>
}

const none: ReadonlyMap<string, number> = new Map()

const makeMemory = (clock: Clock.Clock): StoreService => {
  const rows = new Map<string, Row>()
  const now = () => numbers.monotonic(clock)
  const show = ({ leases: _, until, ...row }: Row): Shared => ({
    ...row,
    remainingMillis: row.state === "open" ? Math.max(0, until - now()) : 0
  })
  const put = (row: Row): Shared => {
    rows.set(row.id, row)
    return show(row)
  }
  return {
    read: (ids) =>
      Effect.sync(() =>
        ids.flatMap((id) => {
          const row = rows.get(id)
          return row === undefined ? [] : [show(row)]
        })
      ),
    write: ({ remainingMillis, ...next }, expected) =>
      Effect.sync(() => {
        const row = rows.get(next.id)
        const version = row?.version ?? 0
        return row !== undefined && expected !== undefined && expected !== version
          ? { written: false, current: show(row) }
          : {
              written: true,
              current: put({ ...next, version: version + 1, until: now() + remainingMillis, leases: none })
            }
      }),
    lease: ({ expiresAfterMillis, id, lease, permits }) =>
      Effect.sync(() => {
        const row = rows.get(id)
        if (row === undefined) return { granted: false, current: undefined }
        const begins = row.state === "open" && row.until <= now()
        const leases = new Map([...row.leases].filter(([, until]) => until > now()))
        if (!begins && (row.state !== "half-open" || leases.size >= permits))
          return { granted: false, current: show(row) }
        leases.set(lease, now() + expiresAfterMillis)
        const current = begins
          ? { ...row, state: "half-open" as const, version: row.version + 1, successes: 0, leases }
          : { ...row, leases }
        return { granted: true, current: put(current) }
      }),
    settle: ({ id, lease, success, successThreshold }) =>
      Effect.sync(() => {
        const row = rows.get(id)
        if (row === undefined) return undefined
        if (!row.leases.has(lease)) return show(row)
        const leases = new Map(row.leases)
        leases.delete(lease)
        const successes = row.successes + (success ? 1 : 0)
        if (row.state !== "half-open" || successes < successThreshold) return put({ ...row, successes, leases })
        return put({
          ...row,
          state: "closed",
          version: row.version + 1,
          failureCount: 0,
          openings: 0,
          successes: 0,
          leases: none
        })
      })
  }
}

/**
 * A store in this process's memory: for tests, and for registries of one process that must agree.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerStoreMemory: Layer.Layer<Store> = Layer.effect(Store, Effect.map(Effect.clock, makeMemory))
