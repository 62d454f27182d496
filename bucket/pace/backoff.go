package pace

import "time"

// Backoff is the first and the longest pause of a URL after failures. The pause doubles
// with each failure in a row.
type Backoff struct{ First, Longest time.Duration }

// Pause is the pause after this many failures in a row.
func (b Backoff) Pause(attempts int) time.Duration {
	d := b.First
	for range attempts - 1 {
		if d *= 2; d >= b.Longest {
			return b.Longest
		}
	}
	return d
}
