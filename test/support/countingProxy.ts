/** Stands between a client and a Postgres server, and counts round trips: the server ends each with `ReadyForQuery`. */
import { connect, createServer, type Socket } from "node:net"

export interface CountingProxy {
  /** The server's URL, through the proxy. */
  readonly url: string
  /** Round trips so far, those with which connections begin among them. */
  readonly count: () => number
  readonly stop: () => Promise<void>
}

const readyForQuery = "Z".charCodeAt(0)

/** Counts messages of one kind in a stream of them: a sign for the kind, four bytes for the length (which counts itself), the rest. */
const counter = (kind: number, found: () => void) => {
  let head = Buffer.alloc(0)
  let skip = 0
  return (chunk: Buffer): void => {
    let at = 0
    while (at < chunk.length) {
      if (skip > 0) {
        const step = Math.min(skip, chunk.length - at)
        skip -= step
        at += step
        continue
      }
      const piece = chunk.subarray(at, at + 5 - head.length)
      head = Buffer.concat([head, piece])
      at += piece.length
      if (head.length < 5) return
      if (head[0] === kind) found()
      skip = head.readUInt32BE(1) - 4
      head = Buffer.alloc(0)
    }
  }
}

/** Counts what passes to the server of a URL, in the clear. */
export const start = async (serverUrl: string): Promise<CountingProxy> => {
  const target = new URL(serverUrl)
  const sockets = new Set<Socket>()
  let count = 0
  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname)
    const seen = counter(readyForQuery, () => count++)
    upstream.on("data", seen)
    for (const [from, to] of [
      [client, upstream],
      [upstream, client]
    ] as const) {
      sockets.add(from)
      from.on("error", () => to.destroy())
      from.on("close", () => sockets.delete(from))
      from.pipe(to)
    }
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const address = server.address()
  if (typeof address !== "object" || address === null) throw new Error("no address")
  const url = new URL(serverUrl)
  url.hostname = "127.0.0.1"
  url.port = String(address.port)
  return {
    url: url.toString(),
    count: () => count,
    stop: async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    }
  }
}
