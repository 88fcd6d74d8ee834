/** Compares trees of observations with what is expected of them. */
import * as Equal from "effect/Equal"
import * as Inspectable from "effect/Inspectable"
import * as Predicate from "effect/Predicate"
import type { Expected, Tree } from "../TestLangfuse.js"

/** A value as a message shows it. */
export const show = (value: unknown): string =>
  value instanceof RegExp
    ? String(value)
    : typeof value === "function"
      ? `what ${value.name === "" ? "the predicate" : value.name} holds of`
      : value === undefined
        ? "nothing"
        : Inspectable.stringifyCircular(value) || String(value)

/** Whether a value is what was wanted: by predicate, pattern, or, of an object, by the fields that are named. */
export const holds = (actual: unknown, wanted: unknown): boolean => {
  if (typeof wanted === "function") return wanted(actual) === true
  if (wanted instanceof RegExp) return wanted.test(typeof actual === "string" ? actual : show(actual))
  if (Array.isArray(wanted)) {
    return (
      Array.isArray(actual) &&
      actual.length === wanted.length &&
      wanted.every((each, index) => holds(actual[index], each))
    )
  }
  if (Predicate.isRecord(wanted) && Predicate.isRecord(actual)) {
    return Object.entries(wanted).every(([key, each]) => holds(actual[key], each))
  }
  return Equal.equals(actual, wanted) || Object.is(actual, wanted)
}

const differs = (path: string, what: string, actual: unknown, wanted: unknown): ReadonlyArray<string> =>
  wanted === undefined || holds(actual, wanted) ? [] : [`${path}: ${what} is ${show(actual)}, expected ${show(wanted)}`]

const fields = ["name", "type", "level", "statusMessage", "input", "output", "model"] as const

const named = (
  path: string,
  what: string,
  actual: Readonly<Record<string, unknown>>,
  wanted: Readonly<Record<string, unknown>> | undefined
): ReadonlyArray<string> =>
  Object.entries(wanted ?? {}).flatMap(([key, value]) => differs(path, `${what} ${key}`, actual[key], value))

/** The name and what is called a sibling's: `attempt`, `attempt[2]`. */
const place = (path: string, tree: Tree, among: ReadonlyArray<Tree>): string => {
  const same = among.filter(({ name }) => name === tree.name)
  const own = same.length > 1 ? `${tree.name}[${same.indexOf(tree) + 1}]` : tree.name
  return path === "" ? own : `${path} > ${own}`
}

export const differences = (actual: Tree, expected: Expected, path = actual.name): ReadonlyArray<string> => [
  ...fields.flatMap((field) => differs(path, field, actual[field], expected[field])),
  ...named(path, "metadata", actual.metadata, expected.metadata),
  ...named(path, "score", Object.fromEntries(actual.scores.map(({ name, value }) => [name, value])), expected.scores),
  ...named(path, "trace", actual.trace, expected.trace),
  ...(expected.children === undefined ? [] : siblings(path, actual.children, expected))
]

/** Where children differ from those that are expected. */
export const siblings = (
  path: string,
  actual: ReadonlyArray<Tree>,
  { anyOrder = false, children = [], others = false }: Pick<Expected, "children" | "others" | "anyOrder">
): ReadonlyArray<string> => {
  const out: Array<string> = []
  const left = [...actual]
  const head = path === "" ? "the traces" : path
  const pairs: Array<readonly [Tree | undefined, Expected]> = []
  for (const wanted of children) {
    const fits = (tree: Tree) => differences(tree, wanted).length === 0
    const isNamed = (tree: Tree) => holds(tree.name, wanted.name)
    const candidates = anyOrder || others ? left : left.slice(0, 1)
    // the one that fits, else one of the name, to tell what is wrong with it
    const exact = candidates.findIndex(fits)
    const at = exact >= 0 ? exact : candidates.findIndex(isNamed)
    const tree = left[at]
    pairs.push([tree, wanted])
    if (at < 0 || tree === undefined) continue
    if (anyOrder) left.splice(at, 1)
    else left.splice(0, at + 1)
  }
  for (const [tree, wanted] of pairs) {
    if (tree === undefined) {
      const next = anyOrder || others ? undefined : left[0]
      out.push(
        `${head}: no child ${show(wanted.name)}${next === undefined ? "" : ` where ${show(next.name)} is`}; there are ${names(actual)}`
      )
    } else out.push(...differences(tree, wanted, place(path, tree, actual)))
  }
  if (!others && left.length > 0 && pairs.every(([tree]) => tree !== undefined)) {
    out.push(`${head}: ${left.length} more than expected: ${names(left)}`)
  }
  return out
}

const names = (trees: ReadonlyArray<Tree>): string =>
  trees.length === 0 ? "none" : trees.map(({ name }) => show(name)).join(", ")

interface Found {
  readonly tree: Tree
  readonly differences: ReadonlyArray<string>
}

/** Among all observations of the name, at any depth, the one that differs least. */
export const nearest = (roots: ReadonlyArray<Tree>, expected: Expected): Found | undefined => {
  let best: Found | undefined
  const look = (tree: Tree, path: string): void => {
    const here = path === "" ? tree.name : `${path} > ${tree.name}`
    if (holds(tree.name, expected.name)) {
      const found = { tree, differences: differences(tree, expected, here) }
      if (best === undefined || found.differences.length < best.differences.length) best = found
    }
    for (const child of tree.children) look(child, here)
  }
  for (const root of roots) look(root, "")
  return best
}

/** A line an observation. */
export const draw = (trees: ReadonlyArray<Tree>, indent = "  "): string =>
  trees
    .map(({ children, level, metadata, name, scores, statusMessage, type }) => {
      const said = [
        ...(level === "DEFAULT" ? [] : [level]),
        ...(statusMessage === undefined ? [] : [JSON.stringify(statusMessage)]),
        ...Object.entries(metadata).map(([key, value]) => `${key}=${show(value)}`),
        ...scores.map((score) => `${score.name}:${show(score.value)}`)
      ].join(" ")
      const line = `${indent}${name} (${type})${said === "" ? "" : ` ${said}`}`
      return children.length === 0 ? line : `${line}\n${draw(children, `${indent}  `)}`
    })
    .join("\n")
