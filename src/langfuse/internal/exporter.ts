import { lookup } from "node:dns/promises"
import { isIP } from "node:net"
import * as Redacted from "effect/Redacted"
import * as ErrorInfo from "../../observability/ErrorInfo.js"
import * as Redaction from "../../observability/Redaction.js"
import { Copies } from "./copies.js"
import { Delivery } from "./Delivery.js"
import * as figures from "./figures.js"
import * as http from "./http.js"
import type { Item, Waiting } from "./item.js"
import * as otlp from "./otlp.js"
import type { Kind, Lane, Shelf, Store } from "./outbox.js"
import type { Outcome } from "./outcome.js"
import { onProcessEnd } from "./processEnd.js"
import * as scores from "./scores.js"
import type { Wire } from "./send.js"

/** @internal */
export type Compression = "auto" | "gzip" | "none"

/** @internal */
export interface Options {
  readonly langfuse:
    | {
        /** Without a slash at its end. */
        readonly baseUrl: string
        readonly publicKey: string
        readonly secretKey: Redacted.Redacted
      }
    | undefined
  /** Another place for the observations. */
  readonly otlp: { readonly url: string; readonly headers: Readonly<Record<string, Redacted.Redacted>> } | undefined
  readonly store: Store | undefined
  readonly compression: Compression
  readonly requestTimeoutMillis: number
  readonly maxBatch: number
  readonly maxBytes: number
  readonly maxQueue: number
  readonly maxQueueBytes: number
  readonly intervalMillis: number
  readonly backoffMillis: number
  /** How long the end of the process waits. */
  readonly flushMillis: number
  readonly warn: (line: string) => void
  readonly info: (line: string) => void
}

/**
 * Where finished spans and scores leave the process: each target has queues of its own.
 *
 * @internal
 */
export interface Exporter {
  readonly observation: (item: Waiting) => void
  readonly score: (item: Waiting) => void
  /** Ends when all is delivered or in the outbox, or after the time. Never rejects. */
  readonly flush: (timeoutMillis: number) => Promise<void>
  /** Stops at once, and says what did not arrive, a line a target. */
  readonly close: () => Promise<ReadonlyArray<string>>
}

/** How old an observation may be before it is either taken by the server or in the outbox: with its writing, a second. */
const shelveMillis = 700
/** An outbox that does not answer is as good as none. */
const storeMillis = 5_000
/** How many refusals are told one by one. */
const maxTold = 10
/** Scores a request: their endpoint looks at them one by one. */
const maxScores = 100

const bounded = <A>(promise: Promise<A>, what: string): Promise<A> => {
  let timer: NodeJS.Timeout | undefined
  const bound = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`the outbox did not ${what} within ${storeMillis / 1000} s`)),
      storeMillis
    )
    timer.unref()
  })
  return Promise.race([promise, bound]).finally(() => clearTimeout(timer))
}

/** The outbox for one lane. Once the server has refused the account, what is stored is anybody's. */
const shelfOf = (store: Store, lane: Lane): Shelf => {
  let put = lane
  return {
    put: (items) => bounded(store.put(put, items), "take anything"),
    next: (except) => bounded(store.next(lane, except), "answer"),
    remove: (id) => bounded(store.remove(lane, id), "answer"),
    release: () => bounded(store.release(lane), "answer"),
    disown: () => {
      put = { ...lane, account: "" }
      return bounded(store.disown(lane), "answer")
    },
    refuse: (item, refusal) => bounded(store.refuse(lane, item, refusal), "take anything"),
    note: (word) => bounded(store.note(lane, word), "take anything")
  }
}

const isLoopback = (host: string): boolean => /^(localhost|.*\.localhost|127\.\d+\.\d+\.\d+|\[?::1\]?)$/.test(host)

/** Langfuse and every OTLP receiver take it; on the way to the same machine it saves nothing. */
const compressionOf = (asked: Compression, url: string): http.Endpoint["compression"] => {
  if (asked === "none" || (asked === "auto" && isLoopback(new URL(url).hostname))) return "off"
  return "unproven"
}

