/** What secrets look like in a text, and what fields that hold one are called. */

/** No word: a digit or a capital is in it. */
const odd = "(?=[a-z_=-]*[0-9A-Z])"

/** Keys that say by their beginning what they are. */
const keys: ReadonlyArray<string> = [
  // OpenAI, Anthropic, OpenRouter, Langfuse and whoever writes keys as they do
  "[spr]k-(?:[a-z]{1,8}-)*[A-Za-z0-9_-]{8,}",
  // Stripe, ElevenLabs, Pinecone, Resend, Clerk; webhooks
  `(?:[spr]k|pcsk|re|whsec)_(?:live_|test_|prod_)?${odd}[A-Za-z0-9_]{16,}`,
  // GitHub, GitLab, Bitbucket, npm, PyPI, Docker, Hugging Face, Replicate, Groq, DigitalOcean, Notion, Linear, Shopify, Grafana, Sentry, Supabase
  `(?:gh[opsur]_|github_pat_|npm_|dckr_pat_|hf_|r8_|gsk_|do[opr]_v1_|ntn_|lin_api_|shp(?:at|ca|pa|ss)_|gls?[ac]_|glc_|sntry[su]_|sb[ps]_|pscale_(?:tkn|pw|oauth)_|rnd_|csk_|fw_|jina_)${odd}[A-Za-z0-9_=-]{16,}`,
  `(?:glpat|gldt|glrt|pypi|pplx|xai|tvly|nvapi|ATATT3x|ATBB|HRKU|PMAK|NRAK|fc|pa|figd|GOCSPX|AGE-SECRET-KEY)[-_A-Z0-9]{1,2}${odd}[A-Za-z0-9_=-]{16,}`,
  // LangSmith, Slack
  "ls(?:v2)?_[A-Za-z0-9_]{20,}",
  "(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{10,}",
  "hooks\\.slack\\.com/services/[A-Za-z0-9/]{20,}",
  // AWS, Google, Databricks, Mailgun, SendGrid, Twilio, Vault, Doppler, Telegram, Airtable
  "(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}",
  "AIza[\\w-]{35}",
  "ya29\\.[\\w.-]{20,}",
  "dapi[0-9a-f]{32}(?:-\\d)?",
  "key-[0-9a-f]{32}",
  "SG\\.[\\w-]{16,}\\.[\\w-]{16,}",
  "SK[0-9a-f]{32}",
  "hv[sbr]\\.[\\w-]{20,}",
  "dp\\.(?:pt|st|ct|sa|scim|audit)\\.[\\w.-]{20,}",
  "\\d{8,10}:AA[\\w-]{33}",
  "pat[A-Za-z0-9]{14}\\.[0-9a-f]{32,}",
  // JSON web tokens
  "eyJ[\\w-]{8,}\\.[\\w-]{8,}\\.[\\w-]*"
]

/** What a secret is called, where a name and a value stand side by side in a text. */
const called =
  "api[_-]?key|secret|secret[_-]?key|access[_-]?key(?:[_-]?id)?|account[_-]?key|private[_-]?key|signing[_-]?key|encryption[_-]?key|(?:access|auth|refresh|id|session|bearer|csrf|security)[_-]?token|password|passwd|passphrase|pwd|client[_-]?secret|credentials?|x-amz-signature|x-goog-signature|shared[_-]?access[_-]?signature"

/** Between a name and its value, also inside JSON text that is itself in a JSON string. */
const between = "(?:\\\\*[\"'])?\\s*[:=]\\s*(?:\\\\*[\"'])?"

/** A value without quotes around it, or up to the quote. */
const value = "(?:[^\\s\"',;&}\\\\]|\\\\+[^\\s\"',;&}\\\\])+"

/** Such a value that is no word: eight characters, a digit among them. */
const oddValue = "(?=[^\\s\"',;&}\\\\]{8})(?=[^\\s\"',;&}\\\\]*\\d)[^\\s\"',;&}\\\\]+"

