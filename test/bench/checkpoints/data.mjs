// What is written and read: states of a given size, as a graph would hold them.
import { AIMessage, HumanMessage } from "@langchain/core/messages"
import { emptyCheckpoint, uuid6 } from "@langchain/langgraph-checkpoint"

/** A stream of numbers from 0 to 1, the same in every run. */
const random = (seed) => {
  let state = seed
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

const next = random(42)
const syllables =
  "a an al be co con de di en er es ex for gen i in is it la le li ment mo na ne no o on or per pre ra re ri ro sa se si so sta ta te ti tion to tra u un ver".split(
    " "
  )
/** Words of one to four syllables. */
const words = Array.from({ length: 4000 }, () =>
  Array.from({ length: 1 + Math.floor(next() * 4) }, () => syllables[Math.floor(next() * syllables.length)]).join("")
)

/** Text with the statistics of prose: a few words are frequent, most are rare. */
export const text = (length) => {
  let out = ""
  while (out.length < length) out += `${words[Math.floor(words.length ** next()) - 1]} `
  return out.slice(0, length)
}

/** Plain entries of a conversation, about `bytes` as JSON. */
export const entries = (bytes, count = Math.max(4, Math.round(bytes / 500))) =>
  Array.from({ length: count }, (_, index) => ({
    role: index % 2 === 0 ? "user" : "assistant",
    index,
    content: text(Math.max(1, Math.floor(bytes / count) - 60))
  }))

/** LangChain messages, about `bytes` as JSON. */
export const messages = (count, bytes) =>
  Array.from({ length: count }, (_, index) => {
    const content = text(Math.max(1, Math.floor(bytes / count) - 210))
    return index % 2 === 0 ? new HumanMessage(content) : new AIMessage(content)
  })

let clock = 0
export const newId = (step) => uuid6(step + (clock++ % 8192))

/** Three channels: the state, a counter, and the mark by which LangGraph starts the next node. */
export const checkpoint = (saver, values, step, previous) => {
  const versions = {}
  for (const channel of Object.keys(values)) versions[channel] = saver.getNextVersion(previous?.[channel])
  return {
    checkpoint: {
      ...emptyCheckpoint(),
      id: newId(step),
      channel_values: values,
      channel_versions: versions,
      versions_seen: { __input__: {}, work: { "branch:to:work": 1 } }
    },
    metadata: { source: "loop", step, parents: {} },
    versions
  }
}

export const state = (bytes) => ({ messages: entries(bytes), counter: 7, "branch:to:work": null })

/** Five writes of a task, `bytes` in all. */
export const writes = (bytes) => [
  ...Array.from({ length: 4 }, (_, index) => [`channel_${index}`, { index, text: text(Math.floor(bytes / 4)) }]),
  ["branch:to:work", null]
]

export const config = (thread_id, checkpoint_id) => ({
  configurable: { thread_id, checkpoint_ns: "", ...(checkpoint_id === undefined ? {} : { checkpoint_id }) }
})
