/** The same cases for every mutant, and no time spent on finding the smallest that tells it apart, nor on more of them than a second allows. */
import { it } from "@effect/vitest"
import * as fc from "fast-check"

fc.configureGlobal({ seed: 1, endOnFailure: true, interruptAfterTimeLimit: 1000 })

// `it.layer` leaves its own `it.effect` behind, clock and all, which the next file in the same thread would run on
const key = Symbol.for("holdfast/test/mutation/it")
const { effect, layer, prop, scoped } = it
const original: object = Reflect.get(globalThis, key) ?? { effect, layer, prop, scoped }
Reflect.set(globalThis, key, original)
Object.assign(it, original)
