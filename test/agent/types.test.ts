/** The types say what the documentation says: errors, services, inputs and outputs are inferred, and nothing is `any`. */
import { assert, describe, it } from "@effect/vitest"
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import type * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import { expectTypeOf } from "vitest"
import * as Agent from "../../src/agent/Agent.js"
import * as Swarm from "../../src/agent/Swarm.js"
import type * as Fallback from "../../src/resilience/Fallback.js"
import type * as Timeout from "../../src/resilience/Timeout.js"

class Prices extends Context.Tag("test/Prices")<Prices, { readonly of: (ticker: string) => number }>() {}
class News extends Context.Tag("test/News")<News, { readonly of: (ticker: string) => string }>() {}
class NoPrice extends Schema.TaggedError<NoPrice>()("NoPrice", {}) {}

type Policied<E> = E | Agent.PolicyError

const byGenerator = Agent.make("a", (ticker: string) =>
  Effect.gen(function* () {
    const prices = yield* Prices
    if (ticker === "") return yield* new NoPrice()
    return prices.of(ticker)
  })
)
const byFn = Agent.make(
  "fn",
  Effect.fn(function* (ticker: string) {
    return (yield* News).of(ticker)
  })
)
const byPromise = Agent.make("b", (ticker: string) => Effect.tryPromise(() => Promise.resolve({ ticker })), {
  timeout: 5
})

const Input = Schema.Struct({ since: Schema.DateFromString })
const Output = Schema.Struct({ price: Schema.NumberFromString })

describe("Agent.make", () => {
  it("infers from generators, Effect.fn and promises", () => {
    expectTypeOf(byGenerator).toEqualTypeOf<Agent.Agent<string, number, Policied<NoPrice>, Prices>>()
    expectTypeOf(byFn).toEqualTypeOf<Agent.Agent<string, string, Agent.PolicyError, News>>()
    expectTypeOf(byPromise).toEqualTypeOf<Agent.Agent<string, { ticker: string }, Policied<Cause.UnknownException>>>()
    expectTypeOf(Agent.make("c", () => Effect.succeed(1)).invoke)
      .parameter(0)
      .toBeUnknown()
    expectTypeOf(byGenerator.invoke("x")).toEqualTypeOf<Effect.Effect<number, Policied<NoPrice>, Prices>>()
    expectTypeOf(Agent.invoke(byGenerator, "x")).toEqualTypeOf<Effect.Effect<number, Policied<NoPrice>, Prices>>()
    expectTypeOf(byGenerator.pipe(Agent.invoke("x"))).toEqualTypeOf<Effect.Effect<number, Policied<NoPrice>, Prices>>()
  })

  it("takes an output from its Schema", () => {
    type Decoded = Agent.Agent<string, { readonly price: number }, Policied<ParseResult.ParseError>>
    const encoded = Agent.make("a", (_: string) => Effect.succeed({ price: "1" }), { output: Output })
    expectTypeOf(encoded).toEqualTypeOf<Decoded>()
    const ask = (_: string): Effect.Effect<unknown> => Effect.succeed("1")
    expectTypeOf(Agent.make("a", ask, { output: Output })).toEqualTypeOf<Decoded>()
    // @ts-expect-error: what run returns is not what the Schema decodes
    Agent.make("a", (_: string) => Effect.succeed({ price: 1 }), { output: Output })
  })

  it("takes an input from its Schema, and both", () => {
    type Since = { readonly since: Date }
    const validated = Agent.make("a", ({ since }) => Effect.succeed(since), { input: Input, retry: false })
    expectTypeOf(validated).toEqualTypeOf<Agent.Agent<Since, Date, Policied<ParseResult.ParseError>>>()
    const both = Agent.make("a", (_: Since) => Effect.succeed({ price: "1" }), { input: Input, output: Output })
    expectTypeOf(both).toEqualTypeOf<Agent.Agent<Since, { readonly price: number }, Policied<ParseResult.ParseError>>>()
  })

  it("keeps its type under the operators", () => {
    const hardened = byGenerator.pipe(
      Agent.withRetry({ maxAttempts: 2 }),
      Agent.withTimeout("1 second"),
      Agent.withDeadline("1 minute"),
      Agent.withCircuitBreaker(false),
      Agent.withBulkhead({ concurrency: 2 }),
      Agent.withRateLimit({ limit: 5, window: "1 second" }),
      Agent.withHedge({ after: "1 second" })
    )
    expectTypeOf(hardened).toEqualTypeOf<typeof byGenerator>()
    assert.strictEqual(hardened.id, "a")
  })

  it("a fallback swallows the errors and adds its services", () => {
    const chain = byGenerator.pipe(Agent.orElse(byFn))
    expectTypeOf(chain).toEqualTypeOf<
      Agent.Agent<string, number | string, Fallback.FallbackExhaustedError, Prices | News>
    >()
    expectTypeOf(Agent.orElse(byGenerator, byFn)).toEqualTypeOf<typeof chain>()
  })
})

