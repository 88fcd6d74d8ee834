import { randomBytes } from "node:crypto"

/** A name that says what it was and when, and that nobody else has. */
export const threadName = (of: string): string => {
  const time = new Date().toISOString().replace(/[-:]/g, "").replace("T", "-").slice(0, 15)
  const word = of.replace(/[^\w]/g, "").toLowerCase().slice(0, 40)
  return `${word === "" ? "run" : word}-${time}-${randomBytes(2).toString("hex")}`
}
