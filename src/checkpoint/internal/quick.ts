/**
 * Operations on checkpoints the quick way: straight to a connection, without a fiber. It knows success only. What else there may be (another run
 * in the way, a value that is no text, a connection that was lost) is left to the long way, which asks once more.
 *
 * @internal
 */
import { SqlError } from "@effect/sql/SqlError"
import type * as Direct from "../../database/internal/direct.js"
import type * as group from "./group.js"
import * as prepared from "./prepared.js"
import * as rows from "./rows.js"
import type { Key } from "./sharing.js"
import * as single from "./single.js"
import type { Tables } from "./statements.js"
import type { Loaded, NewCheckpoint, NewWrites, Piece, Refused } from "./store.js"
import type * as writing from "./writing.js"

type Send<A, B> = (items: ReadonlyArray<A>, told: group.Told<B, SqlError>) => void
type Kind = "put" | "insertWrites" | "upsertWrites"

export interface Quick {
  readonly put: Send<rows.Guarded<NewCheckpoint>, Refused | undefined>
  readonly insertWrites: Send<rows.Guarded<NewWrites>, Refused | undefined>
  readonly upsertWrites: Send<rows.Guarded<NewWrites>, Refused | undefined>
  readonly newest: Send<Key, Loaded | undefined>
  readonly byId: Send<Key, Loaded | undefined>
  /** As {@link single.Statements.chosen}. */
  readonly chosen: (
    where: string,
    limit: number | undefined,
    parameters: ReadonlyArray<string>,
    told: group.Told<Loaded, SqlError>
  ) => void
}

/** By which right a write may go alone; `undefined` where more has to be asked. */
const rightOf = ({ run, unleased }: rows.Guarded<unknown>["guard"]): single.By | undefined =>
  run === undefined ? (unleased ? "none" : undefined) : unleased ? undefined : "run"

/** A thread that was stored before format 4 has more to it. */
const isCurrent = (checkpoint: string): boolean => Number(/^\{"v": (\d+)[,}]/.exec(checkpoint)?.[1] ?? 0) >= 4

const piece = (type: string, text: string): Piece => {
  if (type === "empty") return { type, bytes: undefined }
  return type === "json" ? rows.ofText(text) : { type, bytes: Buffer.from(text, "hex") }
}

const valueOf = (piece: Piece): Direct.Parameter =>
  piece.text === undefined ? (piece.bytes ?? null) : { text: piece.text }

/** Checkpoints by their places; nothing when one of them is of an old format. */
const assemble = (
  found: ReadonlyArray<ReadonlyArray<string | null>>,
  keys: ReadonlyArray<Key> | undefined
): ReadonlyArray<Loaded | undefined> | undefined => {
  const out = new Array<Loaded | undefined>(keys?.length ?? 0).fill(undefined)
  // the columns are those of the statement; checkpoints come before what belongs to them
  for (const row of found as unknown as ReadonlyArray<single.Row>) {
    const [place, kind, a, b, c, d, threadId, namespace] = row
    const at = Number(place) - (keys === undefined ? 1 : 0)
    if (kind === "c") {
      if (!isCurrent(c)) return undefined
      const key = keys?.[at]
      out[at] = {
        threadId: key?.threadId ?? threadId ?? "",
        namespace: key?.namespace ?? namespace ?? "",
        checkpointId: a,
        parentId: b ?? undefined,
        checkpoint: c,
        metadata: d,
        values: [],
        writes: [],
        sends: []
      }
      continue
    }
    const loaded = out[at]
    if (loaded === undefined) return undefined
    if (kind === "b") loaded.values.push(Object.assign(piece(c, d), { channel: a }))
    else loaded.writes.push(Object.assign(piece(c, d), { channel: a, taskId: b ?? "" }))
  }
  return out
}

