import { createHash, randomUUID } from "node:crypto"
import { appendFile, mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises"
import { dirname, join } from "node:path"
import * as Either from "effect/Either"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as FolderLock from "../../database/internal/folderLock.js"
import { type Bounds, type Lane, type Parcel, pack, type Refusal, type Store, type Summary, unpack } from "./outbox.js"

/** One file of a lane: `<time>-<number>-<writer>-<items>-<account>.gz`, which sort by age. */
interface FileName {
  readonly name: string
  readonly time: number
  readonly items: number
  readonly account: string
}

const parcelPattern = /^(\d{15})-\d{8}-[0-9a-f]{8}-(\d+)-([\w.-]*)\.gz$/

const parcelOf = (name: string): FileName | undefined => {
  const [, time, items, account] = parcelPattern.exec(name) ?? []
  if (time === undefined || items === undefined || account === undefined) return undefined
  return { name, time: Number(time), items: Number(items), account }
}

/** An account as part of a file's name. */
const accountName = (account: string): string => account.replace(/[^\w.-]/g, "_").slice(0, 100)

const hash = (text: string): string => createHash("sha256").update(text).digest("hex").slice(0, 16)

/** Copies are beside the lanes: `copies/<time>-<number>-<writer>.gz`. */
const copiesName = "copies"
const copyPattern = /^(\d{15})-\d{8}-[0-9a-f]{8}\.gz$/

const laneFile = "lane.json"
const figuresFile = "figures.ndjson"
const lockName = "deliverer"
/** When the lines of the figures become one. */
const maxFigures = 262_144
const evictMillis = 60_000

const LaneName = Schema.Struct({ kind: Schema.Literal("observations", "scores"), target: Schema.String })
const FiguresLine = Schema.Struct({
  sent: Schema.Number,
  refused: Schema.Number,
  lost: Schema.Number,
  /** Absent: as before. */
  queued: Schema.optional(Schema.Number),
  /** Absent: as before. */
  problem: Schema.optional(Schema.NullOr(Schema.String))
})
const RefusalFile = Schema.Struct({
  id: Schema.String,
  name: Schema.String,
  reason: Schema.String,
  at: Schema.Number
})

const decode = <A, I>(schema: Schema.Schema<A, I>, text: string): A | undefined =>
  Either.getOrUndefined(Schema.decodeUnknownEither(Schema.parseJson(schema))(text))

const isMissing = (error: unknown): boolean => Predicate.hasProperty(error, "code") && error.code === "ENOENT"

const orElse = async <A>(promise: Promise<A>, value: A): Promise<A> => {
  try {
    return await promise
  } catch (error) {
    if (isMissing(error)) return value
    throw error
  }
}

/** A file that is there with its content, or not at all. */
const writeWhole = async (folder: string, name: string, content: string | Uint8Array): Promise<void> => {
  const temporary = join(folder, `${randomUUID()}.tmp`)
  try {
    await writeFile(temporary, content, { flag: "wx" })
    await rename(temporary, join(folder, name))
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {})
    throw error
  }
}

const sum = (lines: string): typeof FiguresLine.Type => {
  let all: typeof FiguresLine.Type = { sent: 0, refused: 0, lost: 0 }
  for (const line of lines.split("\n")) {
    const next = decode(FiguresLine, line)
    if (next === undefined) continue
    all = {
      queued: next.queued ?? all.queued,
      problem: next.problem === undefined ? all.problem : next.problem,
      sent: all.sent + next.sent,
      refused: all.refused + next.refused,
      lost: all.lost + next.lost
    }
  }
  return all
}

const writer = hash(randomUUID()).slice(0, 8)
let number = 0

/** Names sort by age. */
const newName = (): string => `${`${Date.now()}`.padStart(15, "0")}-${`${number++ % 1e8}`.padStart(8, "0")}-${writer}`

/**
 * An outbox in a folder: a folder a lane, a file a parcel. Made when something is put. What was written survives the death of the process;
 * nothing is flushed for a power cut.
 *
 * @internal
 */
