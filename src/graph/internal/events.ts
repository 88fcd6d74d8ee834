/**
 * LangGraph's chunks, read as events.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Predicate from "effect/Predicate"
import * as Failure from "../../resilience/Failure.js"
import { describe, type NodeFailure } from "../failures.js"
import type { Interrupt } from "../models.js"
import type { Run } from "./run.js"
import * as snapshots from "./snapshots.js"
import type { Event } from "./streaming.js"

const interruptKey = "__interrupt__"

const field = (u: unknown, name: string): unknown => (Predicate.hasProperty(u, name) ? u[name] : undefined)
const text = (u: unknown): string | undefined => (typeof u === "string" ? u : undefined)

/** What of a message is text: its content, or the text among its parts. */
const textOf = (message: unknown): string => {
  const content = field(message, "content")
  if (typeof content === "string") return content
  return Array.isArray(content) ? content.map((part) => text(field(part, "text")) ?? "").join("") : ""
}

interface Held {
  readonly namespace: ReadonlyArray<string>
  readonly node: string
  readonly taskId: string
  readonly result: unknown
}

/** The task that threw an error, as LangGraph notes it in the error. */
const culprits = (error: unknown): ReadonlyMap<string, unknown> => {
  const all: ReadonlyArray<unknown> = error instanceof AggregateError ? error.errors : [error]
  return new Map(
    all.flatMap((each): Array<[string, unknown]> => {
      const id = text(field(each, "pregelTaskId"))
      return id === undefined ? [] : [[id, each]]
    })
  )
}

export class Reader<State> {
  readonly #modes: ReadonlySet<string>
  readonly #outputs: unknown
  readonly #run: Run
  readonly #emit: (event: Event<State>) => void
  readonly #interrupts: Array<Interrupt> = []
  #waiting = false
  #values: unknown
  /** A task that wrote nothing has ended, or has failed, which is not told before the run's error. */
  #held: Held | undefined

  constructor(modes: ReadonlySet<string>, outputs: unknown, run: Run, emit: (event: Event<State>) => void) {
    this.#modes = modes
    this.#outputs = outputs
    this.#run = run
    this.#emit = emit
    if (modes.has("tasks")) {
      run.onRetry = ({ attempt, failure, namespace, node, taskId }) => {
        const parts = namespace.split("|")
        emit({ _tag: "NodeRetried", namespace: parts.slice(0, -1), node, taskId, attempt, failure })
      }
    }
  }

  take(chunk: unknown): void {
    const [first, second, third]: ReadonlyArray<unknown> = Array.isArray(chunk) ? chunk : []
    // without subgraphs there is no namespace
    const namespace: ReadonlyArray<string> = Array.isArray(first) ? first : []
    const mode = String(Array.isArray(first) ? second : first)
    const payload = Array.isArray(first) ? third : second
    if (mode === "values" && namespace.length === 0) this.#keep(payload)
    if (!this.#modes.has(mode)) return
    if (mode === "tasks") {
      this.#task(namespace, payload)
      return
    }
    this.#release()
    if (mode === "updates") {
      for (const [node, update] of Object.entries(Object(payload))) {
        if (node !== interruptKey) this.#emit({ _tag: "Update", namespace, node, update })
      }
    } else if (mode === "values") {
      // a question among the values is told at the end
      if (!Predicate.hasProperty(payload, interruptKey))
        this.#emit({ _tag: "Values", namespace, values: payload as State })
    } else if (mode === "messages") {
      const [message, metadata]: ReadonlyArray<unknown> = Array.isArray(payload) ? payload : []
      const said = Predicate.isRecord(metadata) ? metadata : {}
      const node = text(said["langgraph_node"])
      this.#emit({ _tag: "Token", namespace, node, text: textOf(message), message, metadata: said })
    } else if (mode === "custom") this.#emit({ _tag: "Custom", namespace, value: payload })
    else this.#emit({ _tag: "Other", namespace, mode, value: payload })
  }

  #keep(payload: unknown): void {
    if (!Predicate.hasProperty(payload, interruptKey)) {
      this.#values = payload
      return
    }
    this.#waiting = true
    const asked = payload[interruptKey]
    if (Array.isArray(asked)) this.#interrupts.push(...asked.map((each: unknown) => snapshots.interrupt(each)))
  }

  #task(namespace: ReadonlyArray<string>, payload: unknown): void {
    this.#release()
    const node = String(field(payload, "name"))
    const taskId = String(field(payload, "id"))
    if (Predicate.hasProperty(payload, "triggers")) {
      this.#emit({ _tag: "NodeStarted", namespace, node, taskId, input: field(payload, "input") })
      return
    }
    const asked = field(payload, "interrupts")
    if (Array.isArray(asked) && asked.length > 0) return
    const result = field(payload, "result")
    const failure = this.#run.failures.get(taskId)
    if (failure !== undefined) this.#emit({ _tag: "NodeFailed", namespace, node, taskId, failure })
    else if (Predicate.isRecord(result) && Object.keys(result).length === 0)
      this.#held = { namespace, node, taskId, result }
    else this.#emit({ _tag: "NodeEnded", namespace, node, taskId, result })
  }

  #release(): void {
    const held = this.#held
    this.#held = undefined
    if (held !== undefined) this.#emit({ _tag: "NodeEnded", ...held })
  }

  /** The state as the graph gives it: of its output channels. */
  #state(): State {
    const values = this.#values
    const outputs = this.#outputs
    const picked =
      Array.isArray(outputs) && Predicate.isRecord(values)
        ? Object.fromEntries(Object.entries(values).filter(([name]) => outputs.includes(name)))
        : values
    return picked as State // of the graph's own type
  }

  end(): void {
    this.#release()
    const state = this.#state()
    if (this.#waiting) this.#emit({ _tag: "Waiting", state, interrupts: this.#interrupts })
    else this.#emit({ _tag: "Ended", state })
  }

  failed(error: unknown): void {
    const held = this.#held
    const thrown = held === undefined ? undefined : culprits(error).get(held.taskId)
    if (held !== undefined && thrown !== undefined && this.#modes.has("tasks")) {
      this.#held = undefined
      const { namespace, node, taskId } = held
      const failure: NodeFailure = describe(node, -1, Cause.fail(thrown), Failure.classify(thrown))
      this.#emit({ _tag: "NodeFailed", namespace, node, taskId, failure })
    } else this.#release()
  }
}
