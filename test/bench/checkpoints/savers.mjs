// The savers under measurement, each with a pool of its own of the same size, each in a fresh database of one server.
import { MemorySaver } from "@langchain/langgraph"
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { Database } from "holdfast"
import { Checkpointer } from "holdfast/langgraph"
import pg from "pg"

export const poolSize = 16

const build = async (layer, options) => {
  const scope = await Effect.runPromise(Scope.make())
  const context = await Effect.runPromise(
    Layer.buildWithScope(Layer.provideMerge(Checkpointer.layer(options), layer), scope)
  )
  const saver = await Effect.runPromise(Effect.provide(Checkpointer.Checkpointer, context))
  return { saver, end: () => Effect.runPromise(Scope.close(scope, Exit.void)) }
}

export const ours = (url, options) =>
  build(Database.layerPostgres({ url: Redacted.make(url), maxConnections: poolSize }), options)

export const embedded = (options) => build(Database.layerEmbedded(), options)

export const official = async (url) => {
  const pool = new pg.Pool({ connectionString: url, max: poolSize })
  const saver = new PostgresSaver(pool)
  await saver.setup()
  return { saver, end: () => pool.end() }
}

export const memory = () => ({ saver: new MemorySaver(), end: async () => {} })

/** A database of its own on the server. */
export const database = async (serverUrl, name) => {
  const client = new pg.Client({ connectionString: serverUrl })
  await client.connect()
  await client.query(`drop database if exists ${name} with (force)`)
  await client.query(`create database ${name}`)
  await client.end()
  const url = new URL(serverUrl)
  url.pathname = `/${name}`
  return url.toString()
}
