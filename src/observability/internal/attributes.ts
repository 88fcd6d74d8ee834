import type * as Observation from "../Observation.js"
import * as Redaction from "../Redaction.js"

/** The attribute names that Langfuse reads. */
export const Attribute = {
  type: "langfuse.observation.type",
  level: "langfuse.observation.level",
  statusMessage: "langfuse.observation.status_message",
  input: "langfuse.observation.input",
  output: "langfuse.observation.output",
  metadata: "langfuse.observation.metadata.",
  model: "langfuse.observation.model.name",
  usage: "langfuse.observation.usage_details",
  cost: "langfuse.observation.cost_details",
  completionStartTime: "langfuse.observation.completion_start_time",
  modelParameters: "langfuse.observation.model.parameters",
  traceName: "langfuse.trace.name",
  traceTags: "langfuse.trace.tags",
  traceMetadata: "langfuse.trace.metadata.",
  sessionId: "session.id",
  userId: "user.id",
  environment: "langfuse.environment",
  release: "langfuse.release",
  version: "langfuse.version"
} as const

const maxKeys = 1_000
const metadataKeys = new Map<string, string>()

/** The attribute's name of a metadata key. A text put together anew each time is hashed anew each time. */
const metadataKey = (key: string): string => {
  const known = metadataKeys.get(key)
  if (known !== undefined) return known
  const name = Attribute.metadata + key
  if (metadataKeys.size < maxKeys) metadataKeys.set(key, name)
  return name
}

/** A metadata value as an attribute: numbers and booleans stay, text is redacted, all else becomes redacted JSON. */
const scalar = (key: string, value: unknown): string | number | boolean => {
  if (typeof value === "boolean") return value
  if (Redaction.isSecretName(key)) return Redaction.mark
  if (typeof value === "number") return value
  return typeof value === "string" ? Redaction.text(value) : Redaction.json(value)
}

/** @internal */
export const attributes = (options: Observation.Options): Record<string, unknown> => {
  const out: Record<string, unknown> = {}
  if (options.type !== undefined) out[Attribute.type] = options.type
  if (options.level !== undefined) out[Attribute.level] = options.level
  if (options.statusMessage !== undefined) out[Attribute.statusMessage] = Redaction.text(options.statusMessage)
  if (options.input !== undefined) out[Attribute.input] = Redaction.json(options.input)
  if (options.output !== undefined) out[Attribute.output] = Redaction.json(options.output)
  if (options.model !== undefined) out[Attribute.model] = options.model
  if (options.usage !== undefined) out[Attribute.usage] = JSON.stringify(options.usage)
  if (options.cost !== undefined) out[Attribute.cost] = JSON.stringify(options.cost)
  if (options.completionStartTime !== undefined) {
    out[Attribute.completionStartTime] = JSON.stringify(options.completionStartTime)
  }
  if (options.modelParameters !== undefined) out[Attribute.modelParameters] = Redaction.json(options.modelParameters)
  for (const key in options.metadata) {
    const value = options.metadata[key]
    if (value !== undefined) out[metadataKey(key)] = scalar(key, value)
  }
  return out
}

/** @internal */
export const traceAttributes = (options: Observation.TraceOptions): Record<string, unknown> => {
  const out: Record<string, unknown> = {}
  if (options.name !== undefined) out[Attribute.traceName] = options.name
  if (options.sessionId !== undefined) out[Attribute.sessionId] = options.sessionId
  if (options.userId !== undefined) out[Attribute.userId] = options.userId
  if (options.tags !== undefined) out[Attribute.traceTags] = options.tags
  if (options.environment !== undefined) out[Attribute.environment] = options.environment
  if (options.release !== undefined) out[Attribute.release] = options.release
  if (options.version !== undefined) out[Attribute.version] = options.version
  for (const key in options.metadata) {
    const value = options.metadata[key]
    if (value !== undefined) out[Attribute.traceMetadata + key] = scalar(key, value)
  }
  return out
}
