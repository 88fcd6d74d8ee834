/**
 * Which nodes a checkpoint stands behind, for the trace. A checkpoint says which nodes run next; which have just finished its parent says,
 * which this process has, as a rule, written or read a moment ago.
 *
 * @internal
 */
import type { CheckpointMetadata, ReadonlyCheckpoint } from "@langchain/langgraph-checkpoint"
import * as graph from "./graph.js"

/** Threads whose last checkpoint is remembered. */
const capacity = 1000

const next = (checkpoint: ReadonlyCheckpoint): ReadonlyArray<string> =>
  graph.next(
    checkpoint,
    Object.entries(checkpoint.channel_values).map(([name, value]) => ({ name, empty: false, value }))
  )

export class Phases {
  readonly #last = new Map<string, { readonly id: string; readonly next: ReadonlyArray<string> }>()

  /** What a checkpoint that is being saved comes after: the nodes that have just run, else the step or the source. */
  saved(
    threadId: string,
    namespace: string,
    parentId: string | undefined,
    checkpoint: ReadonlyCheckpoint,
    metadata: CheckpointMetadata
  ): string {
    const parent = this.#last.get(JSON.stringify([threadId, namespace]))
    this.loaded(threadId, namespace, checkpoint)
    if (metadata.source !== "loop") return metadata.source
    return parent !== undefined && parent.id === parentId && parent.next.length > 0
      ? parent.next.join(", ")
      : `step ${metadata.step}`
  }

  /** The nodes that run next after a checkpoint. */
  loaded(threadId: string, namespace: string, checkpoint: ReadonlyCheckpoint): ReadonlyArray<string> {
    const key = JSON.stringify([threadId, namespace])
    const nodes = next(checkpoint)
    this.#last.delete(key)
    this.#last.set(key, { id: checkpoint.id, next: nodes })
    if (this.#last.size > capacity) {
      for (const oldest of this.#last.keys()) {
        this.#last.delete(oldest)
        break
      }
    }
    return nodes
  }

  /**
   * Whether a checkpoint that was just {@link saved} is its run's last one: no node runs next. Said only of graphs that name channels after the
   * nodes which they trigger; of others it would be a guess.
   */
  isOver(threadId: string, namespace: string, checkpoint: ReadonlyCheckpoint): boolean {
    const last = this.#last.get(JSON.stringify([threadId, namespace]))
    if (last?.id !== checkpoint.id || last.next.length > 0) return false
    for (const channel in checkpoint.channel_versions) if (channel.startsWith("branch:to:")) return true
    return false
  }

  /** Drops what is known of a thread. */
  forget(threadId: string): void {
    const prefix = `${JSON.stringify([threadId]).slice(0, -1)},`
    for (const key of this.#last.keys()) if (key.startsWith(prefix)) this.#last.delete(key)
  }
}
