/**
 * From which writes a delta channel is put together, as LangGraph's savers tell it.
 *
 * @internal
 */
import type { CheckpointPendingWrite, CheckpointTuple, DeltaChannelHistory } from "@langchain/langgraph-checkpoint"

/**
 * For each channel the value of the nearest ancestor that holds one, and what tasks have written to it since, the oldest first. The ancestor's own
 * writes come after its value.
 *
 * @param ancestors Nearest first, without a gap.
 */
export const gather = (
  channels: ReadonlyArray<string>,
  ancestors: ReadonlyArray<CheckpointTuple>
): Record<string, DeltaChannelHistory> => {
  const out: Record<string, DeltaChannelHistory> = {}
  for (const channel of channels) {
    const steps: Array<ReadonlyArray<CheckpointPendingWrite>> = []
    let seed: { readonly seed?: unknown } = {}
    for (const { checkpoint, pendingWrites = [] } of ancestors) {
      const own = pendingWrites.filter((write) => write[1] === channel)
      steps.unshift(own.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
      if (!Object.hasOwn(checkpoint.channel_values, channel)) continue
      seed = { seed: checkpoint.channel_values[channel] }
      break
    }
    Object.defineProperty(out, channel, {
      value: { writes: steps.flat(), ...seed },
      writable: true,
      enumerable: true,
      configurable: true
    })
  }
  return out
}
