/**
 * The command line: what can be asked, and of whom. What answers is loaded only when it is asked.
 *
 * @since 0.1.0
 */
import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Options from "@effect/cli/Options"
import * as ValidationError from "@effect/cli/ValidationError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as age from "./internal/age.js"
import { report } from "./internal/reportCommand.js"
import * as Project from "./Project.js"
import * as Settings from "./Settings.js"

/** An option whose text must make sense; the error names it and says what it takes. */
const parsed = <A>(name: string, expected: string, parse: (text: string) => A | undefined): Options.Options<A> =>
  Options.text(name).pipe(
    Options.mapEffect((text) => {
      const value = parse(text)
      return value === undefined
        ? Effect.fail(
            ValidationError.invalidValue(HelpDoc.p(`--${name} takes ${expected}, not ${JSON.stringify(text)}`))
          )
        : Effect.succeed(value)
    })
  )

const share = (text: string): number | undefined =>
  /^(?:\d+\.?\d*|\.\d+)$/.test(text) && Number(text) <= 1 ? Number(text) : undefined

const whole = (text: string): number | undefined => {
  const value = Number(text)
  return /^-?\d+$/.test(text) && Number.isSafeInteger(value) ? value : undefined
}

const count = (text: string): number | undefined => {
  const value = whole(text)
  return value !== undefined && value >= 1 ? value : undefined
}

/** The name of a thread, as it stands in the database and is typed at a prompt. */
const threadName = (text: string): string | undefined => (/^[\w.:@-]{1,200}$/.test(text) ? text : undefined)

const json = Options.boolean("json").pipe(Options.withDescription("print one JSON document instead of text"))

const thread = Args.text({ name: "THREAD" }).pipe(Args.withDescription("the thread, as `holdfast threads` lists it"))

const limit = parsed("limit", "a whole number from 1", count).pipe(
  Options.withPseudoName("N"),
  Options.withDefault(20),
  Options.withDescription("how many to show, the newest first")
)

const research = Command.make(
  "research",
  {
    ticker: Args.text({ name: "TICKER" }).pipe(
      Args.withDefault("AAPL"),
      Args.withDescription("the ticker to look into, a column of the prices")
    ),
    prices: Options.text("prices").pipe(
      Options.withPseudoName("FILE"),
      Options.optional,
      Options.withDescription(
        "a CSV file with a date column and one price column a ticker; by default the prices that ship"
      )
    ),
    benchmark: Options.text("benchmark").pipe(
      Options.withPseudoName("TICKER"),
      Options.optional,
      Options.withDescription("what to compare with; GSPC, the S&P 500, by default")
    ),
    chaos: parsed("chaos", "a number from 0 to 1", share).pipe(
      Options.withPseudoName("RATE"),
      Options.optional,
      Options.withDescription("inject errors, hangs and rate limits into this share of the agents' calls, from 0 to 1")
    ),
    seed: parsed("seed", "a whole number", whole).pipe(
      Options.withPseudoName("N"),
      Options.withDefault(0),
      Options.withDescription("the same seed injects the same faults")
    ),
    thread: parsed("thread", "a name of letters, digits and . : @ _ -", threadName).pipe(
      Options.withPseudoName("ID"),
      Options.optional,
      Options.withDescription("the name to store the run under; by default a new one")
    ),
    json
  },
  (options) =>
    Effect.gen(function* () {
      const settings = yield* Settings.load
      const commands = yield* Effect.promise(() => import("./commands/research.js"))
      yield* commands.research(settings, {
        ticker: options.ticker,
        prices: Option.getOrUndefined(options.prices),
        benchmark: Option.getOrUndefined(options.benchmark),
        chaos: Option.getOrUndefined(Option.map(options.chaos, (rate) => ({ rate, seed: options.seed }))),
        thread: Option.getOrUndefined(options.thread),
        json: options.json
      })
    })
).pipe(Command.withDescription("Let a swarm of agents look into a stock, and find a strategy that stands the test"))

