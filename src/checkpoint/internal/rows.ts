/**
 * Checkpoints as the parameters of a statement, and its rows as checkpoints.
 *
 * @internal
 */

import type { Lease } from "./leases.js"
import type { Row } from "./loading.js"
import { separator } from "./loading.js"
import type { Blob, Guard, Loaded, NewCheckpoint, NewWrites, Piece, Refused } from "./store.js"

/** All bytes in one, and for each piece the place where it is; the first byte is number 1, as SQL counts. */
class Pack {
  readonly #parts: Array<string | Uint8Array> = []
  #size = 0

  /** Gives its size; nothing for what has no bytes. */
  add(part: string | Uint8Array | undefined): number | undefined {
    if (part === undefined) return undefined
    const size = typeof part === "string" ? Buffer.byteLength(part) : part.byteLength
    this.#parts.push(part)
    this.#size += size
    return size
  }

  /** Where the next piece begins. */
  get at(): number {
    return this.#size + 1
  }

  bytes(): Uint8Array {
    const [only] = this.#parts
    if (this.#parts.length === 1 && only instanceof Uint8Array) return only
    const out = Buffer.allocUnsafe(this.#size)
    let at = 0
    for (const part of this.#parts) {
      if (typeof part === "string") at += out.write(part, at)
      else {
        out.set(part, at)
        at += part.byteLength
      }
    }
    return out
  }
}

/** What is written, about in bytes. */
export const weight = (pieces: ReadonlyArray<Piece>): number => {
  let total = 0
  for (const piece of pieces) total += piece.text?.length ?? piece.bytes?.byteLength ?? 0
  return total
}

/** Rows in one order, whoever writes them: two writers of the same rows wait for each other, and do not deadlock. */
const sorted = <A>(rows: ReadonlyArray<A>, key: (row: A) => string): ReadonlyArray<A> => {
  if (rows.length < 2) return rows
  return rows
    .map((row) => ({ row, key: key(row) }))
    .sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
    .map(({ row }) => row)
}

/** A checkpoint's blobs in the order in which {@link put} writes them. */
export const ordered = (blobs: ReadonlyArray<Blob>): ReadonlyArray<Blob> =>
  sorted(blobs, ({ channel, version }) => `${channel}\0${version}`)

/** Why a write was refused: by a lease as JSON, if there is one. */
export const refusedBy = (lease: string | null): Refused => ({
  lease: lease === null ? undefined : (JSON.parse(lease) as Lease) // the statement has built it
})

export interface Guarded<A> {
  readonly it: A
  readonly guard: Guard
}

/** Parameters of `put`. Answers come in the order of the items. */
export const put = (items: ReadonlyArray<Guarded<NewCheckpoint>>): ReadonlyArray<string | Uint8Array> => {
  const pack = new Pack()
  const numbered = items.map(({ guard, it }, o) => ({ o, it, guard }))
  const checkpoints = sorted(numbered, ({ it }) => it.threadId).map(({ guard, it, o }) => {
    const { ended, run, seconds, unleased } = guard
    const key = { o, thread: it.threadId, ns: it.namespace, id: it.checkpointId, parent: it.parentId }
    const row = JSON.stringify({ ...key, run, ended, unleased, seconds })
    // both are JSON already
    return `${row.slice(0, -1)},"checkpoint":${it.checkpoint},"metadata":${it.metadata}}`
  })
  const blobs = numbered.flatMap(({ it, o }) =>
    it.blobs.map((blob) => {
      const { channel, type, version } = blob
      const start = pack.at
      const size = pack.add(blob.text ?? blob.bytes)
      return { o, thread: it.threadId, ns: it.namespace, channel, version, type, start, size }
    })
  )
  const inOrder = sorted(blobs, (row) => `${row.thread}\0${row.ns}\0${row.channel}\0${row.version}`)
  return [`[${checkpoints.join(",")}]`, JSON.stringify(inOrder), pack.bytes()]
}

/** Parameters of `insertWrites`, `upsertWrites` and their questions. Answers come in the order of the items. */
export const writes = (items: ReadonlyArray<Guarded<NewWrites>>): ReadonlyArray<string | Uint8Array> => {
  const pack = new Pack()
  const numbered = sorted(
    items.map(({ guard, it }, o) => ({ o, it, guard })),
    ({ it }) => `${it.threadId}\0${it.namespace}\0${it.checkpointId}\0${it.taskId}`
  )
  const tasks = numbered.map(({ guard: { ended, run, unleased }, it, o }) => {
    const { checkpointId: id, namespace: ns, taskId: task, taskPath: path, threadId: thread } = it
    return { o, thread, ns, id, task, path, run, ended, unleased }
  })
  const rows = numbered.flatMap(({ it, o }) =>
    it.writes.map((write) => {
      const { channel, idx, type } = write
      const start = pack.at
      return { o, idx, channel, type, start, size: pack.add(write.text ?? write.bytes) }
    })
  )
  return [JSON.stringify(tasks), JSON.stringify(rows), pack.bytes()]
}

const encoder = new TextEncoder()

/** Values that cannot be told apart: one of them is no JSON, whatever it says of itself. */
export class Unclear extends Error {
  override readonly name = "Unclear"
}

/** JSON as text. Its bytes are made when somebody asks for them, or copies it. */
export const ofText = (text: string): Piece => ({
  type: "json",
  text,
  get bytes() {
    return encoder.encode(text)
  }
})

type Part = Loaded["values"][number] & Loaded["writes"][number]

const parts = (heads: string | null, bodies: string | null, hex: boolean): Array<Part> => {
  if (heads === null) return []
  const described: ReadonlyArray<readonly [type: string, channel?: string, taskId?: string]> = JSON.parse(heads)
  const texts = (bodies ?? "").split(separator)
  if (texts.length !== described.length) throw new Unclear()
  return described.map(([type, channel = "", taskId = ""], index) => {
    const text = texts[index] ?? ""
    if (type === "empty") return { taskId, channel, type, bytes: undefined }
    if (type !== "json" || hex) return { taskId, channel, type, bytes: Buffer.from(text, "hex") }
    return {
      ...{ taskId, channel, type, text },
      // who wants text does not ask
      get bytes() {
        return encoder.encode(text)
      }
    }
  })
}

/** With `hex` all values came in hexadecimal. Throws {@link Unclear}. */
export const loaded = (row: Row, hex: boolean): Loaded => {
  const [, threadId, namespace, checkpointId, parentId, checkpoint, metadata] = row
  return {
    threadId,
    namespace,
    checkpointId,
    parentId: parentId ?? undefined,
    checkpoint,
    metadata,
    values: parts(row[7], row[8], hex),
    writes: parts(row[9], row[10], hex),
    sends: parts(row[11], row[12], hex)
  }
}
