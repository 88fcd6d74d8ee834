/** Langfuse's observations, page by page, in its current API and in the one before. */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Redaction from "../../observability/Redaction.js"
import type { Observation, Period, Source } from "../Report.js"
import { ReportError } from "../ReportError.js"
import * as http from "./http.js"

/** @internal */
export interface Options {
  /** Without a slash at its end. */
  readonly baseUrl: string
  readonly publicKey: string
  readonly secretKey: Redacted.Redacted
  readonly timeoutMillis: number
  /** How long one page is waited for in all. */
  readonly patienceMillis: number
  readonly pageSize: number
  /** The first pause after a failure, each next one is twice as long. Default 250. */
  readonly backoffMillis?: number
}

/** More than that the API before version 4 refuses. */
const maxOldPage = 100
/** Requests for one page that come to nothing, one after the other: who has read for long must not lose it all to a short outage. */
const maxFailures = { atFirst: 4, later: 8 } as const
const maxBackoffMillis = 10_000

/** A time zone is not always written: it is Greenwich's. */
const millisOf = (text: string): number => {
  const zoned = /(?:z|[+-]\d\d:?\d\d)$/i.test(text) ? text : `${text.replace(" ", "T")}Z`
  return Date.parse(zoned)
}

const Time = Schema.String.pipe(
  Schema.filter((text) => !Number.isNaN(millisOf(text)), { message: () => "it is no time" })
)

const Row = Schema.Struct({
  id: Schema.String,
  traceId: Schema.NullOr(Schema.String),
  parentObservationId: Schema.optional(Schema.NullOr(Schema.String)),
  name: Schema.optional(Schema.NullOr(Schema.String)),
  level: Schema.optional(Schema.NullOr(Schema.String)),
  statusMessage: Schema.optional(Schema.NullOr(Schema.String)),
  startTime: Time,
  endTime: Schema.optional(Schema.NullOr(Time)),
  metadata: Schema.optional(Schema.Unknown)
})

const Page = Schema.Struct({
  data: Schema.Array(Row),
  meta: Schema.optional(
    Schema.Struct({
      cursor: Schema.optional(Schema.NullOr(Schema.String)),
      totalPages: Schema.optional(Schema.NullOr(Schema.Number))
    })
  )
})

const decodePage = Schema.decodeUnknownEither(Page)

const isLevel = (text: string | null | undefined): text is Observation["level"] =>
  text === "DEBUG" || text === "DEFAULT" || text === "WARNING" || text === "ERROR"

const metadataOf = (value: unknown): Readonly<Record<string, unknown>> => {
  if (Predicate.isRecord(value)) return value
  if (typeof value !== "string") return {}
  try {
    const parsed: unknown = JSON.parse(value)
    return Predicate.isRecord(parsed) ? parsed : {}
  } catch {
    return {}
  }
}

const observationOf = (row: typeof Row.Type): Observation => ({
  traceId: row.traceId ?? "",
  spanId: row.id,
  parentId: row.parentObservationId == null || row.parentObservationId === "" ? undefined : row.parentObservationId,
  name: row.name ?? "",
  level: isLevel(row.level) ? row.level : "DEFAULT",
  statusMessage: row.statusMessage ?? undefined,
  startMillis: millisOf(row.startTime),
  endMillis: row.endTime == null ? undefined : millisOf(row.endTime),
  metadata: metadataOf(row.metadata)
})

interface Answer {
  readonly status: number
  readonly text: string
  readonly retryAfterMillis: number | undefined
}

/** Where the reading stands. */
type Place = { readonly api: "v2"; readonly cursor: string | undefined } | { readonly api: "v1"; readonly page: number }

const first: Place = { api: "v2", cursor: undefined }
const firstOld: Place = { api: "v1", page: 1 }

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Langfuse writes its counts as texts. */
const countOf = (answer: unknown): number | undefined => {
  const rows = Predicate.hasProperty(answer, "data") && Array.isArray(answer.data) ? answer.data : []
  const [row]: ReadonlyArray<unknown> = rows
  const value = Predicate.hasProperty(row, "count_count") ? Number(row.count_count) : Number.NaN
  return Number.isSafeInteger(value) ? value : undefined
}

const seconds = (millis: number): string => `${Math.max(1, Math.round(millis / 1000))} s`

