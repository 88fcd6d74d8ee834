/** What leaves the process, and what never does: on the wire, and in the outbox. */
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { gunzipSync } from "node:zlib"
import { assert, describe, it } from "@effect/vitest"
import { RunnableLambda } from "@langchain/core/runnables"
import { FakeListChatModel } from "@langchain/core/utils/testing"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Langfuse from "../../src/langfuse/Langfuse.js"
import * as Observation from "../../src/observability/Observation.js"
import * as TestDatabases from "../support/databases.js"
import * as LangfuseServer from "../support/LangfuseServer.js"
import * as Secrets from "./secrets.js"

const optionsOf = (server: LangfuseServer.LangfuseServer): Langfuse.Options => ({
  publicKey: server.publicKey,
  secretKey: Redacted.make(server.secretKey),
  baseUrl: server.url
})

/** Runs a program whose spans go to a server, and gives the server when all is delivered. */
const traced = <A, E>(program: Effect.Effect<A, E>, options: Partial<Langfuse.Options> = {}) =>
  Effect.gen(function* () {
    const server = yield* LangfuseServer.make()
    yield* Effect.exit(Effect.provide(program, Langfuse.layerWith({ ...optionsOf(server), ...options })))
    assert.deepStrictEqual(server.complaints(), [])
    return server
  })

/** Calls a model of LangChain's that answers with a text. */
const ask = (question: string, answer: string) =>
  Effect.flatMap(Langfuse.callbackHandler, (handler) =>
    Effect.promise(() =>
      new FakeListChatModel({ responses: [answer] }).invoke(question, { callbacks: Option.toArray(handler) })
    )
  )

class Refused extends Data.TaggedError("Refused")<{ readonly message: string }> {}
class Fields extends Data.TaggedError("Fields")<{ readonly header: string; readonly url: string }> {}

const failures: ReadonlyArray<(secret: string) => Effect.Effect<void, unknown>> = [
  (secret) => Effect.fail(new Fields({ header: secret, url: `/x?t=${secret}` })),
  (secret) => Effect.fail(new Error("outer", { cause: new Error(secret) })),
  (secret) => Effect.die(new Error(`defect ${secret}`)),
  (secret) => Effect.fail(secret)
]

/** Everywhere where a secret that has a shape may stand. */
const careless = (secret: string, n: number) =>
  Effect.gen(function* () {
    yield* Observation.annotate({
      input: { text: `use ${secret} for it`, [secret]: "as a key", deep: [{ list: [secret, `(${secret})`] }] },
      output: JSON.stringify({ body: JSON.stringify({ note: `${secret}` }) }),
      statusMessage: `401 for ${secret}.`,
      metadata: {
        plain: secret,
        [`key ${secret}`]: 1,
        headers: { authorization: `Bearer ${secret}`, "x-other": secret },
        url: `https://api.example.com/v1?key=${secret}&page=2`,
        userinfo: `https://x:${secret}@example.com/repo.git`,
        curl: `curl -H "Authorization: Bearer ${secret}" -H 'x-api-key: ${secret}' https://example.com`
      },
      model: `model-${secret}`
    })
    yield* Effect.annotateCurrentSpan("raw", { secret })
    yield* Effect.annotateCurrentSpan("list", ["a", secret])
    yield* Effect.exit(Effect.withSpan(Effect.fail(new Refused({ message: `wrong key: ${secret}` })), `call ${secret}`))
    yield* Effect.exit(Effect.withSpan(failures[n % failures.length]?.(secret) ?? Effect.void, "failure"))
    yield* Observation.score({
      name: "verdict",
      value: `said ${secret}`,
      comment: `with "${secret}"`,
      metadata: { secret }
    })
    yield* Observation.score({ name: `score ${secret}`, value: 1 })
  }).pipe(
    Effect.withSpan("careless"),
    Observation.withTrace({ userId: secret, tags: [secret], metadata: { note: secret } })
  )