export const make = (folder: string, bounds: Bounds): Store => {
  const locks = new Map<string, FolderLock.FolderLock>()
  let total: number | undefined
  let evictedAt = Number.NEGATIVE_INFINITY
  let copiesEvictedAt = Number.NEGATIVE_INFINITY

  const folderOf = ({ kind, target }: Pick<Lane, "kind" | "target">): string => join(folder, `${kind}-${hash(target)}`)

  const open = async (lane: Lane): Promise<string> => {
    const at = folderOf(lane)
    await mkdir(at, { recursive: true })
    try {
      await stat(join(at, laneFile))
    } catch {
      await writeWhole(at, laneFile, JSON.stringify({ kind: lane.kind, target: lane.target }))
    }
    return at
  }

  const names = async (at: string): Promise<ReadonlyArray<string>> => (await orElse(readdir(at), [])).sort()

  const parcels = async (at: string): Promise<ReadonlyArray<FileName>> =>
    (await names(at)).flatMap((name) => parcelOf(name) ?? [])

  const mine = async (lane: Lane, at: string): Promise<ReadonlyArray<FileName>> =>
    (await parcels(at)).filter(({ account }) => account === "" || account === accountName(lane.account))

  const sizeOf = async (file: string): Promise<number> => (await orElse(stat(file), undefined))?.size ?? 0

  const evict = async (): Promise<void> => {
    evictedAt = performance.now()
    const lanes = (await names(folder)).map((name) => join(folder, name))
    const files: Array<FileName & { readonly at: string; readonly size: number }> = []
    for (const at of lanes) {
      for (const name of await orElse(names(at), [])) {
        const parcel = parcelOf(name)
        const file = join(at, name)
        if (parcel !== undefined) files.push({ ...parcel, at: file, size: await sizeOf(file) })
        else if (name.startsWith("refused-") || name.endsWith(".tmp")) {
          const modified = (await orElse(stat(file), undefined))?.mtimeMs ?? Date.now()
          if (modified < Date.now() - bounds.maxAgeMillis) await rm(file, { force: true })
        }
      }
    }
    files.sort((a, b) => a.time - b.time)
    total = files.reduce((bytes, { size }) => bytes + size, 0)
    const evicted = new Map<string, number>()
    for (const { at, items, size, time } of files) {
      if (total <= bounds.maxBytes && time >= Date.now() - bounds.maxAgeMillis) break
      await rm(at, { force: true })
      total -= size
      evicted.set(dirname(at), (evicted.get(dirname(at)) ?? 0) + items)
    }
    for (const [at, items] of evicted) {
      await appendFile(join(at, figuresFile), `${JSON.stringify({ sent: 0, refused: 0, lost: items })}\n`)
      const lane = decode(LaneName, await readFile(join(at, laneFile), "utf8"))
      if (lane !== undefined) bounds.onEvicted(lane, items)
    }
  }

  const copies = join(folder, copiesName)

  const evictCopies = async (keepMillis: number): Promise<void> => {
    copiesEvictedAt = performance.now()
    let bytes = 0
    for (const name of [...(await names(copies))].reverse()) {
      const time = Number(copyPattern.exec(name)?.[1])
      // what is being written, or was when its writer died
      if (Number.isNaN(time)) continue
      bytes += await sizeOf(join(copies, name))
      if (bytes > bounds.maxBytes || time < Date.now() - keepMillis) await rm(join(copies, name), { force: true })
    }
  }

  const hold = (at: string): boolean => {
    if (locks.has(at)) return true
    const lock = FolderLock.acquire(at, lockName)
    if (!("release" in lock)) return false
    locks.set(at, lock)
    return true
  }

  const summary = async (at: string): Promise<Summary | undefined> => {
    const text = await readFile(join(at, laneFile), "utf8").catch(() => "")
    const lane = decode(LaneName, text)
    if (lane === undefined) return undefined
    const files = await parcels(at)
    const accounts = new Map<string, number>()
    let bytes = 0
    for (const { account, items, name } of files) {
      accounts.set(account, (accounts.get(account) ?? 0) + items)
      bytes += await sizeOf(join(at, name))
    }
    const refusals: Array<Refusal & { readonly at: Date }> = []
    for (const name of await names(at)) {
      if (!name.startsWith("refused-")) continue
      const refusal = decode(RefusalFile, await orElse(readFile(join(at, name), "utf8"), ""))
      if (refusal !== undefined) refusals.push({ ...refusal, at: new Date(refusal.at) })
    }
    const { lost, problem, queued, refused, sent } = sum(await orElse(readFile(join(at, figuresFile), "utf8"), ""))
    const [first] = files
    return {
      ...lane,
      waiting: [...accounts].sort().map(([account, items]) => ({ account, items })),
      bytes,
      oldest: first === undefined ? undefined : new Date(first.time),
      refusals: refusals.sort((a, b) => b.at.getTime() - a.at.getTime()),
      queued: queued ?? 0,
      sent,
      refused,
      lost,
      problem: problem ?? undefined
    }
  }

  return {
    location: `the folder ${folder}`,
    put: async (lane, items) => {
      const at = await open(lane)
      const name = `${newName()}-${items.length}-${accountName(lane.account)}.gz`
      const payload = await pack(items)
      await writeWhole(at, name, payload)
      if (total !== undefined) total += payload.length
      if (total === undefined || total > bounds.maxBytes || performance.now() > evictedAt + evictMillis) {
        // what was put is there, whatever becomes of the rest
        await evict().catch(() => {})
      }
      return name
    },
    next: async (lane, except): Promise<Parcel | "busy" | undefined> => {
      const at = folderOf(lane)
      for (const { name } of await mine(lane, at)) {
        if (except.has(name)) continue
        if (!hold(at)) return "busy"
        const payload = await orElse(readFile(join(at, name)), undefined)
        // delivered or evicted by another in the meantime
        if (payload !== undefined) return { id: name, items: await unpack(payload) }
      }
      return undefined
    },
    remove: async (lane, id) => {
      const file = join(folderOf(lane), id)
      if (total !== undefined) total -= await sizeOf(file)
      await rm(file, { force: true })
    },
    release: async (lane) => {
      const at = folderOf(lane)
      locks.get(at)?.release()
      locks.delete(at)
    },
    disown: async (lane) => {
      const at = folderOf(lane)
      const own = accountName(lane.account)
      for (const { account, name } of await parcels(at)) {
        if (account !== own || own === "") continue
        const renamed = `${name.slice(0, -`${own}.gz`.length)}.gz`
        await orElse(rename(join(at, name), join(at, renamed)), undefined)
      }
    },
    refuse: async (lane, item, refusal) => {
      const at = await open(lane)
      await writeWhole(at, `refused-${hash(refusal.id)}.json`, JSON.stringify({ ...refusal, at: Date.now(), item }))
    },
    note: async (lane, { added, problem, queued }) => {
      // where all goes well no folder is made for it
      if (problem === undefined && added.lost === 0 && (await orElse(stat(folderOf(lane)), undefined)) === undefined)
        return
      const at = await open(lane)
      const file = join(at, figuresFile)
      await appendFile(file, `${JSON.stringify({ ...added, queued, problem: problem ?? null })}\n`)
      if ((await sizeOf(file)) > maxFigures) {
        await writeWhole(at, figuresFile, `${JSON.stringify(sum(await readFile(file, "utf8")))}\n`)
      }
    },
    summaries: async () => {
      const found: Array<Summary> = []
      for (const name of await names(folder)) {
        const next = await summary(join(folder, name))
        if (next !== undefined) found.push(next)
      }
      return found
    },
    keepMillis: bounds.keepMillis,
    keep: async (items) => {
      await mkdir(copies, { recursive: true })
      await writeWhole(copies, `${newName()}.gz`, await pack(items))
      if (bounds.keepMillis === undefined || performance.now() < copiesEvictedAt + evictMillis) return
      // what was kept is there, whatever becomes of the rest
      await evictCopies(bounds.keepMillis).catch(() => {})
    },
    stored: async function* (since) {
      for (const lane of await names(folder)) {
        if (lane !== copiesName && !lane.startsWith("observations-")) continue
        for (const name of await orElse(names(join(folder, lane)), [])) {
          const time = Number((lane === copiesName ? copyPattern : parcelPattern).exec(name)?.[1])
          if (Number.isNaN(time) || time < since.getTime()) continue
          // delivered or evicted in the meantime
          const payload = await orElse(readFile(join(folder, lane, name)), undefined)
          if (payload !== undefined) yield await unpack(payload)
        }
      }
    }
  }
}
