/**
 * `holdfast run`, and `holdfast resume` of what it has run: a graph of the user's.
 *
 * @since 0.1.0
 */
import { createInterface } from "node:readline"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Predicate from "effect/Predicate"
import type * as Graph from "../../graph/Graph.js"
import * as Events from "../Events.js"
import type * as GraphRun from "../GraphRun.js"
import * as answer from "../internal/answer.js"
import { invocation } from "../internal/invocation.js"
import * as json from "../internal/json.js"
import * as terminal from "../internal/terminal.js"
import { threadName } from "../internal/threadName.js"
import * as layers from "../layers.js"
import * as Project from "../Project.js"
import type { Settings } from "../Settings.js"
import { UsageError } from "../UsageError.js"

/** LangGraph is loaded while the database opens. */
const graphRuns = Effect.promise(() => import("../GraphRun.js"))
const graphs = Effect.promise(() => import("../../graph/Graph.js"))
const stores = Effect.promise(() => import("../../checkpoint/Checkpointer.js"))

/**
 * How a run is shown.
 *
 * @since 0.1.0
 * @category models
 */
export interface OutputOptions {
  readonly stream: boolean
  readonly json: boolean
}

/**
 * @since 0.1.0
 * @category models
 */
export interface RunOptions extends OutputOptions {
  readonly module: string | undefined
  /** `JSON|@file|-`. */
  readonly input: string | undefined
  readonly thread: string | undefined
  readonly config: string | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface ResumeOptions extends OutputOptions {
  readonly thread: string
  /** `JSON|@file|-`. */
  readonly answer: string | undefined
  /** The module, where it is not the one that the thread recorded. */
  readonly module: string | undefined
  readonly config: string | undefined
}

const sinkFor = (options: OutputOptions): Events.Sink =>
  options.json
    ? Events.lines(process.stdout)
    : Events.text(process.stdout, process.stderr, (thread, status) =>
        status === "waiting"
          ? `waiting; answer with: ${invocation} resume ${thread} --answer JSON`
          : `${status}; go on with: ${invocation} resume ${thread}`
      )

const exitCodes = { done: 0, failed: 1, waiting: 4 } as const

/** Waits until all is written, then says how the process is to end. */
const leave = (result: GraphRun.Result): Effect.Effect<void> =>
  Effect.map(terminal.write(process.stdout, ""), () => {
    process.exitCode = exitCodes[result]
  })

const readConfig = (text: string | undefined) =>
  Effect.gen(function* () {
    const { runConfig } = yield* graphRuns
    return yield* text === undefined ? Effect.succeed(undefined) : Effect.flatMap(json.read("config", text), runConfig)
  })

/** Refuses a new input where a question is open: it would be lost. */
const assertNotWaiting = (threadId: string) =>
  Effect.gen(function* () {
    const { Checkpointer } = yield* stores
    const [newest] = yield* Effect.flatMap(Checkpointer, (store) => store.history(threadId, { limit: 1 }))
    if (newest !== undefined && newest.interrupts.length > 0) {
      return yield* new UsageError({
        message: `the thread "${threadId}" waits for an answer, which a new input would lose: \`holdfast resume ${threadId} --answer JSON\`, or take another name`
      })
    }
  }).pipe(Effect.catchTag("CheckpointNotFoundError", () => Effect.void))

/**
 * Runs a graph. What can be wrong with the module and the input is found before the database is opened.
 *
 * @since 0.1.0
 * @category commands
 */
export const run = (settings: Settings, project: Project.Project, options: RunOptions) =>
  Effect.gen(function* () {
    const reference = yield* Project.reference(project, options.module)
    const input = options.input === undefined ? {} : yield* json.read("input", options.input)
    const config = (yield* readConfig(options.config)) ?? {}
    const { execute, exported, graphOf } = yield* graphRuns
    const value = yield* exported(reference)
    const threadId = options.thread ?? threadName(reference.name ?? reference.path.replace(/^.*[\\/]|\.[^.]*$/g, ""))
    yield* Effect.gen(function* () {
      if (options.thread !== undefined) yield* assertNotWaiting(threadId)
      const loaded = yield* graphOf(value, reference, project, config)
      const { stream } = options
      yield* leave(yield* execute(loaded, input, { threadId, config, stream, resumed: false, sink: sinkFor(options) }))
    }).pipe(Effect.provide(layers.running(settings)))
  }).pipe(Effect.provide(layers.logging(settings)))

/** What the thread says of its program: its newest checkpoint, or, where that was made by hand as a fork is, the newest of those that say it. */
const recordOf = (threadId: string) =>
  Effect.gen(function* () {
    const { Checkpointer } = yield* stores
    const { recorded } = yield* graphRuns
    const store = yield* Checkpointer
    for (const limit of [1, 1000]) {
      const entries = yield* store.history(threadId, { limit })
      const found = entries.map(({ metadata }) => recorded(metadata)).find(Predicate.isNotUndefined)
      if (found !== undefined) return found
    }
    return undefined
  })

/** The graph of a stored thread, by what the thread has recorded or by the module that is named. */
export const loadFor = (
  project: Project.Project,
  threadId: string,
  module: string | undefined,
  config?: GraphRun.RunConfig
) =>
  Effect.gen(function* () {
    const { exported, graphOf } = yield* graphRuns
    const known = yield* recordOf(threadId)
    const text = module ?? known?.program
    if (text === undefined) {
      return yield* new UsageError({
        message: `the thread "${threadId}" does not say which program wrote it; say it: --module MODULE[:EXPORT]`
      })
    }
    const reference = yield* Project.reference(project, text)
    const value = yield* Effect.catchTag(exported(reference), "UsageError", ({ message }) =>
      module !== undefined
        ? new UsageError({ message })
        : new UsageError({
            message: `${message}; the thread "${threadId}" was written by ${text}: go to its folder, or say where it is now with --module MODULE[:EXPORT]`
          })
    )
    const used = config ?? known?.config ?? {}
    return { loaded: yield* graphOf(value, reference, project, used), config: used }
  })

/** Whether a stored thread was written by `holdfast run`. */
export const isOurs = (threadId: string) => Effect.map(recordOf(threadId), Predicate.isNotUndefined)

type Questions = Graph.Snapshot["interrupts"]

/** Answers by the ids of their questions. One question needs no id. */
const byId = (
  threadId: string,
  questions: Questions,
  given: unknown
): Either.Either<ReadonlyArray<readonly [question: Questions[number], answer: unknown]>, string> => {
  const named = new Map(questions.map((question) => [question.id, question]))
  if (Predicate.isRecord(given) && Object.keys(given).length > 0 && Object.keys(given).every((key) => named.has(key))) {
    return Either.right(
      Object.entries(given).flatMap(([id, each]) => {
        const question = named.get(id)
        return question === undefined ? [] : [[question, each] as const]
      })
    )
  }
  const [only] = questions
  if (only !== undefined && questions.length === 1) return Either.right([[only, given]])
  return Either.left(
    `the thread "${threadId}" has asked ${questions.length} questions: answer by their ids, --answer '{${questions.map(({ id }) => `"${id}": ...`).join(", ")}}'`
  )
}

/** What is wrong with answers, if anything is. */
const refused = (
  threadId: string,
  questions: Questions,
  given: unknown,
  expected: Project.Project["config"]["answer"]
): string | undefined => {
  const pairs = byId(threadId, questions, given)
  if (Either.isLeft(pairs)) return pairs.left
  for (const [question, each] of pairs.right) {
    const problem = answer.refusal(each, question.value, question.node, expected)
    if (problem !== undefined) return `the answer does not fit: ${problem}`
  }
  return undefined
}

/** Asks the person at the terminal, until the answer fits. Nothing when they leave. */
const prompt = (threadId: string, questions: Questions, expected: Project.Project["config"]["answer"]) =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const lineReader = createInterface({ input: process.stdin, output: process.stderr })
      // the terminal keeps Ctrl-C for itself
      return lineReader.on("SIGINT", () => process.kill(process.pid, "SIGINT"))
    }),
    (lineReader) =>
      Effect.gen(function* () {
        // lines that were typed ahead are kept
        const lines = lineReader[Symbol.asyncIterator]()
        const answers: Record<string, unknown> = {}
        for (const question of questions) {
          for (;;) {
            lineReader.setPrompt(`${question.node ?? "answer"}> `)
            lineReader.prompt()
            const line = yield* Effect.promise(() => lines.next())
            if (line.done === true) return undefined
            const given = Either.getOrElse(
              Either.try((): unknown => JSON.parse(line.value)),
              (): unknown => line.value
            )
            const problem = refused(threadId, [question], given, expected)
            if (problem === undefined) {
              answers[question.id ?? ""] = given
              break
            }
            yield* Effect.sync(() => process.stderr.write(`${problem}\n`))
          }
        }
        return answers
      }),
    (lineReader) => Effect.sync(() => lineReader.close())
  )

