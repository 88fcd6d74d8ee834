import { Buffer } from "node:buffer"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import { gunzipSync } from "node:zlib"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** A row, as Langfuse would show it. */
export interface StoredObservation {
  readonly id: string
  readonly traceId: string
  readonly parentId: string | undefined
  readonly name: string
  readonly type: string
  readonly level: string
  readonly statusMessage: string | undefined
  readonly input: unknown
  readonly output: unknown
  readonly metadata: Readonly<Record<string, unknown>>
  readonly model: string | undefined
  readonly traceName: string | undefined
  readonly sessionId: string | undefined
  readonly userId: string | undefined
  readonly tags: ReadonlyArray<string>
  readonly environment: string
  readonly release: string | undefined
  readonly scope: string
  readonly startNanos: bigint
  readonly endNanos: bigint
  /** Every attribute as it came. */
  readonly attributes: Readonly<Record<string, unknown>>
}

export interface StoredScore {
  /** What makes one that comes twice one. */
  readonly id: string
  /** Absent on a session's. */
  readonly traceId?: string
  /** Absent on a trace's or session's. */
  readonly observationId?: string
  readonly sessionId?: string
  readonly name: string
  readonly value: number | string
  readonly dataType: string
  readonly comment: string | undefined
  readonly configId?: string
  readonly metadata?: unknown
}

/**
 * What the server does with a request: take it, answer with a status, never answer, break the connection when the request is there (`reset`) or
 * in the middle of its body (`cut`), or take it and break the connection (`lose`).
 */
export type Behaviour =
  | "take"
  | "hang"
  | "reset"
  | "cut"
  | "lose"
  | { readonly status: number; readonly retryAfter?: string; readonly body?: string }

/** The rules of this server, beside those of the wire. */
export interface Rules {
  readonly publicKey?: string
  readonly secretKey?: string
  /** Bytes a request after decompression, else 413. */
  readonly maxBytes?: number
  /** Observations and scores of such a name are refused with 400, and the request with them. */
  readonly poison?: (name: string) => boolean
  /** What becomes of a compressed request. */
  readonly gzip?: "take" | 400 | 415
  /** How far its clock is ahead of ours. */
  readonly skewMillis?: number
}

export interface LangfuseServer {
  readonly url: string
  readonly publicKey: string
  readonly secretKey: string
  /** The variables that make a process send here. */
  readonly env: Readonly<Record<string, string>>
  /** As they arrived; one that arrives twice is here twice. */
  readonly observations: () => ReadonlyArray<StoredObservation>
  readonly scores: () => ReadonlyArray<StoredScore>
  /** Everything that came over the wire, headers apart, taken or not. */
  readonly bodies: () => ReadonlyArray<string>
  /** Requests with a wrong path, method, key or form; a test that ends with one has found a bug. */
  readonly complaints: () => ReadonlyArray<string>
  /** For all requests to come, or asked at each, with the number of the request from 0. */
  readonly behave: (behaviour: Behaviour | ((request: number) => Behaviour)) => void
  /** Content encodings as they came. */
  readonly encodings: () => ReadonlyArray<string>
  /** How many requests have come, taken or not. */
  readonly requests: () => number
  /** Ends when so many different observations, and scores, are here. */
  readonly arrived: (observations: number, scores?: number) => Effect.Effect<void>
  /** Ends when so many requests have come, taken or not. */
  readonly asked: (requests: number) => Effect.Effect<void>
  /** Nobody listens any more, connections are broken. */
  readonly down: Effect.Effect<void>
  /** At the same address again. */
  readonly up: Effect.Effect<void>
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null

const records = (value: unknown): ReadonlyArray<Record<string, unknown>> =>
  Array.isArray(value) ? value.filter(isRecord) : []

const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined)

const must = (value: unknown, form: RegExp, what: string): string => {
  if (typeof value === "string" && form.test(value)) return value
  throw new Error(`${what} is ${JSON.stringify(value)}`)
}

