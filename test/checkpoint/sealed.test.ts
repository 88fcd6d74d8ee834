/** Compressed and encrypted threads: what stands in the tables, what opens, and what does not. */
import { deepStrictEqual } from "node:assert"
import { randomBytes } from "node:crypto"
import { inspect } from "node:util"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import { Command } from "@langchain/langgraph"
import { type CheckpointTuple, DeltaSnapshot, emptyCheckpoint } from "@langchain/langgraph-checkpoint"
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as fc from "fast-check"
import { CheckpointError } from "../../src/checkpoint/CheckpointError.js"
import * as Checkpointer from "../../src/checkpoint/Checkpointer.js"
import * as CheckpointManager from "../../src/checkpoint/CheckpointManager.js"
import * as Encryption from "../../src/checkpoint/Encryption.js"
import * as delta from "../../src/checkpoint/internal/delta.js"
import * as form from "../../src/checkpoint/internal/form.js"
import { ConfigurationError } from "../../src/observability/ConfigurationError.js"
import * as TestDatabases from "../support/databases.js"
import * as flow from "./fixtures/flow.js"

const keys = { first: randomBytes(32).toString("base64"), second: randomBytes(32).toString("hex") }
const encryption = (options: Partial<Encryption.Options> = {}) =>
  Encryption.make({ keys: { first: keys.first }, ...options })

const thread = (thread_id: string, more: object = {}) => ({ configurable: { thread_id, ...more } })

const all = async (tuples: AsyncIterable<CheckpointTuple>): Promise<Array<CheckpointTuple>> => {
  const out: Array<CheckpointTuple> = []
  for await (const tuple of tuples) out.push(tuple)
  return out
}

const failed = (run: () => Promise<unknown>): Effect.Effect<CheckpointError> =>
  Effect.promise(() =>
    run().then(
      () => assert.fail("was not refused"),
      (error: unknown) => {
        assert.instanceOf(error, CheckpointError)
        return error
      }
    )
  )

/** Every byte of every column of every table of ours, as text. */
const everything = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const tables = yield* sql<{
    readonly name: string
  }>`select tablename as name from pg_tables where schemaname = 'public'`
  let out = ""
  for (const { name } of tables) {
    for (const row of yield* sql.unsafe<Record<string, unknown>>(`select * from "${name}"`)) {
      for (const value of Object.values(row)) {
        out += value instanceof Uint8Array ? Buffer.from(value).toString("latin1") : `${JSON.stringify(value)}\n`
      }
    }
  }
  return out
})

/** Ten steps of a state of which a little changes, with writes beside each step. */
const steps = async (saver: Checkpointer.Service, threadId: string, size = 20_000) => {
  const lines = Array.from({ length: size / 50 }, () => randomBytes(18).toString("base64"))
  let version: number | undefined
  let config = thread(threadId, { checkpoint_ns: "" })
  const written: Array<readonly [config: typeof config, value: ReadonlyArray<string>]> = []
  for (let step = 0; step < 10; step++) {
    lines[Math.floor(lines.length / 2) + step] = randomBytes(18).toString("base64")
    version = saver.getNextVersion(version)
    const values = { lines: [...lines], small: step, raw: new Uint8Array([step]) }
    const checkpoint = {
      ...emptyCheckpoint(),
      channel_values: values,
      channel_versions: { lines: version, small: version, raw: version }
    }
    config = (await saver.put(
      config,
      checkpoint,
      { source: "loop", step, parents: {} },
      checkpoint.channel_versions
    )) as typeof config
    await saver.putWrites(config, [["lines", [...lines, "next"]]], "task")
    written.push([config, values.lines])
  }
  return written
}

