/**
 * The values that later ones may be stored as a difference to: of the threads that this process has just read or written, as they are stored
 * beside their newest checkpoint.
 *
 * A value is taken as a base only by a checkpoint whose parent holds it, so that it is stored for certain, and for as long as that parent's own
 * values are.
 *
 * @internal
 */
import * as delta from "./delta.js"

/** A value that stands for itself in the table. */
export interface Frame {
  readonly version: string
  readonly type: string
  readonly bytes: Uint8Array
  /** Bytes that it takes in the table. */
  readonly stored: number
  /** Bytes that the differences to it take. */
  spent: number
  index: delta.Index | undefined
}

interface Thread {
  /** The checkpoint that was read or written last. */
  tip: string
  channels: Map<string, Frame>
}

/** Bytes of values that are held, in all threads; with an index each a tenth more. */
const capacity = 32 * 1024 * 1024

const key = (threadId: string, namespace: string): string => JSON.stringify([threadId, namespace])

const size = (thread: Thread): number => {
  let out = 0
  for (const frame of thread.channels.values()) out += frame.bytes.length
  return out
}

export class Frames {
  readonly #threads = new Map<string, Thread>()
  #held = 0

  /** The bases for what follows on this checkpoint. */
  at(threadId: string, namespace: string, checkpointId: string | undefined): ReadonlyMap<string, Frame> {
    const thread = this.#threads.get(key(threadId, namespace))
    return thread === undefined || thread.tip !== checkpointId ? new Map() : thread.channels
  }

  /** A checkpoint is stored, or was read, and these are the bases of what follows on it. */
  set(threadId: string, namespace: string, tip: string, channels: ReadonlyMap<string, Frame>): void {
    const name = key(threadId, namespace)
    this.#drop(name)
    if (channels.size === 0) return
    const thread = { tip, channels: new Map(channels) }
    this.#threads.set(name, thread)
    this.#held += size(thread)
    for (const oldest of this.#threads.keys()) {
      if (this.#held <= capacity || oldest === name) break
      this.#drop(oldest)
    }
    if (this.#held > capacity) this.#drop(name)
  }

  forget(threadId: string): void {
    const prefix = `${JSON.stringify([threadId]).slice(0, -1)},`
    for (const name of [...this.#threads.keys()]) if (name.startsWith(prefix)) this.#drop(name)
  }

  #drop(name: string): void {
    const thread = this.#threads.get(name)
    if (thread === undefined) return
    this.#held -= size(thread)
    this.#threads.delete(name)
  }
}

/** The difference of a value to a base. */
export const difference = (frame: Frame, bytes: Uint8Array): Buffer => {
  frame.index ??= delta.index(frame.bytes)
  return delta.encode(frame.index, bytes)
}
