/**
 * What the research agents found, as it is stored and printed. An agent that failed leaves its field out.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as Market from "./Market.js"
import * as Reversion from "./Reversion.js"
import * as Risk from "./Risk.js"
import * as Seasonality from "./Seasonality.js"
import * as Technical from "./Technical.js"

/**
 * The findings by agent.
 *
 * @since 0.1.0
 * @category models
 */
export const Findings = Schema.Struct({
  technical: Schema.optional(Technical.Figures),
  risk: Schema.optional(Risk.Figures),
  market: Schema.optional(Market.Figures),
  seasonality: Schema.optional(Seasonality.Figures),
  reversion: Schema.optional(Reversion.Figures)
})

/**
 * @since 0.1.0
 * @category models
 */
export type Findings = typeof Findings.Type
