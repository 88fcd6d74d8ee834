/** The official conformance suite for checkpoint savers, on both databases. */

import * as SqlClient from "@effect/sql/SqlClient"
import type { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Scope from "effect/Scope"
import * as vitest from "vitest"
import * as Checkpointer from "../../src/checkpoint/Checkpointer.js"
import * as TestDatabases from "../support/databases.js"

// the suite takes its functions from the global scope
Object.assign(globalThis, vitest)
const { deltaChannelHistoryTests, validate } = await import("@langchain/langgraph-checkpoint-validation")

for (const backend of TestDatabases.backends) {
  const runtime = ManagedRuntime.make(backend.layer)
  vitest.afterAll(() => runtime.dispose())
  const scopes = new Map<BaseCheckpointSaver, Scope.CloseableScope>()
  const initializer = {
    checkpointerName: `holdfast (${backend.name})`,
    createCheckpointer: () =>
      runtime.runPromise(
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          yield* sql`drop schema public cascade`
          yield* sql`create schema public`
          const scope = yield* Scope.make()
          const saver = yield* Scope.extend(Checkpointer.make(), scope)
          scopes.set(saver, scope)
          return saver
        })
      ),
    destroyCheckpointer: async (saver: BaseCheckpointSaver) => {
      const scope = scopes.get(saver)
      if (scope !== undefined) await Effect.runPromise(Scope.close(scope, Exit.void))
    }
  }
  vitest.describe(backend.name, () => {
    validate(initializer)
    deltaChannelHistoryTests(initializer)
  })
}
