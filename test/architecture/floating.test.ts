/**
 * The type check reports an Effect that nobody runs: with the project's own settings, and with an exit code that fails.
 */
import { spawnSync } from "node:child_process"
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, assert, beforeAll, describe, it } from "vitest"

const root = fileURLToPath(new URL("../..", import.meta.url))

const floating = `import { Effect } from "effect"

export const answer = (): number => {
  Effect.log("nobody runs this")
  return 42
}
`
const awaited = `import { Effect } from "effect"

export const answer = Effect.gen(function* () {
  yield* Effect.log("this runs")
  return 42
})
`

describe("floating Effects", () => {
  let folder = ""

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "holdfast-floating-"))
    symlinkSync(join(root, "node_modules"), join(folder, "node_modules"), "dir")
    writeFileSync(
      join(folder, "tsconfig.json"),
      JSON.stringify({ extends: join(root, "tsconfig.json"), compilerOptions: { types: [] }, include: ["*.ts"] })
    )
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  const check = (code: string) => {
    writeFileSync(join(folder, "example.ts"), code)
    return spawnSync(
      process.execPath,
      [
        join(root, "node_modules/@effect/language-service/cli.js"),
        ...["diagnostics", "--project", join(folder, "tsconfig.json"), "--format", "text"]
      ],
      { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }
    )
  }

  it("are reported and fail the check", () => {
    const { status, stdout } = check(floating)
    assert.strictEqual(status, 1, stdout)
    assert.match(stdout, /example\.ts\(4,3\): error effect\(floatingEffect\)/)
  })

  it("are not seen where there are none", () => {
    const { status, stdout } = check(awaited)
    assert.strictEqual(status, 0, stdout)
  })
})
