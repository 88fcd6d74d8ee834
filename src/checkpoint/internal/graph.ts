/**
 * What a stored checkpoint says of its graph, without the graph: which nodes run next, and what it waits for. LangGraph names its channels
 * after the nodes that they trigger.
 *
 * @internal
 */
import * as Predicate from "effect/Predicate"
import { TASKS } from "./statements.js"

/** A channel as it stands in a checkpoint. */
export interface Channel {
  readonly name: string
  /** Whether it holds no value. */
  readonly empty: boolean
  /** Its value, where it is known: of the channels whose value names nodes. */
  readonly value: unknown
}

const record = (u: unknown): Readonly<Record<string, unknown>> => (Predicate.isRecord(u) ? u : {})

/** LangGraph's own order of versions; of two kinds, as JavaScript compares them, which is how LangGraph decides whether a node runs. */
const isNewer = (version: unknown, seen: unknown): boolean => {
  if (typeof version !== "number" && typeof version !== "string") return false
  return typeof seen !== "number" && typeof seen !== "string" ? true : version > seen
}

const sentTo = (value: unknown): ReadonlyArray<string> =>
  Array.isArray(value)
    ? value.flatMap((send) => (Predicate.hasProperty(send, "node") && typeof send.node === "string" ? [send.node] : []))
    : []

/**
 * The nodes that run next, by name. `checkpoint` has `channel_versions` and `versions_seen`. For a graph of LangGraph's `StateGraph` it is exact;
 * of one made by hand out of channels it knows the nodes that have run before.
 */
export const next = (checkpoint: unknown, channels: Iterable<Channel>): ReadonlyArray<string> => {
  const { channel_versions, versions_seen } = record(checkpoint)
  const versions = record(channel_versions)
  const seen = record(versions_seen)
  const out = new Set<string>()
  const due = (node: string, channel: string) => isNewer(versions[channel], record(seen[node])[channel])
  for (const { name, empty, value } of channels) {
    if (empty || !(name in versions)) continue
    const branch = /^branch:to:(.+)$/s.exec(name)
    const join = /^join:(.+):([^:]+)$/s.exec(name)
    if (name === TASKS) {
      for (const node of sentTo(value)) out.add(node)
    } else if (name === "__start__") {
      if (due("__start__", name)) out.add("__start__")
    } else if (branch?.[1] !== undefined) {
      if (due(branch[1], name)) out.add(branch[1])
    } else if (join?.[1] !== undefined && join[2] !== undefined) {
      const arrived = new Set(Array.isArray(value) ? value : [])
      if (join[1].split("+").every((node) => arrived.has(node)) && due(join[2], name)) out.add(join[2])
    } else {
      for (const node of Object.keys(seen)) {
        if (!node.startsWith("__") && name in record(seen[node]) && due(node, name)) out.add(node)
      }
    }
  }
  return [...out].sort()
}

/** How a thread stands, as its newest checkpoint says. */
export type Status = "finished" | "waiting" | "failed" | "unfinished"

/** A graph that has nodes to run was asked to wait, or failed, or was stopped or is running. */
export const status = (nodes: ReadonlyArray<string>, signals: ReadonlyArray<string>): Status => {
  if (nodes.length === 0) return "finished"
  if (signals.includes("__interrupt__")) return "waiting"
  return signals.includes("__error__") ? "failed" : "unfinished"
}
