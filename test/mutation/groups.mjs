// The operators by the tests that are theirs: a mutant of one group is tried against that group's tests alone, so that one which runs as a module is
// loaded, and so needs all of them, takes seconds and not minutes. Files by their names under src/resilience, tests under test/resilience.

export const groups = {
  failures: {
    files: ["Failure", "internal/classes", "internal/recognise", "internal/retryAfter"],
    tests: ["Failure/*", "Failure.shapes", "RetryPolicy/classes", "identities"]
  },
  breaker: {
    files: [
      "CircuitBreaker",
      "CircuitBreaker/{Rule,Sql,Store}",
      "internal/{breaker,breakerError,breakerGuard,breakerSettings,breakerSharing,breakerWindow}"
    ],
    tests: [
      "CircuitBreaker/*",
      "CircuitBreaker",
      "CircuitBreaker.{hand,interruption,rules,sharing,store}",
      "identities"
    ]
  },
  retry: {
    files: ["RetryBudget", "RetryPolicy", "internal/{attempts,backoff,limits,numbers,retries,rewind}"],
    tests: ["RetryPolicy/*", "RetryBudget", "identities"]
  },
  timeout: { files: ["Timeout", "internal/within"], tests: ["Timeout", "within", "identities"] },
  alternatives: {
    files: ["Fallback", "Hedge", "StaleCache", "internal/{contest,latencies}"],
    tests: ["Fallback", "Fallback.classes", "Hedge", "identities"]
  },
  admission: {
    files: ["Bulkhead", "Chaos", "RateLimit", "internal/gate"],
    tests: ["Bulkhead", "Chaos", "Chaos.seeds", "RateLimit", "identities"]
  }
}
