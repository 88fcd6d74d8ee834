/**
 * The statements that operations of several threads share: how each is sent, alone and with others, and what its answer says to whom.
 *
 * @internal
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Direct from "../../database/internal/direct.js"
import * as Transaction from "../../database/Transaction.js"
import type { CheckpointError } from "../CheckpointError.js"
import * as attempts from "./attempts.js"
import * as group from "./group.js"
import type * as leases from "./leases.js"
import * as loading from "./loading.js"
import * as prepared from "./prepared.js"
import * as quick from "./quick.js"
import * as rows from "./rows.js"
import type { Tables } from "./statements.js"
import type { Loaded, NewCheckpoint, NewWrites, Refused } from "./store.js"
import * as writing from "./writing.js"

/** A checkpoint by its id, or the newest of a thread. */
export interface Key {
  readonly threadId: string
  readonly namespace: string
  readonly checkpointId: string | undefined
}

/** What the database says of a value that calls itself JSON and is no text, or we of one that is no JSON. */
const isNoText = (error: SqlError): boolean =>
  error.cause instanceof rows.Unclear || ["22021", "22P05"].includes(Transaction.code(error) ?? "")

const refused = (row: leases.WriteRow | undefined): Refused | undefined =>
  row === undefined || row[1] ? undefined : rows.refusedBy(row[2])

/** What a statement that loads answers. */
interface Answer {
  readonly found: ReadonlyArray<Loaded>
  readonly places: ReadonlyArray<number>
  readonly lease: string | null
}

export interface Sources {
  readonly tables: Tables
  readonly run: prepared.Execute
  readonly direct: Direct.Direct | undefined
  readonly names: prepared.Names
  /** Asks whether a checkpoint is there, see `Statements.isPut`. */
  readonly isPut: string
}

