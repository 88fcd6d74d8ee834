// The table of docs/mutation.md, from the last run: `node test/mutation/table.mjs [REPORT] [--survivors]`.
import { readFileSync } from "node:fs"
import { pathToFileURL } from "node:url"

const count = (mutants, ...statuses) => mutants.filter(({ status }) => statuses.includes(status)).length

/** In percent, of all that could be killed. */
export const score = (mutants) =>
  (100 * count(mutants, "Killed", "Timeout")) / count(mutants, "Killed", "Timeout", "Survived", "NoCoverage")

const row = (name, mutants) =>
  `| ${name} | ${count(mutants, "Killed")} | ${count(mutants, "Timeout")} | ${count(mutants, "Survived")} | ${count(mutants, "NoCoverage")} | ${score(mutants).toFixed(1)} % |`

export const table = ({ files }) => {
  const rows = Object.entries(files)
    .filter(([, { mutants }]) => mutants.length > 0)
    .map(([name, { mutants }]) => [name.replace("src/resilience/", ""), mutants])
    .sort(([a], [b]) => a.localeCompare(b))
  return [
    "| file | killed | too late | survived | not reached | score |",
    "|---|---|---|---|---|---|",
    ...rows.map(([name, mutants]) => row(`\`${name}\``, mutants)),
    row(
      "**all**",
      rows.flatMap(([, mutants]) => mutants)
    )
  ].join("\n")
}

const survivors = function* ({ files }) {
  for (const [name, { mutants, source }] of Object.entries(files)) {
    const lines = source.split("\n")
    for (const { location, mutatorName, replacement, status } of mutants) {
      if (status !== "Survived" && status !== "NoCoverage") continue
      const { end, start } = location
      const text = lines[start.line - 1].slice(start.column - 1, start.line === end.line ? end.column - 1 : undefined)
      yield `${name}:${start.line} ${status} ${mutatorName}: ${text} => ${(replacement ?? "").replace(/\s+/g, " ").slice(0, 120)}`
    }
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const words = process.argv.slice(2)
  const [path = "reports/mutation/mutation.json"] = words.filter((word) => !word.startsWith("--"))
  const report = JSON.parse(readFileSync(path, "utf8"))
  console.log(table(report))
  if (words.includes("--survivors")) for (const line of survivors(report)) console.log(line)
}
