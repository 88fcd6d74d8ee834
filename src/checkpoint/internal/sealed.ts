/**
 * A store whose values are compressed and encrypted on their way to the tables, and opened on their way back. Whatever the options, it reads
 * what was compressed, and with the keys what was encrypted.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Predicate from "effect/Predicate"
import type { CheckpointError } from "../CheckpointError.js"
import type { Encryption } from "../Encryption.js"
import * as delta from "./delta.js"
import * as documents from "./documents.js"
import * as form from "./form.js"
import { difference, type Frame, Frames } from "./frames.js"
import { blobPlace, failure, seal, unseal, writePlace } from "./seal.js"
import { TASKS } from "./statements.js"
import type * as store from "./store.js"

export interface Options {
  readonly compression?: boolean | undefined
  readonly encryption?: Encryption | undefined
}

/** Sizes between which a value may be stored as a difference: below it gains nothing, above it takes too long at once. */
const [least, most] = [2048, 1024 * 1024]

/** What LangGraph and a look at the threads read, without the rest of the state. */
const isStructure = (channel: string): boolean => /^(?:__|branch:|join:)/.test(channel)

/** The base of a difference is no longer there: the checkpoint was deleted between two statements. */
class MissingBase extends Error {
  constructor() {
    super("the earlier value that it is stored as a difference to is gone")
  }
}

/** A piece with what it is called in its place, which the encryption binds it to. */
interface Placed extends store.Piece {
  readonly channel: string
  readonly place: ReadonlyArray<string>
}

/** What is stored of a piece: nothing of the text that it was. */
const inPlaceOf = <A extends store.Piece>(piece: A, stored: store.Piece | undefined): A => ({
  ...piece,
  text: undefined,
  ...stored
})

