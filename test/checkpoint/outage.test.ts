/** What a checkpoint's writer is told when the database fails under it. */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import type { Checkpoint, CheckpointMetadata } from "@langchain/langgraph-checkpoint"
import { emptyCheckpoint, uuid6 } from "@langchain/langgraph-checkpoint"
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { CheckpointError } from "../../src/checkpoint/CheckpointError.js"
import * as Checkpointer from "../../src/checkpoint/Checkpointer.js"
import { requires } from "../../src/checkpoint/internal/migrations.js"
import * as Database from "../../src/database/Database.js"
import { DatabaseError } from "../../src/database/DatabaseError.js"
import * as SpanCarrier from "../../src/observability/SpanCarrier.js"
import * as TestDatabases from "../support/databases.js"
import * as FaultProxy from "../support/faultProxy.js"

const server = Effect.gen(function* () {
  const [backend] = TestDatabases.backends.filter((backend) => backend.name === "postgres")
  if (backend === undefined) return yield* Effect.dieMessage("no server")
  const database = yield* backend.create
  return { ...database, url: database.url ?? "" }
})

const layer = (url: string, options: Partial<Database.PostgresOptions> = {}) =>
  Checkpointer.layer().pipe(Layer.provideMerge(Database.layerPostgres({ url: Redacted.make(url), ...options })))

const metadata: CheckpointMetadata = { source: "loop", step: 0, parents: {} }

let versions = 0

const checkpoint = (value: unknown): Checkpoint => ({
  ...emptyCheckpoint(),
  id: uuid6(0),
  channel_values: { state: value },
  channel_versions: { state: ++versions }
})

const put = (saver: Checkpointer.Service, it: Checkpoint) =>
  saver.put(at(), it, metadata, { state: it.channel_versions["state"] ?? 0 })

const at = (id?: string) => ({
  configurable: { thread_id: "t", checkpoint_ns: "", ...(id === undefined ? {} : { checkpoint_id: id }) }
})

/** What a promise rejects with. */
const rejection = (run: () => Promise<unknown>): Effect.Effect<CheckpointError> =>
  Effect.promise(async () => {
    const error = await run().then(
      () => undefined,
      (error: unknown) => error
    )
    if (error instanceof CheckpointError) return error
    throw new Error("it was to fail with a CheckpointError", { cause: error })
  })

/** A proxy with a checkpointer behind it; `faults` are those of the statements to come. */
const opened = (options: Partial<Database.PostgresOptions> = {}) =>
  Effect.gen(function* () {
    const { url, layer: direct } = yield* server
    let faults: Array<FaultProxy.Fault | undefined> = []
    let always: FaultProxy.Fault | undefined
    const proxy = yield* Effect.acquireRelease(
      Effect.promise(() => FaultProxy.start({ url, decide: () => faults.shift() ?? always })),
      (proxy) => Effect.promise(proxy.close)
    )
    const context = yield* Layer.build(layer(proxy.url, { silenceTimeout: "100 millis", ...options }))
    const saver = yield* Effect.provide(Checkpointer.Checkpointer, context)
    const sql = yield* Effect.provide(SqlClient.SqlClient, yield* Layer.build(direct))
    return {
      proxy,
      saver,
      sql,
      next: (...list: ReadonlyArray<FaultProxy.Fault | undefined>) => {
        faults = [...list]
      },
      always: (fault: FaultProxy.Fault | undefined) => {
        always = fault
      }
    }
  })

describe("an answer that was lost", () => {
  it.scopedLive("is read again: what was written is not written twice", () =>
    Effect.gen(function* () {
      const { next, saver, sql } = yield* opened()
      for (const fault of ["cut-answer", "slow-close", "deaf"] as const) {
        const written = checkpoint(fault)
        next(fault)
        yield* Effect.promise(() => put(saver, written))
        // which tells a row that was inserted from one that was written over
        const rows = yield* sql`select xmax = 0 as once from checkpoints where checkpoint_id = ${written.id}`
        assert.deepStrictEqual(rows, [{ once: true }], fault)
        next(fault)
        yield* Effect.promise(() => saver.putWrites(at(written.id), [["state", fault]], "task"))
        next(fault)
        yield* Effect.promise(() => saver.putWrites(at(written.id), [["__error__", { message: fault }]], "task"))
        next("cut", fault)
        const tuple = yield* Effect.promise(() => saver.getTuple(at()))
        assert.deepStrictEqual(tuple?.checkpoint.channel_values, { state: fault })
        assert.lengthOf(tuple?.pendingWrites ?? [], 2)
      }
      next("cut-answer")
      yield* Effect.promise(() => saver.deleteThread("t"))
      assert.isUndefined(yield* Effect.promise(() => saver.getTuple(at())))
    })
  )

  it.scopedLive("what was not written is written then, also when the reading fails at first", () =>
    Effect.gen(function* () {
      const { next, saver } = yield* opened()
      for (const faults of [
        ["reset"],
        ["swallow", "reset"],
        ["cut", "cut", "deadlock"],
        ["serialization"],
        ["deadlock"]
      ] as const) {
        const written = checkpoint(faults.join())
        next(...faults)
        yield* Effect.promise(() => put(saver, written))
        const tuple = yield* Effect.promise(() => saver.getTuple(at(written.id)))
        assert.deepStrictEqual(tuple?.checkpoint.channel_values, { state: faults.join() })
      }
    })
  )
})

