/**
 * A proxy between a client and PostgreSQL that knows where a statement begins and ends, and does to it what a network, a server or an
 * administrator may do. What happens to a statement is the caller's to say, so a seed decides a whole run.
 */
import { createServer, connect as dial, type Server, type Socket } from "node:net"

/** What becomes of one statement. */
export const faults = [
  /** It goes on its way late. */
  "latency",
  /** The connection is reset before it was sent. */
  "reset",
  /** It is swallowed, and nothing is said: half-open. */
  "swallow",
  /** It is carried out, and the answer is swallowed: half-open, after the commit. */
  "deaf",
  /** It is sent, and the connection is reset before the answer. */
  "cut",
  /** It is carried out, and the connection is reset when the answer has come. */
  "cut-answer",
  /** The connection is closed slowly: half an answer, a pause, the end. */
  "slow-close",
  /** `pg_terminate_backend`, while it is on its way or being carried out. */
  "terminate",
  /** The server refuses it as it does when two transactions cannot be put in an order. */
  "serialization",
  /** The server refuses it as the victim of a deadlock. */
  "deadlock",
  /** It and all that follow cannot be sent: the next connections are refused for a moment. */
  "refuse"
] as const

export type Fault = (typeof faults)[number]

export interface Options {
  /** The URL of the server. */
  readonly url: string
  /** Asked at each statement, of which it is given the bytes. */
  readonly decide?: ((statement: Buffer) => Fault | undefined) | undefined
  /** Ends a process of the server; for `terminate`. */
  readonly terminate?: ((processId: number) => void) | undefined
  /** Up to 1; how long a pause is. */
  readonly random?: (() => number) | undefined
  /** Whether a connection is told another number of its process than the server's, as a pooler does. */
  readonly ownProcessIds?: boolean | undefined
  /** Parameters that the server is given at the start of each connection. */
  readonly parameters?: Readonly<Record<string, string>> | undefined
}

export interface FaultProxy {
  /** The server's URL with the proxy's address. */
  readonly url: string
  readonly port: number
  /** Connections that were opened. */
  readonly accepted: () => number
  /** Statements that were begun, and what was done to them. */
  readonly statements: () => number
  readonly injected: () => Readonly<Record<Fault, number>>
  /** Cuts every connection, and refuses new ones until `up`. */
  readonly down: () => Promise<void>
  readonly up: () => Promise<void>
  readonly close: () => Promise<void>
}

const error = (code: string, message: string): Buffer => {
  const fields = Buffer.from(`SERROR\0VERROR\0C${code}\0M${message}\0\0`)
  const head = Buffer.from([0x45, 0, 0, 0, 0])
  head.writeInt32BE(fields.length + 4, 1)
  return Buffer.concat([head, fields, Buffer.from([0x5a, 0, 0, 0, 5, 0x49])])
}

/** The first message of a client, with more parameters. */
const startup = (message: Buffer, parameters: Readonly<Record<string, string>>): Buffer => {
  const more = Object.entries(parameters).map(([name, value]) => Buffer.from(`${name}\0${value}\0`))
  const whole = Buffer.concat([message.subarray(0, -1), ...more, Buffer.from([0])])
  whole.writeInt32BE(whole.length, 0)
  return whole
}

