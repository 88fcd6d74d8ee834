/**
 * LangGraph's saver over the store.
 *
 * @internal
 */
import type { RunnableConfig } from "@langchain/core/runnables"
import {
  BaseCheckpointSaver,
  type ChannelVersions,
  type Checkpoint,
  type CheckpointListOptions,
  type CheckpointMetadata,
  type CheckpointPendingWrite,
  type CheckpointTuple,
  getCheckpointId,
  maxChannelVersion,
  type PendingWrite,
  type SerializerProtocol
} from "@langchain/langgraph-checkpoint"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Observation from "../../observability/Observation.js"
import * as SpanCarrier from "../../observability/SpanCarrier.js"
import { type CheckpointError, isCheckpointError, type ThreadBusyError } from "../CheckpointError.js"
import type { Serializer } from "../Serializer.js"
import { checked, field, id, isInternal, isTraced, observed, required, special, type Value, within } from "./calls.js"
import * as Codec from "./codec.js"
import type { Fencing } from "./fencing.js"
import * as fields from "./fields.js"
import { whenHeard } from "./hearing.js"
import { Phases } from "./phases.js"
import type { Runner } from "./runner.js"
import { TASKS } from "./statements.js"
import type * as store from "./store.js"

/** How many checkpoints `list` reads at a time. */
const page = 100

const own = { writable: true, enumerable: true, configurable: true }

export class SqlSaver extends BaseCheckpointSaver {
  readonly #store: store.Store
  readonly #fencing: Fencing
  readonly #runner: Runner
  readonly #json: Serializer
  /** Whether values are serialized by our own serializer, which needs no promise for it. */
  readonly #isOwn: boolean
  readonly #phases = new Phases()

  constructor(rows: store.Store, fencing: Fencing, runner: Runner, json: Serializer, serde: SerializerProtocol) {
    super(serde)
    this.#store = rows
    this.#fencing = fencing
    this.#runner = runner
    this.#json = json
    this.#isOwn = serde === json
  }

  /**
   * Whole steps order the versions, a random fraction tells two branches apart: a fork that writes the same step of the same channel never
   * finds the other branch's value under its own version. Numbers, so that they stay in order beside the whole ones that are stored already;
   * threads of other savers that use text go on with text.
   */
  override getNextVersion(current: number | undefined): number
  override getNextVersion(current: string): string
  override getNextVersion(current: number | string | undefined): number | string {
    if (typeof current !== "string") return Math.floor(current ?? 0) + 1 + Math.random()
    const step = Number.parseInt(current, 10)
    return `${String((Number.isNaN(step) ? 0 : step) + 1).padStart(32, "0")}.${String(Math.random())}`
  }

