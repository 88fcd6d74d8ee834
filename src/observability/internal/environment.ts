import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import { ConfigurationError, fromConfigError } from "../ConfigurationError.js"
import * as Redaction from "../Redaction.js"

/** How a text from the environment becomes a value. */
interface Setting<A> {
  readonly name: string
  /** What it takes, such as `a whole number above 0`. */
  readonly expected: string
  /** `undefined` means that the text is not that. */
  readonly parse: (text: string) => A | undefined
  /** A secret's text is not in the error. Default false. */
  readonly secret?: boolean | undefined
}

/**
 * An optional setting. Absent, empty and blank are the same, as in the files that set variables.
 *
 * @internal
 */
export const setting = <A>(options: Setting<A>): Effect.Effect<A | undefined, ConfigurationError> =>
  Config.string(options.name).pipe(
    Config.withDefault(""),
    Effect.mapError((error) => fromConfigError(error, { [options.name]: options.expected })),
    Effect.flatMap((text) => {
      const trimmed = text.trim()
      if (trimmed === "") return Effect.succeed(undefined)
      const value = options.parse(trimmed)
      if (value !== undefined) return Effect.succeed(value)
      return new ConfigurationError({
        setting: options.name,
        expected: options.expected,
        problem: options.secret === true ? "it is malformed" : `it is ${JSON.stringify(Redaction.text(trimmed))}`
      })
    })
  )

/** @internal */
export const text = (name: string): Effect.Effect<string | undefined, ConfigurationError> =>
  setting({ name, expected: "text", parse: (value) => value })

/**
 * A plain decimal number, such as `2` or `0.5`: no `0x10`, no `Infinity`.
 *
 * @internal
 */
export const number = (
  name: string,
  expected: string,
  accept: (value: number) => boolean
): Effect.Effect<number | undefined, ConfigurationError> =>
  setting({
    name,
    expected,
    parse: (value) => {
      if (!/^[+-]?(?:\d+\.?\d*|\.\d+)$/.test(value)) return undefined
      return accept(Number(value)) ? Number(value) : undefined
    }
  })