export const make = (inner: store.Store, { compression = false, encryption }: Options = {}): store.Store => {
  const frames = new Frames()
  const hides = documents.hides(encryption)

  /** The form in which a value is stored, and the base that it makes. */
  const close = async (
    { bytes, channel, place, type }: Placed,
    frame: Frame | undefined
  ): Promise<{ readonly piece: store.Piece; readonly frame: "new" | "kept" | "none" }> => {
    if (bytes === undefined) return { piece: { type, bytes }, frame: "none" }
    const whole = { type, snapshot: form.isSnapshot(type, bytes), base: undefined, compressed: false }
    if (!compression) return { piece: seal(encryption, place, whole, bytes), frame: "none" }
    const fits = bytes.length >= least && bytes.length <= most && !isStructure(channel)
    if (fits && frame !== undefined && frame.type === type) {
      const changed = difference(frame, bytes)
      if (changed.length < bytes.length / 2) {
        const packed = await form.compress(changed)
        const size = (packed ?? changed).length
        // once the differences take as much as the base they have grown too large: a new base is cheaper from here on
        if (frame.spent + size <= frame.stored) {
          const shape = { ...whole, base: frame.version, compressed: packed !== undefined }
          return { piece: seal(encryption, place, shape, packed ?? changed), frame: "kept" }
        }
      }
    }
    const packed = await form.compress(bytes)
    const shape = { ...whole, compressed: packed !== undefined }
    return { piece: seal(encryption, place, shape, packed ?? bytes), frame: fits ? "new" : "none" }
  }

  /** Bytes that belong to the caller may change while others are still being packed. */
  const owned = <A extends store.Piece>(piece: A): A =>
    compression && piece.bytes !== undefined && piece.type !== "json"
      ? { ...piece, bytes: Buffer.from(piece.bytes) }
      : piece

  const closing = <A>(operation: string, threadId: string, run: () => Promise<A>) =>
    Effect.tryPromise({ try: run, catch: (cause) => failure(operation, threadId, "its values", cause) })

  /** Closes a checkpoint, has it written, and remembers its values as bases if it was. */
  const putting = <A>(
    it: store.NewCheckpoint,
    write: (it: store.NewCheckpoint) => Effect.Effect<A, CheckpointError>,
    isWritten: (answer: A) => boolean
  ): Effect.Effect<A, CheckpointError> =>
    Effect.suspend(() => {
      const { checkpointId, namespace, parentId, threadId } = it
      const blobs = it.blobs.map(owned)
      const at = compression ? frames.at(threadId, namespace, parentId) : new Map<string, Frame>()
      return Effect.gen(function* () {
        const closed = yield* closing("put", threadId, () =>
          Promise.all(
            blobs.map((blob) => {
              const place = blobPlace({ threadId, namespace, channel: blob.channel, version: blob.version })
              const frame = at.get(blob.channel)
              // a value cannot be a difference to itself
              return close({ ...blob, place }, frame?.version === blob.version ? undefined : frame)
            })
          )
        )
        const [checkpoint, metadata] = yield* Effect.try({
          try: () =>
            [
              documents.close(
                encryption,
                ["checkpoint", threadId, namespace, checkpointId],
                it.checkpoint,
                documents.inCheckpoint
              ),
              documents.close(
                encryption,
                ["metadata", threadId, namespace, checkpointId],
                it.metadata,
                hides(namespace)
              )
            ] as const,
          catch: (cause) => failure("put", threadId, "its metadata", cause)
        })
        const stored = blobs.map((blob, index) => inPlaceOf(blob, closed[index]?.piece))
        const answer = yield* write({ ...it, checkpoint, metadata, blobs: stored })
        if (!compression || !isWritten(answer)) return answer
        const channels = new Map(at)
        for (const [index, { bytes = new Uint8Array(), channel, type, version }] of blobs.entries()) {
          const { frame = "none", piece } = closed[index] ?? {}
          const stored = piece?.bytes?.length ?? 0
          const before = channels.get(channel)
          if (frame === "kept" && before !== undefined) before.spent += stored
          else if (frame === "new" && /^[\d.]+$/.test(version)) {
            channels.set(channel, { version, type, bytes, stored, spent: 0, index: undefined })
          } else channels.delete(channel)
        }
        frames.set(threadId, namespace, checkpointId, channels)
        return answer
      })
    })

  const putWrites: store.Store["putWrites"] = (it, guard) =>
    Effect.suspend(() => {
      const { checkpointId, namespace, taskId, threadId } = it
      const writes = it.writes.map(owned)
      const at = compression ? frames.at(threadId, namespace, checkpointId) : new Map<string, Frame>()
      return Effect.gen(function* () {
        const closed = yield* closing("putWrites", threadId, () =>
          Promise.all(
            writes.map((write) => {
              const place = writePlace(threadId, namespace, checkpointId, taskId, write.channel)
              return close({ ...write, place }, at.get(write.channel))
            })
          )
        )
        const refused = yield* inner.putWrites(
          { ...it, writes: writes.map((write, index) => inPlaceOf(write, closed[index]?.piece)) },
          guard
        )
        for (const [index, { channel }] of writes.entries()) {
          const frame = at.get(channel)
          if (frame !== undefined && closed[index]?.frame === "kept")
            frame.spent += closed[index].piece.bytes?.length ?? 0
        }
        return refused
      })
    })

  /** A value as it was before {@link close}, and the base that it named. */
  const open = async (
    piece: Placed,
    base: (version: string) => Promise<Uint8Array>
  ): Promise<{ readonly piece: store.Piece; readonly base: string | undefined }> => {
    if (piece.bytes === undefined || piece.type === "empty") return { piece, base: undefined }
    const shape = form.parse(piece.type)
    const sealed = unseal(encryption, piece.place, shape, piece.bytes)
    const packed = shape.compressed ? await form.decompress(sealed) : sealed
    const bytes = shape.base === undefined ? packed : delta.decode(await base(shape.base), packed)
    return { piece: { type: shape.type, bytes }, base: shape.base }
  }

  /** Whether there is nothing to open, which is the rule where neither option is used. */
  const isPlain = (row: store.Loaded): boolean =>
    encryption === undefined &&
    !documents.isClosed(row.checkpoint) &&
    !documents.isClosed(row.metadata) &&
    [row.values, row.writes, row.sends].every((pieces) => pieces.every(({ type }) => !type.includes("+")))

  /** The places of the bases that some rows name. */
  const basesOf = (rows: ReadonlyArray<store.Loaded>): ReadonlyArray<store.BlobKey> => {
    const out = new Map<string, store.BlobKey>()
    for (const { namespace, threadId, values, writes } of rows) {
      for (const { channel, type } of [...values, ...writes]) {
        const version = type.includes("+") ? form.parse(type).base : undefined
        if (version === undefined) continue
        const key = { threadId, namespace, channel, version }
        out.set(JSON.stringify(blobPlace(key)), key)
      }
    }
    return [...out.values()]
  }

  const openRow = async (
    row: store.Loaded,
    bases: ReadonlyMap<string, store.Piece>,
    remember: boolean
  ): Promise<store.Loaded> => {
    const { checkpointId, namespace, threadId } = row
    const checkpoint = documents.open(encryption, ["checkpoint", threadId, namespace, checkpointId], row.checkpoint)
    const metadata = documents.open(encryption, ["metadata", threadId, namespace, checkpointId], row.metadata)
    const read: unknown = JSON.parse(checkpoint)
    const versions =
      Predicate.hasProperty(read, "channel_versions") && Predicate.isRecord(read.channel_versions)
        ? read.channel_versions
        : {}
    const opened = new Map<string, Promise<Uint8Array>>()
    const base = (channel: string) => (version: string) => {
      const key = { threadId, namespace, channel, version }
      const name = JSON.stringify(blobPlace(key))
      const found = opened.get(name)
      if (found !== undefined) return found
      const stored = bases.get(name)
      if (stored === undefined) return Promise.reject(new MissingBase())
      const out = open({ ...stored, channel, place: blobPlace(key) }, () => Promise.reject(new MissingBase())).then(
        ({ piece }) => piece.bytes ?? new Uint8Array()
      )
      opened.set(name, out)
      return out
    }
    const channels = new Map<string, Frame>()
    const at = (place: string) => (cause: unknown) => {
      if (cause instanceof MissingBase) throw cause
      throw Object.assign(cause instanceof Error ? cause : new Error(String(cause)), { place })
    }
    const values = await Promise.all(
      row.values.map(async (value) => {
        const { channel } = value
        const version = String(versions[channel])
        const place = blobPlace({ threadId, namespace, channel, version })
        const { base: from, piece } = await open({ ...value, place }, base(channel)).catch(
          at(`the channel ${JSON.stringify(channel)}`)
        )
        if (remember && piece.bytes !== undefined && piece.bytes.length >= least && !isStructure(channel)) {
          const stored = value.bytes?.length ?? 0
          const standing = from === undefined ? { version, bytes: piece.bytes, stored } : undefined
          const whole =
            from === undefined
              ? undefined
              : bases.get(JSON.stringify(blobPlace({ threadId, namespace, channel, version: from })))
          if (standing !== undefined && piece.bytes.length <= most && /^[\d.]+$/.test(version)) {
            channels.set(channel, { ...standing, type: piece.type, spent: 0, index: undefined })
          } else if (from !== undefined && whole?.bytes !== undefined) {
            const bytes = await base(channel)(from)
            channels.set(channel, {
              version: from,
              bytes,
              stored: whole.bytes.length,
              type: piece.type,
              spent: stored,
              index: undefined
            })
          }
        }
        return { channel, ...piece }
      })
    )
    const writes = await Promise.all(
      row.writes.map(async (write) => {
        const { channel, taskId } = write
        const place = writePlace(threadId, namespace, checkpointId, taskId, channel)
        const { piece } = await open({ ...write, place }, base(channel)).catch(
          at(`what was written to the channel ${JSON.stringify(channel)}`)
        )
        return { channel, taskId, ...piece }
      })
    )
    const sends = await Promise.all(
      row.sends.map(async (send) => {
        const place = writePlace(threadId, namespace, row.parentId ?? "", "", TASKS)
        return (await open({ ...send, channel: TASKS, place }, base(TASKS)).catch(at("what tasks sent"))).piece
      })
    )
    if (remember) frames.set(threadId, namespace, checkpointId, channels)
    return { ...row, checkpoint, metadata, values, writes, sends }
  }

  const openAll = (
    operation: string,
    rows: ReadonlyArray<store.Loaded>,
    /** Reads them once more, for a base that was deleted in between. */
    again: Effect.Effect<ReadonlyArray<store.Loaded>, CheckpointError> | undefined
  ): Effect.Effect<ReadonlyArray<store.Loaded>, CheckpointError> =>
    Effect.gen(function* () {
      const remember = compression && operation === "getTuple" && rows.length === 1
      if (!remember && rows.every(isPlain)) return rows
      const keys = basesOf(rows)
      const found = keys.length === 0 ? [] : yield* inner.blobs(operation, keys)
      const bases = new Map(found.map((piece) => [JSON.stringify(blobPlace(piece)), piece]))
      const out: Array<store.Loaded> = []
      for (const row of rows) {
        const opened = yield* Effect.tryPromise({
          try: () => openRow(row, bases, remember),
          catch: (cause) => cause
        }).pipe(Effect.either)
        if (opened._tag === "Right") {
          out.push(opened.right)
          continue
        }
        if (opened.left instanceof MissingBase && again !== undefined) {
          return yield* openAll(operation, yield* again, undefined)
        }
        const place = Predicate.hasProperty(opened.left, "place") ? String(opened.left.place) : "its document"
        return yield* failure(operation, row.threadId, `the checkpoint "${row.checkpointId}", ${place}`, opened.left)
      }
      return out
    })

  const load: store.Store["load"] = (operation, selection) => {
    const { matches, stored } = documents.filter(selection.metadata, hides(selection.namespace))
    const read =
      matches === undefined
        ? inner.load(operation, selection)
        : documents.search(inner, encryption, operation, { ...selection, metadata: stored }, matches)
    return Effect.flatMap(read, (rows) =>
      !compression && rows.every(isPlain) ? Effect.succeed(rows) : openAll(operation, rows, read)
    )
  }

  /** With neither option a value is what it is, unless its type would be taken for a form of ours. */
  const isBare = (pieces: ReadonlyArray<store.Piece>) =>
    !compression && encryption === undefined && !pieces.some(({ type }) => type.includes("+"))
  const isOpen = (text: string) => !documents.isClosed(text)

  const isPlainCheckpoint = (it: store.NewCheckpoint) =>
    isBare(it.blobs) && isOpen(it.checkpoint) && isOpen(it.metadata)
  /** What goes through as it is. */
  const quick = (within: store.Quick): store.Quick => ({
    put: (it, guard, done) => (isPlainCheckpoint(it) ? within.put(it, guard, done) : done(undefined)),
    putWrites: (it, guard, done) => (isBare(it.writes) ? within.putWrites(it, guard, done) : done(undefined)),
    load: (operation, selection, done) =>
      within.load(operation, selection, (exit) =>
        done(exit !== undefined && Exit.isSuccess(exit) && !exit.value.every(isPlain) ? undefined : exit)
      )
  })
  let made: { readonly of: store.Quick; readonly quick: store.Quick } | undefined

  return {
    ...inner,
    get quick() {
      const within = inner.quick
      if (within === undefined || compression || encryption !== undefined) return undefined
      if (made?.of !== within) made = { of: within, quick: quick(within) }
      return made.quick
    },
    put: (it, guard) =>
      isPlainCheckpoint(it)
        ? inner.put(it, guard)
        : putting(it, (closed) => inner.put(closed, guard), Predicate.isUndefined),
    append: ({ blob, ...it }) =>
      putting(
        { ...it, blobs: [blob] },
        (closed) => inner.append({ ...closed, blob: closed.blobs[0] ?? blob }),
        Boolean
      ),
    putWrites: (it, guard) => (isBare(it.writes) ? inner.putWrites(it, guard) : putWrites(it, guard)),
    load,
    claim: (operation, selection, claim) =>
      Effect.flatMap(inner.claim(operation, selection, claim), ({ lease, rows }) =>
        Effect.map(openAll(operation, rows, inner.load(operation, selection)), (opened) => ({ lease, rows: opened }))
      ),
    overview: (operation, selection) =>
      Effect.map(inner.overview(operation, selection), (rows) =>
        rows.map((row) => documents.openOverview(encryption, row))
      ),
    newest: (limit) =>
      Effect.map(inner.newest(limit), (rows) => rows.map((row) => documents.openOverview(encryption, row))),
    deleteThread: (threadId) =>
      Effect.suspend(() => {
        frames.forget(threadId)
        return inner.deleteThread(threadId)
      })
  }
}
