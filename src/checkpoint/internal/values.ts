/**
 * A checkpoint's values on their way through the serializer, and back.
 *
 * @internal
 */
import type { RunnableConfig } from "@langchain/core/runnables"
import {
  type Checkpoint,
  type CheckpointMetadata,
  type CheckpointPendingWrite,
  type CheckpointTuple,
  maxChannelVersion,
  type SerializerProtocol
} from "@langchain/langgraph-checkpoint"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { type CheckpointError, isCheckpointError } from "../CheckpointError.js"
import type { Serializer } from "../Serializer.js"
import { isInternal, type Value, within } from "./calls.js"
import * as Codec from "./codec.js"
import * as fields from "./fields.js"
import * as rows from "./rows.js"
import { TASKS } from "./statements.js"
import type * as store from "./store.js"

/** A channel with what it holds. */
export type Channel = store.Piece & { readonly channel: string }

const own = { writable: true, enumerable: true, configurable: true }

const empty = { type: "empty", bytes: undefined }

const check = (channel: string) => {
  if (!Codec.isStorable(channel)) throw new Error("its name holds a character that Postgres cannot store")
}

const refuse = (operation: string, threadId: string, channel: string) =>
  within(operation, threadId, `the channel ${JSON.stringify(channel)}, and nothing was written`)

// not taken apart: bytes are made when somebody asks
const dataOf = (piece: store.Piece) => piece.text ?? piece.bytes ?? new Uint8Array()

const ofCheckpoint = (operation: string, row: store.Loaded) =>
  within(operation, row.threadId, `the checkpoint "${row.checkpointId}"`)

export class Values {
  readonly #json: Serializer
  readonly #serde: SerializerProtocol
  readonly #isOwn: boolean

  /** @param serde What serializes the values. All else goes through `json`. */
  constructor(json: Serializer, serde: SerializerProtocol) {
    this.#json = json
    this.#serde = serde
    this.#isOwn = serde === json
  }

