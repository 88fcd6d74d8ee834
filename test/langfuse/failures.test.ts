/** Every failure is traced: what a program counts is what is at the server. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Agent from "../../src/agent/Agent.js"
import * as Langfuse from "../../src/langfuse/Langfuse.js"
import * as Chaos from "../../src/resilience/Chaos.js"
import * as CircuitBreaker from "../../src/resilience/CircuitBreaker.js"
import * as LangfuseServer from "../support/LangfuseServer.js"

const Quote = Schema.Struct({ ticker: Schema.String, price: Schema.Number })

/** The class of what an agent failed with, or died of. */
const classOf = (cause: Cause.Cause<unknown>): string => {
  const error = Option.getOrElse(Cause.failureOption(cause), () => Option.getOrUndefined(Cause.dieOption(cause)))
  return Predicate.hasProperty(error, "_tag") ? String(error._tag) : "unknown"
}

class Counts {
  private readonly counts = new Map<string, number>()
  add(agent: unknown, errorType: unknown): void {
    const key = `${agent} ${errorType}`
    this.counts.set(key, (this.counts.get(key) ?? 0) + 1)
  }
  get all(): Readonly<Record<string, number>> {
    return Object.fromEntries([...this.counts].sort(([a], [b]) => (a < b ? -1 : 1)))
  }
}

describe("chaos at 40 %", () => {
  it.scopedLive(
    "5,000 calls: the failures that the program counts are those at the server, by agent and class",
    () =>
      Effect.gen(function* () {
        const counted = { attempts: new Counts(), agents: new Counts() }
        const agents = Array.from({ length: 10 }, (_, n) =>
          Agent.make(`quotes_${n}`, (ticker: string) => Effect.succeed({ ticker, price: 41 }), {
            output: Quote,
            timeout: 50,
            retry: {
              maxAttempts: 1 + (n % 4),
              base: 1,
              onRetry: ({ errorType }) => Effect.sync(() => counted.attempts.add(`quotes_${n}`, errorType))
            },
            circuitBreaker: n % 2 === 0 ? { failureThreshold: 6, resetAfter: 20 } : false
          })
        )
        const calls = Array.from({ length: 5_000 }, (_, n) => n)
        const program = Effect.forEach(
          calls,
          (n) => {
            const { id } = agents[n % 10] ?? assert.fail("no agent")
            return Effect.map(Effect.exit(Agent.invoke(agents[n % 10] ?? assert.fail("no agent"), `T${n}`)), (exit) => {
              if (Exit.isSuccess(exit)) return
              const errorType = classOf(exit.cause)
              counted.agents.add(id, errorType)
              counted.attempts.add(id, errorType)
            })
          },
          { concurrency: 100, discard: true }
        )
        const server = yield* LangfuseServer.make()
        // on the real clock: when something happens is of no matter, only that what happens is seen
        yield* program.pipe(
          Effect.provide(Chaos.layer({ rate: 0.4, seed: 11, faults: Chaos.allFaults, latency: 2, retryAfter: 2 })),
          Effect.provide(CircuitBreaker.layerRegistry),
          Effect.provide(
            Langfuse.layerWith({
              publicKey: server.publicKey,
              secretKey: Redacted.make(server.secretKey),
              baseUrl: server.url,
              flushTimeout: "1 minute",
              requestTimeout: "1 minute",
              outbox: false
            })
          )
        )
        assert.deepStrictEqual(server.complaints(), [])

        const seen = { attempts: new Counts(), agents: new Counts() }
        const rows = new Map(server.observations().map((row) => [row.id, row]))
        let calledAgents = 0
        for (const { level, metadata, name, parentId } of rows.values()) {
          if (name.startsWith("agent_")) calledAgents++
          if (name.startsWith("agent_") && level === "ERROR")
            seen.agents.add(metadata["agent_id"], metadata["error_type"])
          if (name === "attempt" && level !== "DEFAULT") {
            seen.attempts.add(rows.get(parentId ?? "")?.metadata["agent_id"], metadata["error_type"])
          }
        }
        assert.strictEqual(calledAgents, 5_000)
        assert.deepStrictEqual(seen.agents.all, counted.agents.all)
        assert.deepStrictEqual(seen.attempts.all, counted.attempts.all)
        const classes = new Set(Object.keys(seen.attempts.all).map((key) => key.split(" ")[1]))
        assert.deepStrictEqual([...classes].sort(), [
          "AgentTimeoutError",
          "ChaosError",
          "CircuitBreakerOpenError",
          "ParseError"
        ])
      }),
    120_000
  )
})
