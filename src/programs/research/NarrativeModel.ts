/**
 * Prose by a chat model behind any OpenAI-compatible endpoint. One call is one request: what is to be tried again, and when, is the policy's to say.
 *
 * @since 0.1.0
 */
import type { BaseCallbackHandler } from "@langchain/core/callbacks/base"
import * as Config from "effect/Config"
import * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Failure from "../../resilience/Failure.js"
import * as Narrative from "./Narrative.js"

/**
 * Where the model is.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** None: no model is called. */
  readonly apiKey: Option.Option<Redacted.Redacted<string>>
  /** The endpoint's base, such as `http://localhost:11434/v1`; none: OpenAI's own. */
  readonly baseUrl: Option.Option<string>
  readonly model: string
}

/**
 * The model that is asked when none is named.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultModel = "gpt-4o-mini"

/** An empty variable is as good as none. */
const filled = (name: string): Config.Config<Option.Option<string>> =>
  Config.string(name).pipe(
    Config.option,
    Config.map((value) =>
      Option.filter(
        Option.map(value, (text) => text.trim()),
        (text) => text !== ""
      )
    )
  )

const isHttpUrl = (text: string): boolean => URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)

/**
 * From the environment: `OPENAI_API_KEY`, `OPENAI_BASE_URL`, `OPENAI_MODEL`. All are optional; a base that is no URL is an error.
 *
 * @since 0.1.0
 * @category configuration
 */
export const config: Config.Config<Options> = Config.all({
  apiKey: filled("OPENAI_API_KEY").pipe(
    Config.map(Option.map((key) => Redacted.make(key))),
    Config.withDescription("the key of an OpenAI-compatible endpoint; without it a template writes the narrative")
  ),
  baseUrl: filled("OPENAI_BASE_URL").pipe(
    Config.mapOrFail((value) =>
      Option.isSome(value) && !isHttpUrl(value.value)
        ? Either.left(
            ConfigError.InvalidData(
              ["OPENAI_BASE_URL"],
              "Expected the http or https URL of an OpenAI-compatible endpoint, such as http://localhost:11434/v1"
            )
          )
        : Either.right(value)
    ),
    Config.withDescription("the base URL of the endpoint, up to and with /v1")
  ),
  model: filled("OPENAI_MODEL").pipe(
    Config.map(Option.getOrElse(() => defaultModel)),
    Config.withDescription(`the model's name; ${defaultModel} if not given`)
  )
})

/**
 * There is no key, so no model was called. Permanent.
 *
 * @since 0.1.0
 * @category errors
 */
export class ModelNotConfiguredError extends Schema.TaggedError<ModelNotConfiguredError>()("ModelNotConfiguredError", {
  variable: Schema.String
}) {
  override get message(): string {
    return `No chat model is configured: set ${this.variable} (and OPENAI_BASE_URL, OPENAI_MODEL for another endpoint or model than OpenAI's ${defaultModel}).`
  }

  /** No retry sets a variable. */
  get failure(): Failure.Failure {
    return { kind: "permanent", reason: "not configured" }
  }
}

/**
 * The model answered with something that is no `Narrative.Prose`. Another try may do better.
 *
 * @since 0.1.0
 * @category errors
 */
export class ModelAnswerError extends Schema.TaggedError<ModelAnswerError>()("ModelAnswerError", {
  model: Schema.String,
  problem: Schema.String,
  /** The beginning of the answer. */
  answer: Schema.String
}) {
  override get message(): string {
    return `The model ${this.model} did not answer with the JSON it was asked for: ${this.problem}. It said: ${JSON.stringify(this.answer)}`
  }

  /** A second answer may make sense. */
  get failure(): Failure.Failure {
    return { kind: "transient", reason: "decode", maxRetries: 1 }
  }
}

/** The JSON of an answer, within a fence of Markdown or not. */
const unfenced = (answer: string): string => /^\s*```(?:json)?\s*\n([\s\S]*?)\n?\s*```\s*$/i.exec(answer)?.[1] ?? answer

const decodeProse = Schema.decodeUnknown(Schema.parseJson(Narrative.Prose))

/**
 * Decodes what a model answered; a ```` ```json ```` fence around it is tolerated, anything else is not.
 *
 * @since 0.1.0
 * @category decoding
 */
export const decode = (answer: string, model: string): Effect.Effect<Narrative.Prose, ModelAnswerError> =>
  Effect.mapError(
    decodeProse(unfenced(answer)),
    (error) =>
      new ModelAnswerError({
        model,
        problem: ParseResult.ArrayFormatter.formatErrorSync(error)
          .map(({ message, path }) => (path.length === 0 ? message : `${path.map(String).join(".")}: ${message}`))
          .join("; "),
        answer: answer.length > 200 ? `${answer.slice(0, 200)}...` : answer
      })
  )

/** What was thrown, as it was: a status and headers on it tell what kind of failure it is. */
const asError = (thrown: unknown): Error => (thrown instanceof Error ? thrown : new Error(String(thrown)))

/**
 * Asks the model for prose. Fails with `ModelNotConfiguredError` at once when there is no key, with `ModelAnswerError` when the answer is not what was
 * asked for, else with the very error of the client, whose `status` and `headers` tell a rate limit from an outage.
 *
 * Sends one request, as the client's own retries are off, and closes its connection on interruption. LangChain is loaded by the first call. The
 * `callbacks` are passed to LangChain, which tells them of the generation.
 *
 * @since 0.1.0
 * @category writing
 */
export const write = (
  input: Narrative.Input,
  options: Options,
  callbacks: ReadonlyArray<BaseCallbackHandler> = []
): Effect.Effect<Narrative.Prose, ModelNotConfiguredError | ModelAnswerError | Error> =>
  Effect.gen(function* () {
    if (Option.isNone(options.apiKey)) return yield* new ModelNotConfiguredError({ variable: "OPENAI_API_KEY" })
    const apiKey = Redacted.value(options.apiKey.value)
    const { system, user } = Narrative.prompt(input)
    const answer = yield* Effect.tryPromise({
      try: async (signal) => {
        const { ChatOpenAI } = await import("@langchain/openai")
        const chat = new ChatOpenAI({
          apiKey,
          model: options.model,
          maxRetries: 0,
          ...Option.match(options.baseUrl, {
            onNone: () => ({}),
            onSome: (baseURL) => ({ configuration: { baseURL } })
          })
        })
        const messages: Array<[string, string]> = [
          ["system", system],
          ["human", user]
        ]
        return (await chat.invoke(messages, { signal, callbacks: [...callbacks] })).text
      },
      catch: asError
    })
    return yield* decode(answer, options.model)
  })
