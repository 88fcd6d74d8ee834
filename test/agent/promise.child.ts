/** A plain Promise program: it must come to its end by itself, with nothing unhandled. */
import * as Effect from "effect/Effect"
import * as Agent from "../../src/agent/Agent.js"

process.on("unhandledRejection", (reason) => {
  console.log(`unhandled: ${String(reason)}`)
  process.exitCode = 1
})

class Refused extends Error {}

const policy: Agent.Policy = { retry: { maxAttempts: 2, base: 5 }, timeout: "10 minutes", deadline: "20 minutes" }

const answer = Agent.toPromise(Agent.make("answer", (n: number) => Effect.delay(Effect.succeed(n + 1), 5), policy))
const refuse = Agent.toPromise(
  Agent.make("refuse", (_: number) => Effect.promise(() => Promise.reject(new Refused("no"))), policy)
)
const hang = Agent.toPromise(Agent.make("hang", (_: number) => Effect.never, policy))

console.log(`answered ${await answer(1)}`)
await refuse(1).catch((error: unknown) => console.log(`refused ${error instanceof Refused}`))
const controller = new AbortController()
const aborted = hang(1, { signal: controller.signal })
controller.abort()
await aborted.catch((error: unknown) => console.log(`aborted ${error instanceof Error && error.name}`))
const left = hang(1)
const gone = left.catch((error: unknown) => console.log(`disposed ${error instanceof Error && error.name}`))
await hang.dispose()
await gone
console.log("done")
