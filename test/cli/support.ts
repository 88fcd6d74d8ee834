/** The built program as a process of its own, in an empty folder, with nothing of this machine's environment. */
import { spawn } from "node:child_process"
import { readdirSync } from "node:fs"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Built from "../package/built.js"
import * as TestDatabases from "../support/databases.js"

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
  readonly millis: number
}

export interface Running {
  readonly pid: number
  readonly stderr: () => string
  /** Waits until standard error holds what is looked for; dies if the process ends before. */
  readonly saw: (wanted: RegExp) => Effect.Effect<void>
  readonly kill: (signal: NodeJS.Signals) => Effect.Effect<void>
  readonly ended: Effect.Effect<Ended>
}

export interface Options {
  readonly cwd: string
  readonly env?: Readonly<Record<string, string>>
  /** Nobody reads standard output: it is closed at once. */
  readonly deaf?: boolean
}

let bin: string | undefined

/** The executable, built once for each of the test's processes. */
const executable = (): string => {
  bin ??= join(Built.folder(), "dist/cli/bin.js")
  return bin
}

/** Starts `holdfast`. If it still lives when the scope closes, it is killed. */
export const start = (
  args: ReadonlyArray<string>,
  { cwd, deaf = false, env = {} }: Options
): Effect.Effect<Running, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync((): Running => {
      const { HOME, PATH } = process.env
      const from = performance.now()
      const child = spawn(process.execPath, [executable(), ...args], {
        cwd,
        env: { PATH, HOME, ...env },
        stdio: ["ignore", "pipe", "pipe"]
      })
      const said = { stdout: "", stderr: "" }
      const listeners = new Set<() => void>()
      child.stdout.setEncoding("utf8").on("data", (text: string) => {
        said.stdout += text
      })
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        said.stderr += text
        for (const listener of listeners) listener()
      })
      if (deaf) child.stdout.destroy()
      let over = false
      const ended = new Promise<Ended>((resolve) =>
        child.once("close", (code, signal) => {
          over = true
          resolve({ code, signal, ...said, millis: performance.now() - from })
          for (const listener of listeners) listener()
        })
      )
      return {
        pid: child.pid ?? -1,
        stderr: () => said.stderr,
        saw: (wanted) =>
          Effect.async<void>((resume) => {
            const look = () => {
              if (wanted.test(said.stderr)) resume(Effect.void)
              else if (over) resume(Effect.dieMessage(`it ended without ${wanted}: ${said.stderr}`))
            }
            listeners.add(look)
            look()
            return Effect.sync(() => listeners.delete(look))
          }),
        kill: (signal) => Effect.sync(() => void child.kill(signal)),
        ended: Effect.promise(() => ended)
      }
    }),
    (running) => Effect.zipRight(running.kill("SIGKILL"), running.ended)
  )

/** Runs `holdfast` to its end. */
export const run = (args: ReadonlyArray<string>, options: Options): Effect.Effect<Ended> =>
  Effect.scoped(Effect.flatMap(start(args, options), (running) => running.ended))

/** An empty folder to work in, removed with the scope. */
export const emptyFolder = TestDatabases.temporaryFolder

/** What lies in a folder and below. */
export const filesIn = (folder: string): ReadonlyArray<string> =>
  readdirSync(folder, { recursive: true, encoding: "utf8" }).sort()

const Failure = Schema.Struct({
  node: Schema.String,
  round: Schema.Number,
  agent: Schema.String,
  by: Schema.String,
  attempt: Schema.Number,
  errorType: Schema.String,
  message: Schema.String,
  recovery: Schema.String,
  recoveredBy: Schema.NullOr(Schema.String),
  outcome: Schema.String
})

const Span = Schema.Struct({
  traceId: Schema.String,
  spanId: Schema.String,
  parentId: Schema.optional(Schema.String),
  name: Schema.String,
  type: Schema.String,
  level: Schema.String,
  startMillis: Schema.Number,
  metadata: Schema.Record({ key: Schema.String, value: Schema.Unknown })
})

/** The parts of the JSON document that tests look at. */
export const Document = Schema.Struct({
  thread: Schema.String,
  status: Schema.Literal("done", "failed", "unfinished"),
  resumed: Schema.NullOr(Schema.Struct({ next: Schema.Array(Schema.String), ageSeconds: Schema.Number })),
  rounds: Schema.Number,
  findings: Schema.Record({ key: Schema.String, value: Schema.Unknown }),
  narrative: Schema.Unknown,
  missing: Schema.Array(Schema.Unknown),
  verdicts: Schema.Array(Schema.Unknown),
  outcome: Schema.Unknown,
  failures: Schema.Array(Failure),
  transitions: Schema.Array(
    Schema.Struct({ agent: Schema.String, from: Schema.String, to: Schema.String, failureCount: Schema.Number })
  ),
  trace: Schema.Array(Span)
})

export type Document = typeof Document.Type

/** Reads standard output as exactly one document. */
export const documentOf = ({ stderr, stdout }: Ended): Document => {
  try {
    return Schema.decodeUnknownSync(Schema.parseJson(Document))(stdout)
  } catch (error) {
    throw new Error(`no document on standard output: ${error}\n${stdout.slice(0, 500)}\n${stderr}`)
  }
}

/** Which lines of progress on standard error tell of an agent that began, by agent. */
export const startsOf = (stderr: string): Readonly<Record<string, number>> => {
  const starts: Record<string, number> = {}
  for (const [, agent] of stderr.matchAll(/^ {2}• (\w+) +running +attempt 1\/\d+ +0\.0 s$/gm)) {
    if (agent !== undefined) starts[agent] = (starts[agent] ?? 0) + 1
  }
  return starts
}
