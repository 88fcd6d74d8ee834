/**
 * What the agents are doing, while they do it: a line each, redrawn in place in a terminal, and a line a change elsewhere. Read off the spans as they
 * start and end, so that it shows what the trace will.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Trace from "../observability/Trace.js"
import * as terminal from "./internal/terminal.js"

type Phase = "running" | "retrying" | "done" | "fallback" | "failed" | "interrupted"

interface Row {
  readonly agent: string
  readonly startMillis: number
  phase: Phase
  attempt: number
  maxAttempts: number | undefined
  note: string
  endMillis: number | undefined
}

const glyphs: Readonly<Record<Phase, readonly [glyph: string, style: terminal.Style]>> = {
  running: ["•", "cyan"],
  retrying: ["↻", "yellow"],
  done: ["✓", "green"],
  fallback: ["▲", "yellow"],
  failed: ["✗", "red"],
  interrupted: ["■", "yellow"]
}

const nameWidth = 14
/** What a row in columns takes; in a terminal that is narrower its parts stand close. */
const rowWidth = 51

const line = (row: Row, nowMillis: number, width: number, paint: terminal.Paint): string => {
  const [glyph, style] = glyphs[row.phase]
  const seconds = `${(Math.max(0, (row.endMillis ?? nowMillis) - row.startMillis) / 1000).toFixed(1)} s`
  const tries = `${row.attempt}${row.maxAttempts === undefined ? "" : `/${row.maxAttempts}`}`
  if (width < rowWidth) {
    return `  ${paint(style, glyph)} ${terminal.cut(`${row.agent} ${row.phase} ${tries} ${seconds}`, width - 4)}`
  }
  const attempt = `attempt ${tries}`
  const head = `${row.agent.padEnd(nameWidth)} ${row.phase.padEnd(11)} ${attempt.padEnd(12)} ${seconds.padStart(7)}`
  const room = width - head.length - 6
  const note = row.note === "" || room < 8 ? "" : `  ${terminal.cut(row.note.replace(/\s+/g, " "), room)}`
  return `  ${paint(style, glyph)} ${head}${paint("dim", note)}`
}

/** Follows spans and says which row changed. */
const makeRows = () => {
  const rows = new Map<string, Row>()
  /** The agent span above each execution and attempt. */
  const agentOf = new Map<string, string>()
  const bySpan = new Map<string, Row>()

  const take = ({ _tag, span }: Trace.TraceEvent): Row | undefined => {
    if (span.type === "agent") {
      if (_tag === "Started") return start(span)
      return _tag === "Ended" ? end(span) : undefined
    }
    const agentSpan = span.parentId === undefined ? undefined : (agentOf.get(span.parentId) ?? span.parentId)
    const row = agentSpan === undefined ? undefined : bySpan.get(agentSpan)
    if (agentSpan === undefined || row === undefined) return undefined
    agentOf.set(span.spanId, agentSpan)
    if (span.name !== "attempt") return undefined
    const before = row.phase
    const note = row.note
    const attempt = row.attempt
    attempted(row, span, _tag)
    return before === row.phase && note === row.note && attempt === row.attempt ? undefined : row
  }

  const start = (span: Trace.SpanData): Row => {
    const agent = span.name.replace(/^agent_/, "")
    const maxAttempts = span.metadata["max_attempts"]
    const row: Row = {
      agent,
      startMillis: span.startMillis,
      phase: "running",
      attempt: 1,
      maxAttempts: typeof maxAttempts === "number" ? maxAttempts : undefined,
      note: "",
      endMillis: undefined
    }
    rows.set(agent, row)
    bySpan.set(span.spanId, row)
    agentOf.set(span.spanId, span.spanId)
    return row
  }

  const attempted = (row: Row, span: Trace.SpanData, tag: Trace.TraceEvent["_tag"]): void => {
    const number = span.metadata["attempt"]
    const most = span.metadata["max_attempts"]
    if (typeof number === "number") row.attempt = number
    if (typeof most === "number") row.maxAttempts = most
    if (tag !== "Ended") return
    if (span.level === "WARNING") row.phase = "retrying"
    if (span.level === "WARNING" || span.level === "ERROR") row.note = span.statusMessage ?? ""
  }

  const end = (span: Trace.SpanData): Row | undefined => {
    const row = bySpan.get(span.spanId)
    if (row === undefined) return undefined
    row.endMillis = span.endMillis
    const level = typeof span.metadata["fallback_level"] === "number" ? span.metadata["fallback_level"] : 0
    row.phase =
      span.level === "ERROR"
        ? "failed"
        : span.statusMessage === "interrupted"
          ? "interrupted"
          : level > 0
            ? "fallback"
            : "done"
    // a retry that worked needs no more words
    row.note = row.phase === "done" ? "" : (span.statusMessage ?? row.note)
    bySpan.delete(span.spanId)
    return row
  }

  return { take, all: () => [...rows.values()] }
}

/** One line a change. */
const plain = (stream: NodeJS.WriteStream): ((event: Trace.TraceEvent) => void) => {
  const rows = makeRows()
  const paint = terminal.painter(terminal.hasColor(stream))
  return (event) => {
    const row = rows.take(event)
    // what is not a terminal has no width: the whole message is kept
    if (row !== undefined) stream.write(`${line(row, event.span.endMillis ?? event.span.startMillis, 400, paint)}\n`)
  }
}

/** One line an agent, redrawn. What others write to the stream meanwhile stands above. */
const redrawn = (stream: NodeJS.WriteStream): Effect.Effect<(event: Trace.TraceEvent) => void, never, Scope.Scope> =>
  Effect.gen(function* () {
    const rows = makeRows()
    const paint = terminal.painter(terminal.hasColor(stream))
    const write = stream.write.bind(stream)
    let drawn = 0
    const erase = () => {
      if (drawn > 0) write(`\u001b[${drawn}A\u001b[0J`)
      drawn = 0
    }
    const draw = () => {
      const now = Date.now()
      // more agents than lines could not be erased again: the newest are shown
      const all = rows.all().slice(-Math.max(1, (stream.rows ?? 24) - 2))
      erase()
      write(all.map((row) => `${line(row, now, terminal.widthOf(stream), paint)}\n`).join(""))
      drawn = all.length
    }
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        stream.write = ((...args: Parameters<typeof write>) => {
          erase()
          const written = write(...args)
          draw()
          return written
        }) as typeof stream.write // the overloads are the original's: it is what is called
      }),
      () =>
        Effect.sync(() => {
          stream.write = write
        })
    )
    yield* Effect.addFinalizer(() => Effect.sync(draw))
    yield* Effect.forkScoped(
      Effect.forever(Effect.delay(Effect.sync(draw), Duration.millis(100))).pipe(Effect.withTracerEnabled(false))
    )
    return (event) => void rows.take(event)
  })

/**
 * Shows progress on a stream, such as standard error, until the scope closes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const show = (stream: NodeJS.WriteStream): Effect.Effect<void, never, Trace.Recorder | Scope.Scope> =>
  Effect.gen(function* () {
    const recorder = yield* Trace.Recorder
    yield* recorder.subscribe(terminal.canRedraw(stream) ? yield* redrawn(stream) : plain(stream))
  })
