/**
 * A process that runs graphs is killed at random moments, again and again, on both databases. What it was told is stored has to be there, a node
 * whose result was stored does not run again, and every run comes to its end.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { inject } from "vitest"
import { folder } from "../package/built.js"
import * as TestDatabases from "../support/databases.js"
import { randomOf } from "./support.js"

const seed = 7
const child = fileURLToPath(new URL("./kills.child.mjs", import.meta.url))

interface Life {
  readonly say: (command: "go" | "finish") => void
  /** When it has noted so many things, or ended. */
  readonly noted: (count: number) => Promise<unknown>
  readonly kill: () => void
  readonly ended: Promise<number | null>
  readonly errors: () => string
}

const start = (packageFolder: string, journal: string, env: Readonly<Record<string, string>>): Life => {
  const { PATH, HOME } = process.env
  const running: ChildProcess = spawn(process.execPath, [child, packageFolder, journal], {
    env: { PATH, HOME, ...env },
    stdio: ["pipe", "pipe", "pipe"]
  })
  let errors = ""
  running.stderr?.on("data", (chunk) => {
    errors += chunk
  })
  running.stdin?.on("error", () => {})
  const ended = new Promise<number | null>((resolve) => running.once("close", (code) => resolve(code)))
  let notes = 0
  let heard = () => {}
  running.stdout?.on("data", (chunk) => {
    notes += chunk.length
    heard()
  })
  const noted = (count: number) =>
    new Promise<void>((resolve) => {
      heard = () => (notes >= count ? resolve() : undefined)
      heard()
    })
  return {
    say: (command) => running.stdin?.write(`${command}\n`),
    noted: (count) => Promise.race([noted(count), ended]),
    kill: () => running.kill("SIGKILL"),
    ended,
    errors: () => errors
  }
}

for (const backend of TestDatabases.backends) {
  describe(`graphs that are killed, on ${backend.name}`, () => {
    it.scopedLive(`${inject("chaos").kills} times, seed ${seed}`, () =>
      Effect.gen(function* () {
        const began = performance.now()
        const { env } = yield* backend.create
        const journal = join(yield* TestDatabases.temporaryFolder, "journal")
        const packageFolder = folder()
        const random = randomOf(seed)
        const lives = new Set<Life>()
        const next = () => {
          const life = start(packageFolder, journal, env)
          lives.add(life)
          return life
        }
        yield* Effect.addFinalizer(() =>
          Effect.promise(async () => {
            for (const life of lives) life.kill()
            await Promise.all([...lives].map((life) => life.ended))
          })
        )
        yield* Effect.promise(async () => {
          // the next one loads its modules while this one works
          let waiting = next()
          for (let kill = 0; kill < inject("chaos").kills; kill++) {
            const life = waiting
            waiting = next()
            life.say("go")
            // by what it has done, for a machine may be slow: some die while they open the database, the others anywhere in two runs
            const [notes, moment] = [Math.floor(random() * 60), random()]
            await life.noted(notes)
            await new Promise((resolve) => setTimeout(resolve, moment * 5))
            life.kill()
            const code = await life.ended
            lives.delete(life)
            assert.isNull(code, `it ended by itself: ${life.errors()}`)
          }
          waiting.say("finish")
          assert.strictEqual(await waiting.ended, 0, waiting.errors())
          lives.delete(waiting)
        })

        const lines = readFileSync(journal, "utf8")
          .split("\n")
          .map((line) => line.split(" "))
        const of = (what: string) => lines.filter(([first]) => first === what)
        assert.deepStrictEqual(of("problem"), [])
        const finished = new Map(of("done").map(([, thread, path]) => [thread, path]))
        const started = [...new Set(of("start").map(([, thread]) => thread))]
        for (const thread of started) {
          assert.match(finished.get(thread) ?? "", /^plan,(left,right|right,left),join,write$/, thread)
        }
        const stored = new Set<string>()
        const times = new Map<string, number>()
        let interrupted = 0
        for (const [what, thread, second = "", third = ""] of lines) {
          if (what === "writes") stored.add(`${thread} ${third}`)
          if (what !== "begin") continue
          assert.isFalse(
            stored.has(`${thread} ${second}`),
            `${third} of ${thread} ran again after its result was stored`
          )
          const key = `${thread} ${second}`
          times.set(key, (times.get(key) ?? 0) + 1)
          if (times.get(key) === 2) interrupted++
        }
        assert.isAbove(stored.size, inject("chaos").kills, "nodes have finished between the kills")
        console.log(
          `${backend.name}: ${inject("chaos").kills} kills in ${((performance.now() - began) / 1000).toFixed(1)} s: ${started.length} runs, all ended; ` +
            `${of("put").length} checkpoints and ${of("writes").length} results acknowledged, all read back; ${interrupted} nodes were cut short and ran again`
        )
      })
    )
  })
}