describe("Swarm.make", () => {
  const swarm = Swarm.make("s", { required: { a: byGenerator }, optional: { b: byPromise } })
  type Found = { readonly a: number } & { readonly b: { ticker: string } }

  it("knows what it finds, how it fails and what it needs", () => {
    type Result = Effect.Effect.Success<ReturnType<typeof swarm.run>>
    expectTypeOf<Result["findings"]["a"]>().toEqualTypeOf<number | undefined>()
    expectTypeOf<Result["findings"]["b"]>().toEqualTypeOf<{ ticker: string } | undefined>()
    expectTypeOf<Result["failed"][number]["error"]>().toEqualTypeOf<Policied<NoPrice | Cause.UnknownException>>()
    expectTypeOf<Effect.Effect.Error<ReturnType<typeof swarm.run>>>().toEqualTypeOf<Swarm.CriticalDegradationError>()
    expectTypeOf<Effect.Effect.Context<ReturnType<typeof swarm.run>>>().toEqualTypeOf<Prices>()
    expectTypeOf(swarm.run).parameter(0).toEqualTypeOf<string>()
  })

  it("asks for an input that suits every agent", () => {
    const one = Agent.make("one", (_: { readonly x: number }) => Effect.void)
    const two = Agent.make("two", (_: { readonly y: string }) => Effect.void)
    const both = Swarm.make("s", { required: { one }, optional: { two } })
    expectTypeOf(both.run).parameter(0).toExtend<{ readonly x: number; readonly y: string }>()
    // @ts-expect-error: y is missing
    assert.isDefined(both.run({ x: 1 }))
  })

  it("a later stage is given what was found, may need services, and must suit", () => {
    const judge = Agent.make("judge", ({ findings, input }: Swarm.Upstream<string, Found>) =>
      Effect.map(News, (news) => news.of(input).length + (findings.a ?? 0))
    )
    const whole = swarm.pipe(Swarm.followedBy({ judge }))
    type Result = Effect.Effect.Success<ReturnType<typeof whole.run>>
    expectTypeOf<Result["findings"]["judge"]>().toEqualTypeOf<number | undefined>()
    expectTypeOf<Effect.Effect.Context<ReturnType<typeof whole.run>>>().toEqualTypeOf<Prices | News>()
    expectTypeOf(Swarm.followedBy(swarm, { judge })).toEqualTypeOf<typeof whole>()
    // @ts-expect-error: an agent that takes something else
    Swarm.followedBy(swarm, { byPromise })
  })

  it("a deadline adds the error of who is late, and only a deadline does", () => {
    const plain = Agent.make("p", (_: string) => Effect.succeed(1)).pipe(Agent.orElse(byPromise))
    type Errors<S> = S extends Swarm.Swarm<infer _In, infer _Found, infer E, infer _R> ? E : never
    const unbounded = Swarm.make("s", { required: { plain } })
    const bounded = Swarm.make("s", { required: { plain }, deadline: "1 minute" })
    expectTypeOf<Errors<typeof unbounded>>().toEqualTypeOf<Fallback.FallbackExhaustedError>()
    expectTypeOf<Errors<typeof bounded>>().toEqualTypeOf<Fallback.FallbackExhaustedError | Timeout.AgentTimeoutError>()
  })

  it("weights are for the agents that there are", () => {
    const weighted = Swarm.make("s", {
      required: { a: byGenerator },
      optional: { b: byPromise },
      weights: { a: 2, b: 3 }
    })
    expectTypeOf(weighted).toEqualTypeOf<typeof swarm>()
    expectTypeOf(swarm.pipe(Swarm.weighted({ a: 2 }))).toEqualTypeOf<typeof swarm>()
    expectTypeOf(Swarm.weighted(swarm, { b: 2 })).toEqualTypeOf<typeof swarm>()
    const wrong = () => {
      // @ts-expect-error: there is no c
      Swarm.make("s", { required: { a: byGenerator }, weights: { c: 2 } })
      // @ts-expect-error: there is no c
      Swarm.weighted(swarm, { c: 2 })
      // @ts-expect-error: there is no c
      swarm.pipe(Swarm.weighted({ c: 2 }))
    }
    assert.throws(wrong, RangeError)
  })

  it("every finding is there or a gap with its typed error", () => {
    type Result = Effect.Effect.Success<ReturnType<typeof swarm.run>>
    type Errors = Policied<NoPrice | Cause.UnknownException>
    expectTypeOf(Swarm.gaps<Found, Errors>).returns.toEqualTypeOf<ReadonlyArray<Swarm.Gap<Errors>>>()
    type Outcomes = ReturnType<typeof Swarm.outcomes<Found, Errors>>
    expectTypeOf<Outcomes["a"]>().toEqualTypeOf<Either.Either<number, Swarm.Gap<Errors>>>()
    expectTypeOf<Outcomes["b"]>().toEqualTypeOf<Either.Either<{ ticker: string }, Swarm.Gap<Errors>>>()
    expectTypeOf<Result["failed"][number]["reason"]>().toEqualTypeOf<"failed" | "late" | "stopped">()
  })

  it("a stream tells which agent found what", () => {
    const stream = Swarm.stream(swarm, "x")
    expectTypeOf(swarm.pipe(Swarm.stream("x"))).toEqualTypeOf<typeof stream>()
    expectTypeOf<Stream.Stream.Error<typeof stream>>().toEqualTypeOf<Swarm.CriticalDegradationError>()
    expectTypeOf<Stream.Stream.Context<typeof stream>>().toEqualTypeOf<Prices>()
    type Event = Stream.Stream.Success<typeof stream>
    type FoundA = Extract<Event, { readonly _tag: "Found"; readonly agent: "a" }>
    expectTypeOf<FoundA["value"]>().toEqualTypeOf<number>()
    expectTypeOf<Extract<Event, { readonly _tag: "Gap" }>["error"]>().toEqualTypeOf<
      Policied<NoPrice | Cause.UnknownException> | Swarm.AgentStoppedError
    >()
    expectTypeOf<Extract<Event, { readonly _tag: "Completed" }>["result"]>().toEqualTypeOf<
      Effect.Effect.Success<ReturnType<typeof swarm.run>>
    >()
    // @ts-expect-error: it takes a string
    assert.isDefined(Swarm.stream(swarm, 1))
  })
})
