// Loads what a checkpointer needs, says so, and sets the database up when it is told to. Argument: the package's folder.
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

const load = (path) => import(pathToFileURL(join(process.argv[2], "dist", path)).href)
const [Checkpointer, Database] = await Promise.all([
  load("checkpoint/Checkpointer.js"),
  load("database/Database.js"),
  load("database/internal/pool.js"),
  import("@effect/sql-pg/PgClient")
])
process.stdout.write("loaded\n")
await new Promise((resolve) => process.stdin.once("data", resolve))
process.stdin.destroy()
const layer = Checkpointer.layer().pipe(Layer.provide(Database.layer))
const threads = await Effect.runPromise(Effect.provide(Checkpointer.threads(), layer))
process.stdout.write(`opened with ${threads.length} threads\n`)
