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
  type CheckpointTuple,
  type DeltaChannelHistory,
  getCheckpointId,
  type PendingWrite,
  type SerializerProtocol
} from "@langchain/langgraph-checkpoint"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Observation from "../../observability/Observation.js"
import * as SpanCarrier from "../../observability/SpanCarrier.js"
import { type CheckpointError, isCheckpointError, type ThreadBusyError } from "../CheckpointError.js"
import type { Serializer } from "../Serializer.js"
import { checked, field, id, isTraced, observed, required, special, type Value } from "./calls.js"
import type { Fencing } from "./fencing.js"
import * as fields from "./fields.js"
import { whenHeard } from "./hearing.js"
import * as history from "./history.js"
import { Phases } from "./phases.js"
import type { Runner } from "./runner.js"
import type * as store from "./store.js"
import { type Channel, Values } from "./values.js"

/** How many checkpoints `list` reads at a time. */
const page = 100

export class SqlSaver extends BaseCheckpointSaver {
  readonly #store: store.Store
  readonly #fencing: Fencing
  readonly #runner: Runner
  readonly #json: Serializer
  /** Whether values are serialized by our own serializer, which needs no promise for it. */
  readonly #isOwn: boolean
  readonly #values: Values
  readonly #phases = new Phases()

  constructor(rows: store.Store, fencing: Fencing, runner: Runner, json: Serializer, serde: SerializerProtocol) {
    super(serde)
    this.#store = rows
    this.#fencing = fencing
    this.#runner = runner
    this.#json = json
    this.#isOwn = serde === json
    this.#values = new Values(json, serde)
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
    /** What is written, but for the values. */
    const place = () => {
      const threadId = required(operation, "thread_id", field(config, "thread_id"))
      const namespace = id(operation, "checkpoint_ns", field(config, "checkpoint_ns")) ?? ""
      const parentId = id(operation, "checkpoint_id", field(config, "checkpoint_id")) || undefined
      const checkpointId = required(operation, "checkpoint id", checkpoint.id)
      const phase = this.#phases.saved(threadId, namespace, parentId, checkpoint, metadata)
      const last = namespace === "" && this.#phases.isOver(threadId, namespace, checkpoint)
      const stored = { configurable: { thread_id: threadId, checkpoint_ns: namespace, checkpoint_id: checkpointId } }
      return { threadId, namespace, parentId, checkpointId, phase, last, stored }
    }
    const { channel_values, ...rest } = checkpoint
    const documents = (threadId: string) => ({
      checkpoint: this.#values.encode(operation, threadId, "the checkpoint, and nothing was written", () =>
        fields.encodeCheckpoint(this.#json, rest)
      ),
      metadata: this.#values.metadata(operation, threadId, config, metadata)
    })
    const values = () =>
      Object.keys(newVersions).map((channel): Value => {
        return [channel, Object.hasOwn(channel_values, channel) ? [channel_values[channel]] : []]
      })
    const blobsOf = (pieces: ReadonlyArray<Channel>) =>
      pieces.map((piece) => Object.assign(piece, { version: String(newVersions[piece.channel]) }))
    const effect = checked(() => {
      const { last, phase, stored, ...at } = place()
      const { threadId } = at
      const write = checked((): Effect.Effect<void, CheckpointError | ThreadBusyError> => {
        const said = documents(threadId)
        return this.#values.dump(operation, threadId, values(), (pieces) => {
          const row = { ...at, ...said, blobs: blobsOf(pieces) }
          return this.#fencing.write(operation, threadId, config, last, (guard) => this.#store.put(row, guard))
        })
      })
      const said = { workflow_id: threadId, phase, step: metadata.step, source: metadata.source }
      return Effect.as(observed(config, write, "save_checkpoint", said), stored)
    })
    return this.#call<RunnableConfig>(operation, config, whenHeard(config)(effect), (quick, done) => {
      const { last, stored, threadId, namespace, parentId, checkpointId } = place()
      const at = { threadId, namespace, parentId, checkpointId }
      const row = { ...at, ...documents(threadId), blobs: blobsOf(this.#values.dumpNow(operation, threadId, values())) }
      this.#fencing.writeNow(
        threadId,
        config,
        last,
        (guard, told) => quick.put(row, guard, told),
        (exit) => done(exit && Exit.as(exit, stored))
      )
    })
  }

  /** `taskPath` is what savers of a later protocol are given, and by which pending writes are ordered. */
  override putWrites(
    config: RunnableConfig,
    writes: Array<PendingWrite>,
    taskId: string,
    taskPath?: string
  ): Promise<void> {
    const operation = "putWrites"
    const place = () => ({
      threadId: required(operation, "thread_id", field(config, "thread_id")),
      namespace: id(operation, "checkpoint_ns", field(config, "checkpoint_ns")) ?? "",
      checkpointId: required(operation, "checkpoint_id", field(config, "checkpoint_id")),
      taskId: required(operation, "task id", taskId),
      taskPath: id(operation, "task path", taskPath) ?? ""
    })
    const values = writes.map(([channel, value]) => [channel, [value]] as const)
    // LangGraph's rule: what it says about a task (an error, an interruption, an answer) is replaced, a task's results are not
    const replace = writes.every(([channel]) => special(channel) !== undefined)
    const rowsOf = (pieces: ReadonlyArray<Channel>): ReadonlyArray<store.Write> => {
      const rows = pieces.map((piece, index) => Object.assign(piece, { idx: special(piece.channel) ?? index }))
      return replace ? [...new Map(rows.map((row) => [row.idx, row])).values()] : rows
    }
    const effect = checked(() => {
      const at = place()
      const { threadId } = at
      return this.#values.dump(operation, threadId, values, (pieces) => {
        const row = { ...at, writes: rowsOf(pieces), replace }
        if (row.writes.length === 0) return Effect.void
        return this.#fencing.write(operation, threadId, config, false, (guard) => this.#store.putWrites(row, guard))
      })
    })
    return this.#call<void>(operation, config, whenHeard(config)(effect), (quick, done) => {
      const at = place()
      const row = { ...at, writes: rowsOf(this.#values.dumpNow(operation, at.threadId, values)), replace }
      if (row.writes.length === 0) return done(Exit.void)
      const send: Parameters<Fencing["writeNow"]>[3] = (guard, told) => quick.putWrites(row, guard, told)
      this.#fencing.writeNow(at.threadId, config, false, send, done)
    })
  }

  override getTuple(config: RunnableConfig): Promise<CheckpointTuple | undefined> {
    const operation = "getTuple"
    const chosen = () => {
      const threadId = id(operation, "thread_id", field(config, "thread_id"))
      const namespace = id(operation, "checkpoint_ns", field(config, "checkpoint_ns")) ?? ""
      const checkpointId = id(operation, "checkpoint_id", getCheckpointId(config))
      if (threadId === undefined) return undefined
      return checkpointId === undefined || checkpointId === ""
        ? { threadId, namespace, limit: 1 }
        : { threadId, namespace, checkpointId }
    }
    const effect = checked((): Effect.Effect<CheckpointTuple | undefined, CheckpointError | ThreadBusyError> => {
      const selection = chosen()
      if (selection === undefined) return Effect.succeed(undefined)
      const stored = this.#fencing.read(operation, selection, config)
      return Effect.map(this.#load(operation, config, selection.threadId, stored), ([tuple]) => tuple)
    })
    return this.#call<CheckpointTuple | undefined>(operation, config, effect, (quick, done) => {
      const selection = chosen()
      if (selection === undefined) return done(Exit.succeed(undefined))
      if (!this.#fencing.isRead(selection.threadId, config)) return done(undefined)
      quick.load(operation, selection, (exit) =>
        done(exit && Exit.map(this.#values.tuples(operation, exit), ([tuple]) => tuple))
      )
    })
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
            : this.#values.encode(operation, threadId ?? "", "the filter", () =>
                fields.encode(this.#json, Object.fromEntries(filter))
              )
      }
    }
    let left = options.limit === undefined ? Number.POSITIVE_INFINITY : Math.trunc(Number(options.limit))
    let after: store.Selection["after"]
    while (left > 0) {
      const limit = Math.min(left, page)
      const effect = checked(() => {
        const chosen = { ...selection(), after, limit }
        return this.#load(operation, config, chosen.threadId, this.#store.load(operation, chosen))
      })
      const tuples = await this.#call<ReadonlyArray<CheckpointTuple>>(operation, config, effect, (quick, done) =>
        quick.load(operation, { ...selection(), after, limit }, (exit) =>
          done(exit && this.#values.tuples(operation, exit))
        )
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

  /** One reading, where LangGraph's own asks for each ancestor. */
  override getDeltaChannelHistory(options: {
    config: RunnableConfig
    channels: Array<string>
  }): Promise<Record<string, DeltaChannelHistory>> {
    const { channels, config } = options
    const operation = "getTuple"
    const effect = checked((): Effect.Effect<Record<string, DeltaChannelHistory>, CheckpointError> => {
      const threadId = id(operation, "thread_id", field(config, "thread_id"))
      if (channels.length === 0 || threadId === undefined) return Effect.succeed(history.gather(channels, []))
      const namespace = id(operation, "checkpoint_ns", field(config, "checkpoint_ns")) ?? ""
      const checkpointId = id(operation, "checkpoint_id", getCheckpointId(config)) || undefined
      const stored = this.#store.load(operation, { threadId, namespace, checkpointId, line: channels })
      const tuples = Effect.flatMap(stored, (rows) => Effect.forEach(rows, (row) => this.#values.tuple(operation, row)))
      const gathered = Effect.map(tuples, (found) => history.gather(channels, found))
      return observed(config, gathered, "load_checkpoint", { workflow_id: threadId, channels: channels.join(", ") })
    })
    return this.#run(operation, config, effect)
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

  /** As {@link #run}, the quick way where there is one. */
  #call<A>(
    operation: string,
    config: RunnableConfig,
    effect: Effect.Effect<A, CheckpointError | ThreadBusyError>,
    begin: (quick: store.Quick, done: store.Done<A>) => void
  ): Promise<A> {
    const { quick } = this.#store
    if (quick === undefined || !this.#isOwn || this.#runner.quick === undefined || isTraced(config)) {
      return this.#run(operation, config, effect)
    }
    const threadId = field(config, "thread_id")
    return this.#runner.quick<A, CheckpointError>(
      operation,
      typeof threadId === "string" ? threadId : undefined,
      (done) => {
        try {
          begin(quick, done)
        } catch (error) {
          done(isCheckpointError(error) ? Exit.fail(error) : Exit.die(error))
        }
      },
      (exit) => (exit === undefined ? effect : whenHeard(config)(exit))
    )
  }

  #load(
    operation: string,
    config: RunnableConfig,
    threadId: string | undefined,
    stored: Effect.Effect<ReadonlyArray<store.Loaded>, CheckpointError | ThreadBusyError>
  ): Effect.Effect<ReadonlyArray<CheckpointTuple>, CheckpointError | ThreadBusyError> {
    const load = Effect.flatMap(stored, (rows) => Effect.forEach(rows, (row) => this.#values.tuple(operation, row)))
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
}
