/** A project of a user's: a folder with modules, in which Holdfast and what its modules import are installed. */
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Built from "../package/built.js"
import * as Cli from "./support.js"

/** The packages that the modules of a test import. */
const packages = ["@langchain", "effect", "typescript"]

/** Writes the files into an empty folder, which goes with the scope. */
export const make = (files: Readonly<Record<string, string>>): Effect.Effect<string, never, Scope.Scope> =>
  Effect.map(Cli.emptyFolder, (folder) => {
    mkdirSync(join(folder, "node_modules"))
    for (const name of packages) symlinkSync(join(Built.root, "node_modules", name), join(folder, "node_modules", name))
    symlinkSync(Built.folder(), join(folder, "node_modules/holdfast"))
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, path)), { recursive: true })
      writeFileSync(join(folder, path), text)
    }
    return folder
  })

/** Standard output as lines of JSON. */
export const events = ({ stderr, stdout }: Cli.Ended): ReadonlyArray<Readonly<Record<string, unknown>>> =>
  stdout
    .trim()
    .split("\n")
    .map((line) => {
      try {
        return JSON.parse(line)
      } catch {
        throw new Error(`no line of JSON: ${line}\n${stderr}`)
      }
    })

/** An approval: greets, then asks whether to send, and who says so. */
export const approval = `
import { Annotation, END, interrupt, START, StateGraph } from "@langchain/langgraph"
import { type Mood, mood } from "./mood.js"

const State = Annotation.Root({
  name: Annotation<string>,
  said: Annotation<string[]>({ reducer: (a, b) => [...a, ...b], default: () => [] }),
  sent: Annotation<boolean>
})

const greet = (state: typeof State.State, config: { configurable?: { mood?: Mood } }) => {
  return { said: [\`Hello, \${state.name}: \${config.configurable?.mood ?? mood.calm}\`] }
}
const approve = () => {
  const sent: boolean = interrupt({ question: "Send it?", schema: { type: "boolean" } })
  const by: string = interrupt("Who says so?")
  return { sent, said: [by] }
}

export const builder = new StateGraph(State)
  .addNode("greet", greet)
  .addNode("approve", approve)
  .addEdge(START, "greet")
  .addEdge("greet", "approve")
  .addEdge("approve", END)
`

export const mood = `
export enum mood { calm = "calm", glad = "glad" }
export type Mood = \`\${mood}\`
`

/** Two slow steps, counted in files; the first one can fail. In JavaScript, by a factory. */
export const steps = `
import { appendFileSync, existsSync } from "node:fs"
import { Annotation, END, START, StateGraph } from "@langchain/langgraph"

const State = Annotation.Root({ done: Annotation({ reducer: (a, b) => [...a, ...b], default: () => [] }) })
const step = (name) => async (_, { signal }) => {
  appendFileSync("calls.txt", name + "\\n")
  if (existsSync("break-" + name)) throw new Error(name + " is broken")
  while (existsSync("hold-" + name)) {
    if (signal.aborted) throw signal.reason
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return { done: [name] }
}

export const make = async () =>
  new StateGraph(State)
    .addNode("first", step("first"))
    .addNode("second", step("second"))
    .addEdge(START, "first")
    .addEdge("first", "second")
    .addEdge("second", END)
    .compile()
`
