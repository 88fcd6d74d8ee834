// Which changes to src/resilience no test notices: see docs/mutation.md. run.mjs runs it once a group of groups.mjs.
import { groups } from "./groups.mjs"

const name = process.env["MUTATION_GROUP"] ?? ""
const group = groups[name]
if (group === undefined) throw new Error(`MUTATION_GROUP must be one of ${Object.keys(groups).join(", ")}`)

/** @type {import("@stryker-mutator/api/core").PartialStrykerOptions} */
export default {
  mutate: group.files.map((file) => `src/resilience/${file}.ts`),
  testRunner: "vitest",
  plugins: ["@stryker-mutator/vitest-runner"],
  vitest: { configFile: "test/mutation/vitest.config.ts", related: false },
  coverageAnalysis: "perTest",
  // What runs when a module is loaded counts like the rest, although all tests have to run for it.
  ignoreStatic: false,
  concurrency: 2,
  // A mutant that never ends; what only waits in vain is ended by the tests' own limit.
  timeoutMS: 20_000,
  timeoutFactor: 3,
  ignorePatterns: ["/.holdfast", "/.stryker-tmp", "/dist", "/docs", "/reports"],
  reporters: ["progress-append-only", "json", "html"],
  jsonReporter: { fileName: `reports/mutation/${name}.json` },
  htmlReporter: { fileName: `reports/mutation/${name}.html` },
  incremental: true,
  incrementalFile: `reports/mutation/${name}.incremental.json`,
  thresholds: { high: 95, low: 90, break: null },
  allowEmpty: false,
  tempDirName: ".stryker-tmp"
}
