// An empty embedded database as an archive, so that a first run unpacks one instead of making one. Usage: node scripts/embedded-template.mjs OUT
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { PGlite } from "@electric-sql/pglite"

const [out] = process.argv.slice(2)
const driver = dirname(createRequire(import.meta.url).resolve("@electric-sql/pglite"))
const { version } = JSON.parse(readFileSync(join(driver, "..", "package.json"), "utf8"))

// as src/database/internal/embedded.ts looks for it
const place = `database/internal/pglite-${version}.tar.gz`
const built = join(dirname(fileURLToPath(import.meta.url)), "..", "dist", place)
mkdirSync(dirname(join(out, place)), { recursive: true })
if (existsSync(built)) copyFileSync(built, join(out, place))
else {
  const db = await PGlite.create()
  writeFileSync(join(out, place), Buffer.from(await (await db.dumpDataDir("gzip")).arrayBuffer()))
  await db.close()
}
