/** Loads modules of the user's. */
import { spawnSync } from "node:child_process"
import { existsSync, statSync } from "node:fs"
import { dirname, isAbsolute, relative, resolve } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import * as Effect from "effect/Effect"
import * as ErrorInfo from "../../observability/ErrorInfo.js"
import { ModuleError } from "../ModuleError.js"
import { UsageError } from "../UsageError.js"
import * as typescript from "./typescript.js"

/** A path as it is best read from here. */
export const shown = (file: string): string => {
  const near = relative(process.cwd(), file)
  return near === "" || near.startsWith("..") || isAbsolute(near) ? file : near
}

/** Paths of this machine in a message, as they are best read. */
const readable = (text: string): string =>
  text
    .replace(/file:\/\/\/[^\s'"]+/g, (url) => {
      try {
        return shown(fileURLToPath(url))
      } catch {
        return url
      }
    })
    .replaceAll(`${process.cwd()}/`, "")

/** Where in the user's files it went wrong: the stack's first line that is of a file, but of no package. */
const placeOf = (error: Error): string | undefined => {
  const lines = (error.stack ?? "").split("\n")
  for (const line of lines) {
    const [, place] = /(file:\/\/\/[^\s)]+:\d+(?::\d+)?)/.exec(line) ?? []
    if (place === undefined || /\/node_modules\/|\/dist\/cli\//.test(place)) continue
    return readable(place)
  }
  return undefined
}

/** Node tells of a syntax error's place only to whom it prints it. Of a file that is sound itself, and imports one that is not, nothing is found. */
const checked = (file: string): string | undefined => {
  const { stderr } = spawnSync(process.execPath, ["--check", file], { encoding: "utf8", timeout: 5000 })
  const [, place] = /^(.+:\d+)$/m.exec(typeof stderr === "string" ? stderr : "") ?? []
  return place === undefined ? undefined : readable(place.startsWith("file:") ? place : pathToFileURL(place).href)
}

const broken = (file: string) => (error: unknown) => {
  const said = readable(ErrorInfo.line(ErrorInfo.make(error)))
  const inSource = error instanceof SyntaxError && /\.[cm]?js$/.test(file)
  const place = (error instanceof Error ? placeOf(error) : undefined) ?? (inSource ? checked(file) : undefined)
  const missing = /Cannot find package '([^']+)'/.exec(said)?.[1]
  const advice = missing === undefined ? "" : `; install it with \`npm install ${missing}\``
  return new ModuleError({
    file,
    message: `${shown(file)} cannot be loaded: ${said}${advice}${place === undefined || said.includes(place) ? "" : ` (at ${place})`}`,
    cause: error
  })
}

/** A module's exports. Fails with `UsageError` when there is no such file, with `ModuleError` when it does not load. */
export const load = (path: string): Effect.Effect<Readonly<Record<string, unknown>>, UsageError | ModuleError> =>
  Effect.suspend((): Effect.Effect<Readonly<Record<string, unknown>>, UsageError | ModuleError> => {
    const file = resolve(path)
    if (!existsSync(file)) return new UsageError({ message: `there is no module ${shown(file)}` })
    if (!statSync(file).isFile()) return new UsageError({ message: `${shown(file)} is no file` })
    // a JavaScript module may import TypeScript as well: where it can be had, it loads
    if (!typescript.register([dirname(file), process.cwd()]) && /\.[mc]?tsx?$/.test(file)) {
      return new ModuleError({
        file,
        message: `${shown(file)} is TypeScript, and nothing here takes the types out: \`npm install --save-dev typescript@5\`, or use Node 22.18 or later`
      })
    }
    return Effect.tryPromise({
      try: async (): Promise<Readonly<Record<string, unknown>>> => import(pathToFileURL(file).href),
      catch: broken(file)
    })
  })
