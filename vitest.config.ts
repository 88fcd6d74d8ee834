import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/support/globalSetup.ts"],
    setupFiles: ["test/support/sharedProcess.ts"],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    isolate: false,
    maxWorkers: 2,
    minWorkers: 1
  }
})
