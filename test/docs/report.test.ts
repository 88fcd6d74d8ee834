/** The report that docs/tracing.md shows is that of the run which it draws, and its tables name every measure. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as TestClock from "effect/TestClock"
import * as Agent from "../../src/agent/Agent.js"
import * as Swarm from "../../src/agent/Swarm.js"
import { render } from "../../src/cli/commands/report.js"
import * as terminal from "../../src/cli/internal/terminal.js"
import * as Report from "../../src/langfuse/Report.js"
import * as Trace from "../../src/observability/Trace.js"
import * as Testing from "../../src/testing.js"
import { root } from "../package/built.js"
import { finish, permanent } from "../resilience/support.js"

const documentation = readFileSync(join(root, "docs/tracing.md"), "utf8")

const down = (): Error => new Error("503 Service Unavailable")

/** The desk of the tree that is drawn there. */
const desk = () => {
  const cached = Agent.make("cached", (ticker: string) => Effect.succeed(`${ticker}: 41`), {
    retry: false,
    timeout: false,
    circuitBreaker: false
  })
  const prices = Agent.make("prices", Testing.outcomes(Effect.fail(down()), Effect.never, Effect.fail(down())), {
    timeout: "2 seconds",
    retry: { maxAttempts: 4, base: "1 second", jitter: false },
    circuitBreaker: { failureThreshold: 3, resetAfter: "1 minute" }
  }).pipe(Agent.orElse(cached))
  const rates = Agent.make("rates", (_: string) => Effect.succeed(4.25))
  const news = Agent.make("news", Testing.outcomes(Effect.fail(permanent())))
  return Swarm.make("desk", { required: { prices, rates }, optional: { news } })
}

describe("docs/tracing.md: the report", () => {
  it.effect("shows the report of the run that it draws", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(Date.UTC(2026, 10, 20, 14))
      const spans = yield* Effect.zipRight(
        finish(desk().run("AAPL")),
        Effect.flatMap(Trace.Recorder, (recorder) => recorder.spans)
      ).pipe(Effect.provide(Testing.layer))
      const report = yield* Report.make({
        source: Report.observed(spans, "Langfuse at https://cloud.langfuse.com"),
        objectives: ["availability=99.9", "p95-latency=10"].map((text) => Either.getOrThrow(Report.objective(text)))
      })
      const text = render(report, terminal.painter(false))
      assert.include(documentation, `\`\`\`text\n${text}\`\`\``, text)
    })
  )

  it("names every measure, its unit and its direction", () => {
    for (const [name, { direction, unit }] of Object.entries(Report.measures)) {
      const row = documentation.split("\n").find((line) => line.startsWith(`| \`${name}\` |`)) ?? assert.fail(name)
      assert.deepStrictEqual(row.slice(2, -2).split(" | ").slice(1, 3), [unit === "" ? "-" : unit, direction], name)
    }
  })
})
