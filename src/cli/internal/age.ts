/** How long ago, as it is typed: `30d`, `12h`, `90m`, `2w`, or Effect's own `30 days`. */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"

const units: Readonly<Record<string, string>> = { w: "weeks", d: "days", h: "hours", m: "minutes", s: "seconds" }

/** What {@link parse} takes, for messages. */
export const expected = "an age above 0, such as 30d, 12h or 30 days"

/** A duration above 0, or nothing. */
export const parse = (text: string): Duration.Duration | undefined => {
  const [, count, unit] = /^(\d+(?:\.\d+)?)([wdhms])$/.exec(text.trim()) ?? []
  const written = count === undefined || unit === undefined ? text.trim() : `${count} ${units[unit]}`
  return Option.getOrUndefined(
    Option.filter(
      Duration.decodeUnknown(written),
      (age) => Duration.isFinite(age) && Duration.greaterThan(age, Duration.zero)
    )
  )
}
