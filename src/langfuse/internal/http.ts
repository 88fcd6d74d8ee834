import { Buffer } from "node:buffer"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Redaction from "../../observability/Redaction.js"
import type { Outcome } from "./Delivery.js"

/** @internal */
export interface Target {
  /** Without a slash at its end. */
  readonly baseUrl: string
  readonly publicKey: string
  readonly secretKey: Redacted.Redacted
  readonly requestTimeoutMillis: number
}

/**
 * The version of the Langfuse SDK whose wire format this is; a test holds it against the installed one.
 *
 * @internal
 */
export const sdkVersion = "5.11.1"

/** `fetch failed` says nothing; its cause does. */
const reasonOf = (error: unknown): string => {
  if (Predicate.hasProperty(error, "name") && error.name === "TimeoutError") return "no answer in time"
  if (Predicate.hasProperty(error, "cause") && Predicate.hasProperty(error.cause, "code"))
    return String(error.cause.code)
  return Redaction.text(error instanceof Error ? error.message : String(error))
}

const retryAfterMillis = (header: string | null): number | undefined => {
  if (header === null) return undefined
  const seconds = Number(header)
  if (Number.isFinite(seconds)) return Math.max(0, seconds * 1000)
  const date = Date.parse(header)
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now())
}

/** What an answer says of single items that it took or did not, where it says so. */
type Inspect = (body: unknown) => string | undefined

/**
 * Posts JSON to Langfuse, and says what became of it. Never rejects.
 *
 * @internal
 */
export const post = async (
  target: Target,
  path: string,
  body: string,
  signal: AbortSignal,
  inspect?: Inspect
): Promise<Outcome> => {
  try {
    const response = await fetch(target.baseUrl + path, {
      method: "POST",
      headers: {
        authorization: `Basic ${Buffer.from(`${target.publicKey}:${Redacted.value(target.secretKey)}`).toString("base64")}`,
        "content-type": "application/json",
        "x-langfuse-sdk-name": "javascript",
        "x-langfuse-sdk-version": sdkVersion,
        "x-langfuse-public-key": target.publicKey
      },
      body,
      redirect: "error",
      signal: AbortSignal.any([signal, AbortSignal.timeout(target.requestTimeoutMillis)])
    })
    const { status } = response
    const text = await response.text()
    if (response.ok) {
      const refused = inspect?.(parse(text))
      return refused === undefined ? { _tag: "Taken" } : { _tag: "Refused", reason: refused }
    }
    if (status === 401 || status === 403) {
      return {
        _tag: "Refused",
        reason: `HTTP ${status}: look at LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY and LANGFUSE_BASE_URL`
      }
    }
    if (status === 408 || status === 429 || status >= 500) {
      const afterMillis = retryAfterMillis(response.headers.get("retry-after"))
      return { _tag: "Later", reason: `HTTP ${status}`, afterMillis }
    }
    return { _tag: "Refused", reason: `HTTP ${status} ${Redaction.text(text.slice(0, 200))}`.trim() }
  } catch (error) {
    return { _tag: "Later", reason: reasonOf(error) }
  }
}

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
