/**
 * What is asked of the research program, read and checked before anything is stored or begun. Nothing of LangGraph is loaded for it.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Prices from "./Prices.js"
import type * as State from "./State.js"

/**
 * The file of prices is not the one that the run began with.
 *
 * @since 0.1.0
 * @category errors
 */
export class PricesChangedError extends Schema.TaggedError<PricesChangedError>("holdfast/PricesChangedError")(
  "PricesChangedError",
  { file: Schema.String }
) {
  override get message(): string {
    return `${this.file} has changed since the run began, so its figures would not fit together. Restore the file, or start a new run.`
  }
}

/**
 * What to look into.
 *
 * @since 0.1.0
 * @category models
 */
export interface Question {
  readonly ticker: string
  /** Default: the S&P 500 of the shipped prices. */
  readonly benchmark?: string | undefined
  /** A CSV file. Default: the prices that ship with the package. */
  readonly prices?: string | undefined
  readonly chaos?: { readonly rate: number; readonly seed: number } | undefined
}

/**
 * A question that makes sense, with the prices to answer it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Prepared {
  readonly request: State.Request
  readonly selection: Prices.Selection
}

/**
 * Reads and checks everything that a run needs, before anything is stored or begun.
 *
 * @since 0.1.0
 * @category preparing
 */
export const prepare = (question: Question): Effect.Effect<Prepared, Prices.PricesError, FileSystem.FileSystem> =>
  Effect.gen(function* () {
    const prices = yield* Prices.load(question.prices ?? Prices.shipped)
    const selection = yield* Prices.select(prices, {
      ticker: question.ticker,
      benchmark: question.benchmark ?? Prices.shippedBenchmark
    })
    const { dates, ticker } = selection.series
    return {
      request: {
        program: "research",
        ticker,
        benchmark: selection.benchmark.ticker,
        prices: question.prices ?? null,
        sha256: prices.sha256,
        from: dates[0] ?? "",
        to: dates.at(-1) ?? "",
        days: dates.length,
        chaos: question.chaos ?? null
      },
      selection
    }
  })

/**
 * Reads the prices of an earlier request again, and makes sure that they are the same.
 *
 * @since 0.1.0
 * @category preparing
 */
export const reload = (
  request: State.Request
): Effect.Effect<Prepared, Prices.PricesError | PricesChangedError, FileSystem.FileSystem> =>
  Effect.flatMap(
    prepare({
      ticker: request.ticker,
      benchmark: request.benchmark,
      prices: request.prices ?? undefined,
      chaos: request.chaos ?? undefined
    }),
    (prepared) =>
      prepared.request.sha256 === request.sha256
        ? Effect.succeed(prepared)
        : Effect.fail(new PricesChangedError({ file: request.prices ?? Prices.shipped }))
  )