/** The values of these names, in a text. Each match keeps its first group and loses the rest. */
export const assignment = (names: string): RegExp => new RegExp(`((?:${names})${between})${value}`, "gi")

/** Shapes of secrets in free text: each keeps its first group and loses the rest. */
export const shapes: ReadonlyArray<RegExp> = [
  /()-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g,
  new RegExp(`()(?<![A-Za-z0-9])(?:${keys.join("|")})`, "g"),
  // the values of headers, to the end of the line or text that they stand in
  new RegExp(`((?:proxy-)?authorization${between})(?!\\s|<redacted>)[^"'\\n\\r\\\\,}]+`, "gi"),
  new RegExp(`(cookie2?${between})(?=[^"'\\n\\r\\\\]*=)(?!<redacted>)[^"'\\n\\r\\\\]+`, "gi"),
  // authorization values on their own
  /\b((?:Bearer|Basic|ApiKey)\s+)[A-Za-z0-9+/=._~-]{8,}/gi,
  // the password of a URL, and a user's name as long as a token
  /(\b[a-z][a-z0-9+.-]*:\/\/[^\s:@/]*:)[^\s@/]+(?=@)/gi,
  /(\b[a-z][a-z0-9+.-]*:\/\/)[^\s:@/]{20,}(?=@)/gi,
  assignment(called),
  // what is often no secret: only where the value cannot be a word
  new RegExp(`((?:\\b|_|[a-z](?=[TKS]))(?:token|key|sig|signature|auth|sid|otp)${between})${oddValue}`, "gi")
]

/** As quick as a look for one word; a few more alternatives would make it six times as slow. */
const hint = /[spr]k-|xox|eyj|bearer|basic|:\/\/|key|token|passw|secret|authori|cookie|credential/i

const runLength = 16

/** 1: lower-case letters, hyphens and underscores, of which words are made. 2: digits and capitals. 0: all else. */
const kindOf = (code: number): 0 | 1 | 2 => {
  if ((code >= 97 && code <= 122) || code === 95 || code === 45) return 1
  return (code >= 48 && code <= 57) || (code >= 65 && code <= 90) ? 2 : 0
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/**
 * Whether there is a run of letters, digits, hyphens and underscores as long as keys are, and with a digit or capital, as no word is. A UUID is none.
 * Looks at every sixteenth place first.
 */
const hasRun = (text: string): boolean => {
  for (let at = runLength - 1; at < text.length; at += runLength) {
    let isOdd = false
    let from = at
    let to = at
    for (let kind = kindOf(text.charCodeAt(to)); kind !== 0; kind = kindOf(text.charCodeAt(++to))) {
      isOdd ||= kind === 2
    }
    if (to === at) continue
    for (let kind = kindOf(text.charCodeAt(from - 1)); kind !== 0; kind = kindOf(text.charCodeAt(--from - 1))) {
      isOdd ||= kind === 2
    }
    if (isOdd && to - from >= runLength && !isUuid(text.slice(from, to))) return true
    at = to
  }
  return false
}

/** Ids stand on every span: they are looked at no further. */
const isUuid = (text: string): boolean => text.length === 36 && text.charCodeAt(8) === 45 && uuid.test(text)

/** Whether a text may hold a secret: most texts do not. */
export const mayHold = (text: string): boolean => !isUuid(text) && (hint.test(text) || hasRun(text))

/** Names of fields that hold a secret, with all that is in them. */
const secretField =
  /api[_-]?key|secret|passw|passphrase|^pwd$|authorization|cookie|credential|(?:private|access|account|signing|encryption|master)[_-]?key|token$|^(?:x-)?auth$|^(?:sig|signature|otp)$/i

const maxNames = 2_000
const names = new Map<string, boolean>()

/** Whether a field or header of this name holds a secret. The names are few, and asked again and again. */
export const isSecretName = (name: string): boolean => {
  const known = names.get(name)
  if (known !== undefined) return known
  const is = secretField.test(name)
  if (names.size < maxNames) names.set(name, is)
  return is
}