describe("the form of a value", () => {
  it("a difference gives the value again, and is small where little changed", () => {
    const bytes = fc.uint8Array({ maxLength: 400 })
    fc.assert(
      fc.property(bytes, bytes, bytes, bytes, (head, middle, other, tail) => {
        const base = Buffer.concat([head, middle, tail, middle])
        const target = Buffer.concat([tail, head, other, middle, tail])
        deepStrictEqual(delta.decode(base, delta.encode(delta.index(base), target)), target)
      })
    )
    const base = randomBytes(100_000)
    const target = Buffer.concat([base.subarray(0, 5000), randomBytes(100), base.subarray(4000)])
    assert.isBelow(delta.encode(delta.index(base), target).length, 1200)
  })

  it("a difference refuses another base, and bytes that are damaged", () => {
    const base = randomBytes(500)
    const change = delta.encode(delta.index(base), Buffer.concat([base, Buffer.from("more")]))
    assert.throws(() => delta.decode(randomBytes(500), change), /damaged/)
    assert.throws(() => delta.decode(base, change.subarray(0, change.length - 3)))
  })

  it("what a serializer calls its own type stays", () => {
    fc.assert(
      fc.property(
        fc.string(),
        fc.constantFrom("", "+br", "+snap", "+aes=k", "+of=1.5", "+raw", "+br+raw"),
        (own, end) => {
          const shape = { type: `${own}${end}`, snapshot: false, base: undefined, compressed: false, key: undefined }
          deepStrictEqual(form.parse(form.print(shape)).type, shape.type)
        }
      )
    )
    const shape = { type: "json", snapshot: true, base: "3.25", compressed: true, key: "2026-11" }
    deepStrictEqual(form.parse(form.print(shape)), { ...shape, raw: false })
  })
})

describe("Encryption", () => {
  const refused = (options: Encryption.Options): string => {
    try {
      Encryption.make(options)
    } catch (error) {
      assert.instanceOf(error, ConfigurationError)
      return error.message
    }
    return assert.fail("was accepted")
  }

  it("takes keys in base64 and hexadecimal, as record and as text, and shows none of them", () => {
    for (const given of [
      { keys },
      { keys: `first:${keys.first}, second:${keys.second}` },
      { keys: Redacted.make(`first:${keys.first},second:${keys.second}`) }
    ]) {
      const made = Encryption.make(given)
      deepStrictEqual(made.ids, ["first", "second"])
      assert.strictEqual(made.current, "first")
      const shown = `${inspect(made, { depth: 9, showHidden: true })}${JSON.stringify(made)}${made}`
      assert.notInclude(shown, keys.first)
      assert.notInclude(shown, keys.second)
    }
  })

  it("refuses what is no key, and names the variable without showing it", () => {
    for (const given of [
      "",
      "first:",
      keys.first,
      "a:short",
      `a:${keys.first}x`,
      `a:${keys.second}00`,
      `a b:${keys.first}`
    ]) {
      const message = refused({ keys: given })
      assert.match(message, /^HOLDFAST_ENCRYPTION_KEYS cannot be used: .*32 bytes in base64/)
      assert.notInclude(message, keys.first.slice(0, 10))
    }
    assert.match(refused({ keys: `a:${keys.first},a:${keys.second}` }), /two keys have one id/)
    assert.match(refused({ keys: {} }), /no key/)
  })

  it.effect("comes from the environment", () =>
    Effect.gen(function* () {
      const read = (settings: Record<string, string>) =>
        Effect.withConfigProvider(
          Effect.exit(Encryption.fromEnvironment),
          ConfigProvider.fromMap(new Map(Object.entries(settings)))
        )
      deepStrictEqual(yield* read({}), Exit.succeed(Option.none()))
      const full = yield* read({
        HOLDFAST_ENCRYPTION_KEYS: `a:${keys.first}`,
        HOLDFAST_ENCRYPTION_METADATA: "user, ticket",
        HOLDFAST_ENCRYPTION_ALLOW_PLAINTEXT: "TRUE"
      })
      const made = Exit.isSuccess(full) ? Option.getOrThrow(full.value) : assert.fail()
      deepStrictEqual([made.ids, made.metadata, made.allowPlaintext], [["a"], ["user", "ticket"], true])
      for (const settings of [
        { HOLDFAST_ENCRYPTION_KEYS: "a:b" },
        { HOLDFAST_ENCRYPTION_METADATA: "a,,b" },
        { HOLDFAST_ENCRYPTION_ALLOW_PLAINTEXT: "maybe" }
      ]) {
        assert.isTrue(Exit.isFailure(yield* read(settings)))
      }
    })
  )
})

