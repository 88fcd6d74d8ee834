/**
 * `holdfast doctor`: whether what is set up works, and what became of the observations.
 *
 * @since 0.1.0
 */
import { existsSync } from "node:fs"
import { join } from "node:path"
import type * as SqlClient from "@effect/sql/SqlClient"
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Database from "../../database/Database.js"
import * as Langfuse from "../../langfuse/Langfuse.js"
import * as Failure from "../Failure.js"
import * as terminal from "../internal/terminal.js"
import * as layers from "../layers.js"
import type { Settings } from "../Settings.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface DoctorOptions {
  /** Deliver first what waits. */
  readonly deliver: boolean
  readonly json: boolean
}

interface Finding {
  readonly check: Langfuse.Finding["check"] | "settings" | "database" | "outbox"
  readonly status: Langfuse.Finding["status"]
  readonly message: string
}

const marks = { ok: "✓", warning: "▲", problem: "✗" } as const

type Opened = Context.Context<SqlClient.SqlClient | Database.Info>

interface Storage {
  readonly finding: Finding
  readonly context: Opened | undefined
}

/** Opens the database, if there is one already; what cannot be opened is a finding. */
const openDatabase = ({ database }: Settings): Effect.Effect<Storage, never, Scope.Scope> => {
  const finding = (status: Finding["status"], message: string, context?: Opened): Storage => ({
    finding: { check: "database", status, message },
    context
  })
  if (database.url === undefined && database.dataDir !== undefined && layers.isEmpty(database.dataDir)) {
    return Effect.succeed(finding("ok", `nothing is stored yet; the first run makes it in ${database.dataDir}`))
  }
  return Effect.match(Database.make(database), {
    onSuccess: (context) => {
      const { kind, location } = Context.get(context, Database.Info)
      return finding("ok", kind === "postgres" ? location : `embedded in ${location}`, context)
    },
    // a run that is on its way has it: no harm, but what waits there cannot be seen
    onFailure: (error) =>
      finding(
        error._tag === "DatabaseError" && error.reason === "FolderInUse" ? "warning" : "problem",
        Failure.message(error)
      )
  })
}

/** With the database in the context, if it is open. */
const withDatabase = <A, E>(self: Effect.Effect<A, E>, { context }: Storage): Effect.Effect<A, E> =>
  context === undefined ? self : Effect.provide(self, context)

/** What programs without a database have left. */
const inFolder = (
  settings: Settings
): Effect.Effect<ReadonlyArray<Langfuse.DeliverySummary>, Cause.UnknownException> => {
  const folder = join(settings.database.dataDir ?? ".holdfast", "outbox")
  return existsSync(folder) ? Langfuse.deliveries({ folder }) : Effect.succeed([])
}

const plural = (count: number, kind: Langfuse.DeliverySummary["kind"]): string =>
  `${count} ${count === 1 ? kind.slice(0, -1) : kind}`

const age = (since: Date): string => {
  const seconds = Math.max(0, Math.round((Date.now() - since.getTime()) / 1000))
  if (seconds < 120) return `${seconds} s`
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`
  return seconds < 172_800 ? `${Math.round(seconds / 3_600)} h` : `${Math.round(seconds / 86_400)} days`
}

const itemsOf = ({ waiting }: Langfuse.DeliverySummary): number => waiting.reduce((sum, { items }) => sum + items, 0)

const outboxFindings = (
  found: ReadonlyArray<Langfuse.DeliverySummary>,
  options: Option.Option<Langfuse.Options>
): ReadonlyArray<Finding> => {
  const own = Option.getOrUndefined(options)?.publicKey
  const findings = found.flatMap((summary): ReadonlyArray<Finding> => {
    const { bytes, kind, oldest, problem, refusals, target, waiting } = summary
    const out: Array<Finding> = []
    const items = itemsOf(summary)
    if (items > 0 && oldest !== undefined) {
      const why = problem === undefined ? "" : `; the last attempt: ${problem}`
      const message = `${plural(items, kind)} wait for ${target}, the oldest for ${age(oldest)} (${Math.ceil(bytes / 1024)} KB)${why}. The next run delivers them, or: holdfast doctor --deliver`
      out.push({ check: "outbox", status: "warning", message })
    }
    for (const { account, items } of waiting) {
      if (account === "" || account === own) continue
      const message = `${plural(items, kind)} of these wait for the keys of ${account}, which are not set here`
      out.push({ check: "outbox", status: "warning", message })
    }
    for (const { id, name, reason } of refusals.slice(0, 10)) {
      const message = `${target} refused ${kind.slice(0, -1)} "${name}" (${id}): ${reason}`
      out.push({ check: "outbox", status: "warning", message })
    }
    return out
  })
  return findings.length > 0 ? findings : [{ check: "outbox", status: "ok", message: "empty: nothing waits" }]
}

const table = (rows: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<string> => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join("  ")
      .trimEnd()
  )
}

const text = (findings: ReadonlyArray<Finding>, found: ReadonlyArray<Langfuse.DeliverySummary>): string => {
  const lines = findings.map(({ check, message, status }) => `${marks[status]} ${check.padEnd(8)}  ${message}`)
  if (found.length === 0) return lines.join("\n")
  const rows = found.map((summary) => [
    `${summary.kind} to ${summary.target}`,
    ...[summary.queued, summary.sent, itemsOf(summary), summary.refused, summary.lost].map(String)
  ])
  return [...lines, "", ...table([["DELIVERY", "QUEUED", "SENT", "STORED", "REFUSED", "LOST"], ...rows])].join("\n")
}

/** Langfuse's layer sends what waits when it is flushed; here it finds the database if that is open. */
const deliver = (options: Langfuse.Options) =>
  Effect.provide(Langfuse.flush, Langfuse.layerWith(options)).pipe(Effect.withTracerEnabled(false))

/**
 * Checks what is set up against what is there, and shows what became of the observations. The exit code is 1 if something is wrong.
 *
 * @since 0.1.0
 * @category commands
 */
export const doctor = (settings: Settings, options: DoctorOptions) =>
  Effect.gen(function* () {
    const { langfuse } = settings
    const findings: Array<Finding> = [{ check: "settings", status: "ok", message: "every variable is well-formed" }]
    const storage = yield* openDatabase(settings)
    findings.push(storage.finding)
    // copies alone go nowhere
    if (Option.isNone(langfuse) || (langfuse.value.publicKey === undefined && langfuse.value.otlp === undefined)) {
      const message = "off: LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are not set"
      findings.push({ check: "langfuse", status: "ok", message })
    } else {
      findings.push(...(yield* Langfuse.diagnose(langfuse.value)))
      if (options.deliver) yield* withDatabase(deliver(langfuse.value), storage)
    }
    const stored = [
      ...(storage.context === undefined ? [] : yield* withDatabase(Langfuse.deliveries(), storage)),
      ...(yield* inFolder(settings))
    ]
    findings.push(...outboxFindings(stored, langfuse))
    if (findings.some(({ status }) => status === "problem")) process.exitCode = 1
    const document = { findings, delivery: stored.map((each) => ({ ...each, stored: itemsOf(each) })) }
    yield* terminal.write(
      process.stdout,
      `${options.json ? JSON.stringify(document, null, 2) : text(findings, stored)}\n`
    )
  }).pipe(Effect.scoped, Effect.provide(layers.logging(settings)))
