/** The first try of an agent, which for most calls is the only one. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Tracer from "effect/Tracer"
import * as observed from "../../observability/internal/observed.js"
import * as Observation from "../../observability/Observation.js"
import * as Redaction from "../../observability/Redaction.js"
import * as Chaos from "../../resilience/Chaos.js"
import * as CircuitBreaker from "../../resilience/CircuitBreaker.js"
import * as breakerGuard from "../../resilience/internal/breakerGuard.js"
import { type Mark, Rewind } from "../../resilience/internal/rewind.js"
import * as RetryBudget from "../../resilience/RetryBudget.js"
import * as breakers from "./breakers.js"
import { agentMetadata, type Chain, inForce, invokeChain, type Link, retryMetadata } from "./invoke.js"
import * as policies from "./policies.js"

type AnyEffect = Effect.Effect<unknown, unknown, unknown>
type AnyFiber = Fiber.RuntimeFiber<unknown, unknown>
type Attributes = Readonly<Record<string, unknown>>

/** What the three observations of a first try say that is the same in every call. */
interface Said {
  /** The primary agent as it was when they were worked out. */
  readonly link: Link
  readonly name: string
  readonly agent: Attributes
  readonly retry: Attributes
  readonly attempt: Attributes
}

const known = new WeakMap<Chain, Said>()

const saidOf = (chain: Chain, link: Link): Said => {
  const existing = known.get(chain)
  if (existing?.link === link) return existing
  const { max_attempts, timeout_seconds } = link.settings.metadata
  const said: Said = {
    link,
    name: `agent_${link.id}`,
    agent: Observation.attributes(agentMetadata(chain, link.settings)),
    retry: Observation.attributes(retryMetadata(link.id, 0, link.settings)),
    attempt: Observation.attributes({ metadata: { attempt: 1, max_attempts, timeout_seconds } })
  }
  known.set(chain, said)
  return said
}

const { input: inputKey, output: outputKey } = Observation.Attribute
const circuitState = `${Observation.Attribute.metadata}circuit_state`
const failureCount = `${Observation.Attribute.metadata}failure_count`
/** What a first try that succeeds has to say of its retries, and of itself. */
const atOnce = Object.entries(
  Observation.attributes({ metadata: { attempts_needed: 1, retry_succeeded: true, retry_history: [] } })
)
const oneAttempt: Observation.Score = { name: "retry_attempts", value: 1 }
const noFallback: Observation.Score = { name: "fallback_level", value: 0 }
const success = `${Observation.Attribute.metadata}success`

interface Settable extends AnyFiber {
  readonly setFiberRef: <A>(ref: FiberRef.FiberRef<A>, value: A) => void
}

/** Effect's own fibers have it, and their interface does not say so. */
const isSettable = (fiber: AnyFiber): fiber is Settable =>
  "setFiberRef" in fiber && typeof fiber.setFiberRef === "function"

/** What `FiberRef.set` does in three steps of the fiber, at once. */
const setContext = (fiber: Settable, context: Context.Context<never>): void =>
  fiber.setFiberRef(FiberRef.currentContext, context)

/** The try in its three observations, which are begun, said and ended together: a span made as an Effect costs three times as much. */
const inSpans = (
  fiber: Settable,
  chain: Chain,
  link: Link,
  input: unknown,
  tried: AnyEffect,
  circuit: CircuitBreaker.Snapshot | undefined,
  mark: Mark | undefined,
  succeeded: () => void
): AnyEffect =>
  Effect.uninterruptibleMask((restore) => {
    const said = saidOf(chain, link)
    const open = observed.opening(fiber)
    const agent = open(said.name, said.agent, fiber.currentSpan)
    if (input !== undefined) agent.attribute(inputKey, Redaction.json(input))
    const retry = open("retry_execution", said.retry, agent)
    const attempt = open("attempt", said.attempt, retry)
    if (circuit !== undefined) {
      attempt.attribute(circuitState, circuit.state)
      attempt.attribute(failureCount, circuit.failureCount)
    }
    const outside = fiber.currentContext
    const close = (exit: Exit.Exit<unknown, unknown>): void => {
      const ended = observed.now(fiber)
      observed.close(attempt, ended, exit)
      observed.close(retry, ended, exit)
      observed.close(agent, ended, exit)
    }
    setContext(fiber, Context.add(outside, Tracer.ParentSpan, attempt))
    return Effect.matchCauseEffect(restore(tried), {
      onSuccess: (value) => {
        setContext(fiber, outside)
        succeeded()
        const exit = Exit.succeed(value)
        const scores = Context.get(outside, Observation.ScoreSink)
        for (const [key, it] of atOnce) retry.attribute(key, it)
        scores.emit(oneAttempt, retry)
        if (value !== undefined) agent.attribute(outputKey, Redaction.json(value))
        agent.attribute(success, true)
        if (chain.length > 1) scores.emit(noFallback, agent)
        close(exit)
        return exit
      },
      onFailure: (cause) => {
        setContext(fiber, outside)
        const rest = invokeChain(chain, input, { cause, spans: { agent, retry, attempt }, mark })
        // whoever was interrupted has nothing more to wait for, and still has its end to say
        const going = Cause.isInterruptedOnly(cause) ? rest : restore(rest)
        return Effect.onExit(going, (exit) => Effect.sync(() => close(exit)))
      }
    })
  })

/**
 * The first try with nothing around it but the breaker and the timeout. Most calls succeed at once: they pay for what a failure needs (the loop
 * of the retries, the history, the chain) only when there is one, and then go on where this try ended. Nothing, when it takes more than that.
 */
const firstTry = (chain: Chain, input: unknown, fiber: AnyFiber): AnyEffect | undefined => {
  const context = fiber.currentContext
  if (Context.get(context, Chaos.Chaos) !== undefined) return undefined
  const current = Context.get(context, policies.CurrentPolicies)
  if (current.refresh !== undefined) return undefined
  const [primary] = chain
  const link = inForce(primary, current)
  const { id, policy, prepare, run, settings } = link
  if (prepare !== undefined || settings.deadlineMillis !== undefined || policy.countAs === "call") return undefined
  if (settings.admission !== undefined) return undefined
  const body = Effect.suspend(() => run(input))
  const bounded = settings.bound === undefined ? body : settings.bound(body)
  const found =
    settings.breaker === undefined
      ? undefined
      : breakers.find(Context.get(context, CircuitBreaker.Registry), id, primary.settings.breaker, settings.breaker)
  if (found?.change !== undefined) return undefined
  const tried = found === undefined ? bounded : found.breaker.protect(bounded)
  const budget = Context.get(context, RetryBudget.RetryBudget)
  const mark = Context.get(context, Rewind)?.mark()
  if (observed.isObserved(fiber)) {
    const circuit = found && breakerGuard.inspect(found.breaker, Context.get(fiber.currentDefaultServices, Clock.Clock))
    // what a circuit that is not closed has to tell is told in full
    if (circuit?.state !== (found && "closed") || !observed.isOpen(fiber) || !isSettable(fiber)) return undefined
    return inSpans(fiber, chain, link, input, tried, circuit, mark, () => budget.deposit())
  }
  return Effect.matchCauseEffect(tried, {
    onFailure: (cause) => invokeChain(chain, input, { cause, spans: undefined, mark }),
    onSuccess: (value) => {
      budget.deposit()
      return Exit.succeed(value)
    }
  })
}

export const invoke = (chain: Chain, input: unknown): AnyEffect =>
  Effect.withFiberRuntime<unknown, unknown, unknown>(
    (fiber) => firstTry(chain, input, fiber) ?? invokeChain(chain, input)
  )