/** Everywhere where only a name says that a text is a secret. */
const named = (secret: string) =>
  Effect.gen(function* () {
    yield* Observation.annotate({
      input: {
        apiKey: secret,
        db: { password: secret },
        credentials: { value: secret },
        wrapped: Redacted.make(secret)
      },
      output: JSON.stringify({ args: JSON.stringify({ access_token: secret, "x-api-key": secret }) }),
      statusMessage: `failed with api_key=${secret}&x=1`,
      metadata: {
        clientSecret: secret,
        headers: { Authorization: `Custom ${secret}`, Cookie: `sid=${secret}; theme=dark`, "X-Api-Key": secret },
        raw: ["Accept", "text/html", "X-Api-Key", secret],
        pairs: [["authorization", secret]],
        list: [{ name: "x-auth-token", value: secret }],
        url: `https://example.com/v1?token=${secret}&sig=${secret}`,
        userinfo: `postgres://ada:${secret}@db:5432/x`,
        curl: `curl -H "X-Api-Key: ${secret}" -H "Authorization: Token ${secret}" -u ada:x`,
        text: `Set-Cookie: sid=${secret}; HttpOnly`,
        env: `DB_PASSWORD=${secret}\nAWS_SECRET_ACCESS_KEY="${secret}"`
      }
    })
    yield* Effect.annotateCurrentSpan("apiKey", secret)
    yield* Effect.annotateCurrentSpan("http.request.header.authorization", secret)
    yield* Effect.annotateCurrentSpan("settings", { password: secret })
    yield* Effect.exit(
      Effect.withSpan(Effect.fail(new Refused({ message: `login: {"password":"${secret}"}` })), "call")
    )
    yield* Observation.score({ name: "s", value: 1, comment: `password: ${secret}`, metadata: { token: secret } })
  }).pipe(Effect.withSpan("named"), Observation.withTrace({ metadata: { password: secret } }))

/** What waits in an outbox, decompressed. */
const stored = (folder: string): string =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name, parentPath }) => {
      const bytes = readFileSync(join(parentPath, name))
      return name.endsWith(".gz") ? gunzipSync(bytes).toString() : bytes.toString()
    })
    .join("\n")

describe("Langfuse: secrets", () => {
  it.scopedLive(
    "none of 500 of all shapes is on the wire or in the outbox",
    () =>
      Effect.gen(function* () {
        const secrets = Secrets.shapedSecrets(500, 20)
        const shapeless = Secrets.shapelessSecrets(50, 21)
        const folder = yield* TestDatabases.temporaryFolder
        const server = yield* LangfuseServer.make()
        server.behave({ status: 503 })
        const broken = RunnableLambda.from((text: string): string => {
          throw new Error(`cannot use ${text}`)
        })
        const calls = Effect.forEach(secrets, ({ value }, n) =>
          n % 10 === 0
            ? Effect.zipRight(
                ask(`{"note":"${Secrets.essence(value)}"}`, `the key is ${value}`),
                Effect.flatMap(Langfuse.callbackHandler, (handler) =>
                  Effect.ignore(Effect.tryPromise(() => broken.invoke(value, { callbacks: Option.toArray(handler) })))
                )
              )
            : Effect.void
        )
        const program = Effect.all(
          [
            Effect.forEach(secrets, ({ value }, n) => careless(value, n)),
            Effect.forEach(shapeless, named),
            Effect.forEach(shapeless, (secret) => ask(`{"password":"${secret}"}`, `api_key: ${secret}`)),
            calls
          ],
          { discard: true }
        ).pipe(Effect.withSpan("run"))
        yield* Effect.provide(
          program,
          Langfuse.layerWith({ ...optionsOf(server), outbox: { folder }, flushTimeout: "1 second" })
        )
        const places = { wire: server.bodies().join("\n"), outbox: stored(folder) }
        assert.isAbove(places.outbox.length, 1_000_000)
        const found: Array<string> = []
        for (const [place, text] of Object.entries(places)) {
          for (const { kind, value } of secrets)
            if (text.includes(Secrets.essence(value))) found.push(`${kind} ${place}`)
          for (const value of shapeless) if (text.includes(value)) found.push(`shapeless ${place}`)
        }
        assert.deepStrictEqual([...new Set(found)], [])
      }),
    120_000
  )

  it.scopedLive("no key of a process and no path of this machine, unless stacks are asked for", () =>
    Effect.gen(function* () {
      const failing = Effect.gen(function* () {
        yield* Observation.annotate({
          output: `it said ${new Error("no").stack}`,
          metadata: { stack: new Error("x").stack }
        })
        yield* Effect.exit(Effect.withSpan(Effect.fail(new Error("broken")), "failure"))
      }).pipe(Effect.withSpan("run"))
      const quiet = yield* traced(failing)
      const wire = quiet.bodies().join("\n")
      assert.notInclude(wire, process.cwd())
      assert.notMatch(wire, /Privacy\.test\.ts/)
      assert.include(wire, "it said Error: no")
      const asked = yield* traced(failing, { privacy: { stackTraces: true } })
      const failure = asked.observations().find(({ name }) => name === "failure")
      assert.match(String(failure?.metadata["stack_trace"]), /Error: broken\n.* at .*Privacy\.test\.ts/)
      assert.include(asked.bodies().join("\n"), "Privacy.test.ts")
    })
  )
})

