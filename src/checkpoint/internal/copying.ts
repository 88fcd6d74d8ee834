/**
 * A thread's copy. What is encrypted is bound to its thread, so it is opened and closed anew; all else the database copies by itself.
 *
 * @internal
 */
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { CheckpointError, CheckpointNotFoundError } from "../CheckpointError.js"
import type { Encryption } from "../Encryption.js"
import * as documents from "./documents.js"
import { blobPlace, failure, reseal, writePlace } from "./seal.js"
import type * as store from "./store.js"
import type { Upkeep } from "./upkeep.js"

export interface Access {
  readonly text: Upkeep
  readonly query: <A extends object>(
    statement: string,
    parameters: ReadonlyArray<unknown>
  ) => Effect.Effect<ReadonlyArray<A>, SqlError>
}

const refused = (operation: string, threadId: string, message: string) =>
  new CheckpointError({ reason: "Invalid", operation, threadId, message })

/** To be run in a transaction, more than once if need be; gives the number of checkpoints. */
export const copy = (
  { query, text }: Access,
  encryption: Encryption | undefined,
  from: string,
  to: string
): Effect.Effect<number, CheckpointError | CheckpointNotFoundError | SqlError> => {
  const operation = "copyThread"
  /** Pages of encrypted rows, each opened and closed anew. */
  const pages = <A extends object>(
    statement: string,
    first: ReadonlyArray<unknown>,
    next: (last: A) => ReadonlyArray<unknown>,
    copy: (row: A) => Effect.Effect<unknown, CheckpointError | SqlError>
  ) =>
    Effect.gen(function* () {
      let after: ReadonlyArray<unknown> | undefined = first
      while (after !== undefined) {
        const rows: ReadonlyArray<A> = yield* query<A>(statement, [from, ...after, 50])
        yield* Effect.forEach(rows, copy, { discard: true })
        const last = rows.at(-1)
        after = last === undefined || rows.length < 50 ? undefined : next(last)
      }
    })
  const open = <A>(evaluate: () => A): Effect.Effect<A, CheckpointError> =>
    Effect.try({ try: evaluate, catch: (cause) => failure(operation, from, "an encrypted value", cause) })
  const blob = (threadId: string, { channel, namespace, version }: Omit<store.BlobKey, "threadId">) =>
    blobPlace({ threadId, namespace, channel, version })
  const countOf = (threadId: string) =>
    Effect.map(query<{ readonly checkpoints: number }>(text.isIdle, [threadId, ""]), ([row]) => row?.checkpoints ?? 0)
  let tries = 0
  return Effect.gen(function* () {
    // one moment of the thread, whatever is written to it meanwhile
    yield* query("set transaction isolation level repeatable read", [])
    const [target] = yield* query<{ readonly checkpoints: boolean; readonly rest: boolean }>(text.exists, [to])
    const [source] = yield* query<{ readonly checkpoints: boolean }>(text.exists, [from])
    if (source?.checkpoints !== true) return yield* new CheckpointNotFoundError({ workflowId: from })
    if (target?.checkpoints === true || target?.rest === true) {
      // the answer to an earlier try's commit may have been lost
      if (tries++ > 0) return yield* countOf(to)
      return yield* refused(
        operation,
        to,
        `The thread "${from}" was not copied: "${to}" is stored already; delete it first, or give another name`
      )
    }
    tries++
    for (const statement of text.copy) yield* query(statement, [from, to])
    yield* pages<{ namespace: string; channel: string; version: string; type: string; blob: Uint8Array }>(
      text.sealedBlobs,
      ["", "", ""],
      (last) => [last.namespace, last.channel, last.version],
      (row) =>
        Effect.flatMap(
          open(() => reseal(encryption, blob(from, row), blob(to, row), row.type, row.blob)),
          ({ bytes, type }) => query(text.insertBlob, [to, row.namespace, row.channel, row.version, type, bytes])
        )
    )
    yield* pages<{
      namespace: string
      checkpoint: string
      task: string
      idx: number
      channel: string
      type: string
      blob: Uint8Array
      path: string
    }>(
      text.sealedWrites,
      ["", "", "", -1000],
      (last) => [last.namespace, last.checkpoint, last.task, last.idx],
      (row) =>
        Effect.flatMap(
          open(() => {
            const place = (threadId: string) =>
              writePlace(threadId, row.namespace, row.checkpoint, row.task, row.channel)
            return reseal(encryption, place(from), place(to), row.type, row.blob)
          }),
          ({ bytes, type }) =>
            query(text.insertWrite, [
              to,
              row.namespace,
              row.checkpoint,
              row.task,
              row.idx,
              row.channel,
              type,
              bytes,
              row.path
            ])
        )
    )
    const closed = yield* query<{ namespace: string; id: string; checkpoint: string; metadata: string }>(
      text.sealedDocuments,
      [to]
    )
    for (const { checkpoint, id, metadata, namespace } of closed) {
      const moved = yield* open(() => [
        documents.move(encryption, ["checkpoint", from, namespace, id], to, checkpoint),
        documents.move(encryption, ["metadata", from, namespace, id], to, metadata)
      ])
      yield* query(text.updateDocument, [to, namespace, id, ...moved])
    }
    return yield* countOf(to)
  })
}
