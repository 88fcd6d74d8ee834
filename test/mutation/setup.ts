/** The same cases for every mutant, and no time spent on finding the smallest that tells it apart, nor on more of them than a second allows. */
import * as fc from "fast-check"

fc.configureGlobal({ seed: 1, endOnFailure: true, interruptAfterTimeLimit: 1000 })
