import type { RunnerTask, RunnerTestFile } from "vitest"
import { defineConfig } from "vitest/config"
import { BaseSequencer, type Reporter } from "vitest/node"
import { groups } from "./groups.mjs"

/** What takes more than a second goes last: most mutants never get there. */
const slow = /(Bulkhead|RetryPolicy.classes|Hedge|sharing|store|within)\.test\.ts$/

class QuickestFirst extends BaseSequencer {
  override async sort(files: Parameters<BaseSequencer["sort"]>[0]) {
    const rank = ({ moduleId }: (typeof files)[number]) => `${slow.test(moduleId) ? 1 : 0} ${moduleId}`
    return files.sort((a, b) => rank(a).localeCompare(rank(b)))
  }
}

/** A file that cannot be loaded has no test that could fail, and Stryker takes its mutant for one that survived: it is given one. */
class LoadingIsTested implements Reporter {
  onFinished(files: Array<RunnerTestFile> = []) {
    for (const file of files) {
      if (file.result?.state !== "fail" || (file.result.errors ?? []).length === 0) continue
      const loads: RunnerTask = {
        type: "test",
        id: `${file.id}_loads`,
        name: "loads",
        mode: "run",
        file,
        suite: file,
        meta: {},
        annotations: [],
        timeout: 0,
        context: Object.create(null), // nobody runs it
        result: file.result
      }
      file.tasks.push(loads)
    }
  }
}

/** The tests of one group, which Stryker's settings have found to be there. */
export default defineConfig({
  test: {
    include: (groups[process.env["MUTATION_GROUP"] ?? ""]?.tests ?? []).map(
      (name) => `test/resilience/${name}.test.ts`
    ),
    globalSetup: ["test/support/globalSetup.ts"],
    setupFiles: ["test/support/sharedProcess.ts", "test/mutation/setup.ts"],
    reporters: [new LoadingIsTested()],
    testTimeout: 10_000,
    hookTimeout: 30_000,
    sequence: { sequencer: QuickestFirst },
    // One thread for all files: a fresh one for each mutant is enough.
    poolOptions: { threads: { isolate: false } }
  }
})