const tell = (sink: Events.Sink, threadId: string, at: Graph.Snapshot, status: "done" | "waiting") =>
  Effect.map(graphRuns, ({ nextOf }) => {
    for (const { id, node = "", value } of at.interrupts) sink.emit({ type: "interrupt", id, node, value })
    sink.emit({ type: "result", thread: threadId, status, next: nextOf(at), state: at.values })
  })

/** The answer to what a thread waits for, in LangGraph's words; nothing where there is none to be had. */
const answered = (threadId: string, at: Graph.Snapshot, options: ResumeOptions, project: Project.Project) =>
  Effect.gen(function* () {
    const { answer: expected } = project.config
    const open = at.interrupts
    if (options.answer === undefined) {
      if (options.json || !process.stdin.isTTY || !process.stderr.isTTY) return undefined
      for (const question of open) {
        yield* Effect.sync(() => process.stderr.write(`${question.node} asks: ${json.show(question.value, 2)}\n`))
      }
      return yield* prompt(threadId, open, expected)
    }
    const given = yield* json.read("answer", options.answer)
    const problem = refused(threadId, open, given, expected)
    if (problem !== undefined) {
      const asked = open.map(({ node, value }) => `${node} asks: ${json.show(value)}`).join("\n")
      return yield* new UsageError({ message: `${problem}; the thread still waits\n${asked}` })
    }
    const pairs = Either.getOrElse(byId(threadId, open, given), () => [])
    return Object.fromEntries(pairs.map(([question, each]) => [question.id ?? "", each]))
  })