/** @param together The statements that write for several. */
export const make = (
  tables: Tables,
  direct: Direct.Direct,
  names: prepared.Names,
  together: writing.Statements
): Quick => {
  const texts = single.make(tables)
  const made = new Map<string, prepared.Prepared>()
  const statement = (key: string, text: () => string): prepared.Prepared => {
    let found = made.get(key)
    if (found === undefined) {
      found = prepared.statement(text())
      made.set(key, found)
    }
    return found
  }
  const send = <B>(
    statement: prepared.Prepared,
    parameters: ReadonlyArray<Direct.Parameter>,
    told: group.Told<B, SqlError>,
    read: (answer: Direct.Answer) => ReadonlyArray<B> | undefined
  ): void =>
    direct(statement, parameters, (answer) => {
      if (answer instanceof SqlError) {
        if (prepared.refused(answer) === "never") names.used = false
        told(undefined, answer)
        return
      }
      told(read(answer))
    })

  const allowed: ReadonlyArray<Refused | undefined> = [undefined]
  const alone = (
    kind: Kind,
    by: single.By,
    count: number,
    parameters: ReadonlyArray<Direct.Parameter>,
    expected: number,
    told: group.Told<Refused | undefined, SqlError>
  ): void =>
    send(
      statement(`${kind} ${by} ${count}`, () => texts[kind](by, count)),
      parameters,
      told,
      (answer) => (answer.count === expected ? allowed : undefined)
    )
  const several = <A>(
    kind: Kind,
    items: ReadonlyArray<rows.Guarded<A>>,
    parameters: ReadonlyArray<Direct.Parameter>,
    told: group.Told<Refused | undefined, SqlError>
  ): void =>
    send(
      statement(kind, () => together[kind]),
      parameters,
      told,
      (answer) => {
        const out = new Array<Refused | undefined>(items.length).fill(undefined)
        for (const [o, written, lease] of answer.rows)
          if (written !== "t") out[Number(o)] = rows.refusedBy(lease ?? null)
        return out
      }
    )

  const put: Quick["put"] = (items, told) => {
    if (!names.used) return told(undefined)
    const [first] = items
    const by = first === undefined ? undefined : rightOf(first.guard)
    if (first === undefined || items.length > 1 || by === undefined || first.it.blobs.length > single.most) {
      return several("put", items, rows.put(items), told)
    }
    const { guard, it } = first
    const parameters: Array<Direct.Parameter> = [it.threadId, it.namespace, it.checkpointId, it.parentId ?? null]
    parameters.push(it.checkpoint, it.metadata)
    if (by === "run") parameters.push(guard.run ?? null, String(guard.seconds))
    else parameters.push(guard.ended ?? null)
    for (const blob of rows.ordered(it.blobs)) {
      parameters.push(blob.channel, blob.version, blob.type, valueOf(blob))
    }
    alone("put", by, it.blobs.length, parameters, 1, told)
  }
  const writes =
    (kind: "insertWrites" | "upsertWrites"): Quick["insertWrites"] =>
    (items, told) => {
      if (!names.used) return told(undefined)
      const [first] = items
      const by = first === undefined ? undefined : rightOf(first.guard)
      if (first === undefined || items.length > 1 || by === undefined || first.it.writes.length > single.most) {
        return several(kind, items, rows.writes(items), told)
      }
      const { guard, it } = first
      const parameters: Array<Direct.Parameter> = [it.threadId, it.namespace, it.checkpointId, it.taskId, it.taskPath]
      parameters.push((by === "run" ? guard.run : guard.ended) ?? null)
      for (const write of it.writes) parameters.push(String(write.idx), write.channel, write.type, valueOf(write))
      alone(kind, by, it.writes.length, parameters, it.writes.length, told)
    }
  const newest = prepared.statement(texts.newest)
  const newestOf = prepared.statement(texts.newestOf)
  const byId = prepared.statement(texts.byId)
  const byIds = prepared.statement(texts.byIds)
  const reading =
    (one: prepared.Prepared, many: prepared.Prepared): Send<Key, Loaded | undefined> =>
    (items, told) => {
      if (!names.used) return told(undefined)
      const [first] = items
      if (first !== undefined && items.length === 1) {
        const key = [first.threadId, first.namespace]
        if (first.checkpointId !== undefined) key.push(first.checkpointId)
        return send(one, key, told, (answer) => assemble(answer.rows, items))
      }
      const keys = items.map(({ checkpointId, namespace, threadId }, o) => {
        return { o, thread: threadId, ns: namespace, id: checkpointId }
      })
      send(many, [JSON.stringify(keys)], told, (answer) => assemble(answer.rows, items))
    }
  return {
    put,
    insertWrites: writes("insertWrites"),
    upsertWrites: writes("upsertWrites"),
    newest: reading(newest, newestOf),
    byId: reading(byId, byIds),
    chosen: (where, limit, parameters, told) => {
      if (!names.used) return told(undefined)
      const text = texts.chosen(where, limit)
      send(prepared.statement(text), parameters, told, (answer) => {
        const found = assemble(answer.rows, undefined)
        return found?.filter((each) => each !== undefined)
      })
    }
  }
}
