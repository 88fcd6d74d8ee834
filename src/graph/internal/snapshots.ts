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

export const read = <State>(raw: RawSnapshot): Snapshot<State> => {
  const tasks = array(raw.tasks)
  const interrupts = tasks.flatMap((task) =>
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
    if (raw.next.length === 0) return "finished"
    if (interrupts.length > 0) return "waiting"
    return errors.length > 0 ? "failed" : "unfinished"
  }
  const step = field(raw.metadata, "step")
  const metadata = Object.entries(Object(raw.metadata)).filter(([name]) => !own.has(name))
  return {
    values: raw.values as State, // the graph's own type, as LangGraph reads it
    next: raw.next,
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
