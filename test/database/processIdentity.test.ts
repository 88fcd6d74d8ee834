import { spawn } from "node:child_process"
import { once } from "node:events"
import { setTimeout as sleep } from "node:timers/promises"
import { assert, describe, it } from "@effect/vitest"
import * as ProcessIdentity from "../../src/database/internal/processIdentity.js"

describe("a process's identity", () => {
  it("lives while it runs, and not when only its parent has yet to ask how it ended", async () => {
    const here = ProcessIdentity.current()
    assert.isTrue(ProcessIdentity.lives(here))
    assert.isFalse(ProcessIdentity.lives({ ...here, started: "another time" }))
    assert.isTrue(ProcessIdentity.lives({ ...here, pid: 2 ** 30, host: `not ${here.host}` }))
    assert.isFalse(ProcessIdentity.lives({ ...here, pid: 2 ** 30 }))
    // becomes a program that knows of no child
    const parent = spawn("sh", ["-c", "true & echo $!; exec sleep 600"], { stdio: ["ignore", "pipe", "ignore"] })
    const exited = once(parent, "exit")
    try {
      const [pid] = await once(parent.stdout, "data")
      while (ProcessIdentity.lives({ pid: Number(pid), host: here.host, started: undefined })) await sleep(5)
    } finally {
      parent.kill("SIGKILL")
      await exited
    }
  })
})
