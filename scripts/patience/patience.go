// Package patience says how long a test waits for what must happen: for tests.
//
// A fixed number of seconds fails on a machine that has much else to do. What a
// test waits with here grows with the -timeout that somebody who knows the machine
// has given.
package patience

import (
	"testing"
	"time"
)

const (
	least   = 10 * time.Second
	without = time.Minute // for a benchmark, or by -timeout 0
)

// Of is a tenth of the time that a test has left until its deadline, and never less
// than 10 seconds. It is used up only where the test is about to fail. A test that has
// no deadline gets a minute.
func Of(t testing.TB) time.Duration {
	if t, ok := t.(interface{ Deadline() (time.Time, bool) }); ok {
		if deadline, ok := t.Deadline(); ok {
			return of(time.Until(deadline))
		}
	}
	return without
}

func of(left time.Duration) time.Duration { return max(least, left/10) }
