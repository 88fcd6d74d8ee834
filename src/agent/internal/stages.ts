/** Runs the agents of one stage of a swarm, each failure kept with its agent. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as ErrorInfo from "../../observability/ErrorInfo.js"
import * as Failure from "../../resilience/Failure.js"
import type { FailedAgent, Member } from "../Swarm.js"

export type Settled = { readonly member: Member; readonly exit: Exit.Exit<unknown, unknown> }

/**
 * Runs one stage. A signal of LangGraph's ends the whole; every other failure stays with its agent. So does an interruption that is seen
 * here: it came from inside the agent, since one of the swarm's own leaves nobody to look.
 */
export const runStage = (
  members: ReadonlyArray<Member>,
  input: unknown,
  concurrency: number | "unbounded"
): Effect.Effect<ReadonlyArray<Settled>, unknown, unknown> =>
  Effect.forEach(
    members,
    (member) =>
      Effect.flatMap(
        Effect.exit<unknown, unknown, unknown>(member.agent.invoke(input)),
        (exit): Effect.Effect<Settled, unknown> =>
          exit._tag === "Failure" && Failure.fromCause(exit.cause, signalsOnly).kind === "control-flow"
            ? Effect.failCause(exit.cause)
            : Effect.succeed({ member, exit })
      ),
    { concurrency }
  )

const signalsOnly = (error: unknown): Failure.Failure =>
  ErrorInfo.isControlFlow(error) ? { kind: "control-flow", reason: "signal" } : { kind: "permanent", reason: "failed" }

export const findingsOf = (settled: ReadonlyArray<Settled>): Record<string, unknown> =>
  Object.fromEntries(
    settled.flatMap(({ exit, member }) => (exit._tag === "Success" ? [[member.name, exit.value]] : []))
  )

export const failedOf = (settled: ReadonlyArray<Settled>): ReadonlyArray<FailedAgent> =>
  settled.flatMap(({ exit, member }) =>
    exit._tag === "Failure"
      ? [{ agent: member.name, required: member.required, error: Cause.originalError(Cause.squash(exit.cause)) }]
      : []
  )
