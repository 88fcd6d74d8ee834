/**
 * What a run of a graph says while it goes on: a line an event, for a person or, as JSON, for a program.
 *
 * @since 0.1.0
 */
import * as ErrorInfo from "../observability/ErrorInfo.js"
import * as json from "./internal/json.js"
import * as terminal from "./internal/terminal.js"

/**
 * A question that a node asked with `interrupt()`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Question {
  /** By which an answer is given, where there are several. */
  readonly id: string | undefined
  readonly node: string
  /** What `interrupt()` was given. */
  readonly value: unknown
}

/**
 * An event. Each is one line of NDJSON: `type` and its fields, `namespace` only in a subgraph.
 *
 * - `start`: the run begins. `node`: a node has begun, is tried again, has ended or failed. `result`: where the thread stands then; always the last.
 * - `update`, `token`, `custom`: with `--stream`, what a node has written, a model has said, or a node's `writer` was given.
 * - `interrupt`: a question. `failure`: what the run failed with.
 *
 * @since 0.1.0
 * @category models
 */
export type Event =
  | { readonly type: "start"; readonly thread: string; readonly program: string; readonly resumed: boolean }
  | {
      readonly type: "node"
      readonly node: string
      readonly phase: "started" | "retrying" | "ended" | "failed"
      readonly seconds?: number
      readonly message?: string
      readonly namespace?: ReadonlyArray<string>
    }
  | {
      readonly type: "update"
      readonly node: string
      readonly update: unknown
      readonly namespace?: ReadonlyArray<string>
    }
  | { readonly type: "token"; readonly node: string; readonly text: string; readonly namespace?: ReadonlyArray<string> }
  | { readonly type: "custom"; readonly data: unknown; readonly namespace?: ReadonlyArray<string> }
  | ({ readonly type: "interrupt" } & Question)
  | { readonly type: "failure"; readonly node?: string | undefined; readonly error: ErrorInfo.ErrorInfo }
  | {
      readonly type: "result"
      readonly thread: string
      readonly status: "done" | "waiting" | "failed" | "stopped"
      readonly next: ReadonlyArray<string>
      readonly state: unknown
    }

/**
 * Where events go.
 *
 * @since 0.1.0
 * @category models
 */
export interface Sink {
  readonly emit: (event: Event) => void
}

/**
 * Every event as a line of JSON on standard output.
 *
 * @since 0.1.0
 * @category sinks
 */
export const lines = (stream: NodeJS.WriteStream): Sink => ({
  emit: (event) => void stream.write(`${json.show(event)}\n`)
})

const glyphs = {
  started: ["•", "cyan"],
  ended: ["✓", "green"],
  failed: ["✗", "red"],
  retrying: ["↻", "yellow"]
} as const

const place = (event: { readonly node: string; readonly namespace?: ReadonlyArray<string> }): string =>
  [...(event.namespace ?? []).map((part) => part.split(":")[0] ?? part), event.node].join(" / ")

/**
 * Progress on one stream; what was asked for, the state, updates and tokens, on the other.
 *
 * @since 0.1.0
 * @category sinks
 */
export const text = (
  out: NodeJS.WriteStream,
  progress: NodeJS.WriteStream,
  advice: (thread: string, status: "waiting" | "failed" | "stopped") => string
): Sink => {
  const paint = terminal.painter(terminal.hasColor(progress))
  const bold = terminal.painter(terminal.hasColor(out))
  /** Who is speaking: a line of tokens stands open. */
  let speaker: string | undefined
  const close = () => {
    if (speaker !== undefined) out.write("\n")
    speaker = undefined
  }
  const note = (line: string) => {
    close()
    progress.write(`${line}\n`)
  }
  const emit = (event: Event): void => {
    switch (event.type) {
      case "start":
        note(paint("dim", `  thread ${event.thread}, ${event.resumed ? "going on with" : "running"} ${event.program}`))
        return
      case "node": {
        const [glyph, style] = glyphs[event.phase]
        const took = event.seconds === undefined ? "" : `  ${event.seconds.toFixed(1)} s`
        const why = event.message === undefined ? "" : `  ${event.message.replace(/\s+/g, " ")}`
        note(`  ${paint(style, glyph)} ${place(event)} ${paint("dim", `${event.phase}${took}${why}`)}`)
        return
      }
      case "token": {
        const from = place(event)
        if (speaker !== from) {
          close()
          out.write(`${bold("dim", `${from}:`)} `)
          speaker = from
        }
        out.write(event.text)
        return
      }
      case "update":
        close()
        out.write(`${bold("dim", `${place(event)} wrote`)} ${json.show(event.update)}\n`)
        return
      case "custom":
        close()
        out.write(`${json.show(event.data)}\n`)
        return
      case "interrupt":
        close()
        out.write(
          `${event.node} asks${event.id === undefined ? "" : bold("dim", ` (${event.id})`)}: ${json.show(event.value, 2)}\n`
        )
        return
      case "failure":
        note(
          `  ${paint("red", "✗")} ${event.node === undefined ? "" : `${event.node}: `}${ErrorInfo.line(event.error)}`
        )
        return
      case "result":
        close()
        if (event.status === "done") out.write(`${json.show(event.state, 2)}\n`)
        else note(advice(event.thread, event.status))
        return
    }
  }
  return { emit }
}
