/** Which faults a seed has in store, worked out as the program does it: tests choose the seed that brings about what they want to see. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Chaos from "../../src/resilience/Chaos.js"

const agents = [
  "technical",
  "risk",
  "market",
  "seasonality",
  "reversion",
  "narrative",
  "narrative_template",
  "strategy_dev",
  "quality_gate",
  "out_of_sample"
] as const

/** For each agent its calls, one sign a call: `.` for none, `e`rror, `h`ang or `r`ate limit. */
export type Faults = Readonly<Record<(typeof agents)[number], string>>

const faultsOf = (rate: number, seed: number): Effect.Effect<Faults> =>
  Effect.scoped(
    Effect.map(Layer.build(Chaos.layer({ rate, seed })), (context) => {
      const chaos = Context.get(context, Chaos.Chaos)
      const calls = (agent: string) => Array.from({ length: 8 }, () => chaos?.next(agent)?.fault[0] ?? ".").join("")
      return Object.fromEntries(agents.map((agent) => [agent, calls(agent)])) as Faults // the names are those of the type
    })
  )

/** The first seed whose faults are as wished. */
export const seedWhere = (rate: number, wish: (faults: Faults) => boolean): number => {
  for (let seed = 0; seed < 20_000; seed++) {
    if (wish(Effect.runSync(faultsOf(rate, seed)))) return seed
  }
  throw new Error("no seed brings that about")
}

/** Whether the first calls of these agents all go well. */
export const isCalm = (faults: Faults, except: ReadonlyArray<keyof Faults> = []): boolean =>
  agents.every((agent) => except.includes(agent) || faults[agent].startsWith("."))

/** Whether these agents each get through before their breakers open. */
export const isBearable = (faults: Faults, except: ReadonlyArray<keyof Faults> = []): boolean =>
  agents.every((agent) => except.includes(agent) || faults[agent].slice(0, 3).includes("."))