/** What the folder says fills the environment in, so it is read first. */
const prepared = Effect.flatMap(Project.load, (project) =>
  Effect.map(Settings.load, (settings) => ({ project, settings }))
)

const optionalText = (name: string, pseudo: string, description: string) =>
  Options.text(name).pipe(Options.withPseudoName(pseudo), Options.optional, Options.withDescription(description))

const output = {
  stream: Options.boolean("stream").pipe(
    Options.withDescription("print what nodes write and models say, while it happens")
  ),
  json: Options.boolean("json").pipe(Options.withDescription("print every event as a line of JSON (NDJSON)"))
}

const configOption = optionalText(
  "config",
  "JSON",
  'LangGraph\'s config, such as {"configurable": {"model": "small"}}; JSON, @file, or - for standard input'
)

const moduleOption = optionalText(
  "module",
  "MODULE",
  "the graph's module, where it is not the one that the thread has recorded"
)

const run = Command.make(
  "run",
  {
    module: Args.text({ name: "MODULE" }).pipe(
      Args.optional,
      Args.withDescription(
        "MODULE[:EXPORT], a TypeScript or JavaScript file that exports a graph or a function that gives one; or a graph's name in langgraph.json or holdfast.config"
      )
    ),
    input: optionalText("input", "JSON", "the graph's input: JSON, @file, or - for standard input; {} by default"),
    thread: parsed("thread", "a name of letters, digits and . : @ _ -", threadName).pipe(
      Options.withPseudoName("ID"),
      Options.optional,
      Options.withDescription("the thread to store the run under, or to go on with; by default a new one")
    ),
    config: configOption,
    ...output
  },
  (options) =>
    Effect.gen(function* () {
      const { project, settings } = yield* prepared
      const commands = yield* Effect.promise(() => import("./commands/run.js"))
      yield* commands.run(settings, project, {
        module: Option.getOrUndefined(options.module),
        input: Option.getOrUndefined(options.input),
        thread: Option.getOrUndefined(options.thread),
        config: Option.getOrUndefined(options.config),
        stream: options.stream,
        json: options.json
      })
    })
).pipe(Command.withDescription("Run a graph of LangGraph"))

const resume = Command.make(
  "resume",
  {
    thread,
    answer: optionalText(
      "answer",
      "JSON",
      "the answer to what the thread waits for: JSON, @file, or - for standard input; several as an object by the questions' ids"
    ),
    module: moduleOption,
    config: configOption,
    stream: output.stream,
    json: Options.boolean("json").pipe(
      Options.withDescription("print every event as a line of JSON; of a research run one document")
    )
  },
  (options) =>
    Effect.gen(function* () {
      const { project, settings } = yield* prepared
      const commands = yield* Effect.promise(() => import("./commands/resume.js"))
      yield* commands.resume(settings, project, {
        thread: options.thread,
        answer: Option.getOrUndefined(options.answer),
        module: Option.getOrUndefined(options.module),
        config: Option.getOrUndefined(options.config),
        stream: options.stream,
        json: options.json
      })
    })
).pipe(Command.withDescription("Go on with a run that waits for an answer, failed, was stopped or was killed"))

const fork = Command.make(
  "fork",
  {
    thread,
    checkpoint: Args.text({ name: "CHECKPOINT" }).pipe(
      Args.withDescription("the checkpoint, as `holdfast history` lists it; the beginning of its id is enough")
    ),
    set: optionalText("set", "JSON", "values of channels that are different from there on: JSON, @file, or -"),
    asNode: optionalText("as-node", "NODE", "the node whose update --set is; its edges say what comes next"),
    module: moduleOption,
    json
  },
  (options) =>
    Effect.gen(function* () {
      const { project, settings } = yield* prepared
      const commands = yield* Effect.promise(() => import("./commands/fork.js"))
      yield* commands.fork(settings, project, {
        thread: options.thread,
        checkpoint: options.checkpoint,
        set: Option.getOrUndefined(options.set),
        asNode: Option.getOrUndefined(options.asNode),
        module: Option.getOrUndefined(options.module),
        json: options.json
      })
    })
).pipe(Command.withDescription("Branch a thread off at one of its checkpoints"))

