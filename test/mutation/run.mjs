// `npm run test:mutation`: every group one after the other, then one table of all. With names of groups after `--`, only these; what begins with a
// dash goes to Stryker. Fails below 90 % killed.
import { spawnSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { groups } from "./groups.mjs"
import { score, table } from "./table.mjs"

const words = process.argv.slice(2)
const options = words.filter((word) => word.startsWith("-"))
const chosen = words.filter((word) => !word.startsWith("-"))
const unknown = chosen.filter((name) => groups[name] === undefined)
if (unknown.length > 0) {
  console.error(`no group ${unknown.join(", ")}: there are ${Object.keys(groups).join(", ")}`)
  process.exit(2)
}
const names = chosen.length === 0 ? Object.keys(groups) : chosen

for (const name of names) {
  console.log(`\n${name}`)
  const { status } = spawnSync(
    process.execPath,
    ["node_modules/@stryker-mutator/core/bin/stryker.js", "run", "test/mutation/stryker.config.mjs", ...options],
    { env: { ...process.env, MUTATION_GROUP: name }, stdio: "inherit" }
  )
  if (status !== 0) process.exit(status ?? 1)
}

const report = { files: {} }
for (const name of names) {
  Object.assign(report.files, JSON.parse(readFileSync(`reports/mutation/${name}.json`, "utf8")).files)
}
writeFileSync("reports/mutation/mutation.json", JSON.stringify(report))
console.log(`\n${table(report)}`)
if (score(Object.values(report.files).flatMap(({ mutants }) => mutants)) < 90) {
  console.error("fewer than 90 % killed: node test/mutation/table.mjs --survivors")
  process.exit(1)
}
