import { type ChildProcess, spawn } from "node:child_process"
import { fileURLToPath } from "node:url"

/** What a program left behind. */
export interface Finished {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
  readonly millis: number
}

const runner = fileURLToPath(new URL("../../node_modules/vite-node/vite-node.mjs", import.meta.url))

/**
 * Runs a TypeScript file as a process of its own and gathers all it writes. The environment is `env` on top of a bare one: no variable of the
 * machine's that our code reads gets in. It is killed after a minute.
 */
export const runFile = (file: URL, env: Readonly<Record<string, string>> = {}): Promise<Finished> => {
  const started = performance.now()
  const { PATH, HOME } = process.env
  return new Promise((resolve, reject) => {
    const child: ChildProcess = spawn(process.execPath, [runner, fileURLToPath(file)], {
      env: { ...(PATH === undefined ? {} : { PATH }), ...(HOME === undefined ? {} : { HOME }), ...env },
      stdio: ["ignore", "pipe", "pipe"]
    })
    const chunks = { stdout: [] as Buffer[], stderr: [] as Buffer[] }
    child.stdout?.on("data", (chunk: Buffer) => chunks.stdout.push(chunk))
    child.stderr?.on("data", (chunk: Buffer) => chunks.stderr.push(chunk))
    const killer = setTimeout(() => child.kill("SIGKILL"), 60_000)
    child.once("error", reject)
    child.once("close", (code, signal) => {
      clearTimeout(killer)
      resolve({
        code,
        signal,
        stdout: Buffer.concat(chunks.stdout).toString("utf8"),
        stderr: Buffer.concat(chunks.stderr).toString("utf8"),
        millis: performance.now() - started
      })
    })
  })
}
