// The table of docs/mutation.md, from the last run: `node test/mutation/table.mjs [REPORT] [--survivors]`.
import { readFileSync } from "node:fs"

const [path = "reports/mutation/mutation.json"] = process.argv.slice(2).filter((word) => !word.startsWith("--"))
const { files } = JSON.parse(readFileSync(path, "utf8"))

const count = (mutants, ...statuses) => mutants.filter(({ status }) => statuses.includes(status)).length
const row = (name, mutants) => {
  const killed = count(mutants, "Killed")
  const late = count(mutants, "Timeout")
  const survived = count(mutants, "Survived")
  const missed = count(mutants, "NoCoverage")
  const score = (100 * (killed + late)) / (killed + late + survived + missed)
  return `| ${name} | ${killed} | ${late} | ${survived} | ${missed} | ${score.toFixed(1)} % |`
}

const rows = Object.entries(files)
  .filter(([, { mutants }]) => mutants.length > 0)
  .map(([name, { mutants }]) => [name.replace("src/resilience/", ""), mutants])
  .sort(([a], [b]) => a.localeCompare(b))
console.log("| file | killed | too late | survived | not reached | score |")
console.log("|---|---|---|---|---|---|")
for (const [name, mutants] of rows) console.log(row(`\`${name}\``, mutants))
console.log(
  row(
    "**all**",
    rows.flatMap(([, mutants]) => mutants)
  )
)

if (process.argv.includes("--survivors")) {
  for (const [name, { mutants, source }] of Object.entries(files)) {
    const lines = source.split("\n")
    for (const { location, mutatorName, replacement, status } of mutants) {
      if (status !== "Survived" && status !== "NoCoverage") continue
      const { end, start } = location
      const text = lines[start.line - 1].slice(start.column - 1, start.line === end.line ? end.column - 1 : undefined)
      console.log(
        `${name}:${start.line} ${status} ${mutatorName}: ${text} => ${(replacement ?? "").replace(/\s+/g, " ").slice(0, 120)}`
      )
    }
  }
}
