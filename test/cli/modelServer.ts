/** An OpenAI-compatible endpoint on loopback that counts what it is asked. */
import { createServer } from "node:http"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

export interface ModelServer {
  /** The variables that make a process ask here. */
  readonly env: Readonly<Record<string, string>>
  readonly apiKey: string
  /** How often it was asked. */
  readonly calls: () => number
  /** Everything that came, headers apart. */
  readonly bodies: () => ReadonlyArray<string>
  /** From now on: answer, or take the request and keep still. */
  readonly behave: (behaviour: "answer" | "hang") => void
  /** Waits until it has been asked so often. */
  readonly asked: (times: number) => Effect.Effect<void>
  /** Waits until as many callers have given up. */
  readonly givenUp: (times: number) => Effect.Effect<void>
}

export const prose = { headline: "As the model tells it", paragraphs: ["The figures speak for themselves."] }

const completion = {
  id: "chatcmpl-1",
  object: "chat.completion",
  created: 1_700_000_000,
  model: "test-model",
  choices: [{ index: 0, finish_reason: "stop", message: { role: "assistant", content: JSON.stringify(prose) } }],
  usage: { prompt_tokens: 100, completion_tokens: 20, total_tokens: 120 }
}

export const make: Effect.Effect<ModelServer, never, Scope.Scope> = Effect.gen(function* () {
  const bodies: Array<string> = []
  const listeners = new Set<() => void>()
  const changed = () => {
    for (const listener of listeners) listener()
  }
  let behaviour: "answer" | "hang" = "answer"
  let gone = 0
  const server = createServer((request, response) => {
    let body = ""
    request.setEncoding("utf8").on("data", (text: string) => {
      body += text
    })
    request.on("end", () => {
      bodies.push(body)
      response.on("close", () => {
        if (!response.writableEnded) gone++
        changed()
      })
      changed()
      if (behaviour === "answer") response.setHeader("content-type", "application/json").end(JSON.stringify(completion))
    })
  })
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
  const until = (holds: () => boolean): Effect.Effect<void> =>
    Effect.async((resume) => {
      const look = () => {
        if (holds()) resume(Effect.void)
      }
      listeners.add(look)
      look()
      return Effect.sync(() => listeners.delete(look))
    })
  const apiKey = "sk-model-key-8d1f"
  return {
    env: { OPENAI_API_KEY: apiKey, OPENAI_BASE_URL: `http://127.0.0.1:${port}/v1`, OPENAI_MODEL: "test-model" },
    apiKey,
    calls: () => bodies.length,
    bodies: () => bodies.slice(),
    behave: (next) => {
      behaviour = next
    },
    asked: (times) => until(() => bodies.length >= times),
    givenUp: (times) => until(() => gone >= times)
  }
})
