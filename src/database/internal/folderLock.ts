/**
 * One holder a folder, among processes: a file made by `link`, which fails when the name is taken, and which appears with its content. It
 * names its holder, so that a dead one's can be taken over.
 *
 * Taking over must not race: of many who see the same dead holder, one may succeed. Each file carries a token of its own; the claim to be
 * the heir of token T is again a `link`, to `T.heir`, which one can make. The heir, once it has seen that the lock is still T's, puts its own
 * file in T's place by `rename`. An heir that died on the way has an heir in the same manner.
 */
import { randomUUID } from "node:crypto"
import { linkSync, readFileSync, renameSync, rmSync, unlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Either from "effect/Either"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as ProcessIdentity from "./processIdentity.js"

const Holder = Schema.Struct({
  token: Schema.String.pipe(Schema.pattern(/^[\w-]{1,64}$/)),
  pid: Schema.Int,
  host: Schema.String,
  started: Schema.optional(Schema.String)
})

export type Holder = typeof Holder.Type

export interface FolderLock {
  readonly holder: Holder
  readonly release: () => void
}

const decode = Schema.decodeUnknownEither(Schema.parseJson(Holder))

const hasCode = (error: unknown, code: string): boolean => Predicate.hasProperty(error, "code") && error.code === code

/** Who is named in a file: `undefined` when there is no file, `"unreadable"` when it holds no name. */
const read = (file: string): Holder | "unreadable" | undefined => {
  try {
    return Either.getOrElse(decode(readFileSync(file, "utf8")), () => "unreadable" as const)
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined
    throw error
  }
}

/** Whether the name was free and is now this file's. */
const claim = (own: string, name: string): boolean => {
  try {
    linkSync(own, name)
    return true
  } catch (error) {
    if (hasCode(error, "EEXIST")) return false
    throw error
  }
}

const lives = (holder: Holder): boolean => ProcessIdentity.lives({ ...holder, started: holder.started })

const isOf = (file: string, token: string): boolean => {
  const found = read(file)
  return typeof found === "object" && found.token === token
}

/** One try: the lock is ours, someone living has it, or the picture changed while we looked. */
const attempt = (
  folder: string,
  lock: string,
  own: string
): "held" | "changed" | { readonly holder: Holder | undefined } => {
  if (claim(own, lock)) return "held"
  const first = read(lock)
  if (first === undefined) return "changed"
  if (first === "unreadable") return { holder: undefined }
  const chain: Array<string> = []
  let dead = first
  while (true) {
    if (lives(dead)) return { holder: dead }
    const heir = join(folder, `${dead.token}.heir`)
    if (claim(own, heir)) {
      // had another heir been here before and gone, the lock would no longer be the first one's
      if (!isOf(lock, first.token)) {
        unlinkSync(heir)
        return "changed"
      }
      renameSync(own, lock)
      // in this order: whoever claims a name that is free again finds the lock changed
      for (const name of [...chain, heir]) rmSync(name, { force: true })
      return "held"
    }
    chain.push(heir)
    const next = read(heir)
    if (next === undefined) return "changed"
    if (next === "unreadable") return { holder: undefined }
    dead = next
  }
}

/**
 * Takes the lock `name` of an existing folder, or says who has it; `undefined` when the lock's file names nobody. Synchronous: it takes well
 * under a millisecond.
 */
export const acquire = (folder: string, name: string): FolderLock | { readonly holder: Holder | undefined } => {
  const lock = join(folder, name)
  const self = ProcessIdentity.current()
  const token = randomUUID()
  const holder: Holder = {
    token,
    pid: self.pid,
    host: self.host,
    ...(self.started === undefined ? {} : { started: self.started })
  }
  const own = join(folder, `${token}.claim`)
  writeFileSync(own, JSON.stringify(holder), { flag: "wx" })
  try {
    while (true) {
      const outcome = attempt(folder, lock, own)
      if (outcome === "changed") continue
      if (outcome !== "held") return outcome
      return {
        holder,
        release: () => {
          if (isOf(lock, token)) unlinkSync(lock)
        }
      }
    }
  } finally {
    rmSync(own, { force: true })
  }
}
