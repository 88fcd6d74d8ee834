/** Which process is it, and does it still live? A pid alone is given to another process sooner or later. */
import { execFileSync } from "node:child_process"
import { readFileSync, readlinkSync } from "node:fs"
import { hostname } from "node:os"
import * as Predicate from "effect/Predicate"

export interface ProcessIdentity {
  readonly pid: number
  readonly host: string
  /** When it began, in whatever form the system tells; `undefined` where it does not. */
  readonly started: string | undefined
}

const bootId = (): string => readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim()

/** What Linux says of a process: the fields from the third on, its state. The name, field 2, is in brackets and may hold anything. */
const statOf = (pid: number): ReadonlyArray<string> => {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1")
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")
}

/**
 * Within what a pid means this process: machines and containers may share a host's name. `undefined` where the system does not tell.
 */
export const space = (): string | undefined => {
  try {
    return process.platform === "linux" ? `${bootId()}/${readlinkSync("/proc/self/ns/pid")}` : undefined
  } catch {
    return undefined
  }
}

/** Whether a process has ended, and only its parent has not asked yet how. */
const isZombie = (pid: number): boolean => {
  try {
    return process.platform === "linux" && ["Z", "X"].includes(statOf(pid)[0] ?? "")
  } catch {
    return false
  }
}

/** When a process began: on Linux its start tick and the boot it belongs to, elsewhere what `ps` says. */
const startOf = (pid: number): string | undefined => {
  try {
    if (process.platform === "linux") {
      return `${bootId()}/${statOf(pid)[19]}`
    }
    if (process.platform === "win32") return undefined
    const line = execFileSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8", timeout: 5000 }).trim()
    return line === "" ? undefined : line
  } catch {
    return undefined
  }
}

export const current = (): ProcessIdentity => ({ pid: process.pid, host: hostname(), started: startOf(process.pid) })

/** Whether the process lives. One on another host cannot be asked: it is taken to live. */
export const lives = (identity: ProcessIdentity): boolean => {
  if (identity.host !== hostname()) return true
  try {
    process.kill(identity.pid, 0)
  } catch (error) {
    // EPERM: it is there, and someone else's
    if (!Predicate.hasProperty(error, "code") || error.code !== "EPERM") return false
  }
  if (isZombie(identity.pid)) return false
  if (identity.started === undefined) return true
  const started = startOf(identity.pid)
  return started === undefined || started === identity.started
}