/** @param within What every operation is run within. */
export const make = (
  { direct, isPut, names, run, tables }: Sources,
  within: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>
) =>
  Effect.gen(function* () {
    const landed = (statement: string, parameters: ReadonlyArray<unknown>) =>
      Effect.map(run(prepared.statement(statement), parameters), ([row]) => row?.[0] === true)

    /** Shares a statement with others, unless it belongs to a transaction. */
    const shared = <A, B>(
      options: group.Options<A, B, CheckpointError, SqlError>
    ): Effect.Effect<group.Group<A, B, CheckpointError>> => {
      const one: typeof options.one = (item, before) => within(options.one(item, before))
      return Effect.map(group.make({ ...options, one }), (share) =>
        Object.assign(
          (item: A) =>
            Effect.contextWithEffect((context: Context.Context<never>) =>
              Option.isNone(Context.getOption(context, SqlClient.TransactionConnection))
                ? share(item)
                : one(item, undefined)
            ),
          { quick: share.quick }
        )
      )
    }

    const alone = writing.make(tables, false)
    const together = writing.make(tables, true)
    const quickly = direct === undefined ? undefined : quick.make(tables, direct, names, together)
    const write = <A extends NewCheckpoint | NewWrites>(
      kind: "put" | "insertWrites" | "upsertWrites",
      options: {
        readonly name: string
        readonly parameters: (items: ReadonlyArray<rows.Guarded<A>>) => ReadonlyArray<unknown>
        /** Whether it is there, when an answer was lost. */
        readonly landed: (item: rows.Guarded<A>) => Effect.Effect<boolean, SqlError>
        readonly key: (it: A) => string
        readonly weight: (it: A) => number
        readonly quick: group.Options<rows.Guarded<A>, Refused | undefined, CheckpointError, SqlError>["quick"]
      }
    ) => {
      const [one, many] = [prepared.statement(alone[kind]), prepared.statement(together[kind])]
      const send = (statement: prepared.Prepared, items: ReadonlyArray<rows.Guarded<A>>) =>
        Effect.map(
          Effect.suspend(() => run(statement, options.parameters(items))),
          (answer) => {
            const out = new Array<Refused | undefined>(items.length).fill(undefined)
            // the columns are those of the statement
            for (const row of answer as unknown as ReadonlyArray<leases.WriteRow>) out[row[0]] = refused(row)
            return out
          }
        )
      const allowed: Refused | undefined = undefined
      return shared<rows.Guarded<A>, Refused | undefined>({
        one: (item, before) =>
          Effect.map(
            attempts.write(
              { name: options.name, threadId: item.it.threadId },
              {
                statement: send(one, [item]),
                landed: Effect.map(options.landed(item), (is) => (is ? [allowed] : undefined)),
                before
              }
            ),
            ([answer]) => answer
          ),
        many: (items) => send(many, items),
        quick: options.quick,
        key: ({ it }) => options.key(it),
        weight: ({ it }) => options.weight(it)
      })
    }
    const put = yield* write("put", {
      name: "put",
      parameters: rows.put,
      landed: ({ it }) => landed(isPut, [it.threadId, it.namespace, it.checkpointId, it.checkpoint, it.metadata]),
      key: (it: NewCheckpoint) => it.threadId,
      weight: (it) => rows.weight(it.blobs),
      quick: quickly?.put
    })
    const writes = (kind: "insertWrites" | "upsertWrites", question: string, parameters: number) =>
      write(kind, {
        name: "putWrites",
        parameters: rows.writes,
        landed: (item) => landed(question, rows.writes([item]).slice(0, parameters)),
        key: (it: NewWrites) => JSON.stringify([it.threadId, it.namespace, it.checkpointId, it.taskId]),
        weight: (it) => rows.weight(it.writes),
        quick: quickly?.[kind]
      })
    const insertWrites = yield* writes("insertWrites", alone.areInserted, 2)
    const upsertWrites = yield* writes("upsertWrites", alone.areUpserted, 3)

    const asText = loading.make(tables, false)
    const inHex = loading.make(tables, true)
    /** Runs a statement that loads; once more in another form when a value is not what it calls itself. */
    const read = (
      statement: (from: loading.Statements) => string,
      parameters: ReadonlyArray<unknown>
    ): Effect.Effect<Answer, SqlError> => {
      const under = (from: loading.Statements) =>
        Effect.flatMap(run(prepared.statement(statement(from)), parameters), (answer) =>
          Effect.try({
            try: () => {
              const all = answer as unknown as ReadonlyArray<loading.Row> // the columns are those of the statement
              const some = all.filter((row) => row[0] !== null)
              return {
                found: some.map((row) => rows.loaded(row, from === inHex)),
                places: some.map((row) => row[0] ?? 0),
                lease: all[0]?.[13] ?? null
              }
            },
            catch: (cause) => new SqlError({ cause, message: "The row of a checkpoint cannot be read" })
          })
        )
      return Effect.catchIf(under(asText), isNoText, () => under(inHex))
    }
    const reading = (kind: "newest" | "byId", key: (it: Key, o: number) => object) => {
      const send = (items: ReadonlyArray<Key>) =>
        Effect.map(
          read((from) => from[kind], [JSON.stringify(items.map(key))]),
          ({ found, places }) => {
            const out = new Array<Loaded | undefined>(items.length).fill(undefined)
            for (const [index, place] of places.entries()) out[place] = found[index]
            return out
          }
        )
      return shared<Key & { readonly operation: string }, Loaded | undefined>({
        one: (item) =>
          Effect.map(
            attempts.read({ name: item.operation, threadId: item.threadId }, send([item])),
            ([found]) => found
          ),
        many: send,
        quick: quickly?.[kind]
      })
    }
    const newest = yield* reading("newest", (it, o) => ({ o, thread: it.threadId, ns: it.namespace }))
    const byId = yield* reading("byId", (it, o) => ({ o, thread: it.threadId, ns: it.namespace, id: it.checkpointId }))

    return { put, insertWrites, upsertWrites, newest, byId, read, landed, quickly }
  })