describe("a write that fails for good", () => {
  it.scopedLive("says whether it is known not to have happened", () =>
    Effect.gen(function* () {
      const { always, proxy, saver, sql } = yield* opened({ retryAttempts: 3 })
      const putting = () => put(saver, checkpoint(1))
      const isTold = (error: CheckpointError, written: "no" | "unknown", message: RegExp) => {
        assert.deepInclude(error, { reason: "Database", threadId: "t", written })
        assert.match(error.message, message)
      }
      always("deadlock")
      isTold(
        yield* rejection(putting),
        "no",
        /^The put of a checkpoint of "t" failed: deadlock detected; .* Nothing was written\.$/
      )
      always("cut")
      isTold(yield* rejection(putting), "unknown", /Whether it was written is not known: load the thread/)
      const unread = yield* rejection(() => saver.getTuple(at()))
      assert.strictEqual(unread.operation, "getTuple")
      assert.isUndefined(unread.written)
      always(undefined)
      yield* Effect.promise(proxy.down)
      isTold(yield* rejection(putting), "no", /ECONNREFUSED/)
      isTold(yield* rejection(() => saver.putWrites(at("1"), [["a", 1]], "task")), "no", /putWrites/)
      isTold(yield* rejection(() => saver.deleteThread("t")), "no", /deleteThread/)
      yield* Effect.promise(proxy.up)
      yield* sql`drop table checkpoint_blobs`
      isTold(yield* rejection(putting), "no", /checkpoint_blobs" does not exist; the database refused/)
      const unserializable = yield* rejection(() =>
        saver.put(
          at(),
          checkpoint(() => 1),
          metadata,
          { state: 1 }
        )
      )
      assert.deepInclude(unserializable, { reason: "Unserializable", written: "no" })
    })
  )

  it.scopedLive("gives the error itself, not the one that a span has wrapped around it", () =>
    Effect.gen(function* () {
      const { always, saver } = yield* opened({ retryAttempts: 2 })
      always("deadlock")
      const error = yield* Effect.gen(function* () {
        const config = { configurable: { thread_id: "t", ...(yield* SpanCarrier.capture) } }
        const it = checkpoint(1)
        return yield* rejection(() => saver.put(config, it, metadata, { state: versions }))
      }).pipe(Effect.withSpan("run"))
      assert.isFalse(Symbol.for("effect/OriginalAnnotation") in error)
      assert.isFalse(Symbol.for("effect/SpanAnnotation") in error)
      assert.strictEqual(error.written, "no")
    })
  )
})

describe("a role that may create nothing", () => {
  const role = `writer_${process.pid}`
  const statement = (text: string) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(text))

  /** A role that may read and write those tables and no more, and the database as it sees it. */
  const restricted = (url: string, owner: Layer.Layer<SqlClient.SqlClient>) =>
    Effect.acquireRelease(Effect.provide(statement(`create role ${role} login`), owner).pipe(Effect.orDie), () =>
      Effect.provide(statement(`drop owned by ${role}; drop role ${role}`), owner).pipe(Effect.orDie)
    ).pipe(
      Effect.map(() => {
        const address = new URL(url)
        address.username = role
        return layer(address.toString())
      })
    )

  const works = Effect.gen(function* () {
    const saver = yield* Checkpointer.Checkpointer
    const written = checkpoint("mine")
    yield* Effect.promise(() => put(saver, written))
    yield* Effect.promise(() => saver.putWrites(at(written.id), [["state", 2]], "task"))
    const tuple = yield* Effect.promise(() => saver.getTuple(at()))
    assert.deepStrictEqual(tuple?.checkpoint.channel_values, { state: "mine" })
    assert.lengthOf(tuple?.pendingWrites ?? [], 1)
    yield* Effect.promise(() => saver.deleteThread("t"))
  })

  it.scopedLive("opens tables that stand, and need not see the notes of what made them", () =>
    Effect.gen(function* () {
      const { layer: owner, url } = yield* server
      yield* Effect.provide(Checkpointer.Checkpointer, layer(url))
      const asRole = yield* restricted(url, owner)
      const grant = `revoke create on schema public from public;
        grant select, insert, update, delete on all tables in schema public to ${role};
        revoke all on holdfast_migrations, checkpoint_migrations from ${role}`
      yield* Effect.provide(statement(grant), owner)
      yield* Effect.provide(works, asRole)
      // as restored from a copy of the tables alone
      yield* Effect.provide(statement("drop table holdfast_migrations, checkpoint_migrations"), owner)
      yield* Effect.provide(works, asRole)
    })
  )

  it.scopedLive(
    "needs every column that the migrations make but those of the notes, and one that only others write",
    () =>
      Effect.gen(function* () {
        const { layer: owner, url } = yield* server
        yield* Effect.provide(Checkpointer.Checkpointer, layer(url))
        const columns = Effect.flatMap(
          SqlClient.SqlClient,
          (sql) => sql<{ name: string }>`select table_name || '.' || column_name as name from information_schema.columns
          where table_schema = 'public' and table_name not like '%migrations'`
        )
        const found = (yield* Effect.provide(columns, owner)).map(({ name }) => name)
        const wanted = Object.entries(requires).flatMap(([table, names]) => names.map((name) => `${table}.${name}`))
        assert.deepStrictEqual([...wanted, "checkpoints.type"].sort(), found.sort())
      })
  )

  it.scopedLive("is told what is missing of tables that the official saver has made", () =>
    Effect.gen(function* () {
      const { layer: owner, url } = yield* server
      const official = PostgresSaver.fromConnString(url)
      yield* Effect.promise(() => official.setup())
      yield* Effect.promise(() => official.end())
      const asRole = yield* restricted(url, owner)
      yield* Effect.provide(
        statement(`revoke create on schema public from public;
          grant select, insert, update, delete on all tables in schema public to ${role}`),
        owner
      )
      const exit = yield* Effect.exit(Effect.provide(works, asRole))
      const error = Exit.isFailure(exit) && exit.cause._tag === "Fail" ? exit.cause.error : undefined
      assert.instanceOf(error, DatabaseError)
      assert.match(
        String(error?.message),
        /there is no .*checkpoint_writes\.task_path.*Open the database once with a role/
      )
      yield* Effect.provide(Checkpointer.Checkpointer, layer(url))
      yield* Effect.provide(
        statement(`grant select, insert, update, delete on all tables in schema public to ${role}`),
        owner
      )
      yield* Effect.provide(works, asRole)
    })
  )
})

