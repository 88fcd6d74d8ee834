/** Which class a failure belongs to, told by the reason that was recognised. */
import type { Class, Failure } from "../Failure.js"

const reasons: ReadonlyMap<string, Class> = new Map<string, Class>([
  ["attempt timeout", "timeout"],
  ["bulkhead full", "bulkhead-full"],
  ["circuit open", "circuit-open"],
  ["connection", "connection"],
  ["content filter", "content-filter"],
  ["context length", "context-length"],
  ["deadline timeout", "timeout"],
  ["decode", "decode"],
  ["defect", "defect"],
  ["http 408", "timeout"],
  ["http 503", "overloaded"],
  ["http 504", "timeout"],
  ["http 529", "overloaded"],
  ["overloaded", "overloaded"],
  ["server error", "server-error"],
  ["timeout", "timeout"],
  ["ERR_SOCKET_CONNECTION_TIMEOUT", "timeout"],
  ["ESOCKETTIMEDOUT", "timeout"],
  ["ETIMEDOUT", "timeout"],
  ["UND_ERR_BODY_TIMEOUT", "timeout"],
  ["UND_ERR_CONNECT_TIMEOUT", "timeout"],
  ["UND_ERR_HEADERS_TIMEOUT", "timeout"]
])

/** Names of sockets', DNS' and undici's codes: capitals and digits alone. */
const networkCode = /^(?:E|UND_ERR_|ERR_)[A-Z0-9_]+$/

export const classOf = (failure: Failure): Class => {
  if (failure.class !== undefined) return failure.class
  if (failure.kind === "rate-limited" || failure.kind === "cancelled" || failure.kind === "control-flow") {
    return failure.kind
  }
  const known = reasons.get(failure.reason)
  if (known !== undefined) return known
  if (failure.kind === "permanent") return "permanent"
  if (networkCode.test(failure.reason)) return "connection"
  return /^http 5\d\d$/.test(failure.reason) ? "server-error" : "transient"
}
