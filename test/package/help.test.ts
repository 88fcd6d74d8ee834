/**
 * The help that was rendered at build time is the program's own, and answers without loading the program.
 */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { stripVTControlCharacters } from "node:util"
import { assert, beforeAll, describe, it } from "vitest"
import * as Built from "./built.js"

interface Help {
  readonly version: { readonly color: string; readonly plain: string }
  readonly pages: Readonly<Record<string, { readonly color: string; readonly plain: string }>>
}

describe("help", () => {
  let folder = ""
  let help: Help = { version: { color: "", plain: "" }, pages: {} }
  beforeAll(() => {
    folder = Built.folder()
    help = JSON.parse(readFileSync(join(folder, "dist/cli/help.json"), "utf8"))
  })

  const plain = { NO_COLOR: "1", FORCE_COLOR: undefined }
  const quick = (...args: ReadonlyArray<string>) => Built.node(folder, ["dist/cli/bin.js", ...args], plain)
  const live = (...args: ReadonlyArray<string>) => Built.node(folder, ["dist/cli/main.js", ...args], plain)

  it("is rendered for the program and every command", () => {
    assert.includeMembers(Object.keys(help.pages), [
      "",
      "delete",
      "fork",
      "history",
      "research",
      "resume",
      "run",
      "threads"
    ])
  })

  it("equals what the live program says", async () => {
    for (const name of Object.keys(help.pages)) {
      const args = [...(name === "" ? [] : [name]), "--help"]
      const rendered = await quick(...args)
      assert.strictEqual(rendered.code, 0, rendered.stderr)
      assert.strictEqual(rendered.stdout, help.pages[name]?.plain)
      // one program prints them all, and takes a second to start
      if (!["", "run"].includes(name)) continue
      const said = await live(...args)
      assert.strictEqual(said.code, 0, said.stderr)
      assert.strictEqual(rendered.stdout, stripVTControlCharacters(said.stdout), name)
    }
  })

  it("answers to every way of asking", async () => {
    for (const args of [["-h"], []]) assert.strictEqual((await quick(...args)).stdout, help.pages[""]?.plain)
    assert.strictEqual((await quick("research", "-h")).stdout, help.pages["research"]?.plain)
    assert.strictEqual((await quick("--version")).stdout.trim(), Built.manifest.version)
    assert.strictEqual((await live("--version")).stdout.trim(), Built.manifest.version)
  })

  it("has its colours and loses nothing without them", () => {
    for (const page of [help.version, ...Object.values(help.pages)]) {
      assert.strictEqual(stripVTControlCharacters(page.color), page.plain)
    }
    assert.notStrictEqual(help.pages[""]?.color, help.pages[""]?.plain)
  })

  it("takes less than five times what Node takes to start", async () => {
    const times = async (args: ReadonlyArray<string>): Promise<ReadonlyArray<number>> => {
      const taken: Array<number> = []
      for (let run = 0; run < 7; run++) {
        const from = performance.now()
        await Built.node(folder, args, plain)
        taken.push(performance.now() - from)
      }
      return taken
    }
    // The best of several: what else the machine does is no part of it.
    const bare = Math.min(...(await times(["-e", "0"])))
    const asked = Math.min(...(await times(["dist/cli/bin.js", "--help"])))
    assert.isBelow(asked / bare, 5)
  })

  it("leaves everything else to the program", async () => {
    const ended = await quick("no-such-command")
    assert.strictEqual(ended.code, 2, ended.stderr)
    assert.notStrictEqual(ended.stderr, "")
  })
})
