/** Secrets of every known shape, made from a seed. */
import * as fc from "fast-check"

const word = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
const of = (letters: string, length: number): fc.Arbitrary<string> =>
  fc.string({ unit: fc.constantFrom(...letters), minLength: length, maxLength: length })
const after = (prefix: string, length: number, letters = word): fc.Arbitrary<string> =>
  of(letters, length).map((rest) => prefix + rest)
const hex = "0123456789abcdef"
const capital = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

/** Those that are known by how they look, wherever they stand. */
const shaped: Readonly<Record<string, fc.Arbitrary<string>>> = {
  openai: after("sk-", 48),
  openaiProject: after("sk-proj-", 48, `${word}_-`),
  openaiService: after("sk-svcacct-", 40),
  anthropic: after("sk-ant-api03-", 60, `${word}_-`),
  openrouter: after("sk-or-v1-", 64, hex),
  langfusePublic: after("pk-lf-", 32, `${hex}-`),
  langfuseSecret: after("sk-lf-", 32, `${hex}-`),
  langsmith: fc.tuple(of(hex, 32), of(hex, 10)).map(([a, b]) => `lsv2_pt_${a}_${b}`),
  stripe: after("sk_live_", 24),
  stripeRestricted: after("rk_test_", 24),
  webhook: after("whsec_", 32),
  github: fc.tuple(fc.constantFrom("p", "o", "u", "s", "r"), of(word, 36)).map(([kind, rest]) => `gh${kind}_${rest}`),
  githubFine: fc.tuple(of(word, 22), of(word, 59)).map(([a, b]) => `github_pat_${a}_${b}`),
  gitlab: after("glpat-", 20),
  npm: after("npm_", 36),
  pypi: after("pypi-", 60),
  docker: after("dckr_pat_", 27),
  huggingface: after("hf_", 34),
  replicate: after("r8_", 37),
  groq: after("gsk_", 52),
  perplexity: after("pplx-", 48),
  xai: after("xai-", 80),
  tavily: after("tvly-", 32),
  nvidia: after("nvapi-", 64),
  pinecone: after("pcsk_", 40),
  jina: after("jina_", 48),
  firecrawl: after("fc-", 32, hex),
  slack: fc.tuple(fc.constantFrom("b", "p", "a"), of("0123456789", 12), of(word, 24)).map((it) => `xox${it.join("-")}`),
  slackHook: fc
    .tuple(of(word, 9), of(word, 11), of(word, 24))
    .map((it) => `https://hooks.slack.com/services/${it.join("/")}`),
  aws: fc.tuple(fc.constantFrom("AKIA", "ASIA"), of(capital, 16)).map((it) => it.join("")),
  google: after("AIza", 35, `${word}_-`),
  googleOauth: after("ya29.", 60, `${word}_-`),
  googleClient: after("GOCSPX-", 28),
  databricks: after("dapi", 32, hex),
  mailgun: after("key-", 32, hex),
  sendgrid: fc.tuple(of(word, 22), of(word, 43)).map((it) => `SG.${it.join(".")}`),
  twilio: after("SK", 32, hex),
  vault: after("hvs.", 28),
  telegram: fc.tuple(of("123456789", 10), of(word, 33)).map((it) => it.join(":AA")),
  shopify: after("shpat_", 32, hex),
  digitalocean: after("dop_v1_", 64, hex),
  notion: after("ntn_", 46),
  linear: after("lin_api_", 40),
  grafana: after("glsa_", 41),
  supabase: after("sbp_", 40, hex),
  airtable: fc.tuple(of(word, 14), of(hex, 64)).map((it) => `pat${it.join(".")}`),
  jwt: fc.tuple(of(word, 20), of(word, 40), of(word, 43)).map(([a, b, c]) => `eyJ${a}.eyJ${b}.${c}`),
  privateKey: of(word, 200).map((it) => `-----BEGIN RSA PRIVATE KEY-----\n${it}\n-----END RSA PRIVATE KEY-----`)
}

/** Those that look like nothing, and are known by what they are called. */
const shapeless = of(word, 24).map((rest) => `9${rest}`)

export interface Secret {
  readonly kind: string
  readonly value: string
}

/** As many as are asked for, all shapes in turn. */
export const shapedSecrets = (count: number, seed: number): ReadonlyArray<Secret> => {
  const kinds = Object.entries(shaped)
  const samples = kinds.map(([, arbitrary]) => fc.sample(arbitrary, { numRuns: Math.ceil(count / kinds.length), seed }))
  return Array.from({ length: count }, (_, n) => ({
    kind: kinds[n % kinds.length]?.[0] ?? "",
    value: samples[n % kinds.length]?.[Math.floor(n / kinds.length)] ?? ""
  }))
}

export const shapelessSecrets = (count: number, seed: number): ReadonlyArray<string> =>
  fc.sample(shapeless, { numRuns: count, seed })

/** What of a secret must not be found: a private key's lines are found one by one. */
export const essence = (value: string): string => (value.includes("\n") ? (value.split("\n")[1] ?? value) : value)