for (const backend of TestDatabases.backends) {
  describe(`sealed checkpoints on ${backend.name}`, () => {
    it.layer(backend.layer)((it) => {
      const kinds = [
        ["compressed", { compression: true }],
        ["compressed and encrypted", { compression: true, encryption: encryption({ metadata: true }) }]
      ] as const
      for (const [kind, options] of kinds) {
        it.scoped(`${kind}: all values come back, by this process and by another`, () =>
          Effect.gen(function* () {
            const saver = yield* Checkpointer.make(options)
            const written = yield* Effect.promise(() => steps(saver, kind))
            const another = yield* Checkpointer.make(options)
            yield* Effect.promise(async () => {
              for (const reader of [saver, another]) {
                for (const [config, lines] of written) {
                  const tuple = await reader.getTuple(config)
                  deepStrictEqual(tuple?.checkpoint.channel_values["lines"], lines)
                  deepStrictEqual(
                    tuple?.checkpoint.channel_values["raw"],
                    new Uint8Array([Number(tuple.metadata?.step)])
                  )
                  deepStrictEqual(tuple?.pendingWrites, [["task", "lines", [...lines, "next"]]])
                }
                const listed = await all(reader.list(thread(kind)))
                deepStrictEqual(
                  listed.map((tuple) => tuple.checkpoint.channel_values["lines"]),
                  written.map(([, lines]) => lines).reverse()
                )
              }
            })
          })
        )

        it.scoped(`${kind}: a graph asks, is answered by another process, and forks`, () =>
          Effect.gen(function* () {
            const id = `${kind} graph`
            const graph = (saver: Checkpointer.Service) =>
              flow.make({ checkpointer: saver, counts: "/dev/null", asks: true })
            const first = yield* Checkpointer.make(options)
            yield* Effect.promise(() => graph(first).invoke({ log: ["in"] }, thread(id)))
            const [waiting] = yield* first.threads({ limit: 1 })
            assert.strictEqual(waiting?.status, "waiting")
            assert.strictEqual(waiting?.interrupts.length, 1)
            const second = yield* Checkpointer.make(options)
            const ended = yield* Effect.promise(() => graph(second).invoke(new Command({ resume: "yes" }), thread(id)))
            deepStrictEqual(ended, { log: ["in", "first", "ask", "quick", "last"], answer: "yes" })
            yield* Effect.promise(async () => {
              const states = []
              for await (const state of graph(first).getStateHistory(thread(id))) states.push(state)
              const fork = await graph(first).updateState(states.at(-2)?.config ?? {}, { log: ["forked"] })
              deepStrictEqual((await graph(second).getState(states[0]?.config ?? {})).values, ended)
              assert.include((await graph(second).getState(fork)).values.log, "forked")
            })
          })
        )
      }

      it.scoped("stores a state of which a little changes in a fraction, and reads it without the option", () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const size = (id: string) =>
            sql<{ readonly bytes: number }>`select (
              (select sum(octet_length(blob)) from checkpoint_blobs where thread_id = ${id}) +
              (select sum(octet_length(blob)) from checkpoint_writes where thread_id = ${id}))::int as bytes`
          const plain = yield* Checkpointer.make()
          yield* Effect.promise(() => steps(plain, "plain"))
          const packed = yield* Checkpointer.make({ compression: true })
          const written = yield* Effect.promise(() => steps(packed, "packed"))
          const [before, after] = [yield* size("plain"), yield* size("packed")]
          assert.isBelow(after[0]?.bytes ?? Number.NaN, (before[0]?.bytes ?? 0) * 0.15)
          yield* Effect.promise(async () => {
            for (const [config, lines] of written) {
              deepStrictEqual((await plain.getTuple(config))?.checkpoint.channel_values["lines"], lines)
            }
          })
        })
      )

      it.scoped("leaves nothing of the state, of what was written and of the metadata to be read in any column", () =>
        Effect.gen(function* () {
          const secret = "correct horse battery staple"
          const saver = yield* Checkpointer.make({ compression: true, encryption: encryption({ metadata: ["user"] }) })
          const put = (id: string, value: unknown) =>
            Effect.promise(async () => {
              const checkpoint = {
                ...emptyCheckpoint(),
                channel_values: { text: value, number: 8_675_309, bytes: Buffer.from(secret) },
                channel_versions: { text: 1, number: 1, bytes: 1 },
                unknown_field: { note: secret }
              }
              const metadata = {
                source: "loop" as const,
                step: 0,
                parents: {},
                user: secret,
                tier: "gold",
                writes: { a: secret }
              }
              const config = await saver.put(thread(id, { checkpoint_ns: "" }), checkpoint, metadata, {
                text: 1,
                number: 1,
                bytes: 1
              })
              await saver.putWrites(
                config,
                [
                  ["text", secret],
                  ["__interrupt__", { value: secret }],
                  ["__error__", new Error(secret)]
                ],
                "t"
              )
              const tuple = await saver.getTuple(config)
              deepStrictEqual(tuple?.checkpoint.channel_values["text"], value)
              deepStrictEqual({ ...tuple?.checkpoint, channel_values: 0 }, { ...checkpoint, channel_values: 0 })
              deepStrictEqual(tuple?.metadata, metadata)
            })
          yield* put("one", secret)
          yield* put("many", { messages: Array.from({ length: 50 }, () => secret) })
          const found = yield* everything
          assert.notInclude(found, "horse")
          assert.notInclude(found, "8675309")
          assert.include(found, "gold")
          const sql = yield* SqlClient.SqlClient
          const [same] = yield* sql<{
            readonly n: number
          }>`select count(distinct substring(blob for 12))::int as n from checkpoint_blobs where type like '%aes%'`
          const [rows] = yield* sql<{
            readonly n: number
          }>`select count(*)::int as n from checkpoint_blobs where type like '%aes%'`
          assert.strictEqual(same?.n, rows?.n)
        })
      )

      it.scoped("a new key writes, the old one reads; without it the error names key and thread", () =>
        Effect.gen(function* () {
          const old = yield* Checkpointer.make({ encryption: encryption() })
          const checkpoint = { ...emptyCheckpoint(), channel_values: { a: "x" }, channel_versions: { a: 1 } }
          const metadata = { source: "loop" as const, step: 0, parents: {} }
          yield* Effect.promise(() => old.put(thread("rotated", { checkpoint_ns: "" }), checkpoint, metadata, { a: 1 }))
          const both = yield* Checkpointer.make({
            encryption: Encryption.make({ keys: { second: keys.second, first: keys.first } })
          })
          const later = { ...checkpoint, ...emptyCheckpoint(), channel_values: { a: "y" }, channel_versions: { a: 2 } }
          yield* Effect.promise(async () => {
            const read = await both.getTuple(thread("rotated"))
            deepStrictEqual(read?.checkpoint.channel_values, { a: "x" })
            await both.put(read?.config ?? {}, later, metadata, { a: 2 })
            deepStrictEqual(
              (await all(both.list(thread("rotated")))).map((tuple) => tuple.checkpoint.channel_values["a"]),
              ["y", "x"]
            )
          })
          const missing = yield* failed(() => old.getTuple(thread("rotated")))
          deepStrictEqual([missing.reason, missing.keyId, missing.threadId], ["Key", "second", "rotated"])
          assert.match(missing.message, /"rotated".*channel "a".*key "second".*not among those given \(first\)/)
          const other = yield* Checkpointer.make({ encryption: Encryption.make({ keys: { second: keys.first } }) })
          const wrong = yield* failed(() => other.getTuple(thread("rotated")))
          deepStrictEqual([wrong.reason, wrong.keyId], ["Key", "second"])
          assert.match(wrong.message, /does not open with the key "second"/)
          const none = yield* Checkpointer.make()
          const closed = yield* failed(() => none.getTuple(thread("rotated")))
          deepStrictEqual([closed.reason, closed.keyId], ["Key", "second"])
          for (const error of [missing, wrong, closed]) {
            const shown = `${inspect(error, { depth: 9 })}${JSON.stringify(error)}`
            for (const key of Object.values(keys)) assert.notInclude(shown, key)
          }
        })
      )

      it.scoped("a value that was changed, or moved to another thread, channel or version, does not open", () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const saver = yield* Checkpointer.make({ encryption: encryption() })
          const put = (id: string) =>
            Effect.promise(() => {
              const checkpoint = {
                ...emptyCheckpoint(),
                channel_values: { a: id, b: "other" },
                channel_versions: { a: 1, b: 1 }
              }
              return saver.put(
                thread(id, { checkpoint_ns: "" }),
                checkpoint,
                { source: "loop", step: 0, parents: {} },
                { a: 1, b: 1 }
              )
            })
          yield* put("mine")
          yield* put("yours")
          const refused = Effect.map(
            failed(() => saver.getTuple(thread("mine"))),
            (error) => assert.strictEqual(error.reason, "Key")
          )
          const at = (id: string, channel: string) =>
            sql`(select blob from checkpoint_blobs where thread_id = ${id} and channel = ${channel})`
          for (const change of [
            at("yours", "a"),
            at("mine", "b"),
            sql`set_byte(blob, 14, get_byte(blob, 14) # 1)`,
            sql`''::bytea`
          ]) {
            const kept = yield* sql<{
              readonly blob: Uint8Array
            }>`select blob from checkpoint_blobs where thread_id = 'mine' and channel = 'a'`
            yield* sql`update checkpoint_blobs set blob = ${change} where thread_id = 'mine' and channel = 'a'`
            yield* refused
            yield* sql`update checkpoint_blobs set blob = ${kept[0]?.blob ?? null} where thread_id = 'mine' and channel = 'a'`
          }
          deepStrictEqual((yield* Effect.promise(() => saver.getTuple(thread("mine"))))?.checkpoint.channel_values, {
            a: "mine",
            b: "other"
          })
        })
      )

      it.scoped("plain values are read only if that is allowed", () =>
        Effect.gen(function* () {
          const plain = yield* Checkpointer.make()
          const checkpoint = { ...emptyCheckpoint(), channel_values: { a: 1 }, channel_versions: { a: 1 } }
          const metadata = { source: "loop" as const, step: 0, parents: {} }
          yield* Effect.promise(() => plain.put(thread("old", { checkpoint_ns: "" }), checkpoint, metadata, { a: 1 }))
          const strict = yield* Checkpointer.make({ encryption: encryption() })
          const error = yield* failed(() => strict.getTuple(thread("old")))
          assert.strictEqual(error.reason, "Key")
          assert.match(error.message, /"old".*plain text.*allowPlaintext/)
          const mild = yield* Checkpointer.make({ encryption: encryption({ allowPlaintext: true }) })
          deepStrictEqual((yield* Effect.promise(() => mild.getTuple(thread("old"))))?.checkpoint.channel_values, {
            a: 1
          })
        })
      )

      it.scoped("metadata that is encrypted still filters, and its reserved field is refused", () =>
        Effect.gen(function* () {
          const saver = yield* Checkpointer.make({ encryption: encryption({ metadata: true }) })
          const put = (step: number, user: unknown) => {
            const metadata = { source: "loop" as const, step, parents: {}, user }
            return saver.put(thread("filtered", { checkpoint_ns: "" }), emptyCheckpoint(), metadata, {})
          }
          yield* Effect.promise(async () => {
            for (let step = 0; step < 7; step++)
              await put(step, { name: step % 2 === 0 ? "ann" : "bob", tags: [step, "x"] })
            const found = async (filter: Record<string, unknown>, limit?: number) =>
              (await all(saver.list(thread("filtered"), { filter, ...(limit === undefined ? {} : { limit }) }))).map(
                (t) => t.metadata?.step
              )
            deepStrictEqual(await found({ user: { name: "ann" } }), [6, 4, 2, 0])
            deepStrictEqual(await found({ user: { name: "ann" } }, 2), [6, 4])
            deepStrictEqual(await found({ user: { tags: [3] } }), [3])
            deepStrictEqual(await found({ step: 5, user: { name: "bob" } }), [5])
            deepStrictEqual(await found({ user: { name: "eve" } }), [])
          })
          const error = yield* failed(() =>
            saver.put(
              thread("filtered"),
              emptyCheckpoint(),
              { source: "loop", step: 0, parents: {}, "holdfast:sealed": 1 } as never,
              {}
            )
          )
          assert.match(error.message, /holdfast:sealed/)
        })
      )

      it.scoped("delta channels and their snapshots come back", () =>
        Effect.gen(function* () {
          const saver = yield* Checkpointer.make({ compression: true, encryption: encryption() })
          const large = Array.from({ length: 100 }, (_, index) => `line ${index} ${randomBytes(16).toString("hex")}`)
          yield* Effect.promise(async () => {
            const metadata = { source: "loop" as const, step: 0, parents: {} }
            const first = {
              ...emptyCheckpoint(),
              channel_values: { log: new DeltaSnapshot(large) },
              channel_versions: { log: 1 }
            }
            const c0 = await saver.put(thread("delta", { checkpoint_ns: "" }), first, metadata, { log: 1 })
            await saver.putWrites(c0, [["log", [...large, "more"]]], "t")
            const c1 = await saver.put(c0, emptyCheckpoint(), metadata, {})
            const history = await saver.getDeltaChannelHistory({ config: c1, channels: ["log"] })
            deepStrictEqual(history["log"]?.seed, new DeltaSnapshot(large))
            deepStrictEqual(history["log"]?.writes, [["t", "log", [...large, "more"]]])
          })
        })
      )

      it.scoped("the checkpoints of workflows, too", () =>
        Effect.gen(function* () {
          const options = { compression: true, encryption: encryption({ metadata: true }) }
          const manager = yield* CheckpointManager.make(options)
          const schema = Schema.Array(Schema.String)
          const state = Array.from({ length: 100 }, () => "very secret plan")
          yield* manager.save({ workflowId: "w", phase: "one", state, schema, version: "7" })
          yield* manager.save({ workflowId: "w", phase: "two", state: [...state, "b"], schema })
          const again = yield* CheckpointManager.make(options)
          deepStrictEqual((yield* again.load({ workflowId: "w", phase: "one", schema })).state, state)
          const last = yield* again.resume("w", schema)
          deepStrictEqual([last.phase, last.state.length], ["two", 101])
          assert.notInclude(yield* everything, "secret plan")
          const bare = yield* CheckpointManager.make()
          const error = yield* Effect.flip(bare.resume("w", schema))
          assert.deepInclude(error, { _tag: "CheckpointError", reason: "Key", keyId: "first", threadId: "w" })
        })
      )
    })
  })
}

describe("beside the official saver", () => {
  it.scoped("it says of a compressed thread that it cannot read it", () =>
    Effect.gen(function* () {
      const { url = "" } = yield* TestDatabases.TestDatabase
      const ours = yield* Checkpointer.make({ compression: true })
      yield* Effect.promise(async () => {
        await steps(ours, "packed")
        const theirs = PostgresSaver.fromConnString(url)
        const message = await theirs.getTuple(thread("packed")).then(() => "", String)
        await theirs.end()
        assert.match(message, /Unknown serialization type/)
      })
    }).pipe(Effect.provide(TestDatabases.backends[1]?.layer ?? Layer.die("no server")))
  )
})
