/**
 * What Langfuse shows of a graph of a user's that the command line runs: its nodes and models, once each, whether it is protected or not.
 */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestDatabases from "../support/databases.js"
import * as LangfuseServer from "../support/LangfuseServer.js"
import * as Project from "./project.js"
import * as Cli from "./support.js"

const chat = `
import { END, MessagesAnnotation, START, StateGraph } from "@langchain/langgraph"
import * as Effect from "effect/Effect"
import { TestModel } from "holdfast/testing"

const model = await Effect.runPromise(TestModel.make(["two words"]))
const ask = async ({ messages }, config) => ({ messages: [await model.invoke(messages, config)] })

export default new StateGraph(MessagesAnnotation).addNode("ask", ask).addEdge(START, "ask").addEdge("ask", END)
`

describe("holdfast run, in Langfuse", () => {
  it.scopedLive(
    "shows each node and each call of a model once, under the run's own observation",
    () =>
      Effect.gen(function* () {
        const server = TestDatabases.backends.find(({ name }) => name === "postgres")
        const { env } = server === undefined ? { env: {} } : yield* server.create
        const cwd = yield* Project.make({ "chat.mjs": chat })
        for (const isProtected of [false, true]) {
          if (isProtected) {
            writeFileSync(join(cwd, "holdfast.config.mjs"), "export default { policy: { timeout: '20 seconds' } }")
          }
          const langfuse = yield* LangfuseServer.make()
          const input = '{"messages": [{"role": "user", "content": "hm?"}]}'
          const config = '{"tags": ["nightly"]}'
          const ended = yield* Cli.run(
            ["run", "chat.mjs", "--thread", `t-${isProtected}`, "--input", input, "--config", config, "--stream"],
            { cwd, env: { ...env, ...langfuse.env } }
          )
          assert.strictEqual(ended.code, 0, ended.stderr)
          assert.match(ended.stdout, /^ask: two words\n/)
          const observations = langfuse.observations().filter(({ name }) => !/checkpoint$/.test(name))
          const count = (shape: RegExp) => observations.filter(({ name }) => shape.test(name)).length
          const names = observations.map(({ name, type }) => `${type} ${name}`)
          assert.strictEqual(observations.filter(({ type }) => type === "generation").length, 1, names.join())
          assert.strictEqual(count(/^(?:node_)?ask$/), 1, names.join())
          assert.strictEqual(count(/^agent_ask$/), isProtected ? 1 : 0, names.join())
          const [root, ...others] = observations.filter(({ parentId }) => parentId === undefined)
          assert.strictEqual(root?.name, "chat")
          assert.deepStrictEqual(others, [])
          for (const each of observations) {
            assert.strictEqual(each.sessionId, `t-${isProtected}`, each.name)
            assert.include(each.tags, "nightly", each.name)
          }
          LangfuseServer.tree(observations, ({ name }) => name)
        }
      }),
    120_000
  )
})