const anyValue = (value: unknown): unknown => {
  if (!isRecord(value)) throw new Error("an attribute has no value")
  if ("stringValue" in value) return value["stringValue"]
  if ("boolValue" in value) return value["boolValue"]
  if ("intValue" in value) return Number(value["intValue"])
  if ("doubleValue" in value) return value["doubleValue"]
  if (isRecord(value["arrayValue"])) return records(value["arrayValue"]["values"]).map(anyValue)
  throw new Error(`an attribute is ${JSON.stringify(value)}`)
}

const attributesOf = (value: unknown): Record<string, unknown> =>
  Object.fromEntries(records(value).map((entry) => [must(entry["key"], /./, "a key"), anyValue(entry["value"])]))

const revive = (value: unknown): unknown => {
  if (typeof value !== "string") return value
  try {
    return JSON.parse(value)
  } catch {
    return value
  }
}

const observation = (span: Record<string, unknown>, scope: string): StoredObservation => {
  const attributes = attributesOf(span["attributes"])
  const status = isRecord(span["status"]) ? span["status"] : {}
  const metadata: Record<string, unknown> = {}
  for (const key in attributes) {
    if (key.startsWith("langfuse.observation.metadata.")) {
      metadata[key.slice("langfuse.observation.metadata.".length)] = revive(attributes[key])
    }
  }
  const tags = attributes["langfuse.trace.tags"]
  return {
    id: must(span["spanId"], /^[0-9a-f]{16}$/, "spanId"),
    traceId: must(span["traceId"], /^[0-9a-f]{32}$/, "traceId"),
    parentId:
      span["parentSpanId"] === undefined ? undefined : must(span["parentSpanId"], /^[0-9a-f]{16}$/, "parentSpanId"),
    name: must(span["name"], /./, "name"),
    type: text(attributes["langfuse.observation.type"]) ?? "span",
    level: text(attributes["langfuse.observation.level"]) ?? (status["code"] === 2 ? "ERROR" : "DEFAULT"),
    statusMessage: text(attributes["langfuse.observation.status_message"]) ?? text(status["message"]),
    input: revive(attributes["langfuse.observation.input"]),
    output: revive(attributes["langfuse.observation.output"]),
    metadata,
    model: text(attributes["langfuse.observation.model.name"]),
    traceName: text(attributes["langfuse.trace.name"]),
    sessionId: text(attributes["session.id"]),
    userId: text(attributes["user.id"]),
    tags: Array.isArray(tags) ? tags.map(String) : [],
    environment: text(attributes["langfuse.environment"]) ?? "default",
    release: text(attributes["langfuse.release"]),
    scope,
    startNanos: BigInt(must(span["startTimeUnixNano"], /^\d{19}$/, "startTimeUnixNano")),
    endNanos: BigInt(must(span["endTimeUnixNano"], /^\d{19}$/, "endTimeUnixNano")),
    attributes
  }
}

const observationsOf = (body: unknown): ReadonlyArray<StoredObservation> =>
  records(isRecord(body) ? body["resourceSpans"] : undefined).flatMap((resource) =>
    records(resource["scopeSpans"]).flatMap((group) => {
      const scope = isRecord(group["scope"]) ? must(group["scope"]["name"], /./, "a scope") : ""
      return records(group["spans"]).map((span) => observation(span, scope))
    })
  )

const scoresOf = (body: unknown): ReadonlyArray<StoredScore> =>
  records(isRecord(body) ? body["batch"] : undefined).map((event) => {
    const eventId = must(event["id"], /^[0-9a-f-]{36}$/, "an event's id")
    must(event["timestamp"], /^\d{4}-\d\d-\d\dT.*Z$/, "an event's timestamp")
    if (event["type"] !== "score-create" || !isRecord(event["body"])) throw new Error("not a score")
    const score = event["body"]
    const value = score["value"]
    if (typeof value !== "number" && typeof value !== "string") throw new Error("a score's value")
    must(score["id"], /^[0-9a-f-]{36}$/, "a score's id")
    const [traceId, observationId, sessionId] = [score["traceId"], score["observationId"], score["sessionId"]]
    if ((traceId === undefined) === (sessionId === undefined)) throw new Error("a score is of a trace or of a session")
    return {
      id: eventId,
      ...(traceId === undefined ? {} : { traceId: must(traceId, /^[0-9a-f]{32}$/, "traceId") }),
      ...(observationId === undefined ? {} : { observationId: must(observationId, /^[0-9a-f]{16}$/, "observationId") }),
      ...(sessionId === undefined ? {} : { sessionId: must(sessionId, /^[\x20-\x7e]{1,200}$/, "sessionId") }),
      name: must(score["name"], /./, "a score's name"),
      value,
      dataType: must(score["dataType"], /^(NUMERIC|BOOLEAN|CATEGORICAL)$/, "dataType"),
      comment: text(score["comment"]),
      ...(score["configId"] === undefined ? {} : { configId: must(score["configId"], /./, "configId") }),
      ...(score["metadata"] === undefined ? {} : { metadata: score["metadata"] })
    }
  })