const count = (items: number, word: string): string => `${items} ${word}${items === 1 ? "" : "s"}`
const singular = { observations: "observation", scores: "score" } as const

/** What the target is called in messages, and its lanes. */
interface Target {
  readonly name: string
  readonly setting: string
  readonly url: string
  readonly spans: Delivery
  readonly scores: Delivery | undefined
}

/** @internal */
export const make = (options: Options): Exporter => {
  const { store } = options
  let storeTold = false
  let toldRefusals = 0

  const target = (
    name: string,
    setting: string,
    url: string,
    make: (delivery: (lane: Lane, wire: Omit<Wire, "maxBatch" | "maxBytes">, maxBatch: number) => Delivery) => {
      readonly spans: Delivery
      readonly scores: Delivery | undefined
    }
  ): Target => {
    // two queues, one server: what is said of it is said once
    const failing = new Set<Kind>()
    let told = false
    const problem = (reason: string): void => {
      if (!told) options.warn(`${name} takes no observations: ${reason}`)
      told = true
    }
    const host = new URL(url).hostname.replace(/^\[|\]$/g, "")
    if (isIP(host) === 0 && !isLoopback(host)) {
      // said at the start, not when the first request has failed; sending goes on, for a network may come back
      lookup(host).catch((error) => {
        if (error?.code === "ENOTFOUND") problem(http.unknownHost(url, setting))
      })
    }
    const delivery = (lane: Lane, wire: Omit<Wire, "maxBatch" | "maxBytes">, maxBatch: number): Delivery => {
      const gauges = figures.make(lane.kind, lane.target)
      const word = singular[lane.kind]
      return new Delivery({
        ...wire,
        shelf: store === undefined ? undefined : shelfOf(store, lane),
        maxBatch,
        maxBytes: options.maxBytes,
        maxQueue: options.maxQueue,
        maxQueueBytes: options.maxQueueBytes,
        intervalMillis: options.intervalMillis,
        backoffMillis: options.backoffMillis,
        shelveMillis,
        listener: {
          problem: (reason) => {
            failing.add(lane.kind)
            problem(reason)
          },
          recovery: () => {
            failing.delete(lane.kind)
            if (failing.size > 0 || !told) return
            told = false
            options.info(`${name} takes observations again`)
          },
          refused: ({ id, name: called, reason }, kept) => {
            gauges.refused()
            if (toldRefusals++ >= maxTold) return
            const where = kept ? "it is set aside in the outbox" : "it is dropped"
            options.warn(`${name} refused the ${word} "${called}" (${id}): ${reason}; ${where}`)
            if (toldRefusals === maxTold && store !== undefined) {
              options.warn("Further refusals are not told: `holdfast doctor` lists what was set aside")
            }
          },
          rejected: (items, reason) => {
            for (let n = 0; n < items; n++) gauges.refused()
            options.warn(`${name} refused ${count(items, word)}, without saying which: ${reason}`)
          },
          lost: (items, reason) => {
            gauges.lost(items)
            lostTold.add(`${word}s are lost: ${reason}`, options.warn)
          },
          shelfProblem: (error) => {
            if (storeTold) return
            storeTold = true
            const { message } = ErrorInfo.make(error)
            options.warn(`The outbox in ${store?.location} cannot be used, what waits is kept in memory: ${message}`)
          },
          figures: gauges.set
        }
      })
    }
    return { name, setting, url, ...make(delivery) }
  }

  const lostTold = {
    said: new Set<string>(),
    add(line: string, say: (line: string) => void): void {
      if (this.said.has(line)) return
      this.said.add(line)
      say(line[0]?.toUpperCase() + line.slice(1))
    }
  }

  const spanWire = (endpoint: http.Endpoint) => ({
    describe: otlp.describe,
    send: (items: ReadonlyArray<Item>, signal: AbortSignal): Promise<Outcome> =>
      http.post(endpoint, otlp.requestBody(items), signal, otlp.partialSuccess)
  })

  const targets: Array<Target> = []
  const { langfuse } = options
  if (langfuse !== undefined) {
    const { baseUrl, publicKey } = langfuse
    const endpoint = (path: string, compression: http.Endpoint["compression"]): http.Endpoint => ({
      url: baseUrl + path,
      headers: {
        authorization: http.basic(publicKey, Redacted.value(langfuse.secretKey)),
        "x-langfuse-sdk-name": "javascript",
        "x-langfuse-sdk-version": http.sdkVersion,
        "x-langfuse-public-key": publicKey
      },
      timeoutMillis: options.requestTimeoutMillis,
      compression,
      keysSetting: "LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY and LANGFUSE_BASE_URL",
      addressSetting: "LANGFUSE_BASE_URL"
    })
    const lane = { target: baseUrl, account: publicKey }
    targets.push(
      target(`Langfuse at ${baseUrl}`, "LANGFUSE_BASE_URL", baseUrl, (delivery) => {
        // scores go to an endpoint that does not decompress
        const scoresEndpoint = endpoint("/api/public/ingestion", "off")
        return {
          spans: delivery(
            { ...lane, kind: "observations" },
            spanWire(endpoint("/api/public/otel/v1/traces", compressionOf(options.compression, baseUrl))),
            options.maxBatch
          ),
          scores: delivery(
            { ...lane, kind: "scores" },
            {
              describe: scores.describe,
              send: (items, signal) =>
                http.post(scoresEndpoint, scores.requestBody(items), signal, (body) => scores.outcome(items, body))
            },
            Math.min(options.maxBatch, maxScores)
          )
        }
      })
    )
  }
  const other = options.otlp
  if (other !== undefined) {
    const endpoint: http.Endpoint = {
      url: other.url,
      headers: Object.fromEntries(Object.entries(other.headers).map(([name, value]) => [name, Redacted.value(value)])),
      timeoutMillis: options.requestTimeoutMillis,
      compression: compressionOf(options.compression, other.url),
      keysSetting: "HOLDFAST_OTLP_HEADERS",
      addressSetting: "HOLDFAST_OTLP_ENDPOINT"
    }
    const shown = Redaction.text(other.url)
    targets.push(
      target(`The OTLP endpoint ${shown}`, "HOLDFAST_OTLP_ENDPOINT", other.url, (delivery) => ({
        spans: delivery({ kind: "observations", target: shown, account: "" }, spanWire(endpoint), options.maxBatch),
        scores: undefined
      }))
    )
  }

  const copies = store?.keepMillis === undefined ? undefined : new Copies(store, options)

  const flush = async (timeoutMillis: number): Promise<void> => {
    await Promise.all([
      ...targets.flatMap(({ scores, spans }) => [spans.flush(timeoutMillis), scores?.flush(timeoutMillis)]),
      copies?.flush(timeoutMillis)
    ])
  }
  const forget = onProcessEnd(() => flush(options.flushMillis))

  return {
    observation: (item) => {
      for (const { spans } of targets) spans.offer(item)
      copies?.offer(item)
    },
    score: (item) => {
      for (const { scores } of targets) scores?.offer(item)
    },
    flush,
    close: async () => {
      forget()
      const lines: Array<string> = []
      for (const { name, scores, spans } of targets) {
        const none = { memory: 0, stored: 0, lost: 0 }
        const [a, b] = [spans.left, scores?.left ?? none]
        const reason = spans.reason ?? scores?.reason ?? "no answer in time"
        const say = (observations: number, scores: number, end: string): void => {
          if (observations + scores === 0) return
          const what =
            scores === 0
              ? count(observations, "observation")
              : `${count(observations, "observation")} and ${count(scores, "score")}`
          lines.push(`${what} did not reach ${name}: ${reason}${end}`)
        }
        say(a.memory + a.lost, b.memory + b.lost, store === undefined ? "" : ", nor the outbox")
        say(a.stored, b.stored, `; they wait in ${store?.location}, and the next process delivers them`)
        await spans.close()
        await scores?.close()
      }
      return lines
    }
  }
}
