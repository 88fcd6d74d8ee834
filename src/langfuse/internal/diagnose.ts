import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as http from "./http.js"

/** @internal */
export interface Finding {
  readonly check: "langfuse" | "keys" | "clock" | "delivery" | "otlp"
  readonly status: "ok" | "warning" | "problem"
  readonly message: string
}

/** @internal */
export interface Options {
  readonly langfuse:
    | { readonly baseUrl: string; readonly publicKey: string; readonly secretKey: Redacted.Redacted }
    | undefined
  readonly otlp: { readonly url: string; readonly headers: Readonly<Record<string, Redacted.Redacted>> } | undefined
  readonly timeoutMillis: number
  /** Addresses of one service, of which each knows only its own keys. */
  readonly regions?: ReadonlyArray<string>
}

/** Langfuse's own, as its documentation lists them. */
const cloudRegions: ReadonlyArray<string> = [
  "https://cloud.langfuse.com",
  "https://us.cloud.langfuse.com",
  "https://jp.cloud.langfuse.com",
  "https://hipaa.cloud.langfuse.com"
]

/** Less is the way there and back, and the seconds to which the header is rounded. */
const clockMillis = 10_000

interface Answer {
  readonly status: number
  readonly body: unknown
  /** How far the server's clock is ahead of ours, if it says what time it is. */
  readonly aheadMillis: number | undefined
}

const get = async (url: string, headers: Readonly<Record<string, string>>, timeoutMillis: number): Promise<Answer> => {
  const from = Date.now()
  const response = await fetch(url, { headers, redirect: "manual", signal: AbortSignal.timeout(timeoutMillis) })
  const text = await response.text()
  const date = Date.parse(response.headers.get("date") ?? "")
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch {
    body = undefined
  }
  return {
    status: response.status,
    body,
    // the header is cut to whole seconds: on average half a second is missing
    aheadMillis: Number.isNaN(date) ? undefined : date + 500 - (from + Date.now()) / 2
  }
}

const duration = (millis: number): string => {
  const seconds = Math.round(millis / 1000)
  if (seconds < 120) return `${seconds} s`
  return seconds < 7_200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3_600)} h`
}

const clock = (aheadMillis: number | undefined): Finding => {
  if (aheadMillis === undefined) {
    return { check: "clock", status: "warning", message: "the server does not say what time it is" }
  }
  if (Math.abs(aheadMillis) < clockMillis) return { check: "clock", status: "ok", message: "agrees with the server's" }
  const which = aheadMillis > 0 ? "behind" : "ahead of"
  return {
    check: "clock",
    status: "problem",
    message: `this machine's clock is ${duration(Math.abs(aheadMillis))} ${which} the server's: observations stand at the wrong time. Set it, or let NTP do so`
  }
}

const projectOf = (body: unknown): string | undefined => {
  if (!Predicate.hasProperty(body, "data") || !Array.isArray(body.data)) return undefined
  const [first] = body.data
  return Predicate.hasProperty(first, "name") ? String(first.name) : undefined
}

/** The region that knows the keys. */
const regionOf = async (
  regions: ReadonlyArray<string>,
  baseUrl: string,
  headers: Readonly<Record<string, string>>,
  timeoutMillis: number
): Promise<string | undefined> => {
  if (!regions.includes(baseUrl)) return undefined
  for (const region of regions) {
    if (region === baseUrl) continue
    const answer = await get(`${region}/api/public/projects`, headers, timeoutMillis).catch(() => undefined)
    if (answer?.status === 200) return region
  }
  return undefined
}

/** Sends a request with nothing in it. */
const attempt = async (endpoint: http.Endpoint): Promise<Pick<Finding, "status" | "message">> => {
  const outcome = await http.post(endpoint, '{"resourceSpans":[]}', new AbortController().signal)
  return outcome._tag === "Taken"
    ? { status: "ok", message: `${endpoint.url} takes observations` }
    : { status: "problem", message: `${endpoint.url} takes none: ${outcome.reason}` }
}

const langfuse = async (
  { baseUrl, publicKey, secretKey }: NonNullable<Options["langfuse"]>,
  { regions = cloudRegions, timeoutMillis }: Options
): Promise<ReadonlyArray<Finding>> => {
  const headers = { authorization: http.basic(publicKey, Redacted.value(secretKey)) }
  let health: Answer
  try {
    health = await get(`${baseUrl}/api/public/health`, {}, timeoutMillis)
  } catch (error) {
    const reason = http.reasonOf(error, baseUrl, "LANGFUSE_BASE_URL")
    return [{ check: "langfuse", status: "problem", message: `${baseUrl} cannot be reached: ${reason}` }]
  }
  if (!Predicate.hasProperty(health.body, "status")) {
    const message = `what answers at ${baseUrl} is no Langfuse (HTTP ${health.status}): look at LANGFUSE_BASE_URL`
    return [{ check: "langfuse", status: "problem", message }]
  }
  const version = Predicate.hasProperty(health.body, "version") ? `, version ${health.body.version}` : ""
  const findings: Array<Finding> = [
    health.status === 200
      ? { check: "langfuse", status: "ok", message: `${baseUrl} answers${version}` }
      : { check: "langfuse", status: "problem", message: `${baseUrl} says that it is not well: HTTP ${health.status}` },
    clock(health.aheadMillis)
  ]
  const projects = await get(`${baseUrl}/api/public/projects`, headers, timeoutMillis).catch(() => undefined)
  if (projects?.status === 401 || projects?.status === 403) {
    const region = await regionOf(regions, baseUrl, headers, timeoutMillis)
    const advice =
      region === undefined
        ? "look at LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY, and whether they are of this server (LANGFUSE_BASE_URL)"
        : `they are of another region: set LANGFUSE_BASE_URL=${region}`
    return [...findings, { check: "keys", status: "problem", message: `refused (HTTP ${projects.status}): ${advice}` }]
  }
  findings.push(
    projects?.status === 200
      ? { check: "keys", status: "ok", message: `of the project "${projectOf(projects.body) ?? "?"}"` }
      : { check: "keys", status: "warning", message: `could not be asked: ${projects?.status ?? "no answer"}` }
  )
  const endpoint: http.Endpoint = {
    url: `${baseUrl}/api/public/otel/v1/traces`,
    headers: { ...headers, "x-langfuse-public-key": publicKey },
    timeoutMillis,
    compression: "off",
    keysSetting: "LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY and LANGFUSE_BASE_URL",
    addressSetting: "LANGFUSE_BASE_URL"
  }
  return [...findings, { check: "delivery", ...(await attempt(endpoint)) }]
}

/**
 * Asks the servers whether they would take what is sent to them, and says what is wrong. Sends nothing that stays. Never rejects.
 *
 * @internal
 */
export const diagnose = async (options: Options): Promise<ReadonlyArray<Finding>> => {
  const findings: Array<Finding> = []
  if (options.langfuse !== undefined) findings.push(...(await langfuse(options.langfuse, options)))
  const { otlp } = options
  if (otlp !== undefined) {
    const endpoint: http.Endpoint = {
      url: otlp.url,
      headers: Object.fromEntries(Object.entries(otlp.headers).map(([name, value]) => [name, Redacted.value(value)])),
      timeoutMillis: options.timeoutMillis,
      compression: "off",
      keysSetting: "HOLDFAST_OTLP_HEADERS",
      addressSetting: "HOLDFAST_OTLP_ENDPOINT"
    }
    findings.push({ check: "otlp", ...(await attempt(endpoint)) })
  }
  return findings
}