const remove = Command.make("delete", { thread, json }, ({ json, thread }) =>
  Effect.gen(function* () {
    const { settings } = yield* prepared
    const commands = yield* Effect.promise(() => import("./commands/fork.js"))
    yield* commands.remove(settings, { thread, json })
  })
).pipe(Command.withDescription("Remove a thread with all that is stored under it"))

const prune = Command.make(
  "prune",
  {
    keep: parsed("keep", "a whole number from 1", count).pipe(
      Options.withPseudoName("N"),
      Options.optional,
      Options.withDescription("how many of each thread's newest checkpoints stay; 1 with --older-than")
    ),
    olderThan: parsed("older-than", age.expected, age.parse).pipe(
      Options.withPseudoName("AGE"),
      Options.optional,
      Options.withDescription("only what is older goes, such as 30d; with --keep a checkpoint goes only if both say so")
    ),
    thread: Options.text("thread").pipe(
      Options.withPseudoName("ID"),
      Options.optional,
      Options.withDescription("only this thread; by default all")
    ),
    whole: Options.boolean("whole").pipe(
      Options.withDescription("remove whole threads of which all is older, in place of thinning their history")
    ),
    dryRun: Options.boolean("dry-run").pipe(Options.withDescription("only say what would go and what would stay")),
    json
  },
  (options) =>
    Effect.gen(function* () {
      const settings = yield* Settings.load
      const commands = yield* Effect.promise(() => import("./commands/prune.js"))
      yield* commands.prune(settings, {
        keep: Option.getOrUndefined(options.keep),
        olderThan: Option.getOrUndefined(options.olderThan),
        thread: Option.getOrUndefined(options.thread),
        whole: options.whole,
        dryRun: options.dryRun,
        json: options.json
      })
    })
).pipe(Command.withDescription("Thin the history of the stored runs, or remove old ones"))

const waiting = Options.boolean("waiting").pipe(
  Options.withDescription("only those that wait for a person, with what they ask")
)

const threads = Command.make("threads", { limit, waiting, json }, (options) =>
  Effect.gen(function* () {
    const { settings } = yield* prepared
    const commands = yield* Effect.promise(() => import("./commands/threads.js"))
    yield* commands.threads(settings, options)
  })
).pipe(Command.withDescription("List the stored runs"), Command.withSubcommands([prune]))

const diff = Options.boolean("diff").pipe(Options.withDescription("show what each checkpoint has changed in the state"))

const history = Command.make("history", { thread, limit, diff, json }, (options) =>
  Effect.gen(function* () {
    const { settings } = yield* prepared
    const commands = yield* Effect.promise(() => import("./commands/threads.js"))
    yield* commands.history(settings, options)
  })
).pipe(Command.withDescription("List a run's checkpoints"))

const doctor = Command.make(
  "doctor",
  {
    deliver: Options.boolean("deliver").pipe(Options.withDescription("deliver first what waits in the outbox")),
    json
  },
  ({ deliver, json }) =>
    Effect.gen(function* () {
      const settings = yield* Settings.load
      const commands = yield* Effect.promise(() => import("./commands/doctor.js"))
      yield* commands.doctor(settings, { deliver, json })
    })
).pipe(
  Command.withDescription("Check the settings, Langfuse, its keys and the clock, and show what waits to be delivered")
)

/**
 * The whole command line.
 *
 * @since 0.1.0
 * @category commands
 */
export const command = Command.make("holdfast").pipe(
  Command.withDescription("Keeps AI agents standing when models, networks, databases and machines fail"),
  Command.withSubcommands([run, resume, threads, history, fork, remove, report, doctor, research])
)

/**
 * The commands below those that have some.
 *
 * @since 0.1.0
 * @category commands
 */
export const groups = { threads: Command.getSubcommands(threads) }
