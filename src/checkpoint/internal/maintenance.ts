/**
 * What keeps the tables small: pruning, expiring and copying of threads, over `upkeep`'s statements and `plan`'s rule.
 *
 * A thread is changed in short transactions that hold its lease's row, so that no run begins or writes meanwhile; one that a run has is left alone.
 *
 * @internal
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Transaction from "../../database/Transaction.js"
import type { CheckpointError, CheckpointNotFoundError } from "../CheckpointError.js"
import type { Encryption } from "../Encryption.js"
import type { Outcome } from "../Retention.js"
import * as copying from "./copying.js"
import * as plan from "./plan.js"
import * as upkeep from "./upkeep.js"

export interface Maintenance {
  /** Nothing for a thread that is not stored. */
  readonly prune: (
    threadId: string,
    policy: plan.Policy,
    dryRun: boolean
  ) => Effect.Effect<Outcome | undefined, CheckpointError>
  /** Removes a thread if all of it is older than `before`, an ISO time; nothing where it is not. */
  readonly expire: (
    threadId: string,
    before: string,
    dryRun: boolean
  ) => Effect.Effect<Outcome | undefined, CheckpointError>
  /** Threads in order, after one. */
  readonly threads: (after: string | undefined) => Effect.Effect<ReadonlyArray<string>, CheckpointError>
  /** The same, each with whether all of it is older than `before`. */
  readonly idle: (
    after: string | undefined,
    before: string
  ) => Effect.Effect<ReadonlyArray<{ readonly id: string; readonly idle: boolean }>, CheckpointError>
  /** How many checkpoints were copied. */
  readonly copyThread: (
    from: string,
    to: string,
    encryption: Encryption | undefined
  ) => Effect.Effect<number, CheckpointError | CheckpointNotFoundError>
  /** Takes, for so many seconds, the right to sweep: a name to hold it by, unless another process has it. */
  readonly claimSweep: (seconds: number) => Effect.Effect<string | undefined, CheckpointError>
  /** Whether it is still held by this name, and so for as many seconds more. */
  readonly extendSweep: (name: string, seconds: number) => Effect.Effect<boolean, CheckpointError>
}

/** Rows of one statement. */
const batch = 500

/** Threads of one reading. */
const page = 200

/** How often a plan is made anew because the thread has changed under it. */
const attempts = 5

/** A checkpoint that does not say when it was made is never old. */
const time = (text: string | null): number => {
  const said = Date.parse(text ?? "")
  return Number.isNaN(said) ? Number.POSITIVE_INFINITY : said
}

