import { describe } from "@effect/vitest"
import * as ChatErrors from "@langchain/core/errors"
import {
  APIConnectionError,
  APIConnectionTimeoutError,
  APIError,
  APIUserAbortError,
  ContentFilterFinishReasonError,
  cancelled,
  decode,
  error,
  limited,
  permanent,
  rows,
  transient
} from "./support.js"

describe("Failure.classify: OpenAI, Anthropic, Google, LangChain", () => {
  const wait = new Headers({ "retry-after": "3" })
  rows([
    [
      "OpenAI's rate limit",
      new APIError(429, { code: "rate_limit_exceeded", type: "requests" }, "429 slow down", wait),
      limited("http 429", 3000)
    ],
    [
      "a used-up quota, which no patience cures",
      new APIError(429, { code: "insufficient_quota" }, "429 quota", wait),
      permanent("quota used up")
    ],
    ["a wrong key", new APIError(401, { code: "invalid_api_key" }, "401 wrong key"), permanent("authentication")],
    ["an unknown model", new APIError(404, { code: "model_not_found" }, "404 no model"), permanent("model not found")],
    ["a bad request", new APIError(400, { type: "invalid_request_error" }, "400 temperature"), permanent("http 400")],
    [
      "a prompt too long, by code",
      new APIError(400, { code: "context_length_exceeded" }, "400 too long"),
      permanent("context length")
    ],
    [
      "a prompt too long, by message",
      new APIError(400, { type: "invalid_request_error" }, "400 This model's maximum context length is 8192 tokens"),
      permanent("context length")
    ],
    ["a filtered prompt", new APIError(400, { code: "content_filter" }, "400 filtered"), permanent("content filter")],
    [
      "Azure's filtered prompt, by message",
      error({ status: 400 }, "triggered Azure OpenAI's content management policy"),
      permanent("content filter")
    ],
    [
      "a filtered answer",
      new ContentFilterFinishReasonError("Could not parse response content"),
      permanent("content filter")
    ],
    ["a server error", new APIError(500, { type: "server_error" }, "500 oops"), transient("http 500")],
    ["a connection error, by its constructor", new APIConnectionError(), transient("connection")],
    ["a client's own timeout", new APIConnectionTimeoutError(), transient("timeout")],
    ["a user's abort", new APIUserAbortError(), cancelled],
    [
      "Anthropic's overload",
      new APIError(529, { type: "error", error: { type: "overloaded_error" } }, "529 Overloaded"),
      transient("http 529")
    ],
    [
      "Anthropic's overload in a stream, without a status",
      new APIError(undefined, { type: "error", error: { type: "overloaded_error" } }, "Overloaded"),
      transient("overloaded")
    ],
    [
      "Anthropic's rate limit in a stream",
      new APIError(undefined, { type: "error", error: { type: "rate_limit_error" } }, "slow", wait),
      limited("rate_limit_error", 3000)
    ],
    [
      "Anthropic's too long prompt",
      new APIError(400, { type: "error", error: { type: "invalid_request_error" } }, "400 prompt is too long: 2 > 1"),
      permanent("context length")
    ],
    ["Google's rate limit", error({ code: 429, status: "RESOURCE_EXHAUSTED" }), limited("http 429")],
    ["Google's outage, by its word", error({ status: "UNAVAILABLE" }), transient("overloaded")],
    [
      "LangChain's rate limit",
      ChatErrors.addLangChainErrorFields(error({ status: 429 }), "MODEL_RATE_LIMIT"),
      limited("http 429")
    ],
    [
      "LangChain's wrong key, without a status",
      error({ lc_error_code: "MODEL_AUTHENTICATION" }),
      permanent("authentication")
    ],
    ["LangChain's too long prompt", new ChatErrors.ContextOverflowError("too long"), permanent("context length")],
    ["LangChain's abort", new ChatErrors.ModelAbortError("stopped"), cancelled],
    ["LangChain's timeout", error({ name: "TimeoutError" }, "Request timed out."), transient("timeout")],
    [
      "LangChain's output parser",
      error({ name: "OutputParserException", lc_error_code: "OUTPUT_PARSING_FAILURE" }),
      decode
    ],
    ["LangChain's code alone", error({ lc_error_code: "OUTPUT_PARSING_FAILURE" }), decode],
    [
      "LangChain's mark for what is worth it",
      ChatErrors.stampRetryable(error({}), true),
      transient("marked retryable")
    ],
    ["LangChain's mark for what is not", ChatErrors.stampRetryable(error({}), false), permanent("marked not retryable")]
  ])
})