  override put(
    config: RunnableConfig,
    checkpoint: Checkpoint,
    metadata: CheckpointMetadata,
    newVersions: ChannelVersions
  ): Promise<RunnableConfig> {
    const operation = "put"
    const effect = checked(() => {
      const threadId = required(operation, "thread_id", field(config, "thread_id"))
      const namespace = id(operation, "checkpoint_ns", field(config, "checkpoint_ns")) ?? ""
      const parentId = id(operation, "checkpoint_id", field(config, "checkpoint_id"))
      const checkpointId = required(operation, "checkpoint id", checkpoint.id)
      const { channel_values, ...rest } = checkpoint
      const phase = this.#phases.saved(threadId, namespace, parentId, checkpoint, metadata)
      const last = namespace === "" && this.#phases.isOver(threadId, namespace, checkpoint)
      const write = checked((): Effect.Effect<void, CheckpointError | ThreadBusyError> => {
        const body = this.#encode(operation, threadId, "the checkpoint, and nothing was written", () =>
          fields.encodeCheckpoint(this.#json, rest)
        )
        const described = this.#metadata(operation, threadId, config, metadata)
        const values = Object.keys(newVersions).map((channel): Value => {
          return [channel, Object.hasOwn(channel_values, channel) ? [channel_values[channel]] : []]
        })
        return this.#dump(operation, threadId, values, (pieces) => {
          const row = {
            threadId,
            namespace,
            checkpointId,
            parentId: parentId === "" ? undefined : parentId,
            checkpoint: body,
            metadata: described,
            blobs: pieces.map(({ bytes, channel, type }) => {
              return { channel, version: String(newVersions[channel]), type, bytes }
            })
          }
          return this.#fencing.write(operation, threadId, config, last, (guard) => this.#store.put(row, guard))
        })
      })
      const said = { workflow_id: threadId, phase, step: metadata.step, source: metadata.source }
      return Effect.as(observed(config, write, "save_checkpoint", said), {
        configurable: { thread_id: threadId, checkpoint_ns: namespace, checkpoint_id: checkpointId }
      })
    })
    return this.#run(operation, config, whenHeard(config)(effect))
  }

  /** `taskPath` is what savers of a later protocol are given, and by which pending writes are ordered. */
  override putWrites(
    config: RunnableConfig,
    writes: Array<PendingWrite>,
    taskId: string,
    taskPath?: string
  ): Promise<void> {
    const operation = "putWrites"
    const effect = checked(() => {
      const threadId = required(operation, "thread_id", field(config, "thread_id"))
      const namespace = id(operation, "checkpoint_ns", field(config, "checkpoint_ns")) ?? ""
      const checkpointId = required(operation, "checkpoint_id", field(config, "checkpoint_id"))
      const task = required(operation, "task id", taskId)
      const path = id(operation, "task path", taskPath) ?? ""
      const values = writes.map(([channel, value]) => [channel, [value]] as const)
      return this.#dump(operation, threadId, values, (pieces) => {
        const rows = pieces.map(({ bytes, channel, type }, index) => {
          return { channel, type, bytes, idx: special(channel) ?? index }
        })
        // LangGraph's rule: what it says about a task (an error, an interruption, an answer) is replaced, a task's results are not
        const replace = writes.every(([channel]) => special(channel) !== undefined)
        const last = replace ? [...new Map(rows.map((row) => [row.idx, row])).values()] : rows
        if (last.length === 0) return Effect.void
        const row = { threadId, namespace, checkpointId, taskId: task, taskPath: path, writes: last, replace }
        return this.#fencing.write(operation, threadId, config, false, (guard) => this.#store.putWrites(row, guard))
      })
    })
    return this.#run(operation, config, whenHeard(config)(effect))
  }

  override getTuple(config: RunnableConfig): Promise<CheckpointTuple | undefined> {
    const operation = "getTuple"
    const effect = checked((): Effect.Effect<CheckpointTuple | undefined, CheckpointError | ThreadBusyError> => {
      const threadId = id(operation, "thread_id", field(config, "thread_id"))
      const namespace = id(operation, "checkpoint_ns", field(config, "checkpoint_ns")) ?? ""
      const checkpointId = id(operation, "checkpoint_id", getCheckpointId(config))
      if (threadId === undefined) return Effect.succeed(undefined)
      const selection =
        checkpointId === undefined || checkpointId === ""
          ? { threadId, namespace, limit: 1 }
          : { threadId, namespace, checkpointId }
      const stored = this.#fencing.read(operation, selection, config)
      return Effect.map(this.#load(operation, config, threadId, stored), ([tuple]) => tuple)
    })
    return this.#run(operation, config, effect)
  }

  override async *list(config: RunnableConfig, options: CheckpointListOptions = {}): AsyncGenerator<CheckpointTuple> {
    const operation = "list"
    const selection = () => {
      const filter = Object.entries(options.filter ?? {}).filter(([, value]) => value !== undefined)
      const threadId = id(operation, "thread_id", field(config, "thread_id"))
      return {
        threadId,
        namespace: id(operation, "checkpoint_ns", field(config, "checkpoint_ns")),
        checkpointId: id(operation, "checkpoint_id", getCheckpointId(config)) || undefined,
        before: id(operation, "before", field(options.before, "checkpoint_id")),
        metadata:
          filter.length === 0
            ? undefined
            : this.#encode(operation, threadId ?? "", "the filter", () =>
                fields.encode(this.#json, Object.fromEntries(filter))
              )
      }
    }
    let left = options.limit === undefined ? Number.POSITIVE_INFINITY : Math.trunc(Number(options.limit))
    let after: store.Selection["after"]
    while (left > 0) {
      const limit = Math.min(left, page)
      const tuples: ReadonlyArray<CheckpointTuple> = await this.#run(
        operation,
        config,
        checked(() => {
          const chosen = { ...selection(), after, limit }
          return this.#load(operation, config, chosen.threadId, this.#store.load(operation, chosen))
        })
      )
      yield* tuples
      if (tuples.length < limit) return
      left -= limit
      const last = tuples.at(-1)?.config
      after = [
        String(field(last, "checkpoint_id")),
        String(field(last, "thread_id")),
        String(field(last, "checkpoint_ns"))
      ]
    }
  }

  override deleteThread(threadId: string): Promise<void> {
    const operation = "deleteThread"
    const effect = checked(() => {
      const thread = required(operation, "thread_id", threadId)
      this.#phases.forget(thread)
      return this.#store.deleteThread(thread)
    })
    return this.#run(operation, {}, effect)
  }

  #run<A>(
    operation: string,
    config: RunnableConfig,
    effect: Effect.Effect<A, CheckpointError | ThreadBusyError>
  ): Promise<A> {
    const threadId = field(config, "thread_id")
    const name = typeof threadId === "string" ? threadId : undefined
    return isTraced(config)
      ? this.#runner.run(operation, name, SpanCarrier.under(config.configurable)(effect))
      : this.#runner.runUntraced(operation, name, effect)
  }

  /**
   * Channels and their values, none for an empty one, as bytes. All are serialized at once, before anything else can run: a node may change
   * an object of the state in place while its checkpoint is still being written.
   */
  #dump<A, E>(
    operation: string,
    threadId: string,
    channels: ReadonlyArray<Value>,
    then: (pieces: ReadonlyArray<store.Piece & { readonly channel: string }>) => Effect.Effect<A, E>
  ): Effect.Effect<A, E | CheckpointError> {
    const refuse = (channel: string) =>
      within(operation, threadId, `the channel ${JSON.stringify(channel)}, and nothing was written`)
    const check = (channel: string) => {
      if (!Codec.isStorable(channel)) throw new Error("its name holds a character that Postgres cannot store")
    }
    const empty = { type: "empty", bytes: undefined }
    if (this.#isOwn) {
      const pieces = channels.map(([channel, value]) => {
        try {
          check(channel)
          if (value.length === 0) return { channel, ...empty }
          const [type, bytes] = this.#json.dumps(value[0])
          return { channel, type, bytes }
        } catch (cause) {
          throw refuse(channel)(cause)
        }
      })
      return then(pieces)
    }
    const dump = async ([channel, value]: Value) => {
      try {
        check(channel)
        if (value.length === 0) return { channel, ...empty }
        const [type, bytes] = await this.serde.dumpsTyped(value[0])
        return { channel, type, bytes }
      } catch (cause) {
        throw refuse(channel)(cause)
      }
    }
    const pieces = Effect.tryPromise({
      try: () => Promise.all(channels.map(dump)),
      catch: (cause) => (isCheckpointError(cause) ? cause : within(operation, threadId, "a channel")(cause))
    })
    return Effect.flatMap(pieces, then)
  }

  #encode(operation: string, threadId: string, place: string, encode: () => string): string {
    try {
      return encode()
    } catch (cause) {
      throw within(operation, threadId, place)(cause)
    }
  }

  /** The checkpoint's metadata and, beneath it, what the run says of itself: its config's metadata, as far as it can be stored. */
  #metadata(operation: string, threadId: string, config: RunnableConfig, metadata: CheckpointMetadata): string {
    const said = Object.entries(config.metadata ?? {}).filter(([key, value]) => {
      if (isInternal(key) || Object.hasOwn(metadata, key) || value === undefined) return false
      try {
        this.#json.toJsonb(value)
        return true
      } catch {
        return false // handlers and the like, which a run carries along and nobody means to store
      }
    })
    return this.#encode(operation, threadId, "the metadata, and nothing was written", () =>
      fields.encode(this.#json, { ...Object.fromEntries(said), ...metadata })
    )
  }

  #load(
    operation: string,
    config: RunnableConfig,
    threadId: string | undefined,
    stored: Effect.Effect<ReadonlyArray<store.Loaded>, CheckpointError | ThreadBusyError>
  ): Effect.Effect<ReadonlyArray<CheckpointTuple>, CheckpointError | ThreadBusyError> {
    const load = Effect.flatMap(stored, (rows) => Effect.forEach(rows, (row) => this.#tuple(operation, row)))
    const described = Effect.tap(load, (tuples) => {
      const [newest] = tuples
      if (newest === undefined) return Observation.annotate({ metadata: { phase: "none", found: 0 } })
      const namespace = String(field(newest.config, "checkpoint_ns"))
      const nodes = this.#phases.loaded(String(field(newest.config, "thread_id")), namespace, newest.checkpoint)
      return Effect.flatMap(Clock.currentTimeMillis, (now) => {
        const age = (now - Date.parse(newest.checkpoint.ts)) / 1000
        return Observation.annotate({
          metadata: {
            phase: nodes.length === 0 ? "finished" : nodes.join(", "),
            step: newest.metadata?.step,
            source: newest.metadata?.source,
            found: tuples.length,
            ...(Number.isFinite(age) ? { checkpoint_age_seconds: age } : {})
          }
        })
      })
    })
    return isTraced(config) ? observed(config, described, "load_checkpoint", { workflow_id: threadId }) : load
  }

  #tuple(operation: string, row: store.Loaded): Effect.Effect<CheckpointTuple, CheckpointError> {
    const pieces = [...row.values, ...row.writes, ...row.sends]
    const data = ({ bytes, text }: store.Piece) => text ?? bytes ?? new Uint8Array()
    const put = (values: ReadonlyArray<unknown>) => {
      let next = 0
      return this.#whole(row, () => values[next++])
    }
    const refuse = within(operation, row.threadId, `the checkpoint "${row.checkpointId}"`)
    if (this.#isOwn) {
      const value = (piece: store.Piece) =>
        piece.type === "empty" ? undefined : this.#json.loads(piece.type, data(piece))
      return Effect.try({ try: () => put(pieces.map(value)), catch: refuse })
    }
    const value = async (piece: store.Piece) =>
      piece.type === "empty" ? undefined : this.serde.loadsTyped(piece.type, piece.bytes ?? new Uint8Array())
    return Effect.tryPromise({ try: async () => put(await Promise.all(pieces.map(value))), catch: refuse })
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