describe("Langfuse: what a program hides", () => {
  const agent = Effect.gen(function* () {
    yield* ask("the patient is Ada Lovelace", "Ada Lovelace has 4111111111111111")
    yield* Observation.annotate({ output: { found: "Ada Lovelace", card: 4111111111111111 } })
    yield* Observation.score({ name: "quality", value: "good", comment: "Ada Lovelace was happy" })
  }).pipe(
    Observation.span("agent_nurse", {
      type: "agent",
      input: { patient_name: "Ada", nested: [{ SSN: "123-45-6789", age: 36 }], args: '{"patient_id":7,"unit":"B"}' },
      statusMessage: "ssn=123-45-6789 of Ada Lovelace",
      metadata: { patient_file: "file no. 9", length: 5_000, note: "x".repeat(5_000) }
    }),
    Observation.withTrace({ userId: "Ada Lovelace", metadata: { ssn: "123-45-6789" } })
  )
  const rows = (server: LangfuseServer.LangfuseServer) => ({
    agent: server.observations().find(({ type }) => type === "agent"),
    generation: server.observations().find(({ type }) => type === "generation")
  })

  it.scopedLive("sends no inputs, or no outputs, of anybody's", () =>
    Effect.gen(function* () {
      const inputs = rows(yield* traced(agent, { privacy: { inputs: false } }))
      assert.deepStrictEqual([inputs.agent?.input, inputs.generation?.input], [undefined, undefined])
      assert.isDefined(inputs.agent?.output)
      assert.isDefined(inputs.generation?.output)
      const outputs = rows(yield* traced(agent, { privacy: { outputs: false } }))
      assert.deepStrictEqual([outputs.agent?.output, outputs.generation?.output], [undefined, undefined])
      assert.isDefined(outputs.agent?.input)
      assert.isDefined(outputs.generation?.input)
    })
  )

  it.scopedLive("cuts its patterns and fields out of everything, at any depth, and leaves the rest", () =>
    Effect.gen(function* () {
      const server = yield* traced(agent, {
        privacy: { patterns: [/ada lovelace/i, /\b\d{16}\b/], fields: ["ssn", "patient_*"] }
      })
      const wire = server.bodies().join("\n")
      for (const hidden of ["Lovelace", "4111111111111111", "123-45-6789", "file no. 9", '\\"Ada'])
        assert.notInclude(wire, hidden)
      const { agent: row, generation } = rows(server)
      const cut = "<redacted>"
      assert.deepStrictEqual(row?.input, {
        patient_name: cut,
        nested: [{ SSN: cut, age: 36 }],
        args: `{"patient_id":"${cut}","unit":"B"}`
      })
      assert.deepStrictEqual(row?.output, { found: cut, card: cut })
      assert.strictEqual(row?.statusMessage, `ssn=${cut} of ${cut}`)
      assert.strictEqual(row?.metadata["patient_file"], cut)
      assert.strictEqual(generation?.userId, cut)
      assert.strictEqual(generation?.attributes["langfuse.trace.metadata.ssn"], cut)
      assert.strictEqual(server.scores()[0]?.comment, `${cut} was happy`)
    })
  )

  it.scopedLive("cuts what is too long, and says how much", () =>
    Effect.gen(function* () {
      const { agent: row } = rows(yield* traced(agent, { privacy: { maxLength: 100 } }))
      assert.strictEqual(row?.metadata["note"], `${"x".repeat(100)}… <cut: 4900 of 5000 characters>`)
      assert.strictEqual(row?.metadata["length"], 5_000)
      const huge = yield* traced(Effect.withSpan(Observation.annotate({ input: "y".repeat(3_000_000) }), "huge"))
      assert.match(String(huge.observations()[0]?.input), /y… <cut: 20000\d\d of 30000\d\d characters>$/)
    })
  )

  it.effect("refuses what cannot be meant", () =>
    Effect.gen(function* () {
      const settingOf = (options: Langfuse.Options) =>
        Effect.map(Effect.flip(Langfuse.diagnose(options)), ({ setting }) => setting)
      assert.strictEqual(yield* settingOf({ privacy: { patterns: [/x*/] } }), "HOLDFAST_REDACT_PATTERN")
      assert.strictEqual(yield* settingOf({ privacy: { fields: ["a b"] } }), "HOLDFAST_REDACT_FIELDS")
      assert.strictEqual(yield* settingOf({ privacy: { maxLength: 0 } }), "HOLDFAST_TRACE_MAX_LENGTH")
      assert.strictEqual(yield* settingOf({ sampleRate: 2 }), "LANGFUSE_SAMPLE_RATE")
    })
  )
})
