/**
 * What is depended on, and that the documentation says why.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { assert, describe, it } from "vitest"
import { manifest, root } from "../package/built.js"

const read = (path: string): string => readFileSync(join(root, path), "utf8")
const sorted = (names: ReadonlyArray<string>): ReadonlyArray<string> => [...names].sort()

describe("dependencies", () => {
  const { dependencies, devDependencies, peerDependencies } = manifest
  const all = sorted([
    ...new Set([dependencies, devDependencies, peerDependencies].flatMap((group) => Object.keys(group)))
  ])

  it("are each explained in docs/decisions.md", () => {
    const decisions = read("docs/decisions.md")
    assert.deepStrictEqual(
      all.filter((name) => !decisions.includes(`\`${name}\``)),
      []
    )
  })

  it("hold no package that is only history", () => {
    for (const name of ["langfuse", "@effect/schema", "langfuse-langchain"]) assert.notInclude(all, name)
  })

  it("have every peer among the development dependencies, at a version of its range", () => {
    for (const [name, range] of Object.entries(peerDependencies)) {
      const pinned = devDependencies[name]
      assert.match(pinned ?? "nothing", /^\d+\.\d+\.\d+$/, `${name} is pinned`)
      assert.strictEqual(range.replace(/^[\^~]/, ""), pinned, `${name}: the range begins at what is tested`)
      assert.isUndefined(dependencies[name], `${name} is a peer, not a dependency`)
    }
  })

  /** The required peers of what is installed with Holdfast. */
  const demanded = Object.keys(dependencies).flatMap((name) => {
    const installed: {
      readonly peerDependencies?: Readonly<Record<string, string>>
      readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>
    } = JSON.parse(read(join("node_modules", name, "package.json")))
    return Object.keys(installed.peerDependencies ?? {}).filter(
      (peer) => installed.peerDependenciesMeta?.[peer]?.optional !== true
    )
  })

  it("bring every peer that they demand, so that no package manager has to guess", () => {
    assert.deepStrictEqual(
      sorted(demanded.filter((peer) => dependencies[peer] === undefined && peerDependencies[peer] === undefined)),
      []
    )
  })

  it("are each imported by src, or demanded by one that is", () => {
    const sources = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts"))
      .map((name) => read(join("src", name)))
    const isImported = (name: string): boolean =>
      sources.some((text) => text.includes(`"${name}"`) || text.includes(`"${name}/`))
    assert.deepStrictEqual(
      Object.keys(dependencies).filter((name) => !isImported(name) && !demanded.includes(name)),
      []
    )
  })

  interface Locked {
    readonly resolved?: string
    readonly integrity?: string
    readonly optionalDependencies?: Readonly<Record<string, string>>
  }
  const { packages }: { readonly packages: Readonly<Record<string, Locked>> } = JSON.parse(read("package-lock.json"))

  it("are locked with hashes and without addresses", () => {
    const installed = Object.entries(packages).filter(([path]) => path !== "")
    assert.isAbove(installed.length, 50)
    assert.deepStrictEqual(
      installed
        .filter(([, entry]) => entry.resolved !== undefined || entry.integrity === undefined)
        .map(([path]) => path),
      []
    )
  })

  it("are locked for every platform, without which `npm ci` refuses the lock", () => {
    const missing = Object.entries(packages).flatMap(([path, entry]) =>
      Object.keys(entry.optionalDependencies ?? {}).filter(
        (name) =>
          packages[`node_modules/${name}`] === undefined && packages[`${path}/node_modules/${name}`] === undefined
      )
    )
    assert.deepStrictEqual(missing, [])
  })
})

describe("documentation", () => {
  const files = [
    ...readdirSync(root).filter((name) => name.endsWith(".md")),
    ...readdirSync(join(root, "docs"), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".md"))
      .map((name) => join("docs", name))
  ]

  it("links only to what exists", () => {
    const broken = files.flatMap((file) =>
      Array.from(read(file).matchAll(/\]\(([^)\s]+)\)/g), ([, link = ""]) => link)
        .filter((link) => !/^(https?:|mailto:|#)/.test(link))
        .filter((link) => !existsSync(join(root, dirname(file), link.split("#")[0] ?? "")))
        .map((link) => `${file}: ${link}`)
    )
    assert.deepStrictEqual(broken, [])
  })

  it("names only commands that exist", () => {
    const unknown = files.flatMap((file) =>
      Array.from(read(file).matchAll(/\bnpm run ([a-z][a-z:-]*)/g), ([, name = ""]) => name)
        .filter((name) => manifest.scripts[name] === undefined)
        .map((name) => `${file}: npm run ${name}`)
    )
    assert.deepStrictEqual(unknown, [])
  })
})