export const make = (
  sql: SqlClient.SqlClient,
  schema: string,
  toError: (operation: string, threadId: string | undefined) => (error: SqlError) => CheckpointError
): Maintenance => {
  const text = upkeep.make(schema)
  const query = <A extends object>(statement: string, parameters: ReadonlyArray<unknown>) =>
    sql.unsafe<A>(statement, parameters)

  const run = <A, E>(operation: string, threadId: string | undefined, effect: Effect.Effect<A, E | SqlError>) =>
    Transaction.retryTransient(effect).pipe(
      Effect.mapError((error): CheckpointError | Exclude<E, SqlError> =>
        Predicate.isTagged(error, "SqlError")
          ? toError(operation, threadId)(error as SqlError) // the tag says so
          : (error as Exclude<E, SqlError>)
      ),
      Effect.withTracerEnabled(false)
    )

  const transaction = <A, E>(operation: string, threadId: string, effect: Effect.Effect<A, E | SqlError>) =>
    run(operation, threadId, Transaction.runWith(sql)(effect))

  /** Runs an effect while no run can begin or write; nothing when one has the thread. */
  const alone = <A, E>(operation: string, threadId: string, effect: Effect.Effect<A, E | SqlError>) =>
    transaction(
      operation,
      threadId,
      Effect.flatMap(query<{ readonly busy: boolean }>(text.lock, [threadId]), ([lease]) =>
        lease?.busy === true ? Effect.succeed(undefined) : Effect.map(effect, (value) => ({ value }))
      )
    )

  const survey = (threadId: string) =>
    run(
      "prune",
      threadId,
      Effect.gen(function* () {
        const rows = yield* query<{
          readonly namespace: string
          readonly id: string
          readonly parent: string | null
          readonly ts: string | null
          readonly parents: string | null
          readonly leans: boolean
        }>(text.nodes, [threadId])
        const nodes = rows.map((row): plan.Node => {
          const parents: unknown = row.parents === null ? {} : JSON.parse(row.parents)
          return {
            namespace: row.namespace,
            id: row.id,
            parentId: row.parent ?? undefined,
            time: time(row.ts),
            parents: Predicate.isRecord(parents)
              ? Object.fromEntries(
                  Object.entries(parents).filter((each): each is [string, string] => typeof each[1] === "string")
                )
              : {},
            leansOnParent: row.leans
          }
        })
        const found = yield* query<{ readonly namespace: string; readonly channel: string }>(text.deltas, [threadId])
        const channels = new Map<string, Set<string>>()
        for (const { channel, namespace } of found)
          channels.set(namespace, (channels.get(namespace) ?? new Set()).add(channel))
        const holders =
          found.length === 0
            ? []
            : yield* query<{ readonly namespace: string; readonly id: string; readonly channel: string }>(
                text.holders,
                [threadId, JSON.stringify(found)]
              )
        const held = new Set(holders.map(({ channel, id, namespace }) => JSON.stringify([namespace, id, channel])))
        const holds = (node: plan.Node, channel: string) => held.has(JSON.stringify([node.namespace, node.id, channel]))
        return { nodes, deltas: { channels, holds } }
      })
    )

  const list = (nodes: ReadonlyArray<plan.Node>): string =>
    JSON.stringify(nodes.map(({ id, namespace }) => ({ ns: namespace, id })))

  /** Removes checkpoints, the newest first. `false` if another has come to stand on one of them: what stays must be found anew. */
  const removeAll = (threadId: string, doomed: ReadonlyArray<plan.Node>, all: ReadonlyArray<plan.Node>) =>
    Effect.gen(function* () {
      const gone = { removed: 0, bytes: 0, busy: false, changed: false }
      const children = new Map<string, Array<plan.Node>>()
      for (const node of all) {
        if (node.parentId === undefined) continue
        const parent = plan.nameOf(node.namespace, node.parentId)
        children.set(parent, [...(children.get(parent) ?? []), node])
      }
      for (let at = 0; at < doomed.length; at += batch) {
        const part = doomed.slice(at, at + batch)
        const known = part.flatMap((node) => children.get(plan.nameOf(node.namespace, node.id)) ?? [])
        const done = yield* alone(
          "prune",
          threadId,
          Effect.gen(function* () {
            const strangers = yield* query(text.strangers, [threadId, list(part), list(known)])
            if (strangers.length > 0) return undefined
            const [row] = yield* query<{ readonly count: number; readonly bytes: number }>(text.remove, [
              threadId,
              list(part)
            ])
            return row
          })
        )
        if (done === undefined) return { ...gone, busy: true }
        if (done.value === undefined) return { ...gone, changed: true }
        gone.removed += done.value.count
        gone.bytes += done.value.bytes
      }
      return gone
    })

  /** Removes what no checkpoint holds any more. */
  const clear = (threadId: string) =>
    Effect.gen(function* () {
      let bytes = 0
      yield* alone("prune", threadId, query(text.removeLost, [threadId]))
      while (true) {
        const done = yield* alone(
          "prune",
          threadId,
          query<{ readonly count: number; readonly bytes: number }>(text.removeDead, [threadId, batch * 10])
        )
        const [row] = done?.value ?? []
        bytes += row?.bytes ?? 0
        if (row === undefined || row.count < batch * 10) return bytes
      }
    })

  const prune: Maintenance["prune"] = (threadId, policy, dryRun) =>
    Effect.gen(function* () {
      const total = { removed: 0, bytes: 0 }
      for (let attempt = 1; ; attempt++) {
        const { deltas, nodes } = yield* survey(threadId)
        if (nodes.length === 0) return undefined
        const staying = plan.stay(nodes, policy, deltas)
        const doomed = nodes
          .filter((node) => !staying.has(plan.nameOf(node.namespace, node.id)))
          .sort((a, b) => (a.id < b.id ? 1 : -1))
        const kept = nodes.length - doomed.length
        const [lease] = yield* run("prune", threadId, query<{ readonly busy: boolean }>(text.busy, [threadId]))
        if (lease?.busy === true)
          return { threadId, busy: true, removed: total.removed, kept: nodes.length, bytes: total.bytes }
        if (dryRun) {
          const [row] = yield* run(
            "prune",
            threadId,
            query<{ readonly bytes: number }>(text.weigh, [threadId, list(doomed)])
          )
          return { threadId, busy: false, removed: doomed.length, kept, bytes: row?.bytes ?? 0 }
        }
        const gone = yield* removeAll(threadId, doomed, nodes)
        total.removed += gone.removed
        total.bytes += gone.bytes
        if (gone.busy || (gone.changed && attempt >= attempts)) {
          return { threadId, busy: true, removed: total.removed, kept: nodes.length - gone.removed, bytes: total.bytes }
        }
        if (gone.changed) continue
        const cleared = yield* clear(threadId)
        return { threadId, busy: false, removed: total.removed, kept, bytes: total.bytes + cleared }
      }
    })

  const expire: Maintenance["expire"] = (threadId, before, dryRun) =>
    Effect.gen(function* () {
      const look = query<{ readonly checkpoints: number; readonly idle: boolean }>(text.isIdle, [threadId, before])
      const weigh = query<{ readonly bytes: number }>(text.weighThread, [threadId])
      if (dryRun) {
        const [[found], [lease], [size]] = yield* run(
          "expire",
          threadId,
          Effect.all([look, query<{ readonly busy: boolean }>(text.busy, [threadId]), weigh])
        )
        if (found?.idle !== true) return undefined
        const busy = lease?.busy === true
        return busy
          ? { threadId, busy, removed: 0, kept: found.checkpoints, bytes: 0 }
          : { threadId, busy, removed: found.checkpoints, kept: 0, bytes: size?.bytes ?? 0 }
      }
      const done = yield* alone(
        "expire",
        threadId,
        Effect.gen(function* () {
          const [found] = yield* look
          if (found?.idle !== true) return undefined
          let bytes = 0
          // in pieces, so that no statement takes longer than it may; in one transaction, so that nobody finds half a thread
          for (const chunk of text.chunks) {
            for (let count = batch * 10; count === batch * 10; ) {
              const [row] = yield* query<{ readonly count: number; readonly bytes: number }>(chunk, [
                threadId,
                batch * 10
              ])
              count = row?.count ?? 0
              bytes += row?.bytes ?? 0
            }
          }
          yield* query(text.removeLease, [threadId])
          return { threadId, busy: false, removed: found.checkpoints, kept: 0, bytes }
        })
      )
      return done === undefined ? { threadId, busy: true, removed: 0, kept: 0, bytes: 0 } : done.value
    })

  const copyThread: Maintenance["copyThread"] = (from, to, encryption) =>
    transaction("copyThread", from, copying.copy({ query, text }, encryption, from, to))

  return {
    prune,
    expire,
    copyThread,
    threads: (after) =>
      Effect.map(
        run("threads", undefined, query<{ readonly id: string }>(text.threads, [after ?? null, page])),
        (rows) => rows.map(({ id }) => id)
      ),
    idle: (after, before) => run("expire", undefined, query(text.idle, [after ?? null, page, before])),
    claimSweep: (seconds) =>
      Effect.map(
        run("sweep", undefined, query<{ readonly run: string }>(text.claimSweep, [`${process.pid}`, seconds])),
        ([row]) => row?.run
      ),
    extendSweep: (name, seconds) =>
      Effect.map(run("sweep", undefined, query(text.extendSweep, [name, seconds])), (rows) => rows.length > 0)
  }
}
