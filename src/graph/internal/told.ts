/**
 * How a node tells the channel of failures what became of it, beside what it has to say itself.
 *
 * @internal
 */
import { randomUUID } from "node:crypto"
import * as Predicate from "effect/Predicate"
import type { NodeFailure, Told } from "../failures.js"
import type { Node } from "./node.js"

const names = new WeakMap<object, string>()

/** One name for a run and its subgraphs: they have one control. */
const runOf = (node: Node): string => {
  const control: unknown = Reflect.get(node.config, "control") // LangGraph's own, which is not in the shape that is used here
  if (!Predicate.isObject(control)) return ""
  const known = names.get(control) ?? randomUUID()
  names.set(control, known)
  return known
}

const isCommand = (u: unknown): u is object => Predicate.hasProperty(u, "lg_name") && u.lg_name === "Command"

/** Whether the channel says that the node has failed. */
const hasFailed = (node: Node, channel: string): boolean => {
  const read: unknown = node.config.configurable?.["__pregel_read"]
  if (typeof read !== "function") return false
  const held: unknown = read(channel, false)
  const known: unknown = Predicate.isObject(held) ? Reflect.get(held, node.name) : undefined
  return Predicate.hasProperty(known, "times") && known.times !== 0
}

const tell = (node: Node, failure?: NodeFailure): Told => ({
  node: node.name,
  step: node.step,
  run: runOf(node),
  ...(failure === undefined ? {} : { failure })
})

export const failed = (node: Node, channel: string, failure: NodeFailure): unknown => ({
  [channel]: tell(node, failure)
})

/** A node that was well has something to say only after it had failed. */
export const well = (node: Node, channel: string, update: unknown): unknown => {
  if (!hasFailed(node, channel)) return update
  const said = { [channel]: tell(node) }
  if (update === undefined || update === null) return said
  if (Array.isArray(update)) return [...update, said]
  return isCommand(update) ? [update, said] : { ...update, ...said }
}
