import type { RenderOptions, SpanData } from "../Trace.js"

type Style = "bold" | "dim" | "red" | "yellow" | "green" | "cyan" | "plain"

interface Segment {
  readonly text: string
  readonly style: Style
}

const codes: Record<Style, readonly [open: string, close: string]> = {
  bold: ["\u001b[1m", "\u001b[22m"],
  dim: ["\u001b[2m", "\u001b[22m"],
  red: ["\u001b[31m", "\u001b[39m"],
  yellow: ["\u001b[33m", "\u001b[39m"],
  green: ["\u001b[32m", "\u001b[39m"],
  cyan: ["\u001b[36m", "\u001b[39m"],
  plain: ["", ""]
}

interface Glyphs {
  readonly ok: string
  readonly warning: string
  readonly error: string
  readonly running: string
  readonly event: string
  readonly branch: string
  readonly last: string
  readonly trunk: string
  readonly gap: string
  readonly cut: string
  readonly arrow: string
  readonly separator: string
}

const unicode: Glyphs = {
  ok: "✓",
  warning: "▲",
  error: "✗",
  running: "○",
  event: "•",
  branch: "├─ ",
  last: "└─ ",
  trunk: "│  ",
  gap: "   ",
  cut: "…",
  arrow: "→",
  separator: "·"
}

const ascii: Glyphs = {
  ok: "+",
  warning: "!",
  error: "x",
  running: "o",
  event: "*",
  branch: "|- ",
  last: "`- ",
  trunk: "|  ",
  gap: "   ",
  cut: "...",
  arrow: "->",
  separator: "-"
}

/** @internal */
export const duration = (millis: number): string => {
  if (millis < 1) return `${millis.toFixed(1)}ms`
  if (millis < 999.5) return `${Math.round(millis)}ms`
  if (millis < 59_950) return `${(millis / 1000).toFixed(millis < 9_995 ? 2 : 1)}s`
  const seconds = Math.round(millis / 1000)
  return seconds < 3600
    ? `${Math.floor(seconds / 60)}m ${String(seconds % 60).padStart(2, "0")}s`
    : `${Math.floor(seconds / 3600)}h ${String(Math.floor((seconds % 3600) / 60)).padStart(2, "0")}m`
}

/** One line without control characters: an error's message must not move the cursor or colour the terminal. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const clean = (text: string): string => text.replace(/[\u0000-\u001f\u007f-\u009f\s]+/g, " ").trim()

const plural = (count: number, word: string): string => `${count} ${word}${count === 1 ? "" : "s"}`

/** What is worth a place on the line, by metadata key, in this order; the rest is for Langfuse. */
const details: ReadonlyArray<
  readonly [key: string, show: (value: unknown, span: SpanData, glyphs: Glyphs) => string | undefined]
> = [
  ["agent_type", (value) => text(value)],
  ["delay_seconds", (value) => number(value, (n) => (n > 0 ? `after ${duration(n * 1000)}` : undefined))],
  ["from", (value, span, glyphs) => `${text(value)} ${glyphs.arrow} ${text(span.metadata["to"])}`],
  ["circuit_state", (value) => (value === "closed" ? undefined : `circuit ${text(value)}`)],
  ["failure_count", (value) => number(value, (n) => (n > 0 ? plural(n, "failure") : undefined))],
  ["attempts_needed", (value) => number(value, (n) => (n > 1 ? `${n} attempts` : undefined))],
  ["fallback_level", (value) => number(value, (n) => (n > 0 ? `fallback ${n}` : undefined))],
  ["degradation_level", (value) => number(value, (n) => `degradation level ${n}`)],
  ["success_rate", (value) => number(value, (n) => `${Math.round(n * 100)}% succeeded`)],
  [
    "failed_agents",
    (value) => (Array.isArray(value) && value.length > 0 ? `without ${value.map(String).join(", ")}` : undefined)
  ],
  ["phase", (value) => text(value)],
  ["checkpoint_age_seconds", (value) => number(value, (n) => `${duration(n * 1000)} old`)]
]

const text = (value: unknown): string | undefined => (typeof value === "string" ? clean(value) : undefined)
const number = (value: unknown, show: (value: number) => string | undefined): string | undefined =>
  typeof value === "number" && Number.isFinite(value) ? show(value) : undefined