describe("a role that may not use the schema", () => {
  it.scopedLive("is told so when it opens the database", () =>
    Effect.gen(function* () {
      const { layer: owner, url } = yield* server
      const statement = (text: string) =>
        Effect.provide(
          Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(text)),
          owner
        )
      const role = `outsider_${process.pid}`
      yield* Effect.provide(Checkpointer.make({ schema: "agents" }), owner)
      yield* Effect.acquireRelease(statement(`create role ${role} login`), () =>
        Effect.orDie(statement(`drop owned by ${role}; drop role ${role}`))
      )
      yield* statement(`grant select, insert, update, delete on all tables in schema agents to ${role}`)
      const address = new URL(url)
      address.username = role
      const as = Database.layerPostgres({ url: Redacted.make(address.toString()) })
      const error = yield* Effect.flip(Effect.provide(Checkpointer.make({ schema: "agents" }), as))
      assert.instanceOf(error, DatabaseError)
      assert.include(error.message, `the role "${role}" may not use their schema: grant usage on schema "agents"`)
      yield* statement(`grant usage on schema agents to ${role}`)
      yield* Effect.provide(Checkpointer.make({ schema: "agents" }), as)
    })
  )
})

describe("a saver that closes", () => {
  it.scopedLive("does not wait for a server that is gone to take its leases back", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { always, saver } = yield* opened({ retryTime: "1 hour", retryAttempts: 1_000_000 }).pipe(
        Scope.extend(scope)
      )
      // a run as LangGraph shows it: its control, and somebody who listens for its end
      const run = new AbortController()
      run.signal.addEventListener("abort", () => {})
      const config = { ...at(), control: {}, signal: run.signal }
      yield* Effect.promise(() => saver.getTuple(config))
      always("cut")
      // without an end of its own patience this takes an hour
      yield* Scope.close(scope, Exit.void)
    })
  )
})
