import * as Http from "node:http"
import { assert, describe, it } from "@effect/vitest"
import { BaseCallbackHandler } from "@langchain/core/callbacks/base"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Runtime from "effect/Runtime"
import type * as Narrative from "../../../src/programs/research/Narrative.js"
import * as NarrativeModel from "../../../src/programs/research/NarrativeModel.js"

const key = "sk-test-0123456789"

const input: Narrative.Input = { ticker: "AAPL", benchmark: "GSPC", asOf: "2016-03-01", findings: {} }

const prose: Narrative.Prose = { headline: "All is well", paragraphs: ["It rose.", "It fell."] }

interface Endpoint {
  readonly options: NarrativeModel.Options
  /** Every request's method, path, key and body, in order of arrival. */
  readonly requests: ReadonlyArray<{ readonly line: string; readonly authorization: string; readonly body: string }>
}

/** An OpenAI-compatible endpoint on loopback, for the length of the scope. */
const endpoint = (answer: (response: Http.ServerResponse, request: Http.IncomingMessage) => void) =>
  Effect.gen(function* () {
    const requests: Array<Endpoint["requests"][number]> = []
    const server = Http.createServer((request, response) => {
      let body = ""
      request.on("data", (chunk) => {
        body += String(chunk)
      })
      request.on("end", () => {
        const { authorization = "" } = request.headers
        requests.push({ line: `${request.method} ${request.url}`, authorization, body })
        answer(response, request)
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
    const found: Endpoint = {
      requests,
      options: {
        apiKey: Option.some(Redacted.make(key)),
        baseUrl: Option.some(`http://127.0.0.1:${port}/v1`),
        model: "small-model"
      }
    }
    return found
  })

const says = (content: string) => (response: Http.ServerResponse) => {
  response.setHeader("content-type", "application/json").end(
    JSON.stringify({
      id: "chatcmpl-1",
      object: "chat.completion",
      created: 1,
      model: "small-model",
      choices: [{ index: 0, finish_reason: "stop", message: { role: "assistant", content } }],
      usage: { prompt_tokens: 3, completion_tokens: 5, total_tokens: 8 }
    })
  )
}

describe("the model", () => {
  it.scoped("is asked once, and its JSON becomes prose", () =>
    Effect.gen(function* () {
      const { options, requests } = yield* endpoint(says(JSON.stringify(prose)))
      assert.deepStrictEqual(yield* NarrativeModel.write(input, options), prose)
      assert.deepStrictEqual(
        requests.map(({ authorization, line }) => [line, authorization]),
        [["POST /v1/chat/completions", `Bearer ${key}`]]
      )
      const body = requests[0]?.body ?? ""
      assert.include(body, '"model":"small-model"')
      assert.include(body, "Ticker: AAPL")
    })
  )

  it.scoped("may put its JSON into a fence", () =>
    Effect.gen(function* () {
      const { options } = yield* endpoint(says(`\`\`\`json\n${JSON.stringify(prose, null, 2)}\n\`\`\`\n`))
      assert.deepStrictEqual(yield* NarrativeModel.write(input, options), prose)
    })
  )

  it.scoped("that answers with anything else has failed, with a type", () =>
    Effect.gen(function* () {
      const { options, requests } = yield* endpoint(says("I am sorry, but I cannot."))
      const error = yield* Effect.flip(NarrativeModel.write(input, options))
      assert.instanceOf(error, NarrativeModel.ModelAnswerError)
      assert.include(error.message, "small-model")
      assert.include(error.message, "I am sorry")
      assert.strictEqual(requests.length, 1)
    })
  )

  it.scoped("that limits its rate is asked exactly once, and its status and headers are those of the failure", () =>
    Effect.gen(function* () {
      const { options, requests } = yield* endpoint((response) => {
        response
          .writeHead(429, { "content-type": "application/json", "retry-after": "7" })
          .end(JSON.stringify({ error: { message: "slow down", type: "rate_limit", code: "rate_limit_exceeded" } }))
      })
      const error: unknown = yield* Effect.flip(NarrativeModel.write(input, options))
      assert.instanceOf(error, Error)
      assert.propertyVal(error, "status", 429)
      const headers = "headers" in error ? error.headers : undefined
      assert.instanceOf(headers, Headers)
      assert.strictEqual(headers.get("retry-after"), "7")
      assert.strictEqual(requests.length, 1)
    })
  )

  it.scoped.each([500, 503, 401])("that answers %i is asked exactly once", (status) =>
    Effect.gen(function* () {
      const { options, requests } = yield* endpoint((response) => {
        response.writeHead(status).end("no")
      })
      assert.propertyVal(yield* Effect.flip(NarrativeModel.write(input, options)), "status", status)
      assert.strictEqual(requests.length, 1)
    })
  )

  it.scoped("that cannot be reached has failed with the client's error", () =>
    Effect.gen(function* () {
      const { options } = yield* Effect.scoped(endpoint(() => undefined))
      const error = yield* Effect.flip(NarrativeModel.write(input, options))
      assert.instanceOf(error, Error)
      assert.notInstanceOf(error, NarrativeModel.ModelAnswerError)
    })
  )

  it.scopedLive("lets go of the connection when it is interrupted", () =>
    Effect.gen(function* () {
      const run = Runtime.runSync(yield* Effect.runtime<never>())
      const asked = yield* Deferred.make<void>()
      const closed = yield* Deferred.make<void>()
      // never answers
      const { options } = yield* endpoint((response, request) => {
        request.socket.once("close", () => run(Deferred.succeed(closed, undefined)))
        assert.isFalse(response.headersSent)
        run(Deferred.succeed(asked, undefined))
      })
      const fiber = yield* Effect.fork(NarrativeModel.write(input, options))
      yield* Deferred.await(asked)
      yield* Fiber.interrupt(fiber)
      yield* Deferred.await(closed).pipe(Effect.timeout("5 seconds"))
    })
  )

  it.scoped("tells the callbacks of the generation", () =>
    Effect.gen(function* () {
      const { options } = yield* endpoint(says(JSON.stringify(prose)))
      const seen: Array<string> = []
      const handler = BaseCallbackHandler.fromMethods({
        handleChatModelStart: () => {
          seen.push("start")
        },
        handleLLMEnd: () => {
          seen.push("end")
        }
      })
      handler.awaitHandlers = true
      yield* NarrativeModel.write(input, options, [handler])
      assert.deepStrictEqual(seen, ["start", "end"])
    })
  )

  it.effect("without a key is not called: the failure says which variable to set", () =>
    Effect.gen(function* () {
      const options = { apiKey: Option.none(), baseUrl: Option.some("http://127.0.0.1:1/v1"), model: "small-model" }
      const error = yield* Effect.flip(NarrativeModel.write(input, options))
      assert.instanceOf(error, NarrativeModel.ModelNotConfiguredError)
      assert.strictEqual(error.variable, "OPENAI_API_KEY")
      assert.include(error.message, "OPENAI_API_KEY")
    })
  )
})

describe("an answer", () => {
  it.effect.each([
    ["no JSON", "{"],
    ["the wrong shape", '{"headline": "x"}'],
    ["no paragraph", '{"headline": "x", "paragraphs": []}'],
    ["a blank headline", '{"headline": "  ", "paragraphs": ["y"]}'],
    ["text around the JSON", 'Here: {"headline": "x", "paragraphs": ["y"]}'],
    ["nothing", ""]
  ] as const)("with %s is refused", ([, answer]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(NarrativeModel.decode(answer, "small-model"))
      assert.strictEqual(error._tag, "ModelAnswerError")
      assert.notStrictEqual(error.problem, "")
    })
  )

  it.effect("is trimmed", () =>
    Effect.gen(function* () {
      const found = yield* NarrativeModel.decode('{"headline": " x\\n", "paragraphs": ["y "]}', "small-model")
      assert.deepStrictEqual(found, { headline: "x", paragraphs: ["y"] })
    })
  )
})

describe("the configuration", () => {
  const read = (...entries: ReadonlyArray<readonly [string, string]>) =>
    Effect.withConfigProvider(NarrativeModel.config, ConfigProvider.fromMap(new Map(entries)))

  it.effect("needs nothing; an empty variable is as good as none", () =>
    Effect.gen(function* () {
      const none = { apiKey: Option.none(), baseUrl: Option.none(), model: NarrativeModel.defaultModel }
      assert.deepStrictEqual(yield* read(), none)
      assert.deepStrictEqual(yield* read(["OPENAI_API_KEY", ""], ["OPENAI_BASE_URL", " "], ["OPENAI_MODEL", ""]), none)
    })
  )

  it.effect("hides the key", () =>
    Effect.gen(function* () {
      const options = yield* read(["OPENAI_API_KEY", key], ["OPENAI_BASE_URL", "http://localhost:1234/v1"])
      assert.notInclude(JSON.stringify(options), key)
      assert.deepStrictEqual(Option.map(options.apiKey, Redacted.value), Option.some(key))
      assert.deepStrictEqual(options.baseUrl, Option.some("http://localhost:1234/v1"))
    })
  )

  it.effect("refuses a base that is no URL, and names the variable", () =>
    Effect.gen(function* () {
      for (const base of ["localhost:1234", "ftp://host/v1", "no url"]) {
        const result = yield* Effect.either(read(["OPENAI_BASE_URL", base]))
        assert.isTrue(Either.isLeft(result), base)
        assert.include(String(Either.getOrNull(Either.flip(result))), "OPENAI_BASE_URL")
      }
    })
  )
})
