/** How often each class of failures may be tried. */
import type * as Failure from "../Failure.js"
import type { ClassOptions, ClassPolicy, Options, RetryPolicy } from "../RetryPolicy.js"
import * as delays from "./backoff.js"
import * as numbers from "./numbers.js"

const limit = (what: string, chosen: number): number => (chosen === Infinity ? chosen : numbers.count(what, chosen))

/** @throws `RangeError` when a number makes no sense. */
export const of = (options: Options): Pick<RetryPolicy, "maxAttempts" | "sharedAttempts" | "byClass"> => {
  const { base, cap, factor, jitter } = options
  const sharedAttempts = limit("RetryPolicy: maxAttempts", options.maxAttempts ?? 3)
  const classPolicy = (name: string, entry: ClassOptions | false): ClassPolicy => {
    if (entry === false) return { maxAttempts: 1, schedule: undefined }
    const { maxAttempts = sharedAttempts, schedule, ...pauses } = entry
    return {
      maxAttempts: limit(`RetryPolicy: maxAttempts of ${name}`, maxAttempts),
      schedule:
        schedule ??
        (Object.keys(pauses).length === 0 ? undefined : delays.backoff({ base, cap, factor, jitter, ...pauses }))
    }
  }
  const byClass = new Map<Failure.Class, ClassPolicy>()
  for (const [name, entry] of Object.entries(options.byClass ?? {})) {
    // the option's type has classes for keys
    if (entry !== undefined) byClass.set(name as Failure.Class, classPolicy(name, entry))
  }
  const all = Array.from(byClass.values(), ({ maxAttempts }) => maxAttempts)
  return { maxAttempts: Math.max(sharedAttempts, ...all), sharedAttempts, byClass }
}
