/**
 * LangGraph's snapshots, read.
 *
 * @internal
 */
import * as Predicate from "effect/Predicate"
import type { Interrupt, RawSnapshot, Snapshot, Status } from "../models.js"

const field = (u: unknown, name: string): unknown => (Predicate.hasProperty(u, name) ? u[name] : undefined)

const textField = (u: unknown, name: string): string | undefined => {
  const value = field(u, name)
  return typeof value === "string" ? value : undefined
}

const array = (u: unknown): ReadonlyArray<unknown> => (Array.isArray(u) ? u : [])

export const interrupt = (u: unknown, node?: string): Interrupt => ({
  id: textField(u, "id"),
  value: field(u, "value"),
  ...(node === undefined ? {} : { node })
})

const idOf = (config: unknown): string | undefined => textField(field(config, "configurable"), "checkpoint_id")

/** LangGraph's own fields of metadata. */
const own: ReadonlySet<string> = new Set(["source", "step", "parents", "writes", "thread_id", "ls_integration"])

/** A node that was stopped, because another failed or the run was, has not failed itself. */
const isAbort = (error: unknown): boolean => textField(error, "name") === "AbortError"

const message = (error: unknown): string => textField(error, "message") ?? String(error)

const asks = (task: unknown): boolean => array(field(task, "interrupts")).length > 0

/**
 * Whether a snapshot has questions. LangGraph lists those of tasks that have ended too, and takes a task that was answered once and asks again for one that
 * has: what is open only the pending writes tell.
 */
export const hasAsked = (raw: RawSnapshot): boolean => array(raw.tasks).some(asks)

/** The tasks that have written what they had to say, by a checkpoint's pending writes: what is told of a task, such as its question, is no such. */
export const doneOf = (tuple: unknown): ReadonlySet<string> =>
  new Set(
    array(field(tuple, "pendingWrites")).flatMap((write) => {
      const [task, channel]: ReadonlyArray<unknown> = array(write)
      const told = ["__interrupt__", "__resume__", "__error__", "__error_source_node__", "__scheduled__"]
      return typeof task !== "string" || told.includes(String(channel)) ? [] : [task]
    })
  )

/** @param done The tasks that have ended, if it was asked. */
export const read = <State>(raw: RawSnapshot, done?: ReadonlySet<string>): Snapshot<State> => {
  const tasks = array(raw.tasks)
  const open = tasks.filter((task) => done?.has(textField(task, "id") ?? "") !== true)
  const next = done === undefined ? raw.next : open.map((task) => textField(task, "name") ?? "")
  const interrupts = open.flatMap((task) =>
    array(field(task, "interrupts")).map((each) => interrupt(each, textField(task, "name")))
  )
  const errors = tasks.flatMap((task) => {
    const error = field(task, "error")
    return error === undefined || isAbort(error)
      ? []
      : [{ node: textField(task, "name") ?? "", message: message(error) }]
  })
  const status = (): Status => {
    if (raw.createdAt === undefined && idOf(raw.config) === undefined) return "absent"
    if (next.length === 0) return "finished"
    if (interrupts.length > 0) return "waiting"
    return errors.length > 0 ? "failed" : "unfinished"
  }
  const step = field(raw.metadata, "step")
  const metadata = Object.entries(Object(raw.metadata)).filter(([name]) => !own.has(name))
  return {
    values: raw.values as State, // the graph's own type, as LangGraph reads it
    next,
    createdAt: raw.createdAt,
    status: status(),
    interrupts,
    errors,
    checkpointId: idOf(raw.config),
    parentId: idOf(raw.parentConfig),
    step: typeof step === "number" ? step : undefined,
    source: textField(raw.metadata, "source"),
    metadata: Object.fromEntries(metadata)
  }
}
