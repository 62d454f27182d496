package record

import "time"

// Failure is what is remembered of a URL that could not be kept.
type Failure struct {
	Kind     string    // of the last failure, a word
	Status   int       // the origin's last answer; 0: none
	Detail   string    // the last error, for the operator
	Attempts int       // failures in a row
	First    time.Time // of the failures in a row, to the second
	Next     time.Time // when it may be tried again, to the second
	Host     string    // that failed, after redirects; empty: none, or not known
	URL      string    // that could not be kept, canonical; empty: not known, or too long to be remembered
	Head     string    // the first bytes of what came instead of an image; empty: none
}

// FailureRemoved is the kind of a failure to keep what is blocked, or leads to what is.
const FailureRemoved = "removed"
