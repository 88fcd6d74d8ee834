import { Buffer } from "node:buffer"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Report from "../../src/langfuse/Report.js"

/** What becomes of a request, unless it is answered. */
export type Behaviour =
  | "hang"
  | "reset"
  | { readonly status: number; readonly retryAfter?: string; readonly body?: string; readonly page?: unknown }
  | undefined

/** The rules of this server. */
export interface Rules {
  /** `v1`: a Langfuse before version 4, which knows no other path. Default `v2`: one that has no older one any more. */
  readonly api?: "v1" | "v2"
  /** Whether values of the metadata come as text. Default false. */
  readonly texts?: boolean
  /** What its metrics count; without it they are asked in vain. */
  readonly counted?: number
  /** Asked at each request for observations, with its number from 0. */
  readonly behave?: (request: number) => Behaviour
}

export interface LangfuseQueries {
  readonly url: string
  readonly publicKey: string
  readonly secretKey: string
  /** The variables that make a process ask here. */
  readonly env: Readonly<Record<string, string>>
  /** The paths and queries of observations that were asked for. */
  readonly asked: () => ReadonlyArray<URL>
  /** Requests that no client should make; a test that ends with one has found a bug. */
  readonly complaints: () => ReadonlyArray<string>
}

const known: Readonly<Record<string, ReadonlyArray<string>>> = {
  "/api/public/v2/observations": ["fromStartTime", "toStartTime", "fields", "limit", "cursor"],
  "/api/public/observations": ["fromStartTime", "toStartTime", "page", "limit"]
}

const iso = (millis: number | undefined): string | null =>
  millis === undefined ? null : new Date(Math.floor(millis)).toISOString()

/** Longer texts are cut, as the current API does unless it is asked not to. */
const cut = (value: unknown): unknown => (typeof value === "string" ? value.slice(0, 200) : value)

