/** W3C's `traceparent`: where a trace goes on in another process. */
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"

const form = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/

/** Nothing for what is none: then a trace begins here. A version to come may say more behind what is known. */
export const parse = (header: string): Option.Option<Tracer.ExternalSpan> => {
  const [, version = "ff", traceId = "", spanId = "", flags = "", rest] = form.exec(header.trim()) ?? []
  if (version === "ff" || (version === "00" && rest !== undefined)) return Option.none()
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return Option.none()
  return Option.some(Tracer.externalSpan({ traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 }))
}

/** Nothing for a span whose ids are not of that form, as those of a tracer of the program's own may be. */
export const format = ({ sampled, spanId, traceId }: Tracer.AnySpan): Option.Option<string> => {
  const header = `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`
  return Option.as(parse(header), header)
}