/** LangGraph's `Command`, known by its shape. By the questions' ids: an answer that is `false`, 0 or empty is overlooked without. */
const command = (answers: Readonly<Record<string, unknown>>): object => ({
  lg_name: "Command",
  lc_direct_tool_output: true,
  resume: answers,
  goto: []
})

/**
 * Goes on with a thread of `holdfast run`: with an answer where it waits for one, else at its last checkpoint. One that has ended is only shown.
 *
 * @since 0.1.0
 * @category commands
 */
export const resume = (project: Project.Project, options: ResumeOptions) =>
  Effect.gen(function* () {
    const { thread: threadId, stream } = options
    const named = yield* readConfig(options.config)
    const { config, loaded } = yield* loadFor(project, threadId, options.module, named)
    const Graph = yield* graphs
    const { execute } = yield* graphRuns
    const sink = sinkFor(options)
    const at = yield* Graph.state(loaded.graph, threadId)
    const go = (input: unknown) =>
      Effect.flatMap(execute(loaded, input, { threadId, config, stream, resumed: true, sink }), leave)
    if (at.interrupts.length === 0) {
      if (options.answer !== undefined) {
        return yield* new UsageError({
          message: `the thread "${threadId}" waits for no answer${at.next.length === 0 ? ": it has ended" : `; go on with \`holdfast resume ${threadId}\``}`
        })
      }
      if (at.next.length > 0) return yield* go(null)
      yield* tell(sink, threadId, at, "done")
      return yield* leave("done")
    }
    const answers = yield* answered(threadId, at, options, project)
    if (answers !== undefined) return yield* go(command(answers))
    yield* tell(sink, threadId, at, "waiting")
    yield* leave("waiting")
  }).pipe(Effect.provide(layers.tracing))