export const start = async (options: Options): Promise<FaultProxy> => {
  const { decide = () => undefined, parameters = {}, random = () => 0.5, terminate = () => {} } = options
  const target = new URL(options.url)
  const sockets = new Set<Socket>()
  const injected = Object.fromEntries(faults.map((fault) => [fault, 0])) as Record<Fault, number> // one a name
  let statements = 0
  let accepted = 0
  let refusing = 0

  const serve = (client: Socket): void => {
    accepted++
    if (refusing > 0) {
      refusing--
      client.resetAndDestroy()
      return
    }
    const server = dial(Number(target.port), target.hostname)
    for (const socket of [client, server]) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on("error", () => {})
      socket.on("close", () => {
        sockets.delete(socket)
        // a half-open end stays open until somebody gives it up, and what is to be sent before the end is sent
        if (socket === client ? !finishing : !silent) other(socket).destroy()
      })
    }
    const other = (socket: Socket) => (socket === client ? server : client)
    const reset = () => {
      client.resetAndDestroy()
      server.destroy()
    }
    let started = false
    let silent = false
    let finishing = false
    let processId = 0
    let waiting = Buffer.alloc(0)
    let batch: Array<Buffer> = []
    /** What is done to the answer of the statement under way. */
    let answer: Fault | undefined

    const send = (statement: Buffer): void => {
      statements++
      const fault = decide(statement)
      if (fault === undefined) {
        server.write(statement)
        return
      }
      injected[fault]++
      switch (fault) {
        case "latency":
          setTimeout(() => server.write(statement), 1 + random() * 20)
          return
        case "refuse":
          refusing += 1 + Math.floor(random() * 3)
          reset()
          return
        case "reset":
          reset()
          return
        case "swallow":
          silent = true
          return
        case "cut":
          finishing = true
          server.end(statement)
          client.resetAndDestroy()
          return
        case "terminate":
          server.write(statement)
          terminate(processId)
          return
        case "serialization":
          client.write(error("40001", "could not serialize access due to concurrent update"))
          return
        case "deadlock":
          client.write(error("40P01", "deadlock detected"))
          return
        default:
          answer = fault
          server.write(statement)
      }
    }

    client.on("data", (chunk) => {
      waiting = Buffer.concat([waiting, chunk])
      for (;;) {
        const head = started ? 1 : 0
        if (waiting.length < head + 4) return
        const length = head + waiting.readInt32BE(head)
        if (waiting.length < length) return
        const message = waiting.subarray(0, length)
        waiting = waiting.subarray(length)
        if (silent) continue
        if (!started) {
          started = true
          server.write(startup(message, parameters))
          continue
        }
        const type = String.fromCharCode(message[0] ?? 0)
        if (type === "p" || type === "X") {
          server.write(message)
          continue
        }
        batch.push(message)
        // a simple statement, or the end of the parts of one
        if (type === "Q" || type === "S") {
          const statement = Buffer.concat(batch)
          batch = []
          send(statement)
        }
      }
    })

    server.on("data", (chunk) => {
      // BackendKeyData comes once, at the start, whole
      if (processId === 0) {
        const at = chunk.indexOf(Buffer.from([0x4b, 0, 0, 0, 12]))
        if (at >= 0) {
          processId = chunk.readInt32BE(at + 5)
          if (options.ownProcessIds === true) chunk.writeInt32BE(processId ^ 0x10000000, at + 5)
        }
      }
      if (answer === "deaf") silent = true
      if (silent) return
      if (answer === "cut-answer") reset()
      else if (answer === "slow-close") {
        silent = true
        client.write(chunk.subarray(0, Math.ceil(chunk.length / 2)))
        setTimeout(() => client.end(), 5 + random() * 30)
      } else client.write(chunk)
    })
  }

  let listening: Server
  const listen = (port: number): Promise<number> =>
    new Promise((resolve, reject) => {
      listening = createServer(serve)
      listening.once("error", reject)
      listening.listen(port, "127.0.0.1", () => {
        const address = listening.address()
        resolve(typeof address === "object" && address !== null ? address.port : 0)
      })
    })
  const down = () =>
    new Promise<void>((resolve) => {
      listening.close(() => resolve())
      for (const socket of sockets) socket.destroy()
    })

  const port = await listen(0)
  const url = new URL(options.url)
  url.hostname = "127.0.0.1"
  url.port = String(port)
  return {
    url: url.toString(),
    port,
    accepted: () => accepted,
    statements: () => statements,
    injected: () => ({ ...injected }),
    down,
    up: async () => void (await listen(port)),
    close: down
  }
}
