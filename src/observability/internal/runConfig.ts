/** What a LangGraph or LangChain config says of the trace. */
import * as Predicate from "effect/Predicate"
import type * as Observation from "../Observation.js"

const fieldsOf = (config: unknown, name: string): object => {
  const fields = Predicate.hasProperty(config, name) ? config[name] : undefined
  return Predicate.isObject(fields) ? fields : {}
}

/** The first text of the fields that are given. */
const textIn = (places: ReadonlyArray<object>, ...names: ReadonlyArray<string>): string | undefined => {
  for (const place of places) {
    for (const name of names) {
      const value = Predicate.hasProperty(place, name) ? place[name] : undefined
      if (typeof value === "string" && value !== "") return value
    }
  }
  return undefined
}

const tagsIn = (places: ReadonlyArray<object>): ReadonlyArray<string> | undefined => {
  for (const place of places) {
    for (const name of ["langfuse_tags", "langfuseTags"]) {
      const value: unknown = Predicate.hasProperty(place, name) ? place[name] : undefined
      if (Array.isArray(value)) return value.filter((tag) => typeof tag === "string")
    }
  }
  return undefined
}

/** Nothing where it says nothing. `hasSession`: a thread is no session where another one is said. */
export const traceOf = (config: unknown, hasSession: boolean): Observation.TraceOptions | undefined => {
  const configurable = fieldsOf(config, "configurable")
  const places = [fieldsOf(config, "metadata"), configurable]
  const thread = hasSession ? undefined : textIn([configurable], "thread_id")
  const name = textIn(places, "langfuse_trace_name", "langfuseTraceName")
  const sessionId = textIn(places, "langfuse_session_id", "langfuseSessionId") ?? thread
  const userId = textIn(places, "langfuse_user_id", "langfuseUserId")
  const tags = tagsIn(places)
  return [name, sessionId, userId, tags].every((each) => each === undefined)
    ? undefined
    : { name, sessionId, userId, tags }
}
