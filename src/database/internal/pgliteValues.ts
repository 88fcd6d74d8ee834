/** Values in and out of PGlite as `pg` has them, so that the same code runs on both. */

const pad = (value: number, width: number): string => String(value).padStart(width, "0")

/** Local time with its offset, as `pg` sends a Date: right for `timestamptz`, `timestamp` and `date` columns. */
const date = (value: Date): string => {
  const offset = -value.getTimezoneOffset()
  const distance = Math.abs(offset)
  const year = value.getFullYear()
  const day = `${pad(year < 1 ? 1 - year : year, 4)}-${pad(value.getMonth() + 1, 2)}-${pad(value.getDate(), 2)}`
  const time = `${pad(value.getHours(), 2)}:${pad(value.getMinutes(), 2)}:${pad(value.getSeconds(), 2)}.${pad(value.getMilliseconds(), 3)}`
  const zone = `${offset < 0 ? "-" : "+"}${pad(Math.floor(distance / 60), 2)}:${pad(distance % 60, 2)}`
  return `${day}T${time}${zone}${year < 1 ? " BC" : ""}`
}

const bytes = (value: ArrayBufferView): Buffer => Buffer.from(value.buffer, value.byteOffset, value.byteLength)

const element = (value: unknown): string => {
  if (value === null || value === undefined) return "NULL"
  if (Array.isArray(value)) return array(value)
  if (ArrayBuffer.isView(value)) return `"\\\\x${bytes(value).toString("hex")}"`
  return `"${String(parameter(value)).replace(/\\/g, "\\\\").replace(/"/g, '\\"')}"`
}

const array = (values: ReadonlyArray<unknown>): string => `{${values.map(element).join(",")}}`

/** A parameter as text or bytes: arrays in Postgres' notation, other objects as JSON. */
export const parameter = (value: unknown): string | Uint8Array | null => {
  if (value === null || value === undefined) return null
  if (typeof value !== "object") return String(value)
  if (ArrayBuffer.isView(value)) return bytes(value)
  if (value instanceof Date) return date(value)
  if (Array.isArray(value)) return array(value)
  return JSON.stringify(value)
}

const infinite = (text: string): number | undefined =>
  text === "infinity" ? Number.POSITIVE_INFINITY : text === "-infinity" ? Number.NEGATIVE_INFINITY : undefined

/** `pg` reads a date as local midnight; PGlite as midnight UTC. */
const localDay = (text: string): Date | number | string => {
  const [, year, month, day] = /^(\d{4,})-(\d\d)-(\d\d)$/.exec(text) ?? []
  if (year === undefined || month === undefined || day === undefined) return infinite(text) ?? text
  const out = new Date(0, 0)
  out.setFullYear(Number(year), Number(month) - 1, Number(day))
  return out
}

const INT8 = 20
const BYTEA = 17
const DATE = 1082

/** By type OID, where PGlite's own readers differ from those of `pg`. */
export const parsers: Record<number, (text: string) => unknown> = {
  [INT8]: (text) => text,
  [BYTEA]: (text) => Buffer.from(text.slice(2), "hex"),
  [DATE]: localDay
}
