import * as Metric from "effect/Metric"
import type { Kind } from "./outbox.js"

const queued = Metric.gauge("holdfast_delivery_queued", {
  description: "Observations or scores in memory, on their way to the server"
})
const stored = Metric.gauge("holdfast_delivery_stored", {
  description: "Observations or scores that this process has put into the outbox and not seen delivered"
})
const sent = Metric.counter("holdfast_delivery_sent", {
  description: "Observations or scores that the server has taken",
  incremental: true
})
const refused = Metric.counter("holdfast_delivery_refused", {
  description: "Observations or scores that the server will never take, set aside",
  incremental: true
})
const lost = Metric.counter("holdfast_delivery_lost", {
  description: "Observations or scores that found no room in memory or in the outbox",
  incremental: true
})

/**
 * The figures of one lane, as Effect metrics tagged with what is delivered and where to.
 *
 * @internal
 */
export interface Gauges {
  readonly set: (figures: { readonly queued: number; readonly stored: number; readonly sent: number }) => void
  readonly refused: () => void
  readonly lost: (items: number) => void
}

/** @internal */
export const make = (kind: Kind, target: string): Gauges => {
  const tagged = <Type, In, Out>(metric: Metric.Metric<Type, In, Out>) =>
    metric.pipe(Metric.tagged("kind", kind), Metric.tagged("target", target))
  const all = {
    queued: tagged(queued),
    stored: tagged(stored),
    sent: tagged(sent),
    refused: tagged(refused),
    lost: tagged(lost)
  }
  let known = 0
  return {
    set: (figures) => {
      all.queued.unsafeUpdate(figures.queued, [])
      all.stored.unsafeUpdate(figures.stored, [])
      if (figures.sent > known) all.sent.unsafeUpdate(figures.sent - known, [])
      known = figures.sent
    },
    refused: () => all.refused.unsafeUpdate(1, []),
    lost: (items) => all.lost.unsafeUpdate(items, [])
  }
}
