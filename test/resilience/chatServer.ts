/** A chat model's HTTP interface on loopback that does what each test tells it to, and writes down who came when. */
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import * as Effect from "effect/Effect"

/** What one request meets. */
export type Behaviour = (response: Http.ServerResponse, model: string) => void

export interface Visit {
  /** When it came, in milliseconds. */
  readonly at: number
  readonly model: string
  /** Whether the client went away before it had its answer. */
  left: boolean
}

const json = (response: Http.ServerResponse, status: number, headers: Http.OutgoingHttpHeaders, body: unknown) => {
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body))
}

const completion = (text: string, model: string) => ({
  id: "chatcmpl-1",
  object: "chat.completion",
  created: 1,
  model,
  choices: [{ index: 0, finish_reason: "stop", message: { role: "assistant", content: text } }],
  usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 }
})

const chunk = (text: string, model: string, finish_reason: string | null = null) =>
  `data: ${JSON.stringify({
    id: "chatcmpl-1",
    object: "chat.completion.chunk",
    created: 1,
    model,
    choices: [{ index: 0, delta: { role: "assistant", content: text }, finish_reason }]
  })}\n\n`

export const answer =
  (text = "the answer"): Behaviour =>
  (response, model) =>
    json(response, 200, {}, completion(text, model))

/** Answers after a while. */
export const late =
  (millis: number): Behaviour =>
  (response, model) => {
    setTimeout(() => answer()(response, model), millis)
  }

export const refuse =
  (status: number, headers: Http.OutgoingHttpHeaders = {}, error: object = {}): Behaviour =>
  (response) =>
    json(response, status, headers, { error: { message: `status ${status}`, ...error } })

export const hang: Behaviour = () => {}

export const reset: Behaviour = (response) => {
  response.socket?.resetAndDestroy()
}

/** A whole HTTP answer whose JSON ends in the middle. */
export const truncate: Behaviour = (response, model) => {
  const body = JSON.stringify(completion("the answer", model))
  response.writeHead(200, { "content-type": "application/json" }).end(body.slice(0, body.length / 2))
}

/** Headers that promise more than comes before the connection is cut. */
export const cut: Behaviour = (response, model) => {
  const body = JSON.stringify(completion("the answer", model))
  response.writeHead(200, { "content-type": "application/json", "content-length": body.length })
  response.write(body.slice(0, body.length / 2), () => response.socket?.destroy())
}

const stream = (response: Http.ServerResponse, model: string) => {
  response.writeHead(200, { "content-type": "text/event-stream" })
  response.write(chunk("the ", model))
}

export const streamed: Behaviour = (response, model) => {
  stream(response, model)
  response.write(chunk("answer", model))
  response.end(`${chunk("", model, "stop")}data: [DONE]\n\n`)
}

/** Half an answer, and then the connection is cut. */
export const streamCut: Behaviour = (response, model) => {
  stream(response, model)
  setTimeout(() => response.socket?.destroy(), 10)
}

/** Half an answer, and then an orderly end that says nothing of why. */
export const streamHalf: Behaviour = (response, model) => {
  stream(response, model)
  response.end()
}

/** Half an answer, and then nothing more. */
export const streamHang: Behaviour = (response, model) => stream(response, model)

const modelOf = (body: string): string => {
  const parsed: unknown = JSON.parse(body)
  return typeof parsed === "object" && parsed !== null && "model" in parsed ? String(parsed.model) : ""
}

/** The first request meets the first behaviour and so on; the last one stays. It is closed with the scope. */
export const make = (...behaviours: readonly [Behaviour, ...ReadonlyArray<Behaviour>]) =>
  Effect.acquireRelease(
    Effect.async<{
      readonly url: string
      readonly visits: ReadonlyArray<Visit>
      readonly mostAtOnce: () => number
      readonly close: () => void
    }>((resume) => {
      const visits: Array<Visit> = []
      let inside = 0
      let most = 0
      const server = Http.createServer((request, response) => {
        let body = ""
        request.setEncoding("utf8")
        request.on("data", (text) => {
          body += text
        })
        request.on("end", () => {
          const visit: Visit = { at: performance.now(), model: modelOf(body), left: false }
          const behaviour = behaviours[Math.min(visits.length, behaviours.length - 1)] ?? hang
          visits.push(visit)
          most = Math.max(most, ++inside)
          response.on("close", () => {
            inside--
            visit.left = !response.writableEnded
          })
          behaviour(response, visit.model)
        })
      })
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as AddressInfo // it listens on a port, not on a pipe
        resume(
          Effect.succeed({
            url: `http://127.0.0.1:${port}/v1`,
            visits,
            mostAtOnce: () => most,
            close: () => {
              server.closeAllConnections()
              server.close()
            }
          })
        )
      })
    }),
    (server) => Effect.sync(() => server.close())
  )
