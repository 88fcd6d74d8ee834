/** The loop around the tries of one call. */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Tracer from "effect/Tracer"
import * as ErrorInfo from "../../observability/ErrorInfo.js"
import * as observed from "../../observability/internal/observed.js"
import * as Observation from "../../observability/Observation.js"
import * as Failure from "../Failure.js"
import * as RetryBudget from "../RetryBudget.js"
import type { AttemptRecord, RetryOptions, RetryPolicy } from "../RetryPolicy.js"
import * as Timeout from "../Timeout.js"
import { Retries, type Verdict } from "./retries.js"
import { type Mark, Rewind } from "./rewind.js"

export const attempts = <A, E, R>(
  run: (attempt: number) => Effect.Effect<A, E, R>,
  policy: RetryPolicy,
  options: RetryOptions = {},
  /** The observation of the first try, if that has begun. */
  first?: Tracer.Span,
  /** Where the first try began, if it was made already. */
  marked?: Mark
): Effect.Effect<A, E, R> =>
  Effect.withFiberRuntime((fiber) => {
    // one addition: the share of the calls cannot be told without counting them
    Context.get(fiber.currentContext, RetryBudget.RetryBudget).deposit()
    const mark = marked ?? Context.get(fiber.currentContext, Rewind)?.mark()
    let retries: Retries | undefined
    /** What the failed try decided, for the loop around it. */
    let pause: number | undefined

    const onCause = (cause: Cause.Cause<E>, attempt: number): Effect.Effect<never, E> =>
      Cause.isInterruptedOnly(cause)
        ? Effect.failCause(cause)
        : Effect.flatMap(Effect.zip(Effect.clock, classifierOf(options)), ([clock, classify]) => {
            const failure = Failure.fromCause(cause, classify, () => clock.unsafeCurrentTimeMillis())
            if (failure.kind === "control-flow") return Effect.failCause(cause)
            retries ??= new Retries(policy)
            return Effect.flatMap(retries.decide(cause, failure, attempt, clock), (verdict) => {
              pause = verdict.delayMillis
              return Effect.zipRight(report(cause, failure, attempt, verdict), Effect.failCause(cause))
            })
          })

    const report = (
      cause: Cause.Cause<E>,
      failure: Failure.Failure,
      attempt: number,
      { delayMillis, denied }: Verdict
    ): Effect.Effect<void> => {
      const info = ErrorInfo.fromCause(cause)
      const record: AttemptRecord = {
        attempt,
        errorType: info.tag,
        message: info.message,
        failure,
        ...(delayMillis === undefined ? {} : { delayMillis }),
        ...(denied === undefined ? {} : { denied })
      }
      const hooks: Array<Effect.Effect<void>> = [Observation.annotate(said(info, delayMillis, denied))]
      if (options.onFailure !== undefined) hooks.push(options.onFailure(record))
      if (delayMillis !== undefined) {
        if (policy.onRetry !== undefined) hooks.push(policy.onRetry(record))
        if (options.onRetry !== undefined) hooks.push(options.onRetry(record))
      }
      return Effect.all(hooks, { discard: true })
    }

    const loop = (attempt: number): Effect.Effect<A, E, R> => {
      const tried = Effect.catchAllCause(
        Effect.suspend(() => run(attempt)),
        (cause) => onCause(cause, attempt)
      )
      const seen = observed.isObserved(fiber)
        ? observed.span(
            Effect.onInterrupt(tried, () => endedByDeadline),
            "attempt",
            () => ({
              metadata: { attempt, max_attempts: Number.isFinite(policy.maxAttempts) ? policy.maxAttempts : undefined }
            }),
            attempt === 1 ? first : undefined
          )
        : tried
      return Effect.catchAllCause(seen, (cause) => {
        if (pause === undefined) {
          mark?.on()
          return Effect.failCause(cause)
        }
        const millis = pause
        pause = undefined
        const next = Effect.suspend(() => {
          mark?.back(cause, attempt + 1)
          return loop(attempt + 1)
        })
        return Effect.zipRight(Effect.sleep(millis), next)
      })
    }
    return loop(1)
  })

/** What the observation of a failed try says of it. */
const said = (
  info: ErrorInfo.ErrorInfo,
  delayMillis: number | undefined,
  denied: AttemptRecord["denied"]
): Observation.Options => {
  const error_type = info.tag
  if (delayMillis !== undefined) {
    return {
      level: "WARNING",
      statusMessage: `${ErrorInfo.line(info)}; next try in ${Duration.format(Duration.millis(Math.round(delayMillis)))}`,
      metadata: { delay_seconds: delayMillis / 1000, error_type }
    }
  }
  if (denied === undefined) return { metadata: { error_type } }
  const why = denied === "budget" ? "the retry budget is used up" : "the pause would outlast the deadline"
  return {
    level: "ERROR",
    statusMessage: `${ErrorInfo.line(info)}; not tried again: ${why}`,
    metadata: { error_type, retry_denied: denied }
  }
}

/** A deadline ends an attempt by interrupting it: unlike any other interruption, that is an error of the attempt. */
const endedByDeadline: Effect.Effect<void> = Effect.flatMap(Timeout.remainingMillis, (remaining) =>
  // a timer may fire a fraction of a millisecond early
  remaining < 1
    ? Observation.annotate({
        level: "ERROR",
        statusMessage: "ended by the deadline",
        metadata: { error_type: "AgentTimeoutError" }
      })
    : Effect.void
)

const classifierOf = (options: RetryOptions): Effect.Effect<Failure.Classifier> =>
  options.classify === undefined ? Failure.CurrentClassifier : Effect.succeed(options.classify)