/** @internal */
export const make = (options: Options): Source => {
  const { backoffMillis = 250, baseUrl } = options
  const name = `Langfuse at ${baseUrl}`
  const headers = {
    accept: "application/json",
    authorization: http.basic(options.publicKey, Redacted.value(options.secretKey))
  }
  const fail = (reason: ReportError["reason"], message: string) => new ReportError({ reason, source: name, message })

  const get = (path: string): Effect.Effect<Answer, string> =>
    Effect.tryPromise({
      try: async (signal) => {
        const response = await fetch(baseUrl + path, {
          headers,
          redirect: "manual",
          signal: AbortSignal.any([signal, AbortSignal.timeout(options.timeoutMillis)])
        })
        return {
          status: response.status,
          text: await response.text(),
          retryAfterMillis: http.retryAfterMillis(response.headers.get("retry-after"))
        }
      },
      catch: (error) => http.reasonOf(error, baseUrl, "LANGFUSE_BASE_URL")
    })

  /** The page's JSON, or nothing if the server does not know the path. */
  const ask = (path: string, maxFailures: number): Effect.Effect<unknown, ReportError> => {
    const loop = (failures: number, waited: number): Effect.Effect<unknown, ReportError> => {
      const backoff = Math.min(maxBackoffMillis, backoffMillis * 2 ** failures)
      const again = (millis: number, failures: number): Effect.Effect<unknown, ReportError> =>
        Effect.zipRight(
          Effect.sleep(millis),
          Effect.suspend(() => loop(failures, waited + millis))
        )
      const later = (error: () => ReportError): Effect.Effect<unknown, ReportError> =>
        failures + 1 >= maxFailures || waited + backoff > options.patienceMillis
          ? Effect.fail(error())
          : again(backoff, failures + 1)
      return Effect.matchEffect(get(path), {
        onFailure: (reason) =>
          /^there is no host/.test(reason)
            ? fail("Unreachable", `${name} cannot be reached: ${reason}`)
            : later(() => fail("Unreachable", `${name} cannot be reached: ${reason}`)),
        onSuccess: ({ retryAfterMillis, status, text }) => {
          const said = Redaction.text(text.slice(0, 200)).replace(/\s+/g, " ").trim()
          const shown = `HTTP ${status}${said === "" || said.startsWith("<") ? "" : ` ${said}`}`
          if (status >= 200 && status < 300) return Effect.succeed(parse(text) ?? text)
          if (status === 404 || status === 405) return Effect.succeed(undefined)
          if (status === 401 || status === 403) {
            return fail(
              "Unauthorized",
              `${name} refuses the keys (HTTP ${status}): look at LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY and LANGFUSE_BASE_URL, or ask \`holdfast doctor\``
            )
          }
          if (status === 429) {
            // one that says "at once" again and again is not asked without a pause
            const millis = Math.max(retryAfterMillis ?? backoff, backoffMillis)
            if (waited + millis > options.patienceMillis) {
              return fail(
                "RateLimited",
                `${name} limits the rate, and asks to wait for ${seconds(millis)}: ask again then, or for a shorter time`
              )
            }
            return Effect.zipRight(
              millis < 2_000 ? Effect.void : Effect.logInfo(`${name} asks to wait for ${seconds(millis)}`),
              again(millis, retryAfterMillis === undefined ? failures + 1 : failures)
            )
          }
          if (status === 408 || status === 425 || status >= 500) {
            return later(() => fail("Unreachable", `${name} does not answer the question: ${shown}`))
          }
          return fail("Refused", `${name} does not answer the question: ${shown}`)
        }
      })
    }
    return loop(0, 0)
  }

  const pageOf = (answer: unknown): Effect.Effect<typeof Page.Type, ReportError> => {
    const page = decodePage(answer)
    if (Either.isRight(page)) return Effect.succeed(page.right)
    const [first] = ParseResult.ArrayFormatter.formatErrorSync(page.left)
    const what = `${(first?.path ?? []).map(String).join(".") || "the answer"}: ${Redaction.text(first?.message ?? "").slice(0, 200)}`
    return fail(
      "Unreadable",
      `What answers at ${baseUrl} does not speak as Langfuse does (${what}): look at LANGFUSE_BASE_URL`
    )
  }

  const pathOf = (place: Place, { from, to }: Period): string => {
    const period = { fromStartTime: from.toISOString(), toStartTime: to.toISOString() }
    if (place.api === "v1") {
      const limit = `${Math.min(maxOldPage, options.pageSize)}`
      return `/api/public/observations?${new URLSearchParams({ ...period, page: `${place.page}`, limit })}`
    }
    const query = { ...period, fields: "core,basic,metadata", limit: `${options.pageSize}` }
    return `/api/public/v2/observations?${new URLSearchParams(place.cursor === undefined ? query : { ...query, cursor: place.cursor })}`
  }

  type Step = readonly [Chunk.Chunk<Observation>, Option.Option<Place>]

  const next = (place: Place, { data, meta }: typeof Page.Type): Effect.Effect<Option.Option<Place>, ReportError> => {
    if (place.api === "v1") {
      const isLast = data.length === 0 || (meta?.totalPages != null && place.page >= meta.totalPages)
      return Effect.succeed(isLast ? Option.none() : Option.some({ api: "v1", page: place.page + 1 }))
    }
    const cursor = meta?.cursor ?? undefined
    if (cursor === undefined || cursor === "") return Effect.succeed(Option.none())
    return cursor === place.cursor
      ? fail("Unreadable", `${name} gives the same page again and again`)
      : Effect.succeed(Option.some({ api: "v2", cursor }))
  }

  const step = (place: Place, period: Period): Effect.Effect<Step, ReportError> =>
    Effect.gen(function* () {
      const answer = yield* ask(pathOf(place, period), place === first ? maxFailures.atFirst : maxFailures.later)
      if (answer === undefined) {
        if (place === first) return [Chunk.empty(), Option.some(firstOld)]
        return yield* fail("Refused", `${name} knows no observations (HTTP 404): look at LANGFUSE_BASE_URL`)
      }
      const page = yield* pageOf(answer)
      return [Chunk.unsafeFromArray(page.data.map(observationOf)), yield* next(place, page)]
    })

  /** How many observations Langfuse's metrics count, in one query of which nothing depends. */
  const count = ({ from, to }: Period): Effect.Effect<number | undefined> => {
    const query = JSON.stringify({
      view: "observations",
      metrics: [{ measure: "count", aggregation: "count" }],
      dimensions: [],
      filters: [],
      fromTimestamp: from.toISOString(),
      toTimestamp: to.toISOString()
    })
    const asked = (path: string) => get(`${path}?${new URLSearchParams({ query })}`)
    return asked("/api/public/v2/metrics").pipe(
      Effect.flatMap((answer) => (answer.status === 404 ? asked("/api/public/metrics") : Effect.succeed(answer))),
      Effect.map(({ status, text }) => (status === 200 ? countOf(parse(text)) : undefined)),
      Effect.orElseSucceed(() => undefined)
    )
  }

  return {
    name,
    count,
    observations: (period) => Stream.paginateChunkEffect(first, (place: Place) => step(place, period))
  }
}
