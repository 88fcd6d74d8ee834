/** How the user calls this program from where it stands. */
import { sep } from "node:path"
import { fileURLToPath } from "node:url"

/** In a project that has installed the package, `npx holdfast`; in a clone of it, its own script. */
export const invocation: string = fileURLToPath(import.meta.url).includes(`${sep}node_modules${sep}`)
  ? "npx holdfast"
  : "npm run holdfast --"
