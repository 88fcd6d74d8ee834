// What hardening costs, beside cockatiel 3.2.1, opossum 9 and plain Effect, in one process. Prints a table of CPU medians, heap and ratios.
// Usage: npm run bench (it builds first and runs Node with --expose-gc)

import * as otel from "@opentelemetry/api"
import { BatchSpanProcessor } from "@opentelemetry/sdk-trace-base"
import { NodeTracerProvider } from "@opentelemetry/sdk-trace-node"
import * as cockatiel from "cockatiel"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { Agent, CircuitBreaker as Breaker } from "holdfast"
import Opossum from "opossum"
import * as bridge from "../../dist/langfuse/internal/tracer.js"
import { allocated, collect, cpuMicros } from "./measure.mjs"
import { spansOf } from "./spans.mjs"

const one = () => Promise.resolve(1)
const answer = Effect.promise(one)

const times = (effect, n) =>
  Effect.gen(function* () {
    for (let call = 0; call < n; call++) yield* effect
  })

/** Runs an effect n times inside one fiber. */
const inFiber = (effect) => (n) => Effect.runPromise(times(effect, n))

/** Calls a function that gives a promise n times. */
const inPromises = (call) => async (n) => {
  for (let each = 0; each < n; each++) await call()
}

const {
  circuitBreaker,
  ConsecutiveBreaker,
  ExponentialBackoff,
  fallback,
  handleAll,
  retry,
  timeout,
  TimeoutStrategy,
  wrap
} = cockatiel

const cockatielStack = () => {
  const breaker = circuitBreaker(handleAll, { halfOpenAfter: 60_000, breaker: new ConsecutiveBreaker(5) })
  return {
    breaker,
    policy: wrap(
      fallback(handleAll, 0),
      retry(handleAll, { maxAttempts: 2, backoff: new ExponentialBackoff() }),
      breaker,
      timeout(30_000, TimeoutStrategy.Aggressive)
    )
  }
}

const backup = Agent.make("backup", () => Effect.succeed(0))
const agent = Agent.make("agent", () => answer).pipe(Agent.orElse(backup))
const promised = Agent.toPromise(agent)
const hanging = Agent.make("hanging", () => Effect.never, { timeout: "1 hour" })

const plain = answer.pipe(
  Effect.timeout(Duration.seconds(30)),
  Effect.retry(Schedule.intersect(Schedule.exponential("1 second"), Schedule.recurs(2))),
  Effect.orElse(() => Effect.succeed(0))
)

/** Brings a breaker of ours to open, for good. */
const opened = async () => {
  const breaker = Breaker.make("open", { failureThreshold: 1, resetAfter: "1 hour" })
  await Effect.runPromise(Effect.exit(breaker.protect(Effect.fail(new Error("down")))))
  return Effect.catchAll(breaker.protect(answer), () => Effect.succeed(0))
}

const cockatielOpened = async () => {
  const breaker = circuitBreaker(handleAll, { halfOpenAfter: 3_600_000, breaker: new ConsecutiveBreaker(1) })
  const policy = wrap(fallback(handleAll, 0), breaker)
  await policy.execute(() => Promise.reject(new Error("down")))
  return () => policy.execute(one)
}

const opossumOpened = () => {
  const breaker = new Opossum(one, { resetTimeout: 3_600_000 })
  breaker.fallback(() => 0)
  breaker.open()
  return { breaker, call: () => breaker.fire() }
}

const stack = cockatielStack()
const rows = []
const measured = async (name, run, calls = 20_000) => {
  const micros = await cpuMicros(run, { calls })
  const bytes = await allocated(run, { calls: 500 })
  rows.push({ name, micros, bytes })
  console.log(`${name.padEnd(58)} ${micros.toFixed(2).padStart(8)} us ${(bytes / 1024).toFixed(2).padStart(8)} KB`)
  return micros
}
const ratio = (name, ours, theirs, target) =>
  console.log(`  -> ${name}: ${(ours / theirs).toFixed(2)} x (target at most ${target} x)`)

console.log(`node ${process.version}, ${process.arch}; CPU time and heap a call, medians\n`)

const theirs = await measured(
  "cockatiel: breaker + retry + timeout + fallback",
  inPromises(() => stack.policy.execute(one))
)
const ours = await measured("Agent: the same, in a fiber", inFiber(agent.invoke(1)))
ratio("success path, in a fiber", ours, theirs, 0.6)
const fromPromise = await measured(
  "Agent: the same, from Promise code",
  inPromises(() => promised(1))
)
ratio("success path, from Promise code", fromPromise, theirs, 1)
const effects = await measured("Effect.timeout + Effect.retry + Effect.orElse", inFiber(plain))
ratio("against plain Effect", ours, effects, 0.3)

