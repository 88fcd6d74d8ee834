// Which changes to src/resilience no test notices: see docs/mutation.md. `npm run test:mutation`, or of some files only with `-- --mutate PATTERN`.

/** @type {import("@stryker-mutator/api/core").PartialStrykerOptions} */
export default {
  mutate: ["src/resilience/**/*.ts"],
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
  reporters: ["clear-text", "json", "html"],
  clearTextReporter: { allowColor: false, logTests: false, reportTests: false, skipFull: true },
  jsonReporter: { fileName: "reports/mutation/mutation.json" },
  htmlReporter: { fileName: "reports/mutation/mutation.html" },
  incremental: true,
  incrementalFile: "reports/mutation/incremental.json",
  thresholds: { high: 95, low: 90, break: 90 },
  allowEmpty: false,
  tempDirName: ".stryker-tmp"
}
