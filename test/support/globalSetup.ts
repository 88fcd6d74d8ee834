/**
 * Provides the suite's PostgreSQL server: `TEST_DATABASE_URL` if it is set, else one of our own, started when the first test asks for it and
 * stopped when the run ends.
 */
import { createServer } from "node:http"
import type { TestProject } from "vitest/node"
import * as PostgresServer from "./postgresServer.js"

declare module "vitest" {
  export interface ProvidedContext {
    /** Answers a GET with the URL of the server. */
    readonly postgresBroker: string
  }
}

export default async (project: TestProject): Promise<() => Promise<void>> => {
  let started: Promise<PostgresServer.PostgresServer> | undefined
  const url = async (): Promise<string> => {
    const given = process.env["TEST_DATABASE_URL"]
    if (given !== undefined && given !== "") return given
    started ??= PostgresServer.removeLeftovers().then(() => PostgresServer.start())
    return (await started).url
  }
  const broker = createServer((_, response) => {
    url().then(
      (url) => response.end(url),
      (error) => response.writeHead(500).end(String(error))
    )
  })
  await new Promise<void>((resolve) => broker.listen(0, "127.0.0.1", resolve))
  const address = broker.address()
  if (typeof address !== "object" || address === null) throw new Error("no address")
  project.provide("postgresBroker", `http://127.0.0.1:${address.port}`)
  return async () => {
    broker.closeAllConnections()
    broker.close()
    await started?.then(
      (server) => server.stop(),
      () => {}
    )
  }
}