/** A server on loopback that answers for these observations as Langfuse does. It ends with the scope. */
export const make = (
  observations: ReadonlyArray<Report.Observation>,
  rules: Rules = {}
): Effect.Effect<LangfuseQueries, never, Scope.Scope> =>
  Effect.gen(function* () {
    const keys = { publicKey: "pk-lf-test-1234", secretKey: "sk-lf-test-5678" }
    const { api = "v2" } = rules
    const authorization = `Basic ${Buffer.from(`${keys.publicKey}:${keys.secretKey}`).toString("base64")}`
    const newestFirst = [...observations].sort((a, b) => b.startMillis - a.startMillis)
    const asked: Array<URL> = []
    const complaints: Array<string> = []

    const answer = (response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}) => {
      response.writeHead(status, { "content-type": "application/json", ...headers })
      response.end(typeof body === "string" ? body : JSON.stringify(body))
    }
    const refuse = (response: ServerResponse, status: number, message: string): void => {
      complaints.push(message)
      answer(response, status, { message })
    }
    const rowOf = (observation: Report.Observation, fields: ReadonlyArray<string>) => ({
      id: observation.spanId,
      traceId: observation.traceId,
      projectId: "project-1",
      parentObservationId: observation.parentId ?? null,
      type: "SPAN",
      startTime: iso(observation.startMillis),
      endTime: iso(observation.endMillis),
      ...(fields.includes("basic")
        ? { name: observation.name, level: observation.level, statusMessage: observation.statusMessage ?? "" }
        : {}),
      ...(fields.includes("metadata")
        ? {
            metadata: Object.fromEntries(
              Object.entries(observation.metadata).flatMap(([key, value]) =>
                value === undefined
                  ? []
                  : [[key, cut(rules.texts === true && typeof value !== "string" ? JSON.stringify(value) : value)]]
              )
            )
          }
        : {})
    })

    /** The one query that is asked of the metrics: how many there are. */
    const metrics = (url: URL, request: IncomingMessage, response: ServerResponse): unknown => {
      if (rules.counted === undefined) return answer(response, 429, { message: "no more today" })
      const path = api === "v2" ? "/api/public/v2/metrics" : "/api/public/metrics"
      if (url.pathname !== path) return answer(response, 404, "<!DOCTYPE html><html></html>")
      if (request.headers.authorization !== authorization)
        return answer(response, 401, { message: "Invalid credentials" })
      const { dimensions, filters, fromTimestamp, metrics, toTimestamp, view } = JSON.parse(
        url.searchParams.get("query") ?? "{}"
      )
      if (view !== "observations" || !(Date.parse(fromTimestamp) < Date.parse(toTimestamp))) {
        return refuse(response, 400, `query ${url.searchParams}`)
      }
      const asked = JSON.stringify([dimensions, filters, metrics])
      if (asked !== '[[],[],[{"measure":"count","aggregation":"count"}]]')
        return refuse(response, 400, `query ${asked}`)
      return answer(response, 200, { data: [{ count_count: `${rules.counted}` }] })
    }

    const handle = (request: IncomingMessage, response: ServerResponse): unknown => {
      const url = new URL(request.url ?? "", "http://langfuse")
      if (url.pathname.endsWith("/metrics")) return metrics(url, request, response)
      const behaviour = rules.behave?.(asked.length)
      asked.push(url)
      if (behaviour === "hang") return undefined
      if (behaviour === "reset") return request.socket.destroy()
      if (behaviour !== undefined) {
        const headers = behaviour.retryAfter === undefined ? {} : { "retry-after": behaviour.retryAfter }
        return answer(response, behaviour.status, behaviour.page ?? { message: behaviour.body ?? "no" }, headers)
      }
      const path = api === "v2" ? "/api/public/v2/observations" : "/api/public/observations"
      // what any path gets that it does not know
      if (url.pathname !== path) return answer(response, 404, "<!DOCTYPE html><html></html>")
      if (request.method !== "GET") return refuse(response, 405, `method ${request.method}`)
      if (request.headers.authorization !== authorization)
        return answer(response, 401, { message: "Invalid credentials" })
      const query = url.searchParams
      for (const name of query.keys()) {
        if (!known[path]?.includes(name)) return refuse(response, 400, `parameter ${name}`)
      }
      const [from, to] = [query.get("fromStartTime"), query.get("toStartTime")].map((text) => Date.parse(text ?? ""))
      if (from === undefined || to === undefined || Number.isNaN(from) || Number.isNaN(to)) {
        return refuse(response, 400, "no period")
      }
      const limit = Number(query.get("limit") ?? 50)
      if (!(limit >= 1 && limit <= (api === "v2" ? 1_000 : 100))) return refuse(response, 400, `limit ${limit}`)
      const rows = newestFirst.filter(({ startMillis }) => startMillis >= from && startMillis < to)
      if (api === "v1") {
        const page = Number(query.get("page") ?? 1)
        const data = rows.slice((page - 1) * limit, page * limit).map((row) => rowOf(row, ["basic", "metadata"]))
        const totalPages = Math.ceil(rows.length / limit)
        return answer(response, 200, { data, meta: { page, limit, totalItems: rows.length, totalPages } })
      }
      const cursor = query.get("cursor")
      const start = cursor === null ? 0 : Number(Buffer.from(cursor, "base64").toString())
      if (!Number.isInteger(start) || (cursor !== null && start < 1)) return refuse(response, 400, `cursor ${cursor}`)
      const data = rows
        .slice(start, start + limit)
        .map((row) => rowOf(row, (query.get("fields") ?? "core,basic").split(",")))
      const meta =
        start + limit < rows.length ? { cursor: Buffer.from(`${start + limit}`).toString("base64") } : { cursor: null }
      return answer(response, 200, { data, meta })
    }

    const server = createServer(handle)
    const port = yield* Effect.acquireRelease(
      Effect.async<number>((resume) => {
        server.listen(0, "127.0.0.1", () => {
          const address = server.address()
          resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
        })
      }),
      () =>
        Effect.async<void>((resume) => {
          server.close(() => resume(Effect.void))
          server.closeAllConnections()
        })
    )
    const url = `http://127.0.0.1:${port}`
    return {
      url,
      ...keys,
      env: { LANGFUSE_BASE_URL: url, LANGFUSE_PUBLIC_KEY: keys.publicKey, LANGFUSE_SECRET_KEY: keys.secretKey },
      asked: () => asked.slice(),
      complaints: () => complaints.slice()
    }
  })
