/** Child processes that run our sources, watched while they live. See `child.ts` for one that simply runs to its end. */
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

export interface Exited {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface RunningProcess {
  readonly pid: number
  /** What it wrote so far, to standard output and standard error. */
  readonly output: () => string
  /** Waits until it has written a text; dies if it ends before. */
  readonly saw: (text: string) => Effect.Effect<void>
  readonly kill: (signal: NodeJS.Signals) => Effect.Effect<void>
  readonly exited: Effect.Effect<Exited>
}

const loader = new URL("./typescript.mjs", import.meta.url).href

/** Starts a TypeScript file with a bare environment plus `env`. If it still lives when the scope closes, it is killed. */
export const start = (
  file: URL,
  options: { readonly args?: ReadonlyArray<string>; readonly env?: Readonly<Record<string, string>> } = {}
): Effect.Effect<RunningProcess, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync((): RunningProcess => {
      const { PATH, HOME } = process.env
      const child = spawn(process.execPath, ["--import", loader, fileURLToPath(file), ...(options.args ?? [])], {
        env: { PATH, HOME, ...options.env },
        stdio: ["ignore", "pipe", "pipe"]
      })
      let text = ""
      const listeners = new Set<() => void>()
      const changed = () => {
        for (const listener of listeners) listener()
      }
      const add = (chunk: Buffer) => {
        text += chunk.toString("utf8")
        changed()
      }
      child.stdout.on("data", add)
      child.stderr.on("data", add)
      const closed = new Promise<Exited>((resolve) =>
        child.once("close", (code, signal) => {
          resolve({ code, signal })
          changed()
        })
      )
      return {
        pid: child.pid ?? -1,
        output: () => text,
        saw: (wanted) =>
          Effect.async((resume) => {
            const look = () => {
              if (text.includes(wanted)) resume(Effect.void)
              else if (child.exitCode !== null || child.signalCode !== null) {
                resume(Effect.dieMessage(`the process ended without "${wanted}": ${text}`))
              }
            }
            listeners.add(look)
            look()
            return Effect.sync(() => listeners.delete(look))
          }),
        kill: (signal) => Effect.sync(() => void child.kill(signal)),
        exited: Effect.promise(() => closed)
      }
    }),
    (running) => Effect.zipRight(running.kill("SIGKILL"), running.exited)
  )