const rejectedByUs = await measured("open circuit: ours, rejection and fallback", inFiber(await opened()), 200_000)
const rejectedByCockatiel = await measured("open circuit: cockatiel", inPromises(await cockatielOpened()), 200_000)
const opossum = opossumOpened()
const rejectedByOpossum = await measured("open circuit: opossum", inPromises(opossum.call), 200_000)
opossum.breaker.shutdown()
ratio("open circuit, against cockatiel", rejectedByUs, rejectedByCockatiel, 0.25)
ratio("open circuit, against opossum", rejectedByUs, rejectedByOpossum, 0.5)

// --- with a tracer: the spans themselves, made by hand around the untraced call, are what it is measured against ---
const attributes = await spansOf(agent.invoke(1))
console.log(`\nan agent's call makes ${attributes.length} spans with ${attributes.flat().length} attributes`)
const provider = new NodeTracerProvider({
  spanProcessors: [
    new BatchSpanProcessor(
      { export: (_, done) => done({ code: 0 }), shutdown: () => Promise.resolve() },
      { maxQueueSize: 1e6 }
    )
  ]
})
const tracer = provider.getTracer("bench")
/** As many spans as one call of an agent makes, with the same attributes, around a promise. */
const bare = Effect.promise(async () => {
  const spans = []
  let context = otel.context.active()
  for (const each of attributes) {
    const span = tracer.startSpan("span", {}, context)
    for (const [key, value] of each) span.setAttribute(key, value)
    context = otel.trace.setSpan(context, span)
    spans.push(span)
  }
  const value = await one()
  for (const span of spans.reverse()) span.setStatus({ code: 1 }).end()
  return value
})
// the bridge's own tracer, up to where its spans are handed to the exporter; with it comes a context manager, for both sides
let handedOn = []
const collecting = Layer.setTracer(
  bridge.make(
    {
      inherited: () => ({}),
      sends: () => false,
      parentIn: () => undefined,
      propagated: () => ({}),
      samples: () => true
    },
    (span) => {
      if (handedOn.push(span) === 512) handedOn = []
    }
  )
)
const byHand = await measured(
  "raw OpenTelemetry spans around the untraced call",
  inFiber(Effect.zipRight(agent.invoke(1), bare))
)
const traced = await measured("Agent: with the tracing layer", (n) =>
  Effect.runPromise(Effect.provide(times(agent.invoke(1), n), collecting))
)
ratio("with the tracing layer", traced, byHand, 1.3)
await provider.shutdown()

// --- many at once ---
const inFlight = 100_000
const grown = async (start) => {
  collect()
  const before = process.memoryUsage().heapUsed
  const end = start()
  await new Promise((resolve) => setTimeout(resolve, 500))
  collect()
  const bytes = (process.memoryUsage().heapUsed - before) / inFlight
  await end()
  return bytes
}
const waiting = await grown(() => {
  const fibers = Array.from({ length: inFlight }, () => Effect.runFork(hanging.invoke(1)))
  return () => Effect.runPromise(Fiber.interruptAll(fibers))
})
const timers = await grown(() => {
  const calls = Array.from({ length: inFlight }, () => {
    const controller = new AbortController()
    const ended = new Promise((resolve) => {
      const timer = setTimeout(resolve, 3_600_000)
      controller.signal.addEventListener(
        "abort",
        () => {
          clearTimeout(timer)
          resolve()
        },
        { once: true }
      )
    })
    return { controller, ended }
  })
  return () =>
    Promise.all(
      calls.map(({ controller, ended }) => {
        controller.abort()
        return ended
      })
    )
})
console.log(
  `\n100,000 calls in flight under a timeout: ${waiting.toFixed(0)} B a call; setTimeout promises with AbortControllers: ${timers.toFixed(0)} B`
)
console.log(
  `  -> in flight: ${waiting.toFixed(0)} B (target at most 1.5 x ${timers.toFixed(0)} + 4096 = ${(1.5 * timers + 4096).toFixed(0)} B)`
)

const breaker = Breaker.make("many")
const rounds = async (n) => {
  await Effect.runPromise(
    Effect.gen(function* () {
      for (let call = 0; call < n; call++) yield* breaker.protect(Effect.void)
    })
  )
  collect()
  return process.memoryUsage().heapUsed
}
const settled = await rounds(1_000_000)
const afterAll = await rounds(10_000_000)
console.log(
  `\nheap after 1 million calls of a breaker ${(settled / 1024).toFixed(0)} KB, after 10 million more ${(afterAll / 1024).toFixed(0)} KB`
)
