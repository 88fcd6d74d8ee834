/** Makes this process load TypeScript modules, with what is at hand to take the types out. */
import * as nodeModule from "node:module"
import { join } from "node:path"
import * as hooks from "./typescriptHooks.js"

const find = (name: string, from: string): string | undefined => {
  try {
    return nodeModule.createRequire(from).resolve(name)
  } catch {
    return undefined
  }
}

/** Whether a `typescript` has the function that is needed: the one written in Go has not. */
const transpiles = (path: string): boolean => {
  try {
    const { version } = nodeModule.createRequire(path)("typescript/package.json")
    return Number(String(version).split(".")[0]) < 7
  } catch {
    return false
  }
}

/** TypeScript of the user's project, else esbuild, else Node itself where it can. */
const choose = (folders: ReadonlyArray<string>): hooks.Compiler | undefined => {
  const places = [...folders.map((folder) => join(folder, "noop.js")), import.meta.url]
  for (const place of places) {
    const path = find("typescript", place)
    if (path !== undefined && transpiles(path)) return { kind: "typescript", path }
  }
  for (const place of places) {
    const path = find("esbuild", place)
    if (path !== undefined) return { kind: "esbuild", path }
  }
  return "stripTypeScriptTypes" in nodeModule ? { kind: "node", path: "" } : undefined
}

let registered = false

/** From now on TypeScript loads. Gives `false` where nothing is at hand that could do it. */
export const register = (folders: ReadonlyArray<string>): boolean => {
  if (registered) return true
  const compiler = choose(folders)
  if (compiler === undefined) return false
  registered = true
  // not in the types of the oldest Node that is supported; it needs no thread of its own
  const registerHooks: unknown = Reflect.get(nodeModule, "registerHooks")
  if (typeof registerHooks === "function") {
    hooks.initialize(compiler)
    registerHooks({ resolve: hooks.resolve, load: hooks.load })
  } else {
    nodeModule.register("./typescriptHooks.js", import.meta.url, { data: compiler })
  }
  return true
}