  /**
   * Channels and their values, none for an empty one, as bytes. All are serialized at once, before anything else can run: a node may change
   * an object of the state in place while its checkpoint is still being written.
   */
  dump<A, E>(
    operation: string,
    threadId: string,
    channels: ReadonlyArray<Value>,
    then: (pieces: ReadonlyArray<Channel>) => Effect.Effect<A, E>
  ): Effect.Effect<A, E | CheckpointError> {
    if (this.#isOwn) return then(this.dumpNow(operation, threadId, channels))
    const dump = async ([channel, value]: Value) => {
      try {
        check(channel)
        if (value.length === 0) return { channel, ...empty }
        const [type, bytes] = await this.#serde.dumpsTyped(value[0])
        return { channel, type, bytes }
      } catch (cause) {
        throw refuse(operation, threadId, channel)(cause)
      }
    }
    const pieces = Effect.tryPromise({
      try: () => Promise.all(channels.map(dump)),
      catch: (cause) => (isCheckpointError(cause) ? cause : within(operation, threadId, "a channel")(cause))
    })
    return Effect.flatMap(pieces, then)
  }

  /** As {@link dump}, by our own serializer. */
  dumpNow(operation: string, threadId: string, channels: ReadonlyArray<Value>): ReadonlyArray<Channel> {
    return channels.map(([channel, value]) => {
      try {
        check(channel)
        if (value.length === 0) return { channel, ...empty }
        const encoded = this.#json.encode(value[0])
        const piece = typeof encoded === "string" ? rows.ofText(encoded) : { type: "bytes", bytes: encoded }
        return Object.assign(piece, { channel })
      } catch (cause) {
        throw refuse(operation, threadId, channel)(cause)
      }
    })
  }

  encode(operation: string, threadId: string, place: string, encode: () => string): string {
    try {
      return encode()
    } catch (cause) {
      throw within(operation, threadId, place)(cause)
    }
  }

  /** The checkpoint's metadata and, beneath it, what the run says of itself: its config's metadata, as far as it can be stored. */
  metadata(operation: string, threadId: string, config: RunnableConfig, metadata: CheckpointMetadata): string {
    const said = Object.entries(config.metadata ?? {}).filter(([key, value]) => {
      if (isInternal(key) || Object.hasOwn(metadata, key) || value === undefined) return false
      try {
        this.#json.toJsonb(value)
        return true
      } catch {
        return false // handlers and the like, which a run carries along and nobody means to store
      }
    })
    return this.encode(operation, threadId, "the metadata, and nothing was written", () =>
      fields.encode(this.#json, { ...Object.fromEntries(said), ...metadata })
    )
  }

  /** The checkpoints of rows whose values our own serializer has written. */
  tuples(
    operation: string,
    exit: Exit.Exit<ReadonlyArray<store.Loaded>, CheckpointError>
  ): Exit.Exit<ReadonlyArray<CheckpointTuple>, CheckpointError> {
    if (Exit.isFailure(exit)) return Exit.failCause(exit.cause)
    try {
      return Exit.succeed(exit.value.map((row) => this.tupleNow(operation, row)))
    } catch (error) {
      return isCheckpointError(error) ? Exit.fail(error) : Exit.die(error)
    }
  }

  tuple(operation: string, row: store.Loaded): Effect.Effect<CheckpointTuple, CheckpointError> {
    if (this.#isOwn) {
      return Effect.try({
        try: () => this.tupleNow(operation, row),
        catch: (cause) => (isCheckpointError(cause) ? cause : ofCheckpoint(operation, row)(cause))
      })
    }
    const pieces = [...row.values, ...row.writes, ...row.sends]
    const value = async (piece: store.Piece) =>
      piece.type === "empty" ? undefined : this.#serde.loadsTyped(piece.type, piece.bytes ?? new Uint8Array())
    return Effect.tryPromise({
      try: async () => {
        const values = await Promise.all(pieces.map(value))
        let next = 0
        return this.#whole(row, () => values[next++])
      },
      catch: ofCheckpoint(operation, row)
    })
  }

  /** As {@link tuple}, by our own serializer. Throws `CheckpointError`. */
  tupleNow(operation: string, row: store.Loaded): CheckpointTuple {
    try {
      const pieces = [row.values, row.writes, row.sends]
      let [list, at] = [0, 0]
      return this.#whole(row, () => {
        while (at === pieces[list]?.length) [list, at] = [list + 1, 0]
        const piece = pieces[list]?.[at++]
        return piece === undefined || piece.type === "empty" ? undefined : this.#json.loads(piece.type, dataOf(piece))
      })
    } catch (cause) {
      throw ofCheckpoint(operation, row)(cause)
    }
  }

  /** The checkpoint of a row. `next` gives its values, writes and sends in turn. */
  #whole(row: store.Loaded, next: () => unknown): CheckpointTuple {
    const channel_values: Record<string, unknown> = {}
    for (const { channel, type } of row.values) {
      const value = next()
      if (type === "empty") continue
      if (channel === "__proto__") Object.defineProperty(channel_values, channel, { ...own, value })
      else channel_values[channel] = value
    }
    const stored = this.#json.fromJsonb(row.checkpoint) as Omit<Checkpoint, "channel_values"> // what put has stored; unknown fields stay
    const checkpoint: Checkpoint = {
      ...stored,
      channel_versions: stored.channel_versions ?? {},
      versions_seen: stored.versions_seen ?? {},
      channel_values
    }
    const pendingWrites = row.writes.map(({ channel, taskId }): CheckpointPendingWrite => [taskId, channel, next()])
    if (row.sends.length > 0) {
      channel_values[TASKS] = row.sends.map(next)
      const versions = Object.values(checkpoint.channel_versions)
      checkpoint.channel_versions[TASKS] = versions.length === 0 ? 1 : maxChannelVersion(...versions)
    }
    const at = (checkpointId: string) => ({
      configurable: { thread_id: row.threadId, checkpoint_ns: row.namespace, checkpoint_id: checkpointId }
    })
    return {
      config: at(row.checkpointId),
      checkpoint,
      metadata: fields.decode(this.#json, row.metadata) as CheckpointMetadata, // what put has stored
      pendingWrites,
      ...(row.parentId === undefined ? {} : { parentConfig: at(row.parentId) })
    }
  }
}
