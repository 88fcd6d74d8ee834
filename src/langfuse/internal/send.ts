import * as ErrorInfo from "../../observability/ErrorInfo.js"
import { bytesOf, chunks, type Item } from "./item.js"
import type { Refusal } from "./outbox.js"
import type { Later, Outcome } from "./outcome.js"
import type { Entry } from "./queue.js"

/**
 * How items of one kind travel.
 *
 * @internal
 */
export interface Wire {
  readonly maxBatch: number
  readonly maxBytes: number
  /** What to call it when it is refused. */
  readonly describe: (item: Item) => { readonly id: string; readonly name: string }
  readonly send: (items: ReadonlyArray<Item>, signal: AbortSignal) => Promise<Outcome>
}

/**
 * What was not taken, in order, and why.
 *
 * @internal
 */
export interface Left {
  readonly later: Later
  readonly rest: ReadonlyArray<Item>
}

/** @internal */
export interface Sender {
  readonly sent: number
  readonly refused: number
  /** Makes their JSON, in small steps between which others have their turn. What has none is refused. */
  readonly encode: (entries: ReadonlyArray<Entry>) => Promise<ReadonlyArray<Item>>
  /** Sends, and finds by halves what is refused; `undefined` when nothing is left. Never rejects. */
  readonly deliver: (items: ReadonlyArray<Item>) => Promise<Left | undefined>
}

/** How long encoding may hold up everybody else. */
const sliceMillis = 2
/** After so many refusals one after the other the server may well refuse whatever it is given: it is asked ever more slowly. */
const patientInARow = 16
const maxPauseMillis = 1_000
/** A server that takes less than this a request is not worth finding out about. */
const minBytes = 16_384

const pause = (inARow: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer)
      signal.removeEventListener("abort", done)
      resolve()
    }
    const timer = setTimeout(done, Math.min(maxPauseMillis, 10 * 2 ** Math.min(10, inARow - patientInARow)))
    signal.addEventListener("abort", done)
  })

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** @internal */
export const setAside = (
  wire: Wire,
  options: {
    readonly signal: AbortSignal
    readonly taken: () => void
    readonly refused: (item: Item, refusal: Refusal) => Promise<void>
    readonly rejected: (items: number, reason: string) => void
  }
): Sender => {
  let sent = 0
  let refused = 0
  let inARow = 0
  /** Less than was asked for once the server has said that a request was too large. */
  let maxBytes = wire.maxBytes

  const refuse = (item: Item, reason: string): Promise<void> => {
    refused++
    inARow++
    return options.refused(item, { ...wire.describe(item), reason })
  }

  const attempt = async (items: ReadonlyArray<Item>): Promise<Outcome> => {
    try {
      return await wire.send(items, options.signal)
    } catch (error) {
      return { _tag: "Later", reason: ErrorInfo.line(ErrorInfo.make(error)) }
    }
  }

  const halves = async (items: ReadonlyArray<Item>): Promise<Left | undefined> => {
    const middle = items.length >> 1
    const left = await one(items.slice(0, middle))
    if (left !== undefined) return { later: left.later, rest: [...left.rest, ...items.slice(middle)] }
    return one(items.slice(middle))
  }

  const one = async (items: ReadonlyArray<Item>): Promise<Left | undefined> => {
    const [first] = items
    if (first === undefined) return undefined
    if (options.signal.aborted) return { later: { _tag: "Later", reason: "it was stopped" }, rest: items }
    const outcome = await attempt(items)
    switch (outcome._tag) {
      case "Taken":
        sent += items.length
        inARow = 0
        options.taken()
        return undefined
      case "Later":
        return { later: outcome, rest: items }
      case "Rejected":
        sent += Math.max(0, items.length - outcome.items)
        refused += outcome.items
        options.taken()
        options.rejected(outcome.items, outcome.reason)
        return undefined
      case "Partly": {
        for (const [index, reason] of outcome.refused) {
          const item = items[index]
          if (item !== undefined) await refuse(item, reason)
        }
        sent += items.length - outcome.refused.size - outcome.later.size
        if (outcome.later.size === 0) {
          inARow = 0
          options.taken()
          return undefined
        }
        return {
          later: { _tag: "Later", reason: outcome.reason },
          rest: items.filter((_, index) => outcome.later.has(index))
        }
      }
      case "Refused": {
        if (items.length === 1) {
          await refuse(first, outcome.reason)
          if (inARow > patientInARow) await pause(inARow, options.signal)
          return undefined
        }
        if (outcome.tooLarge) {
          const bytes = items.reduce((sum, item) => sum + bytesOf(item), 0)
          maxBytes = Math.max(minBytes, Math.min(maxBytes, bytes >> 1))
        }
        return halves(items)
      }
    }
  }

  return {
    get sent() {
      return sent
    },
    get refused() {
      return refused
    },
    encode: async (entries) => {
      const items: Array<Item> = []
      await turn()
      let from = performance.now()
      for (const { item } of entries) {
        try {
          const { group, json } = item
          items.push({ group, json })
        } catch (error) {
          refused++
          const reason = `it cannot be written as JSON: ${ErrorInfo.line(ErrorInfo.make(error))}`
          await options.refused({ json: "{}", group: "{}" }, { id: "unknown", name: "unknown", reason })
        }
        if (performance.now() - from > sliceMillis) {
          await turn()
          from = performance.now()
        }
      }
      return items
    },
    deliver: async (items) => {
      let rest = items
      while (true) {
        const [chunk] = chunks(rest, wire.maxBatch, maxBytes)
        if (chunk === undefined) return undefined
        rest = rest.slice(chunk.length)
        const left = await one(chunk)
        if (left !== undefined) return { later: left.later, rest: [...left.rest, ...rest] }
      }
    }
  }
}
