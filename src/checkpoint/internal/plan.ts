/**
 * Which checkpoints of a thread stay when it is pruned. A pure rule over what the checkpoints say of each other, so that it can be tested as one.
 *
 * @internal
 */

/** A checkpoint without its values. */
export interface Node {
  readonly namespace: string
  readonly id: string
  readonly parentId: string | undefined
  /** Milliseconds since 1970; infinite for a checkpoint that does not say. */
  readonly time: number
  /** Which checkpoints of the graphs around it this one of a subgraph belongs to: their ids by namespace. */
  readonly parents: Readonly<Record<string, string>>
  /** Whether what its tasks were sent stands with its parent, as formats before 4 have it. */
  readonly leansOnParent: boolean
}

export interface Policy {
  /** The newest that stay in any case, at least 1. */
  readonly keep: number
  /** Those of this time or later stay; infinite for none. Milliseconds since 1970. */
  readonly since: number
}

/** Where delta channels have a value of their own: their names by namespace, and the checkpoints that hold one. */
export interface Deltas {
  readonly channels: ReadonlyMap<string, ReadonlySet<string>>
  readonly holds: (node: Node, channel: string) => boolean
}

/** A checkpoint's name among those of its thread. */
export const nameOf = (namespace: string, id: string): string => JSON.stringify([namespace, id])

/** Whether the namespace is the same in every run: a subgraph with a memory of its own. One that belongs to a task has the task's id. */
const isLasting = (namespace: string): boolean => !namespace.includes(":")

/** The checkpoint of the nearest graph around a subgraph's. */
const ownerOf = (node: Node): string | undefined => {
  let nearest: string | undefined
  for (const namespace of Object.keys(node.parents)) {
    const around = namespace === "" || node.namespace.startsWith(`${namespace}|`)
    if (around && namespace !== node.namespace && namespace.length >= (nearest?.length ?? 0)) nearest = namespace
  }
  return nearest === undefined ? undefined : nameOf(nearest, node.parents[nearest] ?? "")
}

/**
 * The names of those that stay, of a thread's checkpoints, newest first within each namespace.
 *
 * - Of the graph itself, and of a subgraph that belongs to no stored checkpoint or has a memory of its own: what the policy says.
 * - Of a subgraph that belongs to a checkpoint: none without that; with it what the policy says of those that belong to it.
 * - All ancestors from which a delta channel of one that stays is put together.
 */
export const stay = (nodes: ReadonlyArray<Node>, policy: Policy, deltas: Deltas): ReadonlySet<string> => {
  const all = new Map(nodes.map((node) => [nameOf(node.namespace, node.id), node]))
  const ranks = new Map<string, number>()
  const isChosen = (group: string, node: Node): boolean => {
    const rank = (ranks.get(group) ?? 0) + 1
    ranks.set(group, rank)
    return rank <= policy.keep || node.time >= policy.since
  }
  const out = new Set<string>()
  // a graph before its subgraphs, whose namespaces are longer
  const byDepth = [...all].sort(([, a], [, b]) => a.namespace.length - b.namespace.length)
  for (const [name, node] of byDepth) {
    const owner = ownerOf(node)
    const owned = owner !== undefined && all.has(owner)
    const free = (!owned || isLasting(node.namespace)) && isChosen(JSON.stringify([node.namespace]), node)
    const bound = owned && out.has(owner) && isChosen(JSON.stringify([node.namespace, owner]), node)
    if (free || bound) out.add(name)
  }
  // what stays must read as before: whoever leans on its parent keeps it, and so on
  for (const name of out) {
    const node = all.get(name)
    if (node?.parentId === undefined) continue
    const channels = [...(deltas.channels.get(node.namespace) ?? [])]
    const parent = nameOf(node.namespace, node.parentId)
    if (all.has(parent) && (node.leansOnParent || channels.some((channel) => !deltas.holds(node, channel))))
      out.add(parent)
  }
  return out
}
