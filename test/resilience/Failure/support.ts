/** Errors as clients throw them, and what they are sorted into. */
import { assert, it } from "@effect/vitest"
import * as Failure from "../../../src/resilience/Failure.js"

export const now = Date.parse("Wed, 21 Oct 2026 07:28:00 GMT")
export const classify = (error: unknown) => Failure.classify(error, () => now)
export const error = (fields: object, message = "no") => Object.assign(new Error(message), fields)

/** An error of a client that Stainless generates: known by its constructor alone. */
export class APIError extends Error {
  readonly code: string | undefined
  readonly type: string | undefined
  constructor(
    readonly status: number | undefined,
    readonly error: { readonly code?: string; readonly type?: string; readonly error?: object } | undefined,
    message: string,
    readonly headers: Headers = new Headers()
  ) {
    super(message)
    this.code = error?.code
    this.type = error?.type
  }
}
export class APIConnectionError extends APIError {
  constructor(cause?: unknown) {
    super(undefined, undefined, "Connection error.")
    if (cause !== undefined) this.cause = cause
  }
}
export class APIConnectionTimeoutError extends APIConnectionError {}
export class APIUserAbortError extends APIError {
  constructor() {
    super(undefined, undefined, "Request was aborted.")
  }
}
export class ContentFilterFinishReasonError extends Error {}

export const rows = (table: ReadonlyArray<readonly [what: string, error: unknown, expected: Failure.Failure]>) => {
  for (const [what, given, expected] of table) it(what, () => assert.deepStrictEqual(classify(given), expected))
}

export const transient = (reason: string) => ({ kind: "transient", reason }) as const
export const permanent = (reason: string) => ({ kind: "permanent", reason }) as const
export const limited = (reason: string, retryAfterMillis?: number) =>
  retryAfterMillis === undefined
    ? ({ kind: "rate-limited", reason } as const)
    : ({ kind: "rate-limited", reason, retryAfterMillis } as const)
export const decode = { kind: "transient", reason: "decode", maxRetries: 1 } as const
export const cancelled = { kind: "cancelled", reason: "aborted" } as const
