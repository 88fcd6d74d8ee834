/** What can be asked of `holdfast report`. */
import * as Command from "@effect/cli/Command"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Options from "@effect/cli/Options"
import * as ValidationError from "@effect/cli/ValidationError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Report from "../../langfuse/Report.js"
import * as Project from "../Project.js"
import * as Settings from "../Settings.js"
import * as age from "./age.js"

const invalid = (message: string): ValidationError.ValidationError => ValidationError.invalidValue(HelpDoc.p(message))

const since = Options.text("since").pipe(
  Options.withPseudoName("AGE"),
  Options.mapEffect((text) => {
    const value = age.parse(text)
    return value === undefined
      ? Effect.fail(invalid(`--since takes ${age.expected}, not ${JSON.stringify(text)}`))
      : Effect.succeed(value)
  }),
  Options.withDefault(Duration.days(1)),
  Options.withDescription("how far back, such as 1d, 12h or 30 days; one day by default")
)

const objectives = Options.text("objective").pipe(
  Options.withPseudoName("MEASURE=VALUE"),
  Options.repeated,
  Options.mapEffect((texts) =>
    Effect.forEach(texts, (text) => Either.mapLeft(Report.objective(text), (wrong) => invalid(`--objective: ${wrong}`)))
  ),
  Options.withDescription(
    `what must hold, such as availability=99.9, else the exit code is 3; of ${Object.keys(Report.measures).join(", ")}; once or more often`
  )
)

export const report = Command.make(
  "report",
  {
    since,
    agent: Options.text("agent").pipe(
      Options.withPseudoName("ID"),
      Options.optional,
      Options.withDescription("only this agent; by default all")
    ),
    objectives,
    json: Options.boolean("json").pipe(Options.withDescription("print one JSON document instead of text"))
  },
  (options) =>
    Effect.gen(function* () {
      // a run's keys may be in what the folder says: the report asks where the run has sent to
      yield* Project.load
      const settings = yield* Settings.load
      const commands = yield* Effect.promise(() => import("../commands/report.js"))
      yield* commands.report(settings, {
        since: options.since,
        agent: Option.getOrUndefined(options.agent),
        objectives: options.objectives,
        json: options.json
      })
    })
).pipe(
  Command.withDescription(
    "Show how the agents have stood up: availability, retries, fallbacks, failures, breakers, latency"
  )
)