/** The body, or nothing when the connection broke. */
const read = async (request: IncomingMessage, cut: boolean): Promise<string | undefined> => {
  const chunks: Array<Buffer> = []
  try {
    for await (const chunk of request) {
      chunks.push(chunk)
      if (cut) break
    }
  } catch {
    return undefined
  }
  if (cut) return undefined
  const bytes = Buffer.concat(chunks)
  return (request.headers["content-encoding"] === "gzip" ? gunzipSync(bytes) : bytes).toString("utf8")
}

/** What it answers to a question. */
const reads: Readonly<Record<string, unknown>> = {
  "/api/public/projects": { data: [{ id: "project-1", name: "test project", metadata: {} }] }
}

/**
 * A server on loopback that speaks as much of Langfuse as is written to: the OTLP endpoint in JSON and the ingestion of scores, with Basic
 * authentication. It ends with the scope.
 */
export const make = (rules: Rules = {}): Effect.Effect<LangfuseServer, never, Scope.Scope> =>
  Effect.gen(function* () {
    const keys = { publicKey: rules.publicKey ?? "pk-lf-test-1234", secretKey: rules.secretKey ?? "sk-lf-test-5678" }
    const encodings: Array<string> = []
    const ids = new Set<string>()
    const scoreIds = new Set<string>()
    const listeners = new Set<() => void>()
    const changed = () => {
      for (const listener of listeners) listener()
    }
    const until = (isSo: () => boolean): Effect.Effect<void> =>
      Effect.async((resume) => {
        const look = () => {
          if (!isSo()) return
          listeners.delete(look)
          resume(Effect.void)
        }
        listeners.add(look)
        look()
        return Effect.sync(() => listeners.delete(look))
      })
    const observations: Array<StoredObservation> = []
    const scores: Array<StoredScore> = []
    const bodies: Array<string> = []
    const complaints: Array<string> = []
    let behaviour: Behaviour | ((request: number) => Behaviour) = "take"
    let requests = 0

    const answer = (response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}) => {
      const date = new Date(Date.now() + (rules.skewMillis ?? 0)).toUTCString()
      response.writeHead(status, { "content-type": "application/json", date, ...headers })
      response.end(JSON.stringify(body))
    }
    const complain = (response: ServerResponse, status: number, complaint: string): void => {
      complaints.push(complaint)
      answer(response, status, { message: complaint })
    }
    const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
      const now = typeof behaviour === "function" ? behaviour(requests) : behaviour
      requests++
      encodings.push(request.headers["content-encoding"] ?? "identity")
      const body = await read(request, now === "cut")
      if (body === undefined || now === "cut") {
        response.destroy()
        changed()
        return
      }
      bodies.push(body)
      changed()
      if (now === "hang") return
      if (now === "reset") {
        request.socket.destroy()
        return
      }
      if (now !== "take" && now !== "lose") {
        answer(
          response,
          now.status,
          { message: now.body ?? "no" },
          now.retryAfter === undefined ? {} : { "retry-after": now.retryAfter }
        )
        return
      }
      if (request.method === "GET" && request.url === "/api/public/health") {
        return answer(response, 200, { status: "OK", version: "3.120.0" })
      }
      const expected = `Basic ${Buffer.from(`${keys.publicKey}:${keys.secretKey}`).toString("base64")}`
      if (request.headers.authorization !== expected) return complain(response, 401, "wrong keys")
      const known = request.method === "GET" ? reads[request.url ?? ""] : undefined
      if (known !== undefined) return answer(response, 200, known)
      if (request.method !== "POST") return complain(response, 405, `method ${request.method}`)
      if (request.headers["content-type"] !== "application/json") return complain(response, 415, "no JSON")
      if (request.headers["x-langfuse-public-key"] !== keys.publicKey)
        return complain(response, 400, "no public key header")
      if (request.headers["content-encoding"] === "gzip" && typeof rules.gzip === "number") {
        return answer(response, rules.gzip, { message: "no compression" })
      }
      if (Buffer.byteLength(body) > (rules.maxBytes ?? 4_500_000))
        return answer(response, 413, { message: "too large" })
      const done = (status: number, said: unknown): void => {
        if (now === "lose") request.socket.destroy()
        else answer(response, status, said)
        changed()
      }
      try {
        if (request.url === "/api/public/otel/v1/traces") {
          const taken = observationsOf(JSON.parse(body))
          if (taken.some(({ name }) => rules.poison?.(name) === true)) {
            return answer(response, 400, { message: "malformed" })
          }
          observations.push(...taken)
          for (const { id, traceId } of taken) ids.add(`${traceId}/${id}`)
          done(200, {})
        } else if (request.url === "/api/public/ingestion") {
          const all = scoresOf(JSON.parse(body))
          const taken = all.filter(({ name }) => rules.poison?.(name) !== true)
          scores.push(...taken)
          for (const { id } of taken) scoreIds.add(id)
          const errors = all.filter((score) => !taken.includes(score))
          done(207, {
            successes: taken.map(({ id }) => ({ id, status: 201 })),
            errors: errors.map(({ id }) => ({ id, status: 400, message: "Invalid request data" }))
          })
        } else {
          complain(response, 404, `path ${request.url}`)
        }
      } catch (error) {
        complain(response, 400, String(error))
      }
    }

    const server = createServer((request, response) => void handle(request, response))
    const listen = (port: number) =>
      Effect.async<number>((resume) => {
        server.listen(port, "127.0.0.1", () => {
          const address = server.address()
          resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
        })
      })
    const down = Effect.async<void>((resume) => {
      server.close(() => resume(Effect.void))
      server.closeAllConnections()
    })
    const port = yield* Effect.acquireRelease(listen(0), () => down)
    const url = `http://127.0.0.1:${port}`
    return {
      url,
      ...keys,
      env: { LANGFUSE_BASE_URL: url, LANGFUSE_PUBLIC_KEY: keys.publicKey, LANGFUSE_SECRET_KEY: keys.secretKey },
      observations: () => observations.slice(),
      scores: () => scores.slice(),
      bodies: () => bodies.slice(),
      complaints: () => complaints.slice(),
      encodings: () => encodings.slice(),
      requests: () => requests,
      arrived: (observations, scores = 0) => until(() => ids.size >= observations && scoreIds.size >= scores),
      asked: (count) => until(() => requests >= count),
      down,
      up: Effect.asVoid(Effect.suspend(() => listen(port))),
      behave: (next) => {
        behaviour = next
      }
    }
  })

/**
 * Observations as nested plain data, for whole-tree assertions. One that names a parent that is not there, or is there twice, is an error.
 *
 * Siblings are in the order of their start; by name where ours and the SDK's stand side by side, whose clocks are some milliseconds apart.
 */
export const tree = <A>(
  observations: ReadonlyArray<StoredObservation>,
  show: (observation: StoredObservation) => A,
  order: "startNanos" | "name" = "startNanos"
): ReadonlyArray<A | readonly [A, ReadonlyArray<unknown>]> => {
  const ids = new Set(observations.map(({ id }) => id))
  if (ids.size !== observations.length) throw new Error("an observation arrived twice")
  const below = (parentId: string | undefined): ReadonlyArray<A | readonly [A, ReadonlyArray<unknown>]> =>
    observations
      .filter((it) => it.parentId === parentId)
      .sort((a, b) => (a[order] < b[order] ? -1 : a[order] > b[order] ? 1 : 0))
      .map((it) => {
        const children = below(it.id)
        return children.length === 0 ? show(it) : ([show(it), children] as const)
      })
  for (const { name, parentId } of observations) {
    if (parentId !== undefined && !ids.has(parentId)) throw new Error(`the parent of ${name} never arrived`)
  }
  return below(undefined)
}
