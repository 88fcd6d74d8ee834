import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Database from "../../src/database/Database.js"
import * as TestDatabases from "../support/databases.js"

for (const backend of TestDatabases.backends) {
  describe(backend.name, () => {
    it.layer(backend.layer)((it) => {
      it.effect("answers", () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const rows = yield* sql<{ n: number }>`select ${1}::int as n`
          assert.deepStrictEqual(rows, [{ n: 1 }])
          const info = yield* Database.Info
          assert.strictEqual(info.kind, backend.name)
        })
      )
    })
  })
}
