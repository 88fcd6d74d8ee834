/**
 * What can go wrong with a database before a statement runs.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("holdfast/DatabaseError")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * - `Unreachable`: no server answered, after all attempts
 * - `Refused`: the server answered and said no (password, database name, rights)
 * - `DriverMissing`: the package that talks to it is not installed
 * - `FolderInUse`: another process, or another layer of this one, has the data folder open; `pid` says which
 * - `FolderUnusable`: the data folder cannot be made, read or opened
 * - `MigrationFailed`: a migration failed or the list does not fit what the database has; what ran before it stays
 *
 * @since 0.1.0
 * @category models
 */
export const Reason = Schema.Literal(
  "Unreachable",
  "Refused",
  "DriverMissing",
  "FolderInUse",
  "FolderUnusable",
  "MigrationFailed"
)

/**
 * @since 0.1.0
 * @category models
 */
export type Reason = typeof Reason.Type

/**
 * A database that cannot be used. The message says what to do and never holds a password.
 *
 * @since 0.1.0
 * @category errors
 */
export class DatabaseError extends Schema.TaggedError<DatabaseError>("holdfast/DatabaseError")("DatabaseError", {
  reason: Reason,
  /** The server without its password, or the data folder. */
  location: Schema.String,
  message: Schema.String,
  /** Who holds the folder; for `FolderInUse`. */
  pid: Schema.optional(Schema.Number),
  cause: Schema.optional(Schema.Defect)
}) {
  /**
   * @since 0.1.0
   */
  readonly [TypeId]: typeof TypeId = TypeId
}

/**
 * Whether a value is a {@link DatabaseError}.
 *
 * @since 0.1.0
 * @category guards
 */
export const isDatabaseError = (u: unknown): u is DatabaseError => Predicate.hasProperty(u, TypeId)
