import { Buffer } from "node:buffer"
import { promisify } from "node:util"
import * as zlib from "node:zlib"
import * as Predicate from "effect/Predicate"
import * as Redaction from "../../observability/Redaction.js"
import type { Outcome } from "./outcome.js"

/**
 * One path of a server, and what is known of it.
 *
 * @internal
 */
export interface Endpoint {
  readonly url: string
  /** Content type apart. */
  readonly headers: Readonly<Record<string, string>>
  readonly timeoutMillis: number
  /** Whether to compress: `unproven` until the server has taken the first compressed request. */
  compression: "on" | "unproven" | "off"
  /** Which settings to look at when the keys are refused. */
  readonly keysSetting: string
  /** Which one says where the server is. */
  readonly addressSetting: string
}

/**
 * The version of the Langfuse SDK whose wire format this is; a test holds it against the installed one.
 *
 * @internal
 */
export const sdkVersion = "5.11.1"

const gzip = promisify(zlib.gzip)

/** Less than this in one packet is not worth compressing. */
const minCompressed = 1_400

/** @internal */
export const unknownHost = (url: string, setting: string): string =>
  `there is no host ${new URL(url).hostname}: look at ${setting}`

/**
 * Why a request did not get an answer: `fetch failed` says nothing; its cause does.
 *
 * @internal
 */
export const reasonOf = (error: unknown, url: string, addressSetting: string): string => {
  if (Predicate.hasProperty(error, "name") && error.name === "TimeoutError") return "no answer in time"
  const cause = Predicate.hasProperty(error, "cause") ? error.cause : undefined
  if (Predicate.hasProperty(cause, "code")) {
    return cause.code === "ENOTFOUND" ? unknownHost(url, addressSetting) : String(cause.code)
  }
  const shown = cause instanceof Error ? cause : error
  return Redaction.text(shown instanceof Error ? shown.message : String(shown))
}

/** The longest pause that a server may ask for: a day. What it means by more is that it will never answer. */
const maxAfterMillis = 86_400_000

/** @internal */
export const retryAfterMillis = (header: string | null): number | undefined => {
  if (header === null || header.trim() === "") return undefined
  const seconds = Number(header)
  const millis = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(header) - Date.now()
  return Number.isNaN(millis) ? undefined : Math.min(maxAfterMillis, Math.max(0, millis))
}

/**
 * What the answer to a request that went well says of single items.
 *
 * @internal
 */
export type Inspect = (body: unknown) => Outcome

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const classify = (endpoint: Endpoint, response: Response, text: string, inspect: Inspect | undefined): Outcome => {
  const { status } = response
  if (response.ok) return inspect?.(parse(text)) ?? { _tag: "Taken" }
  const said = Redaction.text(text.slice(0, 200)).replace(/\s+/g, " ").trim()
  const reason = `HTTP ${status}${said === "" || said.startsWith("<") ? "" : ` ${said}`}`
  switch (status) {
    case 401:
    case 403:
      return { _tag: "Later", reason: `HTTP ${status}: look at ${endpoint.keysSetting}`, settings: "keys" }
    case 400:
    case 413:
    case 422:
      return { _tag: "Refused", reason, tooLarge: status === 413 }
    case 408:
    case 425:
    case 429:
      break
    default:
      if (status < 500) {
        return {
          _tag: "Later",
          reason: `HTTP ${status}: look at ${endpoint.addressSetting}, ${new URL(endpoint.url).origin} does not know this path`,
          settings: "address"
        }
      }
  }
  const afterMillis = retryAfterMillis(response.headers.get("retry-after"))
  return { _tag: "Later", reason: `HTTP ${status}`, afterMillis }
}

const once = async (
  endpoint: Endpoint,
  body: string,
  compressed: boolean,
  signal: AbortSignal
): Promise<{ readonly response: Response; readonly text: string }> => {
  const response = await fetch(endpoint.url, {
    method: "POST",
    headers: {
      ...endpoint.headers,
      "content-type": "application/json",
      ...(compressed ? { "content-encoding": "gzip" } : {})
    },
    // the fastest level, on a thread of its own
    body: compressed ? new Uint8Array(await gzip(body, { level: 1 })) : body,
    redirect: "manual",
    signal: AbortSignal.any([signal, AbortSignal.timeout(endpoint.timeoutMillis)])
  })
  return { response, text: await response.text() }
}

/**
 * Posts JSON, and says what became of it. Never rejects. A server that answers 400 or 415 to the first compressed request gets it again as it
 * is; if it takes that, nothing is compressed for it any more.
 *
 * @internal
 */
export const post = async (
  endpoint: Endpoint,
  body: string,
  signal: AbortSignal,
  inspect?: Inspect
): Promise<Outcome> => {
  const { compression } = endpoint
  const compressed = compression !== "off" && body.length >= minCompressed
  try {
    const first = await once(endpoint, body, compressed, signal)
    const outcome = classify(endpoint, first.response, first.text, inspect)
    if (!compressed) return outcome
    if (first.response.ok) endpoint.compression = "on"
    const { status } = first.response
    if (status !== 415 && (status !== 400 || compression === "on")) return outcome
    const second = await once(endpoint, body, false, signal)
    if (second.response.ok) endpoint.compression = "off"
    return classify(endpoint, second.response, second.text, inspect)
  } catch (error) {
    return { _tag: "Later", reason: reasonOf(error, endpoint.url, endpoint.addressSetting) }
  }
}

/** @internal */
export const basic = (user: string, password: string): string =>
  `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`