const title = (span: SpanData): string => {
  const { attempt, max_attempts: max } = span.metadata
  const name = clean(span.name)
  if (typeof attempt !== "number") return name
  return typeof max === "number" ? `${name} ${attempt}/${max}` : `${name} ${attempt}`
}

const line = (span: SpanData, glyphs: Glyphs): Array<Segment> => {
  const levelStyle: Style = span.level === "ERROR" ? "red" : span.level === "WARNING" ? "yellow" : "plain"
  const quiet = span.level === "DEBUG"
  const glyph: Segment =
    span.level === "ERROR"
      ? { text: glyphs.error, style: "red" }
      : span.level === "WARNING"
        ? { text: glyphs.warning, style: "yellow" }
        : span.type === "event"
          ? { text: glyphs.event, style: "cyan" }
          : span.endMillis === undefined
            ? { text: glyphs.running, style: "cyan" }
            : { text: glyphs.ok, style: quiet ? "dim" : "green" }
  const out: Array<Segment> = [
    glyph,
    {
      text: ` ${title(span)}`,
      style: quiet ? "dim" : span.type === "agent" || span.parentId === undefined ? "bold" : "plain"
    }
  ]
  if (span.type !== "event" && span.endMillis !== undefined) {
    out.push({ text: `  ${duration(Math.max(0, span.endMillis - span.startMillis))}`, style: "cyan" })
  }
  const said: Array<string> = []
  for (const [key, show] of details) {
    if (!(key in span.metadata)) continue
    const shown = show(span.metadata[key], span, glyphs)
    if (shown !== undefined && shown !== "") said.push(shown)
  }
  for (const score of span.scores) {
    if (!(score.name in span.metadata)) said.push(`${clean(score.name)} ${clean(String(score.value))}`)
  }
  if (said.length > 0) out.push({ text: `  ${said.join(` ${glyphs.separator} `)}`, style: "dim" })
  if (span.statusMessage !== undefined && span.statusMessage !== "") {
    out.push({ text: `  ${clean(span.statusMessage)}`, style: levelStyle })
  }
  return out
}

const compose = (segments: ReadonlyArray<Segment>, options: RenderOptions, glyphs: Glyphs): string => {
  const total = segments.reduce((sum, segment) => sum + Array.from(segment.text).length, 0)
  let room = total <= options.width ? total : Math.max(0, options.width - glyphs.cut.length)
  let out = ""
  for (const segment of segments) {
    if (room <= 0) break
    const characters = Array.from(segment.text)
    const shown = characters.length <= room ? segment.text : characters.slice(0, room).join("")
    room -= Math.min(room, characters.length)
    const [open, close] = codes[segment.style]
    out += options.color && open !== "" ? open + shown + close : shown
  }
  return total <= options.width ? out : out + glyphs.cut.slice(0, Math.max(0, options.width))
}

/** @internal */
export const render = (spans: ReadonlyArray<SpanData>, options: RenderOptions): string => {
  const glyphs = options.ascii === true ? ascii : unicode
  const known = new Set(spans.map((span) => span.spanId))
  const children = new Map<string, Array<SpanData>>()
  const roots: Array<SpanData> = []
  for (const span of spans) {
    if (span.parentId === undefined || !known.has(span.parentId) || span.parentId === span.spanId) {
      roots.push(span)
      continue
    }
    const siblings = children.get(span.parentId)
    if (siblings === undefined) children.set(span.parentId, [span])
    else siblings.push(span)
  }
  const byStart = (a: SpanData, b: SpanData): number => a.startMillis - b.startMillis
  const lines: Array<string> = []
  // a stack instead of recursion: depth is the user's
  const stack: Array<{ readonly span: SpanData; readonly lead: string; readonly below: string }> = []
  const push = (siblings: Array<SpanData>, below: string, root: boolean): void => {
    siblings.sort(byStart)
    for (let index = siblings.length - 1; index >= 0; index--) {
      const span = siblings[index]
      if (span === undefined) continue
      const last = index === siblings.length - 1
      stack.push({
        span,
        lead: root ? "" : below + (last ? glyphs.last : glyphs.branch),
        below: root ? "" : below + (last ? glyphs.gap : glyphs.trunk)
      })
    }
  }
  push(roots, "", true)
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    lines.push(compose([{ text: next.lead, style: "dim" }, ...line(next.span, glyphs)], options, glyphs))
    push(children.get(next.span.spanId) ?? [], next.below, false)
  }
  return lines.join("\n")
}
