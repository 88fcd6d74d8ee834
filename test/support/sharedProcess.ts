/**
 * Test files share a process, which saves each of them the loading of all that they test. `it.layer` leaves its own `it.effect` behind, clock and all,
 * which the next file would run on: each begins with what was there at first.
 */
import { it } from "@effect/vitest"

const key = Symbol.for("holdfast/test/it")
const { effect, layer, prop, scoped } = it
const original: object = Reflect.get(globalThis, key) ?? { effect, layer, prop, scoped }
Reflect.set(globalThis, key, original)
Object.assign(it, original)
