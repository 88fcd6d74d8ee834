import * as Cause from "effect/Cause"
import type * as Exit from "effect/Exit"
import * as Observation from "../../observability/Observation.js"
import type { Manner } from "./otlp.js"
import { BridgeSpan, settled } from "./span.js"

/** The frames of a failure's stack, a line each. */
const framesOf = (cause: Cause.Cause<unknown>): string =>
  Cause.prettyErrors(cause)
    .map(({ stack = "" }) => stack)
    .join("\n\n")

/**
 * Spans of which only what may be is said: asked before anything becomes an attribute. Without such rules the plain ones are made, which ask
 * nobody.
 *
 * @internal
 */
export const spans = ({ privacy, stacks }: Manner): typeof BridgeSpan | undefined => {
  if (privacy === undefined) return undefined
  const { attribute, text } = privacy
  return class extends BridgeSpan {
    constructor(...args: ConstructorParameters<typeof BridgeSpan>) {
      const [traceId, spanId, sampled, name, ...rest] = args
      super(traceId, spanId, sampled, text(name), ...rest)
    }

    override say(attributes: Readonly<Record<string, unknown>>): void {
      for (const name in attributes) this.attribute(name, attributes[name])
    }

    override attribute(name: string, value: unknown): void {
      const said = attribute(name, settled(value))
      if (said !== undefined) super.attribute(name, said)
    }

    override end(endTime: bigint, exit: Exit.Exit<unknown, unknown>): void {
      if (stacks && exit._tag === "Failure" && !Cause.isInterruptedOnly(exit.cause)) {
        this.attribute(`${Observation.Attribute.metadata}stack_trace`, framesOf(exit.cause))
      }
      super.end(endTime, exit)
    }
  }
}
