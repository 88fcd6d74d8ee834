/**
 * One value under the encryption: bound to its place, so that it opens nowhere else.
 *
 * @internal
 */
import { CheckpointError, isCheckpointError } from "../CheckpointError.js"
import { type Encryption, KeyError } from "../Encryption.js"
import * as form from "./form.js"
import { TASKS } from "./statements.js"
import type * as store from "./store.js"

export const blobPlace = (key: store.BlobKey): ReadonlyArray<string> => [
  "blob",
  key.threadId,
  key.namespace,
  key.channel,
  key.version
]

/** What tasks sent is also read without their names, see `Loaded.sends`. */
export const writePlace = (
  threadId: string,
  namespace: string,
  checkpointId: string,
  taskId: string,
  channel: string
): ReadonlyArray<string> => ["write", threadId, namespace, checkpointId, channel === TASKS ? "" : taskId, channel]

/** What is authenticated beside a value. */
const bound = (place: ReadonlyArray<string>, type: string): string => JSON.stringify(["holdfast", 1, ...place, type])

export const seal = (
  encryption: Encryption | undefined,
  place: ReadonlyArray<string>,
  shape: Omit<form.Form, "raw" | "key">,
  bytes: Uint8Array
): store.Piece => {
  if (encryption === undefined) return { type: form.print({ ...shape, key: undefined }), bytes }
  const plain = form.print({ ...shape, key: undefined })
  return {
    type: form.print({ ...shape, key: encryption.current }),
    bytes: encryption.seal(bytes, bound(place, plain))
  }
}

/** Takes the encryption off. Throws {@link KeyError}. */
export const unseal = (
  encryption: Encryption | undefined,
  place: ReadonlyArray<string>,
  shape: form.Form,
  bytes: Uint8Array
): Uint8Array => {
  if (shape.key === undefined) {
    if (encryption !== undefined && !encryption.allowPlaintext) {
      throw new KeyError(
        "",
        "it is stored in plain text, and only encrypted values are read: set allowPlaintext to read it"
      )
    }
    return bytes
  }
  if (encryption === undefined) {
    throw new KeyError(
      shape.key,
      `it is encrypted with the key "${shape.key}", and no key is given: set the option encryption`
    )
  }
  return encryption.open(shape.key, bytes, bound(place, form.print({ ...shape, key: undefined })))
}

/** What went wrong with a value, in the checkpoint's words. */
export const failure = (operation: string, threadId: string, place: string, cause: unknown): CheckpointError =>
  isCheckpointError(cause)
    ? cause
    : new CheckpointError({
        reason: cause instanceof KeyError ? "Key" : "Undecodable",
        operation,
        threadId,
        ...(cause instanceof KeyError && cause.keyId !== "" ? { keyId: cause.keyId } : {}),
        message: `The ${operation} of a checkpoint of "${threadId}" failed at ${place}: ${cause instanceof Error ? cause.message : String(cause)}`,
        cause
      })

/** Opens a value and closes it, with the key that writes now, for another place. Throws {@link KeyError}. */
export const reseal = (
  encryption: Encryption | undefined,
  from: ReadonlyArray<string>,
  to: ReadonlyArray<string>,
  type: string,
  bytes: Uint8Array
): store.Piece => {
  const shape = form.parse(type)
  return seal(encryption, to, shape, unseal(encryption, from, shape, bytes))
}
