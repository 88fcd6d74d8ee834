import { defineConfig } from "vitest/config"

/** The proofs by many faults. `--mode ci` takes a share of them; seeds are fixed, so a run can be had again. */
export default defineConfig(({ mode }) => ({
  test: {
    include: ["test/chaos/**/*.chaos.ts"],
    globalSetup: ["test/support/globalSetup.ts"],
    provide: { chaos: mode === "ci" ? { faults: 2000, kills: 8 } : { faults: 20_000, kills: 200 } },
    testTimeout: 3_600_000,
    hookTimeout: 120_000,
    fileParallelism: false,
    disableConsoleIntercept: true
  }
}))
